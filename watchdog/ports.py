"""The ports: what the engine needs from the outside world. These docstrings are the contracts that adapters keep.

Adapters raise only `errors.TemporaryError` and `errors.PermanentError` (and their children); `CancelledError` passes.
"""

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from watchdog.core.beyond import ScaleMark
from watchdog.core.journey import Journey
from watchdog.core.model import RevisionState, Sample, ServiceKey, ServiceState, Split, TrialMark
from watchdog.core.policy import Policy, ProbeConfig
from watchdog.core.probing import ProbeAnswer

# --- time ----------------------------------------------------------------------------------------------------------


class Clock(Protocol):
    """The only way to learn the time or to wait. Tests give one that jumps."""

    def now(self) -> float:
        """Unix seconds, UTC."""
        ...

    def monotonic(self) -> float:
        """Seconds that never go back; only differences mean anything."""
        ...

    async def sleep(self, delay_s: float) -> None:
        """Wait at least `delay_s` seconds (0 or less: yield once)."""
        ...


# --- sources ------------------------------------------------------------------------------------------------------


class Prober(Protocol):
    """Sends one HTTP probe. Never raises for what the service does: that is the answer."""

    async def probe(self, probe: ProbeConfig, base_url: str, *, fresh: bool) -> ProbeAnswer:
        """Ask `probe.url`, or `probe.path` below `base_url`.

        `fresh` opens a new connection (DNS, TCP, TLS) for this one request; otherwise a kept-alive one may serve.
        Ends within `probe.timeout_s`, also when the peer drips bytes. `base_url` overrides the host of `probe.url`
        never: a probe with its own `url` is asked only there.
        """
        ...

    async def reachable(self, url: str, *, timeout_s: float = 1.0) -> bool:
        """Whether a TCP connection to the URL's host and port opens: is our own network alive?"""
        ...


class Journeys(Protocol):
    """Runs journeys. Never raises for what the service does: that is the answer."""

    def missing_secrets(self, journey: Journey) -> Sequence[str]:
        """Names of the secrets that it needs and nobody has set: it cannot be run here."""
        ...

    async def run(self, journey: Journey, base_url: str, *, auth: str = "none", audience: str = "") -> ProbeAnswer:
        """Every step in order below `base_url`, until one does not pass, then the cleanup steps.

        Ends within `journey.timeout_s` and half a minute of cleanup. Called off (cancelled), it cleans up all the same,
        on its own time. `auth` is `none` or `id_token`, whose audience is the service's own URL unless given. The
        answer's `steps` tell of each one; no text of it holds a secret.
        """
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Feed:
    """One stream of evidence for one check, as its source announced it.

    `lag_s`: nothing newer than `now - lag_s` is complete. `period_s`: width of its samples.
    """

    source: str
    check: str
    period_s: float
    lag_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class About:
    """What a source that looks for itself has to know of the watch at this moment."""

    base_url: str = ""
    """Where this revision can be asked now: the public URL while it has all traffic, else its own; empty: nowhere."""
    public_url: str = ""
    """Where users reach the service."""
    version: str = ""
    """The version that should answer; empty: nobody said."""
    heartbeats: Mapping[str, float] = field(default_factory=dict)
    """Job → when it pinged last (Unix seconds)."""
    since: float = 0.0
    """The cutover (Unix seconds)."""
    revision: str = ""
    """The watched revision, also while another one serves in its place; empty: there is no watch."""
    trouble_at: float | None = None
    """When the watch's trouble began that somebody has to find the cause of; None while there is none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MetricQuery:
    """What to read: all checks of one service and revision over `[start, end)` (Unix seconds).

    `latency_limits_s` are the limits that latency rows name: the source answers each as the check
    `slower_than_<limit in ms>ms` with `Counts(slower, total)`, and shows percentiles as `Value` seconds under
    `p50_latency`, `p95_latency`, `p99_latency`.
    """

    service: ServiceKey
    revision: str
    start: float
    end: float
    latency_limits_s: tuple[float, ...] = ()
    metrics: tuple[str, ...] = ()
    """Metric names of the policy that this source feeds; empty means all it has."""
    answered_at: tuple[float, ...] = ()
    """When this revision answered probes of ours without a server error (Unix seconds, ascending): requests that a
    source which sees every request must have seen."""
    policy: Policy | None = None
    """The policy that the watch was opened with: what its metrics ask, and which rows read them."""
    about: About = field(default_factory=About)
    past: bool = False
    """It asks what was before the deploy: a source that only knows what is now has nothing to say."""
    extra: tuple[str, ...] = ()
    """Metrics to read beside what rows read, which a source otherwise leaves out because they cost."""
    control: bool = False
    """It is about the revision that the watched one is compared with: what belongs to no revision was asked already."""


class Source(Protocol):
    """Reads evidence. It may not judge, store or change anything."""

    @property
    def name(self) -> str:
        """The label of its samples and metrics: `cloud_run`, `request_log`, `prometheus`."""
        ...

    async def feeds(self, service: ServiceKey, policy: Policy) -> Sequence[Feed]:
        """What it can feed for this policy, with lag and period read from where the data live."""
        ...

    async def sample(self, query: MetricQuery, *, now: float) -> Sequence[Sample]:
        """Every sample whose interval lies in `[query.start, query.end)`, aligned to whole periods.

        A period without a series, NaN or a stale series comes back as `Missing(reason)`, never as zero and never left
        out. Asking again for the same interval gives samples of the same identity, so overlaps do no harm.
        """
        ...


# --- actions ------------------------------------------------------------------------------------------------------


class TrafficControl(Protocol):
    """Reads and moves Cloud Run traffic. It may not decide anything."""

    async def read(self, service: ServiceKey) -> ServiceState:
        """The service now. Raises `PermanentError(status=404)` when there is none."""
        ...

    async def list_services(self, project: str, region: str) -> Sequence[ServiceState]:
        """All services of a project and region in one read."""
        ...

    async def revisions(self, service: ServiceKey) -> Sequence[RevisionState]:
        """All revisions, newest first."""
        ...

    async def move(
        self,
        service: ServiceKey,
        split: Split,
        *,
        resource_version: str,
        rolled_back: str | None = None,
        trial: TrialMark | None = None,
    ) -> ServiceState:
        """Write the split by compare and swap and return the service as the reply shows it.

        Same template (no new revision), every tag kept, `Share.latest` written as such. `rolled_back` sets the
        annotation `deploy-watchdog/rolled-back` in the same write, an empty string removes it, None leaves it.
        `trial` sets the annotation `deploy-watchdog/trial`, None removes it. Raises
        `ConflictError` when anybody wrote since `resource_version`, `TemporaryError` for 429 and 5xx (the write may or
        may not have landed: read again), `PermanentError` otherwise. Retries nothing by itself.
        """
        ...

    async def tag(
        self, service: ServiceKey, *, add: Mapping[str, str], remove: Sequence[str], resource_version: str
    ) -> ServiceState:
        """Give revisions tags (name → revision) and take tags away by compare and swap; nobody's share changes.

        Raises as `move` does.
        """
        ...

    async def scale(
        self, service: ServiceKey, instances: int, *, resource_version: str, mark: ScaleMark
    ) -> ServiceState:
        """Write the service's own maximum of instances, and `mark` as the annotation `deploy-watchdog/scaled-up`, by
        compare and swap. Makes no revision and moves no traffic. Raises as `move` does.
        """
        ...

    async def snapshot(self, service: ServiceKey, revision: str) -> Mapping[str, Any]:
        """A template that makes the revision again, its image by digest; JSON-able, with its environment as it is.
        Raises `PermanentError(status=404)` when there is none."""
        ...

    async def redeploy(
        self, service: ServiceKey, template: Mapping[str, Any], *, name: str, resource_version: str
    ) -> ServiceState:
        """Make a revision of this name from a snapshot, by compare and swap. It gets no traffic: whatever followed the
        latest revision is pinned where it is. Raises as `move` does."""
        ...

    @property
    def endpoint(self) -> str:
        """The Admin API's base URL in use, for the check whether our own network is alive."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Execution:
    """One run of a Cloud Run job. `succeeded` is None while it goes on; `message` says why it failed."""

    name: str
    created_at: float
    """Unix seconds, by Cloud Run's clock."""
    succeeded: bool | None = None
    message: str = ""


class JobControl(Protocol):
    """Runs Cloud Run jobs. It may not decide anything. `place` gives project and region."""

    async def executions(self, place: ServiceKey, job: str) -> Sequence[Execution]:
        """Its executions, in no order. Raises `TemporaryError`, or `PermanentError` where there is no such job or no
        permission."""
        ...

    async def run_job(self, place: ServiceKey, job: str, *, writer: ServiceKey) -> Execution:
        """Run it once, with the rights that writes to the service `writer` have. After a `TemporaryError` it may or may
        not have begun: look at the executions. Retries nothing by itself."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Right:
    """One permission on a service: whether we have it, what it is for, and how it is granted."""

    permission: str
    held: bool
    purpose: str
    remedy: str
    writes: bool = False
    """Needed to move traffic only; a watchdog that observes does without."""


class Rights(Protocol):
    """Knows what we may do, without doing it."""

    @property
    def untested(self) -> str:
        """One sentence: what a write needs besides, and nobody can test without writing."""
        ...

    async def rights(self, service: ServiceKey) -> Sequence[Right]:
        """Every permission on the service that can be tested without a write. Raises `TemporaryError` or
        `PermanentError` when that cannot be asked."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Backup:
    """The newest backup of a database that succeeded. `instance` is the primary, which alone has backups."""

    instance: str
    ended_at: float | None
    """Unix seconds; None where there is none."""
    failed: str = ""
    """What a newer one failed with; empty where none did."""


class Backups(Protocol):
    """Knows when databases were backed up."""

    async def newest(self, project: str, instance: str) -> Backup:
        """Of a Cloud SQL instance (`NAME` or `PROJECT:NAME`); of its primary where it is a replica. Raises
        `TemporaryError` or `PermanentError` (403: not allowed to ask, 404: no such instance)."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivery:
    """One message on its way to one channel: a row of the outbox.

    `key` is unique per channel and idempotent. `thread` groups deliveries of one release (a watch in each of its
    regions); a channel's `remembered` values (Slack's `ts`, for example) are kept per thread and handed back with every
    later delivery of it.
    """

    key: str
    channel: str
    thread: str
    kind: str
    created_at: float
    body: Mapping[str, Any]
    remembered: Mapping[str, str] = field(default_factory=dict)
    attempts: int = 0
    sent: "Receipt | None" = None
    """Set on its way into the outbox when it was sent while the store was away: it is written as delivered."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Receipt:
    """What a channel said: `provider_id` names the message there; `remember` is kept for the thread."""

    provider_id: str = ""
    remember: Mapping[str, str] = field(default_factory=dict)


class Notifier(Protocol):
    """Delivers messages to one channel. Delivering the same key twice must do no harm where the provider allows it."""

    @property
    def channel(self) -> str:
        """`slack`, `pagerduty`, `email`, …"""
        ...

    async def deliver(self, delivery: Delivery) -> Receipt:
        """Send once. `TemporaryError(delay_s=Retry-After)`: try again; `PermanentError`: dead letter."""
        ...


# --- store --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """One row of the journal. `body` is JSON-able and holds no secret. `late` marks events appended after the fact."""

    stream: str
    seq: int
    epoch: int
    at: float
    seen_at: float
    kind: str
    schema: int
    body: Mapping[str, Any]
    late: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class NewEvent:
    """An event on its way into the journal; its sequence number is given by the store."""

    at: float
    seen_at: float
    kind: str
    schema: int
    body: Mapping[str, Any]
    late: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Letter:
    """A request from anybody else (API, hook, another process) to a stream's owner."""

    id: int
    stream: str
    key: str
    kind: str
    body: Mapping[str, Any]
    at: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Lease:
    """The right to append to a stream until `expires_at`. A stale `epoch` cannot append."""

    stream: str
    owner: str
    epoch: int
    expires_at: float


@dataclass(frozen=True, slots=True, kw_only=True)
class WatchRow:
    """The read model of a watch: what lists and pages show without folding its journal. `view` is JSON-able and is
    what `GET /api/v1/watches/{id}` answers."""

    id: str
    project: str
    region: str
    service: str
    revision: str
    state: str
    outcome: str | None
    opened_at: float
    ended_at: float | None
    view: Mapping[str, Any]


class Store(Protocol):
    """The journal, the inbox, the outbox, leases and the watches' read model.

    Append-only journal with one writer a stream: the holder of its lease. Every method may raise
    `StoreUnavailableError`. `now` always comes from the caller; the store reads no clock.
    """

    async def open(self) -> None:
        """Connect and migrate to the newest schema. Safe when several processes start at once."""
        ...

    async def close(self) -> None:
        """Close every connection."""
        ...

    async def ping(self) -> None:
        """One cheap read that proves the store answers."""
        ...

    # leases
    async def acquire(self, stream: str, owner: str, *, ttl_s: float, now: float) -> Lease | None:
        """Take the stream's lease when it is free, expired or already ours (renewed; the epoch grows only when the
        owner changes or the old lease had expired). None: somebody else holds it."""
        ...

    async def renew(self, lease: Lease, *, ttl_s: float, now: float) -> Lease:
        """Prolong. Raises `LeaseLostError` when another owner or epoch holds it."""
        ...

    async def release(self, lease: Lease) -> None:
        """Give it up, so that another process can take it at once. Losing it before is no error."""
        ...

    # journal
    async def append(
        self,
        lease: Lease,
        events: Sequence[NewEvent],
        *,
        deliveries: Sequence[Delivery] = (),
        watch: WatchRow | None = None,
        letters_done: Sequence[int] = (),
    ) -> Sequence[Record]:
        """Append events, put deliveries into the outbox (same key: ignored; `sent`: as delivered), upsert the read
        model and mark letters as folded in: all in one transaction. Raises `LeaseLostError` when the lease's epoch is
        stale."""
        ...

    def read(self, stream: str, *, after_seq: int = 0) -> AsyncIterator[Record]:
        """The stream's records in order, upcast to the newest schema of their kind by the reader."""
        ...

    # inbox
    async def post(self, stream: str, *, key: str, kind: str, body: Mapping[str, Any], now: float) -> bool:
        """Put a letter into the inbox. False when this key was posted before (which is not an error)."""
        ...

    async def letters(self, streams: Sequence[str]) -> Sequence[Letter]:
        """Letters not yet folded in, oldest first."""
        ...

    # outbox
    async def pending(self, channel: str, *, now: float, limit: int = 50) -> Sequence[Delivery]:
        """Deliveries due, oldest first, at most one a thread (so that order within a thread holds), `remembered`
        filled in. Claims nothing: one worker a channel."""
        ...

    async def delivered(self, key: str, channel: str, receipt: Receipt, *, now: float) -> None:
        """Record success, the provider's id, and what to remember for the thread."""
        ...

    async def deferred(self, key: str, channel: str, *, until: float, error: str) -> None:
        """Record a failed attempt and when to try again."""
        ...

    async def hasten(self, channel: str, *, now: float) -> None:
        """The channel works again: whatever waits for its next try is due now."""
        ...

    async def dead(self, key: str, channel: str, *, error: str, now: float) -> None:
        """Move to the dead letters."""
        ...

    async def undelivered(self, *, thread: str | None = None) -> Sequence[Delivery]:
        """Everything neither delivered nor dead, of one thread or of all."""
        ...

    # read model
    async def watches(
        self, *, open_only: bool = False, limit: int = 200, of: tuple[str, str] | None = None
    ) -> Sequence[WatchRow]:
        """Newest first; of one service in all its regions, where `of` names it (project, name)."""
        ...

    async def watch(self, watch_id: str) -> WatchRow | None:
        """One by its id."""
        ...

    async def prune(self, *, ended_before: float) -> int:
        """Delete journals, letters and deliveries of watches that ended before; returns how many watches."""
        ...


Jitter = Callable[[], float]
"""Gives a number in [0, 1): injected so that tests are exact."""
