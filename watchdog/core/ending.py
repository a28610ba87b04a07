"""How a watch ends, and what is said then."""

from watchdog.core import coverage, incidents, messages, recovery, scaling, signoffs
from watchdog.core.decide import Step
from watchdog.core.model import Outcome
from watchdog.core.state import Watch
from watchdog.core.text import listing


def end(step: Step, outcome: Outcome, reason: str) -> None:
    """End the watch and say so."""
    watch = step.watch
    recovery.end(step, outcome, reason)
    titles = {
        Outcome.PASSED: ("passed", "info", "Passed"),
        Outcome.UNVERIFIED: ("unverified", "warning", "Not verified"),
        Outcome.SUPERSEDED: ("superseded", "info", "Superseded"),
        Outcome.OVERRIDDEN: ("overridden", "warning", "Overridden"),
        Outcome.FAILED: ("rollback_failed", "error", "Failed"),
        Outcome.ROLLED_BACK: ("rolled_back", "error", "Rolled back"),
    }
    kind, severity, word = titles[outcome]
    incident, left = incidents.at_the_end(step)
    step.notify(
        messages.body(
            watch,
            kind,
            severity=severity,
            title=f"{word}: {messages.place(watch)}: {watch.revision}",
            happened=reason,
            did="The watch has ended.",
            over=left or _over(watch, outcome),
            todo="Nothing." if outcome in {Outcome.PASSED, Outcome.SUPERSEDED} else "Read the report.",
            evidence=[
                *(("broke again, not told", f"{label}: {n} times") for label, n in watch.muted.items()),
                *scaling.leftover(watch),
            ],
            incident=incident,
            broadcast=bool(left),
            change=outcome is Outcome.ROLLED_BACK,
        )
    )


def _over(watch: Watch, outcome: Outcome) -> str:
    """Whether it is over, for somebody who reads nothing else."""
    if outcome in {Outcome.PASSED, Outcome.SUPERSEDED}:
        return "Yes."
    if not watch.split.percent_of(watch.revision):
        return f"Yes: {watch.revision} serves nobody any more."
    if outcome is Outcome.UNVERIFIED:
        return "Probably: nothing was proven against it, but too little of it was seen."
    return "Yes, as far as can be seen: nothing that pages was broken at the end."


def finish(step: Step) -> None:
    """The time is over: judged on the part that was seen."""
    watch = step.watch
    rollback = watch.rollback
    if rollback is not None and rollback.restored_at is not None and watch.outcome is None:
        reason = f"Rolled back to {rollback.after}; the watch ended before recovery was proven."
        end(step, Outcome.ROLLED_BACK, reason)
        return
    if rollback is not None and watch.outcome is None:
        end(step, Outcome.FAILED, f"The watch ended while {watch.revision} was being rolled back.")
        return
    outcome, reason = coverage.conclude(watch)
    if unanswered := signoffs.open_ones(watch):
        reason += f" Open, nobody has confirmed: {listing(unanswered)}."
    if watch.outcome is Outcome.FAILED:
        outcome, reason = Outcome.FAILED, watch.reason
    if outcome is Outcome.PASSED:
        watch.proven_at = watch.proven_at or watch.at
    end(step, outcome, reason)
