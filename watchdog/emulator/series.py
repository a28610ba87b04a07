"""Aligning and reducing time series, as Cloud Monitoring's `Aggregation` does.

Rules and their sources (proto = google/monitoring/v3/common.proto, the comments on `TimeInterval` and `Aggregation`):

* A read interval is half-open, `(start, end]` (proto, TimeInterval).
* Alignment yields "a single data point for each alignment_period with end timestamp at the end of the period" (proto,
  Aligner), and the periods are laid backwards from the interval's *end*: the API "works its way backwards" and stops at
  the first period that starts at or before `start` (prometheus-community/stackdriver_exporter pull request 22, which
  saw a whole extra period come back when the interval was a nanosecond longer). So the oldest period may reach back
  before `start`.
* Which aligner and reducer fit which kind and value type, and what comes out: proto, enums Aligner and Reducer; where
  the proto names no kind, percentiles, rates and means are GAUGE and the rest keep theirs.
* `ALIGN_DELTA` and `ALIGN_RATE` take `y1 - y0` of the running total, interpolated where a period's edge cuts a point.
* A period without any point yields no point. The proto says that ALIGN_DELTA interpolates there; nothing is shown here,
  the harder case for a reader, since "no traffic" must never be taken for "zero errors".

Times are microseconds since the Unix epoch, so that boundaries compare exactly.
"""

import math
from bisect import bisect_right
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from operator import attrgetter

from watchdog.emulator.descriptors import Kind, Metric, ValueType
from watchdog.emulator.distribution import Distribution, between
from watchdog.emulator.monitoring_filter import canonical_field

Value = int | float | Distribution
NUMERIC = frozenset({ValueType.INT64, ValueType.DOUBLE})
ANY = frozenset(ValueType)
DISTRIBUTION = frozenset({ValueType.DISTRIBUTION})
PERCENTILES = {"05": 5.0, "50": 50.0, "95": 95.0, "99": 99.0}
UNSUPPORTED_ALIGNERS = frozenset({"ALIGN_INTERPOLATE", "ALIGN_NEXT_OLDER", "ALIGN_PERCENT_CHANGE"})
"""Valid in the real API, and refused here by name rather than answered wrongly."""


class InvalidAggregationError(ValueError):
    """The aggregation does not fit the metric; the message is the one that goes to the client."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """One value over `(start_us, end_us]`; a gauge has `start_us == end_us`."""

    start_us: int
    end_us: int
    value: Value


@dataclass(frozen=True, slots=True, kw_only=True)
class Series:
    """One time series; points oldest first."""

    kind: Kind
    value_type: ValueType
    points: Sequence[Point]
    metric_labels: Mapping[str, str] = field(default_factory=dict)
    resource_labels: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Operation:
    """What an aligner or a reducer accepts, and what it turns it into; `None` keeps kind or value type."""

    kinds: frozenset[Kind] = frozenset(Kind)
    types: frozenset[ValueType] = NUMERIC
    kind: Kind | None = None
    value_type: ValueType | None = None
    apply: Callable[[Sequence[Value]], Value]


def align(series: Series, *, aligner: str, period_us: int, start_us: int, end_us: int) -> Series:
    """`series` with one point for each period of `(start_us, end_us]` that has data.

    Raises `InvalidAggregationError` when the aligner does not fit the series.
    """
    operation = check_aligner(aligner, kind=series.kind, value_type=series.value_type)
    kind = operation.kind or series.kind
    points: list[Point] = []
    # Periods older than the oldest point have no data: a long interval costs no more than its points.
    oldest_us = max(start_us, series.points[0].start_us) if series.points else end_us
    for step in range(-(-(end_us - oldest_us) // period_us) - 1, -1, -1):
        high = end_us - step * period_us
        low = high - period_us
        if aligner in {"ALIGN_DELTA", "ALIGN_RATE"}:
            values = [_cut(point, low, high) for point in _within(series.points, low, high, cut=True)]
        else:
            values = [point.value for point in _within(series.points, low, high, cut=False)]
        if values:
            value = operation.apply(values)
            if aligner == "ALIGN_RATE":
                value = _number(value) * 1e6 / period_us
            points.append(Point(start_us=high if kind is Kind.GAUGE else low, end_us=high, value=value))
    return Series(
        kind=kind,
        value_type=operation.value_type or series.value_type,
        points=points,
        metric_labels=series.metric_labels,
        resource_labels=series.resource_labels,
    )


def reduce(series: Iterable[Series], *, reducer: str, group_by: Sequence[str], metric: Metric) -> list[Series]:
    """One series for each group of equal `group_by` fields; the project always stays among the resource labels.

    Raises `InvalidAggregationError` for a reducer that does not fit the series, or a field that `metric` does not have.
    """
    fields = [_group_field(name, metric) for name in group_by]
    groups: dict[tuple[tuple[str, str], ...], list[Series]] = {}
    for one in series:
        labels = label_fields(one)
        groups.setdefault(tuple((name, labels.get(name, "")) for name in fields), []).append(one)
    result = []
    for key, members in sorted(groups.items()):
        operation = check_reducer(reducer, kind=members[0].kind, value_type=members[0].value_type)
        kind = operation.kind or members[0].kind
        columns: dict[tuple[int, int], list[Value]] = {}
        for point in (point for member in members for point in member.points):
            columns.setdefault((point.end_us, point.start_us), []).append(point.value)
        kept = dict(key) | {"resource.labels.project_id": members[0].resource_labels["project_id"]}
        result.append(
            Series(
                kind=kind,
                value_type=operation.value_type or members[0].value_type,
                points=[
                    Point(start_us=end if kind is Kind.GAUGE else start, end_us=end, value=operation.apply(values))
                    for (end, start), values in sorted(columns.items(), key=lambda column: column[0])
                ],
                metric_labels=_labels_under("metric.labels.", kept),
                resource_labels=_labels_under("resource.labels.", kept),
            )
        )
    return result


def label_fields(series: Series) -> dict[str, str]:
    """The labels of `series` under the names that filters and `group_by_fields` use."""
    return {f"metric.labels.{key}": value for key, value in series.metric_labels.items()} | {
        f"resource.labels.{key}": value for key, value in series.resource_labels.items()
    }


def check_aligner(aligner: str, *, kind: Kind, value_type: ValueType) -> Operation:
    """The operation of `aligner`; `InvalidAggregationError` when the real API would refuse it for such a series."""
    operation = ALIGNERS.get(aligner)
    if operation is None or kind not in operation.kinds or value_type not in operation.types:
        raise InvalidAggregationError(
            f'Field aggregation.perSeriesAligner had an invalid value of "{aligner}": The aligner cannot be applied to '
            f"metrics with kind {kind} and value type {value_type}."
        )
    return operation


def check_reducer(reducer: str, *, kind: Kind, value_type: ValueType) -> Operation:
    """The operation of `reducer`; `InvalidAggregationError` when the real API would refuse it for such series."""
    operation = REDUCERS.get(reducer)
    if operation is None or kind not in operation.kinds or value_type not in operation.types:
        raise InvalidAggregationError(
            f'Field aggregation.crossSeriesReducer had an invalid value of "{reducer}": The reducer cannot be applied '
            f"to metrics with kind {kind} and value type {value_type}."
        )
    return operation


def _within(points: Sequence[Point], low: int, high: int, *, cut: bool) -> Sequence[Point]:
    """Points that end in `(low, high]`; with `cut`, all that overlap it."""
    first = bisect_right(points, low, key=attrgetter("end_us"))
    last = bisect_right(points, high, key=attrgetter("end_us"))
    if cut and last < len(points) and points[last].start_us < high:
        last += 1
    return points[first:last]


def _cut(point: Point, low: int, high: int) -> Value:
    if low <= point.start_us and point.end_us <= high:
        return point.value
    width = point.end_us - point.start_us
    start = max(0.0, (low - point.start_us) / width)
    end = min(1.0, (high - point.start_us) / width)
    if isinstance(point.value, Distribution):
        return point.value.part(start, end)
    if isinstance(point.value, int):
        return between(point.value, start, end)
    return point.value * (end - start)


def _group_field(name: str, metric: Metric) -> str:
    canonical = canonical_field(name)
    side, _, key = (canonical or "").partition(".labels.")
    if canonical == "resource.type" or key in {"metric": metric.labels, "resource": metric.resource_labels}.get(
        side, ()
    ):
        return str(canonical)
    raise InvalidAggregationError(
        f'Field aggregation.groupByFields had an invalid value of "{name}": {metric.type} has no such field.'
    )


def _labels_under(prefix: str, labels: Mapping[str, str]) -> dict[str, str]:
    return {name.removeprefix(prefix): value for name, value in labels.items() if name.startswith(prefix) and value}


def _number(value: Value) -> float:
    if isinstance(value, Distribution):
        raise TypeError("a distribution is not a number")
    return value


def _sum(values: Sequence[Value]) -> Value:
    first = values[0]
    if not isinstance(first, Distribution):
        return sum(_number(value) for value in values)
    total = Distribution(first.buckets)
    for value in values:
        if isinstance(value, Distribution):
            total.merge(value)
    return total


def _mean(values: Sequence[Value]) -> Value:
    total = _sum(values)
    # A mean over distributions is the mean of everything that they counted.
    return total.mean if isinstance(total, Distribution) else total / len(values)


def _deviation(values: Sequence[Value]) -> Value:
    total = _sum(values)
    if isinstance(total, Distribution):
        return math.sqrt(total.squares / total.count) if total.count else math.nan
    mean = total / len(values)
    return math.sqrt(sum((_number(value) - mean) ** 2 for value in values) / len(values))


def _percentile(percent: float) -> Callable[[Sequence[Value]], Value]:
    def apply(values: Sequence[Value]) -> Value:
        total = _sum(values)
        if isinstance(total, Distribution):
            return total.percentile(percent)
        ordered = sorted(_number(value) for value in values)
        # Between the closest ranks; Google does not say how it interpolates plain numbers.
        position = (len(ordered) - 1) * percent / 100.0
        low = math.floor(position)
        high = min(low + 1, len(ordered) - 1)
        return ordered[low] + (ordered[high] - ordered[low]) * (position - low)

    return apply


def _largest(values: Sequence[Value]) -> Value:
    return max(_number(value) for value in values)


def _smallest(values: Sequence[Value]) -> Value:
    return min(_number(value) for value in values)


_DELTA_ONLY = frozenset({Kind.DELTA, Kind.CUMULATIVE})
_SUM_TYPES = NUMERIC | DISTRIBUTION

ALIGNERS: Mapping[str, Operation] = {
    "ALIGN_DELTA": Operation(kinds=_DELTA_ONLY, types=_SUM_TYPES, kind=Kind.DELTA, apply=_sum),
    "ALIGN_RATE": Operation(kinds=_DELTA_ONLY, kind=Kind.GAUGE, value_type=ValueType.DOUBLE, apply=_sum),
    "ALIGN_SUM": Operation(types=_SUM_TYPES, apply=_sum),
    "ALIGN_MEAN": Operation(kind=Kind.GAUGE, value_type=ValueType.DOUBLE, apply=_mean),
    "ALIGN_MAX": Operation(apply=_largest),
    "ALIGN_MIN": Operation(apply=_smallest),
    "ALIGN_COUNT": Operation(value_type=ValueType.INT64, apply=len),
    "ALIGN_STDDEV": Operation(kind=Kind.GAUGE, value_type=ValueType.DOUBLE, apply=_deviation),
} | {
    f"ALIGN_PERCENTILE_{name}": Operation(
        types=DISTRIBUTION, kind=Kind.GAUGE, value_type=ValueType.DOUBLE, apply=_percentile(percent)
    )
    for name, percent in PERCENTILES.items()
}

REDUCERS: Mapping[str, Operation] = {
    "REDUCE_SUM": Operation(types=_SUM_TYPES, apply=_sum),
    "REDUCE_MEAN": Operation(types=_SUM_TYPES, kind=Kind.GAUGE, value_type=ValueType.DOUBLE, apply=_mean),
    "REDUCE_MAX": Operation(apply=_largest),
    "REDUCE_MIN": Operation(apply=_smallest),
    "REDUCE_COUNT": Operation(types=ANY, value_type=ValueType.INT64, apply=len),
    "REDUCE_STDDEV": Operation(types=ANY, kind=Kind.GAUGE, value_type=ValueType.DOUBLE, apply=_deviation),
} | {
    f"REDUCE_PERCENTILE_{name}": Operation(
        types=ANY, kind=Kind.GAUGE, value_type=ValueType.DOUBLE, apply=_percentile(percent)
    )
    for name, percent in PERCENTILES.items()
}
