"""The source `prometheus`: any PromQL, asked of a Prometheus or of Google's own PromQL endpoint.

One range query a metric over whole minutes, so that overlaps give the same samples and the hour before a deploy can be
asked for. Google's endpoint (cloud.google.com/stackdriver/docs/managed-prometheus/query-api-ui) takes an access token,
has no label of a revision for foreign metrics, and shows Google's metrics minutes late.
"""

import asyncio
import math
from collections.abc import Mapping, Sequence
from typing import Any, Final
from urllib.parse import urlsplit

from aiohttp import ClientSession

from watchdog.core.catalogue import UNITS
from watchdog.core.model import Evidence, Missing, Sample, ServiceKey, Value
from watchdog.core.policy import MetricConfig, Policy
from watchdog.errors import PermanentError, WatchdogError
from watchdog.ports import Feed, MetricQuery
from watchdog.sources.cloud_monitoring import Trouble, periods
from watchdog.sources.monitored import wanted_metrics
from watchdog.sources.monitoring_client import Timing
from watchdog.transport import GoogleTokens, Peer, error_of, request

GOOGLE: Final = "https://monitoring.googleapis.com/v1/projects/{project}/location/global/prometheus"
PERIOD_S: Final = 60.0
LAG_S: Final = 30.0
"""Scrapes are half a minute old at most; an older one is looked back at."""
GOOGLE_LAG_S: Final = 240.0
"""Google's own metrics: 60 s wide, shown up to 180 s later."""
TIMEOUT_S: Final = 10.0
_BAD: Final = frozenset({400, 422})


class Prometheus:
    """`ports.Source` over the HTTP API of Prometheus. The session is shared and not closed here."""

    def __init__(self, session: ClientSession, tokens: GoogleTokens) -> None:
        self._session = session
        self._tokens = tokens
        self._trouble = Trouble(self.name)

    @property
    def name(self) -> str:
        """See `ports.Source.name`."""
        return "prometheus"

    async def feeds(self, service: ServiceKey, policy: Policy) -> Sequence[Feed]:  # noqa: ARG002 - the port's signature
        """See `ports.Source.feeds`: only metrics that a row reads. Prometheus tells no lag, so these are known ones."""
        return [
            Feed(source=self.name, check=m.name, period_s=PERIOD_S, lag_s=timing(m).lag_s)
            for m in wanted_metrics(policy, self.name)
        ]

    async def sample(self, query: MetricQuery, *, now: float) -> Sequence[Sample]:
        """See `ports.Source.sample`. A query that several series answer is `Missing("ambiguous: …")`, one that the
        server does not understand `Missing("bad_query")`; a server that cannot be asked `Missing("source_error")`."""
        if query.policy is None or query.control:
            return ()
        configs = wanted_metrics(query.policy, self.name)
        answers = await asyncio.gather(*(self._metric(m, query, now) for m in configs), return_exceptions=True)
        samples: list[Sample] = []
        for config, answer in zip(configs, answers, strict=True):
            if isinstance(answer, BaseException) and not isinstance(answer, WatchdogError):
                raise answer
            self._trouble.note(config.name, answer)
            points: Mapping[int, Evidence] = {}
            absent = Missing("no_series")
            if isinstance(answer, WatchdogError):
                bad = isinstance(answer, PermanentError) and answer.status in _BAD
                absent = Missing("bad_query" if bad else "source_error")
            elif isinstance(answer, Missing):
                absent = answer
            elif not isinstance(answer, BaseException):
                points = answer
            samples += _samples(config, query, points, absent, now)
        if configs and all(isinstance(a, WatchdogError) for a in answers):
            first = next(a for a in answers if isinstance(a, WatchdogError))
            if not (isinstance(first, PermanentError) and first.status in _BAD):
                raise first
        return samples

    async def _metric(self, config: MetricConfig, query: MetricQuery, now: float) -> Mapping[int, Evidence] | Missing:
        first, last = periods(query, timing(config), now)
        if first >= last:
            return {}
        base = (config.url or GOOGLE.format(project=query.service.project)).rstrip("/")
        google = config.url is None or urlsplit(base).hostname == "monitoring.googleapis.com"
        auth = config.auth or ("google" if google else "none")
        headers = {}
        if auth == "google":
            headers = await self._tokens.headers()
        elif auth == "id_token":
            headers = {"Authorization": f"Bearer {await self._tokens.id_token(config.audience or base)}"}
        peer = Peer(name="Prometheus", timeout_s=TIMEOUT_S)
        doing = f"Reading {config.name}"
        reply = await request(
            self._session,
            peer,
            "GET",
            f"{base}/api/v1/query_range",
            doing=doing,
            params={
                "query": config.query or "",
                "start": f"{(first + 1) * PERIOD_S:.0f}",
                "end": f"{last * PERIOD_S:.0f}",
                "step": f"{PERIOD_S:.0f}",
            },
            headers=headers,
        )
        if not reply.ok:
            raise error_of(reply, peer, doing=doing)
        return read_matrix(reply.body, UNITS[config.unit][1] if config.unit in UNITS else 1.0)


def timing(config: MetricConfig) -> Timing:
    """How late a query's answer is complete."""
    late = "googleapis_com" in (config.query or "")
    return Timing(period_s=PERIOD_S, lag_s=GOOGLE_LAG_S if late else LAG_S)


def read_matrix(body: Any, size: float) -> Mapping[int, Evidence] | Missing:
    """Minute's end (Unix seconds) → what a range query's one series says; `Missing` when it has none or several."""
    try:
        found = body["data"]["result"]
        if body["data"]["resultType"] != "matrix":
            return Missing("malformed")
        if len(found) > 1:
            return Missing(f"ambiguous: {len(found)} series for one row")
        points: dict[int, Evidence] = {}
        for series in found:
            for at, text in series["values"]:
                x = float(text)
                points[round(float(at))] = Value(x * size) if math.isfinite(x) else Missing("nan")
    except (KeyError, TypeError, ValueError):
        return Missing("malformed")
    return points


def _samples(
    config: MetricConfig, query: MetricQuery, points: Mapping[int, Evidence], absent: Missing, now: float
) -> list[Sample]:
    first, last = periods(query, timing(config), now)
    return [
        Sample(
            source="prometheus",
            check=config.name,
            revision="",
            start=period * PERIOD_S,
            end=(period + 1) * PERIOD_S,
            seen=now,
            evidence=points.get(round((period + 1) * PERIOD_S), absent),
        )
        for period in range(first, last)
    ]
