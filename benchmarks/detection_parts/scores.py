"""What a rule made of many watches, counted: false rollbacks, misses, delays, and delays over the bound."""

from dataclasses import dataclass
from math import inf
from typing import Final

import numpy as np

from benchmarks.detection_parts.bounds import bounds_s, wilson
from benchmarks.detection_parts.play import OURS, Played
from benchmarks.detection_parts.streams import COLD_S, DAY_S
from benchmarks.detection_parts.twin import Feed
from benchmarks.tables import quantile

ROOM: Final = 3.0
"""A fault has to be found when so many times its bound is left of the watch."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Tally:
    """One rule on one feed, at one rate or over all of them."""

    watches: int
    false: int
    """Rolled back before there was a fault."""
    missed: int
    """Kept to the end although there was one."""
    delays_s: tuple[float, ...]
    """Of the others: from the moment at which errors exceed 1 % to the decision, the feed's lag included."""

    @property
    def interval(self) -> tuple[float, float]:
        """The 95 % confidence interval of the share of false rollbacks."""
        return wilson(self.false, self.watches)

    @property
    def share(self) -> float:
        """Of watches that were rolled back falsely."""
        return self.false / self.watches if self.watches else 0.0

    def delay(self, q: float) -> float | None:
        """A quantile of the delays; None without any."""
        return quantile(self.delays_s, q) if self.delays_s else None


def tally(played: Played, feed: Feed, rule: str, rps: float | None = None) -> Tally:
    """Count one rule; watches that it was not asked about do not count."""
    alarm, onset = played.of(feed, rule), played.began(feed)
    asked = ~np.isnan(alarm)
    if rps is not None:
        asked &= played.rps == rps
    alarm, onset = alarm[asked], onset[asked]
    false = np.isfinite(alarm) & (alarm <= onset)
    missed = np.isinf(alarm) & np.isfinite(onset)
    found = ~false & ~missed & np.isfinite(onset)
    delays = alarm[found] - onset[found] + feed.lag_s
    return Tally(
        watches=int(asked.sum()),
        false=int(false.sum()),
        missed=int(missed.sum()),
        delays_s=tuple(np.sort(delays).tolist()),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Ratio:
    """Our delays at one rate over the bound, the feed's lag and the cold start taken off."""

    where: str
    mean: float
    """The mean delay over the mean bound; inf when every fault was missed."""
    p95: float
    """Of delays over their own bounds."""
    missed: int
    watches: int
    room: int
    """Watches with `ROOM` bounds left after the onset."""
    missed_with_room: int


def ratio(played: Played, feed: Feed, rps: float) -> Ratio:
    """How near the bound our delays come in a scenario whose share jumps once."""
    scenario, at = played.scenario, played.rps == rps
    bounds = bounds_s(scenario.after, played, feed)[at]
    alarm, onset = played.of(feed, OURS)[at], played.began(feed)[at]
    begin = np.maximum(onset, COLD_S - played.offset[at] * feed.period_s)
    missed = np.isinf(alarm)
    found = (alarm > onset) & ~missed
    delays = (alarm - begin)[found]
    room = DAY_S - onset >= ROOM * bounds
    return Ratio(
        where=f"{scenario.name}, {rps:g}/s",
        mean=float(delays.mean() / bounds[found].mean()) if len(delays) else inf,
        p95=quantile((delays / bounds[found]).tolist(), 0.95) if len(delays) else inf,
        missed=int(missed.sum()),
        watches=len(alarm),
        room=int(room.sum()),
        missed_with_room=int((room & missed).sum()),
    )
