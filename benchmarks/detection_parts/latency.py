"""P95 latency through its own ladder: independent slow requests, and the pauses in which many are slow at once."""

from dataclasses import dataclass
from math import inf

import numpy as np

from benchmarks.detection_parts.streams import DAY_S, Onset, Scenario, draw, generator
from benchmarks.detection_parts.twin import DIRECT, FEEDS, burstiness_before, first_alarm, judge
from benchmarks.tables import quantile
from watchdog.core.sequential import LATENCY, Meter

P0 = 0.05
ALPHA = 0.002
RATES = (0.1, 1.0, 10.0, 100.0)
HEALTHY = (
    Scenario(name="4.5 % slow, independent", base=0.045, rates=RATES),
    Scenario(
        name="3 % slow: 1 %, and 20 s at 40 % every 400 s",
        base=0.01,
        blip_s=20.0,
        blip_every_s=400.0,
        blip_share=0.4,
        rates=RATES,
    ),
)
FAULTS = tuple(
    Scenario(name=f"{100 * p:g} % slow, late", base=0.01, onset=Onset.LATE, after=p, rates=RATES)
    for p in (0.1, 0.2, 0.5, 1.0)
)
MOST = {"D = 1": 1.0, "D ≤ 3": 3.0, "D as measured": inf}
"""How far the burstiness of the revision before may be believed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One scenario at one rate: the share that alarmed falsely for each D, or the median delay in seconds."""

    name: str
    rps: float
    watches: int
    false: tuple[int, ...]
    delay_s: float | None


def meter() -> Meter:
    """The P95 row as one that rolls back, its alpha divided over two feeds."""
    return Meter.start(p0=P0, alpha=ALPHA / len(FEEDS), burstiness=1.0, ladder=LATENCY, watch_s=DAY_S)


def play_latency(*, seed: int, each: int) -> list[Row]:
    """Every scenario at every rate, on the direct feed."""
    rows: list[Row] = []
    for scenario in (*HEALTHY, *FAULTS):
        days = draw(scenario, generator(seed, scenario.name, 0), each=each, threshold=P0)
        if scenario.is_null:
            alarms = [
                judge(meter(), days.bad, days.total, spread=burstiness_before(days, most=most)).alarm_at
                for most in MOST.values()
            ]
        else:
            alarms = [first_alarm((meter(),), days, DIRECT)]
        for rps in RATES:
            at = days.rps == rps
            onset = days.onset[at]
            false = tuple(int((np.isfinite(a[at]) & (a[at] <= onset)).sum()) for a in alarms)
            found = alarms[0][at]
            late = np.isfinite(found) & np.isfinite(onset) & (found > onset)
            delays = found[late] - onset[late] + DIRECT.lag_s
            delay = quantile(delays.tolist(), 0.5) if len(delays) else None
            rows.append(Row(name=scenario.name, rps=rps, watches=int(at.sum()), false=false, delay_s=delay))
    return rows
