"""One `ListTimeSeries` call: from the request message to the answer, with the refusals of the real API.

Refusals use its words where somebody has published them: the alignment period (spinnaker/spinnaker issue 3025),
aligners that do not fit (grafana/grafana issue 22634), filters that do not parse (stackdriver_exporter issue 52 of
prometheus-community), metrics that do not exist.

Raw DELTA points start a millisecond after the end of the point before, as seen in stackdriver_exporter issue 241;
aligned ones start exactly on the boundary. A reader that computes with `start_time` sees both.
"""

import base64
import hashlib
import json
import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import grpc
from google.cloud.monitoring_v3 import types
from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp

from watchdog.emulator.descriptors import Kind, Metric, ValueType
from watchdog.emulator.distribution import Distribution
from watchdog.emulator.monitoring_filter import (
    Expression,
    InvalidFilterError,
    UnknownMetricError,
    matches,
    metric_of,
    parse,
)
from watchdog.emulator.series import (
    UNSUPPORTED_ALIGNERS,
    InvalidAggregationError,
    Series,
    align,
    check_aligner,
    check_reducer,
    label_fields,
    reduce,
)

LEAST_ALIGNMENT_S = 60.0
"""The real API takes no shorter alignment period (google/monitoring/v3/common.proto)."""
MOST_POINTS = 100_000
"""The largest page (google/monitoring/v3/metric_service.proto)."""

Aligner = types.Aggregation.Aligner
Reducer = types.Aggregation.Reducer
HEADERS = types.ListTimeSeriesRequest.TimeSeriesView.HEADERS

# The protobuf messages beneath the proto-plus ones, which cost a multiple for every field that is set.
ListTimeSeriesResponse: Any = types.ListTimeSeriesResponse.pb()


class RefusedError(Exception):
    """The call ends with a gRPC status instead of an answer."""

    def __init__(self, code: grpc.StatusCode, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message


@dataclass(frozen=True, slots=True, kw_only=True)
class Query:
    """A request that is understood; `aligner` and `reducer` are empty where there is none."""

    project: str
    metric: Metric
    expression: Expression
    start_us: int
    end_us: int
    aligner: str = ""
    reducer: str = ""
    period_us: int = 0
    group_by: Sequence[str] = ()


def project_of(name: str) -> str:
    """The project in a resource name; raises `RefusedError` where there is none."""
    found = re.match(r"projects/([^/]+)(?:/|$)", name)
    if found is None:
        raise invalid(f'Field name had an invalid value of "{name}": Must have the form projects/PROJECT_ID.')
    return found[1]


def invalid(message: str) -> RefusedError:
    """The refusal for an argument that can't be right at any time."""
    return RefusedError(grpc.StatusCode.INVALID_ARGUMENT, message)


def understand(request: Any, *, sample_period_s: float) -> Query:
    """Check a `ListTimeSeriesRequest`; raises `RefusedError`.

    The shortest alignment period is the real API's 60 s, or the sampling period where the emulator samples faster.
    """
    project = project_of(request.name)
    try:
        expression = parse(request.filter)
        metric = metric_of(request.filter, expression)
    except InvalidFilterError as error:
        raise invalid(str(error)) from error
    except UnknownMetricError as error:
        raise RefusedError(grpc.StatusCode.NOT_FOUND, str(error)) from error
    start_us, end_us = _interval(request.interval)
    if request.order_by:
        raise invalid(f'Field orderBy had an invalid value of "{request.order_by}": Unsupported: must be left blank.')
    if request.HasField("secondary_aggregation"):
        raise RefusedError(grpc.StatusCode.UNIMPLEMENTED, "This emulator has no secondary aggregation.")
    query = Query(project=project, metric=metric, expression=expression, start_us=start_us, end_us=end_us)
    return _aggregated(query, request.aggregation, sample_period_s)


class Readable(Protocol):
    """Whatever holds series."""

    def read(self, metric: Metric, *, project: str, start_us: int, end_us: int, now_us: int) -> list[Series]:
        """Series with the points that overlap `(start_us, end_us]` and ended at or before `now_us`."""


def select(query: Query, samples: Readable, *, now_us: int) -> list[Series]:
    """The series that answer `query`, points oldest first; `now_us` is the moment up to which points are ingested.

    Raises `RefusedError` for grouping fields that the metric does not have.
    """
    # The oldest alignment period may begin before the interval does.
    reach_us = query.start_us - query.period_us
    found = [
        series
        for series in samples.read(
            query.metric, project=query.project, start_us=reach_us, end_us=query.end_us, now_us=now_us
        )
        if matches(
            query.expression,
            {"metric.type": query.metric.type, "resource.type": query.metric.resource, "project": query.project}
            | label_fields(series),
        )
    ]
    try:
        if query.aligner:
            found = [
                align(
                    series,
                    aligner=query.aligner,
                    period_us=query.period_us,
                    start_us=query.start_us,
                    end_us=query.end_us,
                )
                for series in found
            ]
        else:
            found = [_clipped(series, query) for series in found]
        found = [series for series in found if series.points]
        if query.reducer:
            found = reduce(found, reducer=query.reducer, group_by=query.group_by, metric=query.metric)
    except InvalidAggregationError as error:
        raise invalid(str(error)) from error
    return found


def answer(
    request: Any, query: Query, read: Callable[[int], list[Series]], *, now_us: int, as_nan: bool = False
) -> Any:
    """A page of the answer as protobuf, points newest first; `read` gives all series as of a moment.

    The page token carries the moment of the first page, so that later pages come from the same data.
    """
    offset = 0
    if request.page_token:
        offset, now_us = _opened(request)
    rows = [(series, index) for series in read(now_us) for index in range(len(series.points) - 1, -1, -1)]
    headers = request.view == HEADERS
    if headers:
        rows = [(series, index) for series, index in rows if index == len(series.points) - 1]
    size = request.page_size if 0 < request.page_size < MOST_POINTS else MOST_POINTS
    result = ListTimeSeriesResponse(unit="" if query.aligner in {"ALIGN_RATE", "ALIGN_COUNT"} else query.metric.unit)
    last: Series | None = None
    for series, index in rows[offset : offset + size]:
        if series is not last:
            message = result.time_series.add()
            _head(message, series, query.metric)
            last = series
        if not headers:
            _point(message.points.add(), series, index, raw=not query.aligner, as_nan=as_nan)
    if offset + size < len(rows):
        result.next_page_token = _token(request, offset + size, now_us)
    return result


def _interval(interval: Any) -> tuple[int, int]:
    if not interval.HasField("end_time"):
        raise invalid("Field interval.endTime had an invalid value: The end time must be specified.")
    if not interval.HasField("start_time"):
        raise invalid("Field interval.startTime had an invalid value: The start time must be specified.")
    start: Timestamp = interval.start_time
    end: Timestamp = interval.end_time
    if start.ToNanoseconds() >= end.ToNanoseconds():
        raise invalid(
            f'Field interval.startTime had an invalid value of "{start.ToJsonString()}": The start time must be '
            f"earlier than the end time ({end.ToJsonString()})."
        )
    return start.ToMicroseconds(), end.ToMicroseconds()


def _aggregated(query: Query, aggregation: Any, sample_period_s: float) -> Query:
    aligner = _name(Aligner, aggregation.per_series_aligner, "perSeriesAligner")
    reducer = _name(Reducer, aggregation.cross_series_reducer, "crossSeriesReducer")
    if aligner == "ALIGN_NONE" and query.metric.kind is Kind.CUMULATIVE:
        raise RefusedError(grpc.StatusCode.UNIMPLEMENTED, "This emulator has running totals only aligned.")
    if aligner == "ALIGN_NONE":
        if reducer != "REDUCE_NONE":
            raise invalid(
                f'Field aggregation.crossSeriesReducer had an invalid value of "{reducer}": The per-series aligner '
                "must be specified, and must not be ALIGN_NONE."
            )
        return query
    if aligner in UNSUPPORTED_ALIGNERS:
        raise RefusedError(grpc.StatusCode.UNIMPLEMENTED, f"This emulator has no {aligner}.")
    period_us = aggregation.alignment_period.ToMicroseconds()
    least_s = min(LEAST_ALIGNMENT_S, sample_period_s)
    if period_us < least_s * 1e6:
        least = "1 minute." if least_s == LEAST_ALIGNMENT_S else f"{least_s:g} seconds, the period at which this "
        rest = "" if least_s == LEAST_ALIGNMENT_S else "emulator samples (the real API: 1 minute)."
        raise invalid(
            f'Field aggregation.alignmentPeriod had an invalid value of "{period_us / 1e6:g}s": The alignment period '
            f"must be greater than or equal to {least}{rest}"
        )
    kind, value_type = query.metric.kind, query.metric.value_type
    try:
        operation = check_aligner(aligner, kind=kind, value_type=value_type)
        if reducer != "REDUCE_NONE":
            check_reducer(reducer, kind=operation.kind or kind, value_type=operation.value_type or value_type)
    except InvalidAggregationError as error:
        raise invalid(str(error)) from error
    return Query(
        project=query.project,
        metric=query.metric,
        expression=query.expression,
        start_us=query.start_us,
        end_us=query.end_us,
        aligner=aligner,
        reducer="" if reducer == "REDUCE_NONE" else reducer,
        period_us=period_us,
        group_by=tuple(aggregation.group_by_fields),
    )


def _name(enum: Any, number: int, field: str) -> str:
    try:
        return str(enum(number).name)
    except ValueError as error:
        raise invalid(f'Field aggregation.{field} had an invalid value of "{number}".') from error


def _clipped(series: Series, query: Query) -> Series:
    return Series(
        kind=series.kind,
        value_type=series.value_type,
        points=[point for point in series.points if query.start_us < point.end_us <= query.end_us],
        metric_labels=series.metric_labels,
        resource_labels=series.resource_labels,
    )


def _head(message: Any, series: Series, metric: Metric) -> None:
    message.metric.type = metric.type
    message.metric.labels.update(series.metric_labels)
    message.resource.type = metric.resource
    message.resource.labels.update(series.resource_labels)
    message.metric_kind = message.DESCRIPTOR.fields_by_name["metric_kind"].enum_type.values_by_name[series.kind].number
    value_types = message.DESCRIPTOR.fields_by_name["value_type"].enum_type.values_by_name
    message.value_type = value_types[series.value_type].number


def _point(message: Any, series: Series, index: int, *, raw: bool, as_nan: bool) -> None:
    point = series.points[index]
    gap_us = 1000 if raw and series.kind is Kind.DELTA else 0
    message.interval.start_time.FromMicroseconds(point.start_us + gap_us)
    message.interval.end_time.FromMicroseconds(point.end_us)
    if isinstance(point.value, Distribution):
        distribution = message.value.distribution_value
        point.value.fill(distribution)
        if as_nan:
            distribution.mean = distribution.sum_of_squared_deviation = math.nan
    elif series.value_type is ValueType.INT64:
        message.value.int64_value = round(point.value)
    else:
        message.value.double_value = math.nan if as_nan else point.value


def _token(request: Any, offset: int, now_us: int) -> str:
    state = {"offset": offset, "now_us": now_us, "request": _digest(request)}
    return base64.urlsafe_b64encode(json.dumps(state).encode()).decode()


def _opened(request: Any) -> tuple[int, int]:
    try:
        state = json.loads(base64.urlsafe_b64decode(request.page_token.encode()))
        if state["request"] != _digest(request):
            raise invalid("The page token belongs to another request.")
        return int(state["offset"]), int(state["now_us"])
    except (ValueError, KeyError, TypeError) as error:
        raise invalid(f'Field pageToken had an invalid value of "{request.page_token}".') from error


def _digest(request: Message) -> str:
    same: Any = type(request)()
    same.CopyFrom(request)
    same.page_token = ""
    same.page_size = 0
    return hashlib.sha256(same.SerializeToString(deterministic=True)).hexdigest()[:16]
