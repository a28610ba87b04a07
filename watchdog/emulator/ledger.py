"""Every request that a container answered: what Cloud Monitoring and the request log of the emulator are made from.

The front writes a line when a request *ends*, as Cloud Run counts, and only when it reached a container: a refused
connection or a front that has no route leaves no line. One that was turned away because every instance was busy is told
to the request log alone, as Cloud Run does. Monitoring, the request log and the
control API read from here; none of them sees the data plane itself.
"""

import math
from bisect import bisect_left
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from operator import attrgetter

from watchdog.emulator import clock

KEEP_S = 26 * 3600.0
"""A watch lasts 24 h and Monitoring is asked for a little more than that."""

KEEP_REQUESTS = 300_000
"""A second bound, on memory: about 100 MB, or 100 minutes at 50 requests/s. The totals outlive both."""

NO_MAXIMUM = 1_000_000
TARGET_CPU = 0.6
"""Cloud Run adds instances to keep their CPU at about this (its documentation on autoscaling)."""

SCALE_TO_ZERO_S = 900.0
"""Cloud Run keeps an idle instance for up to 15 minutes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """One request as Cloud Run's request log would tell it, stamped when its last byte was sent."""

    revision: str
    service: str
    project: str
    region: str
    ended_at: float
    """Unix seconds."""
    latency_s: float
    """From the first byte that reached the container to the last that left it; without container start."""
    status: int
    user_agent: str
    method: str
    url: str
    """Absolute, as the client asked for it."""
    size_bytes: int
    """Body bytes of the answer."""
    remote_ip: str
    grpc_status: int | None = None
    """The gRPC status of a call, which Cloud Run does not log; None of any other request."""
    insert_id: str
    """Unique; the same request carries the same id in every reader."""
    turned_away: bool = False
    """No instance was free for it: the front answered by itself."""


@dataclass(frozen=True, slots=True, kw_only=True)
class InstanceUsage:
    """The scripted use of one revision's instances: a level, and how fast it grows.

    `cpu` and `memory` are shares of the limit, 0 to 1; growth is in shares a minute since `since` (Unix seconds).
    """

    cpu: float = 0.2
    memory: float = 0.35
    instances: int = 1
    cpu_per_min: float = 0.0
    memory_per_min: float = 0.0
    demand: float = 0.0
    """Above 0, instances come and go by themselves: the CPU that is asked for in all, in instances' worth. There are as
    many as keep their CPU at `TARGET_CPU`, within the maximum; what they cannot give shows as CPU of at most 1."""
    since: float = 0.0

    def at(self, at: float, most: int = NO_MAXIMUM) -> tuple[float, float, int]:
        """(cpu 0..1, memory 0..1, instances) at the Unix second `at`, where `most` instances may be."""
        minutes = max(0.0, at - self.since) / 60.0
        cpu = self.cpu + self.cpu_per_min * minutes
        memory = self.memory + self.memory_per_min * minutes
        instances = self.instances
        if self.demand > 0.0:
            instances = max(1, min(most, math.ceil(self.demand / TARGET_CPU)))
            cpu = self.demand / instances
        return min(max(cpu, 0.0), 1.0), min(max(memory, 0.0), 1.0), min(instances, most)


@dataclass(slots=True, kw_only=True)
class Totals:
    """Everything one revision ever answered, kept when the lines themselves are dropped."""

    requests: int = 0
    first_ended_at: float = 0.0
    last_ended_at: float = 0.0
    by_status: Counter[int] = field(default_factory=Counter)


class Ledger:
    """Append-only list of ended requests with bounded memory, and the scripted usage of each revision."""

    def __init__(self, *, keep_s: float = KEEP_S, keep_requests: int = KEEP_REQUESTS) -> None:
        self._keep_s = keep_s
        self._keep_requests = keep_requests
        self._requests: list[Request] = []
        self._dropped = 0
        self._totals: dict[str, Totals] = {}
        self._usage: dict[str, list[InstanceUsage]] = {}
        self._maxima: dict[str, list[tuple[float, int]]] = {}
        self._subscribers: list[Callable[[Request], None]] = []

    def record(self, request: Request) -> None:
        """Append one ended request and tell every subscriber, in the order of subscription."""
        if not request.turned_away:
            self._keep(request)
        for callback in tuple(self._subscribers):
            callback(request)

    def _keep(self, request: Request) -> None:
        self._requests.append(request)
        totals = self._totals.get(request.revision)
        if totals is None:
            totals = self._totals[request.revision] = Totals(first_ended_at=request.ended_at)
        totals.requests += 1
        totals.by_status[request.status] += 1
        totals.last_ended_at = max(totals.last_ended_at, request.ended_at)
        self._trim()

    def since(self, index: int) -> tuple[list[Request], int]:
        """Requests from `index` on (0 is the first ever) that are still kept, and the next index to ask for."""
        start = max(0, index - self._dropped)
        return self._requests[start:], self._dropped + len(self._requests)

    def between(self, start: float, end: float) -> list[Request]:
        """Kept requests that ended in `[start, end)`, Unix seconds."""
        key = attrgetter("ended_at")
        return self._requests[bisect_left(self._requests, start, key=key) : bisect_left(self._requests, end, key=key)]

    def subscribe(self, callback: Callable[[Request], None]) -> Callable[[], None]:
        """Call `callback` with every request from now on; `queue.put_nowait` is one. Returns the unsubscriber.

        The callback runs inside `record`: it must not block and must not raise.
        """
        self._subscribers.append(callback)

        def unsubscribe() -> None:
            if callback in self._subscribers:
                self._subscribers.remove(callback)

        return unsubscribe

    def totals(self) -> dict[str, Totals]:
        """Revision → totals since the start or the last `clear`."""
        return dict(self._totals)

    def set_usage(self, revision: str, usage: InstanceUsage) -> None:
        """From `usage.since` on, `revision` uses this much; earlier moments keep what they had."""
        steps = self._usage.setdefault(revision, [])
        steps.append(usage)
        steps.sort(key=attrgetter("since"))

    def set_maximum(self, revision: str, most: int, *, at: float) -> None:
        """From the Unix second `at` on, `revision` has at most so many instances."""
        known = self._maxima.setdefault(revision, [])
        if not known or known[-1][1] != most:
            known.append((at, most))

    def usage(self, revision: str, at: float) -> tuple[float, float, int]:
        """(cpu 0..1, memory 0..1, instances) of `revision` at the Unix second `at`.

        (0, 0, 0) before its first request and once it has been idle for 15 minutes: scaled to zero.
        """
        totals = self._totals.get(revision)
        if totals is None or not totals.first_ended_at - 60.0 <= at <= totals.last_ended_at + SCALE_TO_ZERO_S:
            return 0.0, 0.0, 0
        current = InstanceUsage()
        for step in self._usage.get(revision, ()):
            if step.since <= at:
                current = step
        most = next((most for since, most in reversed(self._maxima.get(revision, [])) if since <= at), NO_MAXIMUM)
        return current.at(at, most)

    def clear(self) -> None:
        """Forget everything but the subscribers; indexes go on counting, so a reader's index stays valid."""
        self._dropped += len(self._requests)
        self._requests.clear()
        self._totals.clear()
        self._usage.clear()
        self._maxima.clear()

    def _trim(self) -> None:
        # Dropping an eighth at a time keeps the cost of `del` from the front of a list amortised.
        slack = max(64, self._keep_requests // 8)
        excess = len(self._requests) - self._keep_requests
        if excess >= slack:
            self._drop(excess)
        elif len(self._requests) > slack and self._requests[slack].ended_at < clock.now() - self._keep_s:
            self._drop(bisect_left(self._requests, clock.now() - self._keep_s, key=attrgetter("ended_at")))

    def _drop(self, count: int) -> None:
        del self._requests[:count]
        self._dropped += count
