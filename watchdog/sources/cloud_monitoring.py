"""The source `cloud_run`: what Cloud Run itself measured about one revision, read from Cloud Monitoring.

Slow (60 s samples, up to 180 s late) but complete: it sees every user's request. One `ListTimeSeries` call a metric and
question; distributions are read once and both counts and percentiles are taken from them. Whole alignment periods only,
and only those that the descriptor's ingest delay says are complete: "Data points older than this age are guaranteed to
be ingested" (google/api/metric.proto).
"""

import asyncio
import math
from collections.abc import Iterable, Mapping, Sequence

import structlog

from watchdog.core.catalogue import Family, family
from watchdog.core.model import Evidence, Missing, Sample, ServiceKey
from watchdog.core.policy import Policy
from watchdog.errors import PermanentError, TemporaryError, WatchdogError
from watchdog.ports import Feed, MetricQuery
from watchdog.sources.cloud_run_readings import PREFIX, READ_BY_ROWS, READINGS, Reading, latency_checks
from watchdog.sources.monitoring_client import MonitoringClient, Timing
from watchdog.sources.monitoring_messages import Line, Number, SeriesQuery

US = 1_000_000
GRID_SLACK = 1e-6
"""Of a period: Unix seconds as floats are exact to about a microsecond."""

log = structlog.get_logger(__name__)


class CloudRunMetrics:
    """`ports.Source` over Cloud Monitoring. `close` it when done.

    `upper` adds the check `slower_than_<N>ms_upper`, which counts a request as slow when its bucket leaves that open:
    for comparison only, no row reads it, and it doubles what is journaled of a limit.
    """

    def __init__(self, client: MonitoringClient, *, upper: bool = False) -> None:
        self._client = client
        self._upper = upper
        self._trouble = Trouble(self.name)

    @property
    def name(self) -> str:
        """See `ports.Source.name`."""
        return "cloud_run"

    async def close(self) -> None:
        """Close the channel to Cloud Monitoring."""
        await self._client.close()

    async def feeds(self, service: ServiceKey, policy: Policy) -> Sequence[Feed]:
        """See `ports.Source.feeds`. Latency limits relative to before the deploy are not known yet: no feed."""
        timings = await self._timings(service)
        fed = {name for name, metric in policy.metrics.items() if metric.source == self.name and not metric.pending}
        limits = {
            row.condition.value
            for row in policy.rows
            if row.condition is not None and not row.condition.relative and family(row.metric) is Family.LATENCY
            if row.metric in fed
        }
        query = MetricQuery(
            service=service,
            revision="",
            start=0.0,
            end=0.0,
            latency_limits_s=tuple(limits),
            metrics=tuple(fed),
            policy=policy,
        )
        return [
            Feed(source=self.name, check=check, period_s=timings[r.metric].period_s, lag_s=timings[r.metric].lag_s)
            for r in READINGS
            if r.metric in timings
            for check in self._checks(r, query)
            if fed
        ]

    async def sample(self, query: MetricQuery, *, now: float) -> Sequence[Sample]:
        """See `ports.Source.sample`.

        A metric that can't be read while others can answers `Missing("source_error")`; when none can be read, the error
        is raised.
        """
        timings = await self._timings(query.service)
        readings = [r for r in READINGS if r.metric in timings and self._checks(r, query)]
        answers = await asyncio.gather(
            *(self._read(r, query, timings[r.metric], now) for r in readings), return_exceptions=True
        )
        errors = [answer for answer in answers if isinstance(answer, BaseException)]
        for error in errors:
            if not isinstance(error, WatchdogError) or len(errors) == len(readings):
                raise error
        samples: list[Sample] = []
        for reading, answer in zip(readings, answers, strict=True):
            self._trouble.note(reading.metric, answer)
            lines = answer if not isinstance(answer, BaseException) else None
            samples += self._samples(reading, query, timings[reading.metric], lines, now)
        return samples

    async def _timings(self, service: ServiceKey) -> Mapping[str, Timing]:
        try:
            return await self._client.timings(service.project, PREFIX)
        except PermanentError as error:
            # The feed is wanted for 24 h, and a role may be granted meanwhile: nothing here is final.
            raise TemporaryError(str(error)) from error

    async def _read(self, reading: Reading, query: MetricQuery, timing: Timing, now: float) -> list[Line]:
        first, last = periods(query, timing, now)
        if first >= last:
            return []
        period_us = round(timing.period_s * US)
        return await self._client.lines(
            SeriesQuery(
                project=query.service.project,
                metric=reading.metric,
                labels={
                    "location": query.service.region,
                    "service_name": query.service.name,
                    "revision_name": query.revision,
                },
                start_us=first * period_us,
                end_us=last * period_us,
                period_us=period_us,
                group_by=reading.group_by,
                scale=reading.scale,
                aligner=reading.aligner,
            )
        )

    def _checks(self, reading: Reading, query: MetricQuery) -> tuple[str, ...]:
        """The checks of `reading` that the query asks for. Under a policy what no row reads is not asked for: reads are
        billed by the series."""
        named = tuple(
            check
            for check in reading.checks
            if (not query.metrics or check in query.metrics)
            and (check not in READ_BY_ROWS or named_by_a_row(query.policy, (check,)))
        )
        optional = reading.on_demand or (query.policy is not None and not reading.always)
        if optional and set(named).isdisjoint(query.extra) and not named_by_a_row(query.policy, named):
            return ()
        limits = query.latency_limits_s if reading.counts_limits else ()
        return named + latency_checks(limits, upper=self._upper)

    def _samples(
        self, reading: Reading, query: MetricQuery, timing: Timing, lines: Sequence[Line] | None, now: float
    ) -> Iterable[Sample]:
        """Every check of the reading in every period; `lines` is None when it could not be read."""
        first, last = periods(query, timing, now)
        checks, period_us = self._checks(reading, query), round(timing.period_s * US)
        by_period: dict[int, list[tuple[Mapping[str, str], Number | None]]] = {}
        for line in lines or ():
            for end_us, value in line.points.items():
                by_period.setdefault(round(end_us / period_us) - 1, []).append((line.labels, value))
        for period in range(first, last):
            values = by_period.get(period)
            evidence: Mapping[str, Evidence] = {}
            if values:
                evidence = reading.judge(values, timing.period_s, query.latency_limits_s)
            absent = Missing("source_error" if lines is None else "no_series")
            for check in checks:
                yield Sample(
                    source=self.name,
                    check=check,
                    revision=query.revision,
                    start=period * period_us / US,
                    end=(period + 1) * period_us / US,
                    seen=now,
                    evidence=evidence.get(check, absent),
                )


class Trouble:
    """Says when reading a metric begins to fail, fails otherwise, or works again."""

    def __init__(self, source: str) -> None:
        self._source = source
        self._known: dict[str, str] = {}

    def note(self, metric: str, answer: object) -> None:
        """Log when a metric's trouble begins, changes or ends."""
        trouble = str(answer) if isinstance(answer, BaseException) else ""
        if trouble != self._known.get(metric, ""):
            self._known[metric] = trouble
            if trouble:
                log.warning("metric_query_failed", source=self._source, metric=metric, error=trouble)
            else:
                log.info("metric_query_recovered", source=self._source, metric=metric)


def periods(query: MetricQuery, timing: Timing, now: float) -> tuple[int, int]:
    """Whole periods `[first, last)` since the Unix epoch that lie in the query and are complete by `now`."""
    end = min(query.end, now - timing.lag_s)
    first = math.ceil(query.start / timing.period_s - GRID_SLACK)
    return first, max(first, math.floor(end / timing.period_s + GRID_SLACK))


def named_by_a_row(policy: Policy | None, checks: Sequence[str]) -> bool:
    """Whether some row of the policy reads one of these, or a scale-up has to know it."""
    if policy is not None and policy.scale_up is not None and "instances" in checks:
        return True
    return policy is not None and any(row.metric in checks for row in policy.rows)
