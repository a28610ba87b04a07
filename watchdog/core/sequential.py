"""The evidence meter: an anytime-valid test of "is the bad share above p0?", looked at as often as one likes.

The rule is the capped multi-severity e-detector of DESIGN section 4. For each severity rho a slot with `n` requests and
`b` bad ones scores ``x = (b·ln rho − n·ln(1 + p0·(rho − 1))) / D``, capped so that one slot adds at most 1/M of an
alarm; wealth follows ``W ← (W + w_j)·exp(x)``, ``w_j = 1/(H_N·(j + 1))``; the alarm is ``W ≥ K/alpha``. Were the bad
share never above p0, E[W] ≤ 1 at any time, so by Ville's inequality and a union bound over the K severities a false
alarm ever happens with probability ≤ alpha (Shin, Ramdas and Rinaldo, "E-detectors", 2023).

Everything here is a value, made of tuples: a day of a 5 s feed goes through it slot by slot, and they are cheap to make
anew.
"""

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from math import ceil, exp, inf, log
from typing import NamedTuple

LATE_S = 600.0
"""Samples up to this much later than their lag still change the meter; later ones are only counted."""
CHUNK_S = 300.0
"""What is final is let go of in chunks of this length, not slot by slot."""
SEEN_SLOTS = 1000
"""Slots after which a change is supposed to come, where nothing says when it came."""


@dataclass(frozen=True, slots=True)
class Rung:
    """One severity: ratio `rho` to p0, slot length, and how many slots (M) an alarm needs at least."""

    rho: float
    slot_s: float
    cap_slots: int


Ladder = tuple[Rung, ...]

ERRORS: Ladder = (Rung(1.2, 300, 3), Rung(1.6, 60, 4), Rung(3, 30, 4), Rung(8, 10, 4), Rung(60, 5, 6))
LATENCY: Ladder = (Rung(1.3, 300, 3), Rung(2, 60, 5), Rung(5, 60, 4), Rung(30, 30, 4))
PROBES: Ladder = (Rung(3, 120, 4), Rung(15, 15, 6), Rung(200, 10, 5))
"""Chosen by simulation (benchmarks/probe_ladder.py, table in docs/evidence.md): at no probing interval do 5 s blips
raise an alarm, nor 1.8 % lost probes or 20 s blips in more than about 1 watch of 400."""


def fit(ladder: Ladder, period_s: float) -> Ladder:
    """The ladder for a feed of `period_s` wide samples: a shorter slot becomes one period, with M = 3."""
    return tuple(r if r.slot_s >= period_s else Rung(r.rho, period_s, 3) for r in ladder)


@cache
def harmonic(n: int) -> float:
    """H_n = 1 + 1/2 + … + 1/n."""
    return sum(1.0 / k for k in range(1, n + 1))


@dataclass(frozen=True, slots=True, kw_only=True)
class Meter:
    """How one row is judged: everything about its meter that does not change during a watch."""

    p0: float
    alpha: float
    burstiness: float
    ladder: Ladder
    horizon: tuple[float, ...]
    """H_N of each rung."""
    need: float
    """The wealth that is an alarm: K/alpha."""
    scores: tuple[tuple[float, float], ...]
    """What one bad event adds to a rung's score, and what every event takes away."""
    enough: float
    """Events after which five times p0 would be expected to have raised an alarm: fewer prove nothing."""

    @classmethod
    def start(cls, *, p0: float, alpha: float, burstiness: float, ladder: Ladder, watch_s: float) -> "Meter":
        """The meter of a watch of `watch_s` seconds."""
        d, need = max(1.0, burstiness), len(ladder) / alpha
        horizon = tuple(harmonic(max(1, int(watch_s // r.slot_s))) for r in ladder)
        worse = min(0.99, max(5.0 * p0, 1e-6)) if p0 < 0.5 else (1.0 + p0) / 2.0
        return cls(
            p0=p0,
            alpha=alpha,
            burstiness=d,
            ladder=ladder,
            horizon=horizon,
            need=need,
            enough=d * (log(need) + log(horizon[-1] * SEEN_SLOTS)) / _divergence(worse, p0),
            scores=tuple((log(r.rho) / d, log(1.0 + p0 * (r.rho - 1.0)) / d) for r in ladder),
        )

    def score(self, rung: int, bad: float, total: float) -> float:
        """A slot's score x before the cap: positive when it is worse than the severity's line."""
        gain, price = self.scores[rung]
        return bad * gain - total * price

    def grown(self, wealth: float, rung: int, slot: int, bad: float, total: float) -> float:
        """The wealth after one more slot with `bad` of `total`."""
        bet = 1.0 / (self.horizon[rung] * (slot + 1))
        if total <= 0.0:
            return wealth + bet
        x = self.score(rung, bad, total)
        if x > 0.0:
            x = min(x, (log(self.need) - log(bet)) / self.ladder[rung].cap_slots)
        return (wealth + bet) * exp(x)

    def enough_at(self, p: float) -> float:
        """Events after which a true bad share `p` > p0 would be expected to have raised an alarm.

        Wealth grows by the Kullback-Leibler divergence an event (Lorden 1971); it needs ln(K/alpha), and ln(1/w_j) more
        as the price of not knowing when.
        """
        return self.burstiness * (log(self.need) + log(self.horizon[-1] * SEEN_SLOTS)) / _divergence(p, self.p0)


def _divergence(p: float, p0: float) -> float:
    q0 = min(max(p0, 1e-9), 1 - 1e-9)
    p = min(max(p, q0 * 1.01), 1 - 1e-9)
    return p * log(p / q0) + (1 - p) * log((1 - p) / (1 - q0))


class Point(NamedTuple):
    """One sample's counts. `end` orders points and puts them into slots."""

    end: float
    start: float
    bad: float
    total: float


class Alarm(NamedTuple):
    """A meter (by index) has enough: its rung, and what it counted from `since` on, when the evidence began to speak
    against the row without a pause, until `until`."""

    meter: int
    rung: int
    bad: float
    total: float
    since: float
    until: float


class _Run(NamedTuple):
    """Slots whose scores add up to more than nothing, from `since` on (CUSUM's estimate of when a change began)."""

    score: float = 0.0
    bad: float = 0.0
    total: float = 0.0
    since: float = 0.0

    def after(self, x: float, bad: float, total: float, begin: float) -> "_Run":
        """The run with one more slot of score `x` that began at `begin`."""
        score = self.score + x
        if score <= 0.0:
            return _NO_RUN
        return _Run(score, self.bad + bad, self.total + total, self.since if self.score else begin)


_NO_RUN = _Run()


class _Slot(NamedTuple):
    """A judged slot that a late sample may still change: its counts, and every cell's wealth after it."""

    bad: float
    total: float
    wealth: tuple[float, ...]


class _Cell(NamedTuple):
    """One rung of one meter."""

    meter: int
    rung: int
    bet: float
    """The first slot's bet; slot j has a (j + 1)-th of it."""
    price: float
    """What an event that is not bad takes from the score."""


class _Track(NamedTuple):
    """All slots of one length, and the cells with such slots."""

    length: float
    cells: tuple[_Cell, ...]
    first: tuple[int, ...]
    """Per cell, the number of the first slot that counts: moved by a restart."""
    start: float
    """Slots up to here are final."""
    base: tuple[float, ...]
    """Per cell, the wealth at `start`."""
    runs: tuple[_Run, ...]
    """Per cell, the run that reached `start`."""
    judged: float
    """Slots up to here are judged."""
    slots: tuple[_Slot, ...] = ()
    """The judged slots that are not final."""

    def closing(self, end: float) -> float:
        """The end of the slot that holds a point of this end; `inf` when it has been judged."""
        return self.start + ceil((end - self.start) / self.length) * self.length if end > self.judged else inf


class Series(NamedTuple):
    """The counts of one check from one source, and the meters of every row that reads them.

    Slot k of length L covers `(origin + k·L, origin + (k+1)·L]` by the samples' ends, and is judged when
    `now ≥ end + lag_s`. Points stay for `LATE_S` beyond that, so a late, doubled or revised sample gives the verdict it
    would have given in time; one that comes later still is counted in `too_late` only.
    """

    origin: float
    lag_s: float
    meters: tuple[Meter, ...]
    tracks: tuple[_Track, ...]
    points: tuple[Point, ...] = ()
    bad: float = 0.0
    total: float = 0.0
    too_late: int = 0
    due: float = inf
    """When the next slot that holds a bad event can be judged, Unix seconds. Slots without bad events cannot raise an
    alarm, so nobody has to wake up for them."""
    closes: float = inf
    """The end of the next slot of any length to be judged."""
    judged: float = 0.0
    """Some slot up to here has been judged."""

    @classmethod
    def start(cls, *, origin: float, lag_s: float, meters: Sequence[Meter]) -> "Series":
        """An empty series whose slots begin at `origin` (the cutover)."""
        lengths = sorted({r.slot_s for m in meters for r in m.ladder})
        tracks = []
        for length in lengths:
            cells = tuple(
                _Cell(i, k, 1.0 / m.horizon[k], m.scores[k][1])
                for i, m in enumerate(meters)
                for k, r in enumerate(m.ladder)
                if r.slot_s == length
            )
            none = (0.0,) * len(cells)
            tracks.append(_Track(length, cells, (0,) * len(cells), origin, none, (_NO_RUN,) * len(cells), origin))
        closes = origin + lengths[0] if lengths else inf
        return cls(origin, lag_s, tuple(meters), tuple(tracks), closes=closes, judged=origin)

    # --- evidence comes in -----------------------------------------------------------------------------------------

    def add(self, point: Point, now: float) -> tuple["Series", tuple[Alarm, ...]]:
        """Fold in one sample (the same identity again replaces the earlier one), the series being judged up to `now`;
        also returns the alarms that a late sample raised."""
        if point.end <= self.origin:
            return self, ()
        if point.end <= now - self.lag_s - LATE_S:
            return self._replace(too_late=self.too_late + 1), ()
        if point.bad > point.total:
            point = point._replace(bad=point.total)
        if not self.points or point.end > self.points[-1].end:
            kept, points = None, (*self.points, point)
        else:
            kept, points = self._placed(point)
            if kept == point:
                return self, ()
        series = self._replace(
            points=points,
            bad=self.bad + point.bad - (kept.bad if kept else 0.0),
            total=self.total + point.total - (kept.total if kept else 0.0),
        )
        if point.bad:
            series = series._replace(due=min(self.due, *(t.closing(point.end) + self.lag_s for t in self.tracks)))
        return series._judged_again(point.end) if point.end <= self.judged else (series, ())  # noqa: SLF001 - same class

    def _placed(self, point: Point) -> tuple[Point | None, tuple[Point, ...]]:
        """The point of the same identity that is there already, and all points with this one in its place."""
        lo, hi = bisect_left(self.points, (point.end,)), bisect_left(self.points, (point.end, inf))
        for i in range(lo, hi):
            if self.points[i].start == point.start:
                return self.points[i], (*self.points[:i], point, *self.points[i + 1 :])
        return None, (*self.points[:hi], point, *self.points[hi:])

    # --- slots are judged ------------------------------------------------------------------------------------------

    def judge(self, now: float) -> tuple["Series", tuple[Alarm, ...]]:
        """Judge every slot that is complete at `now`; also returns the alarms that were raised."""
        until = now - self.lag_s
        if self.closes > until:
            return self, ()
        raised: dict[int, Alarm] = {}
        tracks, closes, judged = [], inf, self.judged
        for track in self.tracks:
            t = self._extended(track, until, raised) if track.judged + track.length <= until else track
            tracks.append(t)
            closes = min(closes, t.judged + t.length)
            judged = max(judged, t.judged)
        due = self.due if self.due > now else min(map(self._next_bad, tracks)) + self.lag_s
        series = self._replace(tracks=tuple(tracks), closes=closes, judged=judged, due=due)
        return series._settled(until), tuple(raised.values())  # noqa: SLF001 - same class

    def _next_bad(self, track: _Track) -> float:
        """When the track's next slot with a bad event ends; `inf` without one."""
        points = self.points
        for i in range(bisect_left(points, (track.judged, inf)), len(points)):
            if points[i].bad:
                return track.closing(points[i].end)
        return inf

    def _extended(self, track: _Track, until: float, raised: dict[int, Alarm]) -> _Track:
        """The track with every slot that ended by `until`; `raised` takes the alarms."""
        length, begin = track.length, track.judged
        slots = list(track.slots)
        wealth = slots[-1].wealth if slots else track.base
        number = round((begin - self.origin) / length)
        while begin + length <= until:
            bad, total = self._counts(begin, begin + length)
            grown = []
            for cell, w, first in zip(track.cells, wealth, track.first, strict=True):
                if number < first:
                    grown.append(w)
                elif bad:
                    grown.append(self.meters[cell.meter].grown(w, cell.rung, number, bad, total))
                else:  # what `grown` says of a clean or an empty slot, which is what nearly all are
                    grown.append((w + cell.bet / (number + 1)) * exp(-total * cell.price))
            wealth = tuple(grown)
            slots.append(_Slot(bad, total, wealth))
            begin, number = begin + length, number + 1
            if bad:
                self._find_alarms(track, slots, raised)
        return track._replace(slots=tuple(slots), judged=begin)

    def _find_alarms(self, track: _Track, slots: list[_Slot], raised: dict[int, Alarm]) -> None:
        """Alarms of the last of `slots`."""
        for i, (cell, w) in enumerate(zip(track.cells, slots[-1].wealth, strict=True)):
            m, r = cell.meter, cell.rung
            if m in raised or w < self.meters[m].need:
                continue
            run, begin, counts_from = track.runs[i], track.start, self.origin + track.first[i] * track.length
            for slot in slots:
                if begin >= counts_from:
                    run = run.after(self.meters[m].score(r, slot.bad, slot.total), slot.bad, slot.total, begin)
                begin += track.length
            raised[m] = Alarm(m, r, run.bad, run.total, run.since, begin)

    def _counts(self, start: float, end: float) -> tuple[float, float]:
        """Bad and total of the points with `start < point.end <= end`."""
        points = self.points
        bad = total = 0.0
        for i in range(bisect_left(points, (start, inf)), len(points)):
            point = points[i]
            if point.end > end:
                break
            bad += point.bad
            total += point.total
        return bad, total

    def _judged_again(self, end: float) -> tuple["Series", tuple[Alarm, ...]]:
        """Judge again the slots from the one that holds `end` on: from there the wealth may have changed."""
        raised: dict[int, Alarm] = {}
        tracks = []
        for t in self.tracks:
            keep = ceil((end - t.start) / t.length) - 1
            if keep < len(t.slots):
                shorter = t._replace(slots=t.slots[:keep], judged=t.start + keep * t.length)
                tracks.append(self._extended(shorter, t.judged, raised))
            else:
                tracks.append(t)
        return self._replace(tracks=tuple(tracks)), tuple(raised.values())

    def _settled(self, until: float) -> "Series":
        """Let go of slots that no sample can change any more, and of their points."""
        final = until - LATE_S
        for t in self.tracks:
            if t.start + max(t.length, CHUNK_S) <= final:
                break
        else:
            return self
        tracks = tuple(self._shortened(t, int((final - t.start) // t.length)) for t in self.tracks)
        keep = bisect_left(self.points, (min(t.start for t in tracks), inf))
        return self._replace(tracks=tracks, points=self.points[keep:])

    def _shortened(self, track: _Track, count: int) -> _Track:
        """The track with its first `count` slots made final."""
        if count <= 0:
            return track
        gone, runs, begin = track.slots[:count], list(track.runs), track.start
        for slot in gone:
            if slot.bad or any(run.score for run in runs):
                for i, cell in enumerate(track.cells):
                    if begin >= self.origin + track.first[i] * track.length:
                        x = self.meters[cell.meter].score(cell.rung, slot.bad, slot.total)
                        runs[i] = runs[i].after(x, slot.bad, slot.total, begin)
            begin += track.length
        return track._replace(start=begin, base=gone[-1].wealth, runs=tuple(runs), slots=track.slots[count:])

    def restarted(self, meter: int) -> "Series":
        """The series with one meter empty from the next slot on: asked afresh after an alarm."""
        return self._replace(tracks=tuple(_emptied(t, meter, self.origin) for t in self.tracks))

    # --- what it says ----------------------------------------------------------------------------------------------

    def wealth(self, meter: int) -> float:
        """The largest wealth of the meter's rungs."""
        found = 0.0
        for t in self.tracks:
            wealth = t.slots[-1].wealth if t.slots else t.base
            found = max(found, *(w for cell, w in zip(t.cells, wealth, strict=True) if cell.meter == meter), 0.0)
        return found

    def alarming(self, meter: int) -> bool:
        """Whether some rung has the wealth for an alarm now."""
        return self.wealth(meter) >= self.meters[meter].need

    def fullness(self, meter: int) -> float:
        """How near an alarm the meter is, 0..1, on the logarithmic scale on which evidence adds up."""
        return min(1.0, log(1.0 + self.wealth(meter)) / log(1.0 + self.meters[meter].need))


def _emptied(track: _Track, meter: int, origin: float) -> _Track:
    mine = [cell.meter == meter for cell in track.cells]
    if not any(mine):
        return track
    number = round((track.judged - origin) / track.length)

    def empty(wealth: tuple[float, ...]) -> tuple[float, ...]:
        return tuple(0.0 if mine[i] else w for i, w in enumerate(wealth))

    return track._replace(
        first=tuple(number if mine[i] else f for i, f in enumerate(track.first)),
        base=empty(track.base),
        runs=tuple(_NO_RUN if mine[i] else run for i, run in enumerate(track.runs)),
        slots=tuple(s._replace(wealth=empty(s.wealth)) for s in track.slots),
    )


def burstiness(slots: Sequence[tuple[float, float]], p: float, *, most: float = 3.0) -> float:
    """D of (bad, total) in 60 s slots: ``Σ(b − n·p)² / Σ n·p·(1 − p)``, clipped to 1..`most`; 1 without data."""
    expected = sum(n * p * (1 - p) for _, n in slots)
    if expected <= 0:
        return 1.0
    return min(most, max(1.0, sum((b - n * p) ** 2 for b, n in slots) / expected))
