"""Not let through: 401, 403 and 404 from Google's front end and logins say nothing of a release (DESIGN 4, rule 5).

Unless the control is let through where the release is not, at the same moment: a release that sends everybody to a
login is bad. Compared are paths of one kind: what stands before the public URL (Identity-Aware Proxy) does not stand
before the old revision's tag, so where the release lets us in at its own URL, only our permission for the public one is
missing.
"""

from dataclasses import replace
from typing import Final

from watchdog.core.catalogue import check_words
from watchdog.core.decide import Step
from watchdog.core.model import Failed, Missing, State
from watchdog.core.policy import JourneyConfig
from watchdog.core.probing import ProbeAnswer, Role
from watchdog.core.standing import Confirmation, ProbeState
from watchdog.core.state import Watch

GRACE: Final = 3
"""Attempts beyond those that prove a failure, before it is said that the control is not let through either."""


def is_denied(answer: ProbeAnswer) -> bool:
    """Whether the answer came from what stands before the service and let us not through."""
    return isinstance(answer.evidence, Missing) and answer.evidence.reason == "access"


def effective(watch: Watch, probe: str, answer: ProbeAnswer) -> ProbeAnswer:
    """The answer as evidence: not being let through is the release's fault while the control is."""
    current = watch.confirmations.get(probe)
    if current is not None and current.vouched and is_denied(answer):
        return replace(answer, evidence=Failed("access"))
    return answer


def asks(watch: Watch, probe: str, answer: ProbeAnswer) -> bool:
    """Whether the control has to be asked what an answer means: once, until the probe passes again."""
    known, check = watch.probes.get(probe), watch.probe(probe)
    follows = isinstance(check, JourneyConfig) or check.url is None
    return (
        is_denied(answer)
        and follows
        and watch.tag_url(Role.CONTROL) is not None
        and watch.armed(probe)
        and not (known is not None and known.denied)
    )


def vouches(watch: Watch, c: Confirmation) -> bool:
    """Whether the control is let through while the release is not."""
    if c.control is None or not c.control.ok:
        return False
    if watch.judged_role is Role.PUBLIC and watch.tag_url(Role.OWN) is not None:
        return c.own is not None and not c.own.ok
    return True


def in_vain(c: Confirmation) -> bool:
    """Whether the control could not vouch although it was asked for long enough."""
    return not c.failures and not c.vouched and c.denied >= c.rule.failures + GRACE


def give_up(step: Step, name: str) -> None:
    """Neither the path under judgement nor the control lets us through: it says nothing, and is not asked any more."""
    watch = step.watch
    state = watch.probes.get(name, ProbeState())
    watch.probes = {**watch.probes, name: state._replace(denied=True)}
    watch.confirmations = {p: c for p, c in watch.confirmations.items() if p != name}
    if not watch.confirmations and watch.state is State.CONFIRMING and watch.warming is None:
        watch.state = State.WATCHING
    detail = state.last.detail if state.last is not None else ""
    step.note("denied", f"{check_words(name)} is not let through ({detail}): no evidence either way.")
