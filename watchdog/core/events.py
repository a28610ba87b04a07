"""What happened, as values: everything a watch is folded from. How it is written down is `journal`'s affair."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from watchdog.core.author import NOBODY, Author
from watchdog.core.model import (
    Deploy,
    Sample,
    Split,
    Tag,
    TrialMark,
)
from watchdog.core.origins import Past
from watchdog.core.probing import ProbeAnswer, Purpose, Role


@dataclass(frozen=True, slots=True, kw_only=True)
class Lag:
    """How late and how wide a feed's samples are, fixed when the watch opens (seconds)."""

    source: str
    check: str
    period_s: float
    lag_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """Where a rollback would go. `source` says who named it: `caller`, `discovery`, `journal`, `ready_revisions`,
    `trial` (the mark of a trial rollback under way), `none`."""

    split: Split = field(default_factory=Split)
    source: str = "none"

    @property
    def revision(self) -> str:
        """The revision with the largest share, empty without a target."""
        shares = sorted(self.split.shares, key=lambda s: -s.percent)
        return shares[0].revision if shares else ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Opened:
    """A watch begins. Carries all it will ever need (policy, target, lags, baselines), so `replay` needs nothing else.

    `cutover_at` is None while the revision has no traffic yet (a `pending` watch). `ends_at` overrides the policy's
    last window (a watch cut short). `armed` names the probes proven to pass as configured now, or `None` for "take all
    as armed" (started by hand without any control). `sick_before` names probes that failed before the cutover.
    """

    at: float
    watch: str
    deploy: Deploy
    policy: Mapping[str, Any]
    policy_hash: str
    target: Target
    split: Split
    tags: tuple[Tag, ...] = ()
    cutover_at: float | None
    ends_at: float | None = None
    lags: tuple[Lag, ...] = ()
    baselines: Mapping[str, float] = field(default_factory=dict)
    burstiness: Mapping[str, float] = field(default_factory=dict)
    before: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    """By check, bad and total of the revision before in the hour before."""
    armed: tuple[str, ...] | None = ()
    sick_before: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    link: str = ""
    own_url: str = ""
    """Cloud Run's own URL of the service where users take another one (a domain, a load balancer): asked beside it
    while the revision has all traffic, to tell an edge fault from a fault of the release."""
    cold_start: bool = True
    expected_version: str = ""
    """What the version endpoint should answer, as the revision itself tells: its image's tag or a label."""
    known_bad: bool = False
    """The revision was rolled back before and serves again: watched without writing, whatever the policy's mode."""
    rolled_back: str = ""
    """The revision that the service's annotation named as rolled back when the watch opened: what is stale later."""
    trial: TrialMark | None = None
    """A trial rollback of the revision that was found under way on the service, by a watchdog that remembers nothing of
    it."""
    unable: Mapping[str, str] = field(default_factory=dict)
    """Journeys that cannot be run in this watch (`journey.NAME`), and why."""
    images: Mapping[str, str] = field(default_factory=dict)
    """Revision → its image by digest, of the watched revision and the target."""
    snapshot: Mapping[str, Any] = field(default_factory=dict)
    """The target's template, only where the policy may deploy it again (`redeploy_image`). It holds the revision's
    environment as it is, so it is kept out of every answer of ours."""
    schemas: Mapping[str, str] = field(default_factory=dict)
    """Revision → the value of the label that the policy names in `rollback.schema_label`; absent where undeclared."""
    author: Author = NOBODY
    """Who wrote the service last when the watch opened."""
    past: tuple[Past, ...] = ()
    """Who was behind the bad requests of the revision before, in the hour before."""
    doubt: str = ""
    """Why automatic mode acts as approve in this watch (a clause); empty when it acts as the policy says."""
    release: str = ""
    """The watch, in another region, with which the release was seen first: it is one incident. Empty where it is this
    one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sampled:
    """A source answered: samples of one query."""

    at: float
    samples: tuple[Sample, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Probed:
    """One probe was sent and answered. `attempt` counts within a confirmation (the regular probe that began it is 0);
    `slot_s` is the interval that a regular probe stands for; `base_url` is where it went."""

    at: float
    probe: str
    role: Role
    purpose: Purpose
    scheduled_at: float
    answer: ProbeAnswer
    attempt: int = 0
    slot_s: float = 0.0
    revision: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class TrafficSeen:
    """The service's effective traffic as read. `newer` says that a revision created after the watched one serves,
    `rolled_back` is the annotation a watchdog left, `settled` that the service has reconciled and is Ready, `author`
    who wrote the service last."""

    at: float
    split: Split
    tags: tuple[Tag, ...] = ()
    newer: bool = False
    rolled_back: str = ""
    settled: bool = True
    message: str = ""
    author: Author = NOBODY


@dataclass(frozen=True, slots=True, kw_only=True)
class Signalled:
    """A statement from outside."""

    at: float
    signal: str
    by: str = ""
    reason: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Operated:
    """A person acts: `rollback ack unack assign resolve hold pause resume extend finish signoff`."""

    at: float
    verb: str
    by: str = ""
    reason: str = ""
    for_s: float = 0.0
    name: str = ""
    said_at: float = 0.0
    """When it was said, where it was said elsewhere and may come late; 0 for now."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Noticed:
    """A deploy notice that came after the watch had opened: what it knows better. Empty fields say nothing."""

    at: float
    version: str = ""
    deployer: str = ""
    notes: str = ""
    rollback_safe: bool = True
    previous: Split = field(default_factory=Split)


@dataclass(frozen=True, slots=True, kw_only=True)
class Writing:
    """Nothing speaks against the rollback, and traffic is being written. Before this nobody is told that it begins: a
    refusal a second later would make two pages of one. `trouble` is why the API has not taken it yet, empty if none."""

    at: float
    after: Split = field(default_factory=Split)
    trouble: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Written:
    """How the traffic write ended: `done`, `refused` (preflight, budget), `observed` (mode), `failed` (the API),
    `superseded` or `overridden` (somebody else moved traffic first), `trial` (a share is with the target now),
    `put_back` (the trial's share is where it was), `gone` (nothing of the target is Ready any more), `redeployed` (its
    image is, as a new revision: `after`).

    `retry_at`: a refusal that ends by itself (cooldown, daily budget) is decided again then.
    """

    at: float
    result: str
    reason: str
    before: Split = field(default_factory=Split)
    after: Split = field(default_factory=Split)
    retry_at: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Scaled:
    """How an attempt to scale up, or to undo that, ended: `done`, `refused` (not at the ceiling, no room, budget),
    `observed` (mode), `asked` (mode), `failed` (the API), `reverted`, `left` (somebody else changed it since).

    `before` and `after` are the service's maximum of instances, `command` what a person would type instead.
    """

    at: float
    result: str
    reason: str
    before: int = 0
    after: int = 0
    command: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class FellElsewhere:
    """The very release that is watched was rolled back on proof in another region, by the watch of this id."""

    at: float
    region: str
    watch: str
    proof: str


@dataclass(frozen=True, slots=True, kw_only=True)
class JobRan:
    """The job that undoes a migration: `running`, `succeeded` or `failed`, and why. `execution` is its name, empty
    where none is known."""

    at: float
    result: str
    reason: str = ""
    execution: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Resumed:
    """The watch goes on after its process was away since `down_since`."""

    at: float
    down_since: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Trusted:
    """A preflight has passed: automatic mode, which asked a person first until now, acts by itself again."""

    at: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Ticked:
    """Nothing but time has passed."""

    at: float


Event = (
    Opened
    | Sampled
    | Probed
    | TrafficSeen
    | Signalled
    | Operated
    | Noticed
    | Writing
    | Written
    | Scaled
    | FellElsewhere
    | JobRan
    | Resumed
    | Trusted
    | Ticked
)
