"""The samples behind Cloud Monitoring: the ledger's requests, counted into one bucket a revision, status and period.

Requests are added as they end, so a query never reads the ledger again and memory grows with periods, not with
requests. A point covers a whole period of the wall clock, `(k * period, (k + 1) * period]`, and shows up once the
ingest delay has passed since its end; a period without requests has no point.

CPU, memory and instance counts are read from the ledger's scripted usage at query time.
"""

import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from operator import itemgetter
from typing import TypeVar

from watchdog.emulator.descriptors import (
    CONCURRENCY_BUCKETS,
    CPU_UTILIZATIONS,
    INSTANCE_COUNT,
    MAX_CONCURRENCIES,
    MEMORY_UTILIZATIONS,
    REQUEST_COUNT,
    REQUEST_LATENCIES,
    SHARE_BUCKETS,
    Metric,
)
from watchdog.emulator.distribution import Buckets, Distribution
from watchdog.emulator.ledger import Ledger, Request
from watchdog.emulator.series import Point, Series, Value

_T = TypeVar("_T")

KEEP_S = 26 * 3600.0
KEEP_POINTS = 6_000
"""A second bound on a series' length: with 5 s periods it holds more than 8 hours."""
KEEP_SPANS = 50_000
"""Requests of one period that count towards its peak concurrency."""
USAGE_EVERY_S = 10.0
"""How often an instance's CPU and memory are sampled into a point, at most."""


@dataclass(frozen=True, slots=True, kw_only=True, order=True)
class Revision:
    """What the monitored resource `cloud_run_revision` names."""

    project: str
    region: str
    service: str
    name: str

    def labels(self) -> dict[str, str]:
        """Its resource labels; a Cloud Run service has one configuration of the same name."""
        return {
            "project_id": self.project,
            "location": self.region,
            "service_name": self.service,
            "revision_name": self.name,
            "configuration_name": self.service,
        }


@dataclass(slots=True)
class _Cell:
    """The latencies of one revision, status and period; `late` holds what shows up so many seconds after the rest."""

    latencies: Distribution
    late: dict[float, Distribution] = field(default_factory=dict)

    def seen(self, age_s: float) -> Distribution | None:
        """What is visible `age_s` seconds after the point should be."""
        ripe = [latencies for extra_s, latencies in self.late.items() if age_s >= extra_s]
        total = self.latencies
        if ripe:
            total = Distribution(self.latencies.buckets)
            for part in (self.latencies, *ripe):
                total.merge(part)
        return total if total.count else None


@dataclass(slots=True)
class _Traffic:
    """One revision's requests: cells by status and period, and what its peak concurrency is counted from."""

    cells: dict[int, dict[int, _Cell]] = field(default_factory=dict)
    spans: dict[int, list[tuple[float, float]]] = field(default_factory=dict)
    peaks: dict[int, int] = field(default_factory=dict)
    """Periods that are over: their spans are counted and dropped."""


class Samples:
    """Everything that can be asked about, per revision."""

    def __init__(
        self,
        *,
        ledger: Ledger,
        period_s: float,
        latency_buckets: Buckets,
        hold_back: Callable[[], float] = lambda: 0.0,
    ) -> None:
        """`hold_back` says by how many seconds the request that is being recorded shows up late."""
        self.period_us = round(period_s * 1e6)
        self._ledger = ledger
        self._latency_buckets = latency_buckets
        self._hold_back = hold_back
        self._keep = max(2, min(KEEP_POINTS, round(KEEP_S * 1e6 / self.period_us)))
        self._traffic: dict[Revision, _Traffic] = {}

    def record(self, request: Request) -> None:
        """Count one ended request; one that no instance took is no request to Cloud Run's metrics."""
        if request.turned_away:
            return
        revision = Revision(
            project=request.project, region=request.region, service=request.service, name=request.revision
        )
        traffic = self._traffic.setdefault(revision, _Traffic())
        period = -(-round(request.ended_at * 1e6) // self.period_us) - 1
        cells = traffic.cells.setdefault(request.status, {})
        cell = cells.get(period)
        if cell is None:
            cell = cells[period] = _Cell(Distribution(self._latency_buckets))
            _trim(cells, self._keep)
        late_s = self._hold_back()
        target = cell.late.setdefault(late_s, Distribution(self._latency_buckets)) if late_s else cell.latencies
        target.add(request.latency_s * 1000.0)
        self._note_span(traffic, period, request)

    def clear(self) -> None:
        """Forget everything."""
        self._traffic.clear()

    def has_data(self, project: str) -> bool:
        """Whether any revision of `project` ever had a request."""
        return any(revision.project == project for revision in self._traffic)

    def read(self, metric: Metric, *, project: str, start_us: int, end_us: int, now_us: int) -> list[Series]:
        """Series of `metric` with the points that overlap `(start_us, end_us]` and ended at or before `now_us`.

        `now_us` is the moment up to which points have been ingested, in microseconds.
        """
        first = start_us // self.period_us
        last = min(-(-end_us // self.period_us), now_us // self.period_us) - 1
        first = max(first, last - self._keep)
        result = []
        for revision in sorted(self._traffic):
            if revision.project != project or last < first:
                continue
            for labels, points in self._points(metric, revision, range(first, last + 1), now_us):
                if points:
                    result.append(
                        Series(
                            kind=metric.kind,
                            value_type=metric.value_type,
                            points=points,
                            metric_labels=labels,
                            resource_labels=revision.labels(),
                        )
                    )
        return result

    def _points(
        self, metric: Metric, revision: Revision, periods: range, now_us: int
    ) -> Iterator[tuple[Mapping[str, str], list[Point]]]:
        traffic = self._traffic[revision]
        if metric in {REQUEST_COUNT, REQUEST_LATENCIES}:
            for status, cells in sorted(traffic.cells.items()):
                labels = {"response_code": str(status), "response_code_class": f"{status // 100}xx"}
                values = self._latencies(cells, periods, now_us)
                if metric == REQUEST_COUNT:
                    yield labels, [self._point(period, latencies.count) for period, latencies in values]
                else:
                    yield labels, [self._point(period, latencies) for period, latencies in values]
        elif metric == MAX_CONCURRENCIES:
            peaks = ((period, self._peak(traffic, period)) for period in periods)
            spread = [self._point(period, self._spread(revision, period, peak)) for period, peak in peaks if peak]
            yield {"state": "active"}, spread
        elif metric == INSTANCE_COUNT:
            yield from self._instances(revision, periods)
        elif metric in {CPU_UTILIZATIONS, MEMORY_UTILIZATIONS}:
            usage = ((period, self._usage(revision, period, metric)) for period in periods)
            yield {}, [self._point(period, shares) for period, shares in usage if shares.count]

    def _point(self, period: int, value: Value) -> Point:
        return Point(start_us=period * self.period_us, end_us=(period + 1) * self.period_us, value=value)

    def _latencies(self, cells: Mapping[int, _Cell], periods: range, now_us: int) -> Iterable[tuple[int, Distribution]]:
        wanted = periods if len(periods) < len(cells) else sorted(set(periods).intersection(cells))
        for period in wanted:
            cell = cells.get(period)
            seen = cell.seen((now_us - (period + 1) * self.period_us) / 1e6) if cell else None
            if seen is not None:
                yield period, seen

    def _instances(self, revision: Revision, periods: range) -> Iterator[tuple[Mapping[str, str], list[Point]]]:
        cells = self._traffic[revision].cells.values()
        points: dict[str, list[Point]] = {"active": [], "idle": []}
        for period in periods:
            end_us = (period + 1) * self.period_us
            number = self._ledger.usage(revision.name, end_us / 1e6)[2]
            busy = any(period in by_period for by_period in cells)
            if number:
                for state, count in (("active", number if busy else 0), ("idle", 0 if busy else number)):
                    points[state].append(Point(start_us=end_us, end_us=end_us, value=count))
        for state, found in points.items():
            yield {"state": state}, found

    def _usage(self, revision: Revision, period: int, metric: Metric) -> Distribution:
        shares = Distribution(SHARE_BUCKETS)
        steps = max(1, round(self.period_us / 1e6 / USAGE_EVERY_S))
        for step in range(1, steps + 1):
            at = (period + step / steps) * self.period_us / 1e6
            cpu, memory, instances = self._ledger.usage(revision.name, at)
            for _ in range(instances):
                shares.add(cpu if metric == CPU_UTILIZATIONS else memory)
        return shares

    def _spread(self, revision: Revision, period: int, peak: int) -> Distribution:
        """`peak` requests at once, shared evenly by the instances that there were."""
        instances = max(1, self._ledger.usage(revision.name, (period + 1) * self.period_us / 1e6)[2])
        result = Distribution(CONCURRENCY_BUCKETS)
        for instance in range(min(instances, peak)):
            result.add(math.ceil((peak - instance) / instances))
        return result

    def _note_span(self, traffic: _Traffic, period: int, request: Request) -> None:
        if period in traffic.peaks:
            return
        if period not in traffic.spans:
            traffic.spans[period] = []
            for over in [other for other in traffic.spans if other < period - 1]:
                traffic.peaks[over] = self._peak(traffic, over)
                del traffic.spans[over]
            _trim(traffic.peaks, self._keep)
        spans = traffic.spans[period]
        if len(spans) < KEEP_SPANS:
            spans.append((max(request.ended_at - request.latency_s, period * self.period_us / 1e6), request.ended_at))

    def _peak(self, traffic: _Traffic, period: int) -> int:
        """The most requests at once, of those that ended in `period`."""
        if period in traffic.peaks:
            return traffic.peaks[period]
        spans = traffic.spans.get(period, [])
        # An end sorts before a start at the same instant: back-to-back requests are not concurrent.
        edges = sorted([(end, -1) for _, end in spans] + [(start, 1) for start, _ in spans], key=itemgetter(0, 1))
        peak = current = 0
        for _, change in edges:
            current += change
            peak = max(peak, current)
        return max(peak, 1) if spans else 0


def _trim(by_period: dict[int, _T], keep: int) -> None:
    # An eighth at a time, so that the sort is paid rarely.
    if len(by_period) > keep + max(8, keep // 8):
        for period in sorted(by_period)[: len(by_period) - keep]:
            del by_period[period]
