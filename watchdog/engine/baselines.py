"""The hour before the deploy, of the revision before: what relative rows and the control are held against."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import ceil, sqrt

import structlog

from watchdog.core import before
from watchdog.core.catalogue import Family, family
from watchdog.core.frontier import RATE
from watchdog.core.model import Counts, Sample, ServiceKey, Value
from watchdog.core.origins import PAST, Past
from watchdog.core.policy import Policy
from watchdog.core.warming import INSTANCES
from watchdog.engine.tools import Tools
from watchdog.errors import WatchdogError
from watchdog.ports import MetricQuery, Source

HOUR_S = 3600.0
SLOT_S = 60.0
"""The slots in which burstiness is measured (research/statistics.md section 4)."""
LEAST = 30
"""Fewer events give no share to compare with."""
ONE_SIDED_95 = 1.645

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Before:
    """What was measured; nothing where there was nothing."""

    values: Mapping[str, float] = field(default_factory=dict)
    """By metric, in base units: the upper end of what the hour leaves likely."""
    counts: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    """By check: bad and total."""
    burstiness: Mapping[str, float] = field(default_factory=dict)
    """By check: D."""
    past: tuple[Past, ...] = ()
    """Who was behind the bad requests."""


def relative_metrics(policy: Policy) -> tuple[str, ...]:
    """Metrics that some row compares with before the deploy."""
    return tuple(sorted({r.metric for r in policy.rows if r.condition is not None and r.condition.relative}))


async def measure(
    tools: Tools, service: ServiceKey, policy: Policy, *, revision: str, until: float, patience_s: float
) -> Before:
    """Ask every source for the hour of `revision` up to `until`; a slower one than `patience_s` is left out."""
    if not revision:
        return Before()
    query = MetricQuery(
        service=service,
        revision=revision,
        start=until - HOUR_S,
        end=until,
        latency_limits_s=_limits(policy),
        policy=policy,
        past=True,
        extra=(INSTANCES,),
    )

    async def ask(source: Source) -> Sequence[Sample]:
        try:
            async with asyncio.timeout(patience_s):
                return await source.sample(query, now=tools.clock.now())
        except (WatchdogError, TimeoutError) as error:
            why = str(error) or f"no answer within {patience_s:g} s"
            _log.warning("baseline_failed", source=source.name, service=str(service), error=why)
            return ()

    return _measured(await asyncio.gather(*(ask(s) for s in tools.sources)), relative_metrics(policy))


def _limits(policy: Policy) -> tuple[float, ...]:
    """The limits (seconds) of latency rows that are not relative."""
    found = {
        r.condition.value
        for r in policy.rows
        if r.condition is not None and not r.condition.relative and family(r.metric) is Family.LATENCY
    }
    return tuple(sorted(found))


def _measured(answers: Sequence[Sequence[Sample]], relative: Sequence[str]) -> Before:
    """Two sources saw the same requests, so they are never added up: the first reading holds, and the most counts."""
    values: dict[str, list[float]] = {}
    counts: dict[str, tuple[float, float]] = {}
    slots: dict[str, list[tuple[float, float]]] = {}
    past: list[Past] = []
    for samples in answers:
        read: dict[str, list[float]] = {}
        cut: dict[str, dict[int, tuple[float, float]]] = {}
        for s in samples:
            if isinstance(s.evidence, Value) and s.check in {*relative, RATE, INSTANCES}:
                read.setdefault(s.check, []).append(s.evidence.x)
            elif isinstance(s.evidence, Counts) and s.check.startswith(PAST):
                past.append(Past(s.check.removeprefix(PAST), s.start, s.end, s.evidence.origins))
            elif isinstance(s.evidence, Counts):
                mine, slot = cut.setdefault(s.check, {}), int(s.start // SLOT_S)
                bad, total = mine.get(slot, (0.0, 0.0))
                mine[slot] = (bad + s.evidence.bad, total + s.evidence.total)
        values = read | values
        for check, mine in cut.items():
            total = sum(n for _, n in mine.values())
            if total > counts.get(check, (0.0, 0.0))[1]:
                counts[check], slots[check] = (sum(b for b, _ in mine.values()), total), list(mine.values())
    out = {m: _upper_median(v) if m in relative else sorted(v)[len(v) // 2] for m, v in values.items()}
    if INSTANCES in values and INSTANCES not in relative:
        out[INSTANCES] = values[INSTANCES][-1]  # as many as there are now, not as there used to be
    # The rule of three's upper end (3/n after no event), so that a quiet hour before the deploy does not make every
    # error afterwards an increase.
    out.update({m: (bad + 3.0) / n for m, (bad, n) in counts.items() if m in {*relative, RATE} and n >= LEAST})
    spreads = {
        check: before.spread(some, Family.ERRORS if family(check) is Family.ERRORS else Family.LATENCY)
        for check, some in slots.items()
    }
    bursts = {c: d for c, d in spreads.items() if d is not None}
    return Before(values=out, counts=counts, burstiness=bursts, past=tuple(past))


def _upper_median(values: Sequence[float]) -> float:
    """The upper end of the one-sided 95 % interval of the median, by order statistics: the (n + 1.645·√n)/2-th."""
    ordered = sorted(values)
    return ordered[min(len(ordered), ceil((len(ordered) + ONE_SIDED_95 * sqrt(len(ordered))) / 2.0)) - 1]
