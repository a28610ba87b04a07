"""The state of the emulated Cloud Run: services, revisions, conditions, and the history of their traffic.

Values only change here and in `writes` and `reconcile`; every reader renders them with `knative`. Dictionaries under
`template`, `traffic` and `status_traffic` are in the wire form of the Admin API v1 (Knative), since that is what
clients send and expect back unchanged.
"""

import asyncio
import random
import uuid
from collections import deque
from dataclasses import dataclass, field
from typing import Any, Literal

from watchdog.emulator import clock
from watchdog.emulator.faults import FaultScript

Json = dict[str, Any]

HISTORY = 10_000
"""Traffic changes and write-log lines that are kept."""


@dataclass(frozen=True, slots=True, order=True)
class ServiceKey:
    """What names a service."""

    project: str
    region: str
    name: str


@dataclass(slots=True, kw_only=True)
class Condition:
    """A Knative condition."""

    status: Literal["True", "False", "Unknown"]
    reason: str = ""
    message: str = ""
    changed_at: float = 0.0


@dataclass(slots=True, kw_only=True)
class Revision:
    """An immutable template, and a container that may or may not start."""

    name: str
    key: ServiceKey
    number: int
    """1 for the first revision of the service."""
    template: Json
    labels: dict[str, str]
    annotations: dict[str, str]
    created_at: float
    uid: str
    image_digest: str
    faults: FaultScript
    ready: Condition = field(default_factory=lambda: Condition(status="Unknown"))
    settled: asyncio.Event = field(default_factory=asyncio.Event)
    """Set once the container has started or has been given up."""

    @property
    def is_ready(self) -> bool:
        """Whether it can be given traffic."""
        return self.ready.status == "True"

    @property
    def version(self) -> str:
        """What the workload says at /version: the variable VERSION, else the image's tag."""
        container = self.template["spec"]["containers"][0]
        for variable in container.get("env", ()):
            if variable.get("name") == "VERSION":
                return str(variable.get("value", ""))
        image = str(container["image"])
        return image.rpartition(":")[2] if ":" in image.rpartition("/")[2] else "latest"

    @property
    def timeout_s(self) -> float:
        """Seconds after which the front gives a request up with 504."""
        return float(self.template["spec"].get("timeoutSeconds", 300))


@dataclass(slots=True, kw_only=True)
class Service:
    """What was asked for (`template`, `traffic`), and what has become of it (`status_…`, `conditions`)."""

    key: ServiceKey
    uid: str
    created_at: float
    creator: str
    url: str
    template: Json
    traffic: list[Json]
    labels: dict[str, str] = field(default_factory=dict)
    annotations: dict[str, str] = field(default_factory=dict)
    iam_policy: Json = field(default_factory=dict)
    generation: int = 1
    resource_version: str = ""
    operation_id: str = ""
    observed_generation: int = 0
    conditions: dict[str, Condition] = field(default_factory=dict)
    status_traffic: list[Json] = field(default_factory=list)
    latest_created: str = ""
    latest_ready: str = ""
    revisions_made: int = 0
    routed: asyncio.Event = field(default_factory=asyncio.Event)
    """Set whenever `observed_generation` has caught up."""

    def abandon(self) -> None:
        """The service is deleted: nothing is left to settle, and nobody need wait for it."""
        self.observed_generation = self.generation
        self.routed.set()

    def split(self) -> dict[str, int]:
        """Revision → percent that is served now, only above zero."""
        shares: dict[str, int] = {}
        for entry in self.status_traffic:
            if entry.get("percent"):
                shares[entry["revisionName"]] = shares.get(entry["revisionName"], 0) + int(entry["percent"])
        return shares

    def tags(self) -> dict[str, str]:
        """Tag → revision that it reaches now."""
        return {entry["tag"]: entry["revisionName"] for entry in self.status_traffic if entry.get("tag")}


@dataclass(frozen=True, slots=True, kw_only=True)
class TrafficChange:
    """A split from the moment at which the front used it."""

    at: float
    key: ServiceKey
    generation: int
    split: dict[str, int]
    tags: dict[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Write:
    """One line of the Admin API's write log; refused and failed writes are in it, too."""

    at: float
    method: str
    key: ServiceKey
    status: int
    """HTTP status of the answer; 0 when the connection was dropped on purpose."""
    user_agent: str
    resource_version: str
    """What the caller had read; empty when he sent none."""
    traffic: list[Json]
    annotations: dict[str, str]
    new_revision: str
    """Name of the revision that this write made; empty when it made none."""
    applied: bool
    """Whether the state changed; also true when the answer was lost afterwards."""
    account: str = ""
    """Whose token came with it; empty for the default account."""


class World:
    """All services and revisions, and what happened to them."""

    def __init__(self, *, seed: int = 0, default_region: str = "us-central1") -> None:
        self.default_region = default_region
        self.seed = seed
        self.random = random.Random(seed)
        self.services: dict[ServiceKey, Service] = {}
        self.revisions: dict[tuple[str, str, str], Revision] = {}
        self.operations: dict[str, tuple[ServiceKey, int]] = {}
        self.traffic_history: deque[TrafficChange] = deque(maxlen=HISTORY)
        self.write_log: deque[Write] = deque(maxlen=HISTORY)
        self.reads = 0
        """Admin API reads answered since the start or the last reset."""
        self._last_version = 0

    def revision(self, key: ServiceKey, name: str) -> Revision | None:
        """The revision `name`, if it exists and belongs to the service."""
        found = self.revisions.get((key.project, key.region, name))
        return found if found is not None and found.key == key else None

    def revisions_of(self, key: ServiceKey) -> list[Revision]:
        """Every revision of the service, newest first."""
        own = [revision for revision in self.revisions.values() if revision.key == key]
        return sorted(own, key=lambda revision: revision.number, reverse=True)

    def find_services(self, *, name: str, project: str | None = None, region: str | None = None) -> list[Service]:
        """Services of that name, in one project or region or in any."""
        return [
            service
            for key, service in sorted(self.services.items())
            if key.name == name and project in {None, key.project} and region in {None, key.region}
        ]

    def touch(self, service: Service) -> None:
        """Give the service a new resourceVersion: opaque to clients, and never used before."""
        self._last_version = max(self._last_version + 1, int(clock.now() * 1e6))
        service.resource_version = _opaque(self._last_version)

    def start_operation(self, service: Service) -> None:
        """Note a long-running operation that is done when the present generation is routed."""
        service.operation_id = str(uuid.UUID(int=self.random.getrandbits(128), version=4))
        self.operations[service.operation_id] = (service.key, service.generation)

    def clear(self) -> None:
        """Forget everything; resource versions go on growing."""
        for service in self.services.values():
            service.abandon()
        self.services.clear()
        self.revisions.clear()
        self.operations.clear()
        self.traffic_history.clear()
        self.write_log.clear()
        self.reads = 0
        self.random.seed(self.seed)


def _opaque(number: int) -> str:
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    digits = [alphabet[number >> shift & 63] for shift in range(60, -1, -6)]
    return "".join(digits)
