"""The fold: `advance(watch, event) -> (watch, commands)`.

Running live, resuming after a crash, replaying an incident and backtesting a policy are all this one function. Before
an event is folded in, every deadline up to its time is fired in order, so a verdict depends on what happened and when,
never on when somebody looked.
"""

from collections.abc import Iterable
from dataclasses import replace
from math import inf

from watchdog.core import (
    alarms,
    author,
    capacity,
    clues,
    coverage,
    database,
    deadlines,
    decide,
    doubt,
    drift,
    evaluate,
    frontier,
    hard_down,
    incidents,
    load,
    messages,
    migration,
    moves,
    one_caller,
    operators,
    recovery,
    scaling,
    spread,
    trial,
    trust,
    unasked,
    versus,
    warming,
)
from watchdog.core.checks import LOGS
from watchdog.core.commands import Command
from watchdog.core.decide import Step
from watchdog.core.events import (
    Event,
    FellElsewhere,
    JobRan,
    Noticed,
    Opened,
    Operated,
    Probed,
    Resumed,
    Sampled,
    Scaled,
    Signalled,
    TrafficSeen,
    Trusted,
    Writing,
    Written,
)
from watchdog.core.model import Sample, State, Value, Verdict
from watchdog.core.policy import Policy
from watchdog.core.probing import Purpose
from watchdog.core.rules import compile_rules
from watchdog.core.rules import notes as rule_notes
from watchdog.core.standing import ProbeState, RuleState
from watchdog.core.state import Watch
from watchdog.core.text import span, when

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
        before=event.before,
        unable=event.unable,
        cold_start=event.cold_start,
    )
    armed = event.armed or ()
    notes = (*event.notes, *rule_notes(rules), *frontier.of_rules(rules, event.baselines))
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
        release=event.release or event.watch,
        link=event.link,
        own_url=event.own_url,
        found_version=event.expected_version,
        armed_by_hand=event.armed is None,
        sick_before=event.sick_before,
        known_bad=event.known_bad,
        doubt=event.doubt,
        schemas=event.schemas,
        past=event.past,
        images=event.images,
        snapshot=event.snapshot,
        rolled_back_before=event.rolled_back,
        verdicts=tuple(RuleState(since=event.at, reason=r.why_not or "no evidence yet") for r in rules.rules),
        probes={name: ProbeState(armed=name in armed) for name in (*policy.probes, *rules.journeys)},
        notes=notes,
        expected_per_s=event.baselines.get(frontier.RATE) or None,
        instances_before=event.baselines.get(warming.INSTANCES, 0.0),
    )
    watch.settles_s = coverage.slowest_lag(watch)
    step = Step(watch, now=event.at)
    step.note("opened", f"Watching {watch.revision} of {messages.place(watch)}; before it served {watch.target.split}.")
    step.announce(
        "watch_opened",
        service=event.deploy.service.name,
        region=event.deploy.service.region,
        revision=watch.revision,
        previous=event.target.split.percents(),
        target_source=event.target.source,
        mode=doubt.mode(watch),
        notes=[said for said in (doubt.sentence(watch), *notes) if said],
    )
    if event.ends_at is not None:
        watch.ends_at = event.ends_at
        watch.ended_early = True
    if event.cutover_at is not None:
        moves.cut_over(step, event.cutover_at)
    if watch.known_bad:
        step.open_incident(f"Known bad revision serves again: {messages.place(watch)}", "error")
        back = f"{watch.revision} was rolled back before, and {author.who(event.author)} put it back"
        step.note("known_bad", f"{back}: watched without writing.")
    step.notify(_opening(watch, event.author))
    trial.found(step, event)
    watch.due = deadlines.next_deadline(watch)
    return watch, tuple(step.commands)


def _opening(watch: Watch, wrote: author.Author) -> messages.Body:
    says = {
        "automatic": f"A proven rollback criterion moves traffic back to {watch.target.split}.",
        "approve": f"A proven rollback criterion asks a person before moving traffic back to {watch.target.split}.",
        "observe": "Observe mode: says what would be done, writes nothing.",
    }[doubt.mode(watch)]
    doubted = doubt.sentence(watch)
    version = f" (version {watch.deploy.version})" if watch.deploy.version else ""
    by = f" by {watch.deploy.deployer.partition('@')[0]}" if watch.deploy.deployer else ""  # the page has the address
    if watch.known_bad:
        return messages.body(
            watch,
            "opened",
            severity="error",
            title=f"Known bad revision serves again: {messages.place(watch)}: {watch.revision}",
            happened=f"{watch.revision}{version} was rolled back before, and {author.who(wrote)} put it back.",
            did="It is watched, and nothing is written: the watchdog does not fight whoever put it back.",
            over="No.",
            todo=f"{author.advice(wrote)} If it was not meant: `watchdog rollback {watch.id} --reason …`, or "
            f"{messages.by_hand(watch)}.",
            evidence=[("note", note) for note in watch.notes],
            incident="trigger",
            broadcast=True,
            change=True,
        )
    return messages.body(
        watch,
        "opened",
        severity="info",
        title=f"Watching {messages.place(watch)}: {watch.revision}{version}",
        happened=f"{watch.revision}{version} was deployed{by}; before it served {watch.target.split}.",
        did=f"{doubted} {says}".strip(),
        over="The watch ends "
        + (f"at {when(watch.ends_at, watch.at)}." if watch.ends_at < inf else "24 h after its first traffic."),
        todo="`watchdog preflight` says what is missing; once one passes, it acts by itself."
        if doubted
        else "Nothing.",
        evidence=[("note", note) for note in watch.notes],
        change=True,
    )


def advance(watch: Watch, event: Event) -> tuple[Watch, tuple[Command, ...]]:
    """Fold one event in. The watch that was given is not changed. After the end nothing changes any more."""
    if not watch.open or isinstance(event, Opened):
        return watch, ()
    at = max(event.at, watch.at)  # a clock that steps back must not undo what was judged
    step = Step(watch.draft(), now=at)
    draft = step.watch
    while draft.due <= at and draft.open:
        draft.at = max(draft.at, draft.due)
        deadlines.fire(step)
        _follow(step, watch)
        incidents.follow(step)
        fired = draft.due
        draft.due = deadlines.next_deadline(draft)
        draft.due = max(draft.due, fired + LEAST_STEP_S) if draft.due <= fired else draft.due
    draft.at = at
    if draft.open:
        # First whatever is complete by now, so that a late sample is late by the clock, not by when somebody looked.
        alarms.act(step, evaluate.judge(draft, at))
        _apply(step, event)
        alarms.pursue(step)
        spread.pursue(step)
        alarms.catch_up(step)
        scaling.follow(step)
        _follow(step, watch)
        incidents.follow(step)
        draft.due = deadlines.next_deadline(draft)
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
            _sampled(step, event)
        case Probed():
            _probed(step, event)
        case TrafficSeen():
            moves.traffic(step, event)
            unasked.follow(step)
        case Noticed():
            moves.noticed(step, event)
        case Signalled():
            alarms.signal(step, event)
        case Operated():
            operators.operate(step, event)
        case FellElsewhere():
            spread.fell(step, event)
        case Writing():
            recovery.writing(step, event)
        case Written():
            moves.written(step, event)
        case Trusted() | Scaled() | JobRan():
            _beside(step, event)
        case Resumed():
            away = span(event.at - event.down_since)
            step.note("resumed", f"The watchdog was away for {away}; the gap counts as not covered.")
            step.announce("watch_resumed", away_s=round(event.at - event.down_since, 3))
            hard_down.taken_up(step)
            capacity.taken_up(step)


def _sampled(step: Step, event: Sampled) -> None:
    for sample in event.samples:
        _sample(step, sample)
    capacity.again(step)


def _beside(step: Step, event: Trusted | Scaled | JobRan) -> None:
    """What happened beside the evidence and the traffic."""
    match event:
        case Trusted():
            trust.trusted(step)
        case Scaled():
            scaling.scaled(step, event)
        case JobRan():
            database.ran(step, event)


def _sample(step: Step, sample: Sample) -> None:
    watch = step.watch
    if sample.check == LOGS and sample.revision == watch.revision:
        clues.collect(watch, sample)
    if sample.check not in watch.rules.by_check and sample.check not in _READ_BESIDE:
        return  # a source tells all that it knows, and no row asks for this
    if watch.rollback is not None and watch.rollback.written_at is not None:
        if sample.revision != watch.revision:
            recovery.sampled(step, sample)
        return
    trial.sampled(step, sample)
    one_caller.remember(watch, sample)
    scaling.sampled(watch, sample)
    if not sample.revision or sample.revision == watch.revision:
        watch.load = watch.load.plus(sample)
        alarms.act(step, evaluate.fold(watch, sample))
        if isinstance(sample.evidence, Value):
            drift.follow(step, sample, sample.evidence.x)
        versus.judge(step)
    elif sample.revision == versus.control(watch):
        versus.sampled(step, sample)


_READ_BESIDE = frozenset({load.SERVED, load.REFUSED, scaling.INSTANCES})
"""Checks that are read even where no row of the policy does."""


def _probed(step: Step, event: Probed) -> None:
    match event.purpose:
        case Purpose.REGULAR:
            alarms.act(step, hard_down.regular(step, event))
        case Purpose.CONFIRM:
            hard_down.confirming(step, event)
        case Purpose.WARM:
            warming.answered(step, event)
        case Purpose.VERIFY:
            recovery.probed(step, event)
    capacity.again(step)  # probes go on while the log is silent


def _follow(step: Step, before: Watch) -> None:
    """Announce changed verdicts, and let go of what rested on an alarm that has cleared."""
    watch = step.watch
    if watch.verdicts is before.verdicts:
        return
    if watch.versus is not None and not watch.proves(watch.versus.trigger):
        watch.versus = None
    if watch.warming is not None and not watch.proves(watch.warming.trigger) and watch.hold is None:
        warming.dropped(step)
    held = watch.hold
    if held is not None and held.trigger.rule is not None and not watch.proves(held.trigger) and watch.open:
        if held.kind == "refused":
            step.note("cleared", f"{held.trigger.criterion} has cleared; the watch stays failed, as it was refused.")
            watch.hold = replace(held, trigger=replace(held.trigger, rule=None))
        elif (heir := versus.heir(watch, held)) is not None:
            watch.hold = replace(held, trigger=heir)
        elif held.kind not in {"person", migration.HOLD}:
            watch.warming = watch.versus = None
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
