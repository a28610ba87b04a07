"""Alarms and signals into action: go after a rollback, or ask a person."""

from watchdog.core import (
    capacity,
    decide,
    evaluate,
    hard_down,
    messages,
    one_caller,
    quiet,
    remedies,
    scaling,
    trial,
    verdicts,
    versus,
)
from watchdog.core.acts import Trigger
from watchdog.core.catalogue import Family
from watchdog.core.decide import Step
from watchdog.core.events import Signalled
from watchdog.core.model import Action, Severity, Table


def act(step: Step, alarms: list[evaluate.Alarm]) -> None:
    """Do what the rows that raised an alarm ask for."""
    if not alarms:
        return
    watch = step.watch
    if any(watch.rules.rules[a.rule].row.action is Action.ROLLBACK for a in alarms):
        for alarm in alarms:
            versus.again(step, alarm.rule, alarm.sentence)
        pursue(step)
    for alarm in alarms:
        asks = watch.rules.rules[alarm.rule].row.action is not Action.ROLLBACK
        if not asks or watch.verdicts[alarm.rule].decided:
            continue
        if quiet.root_cause(watch) and not scaling.in_peak(
            watch, alarm.rule
        ):  # which says it all: no second message for the same fault
            watch.inhibited |= {alarm.rule}
            step.note(
                "inhibited", f"No message of its own, since what is known already may explain it: {alarm.sentence}."
            )
        else:
            _advise(step, alarm.rule, alarm.sentence)


def catch_up(step: Step) -> None:
    """What broke beside a root cause that has gone, and is still broken, is told now."""
    watch = step.watch
    if not watch.inhibited or not watch.open:
        return
    explained = quiet.root_cause(watch)
    waiting = frozenset(i for i in watch.inhibited if not explained or scaling.in_peak(watch, i))
    watch.inhibited -= waiting
    for i in sorted(waiting):
        state = watch.verdicts[i]
        if state.alarmed_at is not None and not state.decided:
            _advise(step, i, state.reason)


def pursue(step: Step) -> None:
    """Go after the alarms of rollback rows until something is decided. One that was raised while the watch was held or
    paused is not forgotten when that ends: a green probe never clears a user-traffic alarm."""
    watch = step.watch
    for i in watch.rules.rollback:
        state = watch.verdicts[i]
        if state.alarmed_at is None or state.decided:
            continue
        busy = any(x is not None for x in (watch.rollback, watch.warming, watch.versus, watch.hold))
        if busy or watch.pending_trigger is not None or not watch.open:
            return
        rule = watch.rules.rules[i]
        if rule.by_confirmation:
            continue
        if rule.family is Family.PROBES and state.check in watch.probes and not watch.armed(state.check):
            hard_down.warn_once(step, state.check, state.reason)
            continue
        if rule.family is Family.PROBES and verdicts.has_ceased(watch, i):
            verdicts.settle(watch, i)  # it was raised while something else was in the way, and has not failed since
            continue
        named = one_caller.judged(step, i)
        if named is None:
            continue
        trigger = Trigger(
            criterion=rule.label, sentence=state.reason + named, rule=i, at=watch.at, bad_share=state.bad_share
        )
        if rule.family is Family.PROBES and hard_down.at_the_edge(watch, state.check):
            hard_down.hold_edge(step, trigger)
        elif rule.family is not Family.PROBES or not capacity.explains_share(step, trigger):
            versus.start(step, trigger)


def _advise(step: Step, index: int, sentence: str) -> None:
    """A row that asks for a person, not for a rollback."""
    watch = step.watch
    named = one_caller.judged(step, index)
    if named is None:
        return
    sentence += named
    rule, state = watch.rules.rules[index], watch.verdicts[index]
    watch.verdicts = (*watch.verdicts[:index], state._replace(decided=True), *watch.verdicts[index + 1 :])
    verb = {Action.INVESTIGATE: "Investigate", Action.SCALE_UP: "Scale up"}[rule.row.action]
    reason = f"{verb} {messages.place(watch)}: {sentence}."
    step.decide(rule.row.action, rule.label, reason)
    if scaling.begin(step, index, sentence):
        return
    pages = rule.row.table is Table.ALERT and rule.row.severity is Severity.CRITICAL
    if quiet.repeats(watch, index, pages=pages):
        watch.muted = {**watch.muted, rule.label: watch.muted.get(rule.label, 0) + 1}
        return
    watch.said = {**watch.said, index: watch.at}
    if pages:
        step.open_incident(f"{rule.label} broken: {messages.place(watch)}", criterion=rule.label)
    note = watch.rules.policy.notes.get(rule.row.id, "")
    scales = rule.row.action is Action.SCALE_UP
    command, about = remedies.remedy(watch, rule.row.metric) if scales else ("", "")
    todo = f"{note}." if note else f"{verb}."
    step.notify(
        messages.body(
            watch,
            "warning",
            severity=rule.row.severity.value,
            title=f"{verb}: {messages.place(watch)}: {rule.label}",
            happened=reason,
            did="Nothing: this row asks for a person." + (f" The team's note: {note}." if note else ""),
            over="No.",
            todo=f"{todo} `{command}` ({about})." if command else todo,
            evidence=[(rule.label, sentence)],
            incident="trigger" if pages else None,
            criterion=rule.label,
        )
    )


def signal(step: Step, event: Signalled) -> None:
    """A statement from outside: rolls back at once where the policy lists it, else asks a person to look."""
    watch = step.watch
    who = event.by or "somebody"
    said = f": {event.reason}" if event.reason else ""
    sentence = f"{who} says {event.signal.replace('_', ' ')}{said}"
    step.note("signal", sentence + ".")
    step.announce("signal", signal=event.signal, by=event.by, reason=event.reason)
    if event.signal in watch.rules.policy.signals:
        if watch.cutover_at is None:
            return
        trigger = Trigger(criterion=f"signal:{event.signal}", sentence=sentence, at=watch.at)
        if not trial.hurry(step, trigger):
            decide.consider(step, trigger)
        return
    step.decide(Action.INVESTIGATE, f"signal:{event.signal}", f"Investigate {messages.place(watch)}: {sentence}.")
    step.notify(
        messages.body(
            watch,
            "warning",
            severity="warning",
            title=f"Signal for {messages.place(watch)}: {event.signal.replace('_', ' ')}",
            happened=sentence + ".",
            did="Nothing: the policy does not list this signal under immediately_if.",
            over="No.",
            todo="Look into it.",
        )
    )
