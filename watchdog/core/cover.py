"""How much of the watched time had usable evidence: missing evidence lowers it, nothing raises it later."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

TOUCH_S = 0.75
"""Intervals that begin this soon after another ended touch: schedules have no gap but may jitter."""
KEEP = 32
"""Open intervals kept apart before the oldest are added up."""
LATE_S = 900.0

Bounds = Sequence[tuple[float, float]]


class Cover(NamedTuple):
    """One check's covered time, the union over its sources. Bounded: old intervals are added up per window."""

    spans: tuple[tuple[float, float], ...] = ()
    """Covered intervals, in order, that do not touch."""
    done_s: tuple[float, ...] = ()
    """Per window, covered seconds of intervals already forgotten."""

    def add(self, start: float, end: float, windows: Callable[[], Bounds]) -> "Cover":
        """Mark `[start, end)` as covered. `windows` tells the bounds of the watch's windows now."""
        if end <= start:
            return self
        if not self.spans or start > self.spans[-1][1] + TOUCH_S:
            grown = self._replace(spans=(*self.spans, (start, end)))
            return grown if len(grown.spans) <= KEEP else grown._forget(end - LATE_S, windows())  # noqa: SLF001 - same class
        last = self.spans[-1]
        if start >= last[0]:
            return self if end <= last[1] else Cover((*self.spans[:-1], (last[0], end)), self.done_s)
        return self._replace(spans=_merge((*self.spans, (start, end))))

    def _forget(self, before: float, windows: Bounds) -> "Cover":
        old = [s for s in self.spans if s[1] < before]
        if not old:
            return self
        done = self.done_s or (0.0,) * len(windows)
        added = tuple(d + sum(_overlap(s, w) for s in old) for d, w in zip(done, windows, strict=True))
        return self._replace(spans=self.spans[len(old) :], done_s=added)

    def seconds(self, index: int, window: tuple[float, float]) -> float:
        """Covered seconds within the `index`-th window, whose bounds are given (Unix seconds)."""
        done = self.done_s[index] if self.done_s else 0.0
        return done + sum(_overlap(s, window) for s in self.spans)


def _overlap(a: tuple[float, float], b: tuple[float, float]) -> float:
    return max(0.0, min(a[1], b[1]) - max(a[0], b[0]))


def _merge(spans: Sequence[tuple[float, float]]) -> tuple[tuple[float, float], ...]:
    out: list[tuple[float, float]] = []
    for start, end in sorted(spans):
        if out and start <= out[-1][1] + TOUCH_S:
            out[-1] = (out[-1][0], max(out[-1][1], end))
        else:
            out.append((start, end))
    return tuple(out)
