"""When nothing of the target can serve any more: its image is deployed again, and traffic goes there instead.

Only where the policy says so (`redeploy_image`) and in automatic mode. The new revision is made from the template that
the target had when the watch opened, gets no traffic by being made, and becomes the target once it is Ready: from there
on it is the usual rollback. Its name says which watch made it, so no crash makes two.
"""

import re
from dataclasses import replace
from typing import Final

from watchdog.core import decide, doubt, messages
from watchdog.core.advice import quote
from watchdog.core.commands import Restore
from watchdog.core.decide import Step
from watchdog.core.events import Target, Written
from watchdog.core.model import Split
from watchdog.core.state import Watch

SOURCE: Final = "redeployed"
"""Who named such a target."""
_NAME: Final = re.compile(r"[a-z][a-z0-9-]{0,61}[a-z0-9]")


def name_of(watch: Watch) -> str:
    """The new revision's name; empty where Cloud Run would not take it."""
    name = f"{watch.deploy.service.name}-wd-{watch.id}"
    return name if _NAME.fullmatch(name) else ""


def allowed(watch: Watch) -> bool:
    """Whether the watch may deploy its target's image."""
    policy = watch.rules.policy
    return policy.redeploy_image and doubt.mode(watch) == "automatic" and bool(watch.snapshot and name_of(watch))


def gone(step: Step, event: Written) -> None:
    """Nothing of the target is Ready: deploy its image again, or say how a person does."""
    watch = step.watch
    rollback = watch.rollback
    assert rollback is not None  # noqa: S101 - only a rollback is written
    if not allowed(watch):
        decide.refuse(step, rollback.trigger, event.reason, _by_hand(watch))
        return
    name, image = name_of(watch), image_of(watch)
    watch.rollback = replace(rollback, step="redeploy", before=event.before, begun=True)
    sentence = f"{event.reason[:1].upper()}{event.reason[1:]}: deploying {image} again as {name}, without traffic."
    step.note("redeploy", sentence)
    step.announce("redeploying", revision=name, image=image, reason=event.reason)
    title = f"Rolling back {messages.place(watch)}: {rollback.trigger.criterion}"
    step.open_incident(title, criterion=rollback.trigger.criterion)
    step.notify(
        messages.body(
            watch,
            "decision",
            severity="critical",
            title=title,
            happened=f"{watch.revision} is being rolled back: {rollback.trigger.sentence}. But {event.reason}.",
            did=f"Deploying the target's image {image} again as {name}, with the configuration it had; traffic moves "
            "there once it is Ready.",
            over="No.",
            todo=f"Wait for the result: a start takes a minute or so. {_by_hand(watch)}",
            evidence=[("proof", rollback.trigger.sentence), ("target", event.reason)],
            incident="trigger",
            broadcast=True,
        )
    )
    step.commands.append(Restore(reason=sentence))


def done(step: Step, event: Written) -> None:
    """The new revision is Ready: the rollback goes on, to it."""
    watch = step.watch
    rollback = watch.rollback
    if rollback is None or rollback.step != "redeploy":
        return
    watch.target = Target(split=event.after, source=SOURCE)
    watch.rollback = replace(rollback, step="whole")
    sentence = f"{event.after} is Ready, made from the image of what served before; traffic goes there."
    step.note("redeployed", sentence)
    step.announce("redeployed", split=event.after.percents(), reason=event.reason)
    step.commands.append(Restore(reason=sentence))


def failed(watch: Watch) -> str:
    """What to do when the new revision did not come to be; empty where none was to."""
    rollback = watch.rollback
    return _by_hand(watch) if rollback is not None and rollback.step == "redeploy" else ""


def goal(watch: Watch) -> Split:
    """Where traffic goes once the new revision is Ready."""
    return Split.of({name_of(watch): 100})


def image_of(watch: Watch) -> str:
    """The image of the target when the watch opened; a word for it where that was not known."""
    return watch.images.get(watch.target.revision) or "IMAGE"


def _by_hand(watch: Watch) -> str:
    service = watch.deploy.service
    place = f"{quote(service.name)} --project {quote(service.project)} --region {quote(service.region)}"
    deploy = f"gcloud run deploy {place} --image {quote(image_of(watch))} --no-traffic"
    return (
        f"By hand: `{deploy}` (its configuration is then the present one), and once it is Ready "
        f"`gcloud run services update-traffic {place} --to-latest`."
    )
