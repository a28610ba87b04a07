"""Traffic as it is seen: the cutover, promotions, who took it away, and how our own write ended."""

from dataclasses import replace
from math import inf

from watchdog.core import (
    coverage,
    ending,
    frontier,
    messages,
    promotion,
    recovery,
    trial,
)
from watchdog.core.decide import Step
from watchdog.core.events import Noticed, Target, TrafficSeen, Written
from watchdog.core.model import Outcome, State
from watchdog.core.state import Watch
from watchdog.core.text import clock, when

ERRORS = "error_rate"
"""The check that tells a revision's own traffic."""


def cut_over(step: Step, at: float) -> None:
    """The revision has its first traffic: the windows begin."""
    watch = step.watch
    watch.cutover_at = at
    watch.anchor = at
    promotion.step(watch)
    watch.step_at = at
    if not watch.ended_early:
        watch.ends_at = at + watch.rules.policy.watch_s
    watch.state = State.PAUSED if watch.paused else State.WATCHING
    watch.blind_at = min((due for due, _ in coverage.blind(watch)), default=inf)
    step.note("cutover", f"{watch.revision} serves traffic since {clock(at)}.")
    step.announce("cutover", revision=watch.revision, split=watch.split.percents())


def traffic(step: Step, event: TrafficSeen) -> None:
    """The service's traffic as read: nothing new, a promotion, a step back, or somebody took it away."""
    watch = step.watch
    if trial.returned(watch, event):
        watch.tags = event.tags
        return
    before, now = watch.split.percent_of(watch.revision), event.split.percent_of(watch.revision)
    watch.split, watch.tags = event.split, event.tags
    if watch.cutover_at is None:
        if now:
            cut_over(step, event.at)
        return
    if watch.rollback is not None:
        _while_rolling_back(step, event)
    elif now == 0:
        _gone(step, event)
    elif now > before:
        _promoted(step, before, now)
    elif now < before:
        step.note("stepped_back", f"{watch.revision} went from {before} % to {now} % of the traffic.")
        step.announce("stepped_back", split=event.split.percents())


def _while_rolling_back(step: Step, event: TrafficSeen) -> None:
    watch = step.watch
    rollback = watch.rollback
    assert rollback is not None  # noqa: S101 - the caller checked
    mine = event.split.percent_of(watch.revision)
    if rollback.stage in {"failed", "observed", "trial"} and not mine:
        _gone(step, event)
        return
    if rollback.stage == "trial":
        trial.traffic(step, event)
        if watch.rollback is None and mine > rollback.before.percent_of(watch.revision):
            _promoted(step, rollback.before.percent_of(watch.revision), mine)
        return
    gone = rollback.restored_at is not None or not mine
    if rollback.written_at is not None and gone and event.newer and not event.split.same_traffic(rollback.after):
        reason = f"Rolled back to {rollback.after}; a newer revision has taken over since."
        ending.end(step, Outcome.ROLLED_BACK, reason)
        return
    recovery.traffic(step, event)


def _gone(step: Step, event: TrafficSeen) -> None:
    """The watched revision has no traffic any more, and we did not write that."""
    watch = step.watch
    if event.rolled_back == watch.revision != watch.rolled_back_before:
        outcome = Outcome.ROLLED_BACK
        reason = f"Another watchdog rolled {watch.revision} back; Cloud Run serves {event.split}."
    elif event.newer:
        outcome = Outcome.SUPERSEDED
        reason = f"A newer revision took over: Cloud Run serves {event.split}."
    else:
        outcome = Outcome.OVERRIDDEN
        reason = f"Somebody moved traffic away from {watch.revision}: Cloud Run serves {event.split}. It is not fought."
    if watch.outcome is Outcome.FAILED:
        outcome, reason = Outcome.FAILED, f"{watch.reason} Since then: {reason[0].lower()}{reason[1:]}"
    ending.end(step, outcome, reason)


def _promoted(step: Step, before: int, now: int) -> None:
    watch = step.watch
    seen = _frontier(watch, now / before)
    watch.anchor = watch.at
    promotion.step(watch)
    if not watch.ended_early:
        watch.ends_at = watch.at + watch.rules.policy.watch_s
    watch.covers = {check: c._replace(done_s=()) for check, c in watch.covers.items()}
    watch.closed_windows = frozenset()
    watch.proven_at = None
    sentence = f"{watch.revision} went from {before} % to {now} % of the traffic; the immediate window starts again."
    step.note("promoted", sentence)
    step.announce("promoted", split=watch.split.percents())
    step.notify(
        messages.body(
            watch,
            "promoted",
            severity="info",
            title=f"Promoted to {now} %: {messages.place(watch)}",
            happened=sentence,
            did="The watch goes on; the target of a rollback stays.",
            over=f"The watch ends at {when(watch.ends_at, watch.at)}.",
            todo="Nothing.",
            evidence=[("note", note) for note in seen],
            change=True,
        )
    )


def _frontier(watch: Watch, growth: float) -> tuple[str, ...]:
    """What can be found with the new share, reckoned from the traffic of the old one."""
    errors = [key for key in watch.streams if key[1] == ERRORS and not key[2]]
    per_s = max((promotion.rate(watch, key) for key in errors), default=0.0) * growth
    return frontier.of_rules(watch.rules, {frontier.RATE: per_s}) if per_s else ()


def written(step: Step, event: Written) -> None:
    """Our write ended, or found that somebody had been faster."""
    if event.result in {"superseded", "overridden"}:
        ending.end(step, Outcome(event.result), event.reason)
    else:
        recovery.written(step, event)


def noticed(step: Step, event: Noticed) -> None:
    """A notice that came after discovery had opened the watch: it may know what could not be seen. What it forbids
    counts from now on; a target that was a guess gives way to the caller's word."""
    watch = step.watch
    deploy = watch.deploy
    watch.deploy = replace(
        deploy,
        version=event.version or deploy.version,
        deployer=event.deployer or deploy.deployer,
        notes=event.notes or deploy.notes,
        rollback_safe=deploy.rollback_safe and event.rollback_safe,
    )
    said = [f"version {event.version}"] if event.version else []
    if not event.rollback_safe:
        said.append("not safe to roll back: it will page instead")
    if event.previous.shares and watch.rollback is None:
        watch.target = Target(split=event.previous, source="caller")
        said.append(f"before it served {event.previous}")
    step.note("notice", f"A deploy notice came: {', '.join(said) or 'nothing new in it'}.")
    step.announce("deploy_noticed", rollback_safe=watch.deploy.rollback_safe, version=watch.deploy.version)
