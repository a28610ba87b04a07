"""All slots of one length: what was counted in them, and the wealth of every meter's rung that is judged in such slots.

A value, made of tuples. Slots that a late sample may still change are kept with what was counted and the wealth after
each of them, so judging again begins at the slot that changed; older ones leave one wealth a rung behind.
"""

from bisect import bisect_left
from collections.abc import Sequence
from math import ceil, inf
from typing import NamedTuple

from watchdog.core.sequential import Meter, Terms, grown

CHUNK_S = 300.0
"""Slots without bad events are judged in chunks of this length: nothing comes of them. Final ones go in such chunks."""

Slot = tuple[float, float]
"""Bad and total that were counted in it."""


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


class Run(NamedTuple):
    """Slots whose scores add up to more than nothing, from `since` on (CUSUM's estimate of when a change began)."""

    score: float = 0.0
    bad: float = 0.0
    total: float = 0.0
    since: float = 0.0

    def after(self, terms: Terms, slots: Sequence[Slot], begin: float, length: float) -> "Run":
        """The run with more slots of a rung, the first of which began at `begin`."""
        (gain, price, *_), (score, run_bad, run_total, since) = terms, self
        for bad, total in slots:
            if score == 0.0:
                run_bad, run_total, since = 0.0, 0.0, begin
            score += bad * gain - total * price
            if score > 0.0:
                run_bad += bad
                run_total += total
            else:
                score = 0.0
            begin += length
        return Run(score, run_bad, run_total, since) if score else NO_RUN


NO_RUN = Run()


class Cell(NamedTuple):
    """One rung of one meter, both by index; `need` is the wealth that is an alarm."""

    meter: int
    rung: int
    need: float


class Track(NamedTuple):
    """The slots of one length. Slot k covers `(origin + k·length, origin + (k+1)·length]`."""

    length: float
    origin: float
    cells: tuple[Cell, ...]
    terms: tuple[Terms, ...]
    """Per cell, what its slots are scored by."""
    least: float
    """Of all cells, the least wealth that is an alarm."""
    settles_s: float
    """Slots are made final in chunks of this length."""
    first: tuple[int, ...]
    """Per cell, the number of the first slot that counts: moved by a restart."""
    start: float
    """Slots up to here are final."""
    base: tuple[float, ...]
    """Per cell, the wealth at `start`."""
    runs: tuple[Run, ...]
    """Per cell, the run that reached `start`."""
    judged: float
    """Slots up to here are judged."""
    slots: tuple[Slot, ...] = ()
    """The judged slots that are not final …"""
    after: tuple[tuple[float, ...], ...] = ()
    """… and after each of them, the wealth of every cell."""

    @classmethod
    def begin(cls, length: float, origin: float, meters: Sequence[Meter]) -> "Track":
        """The track of all rungs with slots of a length, without slots yet."""
        rungs = [(i, k, m) for i, m in enumerate(meters) for k, rung in enumerate(m.ladder) if rung.slot_s == length]
        return cls(
            length=length,
            origin=origin,
            cells=tuple(Cell(i, k, m.need) for i, k, m in rungs),
            terms=tuple(m.terms[k] for _, k, m in rungs),
            least=min(m.need for _, _, m in rungs),
            settles_s=max(length, CHUNK_S),
            first=(0,) * len(rungs),
            start=origin,
            base=(0.0,) * len(rungs),
            runs=(NO_RUN,) * len(rungs),
            judged=origin,
        )

    @property
    def wealth(self) -> tuple[float, ...]:
        """Per cell, the wealth after the slots that are judged."""
        return self.after[-1] if self.after else self.base

    def closing(self, end: float) -> float:
        """The end of the slot that holds a point of this end; `inf` when it has been judged."""
        return self.start + ceil((end - self.start) / self.length) * self.length if end > self.judged else inf

    def next_bad(self, points: Sequence[Point]) -> float:
        """The end of the next slot with a bad event, of those points; `inf` without one."""
        for i in range(bisect_left(points, (self.judged, inf)), len(points)):
            if points[i].bad:
                return self.closing(points[i].end)
        return inf

    def extended(self, points: Sequence[Point], until: float, raised: dict[int, Proof]) -> "Track":
        """The track with every slot judged that ended by `until`; `raised` takes the alarms by meter."""
        slots, judged = self._cut(points, until)
        number = self._number(self.judged)
        if number >= max(self.first):
            wealth = grown(self.terms, self.wealth, number, slots)
        else:  # judged again from before a restart on
            wealth = self._grown_since_restart(number, slots)
        longer = Track(
            self.length,
            self.origin,
            self.cells,
            self.terms,
            self.least,
            self.settles_s,
            self.first,
            self.start,
            self.base,
            self.runs,
            judged,
            self.slots + tuple(slots),
            self.after + tuple(wealth),
        )
        longer._find_alarms(len(self.slots), raised)
        return longer

    def _grown_since_restart(self, number: int, slots: Sequence[Slot]) -> list[tuple[float, ...]]:
        """Every cell's wealth after each of some slots, of which only those from the cell's `first` on count."""
        paths = []
        for terms, wealth, first in zip(self.terms, self.wealth, self.first, strict=True):
            left_out = min(len(slots), max(0, first - number))
            later = grown([terms], [wealth], number + left_out, slots[left_out:])
            paths.append([wealth] * left_out + [w for (w,) in later])
        return list(zip(*paths, strict=True))

    def _cut(self, points: Sequence[Point], until: float) -> tuple[list[Slot], float]:
        """The slots from `judged` to `until`, and where the last one ends."""
        slots, end = [], self.judged + self.length
        i, last = bisect_left(points, (self.judged, inf)), len(points)
        while end <= until:
            bad = total = 0.0
            while i < last and points[i].end <= end:
                bad += points[i].bad
                total += points[i].total
                i += 1
            slots.append((bad, total))
            end += self.length
        return slots, end - self.length

    def _find_alarms(self, new: int, raised: dict[int, Proof]) -> None:
        """Alarms of the slots from the `new`th on; of several that one meter raises, the earliest counts."""
        for k in range(new, len(self.slots)):
            if not self.slots[k][0] or max(self.after[k]) < self.least:
                continue
            until = self.start + (k + 1) * self.length
            for i, ((meter, rung, need), wealth) in enumerate(zip(self.cells, self.after[k], strict=True)):
                if wealth < need or (meter in raised and (raised[meter].until, raised[meter].rung) <= (until, rung)):
                    continue
                run = self._run(i, k + 1)
                raised[meter] = Proof(meter, rung, run.bad, run.total, run.since, until)

    def _run(self, i: int, count: int) -> Run:
        """The `i`th cell's run after the first `count` of the slots that are kept."""
        run, begin, number = self.runs[i], self.start, self._number(self.start)
        if number >= self.first[i]:
            return run.after(self.terms[i], self.slots[:count], begin, self.length)
        left_out = min(count, self.first[i] - number)
        return run.after(self.terms[i], self.slots[left_out:count], begin + left_out * self.length, self.length)

    def _number(self, begin: float) -> int:
        """Of the slot that begins then."""
        return round((begin - self.origin) / self.length)

    def cut_to(self, end: float) -> "Track":
        """The track without what was judged of the slot that holds `end`, and of those after it."""
        keep = ceil((end - self.start) / self.length) - 1
        if keep >= len(self.slots):
            return self
        return self._replace(judged=self.start + keep * self.length, slots=self.slots[:keep], after=self.after[:keep])

    def settled(self, final: float) -> "Track":
        """The track with all slots made final that ended by `final`."""
        count = int((final - self.start) // self.length)
        if count <= 0:
            return self
        runs = self.runs
        if any(run.score for run in runs) or any(bad for bad, _ in self.slots[:count]):
            runs = tuple(self._run(i, count) for i in range(len(self.cells)))
        return self._replace(
            start=self.start + count * self.length,
            base=self.after[count - 1],
            runs=runs,
            slots=self.slots[count:],
            after=self.after[count:],
        )

    def emptied(self, meter: int) -> "Track":
        """The track with one meter (by index) empty from the next slot on."""
        mine = [cell.meter == meter for cell in self.cells]
        if not any(mine):
            return self
        number = self._number(self.judged)

        def without(wealth: tuple[float, ...]) -> tuple[float, ...]:
            return tuple(0.0 if m else w for m, w in zip(mine, wealth, strict=True))

        return self._replace(
            first=tuple(number if m else first for m, first in zip(mine, self.first, strict=True)),
            base=without(self.base),
            runs=tuple(NO_RUN if m else run for m, run in zip(mine, self.runs, strict=True)),
            after=tuple(without(wealth) for wealth in self.after),
        )
