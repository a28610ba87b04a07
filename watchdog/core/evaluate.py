"""Samples into verdicts: folds evidence into meters, gauges and coverage, and says which rows raised an alarm."""

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass
from math import inf, isfinite

from watchdog.core import coverage, sequential
from watchdog.core.catalogue import Family
from watchdog.core.cover import Cover
from watchdog.core.model import Action, Counts, Failed, Missing, Passed, Sample, Severity, Value, Verdict
from watchdog.core.policy import WindowConfig
from watchdog.core.rules import PROBE_SOURCE, Rule, limit_of
from watchdog.core.sequential import Point, Series
from watchdog.core.state import RuleState, Stream, Watch
from watchdog.core.text import reading, share, span

CLOUD_RUN = "cloud_run"
"""The source whose counts hold our own probes, which are then taken out."""
GAUGE_POINTS = 5
GAUGE_BREACHES = 4
HALF_FULL = 0.5
KEEP_OWN_S = 1500.0


@dataclass(frozen=True, slots=True)
class Alarm:
    """A rule whose evidence became enough. `sentence` has value, threshold, sample size, window and source in it."""

    rule: int
    source: str
    sentence: str


def fold(watch: Watch, sample: Sample) -> list[Alarm]:
    """Fold one sample into the draft; returns the alarms it raised at once (late samples and gauges only: counts in
    time are judged when their slot closes)."""
    if watch.cutover_at is None or sample.end <= watch.cutover_at or sample.start >= watch.ends_at:
        return []
    evidence = _usable(watch, sample)
    if isinstance(evidence, Missing):
        watch.missing = {**watch.missing, sample.check: evidence.reason}
        _say(watch, watch.rules.by_check.get(sample.check, ()))
        return []
    if sample.start < watch.cutover_at + watch.rules.cold_s(sample.check):
        return []
    _covered(watch, sample)
    if isinstance(evidence, Value):
        return _gauges(watch, sample, evidence.x)
    bad, total = _counts(watch, sample, evidence)
    # A probe tells of the moment at which it was answered, and stands for its interval only in the coverage.
    end = min(sample.end, sample.seen) if sample.source == PROBE_SOURCE else sample.end
    return _meters(watch, sample, Point(end, sample.start, bad, total))


def _usable(watch: Watch, sample: Sample) -> Counts | Value | Passed | Failed | Missing:
    """The evidence, as missing where it is no number, or where a feed shows nothing although our probes were there."""
    match sample.evidence:
        case Value(x) if not isfinite(x):
            return Missing("nan")
        case Counts(bad, total) if not (isfinite(bad) and isfinite(total) and bad >= 0.0):
            return Missing("nan")
        case Counts(_, total) if total <= 0.0 and sample.source == CLOUD_RUN and watch.sole:
            return Missing("empty_feed") if own_counts(watch, sample)[1] else sample.evidence
    return sample.evidence


def _counts(watch: Watch, sample: Sample, evidence: Counts | Passed | Failed) -> tuple[float, float]:
    match evidence:
        case Counts(bad, total) if sample.source == CLOUD_RUN and watch.sole:
            own_bad, own_total = own_counts(watch, sample)
            return max(0.0, bad - own_bad), max(0.0, total - own_total)
        case Counts(bad, total):
            return bad, total
        case Passed():
            return 0.0, 1.0
        case Failed():
            return 1.0, 1.0


def own_counts(watch: Watch, sample: Sample) -> tuple[int, int]:
    """How many of the sample's bad and total requests were our own probes: counted by the end of each request, as
    Cloud Run counts."""
    own = watch.own_requests
    lo = bisect_left(own, (sample.start, inf))
    hi = bisect_left(own, (sample.end,))
    if sample.check == "error_rate":
        return sum(r[1] for r in own[lo:hi]), hi - lo
    if sample.check.startswith("slower_than_"):
        limit = limit_of(sample.check)
        return sum(r[2] > limit for r in own[lo:hi]), hi - lo
    return 0, 0


def _covered(watch: Watch, sample: Sample) -> None:
    cover = watch.covers.get(sample.check, _NOTHING).add(sample.start, sample.end, watch.bounds)
    watch.covers = {**watch.covers, sample.check: cover}
    if sample.check in watch.missing:
        watch.missing = {c: r for c, r in watch.missing.items() if c != sample.check}
    if sample.check in watch.blind_said:
        watch.blind_said -= {sample.check}
        watch.blind_at = min(watch.blind_at, watch.at)


_NOTHING = Cover()


# --- meters -------------------------------------------------------------------------------------------------------


def _meters(watch: Watch, sample: Sample, point: Point) -> list[Alarm]:
    alarms: list[Alarm] = []
    over: list[int] = []
    window = _window(watch, sample.start)
    for scope, rules in watch.rules.metered.get(sample.check, {}).items():
        if scope and (window is None or scope != window.window.value):
            continue
        key = (sample.source, sample.check, scope)
        stream = watch.streams.get(key) or _new_stream(watch, sample, rules)
        series, raised = stream.series.add(point, watch.at)
        if raised:
            series = _alarm(watch, key, Stream(series, stream.rules), raised, alarms)
        watch.streams = {**watch.streams, key: Stream(series, stream.rules)}
        if series.bad:
            over += [i for i in rules if series.bad > watch.rules.rules[i].p0 * series.total]
    _say(watch, watch.rules.by_check.get(sample.check, ()), over)
    return alarms


def _window(watch: Watch, at: float) -> WindowConfig | None:
    """The window of a moment; a watch that was extended stays in its last one. None before the first."""
    elapsed, last = at - watch.anchor, watch.rules.policy.windows[-1]
    return last if elapsed >= last.start_s else watch.rules.policy.window_at(elapsed)


def _new_stream(watch: Watch, sample: Sample, rules: tuple[int, ...]) -> Stream:
    origin = watch.anchor if watch.cutover_at is None else watch.cutover_at
    lag = watch.rules.lag_of(sample.source, sample.check, sample.end - sample.start)
    meters = [watch.rules.meter(watch.rules.rules[i], lag.period_s) for i in rules]
    watch.counted |= set(rules)
    watch.behind = {**watch.behind, sample.check: min(lag.lag_s, watch.behind.get(sample.check, inf))}
    watch.settles_s = coverage.slowest_lag(watch)
    series = Series.start(origin=origin, lag_s=lag.lag_s, meters=meters)
    return Stream(series.judge(watch.at)[0], rules)


def judge(watch: Watch, now: float) -> list[Alarm]:
    """Judge every slot that is complete at `now`."""
    alarms: list[Alarm] = []
    changed: dict[tuple[str, str, str], Stream] = {}
    for key, stream in watch.streams.items():
        series, raised = stream.series.judge(now)
        if series is stream.series:
            continue
        if raised:
            series = _alarm(watch, key, Stream(series, stream.rules), raised, alarms)
        changed[key] = Stream(series, stream.rules)
    if changed:
        watch.streams = {**watch.streams, **changed}
    return alarms


def _alarm(
    watch: Watch,
    key: tuple[str, str, str],
    stream: Stream,
    raised: tuple[sequential.Alarm, ...],
    alarms: list[Alarm],
) -> Series:
    series = stream.series
    source, check, _ = key
    for found in raised:
        index = stream.rules[found.meter]
        rule = watch.rules.rules[index]
        sentence = _counted(rule, series.meters[found.meter].p0, found, source, check)
        bad_share = found.bad / found.total if found.total else None
        series = series.restarted(found.meter)
        rung = series.meters[found.meter].ladder[found.rung]
        state = watch.verdicts[index]
        counted = state._replace(
            at_alarm=series.total,
            quiet_from=series.judged,
            proof_s=rung.slot_s * (rung.cap_slots + 1),
            bad_share=bad_share,
            decided=state.decided and rule.row.action is not Action.ROLLBACK,
        )
        _set(watch, index, counted)
        _raise(watch, index, sentence, source=source, check=check)
        alarms.append(Alarm(index, source, sentence))
    return series


def _counted(rule: Rule, p0: float, found: sequential.Alarm, source: str, check: str) -> str:
    """The sentence of a meter's alarm: the counts since the evidence began to speak against the row."""
    what, noun = {
        Family.ERRORS: ("", "requests"),
        Family.LATENCY: (f" slower than {span(rule.threshold or 0.0)}", "requests"),
        Family.PROBES: (" failed", "probes"),
    }[rule.family]
    limit = f"limit {rule.row.condition.text}" if rule.row.condition else "limit"
    if rule.family is not Family.ERRORS:
        limit += f", which allows {share(p0)}"
    feed = f"{source} {check}" if rule.family is Family.PROBES else source
    value = share(found.bad / found.total) if found.total else "no events"
    counted = f"{found.bad:g} of {found.total:g} {noun}{what} in {span(found.until - found.since)}"
    return f"{rule.row.metric}: {value} ({counted}; {limit}; {feed})"


# --- gauges -------------------------------------------------------------------------------------------------------


def _gauges(watch: Watch, sample: Sample, x: float) -> list[Alarm]:
    alarms: list[Alarm] = []
    window = _window(watch, sample.start)
    if window is None:
        return alarms
    verdicts = list(watch.verdicts)
    fed = tuple(
        i for i in watch.rules.by_check.get(sample.check, ()) if window.window in watch.rules.rules[i].row.windows
    )
    for i in fed:
        state, last = verdicts[i], verdicts[i].last
        newest = state.sampled_at is None or sample.end >= state.sampled_at
        value, at = (x, sample.end) if newest else (state.value, state.sampled_at)
        if i not in watch.counted:
            others = (p for p in last if p[0] != sample.end)
            last = tuple(sorted((*others, (sample.end, watch.rules.rules[i].breached(x))))[-GAUGE_POINTS:])
        verdicts[i] = state._replace(value=value, sampled_at=at, last=last)
    watch.verdicts = tuple(verdicts)
    for i in fed:
        rule, state = watch.rules.rules[i], watch.verdicts[i]
        broken = sum(p[1] for p in state.last)
        if i not in watch.counted and state.alarmed_at is None and broken >= GAUGE_BREACHES:
            sentence = _read(rule, x, broken, len(state.last), sample.source)
            _raise(watch, i, sentence, source=sample.source, check=sample.check)
            alarms.append(Alarm(i, sample.source, sentence))
    _say(watch, fed)
    return alarms


def _read(rule: Rule, x: float, broken: int, points: int, source: str) -> str:
    threshold = reading(rule.row.metric, rule.threshold or 0.0)
    limit = f"limit {rule.row.condition.text}" if rule.row.condition else f"limit {threshold}"
    return f"{rule.row.metric}: {reading(rule.row.metric, x)} ({broken} of the last {points} points; {limit}; {source})"


# --- verdicts -----------------------------------------------------------------------------------------------------


def _set(watch: Watch, index: int, state: RuleState) -> None:
    if state != watch.verdicts[index]:
        watch.verdicts = (*watch.verdicts[:index], state, *watch.verdicts[index + 1 :])


def _raise(watch: Watch, index: int, sentence: str, *, source: str, check: str) -> None:
    state = watch.verdicts[index]
    first = state.alarmed_at is None
    changed = state._replace(
        alarmed_at=watch.at if first else state.alarmed_at,
        reason=sentence,
        source=source,
        check=check,
        decided=state.decided and not first,
    )
    _set(watch, index, changed)
    _say(watch, (index,))


def _say(watch: Watch, rules: tuple[int, ...], over: Sequence[int] = ()) -> None:
    """Bring the verdicts of these rules up to date; the counts of those in `over` lie over their limit."""
    for i in rules:
        rule, state = watch.rules.rules[i], watch.verdicts[i]
        quiet = state.verdict is Verdict.PASS and state.alarmed_at is None and not watch.missing
        if quiet and i not in over and not _is_failing(watch, rule):
            continue  # stays so until an alarm, a gap or too many bad ones: most samples of a day
        if state.alarmed_at is not None and i in watch.counted:
            state = _waiting(watch, i, rule, state)
        verdict, reason, cleared = _verdict(watch, i, rule, state)
        if cleared:
            state = state._replace(alarmed_at=None, decided=False)
        if verdict is not state.verdict or cleared or (reason != state.reason and verdict is not Verdict.PASS):
            since = watch.at if verdict is not state.verdict else state.since
            _set(watch, i, state._replace(verdict=verdict, reason=reason, since=since))


def _waiting(watch: Watch, index: int, rule: Rule, state: RuleState) -> RuleState:
    """While the meter fills again, the wait for enough quiet events starts anew."""
    stream = watch.streams.get((state.source, state.check, rule.scope))
    if stream is None or stream.series.fullness(stream.rules.index(index)) < HALF_FULL:
        return state
    state = state._replace(at_alarm=stream.series.total, quiet_from=stream.series.judged)
    _set(watch, index, state)
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
    _set(watch, index, watch.verdicts[index]._replace(decided=True))


def _is_failing(watch: Watch, rule: Rule) -> bool:
    return rule.family is Family.PROBES and any(watch.probes[c].streak for c in rule.checks if c in watch.probes)


def _verdict(  # noqa: PLR0911 - one case a return
    watch: Watch, index: int, rule: Rule, state: RuleState
) -> tuple[Verdict, str, bool]:
    """The verdict, its reason, and whether an alarm has cleared."""
    if rule.why_not:
        return Verdict.INCONCLUSIVE, rule.why_not, False
    alarmed = Verdict.WARN if rule.row.severity is Severity.WARNING else Verdict.FAIL
    gauge = index not in watch.counted
    if state.alarmed_at is not None:
        if not _cleared(watch, index, rule, state, gauge=gauge):
            return alarmed, state.reason, False
        return Verdict.PASS, "cleared", True
    gone = [watch.missing[c] for c in rule.checks if c in watch.missing]
    if rule.row.condition is None:  # `health_check failing` is set by confirmation
        return (*_probes_say(watch, rule, gone), False)
    if gauge and state.last and not gone:
        return Verdict.PASS, "", False
    if gauge:
        return (Verdict.ERROR if "source_error" in gone else Verdict.INCONCLUSIVE), _why(gone), False
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


def _why(gone: list[str]) -> str:
    return f"no evidence: {gone[0].replace('_', ' ')}" if gone else "no evidence yet"


def _cleared(watch: Watch, index: int, rule: Rule, state: RuleState, *, gauge: bool) -> bool:
    if rule.row.condition is None:
        return False
    if gauge:
        return sum(not p[1] for p in state.last) >= GAUGE_BREACHES
    stream = watch.streams.get((state.source, state.check, rule.scope))
    if stream is None:
        return False
    series, meter = stream.series, stream.series.meters[stream.rules.index(index)]
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
        return sum(p[1] for p in state.last) / GAUGE_BREACHES if state.last else 0.0
    return max(
        (s.series.fullness(s.rules.index(index)) for s in watch.streams.values() if index in s.rules), default=0.0
    )
