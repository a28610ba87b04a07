"""What a watch decided and did, as values: proofs, holds, the rollback and its trial, the incident, the timeline."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from math import inf

from watchdog.core.model import Action, Split
from watchdog.core.paging import Level
from watchdog.core.two_arms import Served


@dataclass(frozen=True, slots=True, kw_only=True)
class Hold:
    """A rollback that is proven but must wait. `until` is when the answer changes by itself, if it does."""

    reason: str
    since: float
    trigger: "Trigger"
    until: float | None = None
    kind: str = "shared"
    """`shared` (both revisions sick), `edge`, `capacity` (a peak), `person`, `retry` (budget, cooldown), `refused`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Trigger:
    """What proved the rollback."""

    criterion: str
    """The row's label, `health_check failing`, `signal:NAME` or `operator`."""
    sentence: str
    rule: int | None = None
    probe: str | None = None
    at: float = 0.0
    bad_share: float | None = None
    """What the counts showed: recovery is proven by as many requests as would show it again."""
    warm: bool = False
    """Whether the target has just answered its probes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """A share of the watched revision's traffic is with the target, to see whether going back helps.

    `verdict`, once there is one: a `two_arms.Finding`, or why it needed none: `cut_short` (a failing health check, a
    signal or a person waits for no trial), `undone` (somebody else took the target's share away).
    """

    trigger: Trigger
    written_at: float
    before: Split
    after: Split
    targets: tuple[str, ...]
    """The revisions that gained traffic."""
    source: str = ""
    check: str = ""
    """The feed that judges."""
    limit: float = 0.0
    """The share of bad requests that the row allows."""
    routed_at: float | None = None
    """When both arms were first seen to serve."""
    watched: Mapping[tuple[float, float], Served] = field(default_factory=dict)
    target: Mapping[tuple[float, float, str], Served] = field(default_factory=dict)
    """By start and end (Unix seconds), and the target's by revision."""
    verdict: str = ""
    decided_at: float | None = None
    put_back_at: float | None = None
    reason: str = ""
    """What the verdict says, in one sentence."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rollback:
    """The one rollback of this watch. `stage`: `writing trial settling verifying done failed refused observed`."""

    trigger: Trigger
    decided_at: float
    stage: str = "writing"
    step: str = "whole"
    """What is written: a `trial` share, the `whole`, the trial put `back`, or the target's image (`redeploy`)."""
    hurry: Trigger | None = None
    """What forbids waiting for the trial's counts any longer, while its first write is on its way."""
    before: Split = field(default_factory=Split)
    after: Split = field(default_factory=Split)
    written_at: float | None = None
    restored_at: float | None = None
    """When `status.traffic` first showed the target."""
    verified_at: float | None = None
    passes: Mapping[str, int] = field(default_factory=dict)
    """Verifying passes in a row by probe."""
    failing: bool = False
    """Whether some verifying probe failed last."""
    begun: bool = False
    """That traffic is being moved was paged."""
    said: bool = False
    """"Did not help" was paged."""
    reason: str = ""
    by: str = ""
    despite: str = ""
    """The kind of the hold that said that it would not help, and was overruled: by a person, or since it was asked
    about for long enough."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Incident:
    """Opened by a decision, paged, acknowledged, resolved."""

    key: str
    opened_at: float
    title: str
    severity: str
    criterion: str = ""
    """What raised it, as in `Trigger`."""
    acknowledged_at: float | None = None
    acknowledged_by: str = ""
    resolved_at: float | None = None
    resolved_by: str = ""
    """The person who resolved it; empty when the watch did."""
    ladder: tuple[Level, ...] = ()
    """The policy's, as it was when the incident opened; empty where PagerDuty climbs its own."""
    climbs_from: float = 0.0
    """What the ladder's times are counted from."""
    level: int = 1
    """The highest level that was paged."""
    paged_at: float = 0.0
    repeats: int = 0
    """How often the last level was paged again."""
    repeat_every_s: float = 0.0
    remind_every_s: float = 0.0
    remind_at: float = inf
    proof: str = ""
    """What proved it, from its newest page …"""
    todo: str = ""
    """… and what was to be done then."""
    said_at: float = 0.0
    """When the newest word from elsewhere about it was said: older ones come late and count no more."""
    calm_since: float | None = None
    """Since when nothing that pages is broken, while it is open and no rollback is under way."""

    @property
    def open(self) -> bool:
        """Whether it still waits for its end."""
        return self.resolved_at is None


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """An action and one sentence of reason."""

    at: float
    action: Action
    criterion: str
    reason: str


@dataclass(frozen=True, slots=True)
class Entry:
    """One line of the timeline."""

    at: float
    kind: str
    text: str
