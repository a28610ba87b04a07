"""What the request log said, revision by revision in buckets of 5 s, and how far its silence can be believed.

Pure: no I/O and no clock. A bucket is evidence only when the stream stood, without a suppressed entry, from its
beginning until its lag was over. An empty one means "no requests", unless our own probes contradict it: a probe that
the revision answered is a request too, so when its entry is not there the stream delivers nothing, whatever it says.
"""

import math
from array import array
from bisect import bisect_left
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from watchdog.core.model import Missing, ServiceKey

PERIOD_S: Final = 5.0
LAG_S: Final = 10.0
"""After the end of a bucket. Entries come some 3 s after their request has ended: Logging's own path, and the second
that the session buffers. One that comes later still changes its bucket."""
KEEP_S: Final = 420.0
"""How long buckets are kept: a little longer than the engine asks back."""
MATCH_S: Final = 5.0
"""How far our own clock may place a probe's end from where the log places it."""
LOOK_BACK: Final = 24
"""Buckets before the first one asked for, from which silence is judged: two intervals of the slowest probes."""
MOST_OWN: Final = 2000

STREAM_DOWN: Final = Missing("stream_down")
SUPPRESSED: Final = Missing("suppressed")
SILENT: Final = Missing("silent_stream")


@dataclass(frozen=True, slots=True)
class Entry:
    """One request. `ended_at` is Unix seconds by Google's clock; `own` says it was a probe of ours."""

    service: ServiceKey
    revision: str
    ended_at: float
    status: int
    latency_s: float | None
    own: bool


@dataclass(slots=True)
class Bucket:
    """Users' requests of one revision that ended in 5 s. `weight` is how many there were before sampling."""

    total: int = 0
    bad: int = 0
    weight: float = 0.0
    latencies: "array[float]" = field(default_factory=lambda: array("d"))
    _slower: dict[float, int] = field(default_factory=dict)

    def add(self, entry: Entry, weight: float) -> None:
        """Count one request."""
        self.total += 1
        self.bad += entry.status >= 500
        self.weight += weight
        if entry.latency_s is not None:
            self.latencies.append(entry.latency_s)
            self._slower.clear()

    def slower(self, limit_s: float) -> int:
        """How many took longer than `limit_s`."""
        if limit_s not in self._slower:
            self._slower[limit_s] = sum(latency > limit_s for latency in self.latencies)
        return self._slower[limit_s]


NOTHING: Final = Bucket()


class Spans:
    """Intervals of time, oldest first; one may still be open. Bounds are Unix seconds."""

    def __init__(self) -> None:
        self._closed: deque[tuple[float, float]] = deque()
        self._since: float | None = None

    def begin(self, at: float) -> None:
        """Open an interval; without effect while one is open."""
        if self._since is None:
            self._since = at

    def end(self, at: float) -> None:
        """Close the open interval, if there is one."""
        if self._since is not None:
            self.add(self._since, at)
            self._since = None

    def add(self, start: float, end: float) -> None:
        """Add a closed interval."""
        if self._closed and start <= self._closed[-1][1]:
            earlier = self._closed.pop()
            start, end = min(start, earlier[0]), max(end, earlier[1])
        self._closed.append((start, end))

    def covers(self, start: float, end: float) -> bool:
        """Whether one interval holds all of `[start, end]`, which lies in the past."""
        if self._since is not None and self._since <= start:
            return True
        return any(begun <= start and end <= ended for begun, ended in self._closed)

    def touches(self, start: float, end: float) -> bool:
        """Whether some interval holds a moment of `(start, end)`."""
        if self._since is not None and self._since < end:
            return True
        return any(begun < end and start < ended for begun, ended in self._closed)

    def forget(self, before: float) -> None:
        """Drop what ended before."""
        while self._closed and self._closed[0][1] < before:
            self._closed.popleft()


class ServiceLog:
    """The requests of one service that the stream delivered lately."""

    def __init__(self) -> None:
        self.up = Spans()
        """When a session stood that delivers this service's entries."""
        self.suppressed = Spans()
        """When the API left entries out."""
        self._buckets: dict[str, dict[int, Bucket]] = {}
        self._own: dict[str, deque[float]] = {}

    def add(self, entry: Entry, weight: float) -> None:
        """Count an entry that stands for `weight` requests; our own probes show only that the stream is alive."""
        if entry.own:
            self._own.setdefault(entry.revision, deque(maxlen=MOST_OWN)).append(entry.ended_at)
            return
        buckets = self._buckets.setdefault(entry.revision, {})
        index = math.floor(entry.ended_at / PERIOD_S)
        bucket = buckets.get(index)
        if bucket is None:
            bucket = buckets[index] = Bucket()
        bucket.add(entry, weight)

    def read(self, revision: str, first: int, last: int, answered_at: Sequence[float]) -> list[Bucket | Missing]:
        """The buckets `[first, last)`, numbered from the Unix epoch, all past their lag.

        `answered_at`: when probes of ours were answered by this revision (Unix seconds, ascending).
        """
        buckets = self._buckets.get(revision, {})
        own = sorted(self._own.get(revision, ()))
        found: list[Bucket | Missing] = []
        silent = False
        for index in range(first - LOOK_BACK, last):
            start, bucket = index * PERIOD_S, buckets.get(index)
            until = start + PERIOD_S + LAG_S
            if not self.up.covers(start, until):
                silent = False
                read: Bucket | Missing = STREAM_DOWN
            elif self.suppressed.touches(start, until):
                silent = False
                read = SUPPRESSED
            elif bucket is not None:
                silent = False
                read = bucket
            else:
                silent = _is_silent(start, answered_at, own, before=silent)
                read = SILENT if silent else NOTHING
            if index >= first:
                found.append(read)
        return found

    def forget(self, before: float) -> None:
        """Drop what is older than `before` (Unix seconds)."""
        oldest = math.floor(before / PERIOD_S)
        for revision, buckets in list(self._buckets.items()):
            for index in [i for i in buckets if i < oldest]:
                del buckets[index]
            if not buckets:
                del self._buckets[revision]
        for revision, own in list(self._own.items()):
            while own and own[0] < before:
                own.popleft()
            if not own:
                del self._own[revision]
        self.up.forget(before)
        self.suppressed.forget(before)


def _is_silent(start: float, answered_at: Sequence[float], own: Sequence[float], *, before: bool) -> bool:
    """Whether an empty bucket contradicts our probes; one that knows of none is as the one `before`."""
    answered = answered_at[bisect_left(answered_at, start) : bisect_left(answered_at, start + PERIOD_S)]
    if answered:
        return not all(_any_within(own, at - MATCH_S, at + MATCH_S) for at in answered)
    return before and not _any_within(own, start, start + PERIOD_S)


def _any_within(own: Sequence[float], start: float, end: float) -> bool:
    """Whether the log has a probe of ours that ended in `[start, end]`."""
    index = bisect_left(own, start)
    return index < len(own) and own[index] <= end
