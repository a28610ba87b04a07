"""More instances for a row that asks for them: decided, written once, measured again, kept or put back.

Whether there is room is judged when the service has been read (`scaling_plan`); here is what happens when, and what is
said of it. At most one attempt is under way; what the rows show while it is being measured decides how it ends.
"""

from collections.abc import Sequence
from dataclasses import replace
from math import inf
from typing import Any, Final

from watchdog.core import messages, quiet, remedies
from watchdog.core.beyond import Scaling
from watchdog.core.commands import Scale
from watchdog.core.decide import Step
from watchdog.core.events import Scaled
from watchdog.core.model import Action, Sample, Severity, Table, Value
from watchdog.core.rules import Rule
from watchdog.core.state import Watch
from watchdog.core.text import iso, reading, span, when

INSTANCES: Final = "instances"
KEPT: Final = 5
"""Readings of the instances that are remembered."""
APPROVAL: Final = "scale_up"
"""The sign-off by which a person approves it."""
ACTIVE: Final = frozenset({"writing", "asked", "judging", "reverting"})
ATTEMPTS: Final = 20
"""Attempts that a watch remembers."""
AGAIN_S: Final = 300.0
"""An attempt that was refused is judged again after so long, while its row is still broken: instances may have reached
their maximum since."""
WRITING_S: Final = 120.0
"""The end of a watch waits so long for a write of its own that is under way."""


def current(watch: Watch) -> Scaling | None:
    """The attempt under way."""
    last = watch.scalings[-1] if watch.scalings else None
    return last if last is not None and last.stage in ACTIVE else None


def sampled(watch: Watch, sample: Sample) -> None:
    """How many instances the watched revision has."""
    if sample.check != INSTANCES or sample.revision != watch.revision or not isinstance(sample.evidence, Value):
        return
    points = sorted({**dict(watch.instances), sample.end: sample.evidence.x}.items())
    watch.instances = tuple(points[-KEPT:])


def begin(step: Step, index: int, sentence: str) -> bool:
    """A row asks for more instances. True when what is said about it waits for how the attempt ends."""
    watch = step.watch
    rule, state = watch.rules.rules[index], watch.verdicts[index]
    if not concerns(watch, rule) or watch.paused or watch.rollback is not None:
        return False
    active = current(watch)
    if active is None:
        attempt = Scaling(
            number=watch.scalings[-1].number + 1 if watch.scalings else 1,
            rule=index,
            criterion=rule.label,
            sentence=sentence,
            decided_at=watch.at,
            value=state.value,
            instances=watch.instances[-1][1] if watch.instances else None,
        )
        watch.scalings = (*watch.scalings[-ATTEMPTS + 1 :], attempt)
        step.commands.append(Scale())
        return True
    if rule.row.severity is Severity.CRITICAL and watch.rules.rules[active.rule].row.severity is Severity.WARNING:
        # The graver row is what has to be mended.
        _put(watch, replace(active, rule=index, criterion=rule.label, sentence=sentence, value=state.value))
    return active.stage == "writing"


def concerns(watch: Watch, rule: Rule) -> bool:
    """Whether the row is one of Cloud Run's own metrics, and the policy lets it write."""
    metric = watch.rules.policy.metrics.get(rule.row.metric)
    mine = rule.row.action is Action.SCALE_UP and metric is not None and metric.source == "cloud_run"
    return mine and watch.rules.policy.scale_up is not None


def in_peak(watch: Watch, index: int) -> bool:
    """Whether more instances are what a peak of traffic asks for, which keeps every other message back."""
    peak = watch.hold is not None and watch.hold.kind == "capacity"
    return peak and concerns(watch, watch.rules.rules[index])


def due(watch: Watch) -> float:
    """When an attempt is measured again, or its approval runs out; Unix seconds."""
    active = current(watch)
    if active is None and _refused(watch) is not None:
        return (watch.scalings[-1].ended_at or watch.at) + AGAIN_S
    return active.due if active is not None and active.due is not None else inf


def _refused(watch: Watch) -> Scaling | None:
    """The last attempt, where it was not written and its row is still broken: a person who did not answer is not asked
    again."""
    last = watch.scalings[-1] if watch.scalings else None
    if last is None or last.stage not in {"refused", "failed"} or last.written_at is not None or last.before:
        return None
    free = watch.rollback is None and not watch.paused and watch.open
    return last if free and watch.verdicts[last.rule].alarmed_at is not None else None


def holds_until(watch: Watch) -> float:
    """Until when the end of the watch waits for a write of an attempt."""
    active = current(watch)
    if active is None or active.stage not in {"writing", "reverting"}:
        return -inf
    return (active.due if active.stage == "reverting" and active.due is not None else active.decided_at) + WRITING_S


def follow(step: Step) -> None:
    """What the rows say by now: called after every event and deadline."""
    watch = step.watch
    active = current(watch)
    if active is None and watch.at >= due(watch):
        _again(step)
    if active is None or not watch.open:
        return
    cleared = watch.verdicts[active.rule].alarmed_at is None
    moved = watch.rollback is not None and watch.rollback.written_at is not None
    if active.stage == "asked" and (cleared or watch.rollback is not None):
        why = "it cleared by itself" if cleared else "the release is being rolled back"
        _end(step, active, "dropped", f"Not scaled up: {why}.")
    elif active.stage == "judging" and moved:
        why = "the release was rolled back before it could be measured"
        _end(step, active, "left", f"The service's maximum stays at {active.after} instances: {why}.")
    elif active.stage == "judging" and cleared:
        _helped(step, active)
    elif active.stage == "asked" and watch.at >= due(watch):
        _end(step, active, "refused", f"Not scaled up: nobody approved it within {span(watch.at - active.decided_at)}.")
    elif active.stage == "judging" and watch.at >= due(watch):
        _measured(step, active)


def _again(step: Step) -> None:
    """What was refused is judged once more, on what holds now."""
    watch = step.watch
    last = watch.scalings[-1]
    now = watch.verdicts[last.rule].value
    instances = watch.instances[-1][1] if watch.instances else None
    attempt = replace(
        last,
        stage="writing",
        tries=last.tries + 1,
        decided_at=watch.at,
        ended_at=None,
        value=now,
        instances=instances,
    )
    _put(watch, attempt)
    step.commands.append(Scale())


def approved(step: Step, name: str, who: str, said: str) -> bool:
    """A person says yes. False when this sign-off means something else."""
    watch = step.watch
    active = current(watch)
    if name != APPROVAL or active is None or active.stage != "asked":
        return False
    step.note("approved", f"{who} approved it: the service is scaled up{said}.")
    _put(watch, replace(active, stage="writing", by=who, due=None))
    step.commands.append(Scale())
    return True


def scaled(step: Step, event: Scaled) -> None:
    """A write ended, or was not made."""
    watch = step.watch
    active = current(watch)
    if active is None or active.stage not in {"writing", "reverting"}:
        return
    if active.stage == "reverting":
        _undone(step, active, event)
    elif event.result == "done":
        _raised(step, active, event)
    elif event.result == "asked":
        _asked(step, active, event)
    else:
        command = event.command or active.command
        attempt = replace(active, command=command, before=event.before, after=event.after)
        why = {"observed": "this policy only observes"}.get(event.result, "")
        sentence = f"{event.reason}; {why}" if why else event.reason
        if attempt.tries > 1 and event.result in {"refused", "failed"}:  # said when it was refused first
            _put(watch, replace(attempt, stage=event.result, ended_at=watch.at, reason=f"Not scaled up: {sentence}."))
            return
        _end(step, attempt, event.result, f"Not scaled up: {sentence}.")
        _advise(step, watch.scalings[-1], f"Nothing was written: {sentence}.")


# --- what becomes of it -------------------------------------------------------------------------------------------


def _raised(step: Step, active: Scaling, event: Scaled) -> None:
    watch = step.watch
    config = watch.rules.policy.scale_up
    after_s = config.measure_after_s if config is not None else 0.0
    attempt = replace(
        active,
        stage="judging",
        before=event.before,
        after=event.after,
        command=event.command,
        reason=event.reason,
        written_at=event.at,
        due=event.at + after_s,
    )
    _put(watch, attempt)
    by = f" ({active.by} approved it)" if active.by else ""
    did = f"Raised the service's maximum from {event.before} to {event.after} instances{by}; {event.reason}."
    step.note("scaled_up", did)
    step.announce("scaled_up", criterion=active.criterion, before=event.before, after=event.after, reason=did)
    _say(
        step,
        attempt,
        "warning",
        title=f"Scaling up: {messages.place(watch)}: {event.before} to {event.after} instances",
        happened=f"{active.sentence}, with {_count(active.instances)}.",
        did=f"{did} No revision was made, and traffic is as it was.",
        over=f"Not known yet: measured again by {when(attempt.due or watch.at, watch.at)}.",
        todo="Nothing yet. If it does not clear, the maximum is put back and somebody is paged.",
    )


def _asked(step: Step, active: Scaling, event: Scaled) -> None:
    watch = step.watch
    until = watch.at + watch.rules.policy.rollback.approve_within_s
    attempt = replace(active, stage="asked", before=event.before, after=event.after, command=event.command, due=until)
    _put(watch, attempt)
    step.note("asked", f"Asked whether to scale up from {event.before} to {event.after} instances: {active.sentence}.")
    step.announce("scale_up_asked", criterion=active.criterion, before=event.before, after=event.after)
    _say(
        step,
        attempt,
        "warning",
        title=f"Approve scaling up: {messages.place(watch)}: {event.before} to {event.after} instances",
        happened=f"{active.sentence}, with {_count(active.instances)}.",
        did="Nothing yet: this policy asks a person first (mode: approve).",
        over="No.",
        todo=f"`watchdog signoff {watch.id} {APPROVAL} --reason …` by {when(until, watch.at)} writes it and measures "
        f"again; or do it yourself: `{event.command}`.",
    )


def _helped(step: Step, active: Scaling) -> None:
    watch = step.watch
    attempt = _end(step, active, "helped", f"Scaling up helped: {_compared(watch, active)}.")
    _say(
        step,
        attempt,
        "note",
        severity="info",
        pages=False,
        title=f"Scaled up, and it helped: {messages.place(watch)}: {active.criterion}",
        happened=f"{active.criterion} has cleared: {_compared(watch, active)}.",
        did=f"The service's maximum stays at {active.after} instances (it was {active.before}).",
        over="Yes.",
        todo=f"Find out whether this release needs more than the one before. Back to what it was: "
        f"`{remedies.more_instances(watch, active.before)}`.",
    )


def _measured(step: Step, active: Scaling) -> None:
    """The time is over and the row is still broken."""
    watch = step.watch
    state = watch.verdicts[active.rule]
    if state.sampled_at is None or state.sampled_at <= (active.written_at or 0.0):
        reason = f"whether {active.criterion} cleared is not known: nothing was measured since"
        attempt = _end(step, active, "left", f"The maximum stays at {active.after} instances; {reason}.")
        _escalate(
            step,
            attempt,
            f"Scaled up, result not known: {messages.place(watch)}: {active.criterion}",
            f"The maximum was raised from {active.before} to {active.after} instances, and {reason}.",
            f"Nothing more: the maximum stays at {active.after}, within the policy's cap.",
        )
        return
    _put(watch, replace(active, stage="reverting", due=watch.at))
    step.note("not_helped", f"Scaling up did not help: {_compared(watch, active)}; the maximum is put back.")
    step.announce("scale_up_did_not_help", criterion=active.criterion, reason=_compared(watch, active))
    step.commands.append(Scale())


def _undone(step: Step, active: Scaling, event: Scaled) -> None:
    watch = step.watch
    compared = _compared(watch, active)
    did = {
        "reverted": f"Put the service's maximum back from {active.after} to {active.before} instances.",
        "left": f"The maximum was left as it is: {event.reason}.",
    }.get(event.result, f"The maximum could not be put back: {event.reason}.")
    stage = event.result if event.result in {"reverted", "left"} else "failed"
    attempt = _end(step, active, stage, f"Scaling up did not help: {compared}. {did}")
    _escalate(
        step,
        attempt,
        f"Scaled up, and it did not help: {messages.place(watch)}: {active.criterion}",
        f"{active.criterion} is still broken {span(watch.at - (active.written_at or watch.at))} later: {compared}.",
        did,
        todo="More instances are not the answer: look for what keeps them busy (a loop, a lock, a slow dependency), or "
        f"roll back: `watchdog rollback {watch.id} --reason …`."
        + (f" To put it back: `{remedies.more_instances(watch, active.before)}`." if stage == "failed" else ""),
    )


def _end(step: Step, active: Scaling, stage: str, sentence: str) -> Scaling:
    watch = step.watch
    now = watch.verdicts[active.rule].value
    attempt = replace(
        active,
        stage=stage,
        ended_at=watch.at,
        due=None,
        value_after=now if active.written_at is not None else None,
        instances_after=watch.instances[-1][1] if watch.instances and active.written_at is not None else None,
        reason=sentence,
    )
    _put(watch, attempt)
    step.note(f"scale_up_{stage}", sentence)
    step.announce("scale_up_ended", criterion=active.criterion, result=stage, reason=sentence)
    return attempt


def _put(watch: Watch, attempt: Scaling) -> None:
    watch.scalings = (*watch.scalings[:-1], attempt)


# --- words --------------------------------------------------------------------------------------------------------


def _count(instances: float | None) -> str:
    return "an unknown number of instances" if instances is None else f"{instances:g} instances"


def _compared(watch: Watch, active: Scaling) -> str:
    """`cpu_usage 94 % with 5 instances before, 52 % with 8 after`."""
    metric = watch.rules.rules[active.rule].row.metric
    now, there = watch.verdicts[active.rule].value, watch.instances[-1][1] if watch.instances else None

    def side(value: float | None, instances: float | None) -> str:
        said = "not measured" if value is None else reading(metric, value)
        return f"{said} with {_count(instances)}"

    return f"{metric} {side(active.value, active.instances)} before, {side(now, there)} after"


def _evidence(active: Scaling) -> list[tuple[str, str]]:
    found = [(active.criterion, active.sentence)]
    if active.after:
        found.append(("maximum of instances", f"{active.before} before, {active.after} after"))
    return found


def _pages(watch: Watch, active: Scaling) -> bool:
    row = watch.rules.rules[active.rule].row
    return row.table is Table.ALERT and row.severity is Severity.CRITICAL


def _advise(step: Step, active: Scaling, did: str) -> None:
    """Nothing was written: a person is asked, with the command."""
    watch = step.watch
    if quiet.repeats(watch, active.rule, pages=_pages(watch, active)):
        watch.muted = {**watch.muted, active.criterion: watch.muted.get(active.criterion, 0) + 1}
        return
    note = watch.rules.policy.notes.get(watch.rules.rules[active.rule].row.id, "")
    todo = f"`{active.command}`." if active.command else "Look at the service's instances."
    _say(
        step,
        active,
        "warning",
        title=f"Scale up: {messages.place(watch)}: {active.criterion}",
        happened=f"Scale up {messages.place(watch)}: {active.sentence}, with {_count(active.instances)}.",
        did=did + (f" The team's note: {note}." if note else ""),
        over="No.",
        todo=todo,
    )


def _escalate(step: Step, active: Scaling, title: str, happened: str, did: str, *, todo: str = "") -> None:
    _say(
        step,
        active,
        "warning",
        severity="error",
        pages=True,
        title=title,
        happened=happened,
        did=did,
        over="No.",
        todo=todo
        or f"Look at {active.criterion} yourself. To put it back: "
        f"`{remedies.more_instances(step.watch, active.before)}`.",
    )


def _say(  # noqa: PLR0913 - the parts of a message
    step: Step,
    active: Scaling,
    kind: str,
    *,
    title: str,
    happened: str,
    did: str,
    over: str,
    todo: str,
    severity: str = "",
    pages: bool | None = None,
) -> None:
    watch = step.watch
    wakes = _pages(watch, active) if pages is None else pages
    watch.said = {**watch.said, active.rule: watch.at}
    grave = severity or watch.rules.rules[active.rule].row.severity.value
    if wakes:
        step.open_incident(title, grave, criterion=active.criterion)
    step.notify(
        messages.body(
            watch,
            kind,
            severity=grave,
            title=title,
            happened=happened,
            did=did,
            over=over,
            todo=todo,
            evidence=_evidence(active),
            incident="trigger" if wakes else None,
            broadcast=severity == "error",
            criterion=active.criterion,
        )
    )


def unsolved(watch: Watch) -> str | None:
    """The row for which somebody was woken because more instances did not help, while it is still broken."""
    last = watch.scalings[-1] if watch.scalings else None
    if last is None or last.written_at is None or last.stage not in {"reverted", "left", "failed"}:
        return None
    return last.criterion if watch.verdicts[last.rule].alarmed_at is not None else None


def leftover(watch: Watch) -> Sequence[tuple[str, str]]:
    """What an ended watch leaves of its attempts, for its last message."""
    last = watch.scalings[-1] if watch.scalings else None
    if last is None or last.written_at is None or last.stage == "reverted":
        return []
    measured = "" if last.stage == "helped" else ", not measured to its end"
    back = remedies.more_instances(watch, last.before)
    return [("maximum of instances", f"{last.after}, was {last.before}{measured}. Back: `{back}`")]


def view(watch: Watch) -> list[dict[str, Any]]:
    """Every attempt, oldest first, JSON-able."""
    return [
        {
            "state": s.stage,
            "criterion": s.criterion,
            "proof": s.sentence,
            "by": s.by,
            "decided_at": iso(s.decided_at),
            "written_at": iso(s.written_at),
            "ended_at": iso(s.ended_at),
            "measured_by": iso(s.due) if s.stage == "judging" else None,
            "max_before": s.before or None,
            "max_after": s.after or None,
            "value_before": _text(watch, s, s.value),
            "value_after": _text(watch, s, s.value_after),
            "instances_before": s.instances,
            "instances_after": s.instances_after,
            "reason": s.reason,
            "command": s.command,
        }
        for s in watch.scalings
    ]


def _text(watch: Watch, scaling: Scaling, value: float | None) -> str:
    return "–" if value is None else reading(watch.rules.rules[scaling.rule].row.metric, value)
