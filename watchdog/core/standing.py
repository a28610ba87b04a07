"""What a watch knows of its rows and its probes, and what it is asking: values that `state.Watch` is made of."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from math import inf
from typing import NamedTuple

from watchdog.core.acts import Trigger
from watchdog.core.model import Verdict
from watchdog.core.policy import ConfirmConfig
from watchdog.core.probing import ProbeAnswer
from watchdog.core.series import Series


class RuleState(NamedTuple):
    """What one rule says now. `reason` is the sentence of the last alarm or of why nothing can be said."""

    verdict: Verdict = Verdict.INCONCLUSIVE
    since: float = 0.0
    reason: str = ""
    alarmed_at: float | None = None
    source: str = ""
    """The feed that raised the alarm."""
    check: str = ""
    """… and its check."""
    bad_share: float | None = None
    """What its counts showed."""
    at_alarm: float = 0.0
    """Total counted by that feed when it did, or when its meter was half full again last: an alarm clears after as many
    events, and as much time, as would have shown the fault again."""
    quiet_from: float = 0.0
    """Up to when that feed was judged then."""
    proof_s: float = 0.0
    """A slot more than the alarm took to prove."""
    last: tuple[tuple[float, bool], ...] = ()
    """Of a gauge: the last five points' ends, and whether each broke the row."""
    value: float | None = None
    """The last reading, base units."""
    sampled_at: float | None = None
    decided: bool = False
    """The row's action was taken for the present alarm, or is not wanted."""
    one_caller: str = ""
    """Why the present alarm is one caller's and not the release's; empty where it is not."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Shared:
    """A time in which the control failed the same probe; Unix seconds, `until` is `inf` while it lasts."""

    probe: str
    since: float
    until: float = inf


class Signed(NamedTuple):
    """Somebody confirmed what only a person can confirm."""

    at: float
    by: str
    reason: str


class Stream(NamedTuple):
    """One feed's series, and the rules its meters belong to (by index, in the meters' order)."""

    series: Series
    rules: tuple[int, ...]


class ProbeState(NamedTuple):
    """One probe's standing at the public path."""

    armed: bool = False
    passed: int = 0
    failed: int = 0
    missing: int = 0
    streak: int = 0
    """Failures in a row of regular probes."""
    own_passed: int = 0
    own_failed: int = 0
    """What the revision's own URL answered while the public one was failing."""
    last: ProbeAnswer | None = None
    denied: bool = False
    """Not let through since it passed last, and nor was the control, so far as it could be asked."""


class Revival(NamedTuple):
    """A path that was sick passes again."""

    at: float
    """When its first pass was sent."""
    failed: int = 0
    """Failures of the path under judgement that were sent since."""


class Flicker(NamedTuple):
    """What a path that was sick answered from its first pass on."""

    passed: int = 0
    asked: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Confirmation:
    """A failing probe being repeated. Attempt 0 is the regular probe that failed."""

    probe: str
    started_at: float
    """When attempt 0 was sent."""
    slot_s: float = 0.0
    """How long before that it had been asked last; 0 when nobody knows."""
    failed_at: float
    """When its answer came: the first failed answer."""
    rule: ConfirmConfig
    waiting: Mapping[int, ProbeAnswer] = field(default_factory=dict)
    """Answers that came before an earlier attempt's."""
    settled: int = 0
    """Attempts below this one are counted."""
    failures: int = 0
    """Failures in a row from attempt 0 on; missing answers neither count nor break the row."""
    reasons: tuple[str, ...] = ()
    """The typed reasons of the failures, each once."""
    unserved: int = 0
    """How many of the failures may only have found no instance free: refused by the front end, or a timeout in its
    queue."""
    turned_away: int = 0
    """How many were told that every instance is busy."""
    denied: int = 0
    """How many attempts in a row were not let through …"""
    vouched: bool = False
    """… which counts as failing because the control is, right now."""
    last: ProbeAnswer | None = None
    """The newest failure."""
    own: ProbeAnswer | None = None
    """The newest answer of the watched revision's own URL."""
    control: ProbeAnswer | None = None
    """The newest answer of the control."""
    control_since: float | None = None
    control_reasons: tuple[str, ...] = ()
    revivals: Mapping[str, "Revival"] = field(default_factory=dict)
    """Other paths (by role) that were sick and pass again."""
    flicker: Flicker = field(default_factory=Flicker)
    """Of the control."""

    @property
    def complete(self) -> bool:
        """Whether enough failed in a row."""
        return self.failures + (self.denied if self.vouched else 0) >= self.rule.failures


@dataclass(frozen=True, slots=True, kw_only=True)
class Warming:
    """A proven alarm of counts, while the target is warmed and asked whether it is well."""

    trigger: "Trigger"
    until: float
    answers: Mapping[str, tuple[ProbeAnswer, ...]] = field(default_factory=dict)
    """The target's answers by probe."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Versus:
    """A proven alarm of counts that waits for what the control's counts say."""

    trigger: "Trigger"
    key: tuple[str, str]
    """Source and check that are compared."""
    scope: str
    since: float
    """Counts from here on are compared, Unix seconds."""
    until: float
    """No longer waited for than this."""
