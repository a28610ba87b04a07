"""Counts of one feed, cut into slots and judged by the evidence meters of every row that reads them.

Everything here is a value, made of tuples: a day of a 5 s feed goes through it slot by slot, and they are cheap to make
anew.
"""

from bisect import bisect_left
from collections.abc import Sequence
from math import inf, log
from typing import NamedTuple

from watchdog.core.sequential import Meter
from watchdog.core.track import CHUNK_S, Point, Proof, Track

LATE_S = 600.0
"""Samples up to this much later than their lag still change the meter; later ones are only counted."""


class Series(NamedTuple):
    """The counts of one check from one source, and the meters of every row that reads them.

    Slot k of length L covers `(origin + k·L, origin + (k+1)·L]` by the samples' ends, and is judged when
    `now ≥ end + lag_s`. Points stay for `LATE_S` beyond that, so a late, doubled or revised sample gives the verdict it
    would have given in time; one that comes later still is counted in `too_late` only.
    """

    origin: float
    lag_s: float
    meters: tuple[Meter, ...]
    tracks: tuple[Track, ...]
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
        lengths = sorted({rung.slot_s for m in meters for rung in m.ladder})
        tracks = [Track.begin(length, origin, meters) for length in lengths]
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
            due = min(due, min([t.closing(point.end) for t in self.tracks]) + self.lag_s)
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
        points, tracks, due, final = self.points, self.tracks, self.due, until - LATE_S
        tracks = tuple([t.extended(points, until, raised) if t.judged + t.length <= until else t for t in tracks])
        if due <= now:
            due = min([t.next_bad(points) for t in tracks]) + self.lag_s
        if any(t.start + t.settles_s <= final for t in tracks):  # no sample can change those slots any more
            tracks = tuple([t.settled(final) for t in tracks])
            points = points[bisect_left(points, (min([t.start for t in tracks]), inf)) :]
        closes, judged = min([t.judged + t.length for t in tracks]), max([t.judged for t in tracks])
        return self._replace(points=points, tracks=tracks, due=due, closes=closes, judged=judged)

    def _judged_again(self, end: float, raised: dict[int, Proof]) -> "Series":
        """Judge again the slots from the one that holds `end` on: from there the wealth may have changed."""
        tracks = []
        for t in self.tracks:
            shorter = t.cut_to(end)
            tracks.append(t if shorter is t else shorter.extended(self.points, t.judged, raised))
        return self._replace(tracks=tuple(tracks))

    def restarted(self, meter: int) -> "Series":
        """The series with one meter empty from the next slot on: asked afresh after an alarm."""
        return self._replace(tracks=tuple(t.emptied(meter) for t in self.tracks))

    # --- what it says ----------------------------------------------------------------------------------------------

    def wealth(self, meter: int) -> float:
        """The largest wealth of the meter's rungs after the slots that are judged (see `up_to`)."""
        found = 0.0
        for t in self.tracks:
            found = max(found, *(w for cell, w in zip(t.cells, t.wealth, strict=True) if cell.meter == meter), 0.0)
        return found

    def alarming(self, meter: int) -> bool:
        """Whether some rung has the wealth for an alarm now."""
        return self.wealth(meter) >= self.meters[meter].need

    def fullness(self, meter: int) -> float:
        """How near an alarm the meter is, 0..1, on the logarithmic scale on which evidence adds up."""
        return min(1.0, log(1.0 + self.wealth(meter)) / log(1.0 + self.meters[meter].need))
