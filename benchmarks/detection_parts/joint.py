"""All rows together: one healthy service, every rate of it just within the policy, watched through all we have.

The error rows on both feeds, and the health check (meter and hard-down) as shipped; P95 and P99 latency as though their
rows rolled back, which the shipped policy does not ask for. Each row is at nine tenths of what it allows.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from benchmarks.detection_parts.streams import DAY_S, SLOT_S, SLOTS, Floats, Ints, Scenario, draw, generator
from benchmarks.detection_parts.twin import (
    FEEDS,
    error_meters,
    first_alarm,
    judge,
    shipped_policy,
    shipped_rules,
)
from watchdog.core.catalogue import Family
from watchdog.core.model import Action
from watchdog.core.sequential import LATENCY, Meter, fit

NEARLY = 0.9
P95_ALPHA, P99_ALPHA = 0.002, 0.001
"""The design's shares of false alarms, halved over two feeds below."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Joint:
    """How many of `watches` some row would have rolled back."""

    watches: int
    by_row: Mapping[str, int]
    any_row: int


def play_joint(*, seed: int, each: int, part: int) -> Joint:
    """`each` watches at every rate."""
    rng = generator(seed, "all rows together", part)
    hits: dict[str, Floats] = {}
    errors = draw(Scenario(name="errors", base=0.01 * NEARLY), rng, each=each)
    for feed in FEEDS:
        hits[f"error rate, {feed.name}"] = first_alarm(error_meters(feed), errors, feed)
    for name, p0, alpha in (("P95 latency", 0.05, P95_ALPHA), ("P99 latency", 0.01, P99_ALPHA)):
        slow = draw(Scenario(name=name, base=p0 * NEARLY), rng, each=each)
        for feed in FEEDS:
            ladder = fit(LATENCY, feed.period_s)
            meter = Meter.start(p0=p0, alpha=alpha / len(FEEDS), burstiness=1.0, ladder=ladder, watch_s=DAY_S)
            hits[f"{name}, {feed.name}"] = first_alarm((meter,), slow, feed)
    hits["health check"], hits["health check failing"] = _probes(rng, errors.watches)
    alarmed = {name: np.isfinite(at) for name, at in hits.items()}
    return Joint(
        watches=errors.watches,
        by_row={name: int(a.sum()) for name, a in alarmed.items()},
        any_row=int(np.logical_or.reduce(list(alarmed.values())).sum()),
    )


def pooled(parts: list[Joint]) -> Joint:
    """Parts put together."""
    return Joint(
        watches=sum(p.watches for p in parts),
        by_row={name: sum(p.by_row[name] for p in parts) for name in parts[0].by_row},
        any_row=sum(p.any_row for p in parts),
    )


def _probes(rng: np.random.Generator, watches: int) -> tuple[Floats, Floats]:
    """The meters of the critical probes, and the repeated attempts that confirm a failure."""
    policy = shipped_policy()
    rule = next(
        r for r in shipped_rules().rules if r.family is Family.PROBES and r.is_meter and r.row.action is Action.ROLLBACK
    )
    meter = shipped_rules().meter(rule, 0.0)
    share = NEARLY * rule.p0
    asked: Ints = np.zeros((SLOTS, 1), dtype=np.int32)
    needed = np.ones(SLOTS, dtype=np.int64)
    for window in policy.windows:
        at = np.arange(window.start_s, window.until_s, window.probe_every_s)
        slots: NDArray[np.intp] = (at / SLOT_S).astype(np.intp)
        np.add.at(asked[:, 0], slots, 1)
        needed[slots] = window.confirm.failures
    metered, confirmed = np.full(watches, np.inf), np.full(watches, np.inf)
    for _ in rule.checks:
        total: Ints = np.repeat(asked, watches, axis=1)
        bad = rng.binomial(total, share).astype(np.int32)
        metered = np.minimum(metered, judge(meter, bad, total).alarm_at)
        slot, watch = np.nonzero(bad)
        in_a_row = rng.geometric(1.0 - share, len(slot))  # failures, the probe's own included
        down = in_a_row >= needed[slot]
        np.minimum.at(confirmed, watch[down], (slot[down] + 1) * SLOT_S)
    return metered, confirmed
