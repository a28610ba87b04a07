"""What can be seen: with this much traffic, from which bad share on a fault is found in time, 19 times of 20.

A row can promise no more than its traffic allows, so the frontier is said when a watch opens and again, with the
traffic that really came, when it has ended.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from math import log

from watchdog.core.catalogue import Family
from watchdog.core.model import Action
from watchdog.core.rules import Rules
from watchdog.core.sequential import Meter
from watchdog.core.text import share, span

P95 = 2.0
"""The 95th percentile of the delay over its expected bound, rounded up."""
ALL = 0.999
_STEPS = 40


@dataclass(frozen=True, slots=True)
class Reach:
    """Within `within_s` seconds of a fault, bad shares above `bad_share` are found; None: not even all bad."""

    within_s: float
    bad_share: float | None


def delay(meter: Meter, bad_share: float, rate_per_s: float, *, lag_s: float = 0.0) -> float | None:
    """Seconds within which 19 of 20 late faults of `bad_share` raise an alarm; None when no severity gains on it.

    Twice the persistence floor of the fastest severity that gains plus the Lorden-type bound on the requests needed:
    simulation puts the 95th percentile at 1.95 times their sum (docs/evidence.md). The feed's lag comes on top.
    """
    gaining = [r for r in meter.ladder if bad_share * log(r.rho) > log(1.0 + meter.p0 * (r.rho - 1.0))]
    if not gaining or rate_per_s <= 0.0:
        return None
    floor = min(r.slot_s * r.cap_slots for r in gaining)
    return P95 * (floor + meter.enough_at(bad_share) / rate_per_s) + lag_s


def reach(meter: Meter, rate_per_s: float, within_s: float, *, lag_s: float = 0.0) -> Reach:
    """The smallest bad share that is expected to be found within a time, by bisection."""

    def found(p: float) -> bool:
        takes = delay(meter, p, rate_per_s, lag_s=lag_s)
        return takes is not None and takes <= within_s

    if not found(ALL):
        return Reach(within_s, None)
    low, high = meter.p0, ALL
    for _ in range(_STEPS):
        middle = (low + high) / 2.0
        low, high = (low, middle) if found(middle) else (middle, high)
    return Reach(within_s, high)


def sentence(meter: Meter, metric: str, rate_per_s: float, spans_s: tuple[float, ...], *, lag_s: float = 0.0) -> str:
    """The frontier as one sentence: `At 33 requests/s, error_rate is found above 3 % within 5 min, …`."""
    parts = []
    for within in spans_s:
        r = reach(meter, rate_per_s, within, lag_s=lag_s)
        found = f"above {share(r.bad_share)}" if r.bad_share is not None else "not at all"
        parts.append(f"{found} within {span(within)}")
    return f"At {rate_per_s:.3g} requests/s {metric} is found {', '.join(parts)}."


SPANS_S = (300.0, 3600.0)
RATE = "request_rate"
"""The metric that tells the traffic before the deploy."""


def of_rules(rules: Rules, baselines: Mapping[str, float]) -> tuple[str, ...]:
    """The frontier of the strictest error row that rolls back, a sentence a feed; none while the traffic is unknown."""
    rate = baselines.get(RATE)
    rows = [r for r in rules.rules if r.family is Family.ERRORS and r.row.action is Action.ROLLBACK and r.p0 > 0.0]
    if not rate or not rows:
        return ()
    rule = min(rows, key=lambda r: r.p0)
    spans = (*(s for s in SPANS_S if s < rules.watch_s), rules.watch_s)
    return tuple(
        sentence(
            rules.meter(rule, lag.period_s),
            f"{rule.row.metric} ({lag.source})",
            rate,
            spans,
            lag_s=lag.lag_s + lag.period_s,
        )
        for (_, check), lag in sorted(rules.lags.items())
        if check in rule.checks
    )
