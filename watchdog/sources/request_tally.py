"""What the request log said, revision by revision in buckets of 5 s, and how far it can be believed.

Pure: no I/O and no clock. A bucket is evidence only when the stream stood, without a suppressed entry, from its
beginning until its lag was over, and when our own probes don't contradict it: one that the revision answered is a
request too. When nothing at all came where a probe was answered, the stream is silent, whatever it says. When requests
came but too few of our probes, the log is incomplete: exclusion filters that drop successes are a common way to save
money, and would make every error look many times as frequent as it is.
"""

import math
from array import array
from bisect import bisect_left
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from watchdog.core.model import Missing, ServiceKey
from watchdog.core.origins import Origin
from watchdog.sources.grpc_calls import is_bad
from watchdog.sources.request_origins import NOBODY, Caller, Origins

PERIOD_S: Final = 5.0
LAG_S: Final = 10.0
"""After the end of a bucket. Entries come some 3 s after their request has ended: Logging's own path, and the second
that the session buffers. One that comes later still changes its bucket."""
KEEP_S: Final = 660.0
"""How long buckets are kept: what the engine asks back, and what is looked back at from there."""
MATCH_S: Final = 5.0
"""How far our own clock may place a probe's end from where the log places it."""
LOOK_BACK: Final = 60
"""Buckets (5 min) in which our probes are counted: five of the slowest ones."""
ARRIVES: Final = 0.8
"""The share of our probes that a complete log has; a single one may be on its way."""
MOST_OWN: Final = 2000

STREAM_DOWN: Final = Missing("stream_down")
SUPPRESSED: Final = Missing("suppressed")
SILENT: Final = Missing("silent_stream")
INCOMPLETE: Final = Missing("incomplete_log")
FORGOTTEN: Final = Missing("forgotten")


@dataclass(frozen=True, slots=True)
class Entry:
    """One request. `ended_at` is Unix seconds by Google's clock; `own` says it was a probe of ours."""

    service: ServiceKey
    revision: str
    ended_at: float
    status: int
    latency_s: float | None
    own: bool
    refused: bool = False
    """No instance took it: the front end answered by itself."""
    caller: Caller = NOBODY
    call: str = ""
    """The gRPC code of a call that the application logged: that line is no request."""


@dataclass(slots=True)
class Bucket:
    """Users' requests of one revision that ended in 5 s. `weight` is how many there were before sampling.

    Those that no instance took are counted apart: as in Cloud Monitoring, they say nothing of what was served.
    """

    total: int = 0
    bad: int = 0
    weight: float = 0.0
    latencies: "array[float]" = field(default_factory=lambda: array("d"))
    kinds: dict[int, int] = field(default_factory=dict)
    """Server errors by status."""
    refused: int = 0
    """Answered by the front end, since no instance took them."""
    calls: int = 0
    """gRPC calls that the application logged."""
    failed_calls: dict[str, int] = field(default_factory=dict)
    """Those that the server failed, by code."""
    client_errors: int = 0
    """Answered 4xx."""
    _failing: Origins | None = None
    _client: Origins | None = None
    """Who was behind them, from the first one on."""
    _slower: dict[float, int] = field(default_factory=dict)

    def add(self, entry: Entry, weight: float) -> None:
        """Count one request, or one call that was logged."""
        if entry.call:
            self.calls += 1
            if is_bad(entry.call):
                self.failed_calls[entry.call] = self.failed_calls.get(entry.call, 0) + 1
            return
        if entry.refused:
            self.refused += 1
            return
        self.total += 1
        if entry.status >= 500:
            self.bad += 1
            self.kinds[entry.status] = self.kinds.get(entry.status, 0) + 1
            self._failing = _blamed(self._failing, entry.caller)
        elif self._failing is not None:
            self._failing.good(entry.caller)
        if 400 <= entry.status < 500:
            self.client_errors += 1
            self._client = _blamed(self._client, entry.caller)
        elif self._client is not None:
            self._client.good(entry.caller)
        self.weight += weight
        if entry.latency_s is not None:
            self.latencies.append(entry.latency_s)
            self._slower.clear()

    def slower(self, limit_s: float) -> int:
        """How many took longer than `limit_s`."""
        if limit_s not in self._slower:
            self._slower[limit_s] = sum(latency > limit_s for latency in self.latencies)
        return self._slower[limit_s]

    @property
    def failing(self) -> tuple[Origin, ...]:
        """Who was behind the server errors."""
        return self._failing.rows(self.bad) if self._failing is not None else ()

    @property
    def failing_clients(self) -> tuple[Origin, ...]:
        """Who was behind the requests that were answered 4xx."""
        return self._client.rows(self.client_errors) if self._client is not None else ()


def _blamed(origins: Origins | None, caller: Caller) -> Origins:
    found = origins if origins is not None else Origins()
    found.bad(caller)
    return found


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
        self._alive: set[int] = set()
        """Buckets in which anything of the service came."""
        self._own: deque[float] = deque(maxlen=MOST_OWN)
        """When probes of ours ended that got no server error, of whichever revision: right after a cutover, the one
        before still answers some."""
        self._oldest = 0

    def add(self, entry: Entry, weight: float) -> None:
        """Count an entry that stands for `weight` requests; our own probes only show what the log is worth."""
        index = math.floor(entry.ended_at / PERIOD_S)
        self._alive.add(index)
        if entry.own:
            if entry.status < 500:
                self._own.append(entry.ended_at)
            return
        buckets = self._buckets.setdefault(entry.revision, {})
        bucket = buckets.get(index)
        if bucket is None:
            bucket = buckets[index] = Bucket()
        bucket.add(entry, weight)

    def logs_calls(self, revision: str) -> bool:
        """Whether the application of the revision logged a gRPC call lately."""
        return any(bucket.calls for bucket in self._buckets.get(revision, {}).values())

    def read(self, revision: str, first: int, last: int, answered_at: Sequence[float]) -> list[Bucket | Missing]:
        """The buckets `[first, last)`, numbered from the Unix epoch, all past their lag.

        `answered_at`: when probes of ours were answered by this revision without a server error (Unix seconds,
        ascending).
        """
        buckets = self._buckets.get(revision, {})
        own = sorted(self._own)
        found: list[Bucket | Missing] = [FORGOTTEN] * (min(last, self._oldest) - first)
        silent, probes = False, _Probes()
        for index in range(max(first - LOOK_BACK, self._oldest), last):
            start = index * PERIOD_S
            until = start + PERIOD_S + LAG_S
            read: Bucket | Missing
            if not self.up.covers(start, until):
                silent, read = False, STREAM_DOWN
            elif self.suppressed.touches(start, until):
                silent, read = False, SUPPRESSED
            else:
                if index in self._alive:
                    silent = False
                    probes.add(index, _within(answered_at, start), _within(own, start))
                else:
                    silent = _is_silent(start, answered_at, own, before=silent)
                read = SILENT if silent else INCOMPLETE if probes.lost(index) else buckets.get(index, NOTHING)
            if index >= first:
                found.append(read)
        return found

    def forget(self, before: float) -> None:
        """Drop what is older than `before` (Unix seconds)."""
        oldest = self._oldest = math.ceil(before / PERIOD_S)
        for revision, buckets in list(self._buckets.items()):
            for index in [i for i in buckets if i < oldest]:
                del buckets[index]
            if not buckets:
                del self._buckets[revision]
        self._alive = {index for index in self._alive if index >= oldest}
        while self._own and self._own[0] < before:
            self._own.popleft()
        self.up.forget(before)
        self.suppressed.forget(before)


class _Probes:
    """Our probes of the last buckets in which anything came: how many were answered, and how many the log has."""

    def __init__(self) -> None:
        self._counts: deque[tuple[int, int, int]] = deque()
        self._answered = 0
        self._arrived = 0

    def add(self, index: int, answered: int, arrived: int) -> None:
        """Those of one more bucket."""
        self._counts.append((index, answered, arrived))
        self._answered += answered
        self._arrived += arrived

    def lost(self, index: int) -> bool:
        """Whether too few came, as of the bucket `index`."""
        while self._counts and self._counts[0][0] <= index - LOOK_BACK:
            _, answered, arrived = self._counts.popleft()
            self._answered -= answered
            self._arrived -= arrived
        return self._answered - self._arrived > 1 and self._arrived < ARRIVES * self._answered


def _within(moments: Sequence[float], start: float) -> int:
    """How many lie in the bucket that begins at `start`."""
    return bisect_left(moments, start + PERIOD_S) - bisect_left(moments, start)


def _is_silent(start: float, answered_at: Sequence[float], own: Sequence[float], *, before: bool) -> bool:
    """Whether a bucket in which nothing came contradicts our probes; one that knows of none is as the one `before`."""
    answered = answered_at[bisect_left(answered_at, start) : bisect_left(answered_at, start + PERIOD_S)]
    return not all(_any_within(own, at - MATCH_S, at + MATCH_S) for at in answered) if answered else before


def _any_within(own: Sequence[float], start: float, end: float) -> bool:
    """Whether the log has a probe of ours that ended in `[start, end]`."""
    index = bisect_left(own, start)
    return index < len(own) and own[index] <= end
