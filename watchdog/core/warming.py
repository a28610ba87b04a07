"""An alarm of counts is proven: warm the target and ask it whether it is well, for a few seconds, before traffic moves.

Also keeps asking it while the rollback is held because both revisions are sick.
"""

from dataclasses import replace

from watchdog.core import decide, shared
from watchdog.core.acts import Trigger
from watchdog.core.decide import Step
from watchdog.core.events import Probed
from watchdog.core.model import State
from watchdog.core.probing import ProbeAnswer, Role
from watchdog.core.standing import Warming
from watchdog.core.state import Watch

KEEP = 5
INSTANCES = "instances"
"""The metric that says how many the target needs: as many as served before the deploy."""
MOST = 20
"""Requests at a time with which the target is warmed, at most."""
LEAST = 2
"""Failures for the same reason before the target counts as sick."""


def names(watch: Watch) -> tuple[str, ...]:
    """The probes that the target is asked: the critical ones that can pass at all, and that follow its tag."""
    probes = watch.rules.policy.probes
    return tuple(n for n, p in probes.items() if p.critical and p.url is None and watch.armed(n))


def size(watch: Watch) -> int:
    """How many requests at a time warm the target: one for each instance that served before the deploy, at most `MOST`,
    since each request that finds no free instance starts one."""
    return max(1, min(MOST, round(watch.instances_before)))


def start(step: Step, trigger: Trigger) -> None:
    """Warm the target before the rollback, or decide at once where it cannot be reached by itself."""
    watch = step.watch
    if watch.rollback is not None or watch.warming is not None or watch.hold is not None:
        return
    if watch.tag_url(Role.CONTROL) is None or not names(watch):
        decide.consider(step, trigger)
        return
    watch.warming = Warming(trigger=trigger, until=watch.at + watch.rules.policy.rollback.warm_s)
    if watch.state is State.WATCHING:
        watch.state = State.CONFIRMING
    step.announce("warming", criterion=trigger.criterion, reason=trigger.sentence, target=str(watch.target.split))


def answered(step: Step, event: Probed) -> None:
    """The target answered a warming probe."""
    watch = step.watch
    if event.answer.ok and event.probe not in watch.controls_answered:
        watch.controls_answered |= {event.probe}
    warming = watch.warming
    if warming is None:
        return
    answers = (*warming.answers.get(event.probe, ()), event.answer)[-KEEP:]
    watch.warming = replace(warming, answers={**warming.answers, event.probe: answers})
    judge(step)


def judge(step: Step) -> None:
    """Well: go. Time is up: go, unless the target is as sick."""
    watch = step.watch
    warming = watch.warming
    if warming is None or watch.rollback is not None or shared.ongoing(watch):
        return  # while a probe fails on both, that probe decides
    latest = {n: warming.answers[n][-1] for n in names(watch) if warming.answers.get(n)}
    if len(latest) == len(names(watch)) and all(a.ok for a in latest.values()):
        _go(step, replace(warming.trigger, warm=True))
        return
    if watch.at < warming.until:
        return
    sick = next((n for n in latest if _sick(watch, n, warming.answers[n])), None)
    if sick is None:
        if watch.hold is None:
            _go(step, warming.trigger)
        return
    detail = latest[sick].detail or latest[sick].reason
    decide.shared(step, warming.trigger, f"fails probe {sick} ({detail})", inherited=sick in watch.sick_before)


def _go(step: Step, trigger: Trigger) -> None:
    watch = step.watch
    watch.warming = None
    if watch.hold is not None and watch.hold.kind == "shared":
        watch.hold = None
    if watch.state in {State.CONFIRMING, State.HELD}:
        watch.state = State.CONFIRMING if watch.confirmations else State.WATCHING
    decide.consider(step, trigger)


def _sick(watch: Watch, name: str, answers: tuple[ProbeAnswer, ...]) -> bool:
    reasons = {a.reason for a in answers if a.failed}
    if len([a for a in answers if a.failed]) < LEAST or len(reasons) != 1 or answers[-1].ok:
        return False
    return reasons != {"timeout"} or name in watch.controls_answered


def dropped(step: Step) -> None:
    """The alarm has cleared while the target was asked: nothing to roll back any more."""
    watch = step.watch
    watch.warming = None
    if watch.state is State.CONFIRMING and not watch.confirmations:
        watch.state = State.PAUSED if watch.paused else State.WATCHING
