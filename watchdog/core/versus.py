"""Asks the counts of the revision before whether it is as sick, before counts of the new one roll back.

Only while the split is mixed: then both serve the same users in the same seconds. What an alarm of counts does next
waits for the answer, a minute at most. A hold that rests on it is asked again at each new alarm of the row, which the
row's meter raises only on fresh evidence; so a release that stays bad after a shared outage is rolled back then.
"""

from dataclasses import replace

from watchdog.core import compare, decide, warming
from watchdog.core.acts import Hold, Trigger
from watchdog.core.catalogue import Family
from watchdog.core.compare import LOOK_BACK_S, PATIENCE_S, Comparison
from watchdog.core.decide import Step
from watchdog.core.model import Counts, Sample, State
from watchdog.core.series import LATE_S
from watchdog.core.standing import Versus
from watchdog.core.state import Watch
from watchdog.core.text import share, span
from watchdog.core.track import Point

HELD = "shared"
COUNTED = frozenset({Family.ERRORS, Family.LATENCY})


def control(watch: Watch) -> str | None:
    """The revision whose counts are held against the watched one's: the target, while both have traffic."""
    revision = watch.target.revision
    mixed = watch.split.percent_of(watch.revision) > 0 and watch.split.percent_of(revision) > 0
    return revision if revision and revision != watch.revision and mixed else None


def sampled(step: Step, sample: Sample) -> None:
    """Counts of the control."""
    watch = step.watch
    if not isinstance(sample.evidence, Counts) or sample.check not in watch.rules.metered:
        return
    key = (sample.source, sample.check)
    point = Point(sample.end, sample.start, sample.evidence.bad, sample.evidence.total)
    watch.control = {**watch.control, key: compare.added(watch.control.get(key, ()), point)}
    judge(step)


def start(step: Step, trigger: Trigger) -> None:
    """An alarm of counts: ask the control, or go on where there is none to ask."""
    watch = step.watch
    rule = watch.rules.rules[trigger.rule] if trigger.rule is not None else None
    if trigger.rule is None or rule is None or rule.family not in COUNTED or control(watch) is None:
        warming.start(step, trigger)
        return
    state = watch.verdicts[trigger.rule]
    back_s = min(LATE_S, max(LOOK_BACK_S, state.proof_s))
    watch.versus = Versus(
        trigger=trigger,
        key=(state.source, state.check),
        scope=rule.scope,
        since=state.quiet_from - back_s,
        until=watch.at + PATIENCE_S,
    )
    judge(step)
    if watch.versus is not None:
        step.announce("comparing", criterion=trigger.criterion, reason=trigger.sentence, control=watch.target.revision)


def again(step: Step, rule: int, sentence: str) -> None:
    """The row whose rollback is held because the control was as sick raises its alarm anew."""
    watch = step.watch
    held = watch.hold
    if held is None or held.kind != HELD or held.trigger.rule != rule or watch.warming is not None:
        return
    if watch.versus is None and watch.rules.rules[rule].family in COUNTED and watch.rollback is None:
        state = watch.verdicts[rule]
        start(step, replace(held.trigger, sentence=sentence, at=watch.at, bad_share=state.bad_share))


def heir(watch: Watch, held: Hold) -> Trigger | None:
    """Another row of the same counts that is still alarmed when the one that led to the hold has cleared: the same
    fault, so it stays one hold."""
    if held.kind not in {HELD, "trial", "migration"} or held.trigger.rule is None:
        return None
    first = watch.verdicts[held.trigger.rule]
    for i in watch.rules.rollback:
        rule, state = watch.rules.rules[i], watch.verdicts[i]
        same = rule.family in COUNTED and (state.source, state.check) == (first.source, first.check)
        if same and state.alarmed_at is not None and not state.decided:
            return replace(held.trigger, criterion=rule.label, sentence=state.reason, rule=i, bad_share=state.bad_share)
    return None


def judge(step: Step) -> None:
    """As sick: hold. Well, or nothing to be learnt in time: go on."""
    watch = step.watch
    asked = watch.versus
    if asked is None or watch.rollback is not None:
        return
    found = _compared(watch, asked)
    if found.says == "early" and watch.at < asked.until and control(watch) is not None:
        return
    watch.versus = None
    if found.says == "sick":
        _hold(step, asked, found)
        return
    if watch.hold is not None and watch.hold.kind == HELD and watch.hold.trigger.rule == asked.trigger.rule:
        step.note("released", f"No longer held: {watch.target.revision} is well ({_shows(found)}).")
        watch.hold, watch.state = None, State.PAUSED if watch.paused else State.WATCHING
    told = f"; {watch.target.revision} beside it: {_shows(found)}" if found.says == "well" else ""
    warming.start(step, replace(asked.trigger, sentence=asked.trigger.sentence + told))


def _compared(watch: Watch, asked: Versus) -> Comparison:
    """Both arms' counts up to the newest sample that both have."""
    arm = watch.control.get(asked.key, ())
    stream = watch.streams.get((*asked.key, asked.scope))
    if not arm or stream is None or not stream.series.points or asked.trigger.rule is None:
        return Comparison("early", 0.0, 0.0)
    points = stream.series.points
    until = min(arm[-1].end, points[-1].end)
    bad, total = compare.within(points, asked.since, until)
    control_bad, control_total = compare.within(arm, asked.since, until)
    base = compare.normal(*_before(watch, asked), watch.rules.rules[asked.trigger.rule].p0)
    return compare.compare(bad=bad, total=total, control_bad=control_bad, control_total=control_total, base=base)


def _before(watch: Watch, asked: Versus) -> tuple[float, float]:
    return watch.rules.before.get(asked.key[1], (0.0, 0.0))


def _hold(step: Step, asked: Versus, found: Comparison) -> None:
    """`decide.shared` makes a sentence of it: "… but api-00001 is as sick (…) too, so a rollback would not help"."""
    watch = step.watch
    bad, total = _before(watch, asked)
    was = f"; {share(bad / total)} before the deploy" if total else ""
    inherited = asked.trigger.rule is not None and watch.rules.rules[asked.trigger.rule].inherited
    how = f"serves the same users badly ({_shows(found)} in the same {span(watch.at - asked.since)}{was})"
    decide.shared(step, asked.trigger, how, inherited=inherited)


def _shows(found: Comparison) -> str:
    return f"{found.bad:g} of {found.total:g} requests, {share(found.share)}"
