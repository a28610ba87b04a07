"""The evidence meter: an anytime-valid test of "is the bad share above p0?", looked at as often as one likes.

The rule is the capped multi-severity e-detector of DESIGN section 4. For each severity rho a slot with `n` requests and
`b` bad ones scores ``x = (b·ln rho − n·ln(1 + p0·(rho − 1))) / D``, capped so that one slot adds at most 1/M of an alarm;
wealth follows ``W ← (W + w_j)·exp(x)`` with ``w_j = 1/(H_N·(j + 1))``; the alarm is ``W ≥ K/alpha``. Were the bad share
never above p0, E[W] ≤ 1 at any time, so by Ville's inequality and a union bound over the K severities a false alarm
ever happens with probability ≤ alpha (Shin, Ramdas and Rinaldo, "E-detectors", 2023).
"""

from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache
from math import exp, inf, log

LATE_S = 600.0
"""Samples up to this much later than their lag still change the meter; later ones are only counted."""


@dataclass(frozen=True, slots=True)
class Rung:
    """One severity: ratio `rho` to p0, slot length, and how many slots (M) an alarm needs at least."""

    rho: float
    slot_s: float
    cap_slots: int


Ladder = tuple[Rung, ...]

ERRORS: Ladder = (Rung(1.2, 300, 3), Rung(1.6, 60, 4), Rung(3, 30, 4), Rung(8, 10, 4), Rung(60, 5, 6))
LATENCY: Ladder = (Rung(1.3, 300, 3), Rung(2, 60, 5), Rung(5, 60, 4), Rung(30, 30, 4))
PROBES: Ladder = (Rung(3, 300, 3), Rung(15, 60, 4), Rung(200, 15, 4))
"""Chosen by simulation (benchmarks/probe_ladder.py): no false alarm from 20 s blips at any probing interval."""


def fit(ladder: Ladder, period_s: float) -> Ladder:
    """The ladder for a feed of `period_s` wide samples: a shorter slot becomes one period, with M = 3."""
    return tuple(r if r.slot_s >= period_s else Rung(r.rho, period_s, 3) for r in ladder)


@cache
def harmonic(n: int) -> float:
    """H_n = 1 + 1/2 + … + 1/n."""
    return sum(1.0 / k for k in range(1, n + 1))


@dataclass(frozen=True, slots=True, kw_only=True)
class Meter:
    """One row's wealth over one feed.

    `base` is the wealth before the oldest slot that may still change, `wealth` the wealth after all judged slots; both
    have one entry a rung. `first` is the slot of each rung from which on slots count (moved by a restart).
    """

    p0: float
    alpha: float
    burstiness: float
    ladder: Ladder
    horizon: tuple[float, ...]
    """H_N of each rung."""
    base: tuple[float, ...]
    wealth: tuple[float, ...]
    first: tuple[int, ...]
    alarmed_rung: int | None = None
    """The rung that raised the last alarm."""

    @classmethod
    def start(cls, *, p0: float, alpha: float, burstiness: float, ladder: Ladder, watch_s: float) -> "Meter":
        """An empty meter for a watch of `watch_s` seconds."""
        return cls(
            p0=p0,
            alpha=alpha,
            burstiness=max(1.0, burstiness),
            ladder=ladder,
            horizon=tuple(harmonic(max(1, int(watch_s // r.slot_s))) for r in ladder),
            base=(0.0,) * len(ladder),
            wealth=(0.0,) * len(ladder),
            first=(0,) * len(ladder),
        )

    @property
    def need(self) -> float:
        """The wealth that is an alarm: K/alpha."""
        return len(self.ladder) / self.alpha

    @property
    def alarming(self) -> bool:
        """Whether some rung has the wealth for an alarm now."""
        need = self.need
        return any(w >= need for w in self.wealth)

    @property
    def fullness(self) -> float:
        """How near an alarm, 0..1, on the logarithmic scale on which evidence adds up."""
        return min(1.0, log(1.0 + max(self.wealth)) / log(1.0 + self.need))

    def grown(self, wealth: float, rung: int, slot: int, bad: float, total: float) -> float:
        """The wealth after one more slot with `bad` of `total`."""
        r = self.ladder[rung]
        bet = 1.0 / (self.horizon[rung] * (slot + 1))
        if total <= 0:
            return wealth + bet
        x = (bad * log(r.rho) - total * log(1.0 + self.p0 * (r.rho - 1.0))) / self.burstiness
        if bad:
            x = min(x, (log(self.need) - log(bet)) / r.cap_slots)
        return (wealth + bet) * exp(x) if x > -700.0 else 0.0

    def enough(self, seen_slots: int = 1000) -> float:
        """Requests after which five times p0 would be expected to have raised an alarm: fewer prove nothing.

        The growth of wealth is the Kullback-Leibler divergence a request (Lorden 1971), the need ln(K/alpha) plus the
        price of not knowing when, ln(1/w_j).
        """
        p = min(0.99, max(5.0 * self.p0, 1e-6)) if self.p0 < 0.5 else (1.0 + self.p0) / 2.0
        return self.enough_at(p, seen_slots)

    def enough_at(self, p: float, seen_slots: int = 1000) -> float:
        """Requests after which a true bad share `p` > p0 would be expected to have raised an alarm."""
        q0 = min(max(self.p0, 1e-9), 1 - 1e-9)
        p = min(max(p, q0 * 1.01), 1 - 1e-9)
        divergence = p * log(p / q0) + (1 - p) * log((1 - p) / (1 - q0))
        return self.burstiness * (log(self.need) + log(self.horizon[-1] * seen_slots)) / divergence


@dataclass(frozen=True, slots=True)
class Point:
    """One sample's counts. `end` orders points and puts them into slots."""

    end: float
    start: float
    bad: float
    total: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Series:
    """The counts of one check from one source, and the meters of every row that reads them.

    Slot k of length L covers `(origin + k·L, origin + (k+1)·L]` by the samples' ends, and is judged when
    `now ≥ end + lag_s`. Points stay for `LATE_S` beyond that, so a late, doubled or revised sample gives the verdict it
    would have given in time; one that comes later still is counted in `too_late` only.
    """

    origin: float
    lag_s: float
    points: tuple[Point, ...] = ()
    ends: tuple[float, ...] = ()
    judged: tuple[float, ...] = ()
    """Per slot length, the time up to which slots are judged (see `lengths`)."""
    settled: tuple[float, ...] = ()
    """Per slot length, the time up to which slots are final (folded into `base`)."""
    lengths: tuple[float, ...] = ()
    meters: tuple[Meter, ...] = ()
    bad: float = 0.0
    total: float = 0.0
    too_late: int = 0

    @classmethod
    def start(cls, *, origin: float, lag_s: float, meters: Sequence[Meter]) -> "Series":
        """An empty series whose slots begin at `origin` (the cutover)."""
        lengths = tuple(sorted({r.slot_s for m in meters for r in m.ladder}))
        at = (origin,) * len(lengths)
        return cls(origin=origin, lag_s=lag_s, judged=at, settled=at, lengths=lengths, meters=tuple(meters))

    def add(self, point: Point) -> tuple["Series", tuple[int, ...]]:
        """Fold in one sample (the same identity again replaces the earlier one); also returns the meters that a
        late sample made raise an alarm."""
        if point.total < point.bad:
            point = Point(point.end, point.start, point.total, point.total)
        if point.end > self.judged_until and (not self.ends or point.end > self.ends[-1]):
            return self._appended(point), ()
        if point.end <= max(self.settled, default=self.origin):
            return (self if point.end <= self.origin else replace(self, too_late=self.too_late + 1)), ()
        changed = self._inserted(point)
        if changed is self or point.end > self.judged_until:
            return changed, ()
        return changed._recomputed()  # noqa: SLF001 - same class

    @property
    def judged_until(self) -> float:
        """The end of the newest judged slot."""
        return max(self.judged, default=self.origin)

    def _appended(self, point: Point) -> "Series":
        return replace(
            self,
            points=(*self.points, point),
            ends=(*self.ends, point.end),
            bad=self.bad + point.bad,
            total=self.total + point.total,
        )

    def _inserted(self, point: Point) -> "Series":
        first, stop = bisect_left(self.ends, point.end), bisect_right(self.ends, point.end)
        old = next((i for i in range(first, stop) if self.points[i].start == point.start), None)
        if old is not None and self.points[old] == point:
            return self
        before = Point(point.end, point.start, 0.0, 0.0) if old is None else self.points[old]
        head, tail = (stop, stop) if old is None else (old, old + 1)
        points = (*self.points[:head], point, *self.points[tail:])
        return replace(
            self,
            points=points,
            ends=tuple(p.end for p in points),
            bad=self.bad + point.bad - before.bad,
            total=self.total + point.total - before.total,
        )

    def counts(self, start: float, end: float) -> tuple[float, float]:
        """Bad and total of the kept points with `start < point.end <= end`."""
        lo, hi = bisect_right(self.ends, start), bisect_right(self.ends, end)
        if hi - lo == 1:
            return self.points[lo].bad, self.points[lo].total
        points = self.points[lo:hi]
        return sum(p.bad for p in points), sum(p.total for p in points)

    def next_judgement(self) -> float:
        """When the next slot that holds a bad event can be judged, in Unix seconds; `inf` when none waits.

        Slots without bad events cannot raise an alarm, so nobody has to wake up for them.
        """
        due = inf
        for judged, length in zip(self.judged, self.lengths, strict=True):
            for i in range(bisect_right(self.ends, judged), len(self.ends)):
                if self.points[i].bad:
                    due = min(due, self._slot_end(self.ends[i], length) + self.lag_s)
                    break
        return due

    def _slot_end(self, end: float, length: float) -> float:
        slots = (end - self.origin) / length
        whole = int(slots)
        return self.origin + (whole if whole == slots else whole + 1) * length

    def judge(self, now: float) -> tuple["Series", tuple[int, ...]]:
        """Judge every slot that is complete at `now`; also returns the meters (by index) that raised an alarm."""
        until = now - self.lag_s
        if all(j + length > until for j, length in zip(self.judged, self.lengths, strict=True)):
            return self, ()
        meters = [list(m.wealth) for m in self.meters]
        alarms: dict[int, int] = {}
        judged = list(self.judged)
        for i, length in enumerate(self.lengths):
            while judged[i] + length <= until:
                start = judged[i]
                judged[i] = start + length
                bad, total = self.counts(start, judged[i])
                slot = round((start - self.origin) / length)
                for m, meter in enumerate(self.meters):
                    for r, rung in enumerate(meter.ladder):
                        if rung.slot_s == length and slot >= meter.first[r]:
                            meters[m][r] = meter.grown(meters[m][r], r, slot, bad, total)
                            if meters[m][r] >= meter.need:
                                alarms.setdefault(m, r)
        grown = tuple(
            replace(meter, wealth=tuple(meters[m]), alarmed_rung=alarms.get(m, meter.alarmed_rung))
            for m, meter in enumerate(self.meters)
        )
        judged_series = replace(self, judged=tuple(judged), meters=grown)
        return judged_series._settle(until - LATE_S), tuple(alarms)  # noqa: SLF001 - same class

    def _settle(self, until: float) -> "Series":
        """Make slots that ended before `until` final and forget their points."""
        if all(s + length > until for s, length in zip(self.settled, self.lengths, strict=True)):
            return self
        settled = list(self.settled)
        bases = [list(m.base) for m in self.meters]
        for i, length in enumerate(self.lengths):
            while settled[i] + length <= until:
                start = settled[i]
                settled[i] = start + length
                bad, total = self.counts(start, settled[i])
                slot = round((start - self.origin) / length)
                for m, meter in enumerate(self.meters):
                    for r, rung in enumerate(meter.ladder):
                        if rung.slot_s == length and slot >= meter.first[r]:
                            bases[m][r] = meter.grown(bases[m][r], r, slot, bad, total)
        keep = bisect_right(self.ends, min(settled))
        return replace(
            self,
            settled=tuple(settled),
            points=self.points[keep:],
            ends=self.ends[keep:],
            meters=tuple(replace(m, base=tuple(b)) for m, b in zip(self.meters, bases, strict=True)),
        )

    def _recomputed(self) -> tuple["Series", tuple[int, ...]]:
        """Judge the slots that may still change again, from the last final wealth."""
        meters, alarms = [], []
        for m, meter in enumerate(self.meters):
            wealth, alarmed = list(meter.base), None
            for r, rung in enumerate(meter.ladder):
                i = self.lengths.index(rung.slot_s)
                start = self.settled[i]
                while start < self.judged[i]:
                    slot = round((start - self.origin) / rung.slot_s)
                    if slot >= meter.first[r]:
                        bad, total = self.counts(start, start + rung.slot_s)
                        wealth[r] = meter.grown(wealth[r], r, slot, bad, total)
                        if wealth[r] >= meter.need and alarmed is None:
                            alarmed = r
                    start += rung.slot_s
            if alarmed is not None:
                alarms.append(m)
            meters.append(replace(meter, wealth=tuple(wealth), alarmed_rung=meter.alarmed_rung if alarmed is None else alarmed))
        return replace(self, meters=tuple(meters)), tuple(alarms)

    def restarted(self, index: int) -> "Series":
        """The series with one meter empty from the next slot on: asked afresh after an alarm."""
        meter = self.meters[index]
        first = tuple(
            round((self.judged[self.lengths.index(r.slot_s)] - self.origin) / r.slot_s) for r in meter.ladder
        )
        empty = (0.0,) * len(meter.ladder)
        fresh = replace(meter, base=empty, wealth=empty, first=first)
        return replace(self, meters=(*self.meters[:index], fresh, *self.meters[index + 1 :]))


def burstiness(slots: Sequence[tuple[float, float]], p: float, *, most: float = 3.0) -> float:
    """D of (bad, total) in 60 s slots: ``Σ(b − n·p)² / Σ n·p·(1 − p)``, clipped to 1..`most`; 1 without data."""
    expected = sum(n * p * (1 - p) for _, n in slots)
    if expected <= 0:
        return 1.0
    return min(most, max(1.0, sum((b - n * p) ** 2 for b, n in slots) / expected))
