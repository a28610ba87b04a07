"""The evidence meter on many watches at once: the arithmetic of `watchdog.core.sequential`, slot by slot, over arrays.

A day through `core.sequential.Series` takes a second, and the comparison needs 100,000 days. So the benchmark judges
with this twin, whose rungs, threshold, alpha and horizon are those of a core `Meter`. That the two agree is tested on
random streams (tests/benchmarks/test_detection_twin.py), and every run of the benchmark replays some of its own watches
through the core itself and stops when one differs.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import as_file, files
from math import inf, log
from typing import Final

import numpy as np

from benchmarks.detection_parts.streams import COLD_S, SLOT_S, Days, Floats, Ints, coarser
from watchdog.core.events import Lag
from watchdog.core.model import Action
from watchdog.core.policy import Policy
from watchdog.core.rules import Rule, Rules, compile_rules
from watchdog.core.sequential import Meter, burstiness
from watchdog.core.series import Series
from watchdog.core.track import Point
from watchdog.policy_file import load_policy
from watchdog.sources.request_tally import LAG_S, PERIOD_S

ALIGNED: Final = False
"""Whether the core's slots begin with the feed's periods. They begin at the cutover (`evaluate`: `origin`)."""
BLOCK: Final = 1024
"""Slots whose growth is computed at once; what is kept at a time stays in the processor's cache."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Feed:
    """How counts reach the watchdog."""

    name: str
    source: str
    period_s: float
    lag_s: float

    @property
    def slots(self) -> int:
        """Finest slots in one of its periods."""
        return round(self.period_s / SLOT_S)


DIRECT: Final = Feed(name="direct, 5 s", source="request_log", period_s=PERIOD_S, lag_s=LAG_S)
MONITORING: Final = Feed(name="Monitoring, 60 s + 180 s", source="cloud_run", period_s=60.0, lag_s=180.0)
FEEDS: Final = (DIRECT, MONITORING)


@dataclass(frozen=True, slots=True, kw_only=True)
class Judged:
    """What a meter made of many watches."""

    alarm_at: Floats
    """The end of the slot that raised the first alarm, in seconds since the slots' origin; inf without one. A person
    hears of it the feed's lag later."""
    rung: Ints
    """Which rung it was; 0 without an alarm."""
    wealth: Floats
    """(rungs, watches): after the last slot, for the proof that twin and core agree."""


def judge(meter: Meter, bad: Ints, total: Ints, *, slot_s: float = SLOT_S, spread: Floats | None = None) -> Judged:
    """Judge (slots, watches) of counts with one meter.

    `spread` is the burstiness of each watch, where it is not the meter's own for all. Slots that the day's end cuts off
    are not judged, as in the core. Raises `ValueError` when a slot of the ladder is not a whole number of the counts'.
    """
    if any(r.slot_s % slot_s for r in meter.ladder):
        raise ValueError(f"counts of {slot_s:g} s do not fill the ladder's slots: use fit(ladder, {slot_s:g})")
    watches = bad.shape[1]
    alarm_at, rungs = np.full(watches, np.inf), np.zeros(watches, dtype=np.int32)
    wealth = np.zeros((len(meter.ladder), watches))
    divisor = np.full(watches, meter.burstiness) if spread is None else np.maximum(1.0, spread)
    for r, rung in enumerate(meter.ladder):
        slots = round(rung.slot_s / slot_s)
        bets: Floats = 1.0 / (meter.horizon[r] * np.arange(1.0, len(bad) // slots + 1))
        caps = (log(meter.need) - np.log(bets)) / rung.cap_slots
        gain, price = log(rung.rho), log(1.0 + meter.p0 * (rung.rho - 1.0))
        rung_bad, rung_total = coarser(bad, slots), coarser(total, slots)
        for first in range(0, len(bets), BLOCK):
            block = slice(first, first + BLOCK)
            x = (rung_bad[block] * gain - rung_total[block] * price) / divisor
            growth = np.exp(np.minimum(x, caps[block, None]))
            wealth[r], crossed = _grown(wealth[r], bets[block], growth, meter.need)
            at = np.where(crossed >= 0, (first + crossed + 1.0) * rung.slot_s, inf)
            rungs[at < alarm_at] = r
            alarm_at = np.minimum(alarm_at, at)
    return Judged(alarm_at=alarm_at, rung=rungs, wealth=wealth)


def _grown(wealth: Floats, bets: Floats, growth: Floats, need: float) -> tuple[Floats, Ints]:
    """The wealth after a block of slots, and each watch's first slot in it with an alarm, -1 without."""
    history = np.empty_like(growth)
    before = wealth
    with np.errstate(over="ignore", under="ignore", invalid="ignore"):
        for slot, bet in enumerate(bets):
            row = history[slot]
            np.add(before, bet, out=row)
            np.multiply(row, growth[slot], out=row)
            before = row
    enough = history >= need
    first = np.where(enough.any(axis=0), enough.argmax(axis=0), -1).astype(np.int32)
    return history[-1].copy(), first


# --- as shipped -----------------------------------------------------------------------------------------------------


@cache
def shipped_policy() -> Policy:
    """`config/barq-fleet.yaml`."""
    with as_file(files("watchdog.data") / "barq-fleet.yaml") as path:
        return load_policy(path).policy


@cache
def shipped_rules() -> Rules:
    """The shipped policy's rows, compiled as a watch with both feeds does: alpha is divided over rows and feeds."""
    lags = tuple(Lag(source=f.source, check="error_rate", period_s=f.period_s, lag_s=f.lag_s) for f in FEEDS)
    return compile_rules(shipped_policy(), lags=lags)


def error_rules() -> tuple[Rule, ...]:
    """The rows that roll back because of errors."""
    rules = shipped_rules()
    return tuple(
        r for r in rules.rules if r.row.metric == "error_rate" and r.row.action is Action.ROLLBACK and r.is_meter
    )


def error_meters(feed: Feed) -> tuple[Meter, ...]:
    """Their meters on one feed."""
    return tuple(shipped_rules().meter(rule, feed.period_s) for rule in error_rules())


def binding(meters: Sequence[Meter]) -> tuple[Meter, ...]:
    """Those that can be first: of meters that differ in p0 only, the strictest is never later than the others (tested
    beside the twin), so the others need not be asked when the first alarm is. The core is always asked about all."""
    strictest: dict[object, Meter] = {}
    for meter in meters:
        alike = (meter.alpha, meter.burstiness, meter.ladder, meter.horizon)
        if alike not in strictest or meter.p0 < strictest[alike].p0:
            strictest[alike] = meter
    return tuple(strictest.values())


def first_alarm(
    meters: Sequence[Meter], days: Days, feed: Feed, *, measured: bool = False, aligned: bool = ALIGNED
) -> Floats:
    """When the first of the meters alarms: the end of its slot in seconds since the first whole period of the feed; inf
    when none does. With `measured`, burstiness is what the hour before the cutover had."""
    bad, total = as_fed(days, feed, aligned=aligned)
    spread = burstiness_before(days) if measured else None
    alarms = [judge(m, bad, total, slot_s=feed.period_s, spread=spread).alarm_at for m in binding(meters)]
    earliest: Floats = np.min(alarms, axis=0)
    return earliest if aligned else earliest - days.offset * feed.period_s


def as_fed(days: Days, feed: Feed, *, aligned: bool = ALIGNED) -> tuple[Ints, Ints]:
    """The feed's points, sorted into slots of its period.

    A feed's periods are whole minutes (or 5 s) of the wall clock. Slots begin at the cutover, so a point ends inside a
    slot and is judged when that slot has ended too: the first slot is empty, and every alarm waits up to one period
    longer. Points that begin in the cold start do not count.
    """
    bad, total = coarser(days.bad, feed.slots).copy(), coarser(days.total, feed.slots).copy()
    cold = np.arange(round(COLD_S / SLOT_S))[:, None] * feed.period_s < COLD_S - days.offset * feed.period_s
    bad[: len(cold)][cold], total[: len(cold)][cold] = 0, 0
    if aligned:
        return bad, total
    empty = np.zeros((1, days.watches), dtype=np.int32)
    return np.concatenate([empty, bad]), np.concatenate([empty, total])


def burstiness_before(days: Days, *, most: float = 3.0) -> Floats:
    """The core's D of each watch, measured on the revision before in 60 s slots."""
    if days.before is None:
        return np.ones(days.watches)
    bad, total = (coarser(c, round(60 / SLOT_S)) for c in days.before)
    share = bad.sum(axis=0) / np.maximum(1, total.sum(axis=0))
    return np.array(
        [
            burstiness(list(zip(bad[:, i].tolist(), total[:, i].tolist(), strict=True)), float(share[i]), most=most)
            for i in range(days.watches)
        ]
    )


# --- the core itself ------------------------------------------------------------------------------------------------


def core_alarm(
    meters: Sequence[Meter],
    points: Sequence[tuple[int, int]],
    *,
    period_s: float,
    lag_s: float,
    offset_s: float = 0.0,
    until_s: float = inf,
) -> float:
    """The same for one watch by `core.sequential.Series`, sample by sample and looked at whenever one arrives.

    `points` are (bad, total) of whole periods, the first of which begins `offset_s` after the cutover. Returns the end
    of the slot that alarmed, in seconds since the first whole period, or inf. Stops at the first alarm or at `until_s`.
    """
    series = Series.start(origin=0.0, lag_s=lag_s, meters=meters)
    for k, (bad, total) in enumerate(points):
        end = (k + 1) * period_s + offset_s
        if end > until_s:
            break
        series, late = series.add(Point(end, end - period_s, bad, total), end + lag_s)
        series, raised = series.judge(end + lag_s)
        if late or raised:
            return min(alarm.until for alarm in (*late, *raised)) - offset_s
    return inf
