"""The source `request_log`: every request of a revision within seconds, from Cloud Run's request log.

Fast (5 s buckets, complete 10 s after their end) but not always there: a stream can break, and Logging leaves entries
out when there are too many. So each bucket says whether it can be believed, and Cloud Monitoring stays the authority
and the fallback; the two are judged apart and never added up.

Requests are counted as they were seen: where only a share is asked for, the counts are the sample's, which is evidence
of just that size; only `request_rate` is scaled back. Our own probes are left out. Memory is bounded by the time that
buckets are kept and by the entries that Logging delivers (1000/s), 15 MB for the busiest project.
"""

import asyncio
import math
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Final

import structlog

from watchdog.core.catalogue import GRPC_ERRORS, Family, family
from watchdog.core.load import REFUSED
from watchdog.core.model import Counts, Evidence, Missing, Sample, ServiceKey, Value
from watchdog.core.policy import Policy
from watchdog.core.rules import limit_check
from watchdog.errors import PermanentError, WatchdogError
from watchdog.ports import Clock, Feed, MetricQuery
from watchdog.sources.cloud_monitoring import named_by_a_row
from watchdog.sources.cloud_run_readings import UPPER
from watchdog.sources.log_tail import Tail
from watchdog.sources.logging_client import LoggingClient
from watchdog.sources.request_past import past_callers
from watchdog.sources.request_tally import INCOMPLETE, LAG_S, PERIOD_S, SILENT, Bucket

MINUTE_S: Final = 60.0
"""`request_rate` is a reading, not evidence that adds up: over 5 s it would say little more than chance."""
BUCKETS_A_MINUTE: Final = round(MINUTE_S / PERIOD_S)
METRICS: Final = frozenset(
    {"error_rate", "client_error_rate", "grpc_error_rate", "request_rate", "p50_latency", "p95_latency", "p99_latency"}
)
"""Metrics of Cloud Run's that the request log can feed."""
CLIENT_ERRORS: Final = "client_error_rate"
"""Only where a row reads it: what is handed on is journaled."""
NO_CALLS: Final = Missing("no_grpc_log")
LOAD_S: Final = 1.5
SETTLE_S: Final = 1.0
"""How long the opening of a watch waits for Google's package, and then to learn whether the log may be read."""
GRID_SLACK: Final = 1e-6
DOUBT: Final = (
    "the service answers our probes and they are not in its request log: see whether an exclusion filter drops "
    "requests, or a cache answers them; until then Cloud Monitoring alone is believed"
)

log = structlog.get_logger(__name__)

Read = Sequence[Bucket | Missing]


class RequestLog:
    """`ports.Source` over Cloud Logging's live tail. `close` it when done."""

    def __init__(self, client: LoggingClient, clock: Clock) -> None:
        self._client = client
        self._clock = clock
        self._tails: dict[str, Tail] = {}
        self._doubted: dict[tuple[ServiceKey, str], str] = {}

    @property
    def name(self) -> str:
        """See `ports.Source.name`."""
        return "request_log"

    async def close(self) -> None:
        """End every tail."""
        tails, self._tails = self._tails, {}
        for tail in tails.values():
            await tail.close()
        await self._client.close()

    async def feeds(self, service: ServiceKey, policy: Policy) -> Sequence[Feed]:
        """See `ports.Source.feeds`. Raises `PermanentError` when the log may not be read; no metric of the policy is
        fed by this source alone, so then it has no feed, and no row waits for it."""
        fed = METRICS & {name for name, m in policy.metrics.items() if m.source == "cloud_run" and not m.pending}
        fed -= {name for name in (CLIENT_ERRORS, GRPC_ERRORS) if not named_by_a_row(policy, (name,))}
        if not fed:
            return ()
        tail = self._tail(service)
        tail.want(service, calls=_wants_calls(policy))
        with suppress(WatchdogError, TimeoutError):  # the tail meets the same, and says it
            async with asyncio.timeout(LOAD_S):
                await self._client.load()
        await tail.settled(service, SETTLE_S)
        if tail.refusal is not None:
            raise PermanentError(str(tail.refusal), status=tail.refusal.status)
        limits = {
            row.condition.value
            for row in policy.rows
            if row.condition is not None and not row.condition.relative and family(row.metric) is Family.LATENCY
            if row.metric in fed
        }
        checks = ["error_rate"] if "error_rate" in fed else []
        checks += [name for name in (CLIENT_ERRORS, GRPC_ERRORS) if name in fed]
        checks += [check for limit in sorted(limits) for check in _limit_checks(limit)]
        feeds = [Feed(source=self.name, check=check, period_s=PERIOD_S, lag_s=LAG_S) for check in checks]
        if "request_rate" in fed:
            feeds.append(Feed(source=self.name, check="request_rate", period_s=MINUTE_S, lag_s=LAG_S))
        return feeds

    async def sample(self, query: MetricQuery, *, now: float) -> Sequence[Sample]:
        """See `ports.Source.sample`. Of the past it only knows who was behind bad requests. Of now it never raises:
        trouble is logged when it begins and ends, and its buckets are `Missing`: `stream_down`, `suppressed`,
        `silent_stream`, `incomplete_log`, or `forgotten` after 11 minutes."""
        if query.past:
            return await past_callers(self._client, query, now)
        calls = _wants_calls(query.policy) and (not query.metrics or GRPC_ERRORS in query.metrics)
        found = self._tail(query.service).want(query.service, calls=calls)
        first, last = _grid(query, PERIOD_S, now)
        first_minute, last_minute = _grid(query, MINUTE_S, now)
        minutes = range(first_minute, last_minute)
        begin = min(first, first_minute * BUCKETS_A_MINUTE) if minutes else first
        read = found.read(query.revision, begin, last, query.answered_at)
        self._note(query, read)
        samples = [
            self._sample(query, check, index * PERIOD_S, PERIOD_S, evidence, now)
            for index in range(first, last)
            for check, evidence in _evidence(read[index - begin], query).items()
        ]
        if calls:
            logged = found.logs_calls(query.revision)
            for index in range(first, last):
                told = _calls(read[index - begin]) if logged else NO_CALLS
                samples.append(self._sample(query, GRPC_ERRORS, index * PERIOD_S, PERIOD_S, told, now))
        if not query.metrics or "request_rate" in query.metrics:
            for minute in minutes:
                at = minute * BUCKETS_A_MINUTE - begin
                rate = _rate(read[at : at + BUCKETS_A_MINUTE])
                samples.append(self._sample(query, "request_rate", minute * MINUTE_S, MINUTE_S, rate, now))
        return samples

    def _tail(self, service: ServiceKey) -> Tail:
        tail = self._tails.get(service.project)
        if tail is None:
            tail = self._tails[service.project] = Tail(service.project, self._client, self._clock)
        return tail

    def _note(self, query: MetricQuery, read: Read) -> None:
        """Log when the log of a revision begins to contradict our probes, and when it ends."""
        key, newest = (query.service, query.revision), read[-1] if read else None
        doubt = newest.reason if isinstance(newest, Missing) and newest in (SILENT, INCOMPLETE) else ""
        if newest is None or doubt == self._doubted.get(key, ""):
            return
        said = {"service": str(query.service), "revision": query.revision}
        if doubt:
            self._doubted[key] = doubt
            log.warning("request_log_doubted", **said, reason=doubt, todo=DOUBT)
        else:
            del self._doubted[key]
            log.info("request_log_believed", **said)

    def _sample(
        self, query: MetricQuery, check: str, start: float, width_s: float, evidence: Evidence, now: float
    ) -> Sample:
        return Sample(
            source=self.name,
            check=check,
            revision=query.revision,
            start=start,
            end=start + width_s,
            seen=now,
            evidence=evidence,
        )


def _grid(query: MetricQuery, width_s: float, now: float) -> tuple[int, int]:
    """Whole periods `[first, last)` since the Unix epoch that lie in the query and are complete by `now`."""
    first = math.ceil(query.start / width_s - GRID_SLACK)
    return first, max(first, math.floor(min(query.end, now - LAG_S) / width_s + GRID_SLACK))


def _limit_checks(limit_s: float) -> tuple[str, str]:
    """The check of a limit, and the one that also counts what a histogram leaves open: the log leaves nothing open."""
    return limit_check(limit_s), limit_check(limit_s) + UPPER


def _evidence(bucket: Bucket | Missing, query: MetricQuery) -> Mapping[str, Evidence]:
    """Every check of one bucket that the query asks for."""
    found: dict[str, Evidence] = {}
    if not query.metrics or "error_rate" in query.metrics:
        found["error_rate"] = bucket if isinstance(bucket, Missing) else _errors(bucket)
        if not isinstance(bucket, Missing) and bucket.refused:
            found[REFUSED] = Counts(bucket.refused, bucket.refused + bucket.total)
    if (not query.metrics or CLIENT_ERRORS in query.metrics) and named_by_a_row(query.policy, (CLIENT_ERRORS,)):
        found[CLIENT_ERRORS] = bucket if isinstance(bucket, Missing) else _client_errors(bucket)
    for limit_s in query.latency_limits_s:
        slow = bucket if isinstance(bucket, Missing) else Counts(bucket.slower(limit_s), len(bucket.latencies))
        found.update(dict.fromkeys(_limit_checks(limit_s), slow))
    return found


def _errors(bucket: Bucket) -> Counts:
    kinds = tuple(sorted((str(status), float(n)) for status, n in bucket.kinds.items()))
    return Counts(bucket.bad, bucket.total, kinds, bucket.failing)


def _client_errors(bucket: Bucket) -> Counts:
    return Counts(bucket.client_errors, bucket.total, (), bucket.failing_clients)


def _calls(bucket: Bucket | Missing) -> Evidence:
    if isinstance(bucket, Missing):
        return bucket
    kinds = tuple(sorted((code, float(n)) for code, n in bucket.failed_calls.items()))
    return Counts(sum(bucket.failed_calls.values()), bucket.calls, kinds)


def _wants_calls(policy: Policy | None) -> bool:
    """Whether some row of the policy reads gRPC errors from the application's log."""
    if policy is None or not named_by_a_row(policy, (GRPC_ERRORS,)):
        return False
    config = policy.metrics.get(GRPC_ERRORS)
    return config is not None and config.source == "cloud_run" and not config.pending


def _rate(minute: Read) -> Evidence:
    """Requests a second, sampling undone; a minute that can't be believed throughout has none."""
    weight = 0.0
    for bucket in minute:
        if isinstance(bucket, Missing):
            return bucket
        weight += bucket.weight
    return Value(weight / MINUTE_S)
