"""The words of the design as values: what a deploy, a split, a sample, a row and a verdict are.

Every time in here is Unix seconds (UTC) as a float, named `at`, `start`, `end` or `…_at`; every duration is seconds and
ends in `_s`; every ratio lies in 0..1.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import NamedTuple

from watchdog.core.beyond import ScaleMark
from watchdog.core.origins import Origin

SAFE_LABEL = "watchdog-rollback-safe"
"""The label of a revision that says whether it may be rolled back: "true" or "false"."""


class Window(StrEnum):
    """A phase of a watch."""

    IMMEDIATE = "immediate"
    SHORT_TERM = "short_term"
    EXTENDED = "extended"


class Verdict(StrEnum):
    """What a criterion says now."""

    PASS = "PASS"  # noqa: S105 - a verdict, not a password
    WARN = "WARN"
    FAIL = "FAIL"
    INCONCLUSIVE = "INCONCLUSIVE"
    ERROR = "ERROR"


class Action(StrEnum):
    """What a row asks for when it is broken."""

    ROLLBACK = "rollback"
    INVESTIGATE = "investigate"
    SCALE_UP = "scale_up"


class Severity(StrEnum):
    """How loud a row is; it chooses alpha and the channels."""

    WARNING = "warning"
    CRITICAL = "critical"


class State(StrEnum):
    """Where a watch stands."""

    PENDING = "pending"
    WATCHING = "watching"
    CONFIRMING = "confirming"
    HELD = "held"
    AWAITING_APPROVAL = "awaiting_approval"
    ROLLING_BACK = "rolling_back"
    VERIFYING = "verifying"
    PAUSED = "paused"
    ENDED = "ended"


class Outcome(StrEnum):
    """How a watch ended."""

    PASSED = "passed"
    ROLLED_BACK = "rolled_back"
    FAILED = "failed"
    SUPERSEDED = "superseded"
    OVERRIDDEN = "overridden"
    UNVERIFIED = "unverified"


# --- samples ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Counts:
    """`bad` among `total` events in the sample's interval. `kinds` tells how the bad ones failed (`500`, `503`, …), in
    order of their names, and `origins` who was behind them, where the source knows it."""

    bad: float
    total: float
    kinds: tuple[tuple[str, float], ...] = ()
    origins: tuple[Origin, ...] = ()


@dataclass(frozen=True, slots=True)
class Value:
    """One reading, in the metric's base unit (ratio, seconds, bytes, per second, count)."""

    x: float


@dataclass(frozen=True, slots=True)
class Passed:
    """A probe or journey that met every expectation."""


@dataclass(frozen=True, slots=True)
class Failed:
    """A probe or journey that did not, with a typed reason (`timeout`, `status`, `json`, …)."""

    reason: str


@dataclass(frozen=True, slots=True)
class Missing:
    """No evidence, and why: `no_series`, `nan`, `stale`, `source_error`, `prober`, `access`, …"""

    reason: str


Evidence = Counts | Value | Passed | Failed | Missing


class Clue(NamedTuple):
    """A kind of error in the log that the revision before does not have; without secrets.

    `key` tells one kind from another; `times` is how often it was seen by now, and 0 takes it back.
    """

    key: str
    times: int
    text: str = ""
    """As it was said, redacted."""
    where: str = ""
    """The place in the team's code, where there is a stack trace."""
    at: float = 0.0
    """When it was first seen (Unix seconds)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """Typed evidence over `[start, end)`, and when it was seen.

    Its identity is (source, check, revision, start, end); seen again, the last one wins.
    """

    source: str
    check: str
    revision: str
    start: float
    end: float
    seen: float
    evidence: Evidence
    note: str = ""
    """One clause for a person about a check's result, without secrets; empty where the evidence says it all."""
    clues: tuple[Clue, ...] = ()
    """What was found beside, to look for the cause."""


# --- traffic ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Share:
    """One entry of a split: a revision with percent > 0. `latest` says the entry follows the latest Ready revision."""

    revision: str
    percent: int
    latest: bool = False


@dataclass(frozen=True, slots=True)
class Split:
    """Effective traffic: entries with percent > 0 only, never tag-only ones."""

    shares: tuple[Share, ...] = ()

    @classmethod
    def of(cls, percents: Mapping[str, int]) -> "Split":
        """Build a pinned split from `{revision: percent}`; zero entries are dropped."""
        return cls(tuple(Share(revision=r, percent=p) for r, p in percents.items() if p > 0))

    def percents(self) -> dict[str, int]:
        """Revision → percent, entries of the same revision added up."""
        out: dict[str, int] = {}
        for share in self.shares:
            out[share.revision] = out.get(share.revision, 0) + share.percent
        return out

    def percent_of(self, revision: str) -> int:
        """The revision's percent, 0 when it does not serve."""
        return sum(s.percent for s in self.shares if s.revision == revision)

    @property
    def revisions(self) -> frozenset[str]:
        """The revisions that serve."""
        return frozenset(s.revision for s in self.shares)

    @property
    def sole(self) -> str | None:
        """The revision that has all traffic, if one has."""
        if not self.shares:
            return None
        first = self.shares[0].revision
        return first if len(self.shares) == 1 or self.revisions == {first} else None

    def same_traffic(self, other: "Split") -> bool:
        """Whether both send the same percent to the same revisions, however they are pinned."""
        return self.percents() == other.percents()

    def __str__(self) -> str:
        """As a person reads it: `api-00002-abc 90 %, api-00001-xyz 10 %`."""
        return ", ".join(f"{r} {p} %" for r, p in self.percents().items()) or "no traffic"


@dataclass(frozen=True, slots=True, kw_only=True)
class Tag:
    """A named URL that reaches one revision whatever its share."""

    name: str
    revision: str
    url: str


@dataclass(frozen=True, slots=True, kw_only=True)
class TrialMark:
    """What is written on the service while a trial rollback runs: whose traffic is tried, since when (Unix seconds),
    the split to put back, and the split of the trial. With it a watchdog that has lost everything else can go on."""

    revision: str
    at: float
    before: Split
    after: Split

    @property
    def gains(self) -> dict[str, int]:
        """The revisions that the trial gave traffic to, and how many percent."""
        had = self.before.percents()
        return {r: p - had.get(r, 0) for r, p in self.after.percents().items() if p > had.get(r, 0)}


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceState:
    """What the Admin API says of a service right now."""

    project: str
    region: str
    name: str
    url: str
    split: Split
    desired: Split
    tags: tuple[Tag, ...]
    latest_created: str
    latest_ready: str
    generation: int
    observed_generation: int
    resource_version: str
    ready: bool | None
    """None while a change is being reconciled."""
    ready_message: str = ""
    rolled_back: str = ""
    """Value of the service annotation `deploy-watchdog/rolled-back`: the revision a watchdog took traffic from."""
    trial: TrialMark | None = None
    """The annotation `deploy-watchdog/trial`, as it was written; whether it still holds, `trial_of` says."""
    max_instances: int = 0
    """The most instances of all revisions together (the setting of the service, not of its template); 0: not set."""
    scaled: ScaleMark | None = None
    """The annotation `deploy-watchdog/scaled-up`."""
    last_modifier: str = ""
    client_name: str = ""
    client_version: str = ""
    spans: tuple[str, ...] = ()
    """The regions of a service that is one resource in several; empty for one that stands in a region of its own."""
    labels: Mapping[str, str] = field(default_factory=dict)

    def trial_of(self, revision: str) -> TrialMark | None:
        """The trial of a revision that is under way: its mark is there, and the split is still what it says."""
        mark = self.trial
        if mark is None or mark.revision != revision or not self.desired.same_traffic(mark.after):
            return None
        return mark

    def tag_url(self, revision: str) -> str | None:
        """The first tag URL that reaches the revision."""
        return next((t.url for t in self.tags if t.revision == revision and t.url), None)


@dataclass(frozen=True, slots=True, kw_only=True)
class RevisionState:
    """What the Admin API says of a revision. `fingerprint` hashes image digest, environment, secret versions,
    resources and command, so that a configuration-only deploy differs from the one before."""

    name: str
    ready: bool
    reason: str = ""
    created_at: float = 0.0
    image: str = ""
    """The reference with its digest, where it is resolved."""
    tagged_image: str = ""
    """The reference as it was deployed, usually with a tag."""
    fingerprint: str = ""
    max_instances: int = 0
    """The most instances of this revision; 0: not set, which means Cloud Run's default and never "few"."""
    labels: Mapping[str, str] = field(default_factory=dict)

    @property
    def rollback_safe(self) -> bool:
        """False when the label `watchdog-rollback-safe: "false"` travels with the revision."""
        return self.labels.get(SAFE_LABEL, "").lower() != "false"


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceKey:
    """What a watch is unique for: at most one is open for each."""

    project: str
    region: str
    name: str

    def __str__(self) -> str:
        """`project/region/name`, the longest form of SERVICE in verbs."""
        return f"{self.project}/{self.region}/{self.name}"

    def matches(self, text: str) -> bool:
        """Whether SERVICE as typed (`name`, `region/name` or `project/region/name`) means this one."""
        return text in (self.name, f"{self.region}/{self.name}", str(self))


@dataclass(frozen=True, slots=True, kw_only=True)
class Deploy:
    """A new revision begins to serve."""

    service: ServiceKey
    revision: str
    version: str = ""
    deployer: str = ""
    notes: str = ""
    rollback_safe: bool = True
    fingerprint: str = ""
    image: str = ""


# --- policy rows --------------------------------------------------------------------------------------------------


class Table(StrEnum):
    """The table of the policy file that a row stands in."""

    SUCCESS = "success_criteria"
    WINDOW = "window_criteria"
    ALERT = "alert_thresholds"
    IMMEDIATE = "immediately_if"
    CHECK = "checks"
    """No table, but a section that makes its own rows: `logs`, `version_check`, `edge`, `jobs`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Condition:
    """An operator and a number in base units, or a multiple of the value before the deploy.

    `text` is what the file says (`< 500ms`). In `success_criteria` and `window_criteria` it is the target that must
    hold; in the other tables it is the breach. `relative` makes `value` a factor of the value before the deploy.
    """

    op: str
    value: float
    unit: str
    relative: bool
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One row of a policy table for one severity, as the file says it and before any baseline is known."""

    id: str
    """Unique in the policy, stable, URL-safe: `success.error_rate`, `alert.error_rate.critical`,
    `immediate.error_rate`, `window.short_term.p95_latency`."""
    table: Table
    metric: str
    condition: Condition | None
    """None for `health_check failing`, and for checks."""
    action: Action
    severity: Severity
    windows: tuple[Window, ...]
    """Where the row counts: one window for `window_criteria`, all three otherwise."""
    alpha: float | None = None
    """The row's own share of false alarms, where the file gives one."""
    pending: bool = False
    """Its metric is declared `source: pending`."""
    failures: int = 1
    """Of a check: so many failures in a row break it, and as many passes mend it."""
    until_s: float | None = None
    """Of a check: it counts for so long after the cutover; None for the whole watch."""

    @property
    def is_target(self) -> bool:
        """Whether `condition` must hold (a target) rather than must not (a threshold)."""
        return self.table in (Table.SUCCESS, Table.WINDOW)

    @property
    def label(self) -> str:
        """As a person reads it: `error_rate < 1%`, `health_check failing`."""
        name = self.metric.removeprefix("check.")
        return f"{name} {self.condition.text}" if self.condition else f"{name} failing"


def tags_by_revision(tags: Iterable[Tag]) -> dict[str, str]:
    """Revision → first tag URL."""
    out: dict[str, str] = {}
    for tag in tags:
        if tag.url:
            out.setdefault(tag.revision, tag.url)
    return out
