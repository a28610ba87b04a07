"""How cold is the place that a rollback would go to? Said beforehand, since its users would wait for containers."""

import asyncio
from collections.abc import Sequence
from typing import Final

from watchdog.core.events import Lag
from watchdog.core.model import Sample, ServiceKey, Value
from watchdog.core.policy import Policy
from watchdog.core.text import span
from watchdog.core.warming import INSTANCES, MOST
from watchdog.engine.findings import Finding
from watchdog.engine.metering import PROMPT_S, QUERY_S
from watchdog.engine.tools import Tools
from watchdog.errors import WatchdogError
from watchdog.ports import MetricQuery, Source

CHECK: Final = "target's instances"
STARTUP: Final = "startup_latency"
PAST_S: Final = 3600.0
"""Containers seldom start: so far back it is looked for how long that takes."""


async def cold(
    tools: Tools, policy: Policy, key: ServiceKey, lags: Sequence[Lag], *, watched: str, target: str
) -> list[Finding]:
    """How many instances the target has, how many it would need, and how long those take to start; nothing without a
    target. Never a problem: a rollback works with a cold target, it is slower."""
    slow = {lag.source: lag.lag_s + lag.period_s for lag in lags if lag.lag_s > PROMPT_S}
    sources = [source for source in tools.sources if source.name in slow]
    if not target or not sources:
        return []
    here, there = await asyncio.gather(
        *(_read(tools, policy, key, sources, slow, revision) for revision in (watched, target))
    )
    needed, has = round(here.get(INSTANCES, 0.0)), round(there.get(INSTANCES, 0.0))
    starts_s = there.get(STARTUP, here.get(STARTUP))
    each = "an unknown start-up time" if starts_s is None else f"{span(starts_s)} to start (95th percentile)"
    if not needed:
        detail = f"nobody could say how many instances {watched} runs on, hence how many {target} needs"
    elif has >= needed:
        detail = f"{target} runs on {has} already, {watched} on {needed}"
    else:
        state = "cold" if not has else f"partly cold ({has} run)"
        detail = f"target {state}: about {needed} instances × {each}"
        bound = span(policy.rollback.warm_s)
        detail += f"; by its tag it is warmed with {min(needed, MOST)} requests at a time, {bound} at most"
    return [Finding(check=CHECK, mark="ok", detail=detail)]


async def _read(
    tools: Tools,
    policy: Policy,
    key: ServiceKey,
    sources: Sequence[Source],
    behind: dict[str, float],
    revision: str,
) -> dict[str, float]:
    """The newest readings of a revision; what cannot be read is left out, since another check says that."""
    now, wanted = tools.clock.now(), (INSTANCES, STARTUP)

    async def ask(source: Source) -> Sequence[Sample]:
        start = now - PAST_S - behind[source.name]
        query = MetricQuery(
            service=key, revision=revision, start=start, end=now, metrics=wanted, extra=wanted, policy=policy
        )
        try:
            async with asyncio.timeout(QUERY_S):
                return await source.sample(query, now=now)
        except (TimeoutError, WatchdogError):
            return ()

    found: dict[str, tuple[float, float]] = {}
    for samples in await asyncio.gather(*(ask(source) for source in sources)):
        for sample in samples:
            recent = sample.check == STARTUP or sample.end > now - behind[sample.source] - 2 * (
                sample.end - sample.start
            )
            if isinstance(sample.evidence, Value) and recent:
                found[sample.check] = max(found.get(sample.check, (0.0, 0.0)), (sample.end, sample.evidence.x))
    return {check: x for check, (_, x) in found.items()}
