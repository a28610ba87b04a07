"""What each row says now, and why: verdicts, alarms and how they clear, how near an alarm a row is."""

from collections.abc import Sequence
from math import inf

from watchdog.core.catalogue import JOURNEY_PREFIX, Family
from watchdog.core.model import Severity, Verdict
from watchdog.core.rules import PROBE_SOURCE, Rule
from watchdog.core.standing import RuleState
from watchdog.core.state import Watch
from watchdog.core.text import share

HALF_FULL = 0.5
_ASKED = frozenset({Family.PROBES, Family.JOURNEYS})
"""Families whose evidence are answers to what we ask."""


def put(watch: Watch, index: int, state: RuleState) -> None:
    """Put a rule's state in its place."""
    if state != watch.verdicts[index]:
        watch.verdicts = (*watch.verdicts[:index], state, *watch.verdicts[index + 1 :])


def raise_alarm(watch: Watch, index: int, sentence: str, *, source: str, check: str) -> None:
    """A rule's evidence has become enough, for the first time or again."""
    state = watch.verdicts[index]
    first = state.alarmed_at is None
    changed = state._replace(
        alarmed_at=watch.at if first else state.alarmed_at,
        reason=sentence,
        source=source,
        check=check,
        decided=state.decided and not first,
    )
    put(watch, index, changed)
    say(watch, (index,))


def say(watch: Watch, rules: tuple[int, ...], over: Sequence[int] = ()) -> None:
    """Bring the verdicts of these rules up to date; the counts of those in `over` lie over their limit."""
    for i in rules:
        rule, state = watch.rules.rules[i], watch.verdicts[i]
        quiet = state.verdict is Verdict.PASS and state.alarmed_at is None and not watch.missing
        if quiet and i not in over and (rule.family not in _ASKED or not _is_failing(watch, rule)):
            continue  # stays so until an alarm, a gap or too many bad ones: most samples of a day
        if state.alarmed_at is not None and i in watch.counted:
            state = _waiting(watch, i, rule, state)
        verdict, reason, cleared = _verdict(watch, i, rule, state)
        if cleared:
            state = state._replace(alarmed_at=None, decided=False, one_caller="")
        if verdict is not state.verdict or cleared or (reason != state.reason and verdict is not Verdict.PASS):
            since = watch.at if verdict is not state.verdict else state.since
            put(watch, i, state._replace(verdict=verdict, reason=reason, since=since))


def _waiting(watch: Watch, index: int, rule: Rule, state: RuleState) -> RuleState:
    """While the meter fills again, the wait for enough quiet events starts anew."""
    stream = watch.streams.get((state.source, state.check, rule.scope))
    if stream is None:
        return state
    series = stream.series.up_to(watch.at)
    if series.fullness(stream.rules.index(index)) < HALF_FULL:
        return state
    state = state._replace(at_alarm=series.total, quiet_from=series.judged)
    put(watch, index, state)
    return state


def has_ceased(watch: Watch, index: int) -> bool:
    """Whether nothing bad was seen for longer than the alarm took to prove."""
    state = watch.verdicts[index]
    stream = watch.streams.get((state.source, state.check, watch.rules.rules[index].scope))
    if stream is None:
        return False
    newest = max((p.end for p in stream.series.points if p.bad), default=-inf)
    return watch.at - newest > state.proof_s


def settle(watch: Watch, index: int) -> None:
    """The present alarm needs no action any more; another one will."""
    put(watch, index, watch.verdicts[index]._replace(decided=True))


def take_back(watch: Watch, index: int) -> None:
    """The present alarm rests on evidence that does not count."""
    put(watch, index, watch.verdicts[index]._replace(alarmed_at=None, decided=False))
    say(watch, (index,))


def _is_failing(watch: Watch, rule: Rule) -> bool:
    return any(watch.probes[c].streak for c in rule.checks if c in watch.probes)


def _verdict(  # noqa: PLR0911 - one case a return
    watch: Watch, index: int, rule: Rule, state: RuleState
) -> tuple[Verdict, str, bool]:
    """The verdict, its reason, and whether an alarm has cleared."""
    if rule.why_not:
        return Verdict.INCONCLUSIVE, rule.why_not, False
    alarmed = Verdict.WARN if rule.row.severity is Severity.WARNING or state.one_caller else Verdict.FAIL
    if rule.family is Family.JOURNEYS:
        return (alarmed, state.reason, False) if state.alarmed_at is not None else (*_journeys_say(watch, rule), False)
    gauge = index not in watch.counted
    if state.alarmed_at is not None:
        if not _cleared(watch, index, rule, state, gauge=gauge):
            return alarmed, state.reason, False
        return Verdict.PASS, "cleared", True
    gone = [watch.missing[c] for c in rule.checks if c in watch.missing]
    if rule.by_confirmation:  # `health_check failing` is set by confirmation
        return (*_probes_say(watch, rule, gone), False)
    if gauge:
        return (*_readings_say(rule, state, gone), False)
    if rule.family is Family.PROBES:
        return (*_probes_say(watch, rule, gone), False)
    seen, needed = evidence(watch, index)
    if over := _over(watch, index):
        return Verdict.INCONCLUSIVE, over, False
    if seen >= needed:
        return Verdict.PASS, "", False
    if gone:
        return (Verdict.ERROR if "source_error" in gone else Verdict.INCONCLUSIVE), _why(gone), False
    little = f"too little traffic so far: {seen:.0f} requests, {needed:.0f} would show five times the limit"
    return Verdict.INCONCLUSIVE, little, False


def _readings_say(rule: Rule, state: RuleState, gone: list[str]) -> tuple[Verdict, str]:
    """Of a gauge or a check without an alarm."""
    if not state.last or gone:
        return (Verdict.ERROR if "source_error" in gone else Verdict.INCONCLUSIVE), _why(gone)
    if rule.family is Family.CHECK and state.last[-1][1]:
        return Verdict.INCONCLUSIVE, "failed last; not proven yet"
    return Verdict.PASS, ""


def _over(watch: Watch, index: int) -> str:
    """Why a row must not say PASS although nothing is proven: its counts lie over the limit. Empty when they do not."""
    rule = watch.rules.rules[index]
    for stream in watch.streams.values():
        if index in stream.rules and stream.series.total and stream.series.bad > rule.p0 * stream.series.total:
            so_far = share(stream.series.bad / stream.series.total)
            return f"{so_far} so far is over what the limit allows ({share(rule.p0)}), but not proven yet"
    return ""


def _probes_say(watch: Watch, rule: Rule, gone: list[str]) -> tuple[Verdict, str]:
    """Of a probe row without an alarm: one lost probe proves nothing, but nor does it pass."""
    states = {c: watch.probes[c] for c in rule.checks if c in watch.probes}
    failing = [c for c, p in states.items() if p.streak]
    if failing:
        return Verdict.INCONCLUSIVE, f"{', '.join(failing)} failed last; not proven yet"
    silent = [c for c, p in states.items() if not p.passed]
    if gone:
        return Verdict.INCONCLUSIVE, _why(gone)
    if any((PROBE_SOURCE, c, "") in watch.streams for c in rule.checks):
        return (Verdict.INCONCLUSIVE, f"no evidence yet: {', '.join(silent)}") if silent else (Verdict.PASS, "")
    counted = any(c in rule.checks for _, c, _ in watch.streams)  # a replayed file has counts of probes, no answers
    return (Verdict.PASS, "") if counted else (Verdict.INCONCLUSIVE, _why(gone))


def _journeys_say(watch: Watch, rule: Rule) -> tuple[Verdict, str]:
    """Of a row of journeys without a confirmed failure."""
    states = {c.removeprefix(JOURNEY_PREFIX): watch.probes[c] for c in rule.checks if c in watch.probes}
    failing = [name for name, p in states.items() if p.streak]
    if failing:
        return Verdict.INCONCLUSIVE, f"{', '.join(failing)} failed last; not proven yet"
    silent = [name for name, p in states.items() if not p.passed]
    gone = [watch.missing[c] for c in rule.checks if c in watch.missing]
    if silent:
        return Verdict.INCONCLUSIVE, _why(gone) if gone else f"no evidence yet: {', '.join(silent)}"
    return Verdict.PASS, ""


def _why(gone: list[str]) -> str:
    return f"no evidence: {gone[0].replace('_', ' ')}" if gone else "no evidence yet"


def _cleared(watch: Watch, index: int, rule: Rule, state: RuleState, *, gauge: bool) -> bool:
    if rule.by_confirmation:
        return False
    if gauge:
        return sum(not p[1] for p in state.last) >= rule.points[0]
    stream = watch.streams.get((state.source, state.check, rule.scope))
    if stream is None:
        return False
    series, meter = stream.series.up_to(watch.at), stream.series.meters[stream.rules.index(index)]
    share = state.bad_share
    needed = meter.enough if share is None else max(meter.enough, meter.enough_at(share))
    return series.total - state.at_alarm >= needed and series.judged - state.quiet_from >= state.proof_s


def evidence(watch: Watch, index: int) -> tuple[float, float]:
    """Events counted for a rule by its best feed, and how many are enough to say PASS."""
    best = (0.0, inf)
    for stream in watch.streams.values():
        if index in stream.rules:
            found = (stream.series.total, stream.series.meters[stream.rules.index(index)].enough)
            best = max(best, found, key=lambda f: f[0])
    return best


def fullness(watch: Watch, index: int) -> float:
    """How near an alarm the rule is, 0..1."""
    state = watch.verdicts[index]
    if state.alarmed_at is not None:
        return 1.0
    if index not in watch.counted:
        return sum(p[1] for p in state.last) / watch.rules.rules[index].points[0] if state.last else 0.0
    feeds = (s for s in watch.streams.values() if index in s.rules)
    return max((s.series.up_to(watch.at).fullness(s.rules.index(index)) for s in feeds), default=0.0)
