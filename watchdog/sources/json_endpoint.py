"""The source `json_endpoint`: one number out of any JSON document, by JMESPath.

For what a service tells of itself (its connection pool, its queue) and nobody scrapes. It knows only what is now, so it
has no baseline, and each answer stands for the minute that follows it.
"""

import asyncio
import math
from collections.abc import Sequence
from typing import Any, Final

import jmespath
from aiohttp import ClientSession
from jmespath.exceptions import JMESPathError

from watchdog.core.catalogue import UNITS
from watchdog.core.model import Evidence, Missing, Sample, ServiceKey, Value
from watchdog.core.policy import MetricConfig, Policy
from watchdog.errors import WatchdogError
from watchdog.ports import Feed, MetricQuery
from watchdog.sources.cloud_monitoring import Trouble
from watchdog.sources.monitored import wanted_metrics
from watchdog.transport import GoogleTokens, Peer, error_of, request

TIMEOUT_S: Final = 5.0


class JsonEndpoint:
    """`ports.Source` over HTTP. The session is shared and not closed here."""

    def __init__(self, session: ClientSession, tokens: GoogleTokens) -> None:
        self._session = session
        self._tokens = tokens
        self._trouble = Trouble(self.name)

    @property
    def name(self) -> str:
        """See `ports.Source.name`."""
        return "json_endpoint"

    async def feeds(self, service: ServiceKey, policy: Policy) -> Sequence[Feed]:  # noqa: ARG002 - the port's signature
        """See `ports.Source.feeds`: only metrics that a row reads."""
        every_s = policy.service.metrics_every_s
        return [
            Feed(source=self.name, check=m.name, period_s=every_s, lag_s=0.0) for m in wanted_metrics(policy, self.name)
        ]

    async def sample(self, query: MetricQuery, *, now: float) -> Sequence[Sample]:
        """See `ports.Source.sample`: one sample a metric, from now on. Never raises for what the endpoint does."""
        if query.policy is None or query.past:
            return ()
        configs = wanted_metrics(query.policy, self.name)
        every_s = query.policy.service.metrics_every_s
        evidence = await asyncio.gather(*(self._ask(m, query) for m in configs))
        return [
            Sample(
                source=self.name,
                check=config.name,
                revision="" if config.url else query.revision,
                start=now,
                end=now + every_s,
                seen=now,
                evidence=found,
            )
            for config, found in zip(configs, evidence, strict=True)
        ]

    async def _ask(self, config: MetricConfig, query: MetricQuery) -> Evidence:
        if config.url is None and not query.about.base_url:
            return Missing("no_url")
        url = config.url or query.about.base_url.rstrip("/") + (config.path or "/")
        try:
            body = await self._get(config, url)
        except WatchdogError as error:
            self._trouble.note(config.name, error)
            return Missing("source_error")
        self._trouble.note(config.name, None)
        return pick(body, config.query or "@", UNITS[config.unit][1] if config.unit in UNITS else 1.0)

    async def _get(self, config: MetricConfig, url: str) -> Any:
        headers = {}
        if config.auth == "google":
            headers = await self._tokens.headers()
        elif config.auth == "id_token":
            headers = {"Authorization": f"Bearer {await self._tokens.id_token(config.audience or url)}"}
        peer, doing = Peer(name=f"the endpoint of {config.name}", timeout_s=TIMEOUT_S), f"Reading {config.name}"
        reply = await request(self._session, peer, "GET", url, doing=doing, headers=headers)
        if not reply.ok:
            raise error_of(reply, peer, doing=doing)
        return reply.body


def pick(body: Any, query: str, size: float) -> Evidence:
    """The number that a JMESPath expression finds, in base units; why there is none otherwise."""
    try:
        found = jmespath.search(query, body)
    except JMESPathError:  # a function met a value that it cannot take: `sum` of text
        return Missing("bad_query")
    if isinstance(found, list) and len(found) != 1:
        return Missing(f"ambiguous: {len(found)} values for one row") if found else Missing("no_value")
    if isinstance(found, list):
        found = found[0]
    if found is None:
        return Missing("no_value")
    if isinstance(found, bool) or not isinstance(found, int | float):
        return Missing("not_a_number")
    return Value(found * size) if math.isfinite(found) else Missing("nan")
