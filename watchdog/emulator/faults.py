"""What can be wrong with a revision, and when: fault scripts over time.

A script is a list of faults. Each has a kind, a moment (`after_s` since the revision got its first traffic, or the
absolute `at`), a span (`for_s`), a share of the requests and the paths that it touches. Chance is seeded by the
request's id, so that a run repeats and a retried request meets the same fate.

| kind | what happens |
|---|---|
| `down` | connections are refused and open ones reset; with `paths` or a `share` below 1 single requests are reset |
| `reset` | the connection is reset after the request was read |
| `status` | answered with `status` (503) |
| `flaky` | a mixture of 500, 503 and resets |
| `grpc` | gRPC calls are answered 200 with the status `grpc_status` (13, INTERNAL); other requests don't meet it |
| `wrong_body` | answered 200 with `body` |
| `slow` | `delay_ms` are added |
| `leak` | `delay_ms` are added, and `delay_ms_per_min` more with every minute |
| `hang` | accepted and never answered |
| `startup` | the first request after `idle_s` without any waits up to `delay_ms` for a container to start |
| `ceiling` | every instance that may run is busy: more than `per_s` requests a second are answered 429 by the front |
| `log` | `message` is logged with `severity`, and the request is answered as if nothing were |
| `never_ready` | the revision never becomes Ready |
"""

import hashlib
from dataclasses import dataclass, replace
from math import inf
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from watchdog.emulator.app_log import Severity

PROBE_PATHS = ("/health", "/api/v1/health/ready", "/api/v1/health/live", "/version")
"""Paths that `users_only` spares."""

Kind = Literal[
    "down",
    "reset",
    "status",
    "flaky",
    "grpc",
    "wrong_body",
    "slow",
    "leak",
    "hang",
    "startup",
    "ceiling",
    "log",
    "never_ready",
]


class Fault(BaseModel):
    """One line of a fault script, as the control API and scenario files write it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Kind
    after_s: Annotated[float, Field(ge=0)] = 0.0
    """Seconds after the revision first took traffic; 0 is true before that, too."""
    at: float | None = None
    """Absolute start in Unix seconds; replaces `after_s`."""
    for_s: Annotated[float, Field(gt=0)] | None = None
    """How long it lasts; None for good."""
    share: Annotated[float, Field(gt=0, le=1)] = 1.0
    """The share of the touched requests that meet it."""
    paths: tuple[str, ...] = ()
    """Path prefixes; empty means all."""
    methods: tuple[str, ...] = ()
    """HTTP methods; empty means all. A fault of `POST` alone breaks a workflow while all that is read is fine."""
    agents: tuple[str, ...] = ()
    """Words of the user agent, one of which is enough; empty means all. A fault that one client brings with it."""
    users_only: bool = False
    """Spare the probe paths, so that probes stay green."""
    status: Annotated[int, Field(ge=200, le=599)] = 503
    grpc_status: Annotated[int, Field(ge=0, le=16)] = 13
    delay_ms: Annotated[float, Field(ge=0)] = 0.0
    delay_ms_per_min: Annotated[float, Field(ge=0)] = 0.0
    body: str | dict[str, object] | None = None
    """For `wrong_body`: text, or JSON; by default `{"status": "degraded"}`."""
    idle_s: Annotated[float, Field(ge=0)] = 900.0
    """For `startup`: after this long without a request the next one starts a container again."""
    message: str = "the log fault has no message"
    """For `log`; `{id}` is the request's id."""
    severity: Severity = "ERROR"
    """For `log`."""
    per_s: Annotated[float, Field(ge=0)] = 0.0
    """For `ceiling`: so many requests a second are taken."""

    def touches(self, path: str, method: str = "GET", agent: str = "", *, grpc: bool = False) -> bool:
        """Whether a request of this method and client for `path` can meet this fault."""
        if (self.methods and method not in self.methods) or (self.kind == "grpc" and not grpc):
            return False
        if self.agents and not any(word in agent for word in self.agents):
            return False
        if self.users_only and path.startswith(PROBE_PATHS):
            return False
        return not self.paths or path.startswith(self.paths)

    @property
    def takes_port_down(self) -> bool:
        """Whether the whole revision refuses connections, instead of single requests failing."""
        whole = not self.paths and not self.methods and not self.agents and not self.users_only
        return self.kind == "down" and self.share == 1.0 and whole


@dataclass(frozen=True, slots=True, kw_only=True)
class Effect:
    """What becomes of one request: a delay, then an ordinary answer or something else."""

    delay_s: float = 0.0
    action: Literal["answer", "status", "grpc", "body", "reset", "hang"] = "answer"
    status: int = 200
    body: str | dict[str, object] | None = None
    says: tuple[tuple[Severity, str], ...] = ()
    """What is logged beside."""


class FaultScript:
    """The faults of one revision on its own clock.

    `first_traffic_at` (Unix seconds) is set when the revision first takes a share of traffic; until then only faults
    without `after_s` apply.
    """

    def __init__(self, faults: tuple[Fault, ...] = (), *, seed: int = 0) -> None:
        self.faults = faults
        self.first_traffic_at: float | None = None
        self._seed = seed

    @property
    def never_ready(self) -> bool:
        """Whether the container fails its start-up check."""
        return any(fault.kind == "never_ready" for fault in self.faults)

    @property
    def startup(self) -> Fault | None:
        """The cold start, when there is one."""
        return next((fault for fault in self.faults if fault.kind == "startup"), None)

    def ceiling(self, at: float) -> float | None:
        """How many requests a second the instances take at the Unix second `at`; None for any number."""
        found = [f.per_s for f in self.faults if f.kind == "ceiling" and self._is_active(f, at)]
        return min(found, default=None)

    def is_down(self, at: float) -> bool:
        """Whether the revision refuses connections at the Unix second `at`."""
        return any(fault.takes_port_down and self._is_active(fault, at) for fault in self.faults)

    def next_change(self, at: float) -> float | None:
        """The next Unix second after `at` at which `is_down` may change, None when it never will by itself."""
        edges = (edge for fault in self.faults if fault.takes_port_down for edge in self._span(fault) if edge > at)
        nearest = min(edges, default=inf)
        return None if nearest == inf else nearest

    def effect(
        self, path: str, request_id: str, at: float, *, method: str = "GET", agent: str = "", grpc: bool = False
    ) -> Effect:
        """What becomes of the request `request_id` for `path`: delays add up, the first fault that ends it wins."""
        delay_s = 0.0
        says: tuple[tuple[Severity, str], ...] = ()
        for index, fault in enumerate(self.faults):
            if not fault.touches(path, method, agent, grpc=grpc) or not self._is_active(fault, at):
                continue
            if fault.share < 1.0 and self._draw(index, request_id) >= fault.share:
                continue
            delay_s += self._delay_s(fault, at)
            if fault.kind == "log":
                says = (*says, (fault.severity, fault.message.replace("{id}", request_id)))
            ending = self._ending(fault, index, request_id)
            if ending is not None:
                return replace(ending, delay_s=delay_s, says=says)
        return Effect(delay_s=delay_s, says=says)

    def _span(self, fault: Fault) -> tuple[float, float]:
        if fault.at is not None:
            start = fault.at
        elif self.first_traffic_at is not None:
            start = self.first_traffic_at + fault.after_s
        else:
            start = inf if fault.after_s > 0 else -inf
        return start, inf if fault.for_s is None or start == -inf else start + fault.for_s

    def _is_active(self, fault: Fault, at: float) -> bool:
        start, end = self._span(fault)
        return start <= at < end

    def _delay_s(self, fault: Fault, at: float) -> float:
        if fault.kind == "slow":
            return fault.delay_ms / 1000.0
        if fault.kind == "leak":
            start, _ = self._span(fault)
            minutes = 0.0 if start == -inf else (at - start) / 60.0
            return (fault.delay_ms + fault.delay_ms_per_min * minutes) / 1000.0
        return 0.0

    def _ending(self, fault: Fault, index: int, request_id: str) -> Effect | None:
        if fault.kind == "status":
            return Effect(action="status", status=fault.status)
        if fault.kind == "grpc":
            return Effect(action="grpc", status=fault.grpc_status)
        if fault.kind == "wrong_body":
            return Effect(action="body", body={"status": "degraded"} if fault.body is None else fault.body)
        if fault.kind == "hang":
            return Effect(action="hang")
        if fault.kind in {"down", "reset"}:
            return Effect(action="reset")
        if fault.kind == "flaky":
            kinds = (Effect(action="status", status=500), Effect(action="status", status=503), Effect(action="reset"))
            return kinds[int(self._draw(index + 1000, request_id) * len(kinds))]
        return None

    def _draw(self, index: int, request_id: str) -> float:
        """A uniform number in [0, 1) that depends on seed, fault and request alone."""
        digest = hashlib.blake2b(f"{self._seed}/{index}/{request_id}".encode(), digest_size=8).digest()
        return int.from_bytes(digest) / 2**64
