"""How a watch ends, and what is said then."""

from watchdog.core import coverage, messages, recovery
from watchdog.core.decide import Step
from watchdog.core.model import Outcome


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
    step.notify(
        messages.body(
            watch,
            kind,
            severity=severity,
            title=f"{word}: {messages.place(watch)}: {watch.revision}",
            happened=reason,
            did="The watch has ended.",
            over="Yes." if outcome in {Outcome.PASSED, Outcome.SUPERSEDED} else "See above.",
            todo="Nothing." if outcome in {Outcome.PASSED, Outcome.SUPERSEDED} else "Read the report.",
            incident=step.resolve_incident() if outcome is not Outcome.FAILED else None,
        )
    )


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
    if watch.outcome is Outcome.FAILED:
        outcome, reason = Outcome.FAILED, watch.reason
    if outcome is Outcome.PASSED:
        watch.proven_at = watch.proven_at or watch.at
    end(step, outcome, reason)
