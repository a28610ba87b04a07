"""Asks the metric sources what a watch's plan needs, and hands on only what is new or has changed."""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import structlog

from watchdog.core.catalogue import BUILT_IN
from watchdog.core.events import Lag, Sampled
from watchdog.core.model import Evidence, Failed, Missing, Sample, ServiceKey, Value
from watchdog.core.policy import Policy
from watchdog.core.schedule import Plan
from watchdog.engine.tools import Tools
from watchdog.errors import PermanentError, WatchdogError
from watchdog.ports import About, Feed, MetricQuery, Source

QUERY_S = 15.0
"""The longest that one query may take before it counts as failed."""
AGAIN_S = 300.0
"""How far back a query asks again, so that revised points are seen."""
LEAST_EVERY_S = 5.0
"""However narrow a feed's samples are, it is asked no more often."""
TICK_S = 0.1
"""After a sample is complete, so that no clock's grain hides it."""
FAILED_AGAIN_S = 10.0
"""A check that failed is made again so soon."""
PROMPT_S = 30.0
"""A feed that is complete so soon is asked at the moment when its next sample is."""
LATE_S = 60.0
"""Evidence later than this is worth a word when a watch opens."""
PROPAGATION_S = 5.0
"""Requests right after the cutover may still have been served by the revision before: so long nothing of a slow feed
counts, whose samples our own probes are taken out of. A prompt one counts from the cutover on, revision by revision."""
NOMINAL = (60.0, 180.0)
"""Sampling period and ingest delay of Cloud Run's metrics (Google's list), where descriptors cannot be read."""

_log = structlog.get_logger(__name__)


@dataclass(slots=True)
class Reader:
    """One source's loop for one watch."""

    tools: Tools
    source: Source
    service: ServiceKey
    lags: Sequence[Lag]
    every_s: float
    plan: Callable[[], Plan]
    emit: Callable[[Sampled], None]
    answered: Callable[[str], Sequence[float]] = lambda _revision: ()
    """When a revision answered probes of ours without a server error (Unix seconds, ascending)."""
    policy: Policy | None = None
    about: Callable[[], About] = About
    seen: dict[tuple[str, str, float, float], Evidence] = field(default_factory=dict)
    failing: str = ""

    async def run(self) -> None:
        """Ask for ever: as often as the policy says, and every sample of a feed with narrower ones. A source that only
        knows what is now is asked at once, as often as its samples are wide, and soon again after a failed check."""
        period_s = self._period()
        every_s = max(LEAST_EVERY_S, period_s) if self._live else min(self.every_s, max(LEAST_EVERY_S, period_s))
        due = self.tools.clock.monotonic() + (0.0 if self._live else self._until_complete(period_s))
        while True:
            await self.tools.clock.sleep(due - self.tools.clock.monotonic())
            samples = await self.ask()
            soon = self._live and any(isinstance(s.evidence, Failed) for s in samples)
            due = max(due + (min(every_s, FAILED_AGAIN_S) if soon else every_s), self.tools.clock.monotonic())

    def _period(self) -> float:
        return min((lag.period_s for lag in self.lags), default=NOMINAL[0])

    def _until_complete(self, period_s: float) -> float:
        """Seconds until the next sample is complete, for a feed that is prompt; else its period at most."""
        if not self._prompt:
            return min(self.every_s, period_s)
        lag_s = min(lag.lag_s for lag in self.lags if lag.period_s == period_s)
        return period_s - (self.tools.clock.now() - lag_s) % period_s + TICK_S

    @property
    def _live(self) -> bool:
        return bool(self.lags) and all(lag.lag_s == 0.0 for lag in self.lags)

    @property
    def _prompt(self) -> bool:
        return bool(self.lags) and max(lag.lag_s for lag in self.lags) <= PROMPT_S

    async def ask(self) -> Sequence[Sample]:
        """One query a revision, and what it says that is new."""
        plan, fresh = self.plan(), list[Sample]()
        if plan.metrics is not None:
            fresh += await self._ask(plan, plan.metrics, plan.metrics_since)
        if plan.control is not None and plan.control not in plan.beside and not self._live:
            fresh += await self._ask(plan, plan.control, plan.metrics_since, control=True)
        for revision in plan.beside if self._prompt and not self._live else ():
            fresh += await self._ask(plan, revision, plan.beside_since, control=True)
        return fresh

    async def _ask(self, plan: Plan, revision: str, since: float, *, control: bool = False) -> Sequence[Sample]:
        now = self.tools.clock.now()
        behind = max((lag.lag_s + lag.period_s for lag in self.lags), default=sum(NOMINAL))
        settled = since + (0.0 if self._prompt else PROPAGATION_S)
        start = max(settled, now - behind - AGAIN_S)
        if start >= now:
            return ()
        query = MetricQuery(
            service=self.service,
            revision=revision,
            start=start,
            end=now,
            latency_limits_s=plan.latency_limits_s,
            answered_at=tuple(self.answered(revision)),
            policy=self.policy,
            about=self.about(),
            control=control,
        )
        try:
            samples = await self._query(query, now)
        except WatchdogError as error:
            self._failed(str(error))
            samples = self._missing(query, now)
        else:
            if self.failing:
                _log.info("source_recovered", source=self.source.name)
            self.failing = ""
        fresh = tuple(s for s in samples if self._is_new(s))
        if fresh:
            newest = max((s.end for s in fresh if not isinstance(s.evidence, Missing)), default=None)
            if newest is not None:
                self.tools.metrics.source_newest_sample_timestamp_seconds.labels(self.source.name).set(newest)
            self.emit(Sampled(at=self.tools.clock.now(), samples=fresh))
        return fresh

    async def _query(self, query: MetricQuery, now: float) -> Sequence[Sample]:
        began = self.tools.clock.monotonic()
        try:
            async with asyncio.timeout(QUERY_S):
                return await self.source.sample(query, now=now)
        except TimeoutError:
            raise WatchdogError(f"{self.source.name} did not answer within {QUERY_S:.0f} s") from None
        finally:
            took = self.tools.clock.monotonic() - began
            self.tools.metrics.source_query_duration_seconds.labels(self.source.name).observe(took)

    def _failed(self, error: str) -> None:
        self.tools.metrics.source_query_errors_total.labels(self.source.name).inc()
        if error != self.failing:
            _log.warning("source_failed", source=self.source.name, service=str(self.service), error=error)
        self.failing = error

    def _missing(self, query: MetricQuery, now: float) -> Sequence[Sample]:
        """What the source would have fed, as missing: its silence must show in the coverage and the verdicts."""
        return [
            Sample(
                source=lag.source,
                check=lag.check,
                revision=query.revision,
                start=now - lag.lag_s - lag.period_s,
                end=now - lag.lag_s,
                seen=now,
                evidence=Missing("source_error"),
            )
            for lag in self.lags
            if now - lag.lag_s > query.start
        ]

    def _is_new(self, sample: Sample) -> bool:
        """Whether this identity was not handed on with the same evidence before."""
        if isinstance(sample.evidence, Value) and sample.evidence.x != sample.evidence.x:
            return True
        key = (sample.check, sample.revision, sample.start, sample.end)
        if self.seen.get(key) == sample.evidence:
            return False
        if key in self.seen and isinstance(sample.evidence, Missing):
            return False  # a point that was there does not become missing
        self.seen[key] = sample.evidence
        if len(self.seen) > 5000:
            for old in sorted(self.seen, key=lambda k: k[3])[:1000]:
                del self.seen[old]
        return True


async def announce(tools: Tools, service: ServiceKey, policy: Policy, patience_s: float) -> tuple[list[Lag], list[str]]:
    """What every source can feed for this policy, and sentences about those that did not answer in time.

    A source that cannot be read for good feeds nothing in this watch; of any other, its feeds are expected to return.
    """
    lags: list[Lag] = []
    notes: list[str] = []

    async def ask(source: Source) -> Sequence[Feed]:
        async with asyncio.timeout(patience_s):
            return await source.feeds(service, policy)

    answers = await asyncio.gather(*(ask(s) for s in tools.sources), return_exceptions=True)
    for source, answer in zip(tools.sources, answers, strict=True):
        if isinstance(answer, PermanentError):
            notes.append(f"Without {source.name}: {answer}")
        elif isinstance(answer, WatchdogError | TimeoutError):
            why = str(answer) or f"no answer within {patience_s:g} s"
            notes.append(f"{source.name} cannot be read ({why}); its rows stay without evidence until it can.")
            lags += [
                Lag(source=source.name, check=check, period_s=NOMINAL[0], lag_s=NOMINAL[1])
                for check in _expected(policy, source.name)
            ]
        elif isinstance(answer, BaseException):
            raise answer
        else:
            lags += [Lag(source=f.source, check=f.check, period_s=f.period_s, lag_s=f.lag_s) for f in answer]
    return lags, notes


def _expected(policy: Policy, source: str) -> tuple[str, ...]:
    """The checks that a source which cannot be asked now will feed once it can."""
    read = {row.metric for row in policy.rows}
    mine = [m.name for m in policy.metrics.values() if m.source == source and not m.pending]
    own = tuple(name for name in mine if name in read and name not in BUILT_IN)
    is_service = not mine or any(name in BUILT_IN for name in mine)
    gauges = tuple(name for name in ("cpu_usage", "memory_usage") if name in read)
    return (*own, *(("error_rate", "request_rate", *gauges) if is_service else ()))
