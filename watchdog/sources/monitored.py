"""Gauges from Cloud Monitoring that belong to no revision: Cloud SQL, Memorystore, and any metric by filter.

Three sources of one make, since a policy names them apart. Reads are billed by the series: only metrics that some row
reads are asked for, each series once however many metrics rest on it, and what hardly changes once an hour. A shared
resource is judged for whoever is under watch, so its samples name no revision.
"""

import asyncio
import math
from collections.abc import Mapping, Sequence
from typing import Final

import structlog

from watchdog.core.catalogue import UNITS
from watchdog.core.model import Evidence, Missing, Sample, ServiceKey, Value
from watchdog.core.policy import MetricConfig, Policy
from watchdog.core.queries import metric_type
from watchdog.errors import PermanentError, TemporaryError, WatchdogError
from watchdog.ports import Feed, MetricQuery
from watchdog.sources.cloud_monitoring import US, Trouble, periods
from watchdog.sources.distributions import Histogram
from watchdog.sources.monitored_readings import (
    QUOTA,
    REDIS_PREFIX,
    SQL_PREFIX,
    WANTED,
    Wanted,
    default_connections,
    instance_filter,
)
from watchdog.sources.monitoring_client import MonitoringClient, Timing
from watchdog.sources.monitoring_messages import Line, Number, SeriesQuery

NOMINAL: Final = Timing(period_s=60.0, lag_s=180.0)
"""Of a metric whose descriptor the project does not have (yet)."""
_PREFIXES: Final = {"cloud_sql": SQL_PREFIX, "memorystore": REDIS_PREFIX}
LIMIT_S: Final = 3600.0
"""How long a database's memory is taken as known: it changes with its tier."""
_READS_AS_RATE: Final = frozenset({"DELTA", "CUMULATIVE"})

log = structlog.get_logger(__name__)

Points = Mapping[int, Evidence]
"""End of period in microseconds → what it says, in the metric's base unit."""
Asked = dict[str, "asyncio.Task[list[Line]]"]
"""What one question has asked already, by its words: two metrics may rest on the same series."""


def wanted_metrics(policy: Policy, source: str) -> tuple[MetricConfig, ...]:
    """The metrics of this source that some row reads."""
    read = {row.metric for row in policy.rows}
    return tuple(m for m in policy.metrics.values() if m.source == source and not m.pending and m.name in read)


class MonitoredGauges:
    """`ports.Source` for `cloud_sql`, `memorystore` or `cloud_monitoring`. The client is shared and not closed here."""

    def __init__(self, name: str, client: MonitoringClient) -> None:
        self._name = name
        self._client = client
        self._trouble = Trouble(name)
        self._memory: dict[tuple[str, str], tuple[float, float]] = {}
        """By project and instance: when its memory was read (Unix seconds), and how many bytes it has."""

    @property
    def name(self) -> str:
        """See `ports.Source.name`."""
        return self._name

    async def feeds(self, service: ServiceKey, policy: Policy) -> Sequence[Feed]:
        """See `ports.Source.feeds`: only metrics that a row reads."""
        found = []
        for config in wanted_metrics(policy, self._name):
            timing = _slowest(await self._timings(service, config))
            found.append(Feed(source=self._name, check=config.name, period_s=timing.period_s, lag_s=timing.lag_s))
        return found

    async def sample(self, query: MetricQuery, *, now: float) -> Sequence[Sample]:
        """See `ports.Source.sample`. A query that more than one series answers is `Missing("ambiguous: …")`; a metric
        that cannot be read while others can is `Missing("source_error")`, and when none can be read, that is raised."""
        if query.policy is None or query.control:
            return ()
        configs = [m for m in wanted_metrics(query.policy, self._name) if not query.metrics or m.name in query.metrics]
        asked: Asked = {}
        answers = await asyncio.gather(*(self._metric(m, query, now, asked) for m in configs), return_exceptions=True)
        errors = [a for a in answers if isinstance(a, BaseException)]
        for error in errors:
            if not isinstance(error, WatchdogError) or len(errors) == len(configs):
                raise error
        samples: list[Sample] = []
        for config, answer in zip(configs, answers, strict=True):
            self._trouble.note(config.name, answer)
            if not isinstance(answer, BaseException):
                samples += answer
                continue
            timing = NOMINAL
            first, last = periods(query, timing, now)
            samples += self._samples(config, timing, first, last, {}, now, Missing("source_error"))
        return samples

    async def _metric(self, config: MetricConfig, query: MetricQuery, now: float, asked: Asked) -> list[Sample]:
        timings = await self._timings(query.service, config)
        timing = _slowest(timings)
        first, last = periods(query, timing, now)
        if first >= last:
            return []
        window = (round(first * timing.period_s * US), round(last * timing.period_s * US))
        if self._name == "cloud_monitoring":
            points: Points = await self._by_filter(config, query, timing, window)
        else:
            points = await self._known(config, query, timing, window, asked)
        return self._samples(config, timing, first, last, points, now, Missing("no_series"))

    def _samples(
        self,
        config: MetricConfig,
        timing: Timing,
        first: int,
        last: int,
        points: Points,
        now: float,
        absent: Missing,
    ) -> list[Sample]:
        found = []
        for period in range(first, last):
            end_us = round((period + 1) * timing.period_s * US)
            found.append(
                Sample(
                    source=self._name,
                    check=config.name,
                    revision="",
                    start=period * timing.period_s,
                    end=end_us / US,
                    seen=now,
                    evidence=points.get(end_us, points.get(-1, absent)),
                )
            )
        return found

    # --- what is asked --------------------------------------------------------------------------------------------

    async def _timings(self, service: ServiceKey, config: MetricConfig) -> Sequence[Timing]:
        """The timing of each metric type that the name is read from."""
        types = [w.type for w in WANTED[config.name]] if self._name in _PREFIXES else [metric_type(config.filter or "")]
        prefix = _PREFIXES.get(self._name, types[0])
        try:
            known = await self._client.timings(service.project, prefix)
        except PermanentError as error:
            # The feed is wanted for 24 h, and a role may be granted meanwhile: nothing here is final.
            raise TemporaryError(str(error)) from error
        except TemporaryError:
            if self._name in _PREFIXES:
                raise
            known = {}  # a metric that nobody has written yet has no descriptor either
        return [known.get(t, NOMINAL) for t in types]

    async def _known(
        self, config: MetricConfig, query: MetricQuery, timing: Timing, window: tuple[int, int], asked: Asked
    ) -> Points:
        """A metric of the catalogue."""
        parts = [await self._one(w, config, query, timing, window, asked) for w in WANTED[config.name]]
        points = parts[0]
        for more in parts[1:]:
            points = {end: _added(points[end], more[end]) for end in points.keys() & more.keys()}
        if config.name != "db_connections":
            return points
        limit = config.limit
        if limit is not None:
            return {end: _over(e, Value(limit)) for end, e in points.items()}
        memory = await self._memory_of(config, query, timing, window, asked)
        if memory is None:
            return {end: Missing("limit_unknown") for end in points}
        most = Value(float(default_connections(memory)))
        return {end: _over(e, most) for end, e in points.items()}

    async def _memory_of(
        self, config: MetricConfig, query: MetricQuery, timing: Timing, window: tuple[int, int], asked: Asked
    ) -> float | None:
        """The instance's memory in bytes; None where nobody knows it."""
        key = (query.service.project, config.instance or "")
        known = self._memory.get(key)
        if known is not None and abs(query.end - known[0]) < LIMIT_S:
            return known[1]
        quota = await self._one(QUOTA, config, query, timing, window, asked)
        memory = next((e.x for _, e in sorted(quota.items(), reverse=True) if isinstance(e, Value)), None)
        if memory is not None:
            self._memory[key] = (query.end, memory)
        return memory

    async def _one(
        self,
        wanted: Wanted,
        config: MetricConfig,
        query: MetricQuery,
        timing: Timing,
        window: tuple[int, int],
        asked: Asked,
    ) -> Points:
        project = query.service.project
        where = instance_filter(wanted, config, project)
        series = SeriesQuery(
            project=project,
            metric=wanted.type,
            labels={},
            start_us=window[0],
            end_us=window[1],
            period_us=round(timing.period_s * US),
            scale=wanted.scale,
            resource=wanted.resource,
            aligner=wanted.aligner,
            reducer=wanted.reducer,
            more=f"{where} AND {wanted.more}" if wanted.more else where,
        )
        task = asked.get(repr(series))
        if task is None:
            task = asked[repr(series)] = asyncio.create_task(self._client.lines(series))
        return _readings(await task, wanted.quantile, 1.0)

    async def _by_filter(
        self, config: MetricConfig, query: MetricQuery, timing: Timing, window: tuple[int, int]
    ) -> Points:
        """A metric of the team's own: its filter and aggregation as they are written."""
        spread = timing.value_type == "DISTRIBUTION"
        aligner = config.align or ("delta" if spread else "rate" if timing.kind in _READS_AS_RATE else "mean")
        text = config.filter or ""
        lines = await self._client.lines(
            SeriesQuery(
                project=query.service.project,
                metric=metric_type(text),
                labels={},
                start_us=window[0],
                end_us=window[1],
                period_us=round(timing.period_s * US),
                aligner=f"ALIGN_{aligner.upper()}",
                reducer=f"REDUCE_{(config.reduce or 'none').upper()}",
                text=text,
            )
        )
        return _readings(lines, None, UNITS[config.unit][1] if config.unit in UNITS else 1.0)


def _slowest(timings: Sequence[Timing]) -> Timing:
    """The timing that is right for all of them: the widest period, the longest lag."""
    first = timings[0]
    return Timing(
        period_s=max(t.period_s for t in timings),
        lag_s=max(t.lag_s for t in timings),
        kind=first.kind,
        value_type=first.value_type,
    )


def _readings(lines: Sequence[Line], quantile: float | None, size: float) -> Points:
    """One line's points in base units; under the key -1 what every period says when there are several lines."""
    if len(lines) > 1:
        return {-1: Missing(f"ambiguous: {len(lines)} series for one row")}
    return {end: _reading(x, quantile, size) for line in lines for end, x in line.points.items()}


def _reading(x: Number | None, quantile: float | None, size: float) -> Evidence:
    if x is None:
        return Missing("malformed")
    if isinstance(x, Histogram):
        if quantile is None:
            return Missing("ambiguous: a distribution, reduce it to a percentile")
        x = x.quantile(quantile)
    return Value(x * size) if math.isfinite(x) else Missing("nan")


def _added(a: Evidence, b: Evidence) -> Evidence:
    if isinstance(a, Value) and isinstance(b, Value):
        return Value(a.x + b.x)
    return a if isinstance(a, Missing) else b


def _over(a: Evidence, most: Value) -> Evidence:
    return Value(a.x / most.x) if isinstance(a, Value) else a
