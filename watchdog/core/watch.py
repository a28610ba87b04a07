"""The fold: `advance(watch, event) -> (watch, commands)`.

Running live, resuming after a crash, replaying an incident and backtesting a policy are all this one function. Before
an event is folded in, every deadline up to its time is fired in order, so a verdict depends on what happened and when,
never on when somebody looked.
"""

from collections.abc import Iterable
from copy import copy
from dataclasses import replace
from math import inf

from watchdog.core import coverage, decide, drift, evaluate, frontier, hard_down, messages, operators, recovery, warming
from watchdog.core.catalogue import Family
from watchdog.core.commands import Command
from watchdog.core.decide import Step
from watchdog.core.events import (
    Event,
    Opened,
    Operated,
    Probed,
    Resumed,
    Sampled,
    Signalled,
    TrafficSeen,
    Written,
)
from watchdog.core.model import Action, Outcome, Sample, Severity, State, Table, Verdict
from watchdog.core.policy import Policy
from watchdog.core.probing import Purpose
from watchdog.core.rules import compile_rules
from watchdog.core.state import FRESH_S, ProbeState, RuleState, Trigger, Watch
from watchdog.core.text import clock, listing, share, span

PENDING_S = 1800.0
"""How long a watch waits for its revision's first traffic."""
OVERTIME_S = 120.0
"""The longest that an open confirmation may keep a watch beyond its end."""
LEAST_STEP_S = 0.05
"""A deadline that stays due (rounding of slot ends) is fired again this much later, so the fold always moves on."""


def opened(event: Opened) -> tuple[Watch, tuple[Command, ...]]:
    """A new watch from its first event."""
    policy = Policy.from_canonical(event.policy)
    rules = compile_rules(
        policy,
        lags=event.lags,
        baselines=event.baselines,
        burstiness=event.burstiness,
        cold_start=event.cold_start,
    )
    armed = event.armed or ()
    notes = (*event.notes, *frontier.of_rules(rules, event.baselines))
    watch = Watch(
        id=event.watch,
        deploy=event.deploy,
        rules=rules,
        opened_at=event.at,
        at=event.at,
        state=State.PENDING,
        target=event.target,
        split=event.split,
        tags=event.tags,
        policy_hash=event.policy_hash,
        link=event.link,
        own_url=event.own_url,
        armed_by_hand=event.armed is None,
        sick_before=event.sick_before,
        verdicts=tuple(RuleState(since=event.at, reason=r.why_not or "no evidence yet") for r in rules.rules),
        probes={name: ProbeState(armed=name in armed) for name in policy.probes},
        notes=notes,
    )
    watch.settles_s = coverage.slowest_lag(watch)
    step = Step(watch)
    step.note("opened", f"Watching {watch.revision} of {messages.place(watch)}; before it served {watch.target.split}.")
    step.announce(
        "watch_opened",
        service=event.deploy.service.name,
        region=event.deploy.service.region,
        revision=watch.revision,
        previous=event.target.split.percents(),
        target_source=event.target.source,
        notes=list(notes),
    )
    if event.ends_at is not None:
        watch.ends_at = event.ends_at
        watch.ended_early = True
    if event.cutover_at is not None:
        _cut_over(step, event.cutover_at)
    step.notify(_opening(watch))
    watch.due = next_deadline(watch)
    return watch, tuple(step.commands)


def _opening(watch: Watch) -> messages.Body:
    mode = watch.rules.policy.rollback.mode
    says = {
        "automatic": f"A proven rollback criterion moves traffic back to {watch.target.split}.",
        "approve": f"A proven rollback criterion asks a person before moving traffic back to {watch.target.split}.",
        "observe": "Observe mode: says what would be done, writes nothing.",
    }[mode]
    version = f" (version {watch.deploy.version})" if watch.deploy.version else ""
    by = f" by {watch.deploy.deployer}" if watch.deploy.deployer else ""
    return messages.body(
        watch,
        "opened",
        severity="info",
        title=f"Watching {messages.place(watch)}: {watch.revision}{version}",
        happened=f"{watch.revision}{version} was deployed{by}; before it served {watch.target.split}.",
        did=says,
        over="The watch ends "
        + (f"at {clock(watch.ends_at)}." if watch.ends_at < inf else "24 h after its first traffic."),
        todo="Nothing.",
        evidence=[("note", note) for note in watch.notes],
        change=True,
    )


def _cut_over(step: Step, at: float) -> None:
    watch = step.watch
    watch.cutover_at = at
    watch.anchor = at
    if not watch.ended_early:
        watch.ends_at = at + watch.rules.policy.watch_s
    watch.state = State.PAUSED if watch.paused else State.WATCHING
    watch.blind_at = min((due for due, _ in coverage.blind(watch)), default=inf)
    step.note("cutover", f"{watch.revision} serves traffic since {clock(at)}.")
    step.announce("cutover", revision=watch.revision, split=watch.split.percents())


def advance(watch: Watch, event: Event) -> tuple[Watch, tuple[Command, ...]]:
    """Fold one event in. The watch that was given is not changed. After the end nothing changes any more."""
    if not watch.open or isinstance(event, Opened):
        return watch, ()
    step = Step(copy(watch))
    draft = step.watch
    at = max(event.at, draft.at)  # a clock that steps back must not undo what was judged
    while draft.due <= at and draft.open:
        draft.at = max(draft.at, draft.due)
        _fire(step)
        _follow(step, watch)
        fired = draft.due
        draft.due = next_deadline(draft)
        draft.due = max(draft.due, fired + LEAST_STEP_S) if draft.due <= fired else draft.due
    draft.at = at
    if draft.open:
        # First whatever is complete by now, so that a late sample is late by the clock, not by when somebody looked.
        _act(step, evaluate.judge(draft, at))
        _apply(step, event)
        _pursue(step)
        _follow(step, watch)
        draft.due = next_deadline(draft)
    return draft, tuple(step.commands)


def replay(events: Iterable[Event]) -> tuple[Watch | None, list[Command]]:
    """Fold a whole journal; returns the watch and every command that it ever gave."""
    watch: Watch | None = None
    commands: list[Command] = []
    for event in events:
        if isinstance(event, Opened):
            watch, more = opened(event)
        elif watch is not None:
            watch, more = advance(watch, event)
        else:
            continue
        commands.extend(more)
    return watch, commands


def _apply(step: Step, event: Event) -> None:
    match event:
        case Sampled():
            for sample in event.samples:
                _sample(step, sample)
        case Probed():
            _probed(step, event)
        case TrafficSeen():
            _traffic(step, event)
        case Signalled():
            _signal(step, event)
        case Operated():
            operators.operate(step, event)
        case Written():
            _written(step, event)
        case Resumed():
            away = span(event.at - event.down_since)
            step.note("resumed", f"The watchdog was away for {away}; the gap counts as not covered.")
            step.announce("watch_resumed", away_s=round(event.at - event.down_since, 3))
            hard_down.taken_up(step)
        case _:
            pass


# --- evidence -----------------------------------------------------------------------------------------------------


def _sample(step: Step, sample: Sample) -> None:
    watch = step.watch
    if watch.rollback is not None and watch.rollback.written_at is not None:
        if sample.revision != watch.revision:
            recovery.sampled(step, sample)
        return
    if sample.revision in {"", watch.revision}:
        _act(step, evaluate.fold(watch, sample))
        drift.follow(step, sample)


def _probed(step: Step, event: Probed) -> None:
    match event.purpose:
        case Purpose.REGULAR:
            _act(step, hard_down.regular(step, event))
        case Purpose.CONFIRM:
            hard_down.confirming(step, event)
        case Purpose.WARM:
            warming.answered(step, event)
        case Purpose.VERIFY:
            recovery.probed(step, event)


def _act(step: Step, alarms: list[evaluate.Alarm]) -> None:
    """Do what the rows that raised an alarm ask for."""
    watch = step.watch
    if any(watch.rules.rules[a.rule].row.action is Action.ROLLBACK for a in alarms):
        _pursue(step)
    for alarm in alarms:
        asks = watch.rules.rules[alarm.rule].row.action is not Action.ROLLBACK
        if asks and not watch.verdicts[alarm.rule].decided and watch.rollback is None and watch.warming is None:
            _advise(step, alarm)  # a rollback under way says it all: no second message for the same fault


def _pursue(step: Step) -> None:
    """Go after the alarms of rollback rows until something is decided. One that was raised while the watch was held or
    paused is not forgotten when that ends: a green probe never clears a user-traffic alarm."""
    watch = step.watch
    for i in watch.rules.rollback:
        rule, state = watch.rules.rules[i], watch.verdicts[i]
        busy = watch.rollback is not None or watch.warming is not None or watch.hold is not None
        if busy or watch.pending_trigger is not None or not watch.open:
            return
        if state.alarmed_at is None or rule.row.condition is None:  # `failing` rows are pursued by their confirmations
            continue
        if rule.family is Family.PROBES and state.check in watch.probes and not watch.armed(state.check):
            hard_down.warn_once(step, state.check, state.reason)
            continue
        trigger = Trigger(criterion=rule.label, sentence=state.reason, rule=i, at=watch.at, bad_share=state.bad_share)
        warming.start(step, trigger)


def _advise(step: Step, alarm: evaluate.Alarm) -> None:
    """A row that asks for a person, not for a rollback."""
    watch = step.watch
    rule, state = watch.rules.rules[alarm.rule], watch.verdicts[alarm.rule]
    watch.verdicts = (
        *watch.verdicts[: alarm.rule],
        state._replace(decided=True),
        *watch.verdicts[alarm.rule + 1 :],
    )
    verb = {Action.INVESTIGATE: "Investigate", Action.SCALE_UP: "Scale up"}[rule.row.action]
    reason = f"{verb} {messages.place(watch)}: {alarm.sentence}."
    step.decide(rule.row.action, rule.label, reason)
    pages = rule.row.table is Table.ALERT and rule.row.severity is Severity.CRITICAL
    if pages:
        step.open_incident(f"{rule.label} broken: {messages.place(watch)}")
    note = watch.rules.policy.notes.get(rule.row.id, "")
    step.notify(
        messages.body(
            watch,
            "warning",
            severity=rule.row.severity.value,
            title=f"{verb}: {messages.place(watch)}: {rule.label}",
            happened=reason,
            did="Nothing: this row asks for a person." + (f" The team's note: {note}." if note else ""),
            over="No.",
            todo=f"{verb}." if not note else f"{note}.",
            evidence=[(rule.label, alarm.sentence)],
            incident="trigger" if pages else None,
        )
    )


def _signal(step: Step, event: Signalled) -> None:
    watch = step.watch
    who = event.by or "somebody"
    said = f": {event.reason}" if event.reason else ""
    sentence = f"{who} says {event.signal.replace('_', ' ')}{said}"
    step.note("signal", sentence + ".")
    step.announce("signal", signal=event.signal, by=event.by, reason=event.reason)
    if event.signal in watch.rules.policy.signals:
        if watch.cutover_at is None:
            return
        decide.consider(step, Trigger(criterion=f"signal:{event.signal}", sentence=sentence, at=watch.at))
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


# --- traffic ------------------------------------------------------------------------------------------------------


def _traffic(step: Step, event: TrafficSeen) -> None:
    watch = step.watch
    before, now = watch.split.percent_of(watch.revision), event.split.percent_of(watch.revision)
    watch.split, watch.tags = event.split, event.tags
    if watch.cutover_at is None:
        if now:
            _cut_over(step, event.at)
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
    if rollback.stage in {"failed", "observed"} and not event.split.percent_of(watch.revision):
        _gone(step, event)
        return
    gone = rollback.restored_at is not None or not event.split.percent_of(watch.revision)
    if rollback.written_at is not None and gone and event.newer and not event.split.same_traffic(rollback.after):
        recovery.end(
            step, Outcome.ROLLED_BACK, f"Rolled back to {rollback.after}; a newer revision has taken over since."
        )
        return
    recovery.traffic(step, event)


def _gone(step: Step, event: TrafficSeen) -> None:
    """The watched revision has no traffic any more, and we did not write that."""
    watch = step.watch
    if event.rolled_back == watch.revision:
        outcome = Outcome.ROLLED_BACK
        reason = f"Another watchdog rolled {watch.revision} back; Cloud Run serves {event.split}."
    elif event.newer:
        outcome = Outcome.SUPERSEDED
        reason = f"A newer revision took over: Cloud Run serves {event.split}."
    else:
        outcome = Outcome.OVERRIDDEN
        reason = f"Somebody moved traffic away from {watch.revision}: Cloud Run serves {event.split}. It is not fought."
    if watch.outcome is Outcome.FAILED:
        outcome, reason = Outcome.FAILED, watch.reason
    _end(step, outcome, reason)


def _promoted(step: Step, before: int, now: int) -> None:
    watch = step.watch
    watch.anchor = watch.at
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
            over="The watch ends at " + clock(watch.ends_at) + ".",
            todo="Nothing.",
            change=True,
        )
    )


def _written(step: Step, event: Written) -> None:
    if event.result in {"superseded", "overridden"}:
        _end(step, Outcome(event.result), event.reason)
    else:
        recovery.written(step, event)


def _end(step: Step, outcome: Outcome, reason: str) -> None:
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


# --- deadlines ----------------------------------------------------------------------------------------------------


def next_deadline(watch: Watch) -> float:
    """When the watch must be looked at again although nothing happens, Unix seconds; `inf` when never."""
    if not watch.open:
        return inf
    if watch.cutover_at is None:
        return min(watch.opened_at + PENDING_S, watch.ends_at)
    due = min((s.series.due for s in watch.streams.values()), default=inf)
    if watch.rollback is None:
        if watch.hold is not None and watch.hold.until is not None:
            due = min(due, watch.hold.until)
        if watch.approve_until is not None:
            due = min(due, watch.approve_until)
        if watch.warming is not None and watch.hold is None:
            due = min(due, watch.warming.until)
    due = min(due, recovery.due(watch), _next_window(watch), _end_of(watch))
    return due if watch.rollback is not None else min(due, watch.blind_at)


def _end_of(watch: Watch) -> float:
    """When the watch may be concluded: its end, but never in the middle of a rollback or of a failing probe's
    confirmation, whose answer is seconds away and may be all that matters."""
    rollback = watch.rollback
    if rollback is not None and rollback.stage in {"writing", "settling", "verifying"} and watch.outcome is None:
        since = rollback.restored_at or rollback.written_at or rollback.decided_at
        return max(watch.ends_at, since + watch.rules.policy.rollback.verify_for_s + OVERTIME_S)
    proving = watch.warming is not None or any(not c.complete for c in watch.confirmations.values())
    if proving and watch.hold is None and rollback is None:
        return watch.ends_at + OVERTIME_S
    return watch.ends_at


def _next_window(watch: Watch) -> float:
    for window in watch.rules.policy.windows:
        if window.window not in watch.closed_windows:
            settled = watch.anchor + window.until_s + watch.settles_s
            return settled if settled < watch.ends_at else inf
    return inf


def _fire(step: Step) -> None:
    """Fire whatever is due at the draft's time."""
    watch = step.watch
    if watch.cutover_at is None:
        reason = f"{watch.revision} got no traffic within {span(watch.at - watch.opened_at)}."
        _end(step, Outcome.UNVERIFIED, reason)
        return
    _act(step, evaluate.judge(watch, watch.at))
    recovery.fire(step)
    if not watch.open:
        return
    if watch.rollback is None:
        _fire_waits(step)
        _pursue(step)
    if watch.rollback is None and watch.at >= watch.blind_at:
        _fire_blind(step)
    _fire_windows(step)
    if watch.at >= _end_of(watch) and watch.open:
        _finish(step)


def _fire_waits(step: Step) -> None:
    watch = step.watch
    held = watch.hold
    if watch.approve_until is not None and watch.at >= watch.approve_until and watch.pending_trigger is not None:
        trigger, watch.pending_trigger, watch.approve_until = watch.pending_trigger, None, None
        decide.refuse(step, trigger, "nobody approved it in time", "Decide by hand, now.")
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
            todo="Check the source (Cloud Monitoring, its permissions, our network).",
        )
    )


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
                    over=f"The watch ends at {clock(watch.ends_at)}.",
                    todo="Nothing." if fine and not alarms else "Read the criteria on the watch's page.",
                    evidence=[
                        (rule.label, state.verdict.value)
                        for rule, state in zip(watch.rules.rules, watch.verdicts, strict=True)
                    ],
                )
            )


def _finish(step: Step) -> None:
    """The time is over: judged on the part that was seen."""
    watch = step.watch
    rollback = watch.rollback
    if rollback is not None and rollback.restored_at is not None and watch.outcome is None:
        reason = f"Rolled back to {rollback.after}; the watch ended before recovery was proven."
        _end(step, Outcome.ROLLED_BACK, reason)
        return
    if rollback is not None and watch.outcome is None:
        _end(step, Outcome.FAILED, f"The watch ended while {watch.revision} was being rolled back.")
        return
    outcome, reason = coverage.conclude(watch)
    if watch.outcome is Outcome.FAILED:
        outcome, reason = Outcome.FAILED, watch.reason
    if outcome is Outcome.PASSED:
        watch.proven_at = watch.proven_at or watch.at
    _end(step, outcome, reason)


# --- what followers see -------------------------------------------------------------------------------------------


def _follow(step: Step, before: Watch) -> None:
    """Announce changed verdicts, and let go of what rested on an alarm that has cleared."""
    watch = step.watch
    if watch.verdicts is before.verdicts:
        return
    if watch.warming is not None and not watch.proves(watch.warming.trigger) and watch.hold is None:
        warming.dropped(step)
    held = watch.hold
    if held is not None and held.trigger.rule is not None and not watch.proves(held.trigger) and watch.open:
        if held.kind == "refused":
            step.note("cleared", f"{held.trigger.criterion} has cleared; the watch stays failed, as it was refused.")
            watch.hold = replace(held, trigger=replace(held.trigger, rule=None))
        elif held.kind != "person":
            watch.warming = None
            decide.release_hold(step, f"{held.trigger.criterion} has cleared")
    for rule, old, new in zip(watch.rules.rules, before.verdicts, watch.verdicts, strict=True):
        if old.verdict is not new.verdict and new.since == watch.at:
            step.announce(
                "verdict_changed",
                criterion=rule.label,
                id=rule.row.id,
                verdict=new.verdict.value,
                was=old.verdict.value,
                reason=new.reason if new.verdict is not Verdict.PASS else "",
            )
