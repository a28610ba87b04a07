"""What is due although nothing happens: slots, waits, silence, windows and the end, fired in order."""

from dataclasses import replace
from math import inf

from watchdog.core import (
    alarms,
    coverage,
    decide,
    ending,
    escalation,
    evaluate,
    incidents,
    messages,
    migration,
    recovery,
    scaling,
    signoffs,
    trial,
    versus,
    warming,
)
from watchdog.core.decide import Step
from watchdog.core.model import Outcome, State
from watchdog.core.state import FRESH_S, Watch
from watchdog.core.text import listing, share, span, when

OVERTIME_S = 120.0
"""The longest that an open confirmation may keep a watch beyond its end."""
PENDING_S = 1800.0
"""How long a watch waits for its revision's first traffic."""


def next_deadline(watch: Watch) -> float:
    """When the watch must be looked at again although nothing happens, Unix seconds; `inf` when never."""
    if not watch.open:
        return inf
    if watch.cutover_at is None:
        return min(watch.opened_at + PENDING_S, watch.ends_at)
    due = watch.slots_due
    if watch.rollback is None:
        if watch.hold is not None and watch.hold.until is not None:
            due = min(due, watch.hold.until)
        if watch.approve_until is not None:
            due = min(due, watch.approve_until)
        if watch.warming is not None and watch.hold is None:
            due = min(due, watch.warming.until)
        if watch.versus is not None:
            due = min(due, watch.versus.until)
    later = (
        trial.due(watch),
        recovery.due(watch),
        incidents.due(watch),
        escalation.due(watch),
        _next_window(watch),
        signoffs.due(watch),
        scaling.due(watch),
    )
    due = min(due, *later, end_of(watch))
    return due if watch.rollback is not None else min(due, watch.blind_at)


def end_of(watch: Watch) -> float:
    """When the watch may be concluded: its end, but never in the middle of a rollback or of a failing probe's
    confirmation, whose answer is seconds away and may be all that matters."""
    rollback = watch.rollback
    if (
        rollback is not None
        and rollback.stage in {"writing", "trial", "settling", "verifying"}
        and watch.outcome is None
    ):
        since = rollback.restored_at or rollback.written_at or rollback.decided_at
        return max(watch.ends_at, since + watch.rules.policy.rollback.verify_for_s + OVERTIME_S)
    proving = (
        watch.warming is not None
        or watch.versus is not None
        or any(not c.complete for c in watch.confirmations.values())
    )
    if proving and watch.hold is None and rollback is None:
        return watch.ends_at + OVERTIME_S
    return max(watch.ends_at, scaling.holds_until(watch), migration.holds_until(watch))


def _next_window(watch: Watch) -> float:
    for window in watch.rules.policy.windows:
        if window.window not in watch.closed_windows:
            settled = watch.anchor + window.until_s + watch.settles_s
            return settled if settled < watch.ends_at else inf
    return inf


def fire(step: Step) -> None:
    """Fire whatever is due at the draft's time."""
    watch = step.watch
    if watch.cutover_at is None:
        reason = f"{watch.revision} got no traffic within {span(watch.at - watch.opened_at)}."
        ending.end(step, Outcome.UNVERIFIED, reason)
        return
    alarms.act(step, evaluate.judge(watch, watch.at))
    trial.fire(step)
    recovery.fire(step)
    if not watch.open:
        return
    if watch.rollback is None:
        _fire_waits(step)
        alarms.pursue(step)
    alarms.catch_up(step)
    incidents.fire(step)
    escalation.fire(step)
    if watch.rollback is None and watch.at >= watch.blind_at:
        _fire_blind(step)
    _fire_windows(step)
    signoffs.fire(step)
    scaling.follow(step)
    if watch.at >= end_of(watch) and watch.open:
        ending.finish(step)


def _fire_waits(step: Step) -> None:
    watch = step.watch
    held = watch.hold
    if watch.approve_until is not None and watch.at >= watch.approve_until and watch.pending_trigger is not None:
        trigger, watch.pending_trigger, watch.approve_until = watch.pending_trigger, None, None
        decide.refuse(
            step,
            trigger,
            decide.UNANSWERED,
            f"Decide now: `watchdog rollback {watch.id}` or {messages.by_hand(watch)}.",
        )
    elif held is not None and held.until is not None and watch.at >= held.until:
        asked = held.trigger.probe in watch.confirmations
        if watch.proves(held.trigger):
            if held.kind == "retry":
                watch.hold, watch.state = None, State.PAUSED if watch.paused else State.WATCHING
            decide.consider(step, held.trigger)
        elif asked:  # the answers are from before an absence, or not enough yet
            watch.hold = replace(held, until=watch.at + FRESH_S)
        else:
            decide.release_hold(step, "the fault has cleared")
        if watch.hold is held:  # waits for something else now
            watch.hold = replace(held, until=None)
    elif watch.warming is not None and watch.hold is None:
        warming.judge(step)
    if watch.versus is not None:
        versus.judge(step)


def _fire_blind(step: Step) -> None:
    watch = step.watch
    lost = [check for at, check in coverage.blind(watch) if at <= watch.at]
    watch.blind_said |= set(lost)
    watch.blind_at = min((at for at, _ in coverage.blind(watch)), default=inf)
    if not lost:
        return
    why = listing(sorted({watch.missing.get(c, "no answer").replace("_", " ") for c in lost}))
    sentence = (
        f"No usable evidence for {listing(lost)} of {messages.place(watch)} ({why}); probes and other feeds go on."
    )
    step.note("blind", sentence)
    step.announce("blind", checks=lost, reason=sentence)
    step.notify(
        messages.body(
            watch,
            "blind",
            severity="warning",
            title=f"Blind: {messages.place(watch)}: {listing(lost)}",
            happened=sentence,
            did="Nothing: silence never rolls back, and never passes either.",
            over="No.",
            todo=_to_see_again({watch.missing.get(c, "") for c in lost}),
        )
    )


def _to_see_again(reasons: set[str]) -> str:
    if reasons <= {"access", "auth"}:
        return (
            "Give the watchdog's account roles/run.invoker on the service (behind Identity-Aware Proxy "
            "roles/iap.httpsResourceAccessor), or mend the probe's token and headers."
        )
    return "Check the source (Cloud Monitoring, its permissions, our network)."


def _fire_windows(step: Step) -> None:
    watch = step.watch
    behind = watch.settles_s
    windows = watch.rules.policy.windows
    for i, (window, (_, end)) in enumerate(zip(windows, watch.bounds(), strict=True)):
        if window.window in watch.closed_windows or watch.at < end + behind or end >= watch.ends_at:
            continue
        watch.closed_windows |= {window.window}
        covered = coverage.of_window(watch, i, watch.ends_at)
        fine = covered is None or covered >= watch.rules.policy.coverage_floor
        alarms = coverage.open_alarms(watch)
        name = window.window.value.replace("_", " ")
        said = (
            "verified"
            if fine and not alarms
            else "UNVERIFIED"
            if not fine
            else f"broken: {listing(r.label for r in alarms)}"
        )
        sentence = f"The {name} window has ended: {said}; coverage {share(covered or 0.0)}."
        step.note("window", sentence)
        step.announce("window_ended", window=window.window.value, coverage=covered, verified=fine and not alarms)
        if i == 0 and fine and not alarms and watch.hold is None and watch.rollback is None and covered is not None:
            watch.proven_at = watch.at
            step.announce("proven", split=watch.split.percents())
        if watch.rollback is None:
            step.notify(
                messages.body(
                    watch,
                    "window",
                    severity="info" if fine and not alarms else "warning",
                    title=f"{name.capitalize()} window of {messages.place(watch)}: {said}",
                    happened=sentence,
                    did="The watch goes on.",
                    over=f"The watch ends at {when(watch.ends_at, watch.at)}.",
                    todo="Nothing." if fine and not alarms else "Read the criteria on the watch's page.",
                    evidence=[
                        *(
                            (rule.label, state.verdict.value)
                            for rule, state in zip(watch.rules.rules, watch.verdicts, strict=True)
                        ),
                        *(("broke again, not told", f"{label}: {n} times") for label, n in watch.muted.items()),
                    ],
                )
            )
            watch.muted = {}
