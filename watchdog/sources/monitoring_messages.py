"""What is sent to Cloud Monitoring and what comes back, as plain values: the only module that knows its messages.

Only the end of a point's interval is used: the start of a DELTA point may lie a millisecond after the period's.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from watchdog.sources.distributions import Histogram, exponential_bounds, linear_bounds

Number = int | float | Histogram


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One time series: its metric labels, and end of period (microseconds since the Unix epoch) → value.

    A value that cannot be used is NaN (a distribution whose mean is NaN included); a distribution that contradicts
    itself is None.
    """

    labels: Mapping[str, str]
    points: Mapping[int, Number | None]


@dataclass(frozen=True, slots=True, kw_only=True)
class SeriesQuery:
    """One `ListTimeSeries` call: points of one metric, reduced over all series of a group; by default DELTA points,
    summed.

    `labels` are resource labels that must be equal. `scale` brings distributions to base units. `text` is a whole
    filter in place of the one that is made of metric, resource and labels; `more` is added to that.
    """

    project: str
    metric: str
    labels: Mapping[str, str]
    start_us: int
    end_us: int
    period_us: int
    group_by: Sequence[str] = ()
    scale: float = 1.0
    resource: str = "cloud_run_revision"
    aligner: str = "ALIGN_DELTA"
    reducer: str = "REDUCE_SUM"
    more: str = ""
    text: str = ""

    @property
    def filter(self) -> str:
        """In the API's filter language; it names exactly one metric type, as the API demands."""
        if self.text:
            return self.text
        parts = [f'metric.type = "{self.metric}"', f'resource.type = "{self.resource}"']
        parts += [f"resource.labels.{key} = {quoted(value)}" for key, value in self.labels.items()]
        return " AND ".join([*parts, *([self.more] if self.more else [])])


def build_request(query: SeriesQuery) -> Any:
    """The `ListTimeSeriesRequest`: one point a period, reduced over the series of a group."""
    from google.cloud.monitoring_v3 import types  # noqa: PLC0415 - loaded with the client

    request: Any = types.ListTimeSeriesRequest.pb()()
    request.name = f"projects/{query.project}"
    request.filter = query.filter
    request.interval.start_time.FromMicroseconds(query.start_us)
    request.interval.end_time.FromMicroseconds(query.end_us)
    request.aggregation.alignment_period.FromMicroseconds(query.period_us)
    request.aggregation.per_series_aligner = getattr(types.Aggregation.Aligner, query.aligner)
    request.aggregation.cross_series_reducer = getattr(types.Aggregation.Reducer, query.reducer)
    request.aggregation.group_by_fields.extend(query.group_by)
    return types.ListTimeSeriesRequest.wrap(request)


def read_value(value: Any, scale: float) -> Number | None:
    """A `TypedValue`; see `Line` for what cannot be used."""
    kind = value.WhichOneof("value")
    if kind == "int64_value":
        return int(value.int64_value)
    if kind == "double_value":
        return float(value.double_value)
    return _histogram(value.distribution_value, scale) if kind == "distribution_value" else None


def _histogram(message: Any, scale: float) -> Number | None:
    if math.isnan(message.mean):
        return math.nan
    try:
        bounds = _BOUNDS[message.bucket_options.WhichOneof("options")](message.bucket_options)
        return Histogram.of(bounds, message.bucket_counts, mean=message.mean, total=message.count, scale=scale)
    except (KeyError, ValueError):
        return None


_BOUNDS: Mapping[str | None, Callable[[Any], Sequence[float]]] = {
    "linear_buckets": lambda o: linear_bounds(
        offset=o.linear_buckets.offset, width=o.linear_buckets.width, finite=o.linear_buckets.num_finite_buckets
    ),
    "exponential_buckets": lambda o: exponential_bounds(
        scale=o.exponential_buckets.scale,
        growth=o.exponential_buckets.growth_factor,
        finite=o.exponential_buckets.num_finite_buckets,
    ),
    "explicit_buckets": lambda o: tuple(o.explicit_buckets.bounds),
}


def quoted(text: str) -> str:
    """A string of the API's filter language."""
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'
