"""Samples into verdicts: folds evidence into meters, gauges and coverage, and says which rows raised or cleared an alarm."""

from bisect import bisect_left, bisect_right
from dataclasses import dataclass, replace
from math import inf, isfinite

from watchdog.core.catalogue import Family
from watchdog.core.cover import Cover
from watchdog.core.model import Action, Counts, Failed, Missing, Passed, Sample, Severity, Value, Verdict
from watchdog.core.rules import Rule, limit_of
from watchdog.core.sequential import Meter, Point, Series
from watchdog.core.state import RuleState, Stream, Watch
from watchdog.core.text import reading, share, span

CLOUD_RUN = "cloud_run"
"""The source whose counts hold our own probes, which are then taken out."""
GAUGE_POINTS = 5
GAUGE_BREACHES = 4
KEEP_OWN_S = 1500.0


@dataclass(frozen=True, slots=True)
class Alarm:
    """A rule whose evidence became enough. `sentence` has value, threshold, sample size, window and source in it."""

    rule: int
    source: str
    sentence: str
    bad_share: float | None = None


def fold(watch: Watch, sample: Sample) -> list[Alarm]:
    """Fold one sample into the draft; returns the alarms it raised at once (late samples and gauges only: counts in
    time are judged when their slot closes)."""
    if watch.cutover_at is None or sample.end <= watch.cutover_at or sample.start >= watch.ends_at:
        return []
    evidence = sample.evidence
    if isinstance(evidence, Missing):
        watch.missing = {**watch.missing, sample.check: evidence.reason}
        _say(watch, watch.rules.by_check.get(sample.check, ()))
        return []
    if sample.start < watch.cutover_at + watch.rules.cold_s(sample.check):
        return []
    if isinstance(evidence, Value):
        if not isfinite(evidence.x):
            watch.missing = {**watch.missing, sample.check: "nan"}
            return []
        _covered(watch, sample)
        return _gauges(watch, sample, evidence.x)
    bad, total = _counts(watch, sample, evidence)
    _covered(watch, sample)
    return _meters(watch, sample, Point(sample.end, sample.start, bad, total))


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
    lo = bisect_right(own, sample.start, key=lambda r: r[0])
    hi = bisect_left(own, sample.end, key=lambda r: r[0])
    if sample.check == "error_rate":
        return sum(r[1] for r in own[lo:hi]), hi - lo
    if sample.check.startswith("slower_than_"):
        limit = limit_of(sample.check)
        return sum(r[2] > limit for r in own[lo:hi]), hi - lo
    return 0, 0


def _covered(watch: Watch, sample: Sample) -> None:
    cover = watch.covers.get(sample.check, _NOTHING).add(sample.start, sample.end, watch.bounds())
    watch.covers = {**watch.covers, sample.check: cover}
    if sample.check in watch.missing:
        watch.missing = {c: r for c, r in watch.missing.items() if c != sample.check}
    if sample.check in watch.blind_said:
        watch.blind_said -= {sample.check}


_NOTHING = Cover()


# --- meters ------------------------------------------------------------------------------------------------------------


def _meters(watch: Watch, sample: Sample, point: Point) -> list[Alarm]:
    alarms: list[Alarm] = []
    for scope in _scopes(watch, sample):
        key = (sample.source, sample.check, scope)
        stream = watch.streams.get(key) or _new_stream(watch, sample, scope)
        if stream is None:
            continue
        series, raised = stream.series.add(point)
        if raised:
            series = _alarm(watch, sample.source, Stream(series, stream.rules), raised, alarms)
        watch.streams = {**watch.streams, key: Stream(series, stream.rules, series.next_judgement())}
    _say(watch, watch.rules.by_check.get(sample.check, ()))
    return alarms


def _scopes(watch: Watch, sample: Sample) -> tuple[str, ...]:
    """All-window rows, and the rows of the one window that the sample lies in."""
    window = watch.rules.policy.window_at(sample.start - watch.anchor)
    return ("",) if window is None else ("", window.window.value)


def _new_stream(watch: Watch, sample: Sample, scope: str) -> Stream | None:
    rules = tuple(
        i
        for i in watch.rules.by_check.get(sample.check, ())
        if watch.rules.rules[i].is_meter and _scope(watch.rules.rules[i]) == scope
    )
    if not rules or watch.cutover_at is None:
        return None
    lag = watch.rules.lag_of(sample.source, sample.check, sample.end - sample.start)
    meters = [watch.rules.meter(watch.rules.rules[i], lag.period_s) for i in rules]
    return Stream(Series.start(origin=watch.cutover_at, lag_s=lag.lag_s, meters=meters), rules)


def _scope(rule: Rule) -> str:
    return rule.row.windows[0].value if len(rule.row.windows) == 1 else ""


def judge(watch: Watch, now: float) -> list[Alarm]:
    """Judge every slot that is complete at `now`."""
    alarms: list[Alarm] = []
    changed: dict[tuple[str, str, str], Stream] = {}
    for key, stream in watch.streams.items():
        series, raised = stream.series.judge(now)
        if series is stream.series:
            continue
        if raised:
            series = _alarm(watch, key[0], Stream(series, stream.rules), raised, alarms)
        changed[key] = Stream(series, stream.rules, series.next_judgement())
    if changed:
        watch.streams = {**watch.streams, **changed}
    return alarms


def _alarm(watch: Watch, source: str, stream: Stream, raised: tuple[int, ...], alarms: list[Alarm]) -> Series:
    series = stream.series
    for m in raised:
        index = stream.rules[m]
        rule = watch.rules.rules[index]
        sentence, bad_share = _counted(rule, series, series.meters[m], source)
        series = series.restarted(m)
        _raise(watch, index, sentence, source=source, counted=series.total)
        alarms.append(Alarm(index, source, sentence, bad_share))
    return series


def _counted(rule: Rule, series: Series, meter: Meter, source: str) -> tuple[str, float | None]:
    """The sentence of a meter's alarm, the counts over the slots that the alarming rung looked at, and the bad share."""
    rung = meter.ladder[meter.alarmed_rung or 0]
    until = series.judged[series.lengths.index(rung.slot_s)]
    begin = max(series.origin, until - rung.slot_s * rung.cap_slots)
    bad, total = series.counts(begin, until)
    what, noun = {
        Family.ERRORS: ("", "requests"),
        Family.LATENCY: (f" slower than {span(rule.threshold or 0.0)}", "requests"),
        Family.PROBES: (" failed", "probes"),
    }[rule.family]
    value = share(bad / total) if total else "no events"
    allowed = share(rule.p0)
    limit = f"limit {rule.row.condition.text}" if rule.row.condition else "limit"
    if rule.family is not Family.ERRORS:
        limit += f", which allows {allowed}"
    counted = f"{bad:g} of {total:g} {noun}{what} in {span(until - begin)}"
    return f"{rule.row.metric}: {value} ({counted}; {limit}; {source})", bad / total if total else None


# --- gauges ------------------------------------------------------------------------------------------------------------


def _gauges(watch: Watch, sample: Sample, x: float) -> list[Alarm]:
    alarms: list[Alarm] = []
    window = watch.rules.policy.window_at(sample.start - watch.anchor)
    for i in watch.rules.by_check.get(sample.check, ()):
        rule, state = watch.rules.rules[i], watch.verdicts[i]
        if window is None or window.window not in rule.row.windows:
            continue
        if state.sampled_at is None or sample.end >= state.sampled_at:
            state = replace(state, value=x, sampled_at=sample.end)
        if rule.is_meter and _has_counts(watch, i):
            _set(watch, i, state)
            continue
        points = [p for p in state.last if p[0] != sample.end]
        points = sorted([*points, (sample.end, rule.breached(x))])[-GAUGE_POINTS:]
        state = replace(state, last=tuple(points))
        _set(watch, i, state)
        broken = sum(p[1] for p in points)
        if state.alarmed_at is None and broken >= GAUGE_BREACHES:
            sentence = _read(rule, x, broken, len(points), sample.source)
            _raise(watch, i, sentence, source=sample.source, counted=0.0)
            alarms.append(Alarm(i, sample.source, sentence))
        _say(watch, (i,))
    return alarms


def _has_counts(watch: Watch, rule: int) -> bool:
    return any(rule in s.rules for s in watch.streams.values())


def _read(rule: Rule, x: float, broken: int, points: int, source: str) -> str:
    threshold = reading(rule.row.metric, rule.threshold or 0.0)
    limit = f"limit {rule.row.condition.text}" if rule.row.condition else f"limit {threshold}"
    return f"{rule.row.metric}: {reading(rule.row.metric, x)} ({broken} of the last {points} points; {limit}; {source})"


# --- verdicts ----------------------------------------------------------------------------------------------------------


def _set(watch: Watch, index: int, state: RuleState) -> None:
    if state != watch.verdicts[index]:
        watch.verdicts = (*watch.verdicts[:index], state, *watch.verdicts[index + 1 :])


def _raise(watch: Watch, index: int, sentence: str, *, source: str, counted: float) -> None:
    state = watch.verdicts[index]
    first = state.alarmed_at is None
    changed = replace(
        state,
        alarmed_at=watch.at if first else state.alarmed_at,
        reason=sentence,
        source=source,
        at_alarm=counted,
        decided=state.decided and not first,
    )
    _set(watch, index, changed)
    _say(watch, (index,))


def _say(watch: Watch, rules: tuple[int, ...]) -> None:
    """Bring the verdicts of these rules up to date."""
    for i in rules:
        rule, state = watch.rules.rules[i], watch.verdicts[i]
        verdict, reason, cleared = _verdict(watch, i, rule, state)
        if cleared:
            state = replace(state, alarmed_at=None, decided=False)
        if verdict is not state.verdict or cleared or (reason != state.reason and verdict is not Verdict.PASS):
            since = watch.at if verdict is not state.verdict else state.since
            _set(watch, i, replace(state, verdict=verdict, reason=reason, since=since))


def _verdict(watch: Watch, index: int, rule: Rule, state: RuleState) -> tuple[Verdict, str, bool]:
    """The verdict, its reason, and whether an alarm has cleared."""
    if rule.why_not:
        return Verdict.INCONCLUSIVE, rule.why_not, False
    alarmed = Verdict.WARN if rule.row.severity is Severity.WARNING else Verdict.FAIL
    gauge = not rule.is_meter or not _has_counts(watch, index)
    if state.alarmed_at is not None:
        if not _cleared(watch, index, rule, state, gauge=gauge):
            return alarmed, state.reason, False
        return Verdict.PASS, "cleared", True
    gone = [watch.missing[c] for c in rule.checks if c in watch.missing]
    if rule.row.condition is None:  # `health_check failing` is set by confirmation
        return (*_probes_say(watch, rule, gone), False)
    if gauge and state.last:
        return Verdict.PASS, "", False
    if gauge:
        return (Verdict.ERROR if "source_error" in gone else Verdict.INCONCLUSIVE), _why(gone), False
    seen, needed = evidence(watch, index)
    if rule.family is Family.PROBES:
        return (*_probes_say(watch, rule, gone), False)
    if seen >= needed:
        return Verdict.PASS, "", False
    return Verdict.INCONCLUSIVE, f"too little traffic so far: {seen:.0f} requests, {needed:.0f} would show five times the limit", False


def _probes_say(watch: Watch, rule: Rule, gone: list[str]) -> tuple[Verdict, str]:
    """Of a probe row without an alarm: one lost probe proves nothing, but nor does it pass."""
    states = {c: watch.probes[c] for c in rule.checks if c in watch.probes}
    failing = [c for c, p in states.items() if p.streak]
    if failing:
        return Verdict.INCONCLUSIVE, f"{', '.join(failing)} failed last; not proven yet"
    counted = any(c in rule.checks for _, c, _ in watch.streams)
    if counted and all(p.passed or c in gone for c, p in states.items()) and not gone:
        return Verdict.PASS, ""
    return (Verdict.INCONCLUSIVE, _why(gone)) if gone or not counted else (Verdict.PASS, "")


def _why(gone: list[str]) -> str:
    return f"no evidence: {gone[0].replace('_', ' ')}" if gone else "no evidence yet"


def _cleared(watch: Watch, index: int, rule: Rule, state: RuleState, *, gauge: bool) -> bool:
    if rule.row.condition is None:
        return False
    if gauge:
        return sum(not p[1] for p in state.last) >= GAUGE_BREACHES
    for stream in watch.streams.values():
        if index in stream.rules:
            meter = stream.series.meters[stream.rules.index(index)]
            if stream.series.total - state.at_alarm >= meter.enough() and meter.fullness < 0.5:  # noqa: PLR2004
                return True
    return False


def evidence(watch: Watch, index: int) -> tuple[float, float]:
    """Events counted for a rule by its best feed, and how many are enough to say PASS."""
    best = (0.0, inf)
    for stream in watch.streams.values():
        if index in stream.rules:
            found = (stream.series.total, stream.series.meters[stream.rules.index(index)].enough())
            best = max(best, found, key=lambda f: f[0])
    return best


def fullness(watch: Watch, index: int) -> float:
    """How near an alarm the rule is, 0..1."""
    rule, state = watch.rules.rules[index], watch.verdicts[index]
    if state.alarmed_at is not None:
        return 1.0
    if not rule.is_meter or not _has_counts(watch, index):
        return sum(p[1] for p in state.last) / GAUGE_BREACHES if state.last else 0.0
    return max(
        (s.series.meters[s.rules.index(index)].fullness for s in watch.streams.values() if index in s.rules), default=0.0
    )


def needs_rollback(rule: Rule) -> bool:
    """Whether the row asks for a rollback."""
    return rule.row.action is Action.ROLLBACK
