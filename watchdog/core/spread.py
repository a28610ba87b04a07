"""`rollback.scope: all`: what was proven in one region takes the same release back in the other regions.

The word comes from elsewhere; what is done with it is this region's own affair. It is a trigger like any other: held by
a person, a pause, a safety mark or another schema, asked about in mode `approve`, and written by this region's own
protocol, to its own target, within its own budget.
"""

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any, Final

from watchdog.core import decide
from watchdog.core.acts import Trigger
from watchdog.core.decide import Step
from watchdog.core.events import FellElsewhere
from watchdog.core.policy import Policy
from watchdog.core.state import Watch
from watchdog.core.text import listing

REGION: Final = "region:"
"""Begins the criterion of a rollback that was proven elsewhere, which stays true until it is acted on."""
ROLLOUT_S: Final = 900.0
"""A watch that opens no later than this after the rollback elsewhere belongs to the rollout that was under way there.
One that opens later was deployed by somebody who could know: its own evidence judges it."""
_MOVED: Final = frozenset({"settling", "verifying", "done"})
"""Stages of a rollback that moved traffic and has not been found to be no help."""


def spreads(policy: Policy) -> bool:
    """Whether proof in one region counts in the others."""
    return policy.rollback.scope == "all" and len(policy.service.regions) > 1


def find(watch: Watch, views: Iterable[Mapping[str, Any]], at: float) -> FellElsewhere | None:
    """The first rollback, in another region of the policy, of exactly what the watch has under observation; None while
    there is none. `views` are watches of the service as `report.view` shows them.

    The same configuration by its fingerprint, never the image alone; moved by proof, not on a person's word alone, and
    not on the word of a third region; not in spite of a hold that said it would not help (both revisions were sick
    there: that may be the region); and not found out to be no help. Of a rollout that was under way then.
    """
    policy, mine = watch.rules.policy, watch.deploy
    if not spreads(policy) or not mine.fingerprint or watch.elsewhere is not None or watch.rollback is not None:
        return None
    found = []
    for view in views:
        region, rollback = str(view.get("region")), _moved(view)
        if region == mine.service.region or region not in policy.service.regions or rollback is None:
            continue
        if view.get("fingerprint") != mine.fingerprint:
            continue
        written_at = _unix(rollback["written_at"])
        if watch.opened_at <= written_at + ROLLOUT_S:
            found.append((written_at, region, str(view["id"]), str(rollback.get("proof"))))
    if not found:
        return None
    _, region, there, proof = min(found)
    return FellElsewhere(at=at, region=region, watch=there, proof=proof)


def _moved(view: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """The watch's rollback, if it has moved traffic by a proof of that region's own and was not found to be no help."""
    rollback = view.get("rollback")
    if not rollback or rollback.get("state") not in _MOVED or not rollback.get("written_at"):
        return None
    trigger = str(rollback.get("trigger"))
    if rollback.get("despite"):
        return None
    if view.get("outcome") == "failed" or trigger == "operator" or trigger.startswith(REGION):
        return None
    return dict(rollback)


def _unix(text: str) -> float:
    return datetime.fromisoformat(text).timestamp()


def fell(step: Step, event: FellElsewhere) -> None:
    """The release was rolled back in another region."""
    watch = step.watch
    if watch.elsewhere is not None:
        return
    watch.elsewhere = event
    sentence = f"{watch.revision} runs what was rolled back in {event.region} (watch {event.watch}): {event.proof}."
    step.note("fell_elsewhere", sentence)
    step.announce("fell_elsewhere", region=event.region, other=event.watch, reason=sentence)


def pursue(step: Step) -> None:
    """Act on what was proven elsewhere as soon as nothing of this region's own is in the way: a hold because both
    revisions are sick here, or because a person said so, stands until it ends."""
    watch = step.watch
    event = watch.elsewhere
    if event is None or watch.spread or not watch.open or watch.cutover_at is None:
        return
    if watch.rollback is not None or watch.hold is not None or watch.pending_trigger is not None:
        return
    if not watch.split.percent_of(watch.revision):
        return
    watch.spread = True
    sentence = f"the same release was rolled back in {event.region} (rollback.scope: all): {event.proof}"
    decide.consider(step, Trigger(criterion=f"{REGION}{event.region}", sentence=sentence, at=watch.at))


def follow(watch: Watch) -> str:
    """What a page about a rollback says of the other regions; empty where they are no part of it."""
    policy, here = watch.rules.policy, watch.deploy.service.region
    rollback = watch.rollback
    if not spreads(policy) or rollback is None or rollback.trigger.criterion in {"operator", ""}:
        return ""
    if rollback.trigger.criterion.startswith(REGION) or rollback.despite:
        return ""
    others = [region for region in policy.service.regions if region != here]
    return f" Where exactly the same runs in {listing(others)}, it goes back there too (rollback.scope: all)."


def scope(policy: Policy) -> str:
    """What the opening says of the scope, in a policy of several regions; empty otherwise."""
    if len(policy.service.regions) < 2:
        return ""
    if spreads(policy):
        return "Proof in one region rolls the same release back in the others too (rollback.scope: all)."
    return "A rollback takes only its own region's traffic (rollback.scope: region)."


def apart(region: str) -> str:
    """Said where the same image runs with another configuration."""
    return (
        f"It is not configured as in {region} (environment, secrets, resources or command differ), so a rollback there "
        "is not carried here, nor the other way round, although rollback.scope is all."
    )
