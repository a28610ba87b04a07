"""Samples into verdicts: folds evidence into meters, gauges and coverage, and says which rows raised an alarm."""

from bisect import bisect_left
from dataclasses import dataclass
from math import inf, isfinite

from watchdog.core import coverage, shared, verdicts
from watchdog.core.catalogue import CHECK_PREFIX, GRPC_ERRORS, Family
from watchdog.core.cover import Cover
from watchdog.core.model import Action, Counts, Failed, Missing, Passed, Sample, Value
from watchdog.core.policy import WindowConfig
from watchdog.core.rules import PROBE_SOURCE, Rule, limit_of
from watchdog.core.series import Series
from watchdog.core.standing import Stream
from watchdog.core.state import Watch
from watchdog.core.text import reading, share, span
from watchdog.core.track import Point, Proof

CLOUD_RUN = "cloud_run"
"""The source whose counts hold our own probes, which are then taken out."""
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
    rules = watch.rules.by_check.get(sample.check)
    if rules is None:  # no row reads it
        return []
    if sample.check.startswith(CHECK_PREFIX) and _is_over(watch, rules, sample.start):
        return []
    evidence = _usable(watch, sample)
    if isinstance(evidence, Missing):
        watch.missing = {**watch.missing, sample.check: evidence.reason}
        verdicts.say(watch, rules)
        return []
    if sample.start < watch.cutover_at + watch.rules.cold_s(sample.check):
        return []
    _covered(watch, sample)
    if isinstance(evidence, Value):
        return _gauges(watch, sample, evidence.x)
    if sample.check.startswith(CHECK_PREFIX):
        return _checked(watch, sample)
    # A probe tells of the moment at which it was answered, and stands for its interval only in the coverage.
    end = min(sample.end, sample.seen) if sample.source == PROBE_SOURCE else sample.end
    point = Point(end, sample.start, evidence.bad, evidence.total)
    if watch.shared and sample.source != PROBE_SOURCE and shared.covers(watch, sample):
        point = point._replace(bad=0.0, total=0.0)  # a slot without evidence, in the place of what came before
    return _meters(watch, sample, point)


def _usable(watch: Watch, sample: Sample) -> Counts | Value | Missing:
    """What the sample says, our own probes left out; missing where it is no number, or where a feed shows nothing
    although our probes were there."""
    evidence = sample.evidence
    if isinstance(evidence, Counts):
        bad, total = evidence.bad, evidence.total
        if not (0.0 <= bad < inf and 0.0 <= total < inf):
            return Missing("nan")
        if sample.source != CLOUD_RUN or not watch.sole:
            return evidence
        own_bad, own_total = own_counts(watch, sample)
        if own_total and not total:
            return Missing("empty_feed")
        return Counts(max(0.0, bad - own_bad), max(0.0, total - own_total)) if own_total else evidence
    if isinstance(evidence, Value):
        return evidence if isfinite(evidence.x) else Missing("nan")
    if isinstance(evidence, Missing):
        return evidence
    return _PASSED if isinstance(evidence, Passed) else _FAILED


_PASSED, _FAILED = Counts(0.0, 1.0), Counts(1.0, 1.0)


def own_counts(watch: Watch, sample: Sample) -> tuple[int, int]:
    """How many of the sample's bad and total requests were our own probes: counted by the end of each request, as
    Cloud Run counts."""
    own = watch.own_requests
    lo = bisect_left(own, (sample.start, inf))
    hi = bisect_left(own, (sample.end,))
    if sample.check == "error_rate":
        return sum(r.bad for r in own[lo:hi]), hi - lo
    if sample.check == "client_error_rate":
        return sum(r.client_error for r in own[lo:hi]), hi - lo
    if sample.check.startswith("slower_than_"):
        limit = limit_of(sample.check)
        return sum(r.took_s > limit for r in own[lo:hi]), hi - lo
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
    scopes = watch.rules.metered.get(sample.check, {})
    window = _window(watch, sample.start) if any(scopes) else None
    for scope, rules in scopes.items():
        if scope and (window is None or scope != window.window):
            continue
        key = (sample.source, sample.check, scope)
        before = watch.streams.get(key) or _new_stream(watch, sample, rules)
        series, raised = before.series.add(point, watch.at)
        if raised:
            series = _alarm(watch, key, Stream(series, rules), raised, alarms)
        watch.streams = {**watch.streams, key: Stream(series, rules)}
        if series.due < watch.slots_due:
            watch.slots_due, watch.ripe_at = series.due, min(watch.ripe_at, series.due)
        elif series.due > before.series.due:
            _set_times(watch)
        if series.bad:
            over += [i for i, m in zip(rules, series.meters, strict=True) if series.bad > m.p0 * series.total]
    verdicts.say(watch, watch.rules.by_check.get(sample.check, ()), over)
    return alarms


def _window(watch: Watch, at: float) -> WindowConfig | None:
    """The window of a moment; a watch that was extended stays in its last one. None before the cutover. What was seen
    before a promotion, and is told late, counts in the first one: steps that come faster than a feed lose nothing."""
    elapsed, last = at - watch.anchor, watch.rules.policy.windows[-1]
    if elapsed < 0.0 and watch.cutover_at is not None and at >= watch.cutover_at:
        elapsed = 0.0
    return last if elapsed >= last.start_s else watch.rules.policy.window_at(elapsed)


def _new_stream(watch: Watch, sample: Sample, rules: tuple[int, ...]) -> Stream:
    origin = watch.anchor if watch.cutover_at is None else watch.cutover_at
    lag = watch.rules.lag_of(sample.source, sample.check, sample.end - sample.start)
    meters = [watch.rules.meter(watch.rules.rules[i], lag.period_s) for i in rules]
    watch.counted |= set(rules)
    watch.behind = {**watch.behind, sample.check: min(lag.lag_s, watch.behind.get(sample.check, inf))}
    watch.settles_s = coverage.slowest_lag(watch)
    series = Series.start(origin=origin, lag_s=lag.lag_s, meters=meters).judge(watch.at)[0]
    watch.ripe_at = min(watch.ripe_at, series.ripe_at)
    return Stream(series, rules)


def judge(watch: Watch, now: float) -> list[Alarm]:
    """Judge every slot that is complete at `now`."""
    alarms: list[Alarm] = []
    if now < watch.ripe_at:
        return alarms
    changed: dict[tuple[str, str, str], Stream] = {}
    for key, stream in watch.streams.items():
        if stream.series.ripe_at > now:
            continue
        series, raised = stream.series.judge(now)
        if raised:
            series = _alarm(watch, key, Stream(series, stream.rules), raised, alarms)
        changed[key] = Stream(series, stream.rules)
    if changed:
        watch.streams = {**watch.streams, **changed}
        _set_times(watch)
    return alarms


def _set_times(watch: Watch) -> None:
    """Find out anew when the streams have to be looked at."""
    watch.slots_due = min(s.series.due for s in watch.streams.values())
    watch.ripe_at = min(s.series.ripe_at for s in watch.streams.values())


def excuse_probes(watch: Watch) -> None:
    """What failing probes proved, and were about to prove, is over with the hold that explained them: only new failures
    are held against the release."""
    for i in watch.rules.rollback:
        if watch.rules.rules[i].family is Family.PROBES and watch.verdicts[i].alarmed_at is not None:
            verdicts.settle(watch, i)
    for key, stream in watch.streams.items():
        if key[0] == PROBE_SOURCE:
            series = stream.series
            for meter in range(len(stream.rules)):
                series = series.restarted(meter)
            watch.streams = {**watch.streams, key: Stream(series, stream.rules)}


def _alarm(
    watch: Watch,
    key: tuple[str, str, str],
    stream: Stream,
    raised: tuple[Proof, ...],
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
            proof_s=rung.slot_s + max(found.until - found.since, rung.slot_s * rung.cap_slots),
            bad_share=bad_share,
            decided=state.decided and rule.row.action is not Action.ROLLBACK and not state.one_caller,
            one_caller="",
        )
        verdicts.put(watch, index, counted)
        verdicts.raise_alarm(watch, index, sentence, source=source, check=check)
        alarms.append(Alarm(index, source, sentence))
    return series


def _counted(rule: Rule, p0: float, found: Proof, source: str, check: str) -> str:
    """The sentence of a meter's alarm: the counts since the evidence began to speak against the row."""
    what, noun = {
        Family.ERRORS: ("", "requests"),
        Family.LATENCY: (f" slower than {span(rule.threshold or 0.0)}", "requests"),
        Family.PROBES: (" failed", "probes"),
    }[rule.family]
    noun = "calls" if rule.row.metric == GRPC_ERRORS else noun
    limit = f"limit {rule.row.condition.text}" if rule.row.condition else "limit"
    if rule.inherited:
        limit += f", raised to {share(p0)} because it was broken before"
    elif rule.family is not Family.ERRORS:
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
    states = list(watch.verdicts)
    fed = watch.rules.in_window.get((sample.check, window.window), ())
    counts = not (watch.shared and shared.covers(watch, sample))
    for i in fed:
        state, last = states[i], states[i].last
        newest = state.sampled_at is None or sample.end >= state.sampled_at
        value, at = (x, sample.end) if newest else (state.value, state.sampled_at)
        if i not in watch.counted and counts:
            rule = watch.rules.rules[i]
            last = _with_point(last, (sample.end, rule.breached(x)), rule.points[1])
        states[i] = state._replace(value=value, sampled_at=at, last=last)
    watch.verdicts = tuple(states)
    for i in fed:
        rule, state = watch.rules.rules[i], watch.verdicts[i]
        if i in watch.counted or state.alarmed_at is not None:
            continue
        broken = sum(p[1] for p in state.last)
        if broken >= rule.points[0]:
            sentence = _read(rule, x, broken, len(state.last), sample.source)
            verdicts.raise_alarm(watch, i, sentence, source=sample.source, check=sample.check)
            alarms.append(Alarm(i, sample.source, sentence))
    verdicts.say(watch, fed)
    return alarms


def _read(rule: Rule, x: float, broken: int, points: int, source: str) -> str:
    unit = rule.row.condition.unit if rule.row.condition else ""
    threshold = reading(rule.row.metric, rule.threshold or 0.0, unit)
    limit = f"limit {rule.row.condition.text}" if rule.row.condition else f"limit {threshold}"
    value = reading(rule.row.metric, x, unit)
    return f"{rule.row.metric}: {value} ({broken} of the last {points} points; {limit}; {source})"


def _with_point(
    last: tuple[tuple[float, bool], ...], point: tuple[float, bool], keep: int
) -> tuple[tuple[float, bool], ...]:
    """The last points with one more in its place; of the same moment the new one counts."""
    in_order = not last or last[-1][0] < point[0]
    points = (*last, point) if in_order else sorted((*(p for p in last if p[0] != point[0]), point))
    return tuple(points[-keep:])


# --- checks -------------------------------------------------------------------------------------------------------


def _is_over(watch: Watch, rules: tuple[int, ...], at: float) -> bool:
    """Whether the check counted for the first part of the watch only, and that is over at a time."""
    since = watch.cutover_at or 0.0
    ends = (watch.rules.rules[i].row.until_s for i in rules)
    return all(end is not None and at >= since + end for end in ends)


def _checked(watch: Watch, sample: Sample) -> list[Alarm]:
    """A check passed or failed."""
    alarms: list[Alarm] = []
    window = _window(watch, sample.start)
    if window is None:
        return alarms
    failed = isinstance(sample.evidence, Failed)
    fed = watch.rules.by_check.get(sample.check, ())
    for i in fed:
        rule, state = watch.rules.rules[i], watch.verdicts[i]
        # What a check says is of the moment at which it was seen.
        last = _with_point(state.last, (sample.seen, failed), rule.points[1])
        verdicts.put(watch, i, state._replace(sampled_at=sample.seen, last=last))
        broken = sum(p[1] for p in last)
        if state.alarmed_at is None and broken >= rule.points[0]:
            sentence = _said(rule, sample, broken)
            verdicts.raise_alarm(watch, i, sentence, source=sample.source, check=sample.check)
            alarms.append(Alarm(i, sample.source, sentence))
    verdicts.say(watch, fed, fed if failed else ())
    return alarms


def _said(rule: Rule, sample: Sample, broken: int) -> str:
    reason = sample.evidence.reason.replace("_", " ") if isinstance(sample.evidence, Failed) else "failed"
    times = f" ({broken} times in a row)" if broken > 1 else ""
    return f"{rule.row.metric.removeprefix(CHECK_PREFIX)}: {sample.note or reason}{times}"
