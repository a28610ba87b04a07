"""The database goes back before old code meets it: the job's one run, and what follows on its end.

The job runs where a rollback is refused because the schemas differ and the policy lets it (`run: automatic`), or on a
person's sign-off. Running it twice could undo two migrations, so it is never asked for again by itself: whatever cannot
be proven is said, and a person looks.
"""

from dataclasses import replace

from watchdog.core import decide, messages, migration
from watchdog.core.acts import Hold
from watchdog.core.commands import RunJob
from watchdog.core.decide import Step
from watchdog.core.events import JobRan
from watchdog.core.model import State


def approved(step: Step, name: str, who: str, said: str) -> bool:
    """A person lets the job run. False when this sign-off means something else."""
    watch = step.watch
    config = watch.rules.policy.database_rollback
    if name != migration.APPROVAL or config is None or not config.job:
        return False
    if migration.running(watch) or migration.undone(watch):
        step.note("ignored", f"{who} let the job {config.job} run{said}, but it runs already or has succeeded.")
        return True
    trigger = watch.pending_trigger or (watch.hold.trigger if watch.hold is not None else None)
    watch.job = migration.asked(watch, who)
    if trigger is not None and watch.rollback is None:
        watch.pending_trigger, watch.approve_until = None, None
        reason = f"the job {config.job} undoes the migration first, on the word of {who}"
        watch.hold = Hold(reason=reason, since=watch.at, trigger=trigger, kind=migration.HOLD)
        watch.state = State.HELD
    step.note("database", f"{who} lets the job {config.job} run{said}: it undoes the migration.")
    step.commands.append(RunJob())
    return True


def ran(step: Step, event: JobRan) -> None:
    """The job has begun, or has ended."""
    watch = step.watch
    run = watch.job
    if run is None or run.stage not in migration.ACTIVE:
        return
    step.announce("database_job", job=run.job, result=event.result, reason=event.reason, execution=event.execution)
    name = f" ({event.execution})" if event.execution else ""
    if event.result == "running":
        watch.job = replace(run, stage="running", execution=event.execution)
        step.note("database", f"The job {run.job} runs{name}. {event.reason}".strip())
        return
    good = event.result == "succeeded"
    watch.job = replace(
        run,
        stage="succeeded" if good else "failed",
        execution=event.execution or run.execution,
        ended_at=event.at,
        reason=event.reason,
    )
    if good:
        _succeeded(step, f"The job {run.job} has undone the migration{name}.", run.by)
    else:
        _failed(step, f"the job {run.job} that undoes the migration failed{name}: {event.reason}")


def _succeeded(step: Step, sentence: str, by: str) -> None:
    watch = step.watch
    held = watch.hold
    step.note("database", sentence)
    if held is not None and held.kind == migration.HOLD:
        watch.hold, watch.outcome, watch.reason = None, None, ""
        watch.state = State.PAUSED if watch.paused else State.WATCHING
        if by:
            decide.begin(step, held.trigger, by=by)
        else:  # also when the fault has gone meanwhile: the new code does not know this schema any more
            decide.consider(step, held.trigger)
        return
    step.notify(
        messages.body(
            watch,
            "note",
            severity="warning",
            title=f"Database rolled back: {messages.place(watch)}",
            happened=sentence,
            did="Traffic is as it was: no rollback waited for this.",
            over="Not known.",
            todo=f"Code that needs the new schema fails now. If that is {watch.revision}: "
            f"`watchdog rollback {watch.id} --reason …`.",
        )
    )


def _failed(step: Step, reason: str) -> None:
    watch = step.watch
    held = watch.hold
    by_hand = " ".join(f"`{command}`" for command in migration.commands(watch))
    todo = (
        "See how far the database came before you do anything: the job may have done a part of its work. Then by hand: "
        f"{by_hand}, and `watchdog rollback {watch.id} --reason …`."
    )
    step.note("database", f"{reason[:1].upper()}{reason[1:]}.")
    if held is not None and held.kind == migration.HOLD:
        watch.hold = None
        decide.refuse(step, held.trigger, reason, todo)
        return
    title = f"Database NOT rolled back: {messages.place(watch)}"
    step.open_incident(title, criterion=migration.APPROVAL)
    step.notify(
        messages.body(
            watch,
            "warning",
            severity="critical",
            title=title,
            happened=f"{reason[:1].upper()}{reason[1:]}.",
            did="Nothing more: it is not run again by itself.",
            over="No.",
            todo=todo,
            incident="trigger",
            broadcast=True,
        )
    )
