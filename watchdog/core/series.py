"""Counts of one feed, cut into slots and judged by the evidence meters of every row that reads them.

Everything here is a value, made of tuples: a day of a 5 s feed goes through it slot by slot, and they are cheap to make
anew.
"""

from bisect import bisect_left
from collections.abc import Sequence
from math import ceil, exp, inf, log
from typing import NamedTuple

from watchdog.core.sequential import Meter

LATE_S = 600.0
"""Samples up to this much later than their lag still change the meter; later ones are only counted."""
CHUNK_S = 300.0
"""Slots without bad events are judged in chunks of this length: nothing comes of them. Final ones go in such chunks."""


class Point(NamedTuple):
    """One sample's counts. `end` orders points and puts them into slots."""

    end: float
    start: float
    bad: float
    total: float


class Proof(NamedTuple):
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

    @property
    def ripe_at(self) -> float:
        """When `judge` does something next, Unix seconds."""
        return min(self.due, self.closes + CHUNK_S + self.lag_s)

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

    def add(self, point: Point, now: float) -> tuple["Series", tuple[Proof, ...]]:
        """Fold in one sample (the same identity again replaces the earlier one); also returns the alarms that a late
        one raised."""
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
        due = self.due
        if point.bad:
            due = min(due, *(t.closing(point.end) + self.lag_s for t in self.tracks))
        bad, total = (self.bad - kept.bad, self.total - kept.total) if kept else (self.bad, self.total)
        series = self._with(points=points, bad=bad + point.bad, total=total + point.total, due=due)
        if point.end > self.judged and point.end > now - self.lag_s:
            return series, ()
        raised: dict[int, Proof] = {}
        if point.end <= self.judged:
            series = series._judged_again(point.end, raised)  # noqa: SLF001 - same class
        if point.end <= now - self.lag_s and (point.bad or kept):  # what comes of it, comes of it now
            series = series._judged_to(now, raised)  # noqa: SLF001 - same class
        return series, tuple(raised.values())

    def _with(self, *, points: tuple[Point, ...], bad: float, total: float, due: float) -> "Series":
        """The series with other counts: `_replace` in a third of the time, since it is done for every sample."""
        return Series(
            self.origin,
            self.lag_s,
            self.meters,
            self.tracks,
            points,
            bad,
            total,
            self.too_late,
            due,
            self.closes,
            self.judged,
        )

    def blanked(self, since: float, until: float) -> "Series":
        """The series with everything taken out that was counted, in part or whole, between two times (Unix seconds)."""
        points = tuple(p._replace(bad=0.0, total=0.0) if p.start < until and p.end > since else p for p in self.points)
        first = next((p for p, old in zip(points, self.points, strict=True) if p is not old and old != p), None)
        if first is None:
            return self
        bad = self.bad - sum(old.bad - p.bad for p, old in zip(points, self.points, strict=True))
        total = self.total - sum(old.total - p.total for p, old in zip(points, self.points, strict=True))
        series = self._with(points=points, bad=bad, total=total, due=self.due)
        return series._judged_again(first.end, {}) if first.end <= self.judged else series  # noqa: SLF001 - same class

    def _placed(self, point: Point) -> tuple[Point | None, tuple[Point, ...]]:
        """The point of the same identity that is there already, and all points with this one in its place."""
        lo, hi = bisect_left(self.points, (point.end,)), bisect_left(self.points, (point.end, inf))
        for i in range(lo, hi):
            if self.points[i].start == point.start:
                return self.points[i], (*self.points[:i], point, *self.points[i + 1 :])
        return None, (*self.points[:hi], point, *self.points[hi:])

    # --- slots are judged ------------------------------------------------------------------------------------------

    def judge(self, now: float) -> tuple["Series", tuple[Proof, ...]]:
        """Judge every slot that is complete at `now` and from which something may come; also returns the alarms."""
        if self.ripe_at > now:
            return self, ()
        raised: dict[int, Proof] = {}
        series = self._judged_to(now, raised)
        return series, tuple(raised.values())

    def up_to(self, now: float) -> "Series":
        """The series with every slot judged that is complete at `now`."""
        return self._judged_to(now, {})

    def _judged_to(self, now: float, raised: dict[int, Proof]) -> "Series":
        until = now - self.lag_s
        if self.closes > until:
            return self
        tracks, closes, judged = [], inf, self.judged
        for track in self.tracks:
            t = self._extended(track, until, raised) if track.judged + track.length <= until else track
            tracks.append(t)
            closes = min(closes, t.judged + t.length)
            judged = max(judged, t.judged)
        due = self.due if self.due > now else min(map(self._next_bad, tracks)) + self.lag_s
        series = self._replace(tracks=tuple(tracks), closes=closes, judged=judged, due=due)
        return series._settled(until)  # noqa: SLF001 - same class

    def _next_bad(self, track: _Track) -> float:
        """When the track's next slot with a bad event ends; `inf` without one."""
        points = self.points
        for i in range(bisect_left(points, (track.judged, inf)), len(points)):
            if points[i].bad:
                return track.closing(points[i].end)
        return inf

    def _extended(self, track: _Track, until: float, raised: dict[int, Proof]) -> _Track:
        """The track with every slot that ended by `until`; `raised` takes the alarms."""
        length, begin = track.length, track.judged
        slots = list(track.slots)
        wealth = slots[-1].wealth if slots else track.base
        number = round((begin - self.origin) / length)
        cells, points, counts_from = track.cells, self.points, max(track.first)
        i, last = bisect_left(points, (begin, inf)), len(points)
        while begin + length <= until:
            bad = total = 0.0
            while i < last and points[i].end <= begin + length:
                bad += points[i].bad
                total += points[i].total
                i += 1
            nth = number + 1
            if not bad and number >= counts_from:  # what nearly all slots are
                pairs = zip(cells, wealth, strict=True)
                wealth = tuple([(w + bet / nth) * exp(-total * price) for (_, _, bet, price), w in pairs])
            else:
                wealth = self._grown(track, wealth, number, bad, total)
            slots.append(_Slot(bad, total, wealth))
            begin, number = begin + length, nth
            if bad:
                self._find_alarms(track, slots, raised)
        return _Track(
            length, track.cells, track.first, track.start, track.base, track.runs, judged=begin, slots=tuple(slots)
        )

    def _grown(
        self, track: _Track, wealth: tuple[float, ...], number: int, bad: float, total: float
    ) -> tuple[float, ...]:
        """Every cell's wealth after one more slot; a cell that was restarted counts from its first slot on."""
        grown = []
        for cell, w, first in zip(track.cells, wealth, track.first, strict=True):
            if number < first:
                grown.append(w)
            elif bad:
                grown.append(self.meters[cell.meter].grown(w, cell.rung, number, bad, total))
            else:  # what `grown` says of a clean or an empty slot
                grown.append((w + cell.bet / (number + 1)) * exp(-total * cell.price))
        return tuple(grown)

    def _find_alarms(self, track: _Track, slots: list[_Slot], raised: dict[int, Proof]) -> None:
        """Alarms of the last of `slots`; of several that one meter raises, the earliest counts."""
        until = track.start + len(slots) * track.length
        for i, (cell, w) in enumerate(zip(track.cells, slots[-1].wealth, strict=True)):
            m, r = cell.meter, cell.rung
            if w < self.meters[m].need or (m in raised and (raised[m].until, raised[m].rung) <= (until, r)):
                continue
            run, begin, counts_from = track.runs[i], track.start, self.origin + track.first[i] * track.length
            for slot in slots:
                if begin >= counts_from:
                    run = run.after(self.meters[m].score(r, slot.bad, slot.total), slot.bad, slot.total, begin)
                begin += track.length
            raised[m] = Proof(m, r, run.bad, run.total, run.since, until)

    def _judged_again(self, end: float, raised: dict[int, Proof]) -> "Series":
        """Judge again the slots from the one that holds `end` on: from there the wealth may have changed."""
        tracks = []
        for t in self.tracks:
            keep = ceil((end - t.start) / t.length) - 1
            if keep < len(t.slots):
                shorter = t._replace(slots=t.slots[:keep], judged=t.start + keep * t.length)
                tracks.append(self._extended(shorter, t.judged, raised))
            else:
                tracks.append(t)
        return self._replace(tracks=tuple(tracks))

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
        running = any(run.score for run in runs)
        for slot in gone:
            if slot.bad or running:
                for i, cell in enumerate(track.cells):
                    if begin >= self.origin + track.first[i] * track.length:
                        x = self.meters[cell.meter].score(cell.rung, slot.bad, slot.total)
                        runs[i] = runs[i].after(x, slot.bad, slot.total, begin)
                running = any(run.score for run in runs)
            begin += track.length
        return track._replace(start=begin, base=gone[-1].wealth, runs=tuple(runs), slots=track.slots[count:])

    def restarted(self, meter: int) -> "Series":
        """The series with one meter empty from the next slot on: asked afresh after an alarm."""
        return self._replace(tracks=tuple(_emptied(t, meter, self.origin) for t in self.tracks))

    # --- what it says ----------------------------------------------------------------------------------------------

    def wealth(self, meter: int) -> float:
        """The largest wealth of the meter's rungs after the slots that are judged (see `up_to`)."""
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
