"""The source of `request_drop`: which part of the traffic that was to be expected does not come any more.

A release can break its own front door: a wrong URL in the web client, a broken login, a route that a partner calls.
Then nobody fails, they just stay away, and every error rate looks better than before. So the requests of the whole
service (traffic moves between its revisions, and that is no loss) are held against what came before:

* the hour before the deploy, in the first two hours after it,
* the same time of day yesterday, and a week ago, ten minutes earlier or later,

each by its *lowest* five minutes, and of these the lowest counts. What was low at this hour yesterday, a week ago or
just before the deploy may be low now: a planned low never shows as a drop. A minute of the past without a point had no
request; a day or an hour without any tells nothing. Chance is left out at both ends (one-sided 95 % bounds of Poisson
counts), and so are our own probes: those of this watch exactly, those of the past at the most that can have been sent.
Where so little is left that nothing could be told, the evidence is missing, and says so.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Final

from watchdog.core.catalogue import REQUEST_DROP
from watchdog.core.model import Evidence, Missing, Sample, ServiceKey, Value
from watchdog.core.policy import Policy
from watchdog.errors import WatchdogError
from watchdog.ports import Feed, MetricQuery
from watchdog.sources.cloud_monitoring import US, named_by_a_row, periods
from watchdog.sources.cloud_run_readings import PREFIX
from watchdog.sources.monitoring_client import MonitoringClient, Timing
from watchdog.sources.monitoring_messages import Line, SeriesQuery

METRIC: Final = PREFIX + "request_count"
NOMINAL: Final = Timing(period_s=60.0, lag_s=180.0)
WINDOW: Final = 5
"""Periods that are added up: five minutes of Cloud Monitoring's."""
HOUR: Final = 60
LEAST_HISTORY: Final = 15
"""Periods with requests that an hour or a day before must have."""
STILL_TELLS: Final = 2 * HOUR
"""Periods after the deploy in which the hour before it says what is to be expected."""
SLACK: Final = 10
DAY_S: Final = 86_400.0
AGO_S: Final = (DAY_S, 7 * DAY_S)
LEAST: Final = 20.0
"""Requests that must surely be expected in a window."""
ONE_SIDED_95: Final = 1.645
NO_SERIES: Final = Missing("no_series")
NOTHING_BEFORE: Final = Missing("nothing_before")
TOO_LITTLE: Final = Missing("too_little_before")
KEPT: Final = 200
"""Days and hours of the past that are remembered, of all services together."""

Totals = Mapping[int, float]
"""End of a period in periods since the Unix epoch → requests of the service in it."""


class RequestDrop:
    """`ports.Source` over Cloud Monitoring. The client is shared and not closed here."""

    def __init__(self, client: MonitoringClient) -> None:
        self._client = client
        self._past: dict[tuple[ServiceKey, int, int], Totals] = {}

    @property
    def name(self) -> str:
        """See `ports.Source.name`."""
        return REQUEST_DROP

    async def feeds(self, service: ServiceKey, policy: Policy) -> Sequence[Feed]:
        """See `ports.Source.feeds`: its one check, where a row reads it. Never raises."""
        if not _wanted(policy):
            return ()
        timing = await self._timing(service.project)
        return [Feed(source=self.name, check=REQUEST_DROP, period_s=timing.period_s, lag_s=timing.lag_s)]

    async def sample(self, query: MetricQuery, *, now: float) -> Sequence[Sample]:
        """See `ports.Source.sample`: a share of 0..1 a period, about the service and not one of its revisions."""
        policy = query.policy
        if policy is None or not _wanted(policy) or query.past or query.control:
            return ()
        timing = await self._timing(query.service.project)
        first, last = periods(query, timing, now)
        if first >= last:
            return ()
        width = timing.period_s
        present = await self._totals(query.service, first + 1 - WINDOW, last, width)
        evidence = {end: await self._evidence(query, policy, present, end, width) for end in range(first + 1, last + 1)}
        return [
            Sample(
                source=self.name,
                check=REQUEST_DROP,
                revision="",
                start=(end - 1) * width,
                end=end * width,
                seen=now,
                evidence=found,
            )
            for end, found in evidence.items()
        ]

    async def _evidence(self, query: MetricQuery, policy: Policy, present: Totals, end: int, width: float) -> Evidence:
        if not all(p in present for p in range(end - WINDOW + 1, end + 1)):
            return NO_SERIES
        came = _lowest(present, end, end)
        own = sum((end - WINDOW) * width < at <= end * width for at in query.answered_at)
        expected = await self._expected(query, end, width)
        if expected is None:
            return NOTHING_BEFORE
        drop = missing_share(came - own, expected - _most_own(policy) * WINDOW * width)
        return TOO_LITTLE if drop is None else Value(drop)

    async def _expected(self, query: MetricQuery, end: int, width: float) -> float | None:
        """The lowest that came at such a time before."""
        found: list[float] = []
        cutover = math.floor(query.about.since / width)
        if end - cutover <= STILL_TELLS:
            before = await self._totals(query.service, cutover - HOUR + 1, cutover, width, remember=True)
            if len(before) >= LEAST_HISTORY:
                first = max(min(before), cutover - HOUR + 1)  # a service may be younger than an hour
                found.append(_lowest(before, min(cutover, first + WINDOW - 1), cutover))
        day = round(DAY_S / width)
        for ago_s in AGO_S:
            same = end - round(ago_s / width)
            begin = same // day * day
            totals = await self._totals(
                query.service, begin - SLACK - WINDOW, begin + day + SLACK, width, remember=True
            )
            if len(totals) >= LEAST_HISTORY:
                found.append(_lowest(totals, same - SLACK, same + SLACK))
        return min(found, default=None)

    async def _totals(
        self, service: ServiceKey, first: int, last: int, width: float, *, remember: bool = False
    ) -> Totals:
        """Requests of all revisions in the periods that end at `first` to `last`, those included."""
        key = (service, first, last)
        if key in self._past:
            return self._past[key]
        width_us = round(width * US)
        query = SeriesQuery(
            project=service.project,
            metric=METRIC,
            labels={"location": service.region, "service_name": service.name},
            start_us=(first - 1) * width_us,
            end_us=last * width_us,
            period_us=width_us,
        )
        totals = _added(await self._client.lines(query), width_us)
        if remember:
            for old in list(self._past)[: max(0, len(self._past) + 1 - KEPT)]:
                del self._past[old]
            self._past[key] = totals
        return totals

    async def _timing(self, project: str) -> Timing:
        try:
            return (await self._client.timings(project, PREFIX)).get(METRIC, NOMINAL)
        except WatchdogError:  # whoever reads the counts themselves says so
            return NOMINAL


def missing_share(came: float, expected: float) -> float | None:
    """The share of `expected` requests that surely did not come; None where too few were to be expected."""
    sure = expected - ONE_SIDED_95 * math.sqrt(max(0.0, expected))
    if sure < LEAST:
        return None
    most = max(0.0, came) + 1.36 + ONE_SIDED_95 * math.sqrt(max(0.0, came) + 1.0)
    return max(0.0, 1.0 - most / sure)


def _wanted(policy: Policy) -> bool:
    config = policy.metrics.get(REQUEST_DROP)
    mine = config is not None and config.source == "cloud_run" and not config.pending
    return mine and named_by_a_row(policy, (REQUEST_DROP,))


def _most_own(policy: Policy) -> float:
    """Requests a second that a watch sends at most, by itself."""
    fastest = min((w.probe_every_s for w in policy.windows), default=60.0)
    return len(policy.probes) / max(1.0, fastest)


def _lowest(totals: Totals, first: int, last: int) -> float:
    """The fewest requests of a window that ends at `first` to `last`."""
    ends = range(first, last + 1)
    return min(sum(totals.get(p, 0.0) for p in range(end - WINDOW + 1, end + 1)) for end in ends)


def _added(lines: Sequence[Line], width_us: int) -> Totals:
    totals: dict[int, float] = {}
    for line in lines:
        for end_us, value in line.points.items():
            if isinstance(value, int | float) and math.isfinite(value):
                totals[end_us // width_us] = totals.get(end_us // width_us, 0.0) + value
    return totals
