"""What a watch's journal says when it is asked "why?": the answer as values, before it becomes sentences or JSON.

Made by `explain`, told by `explain_text`. All times are Unix seconds (UTC), all shares lie in 0..1.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from watchdog.core.achieved import Achieved
from watchdog.core.model import Action, Verdict
from watchdog.core.rules import Rule
from watchdog.core.standing import RuleState
from watchdog.core.state import Watch

QUIET: Final = 0.05
"""Fullness up to which a meter is only looked at when a bin ends: most of the day of a healthy service."""


class Change(NamedTuple):
    """A rule's verdict became another."""

    at: float
    verdict: Verdict
    was: Verdict
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Proof:
    """The moment at which a rule's evidence became enough, and what that led to."""

    at: float
    sentence: str
    began_at: float
    """Since when the evidence had been above a tenth of the proof; `at` when it came all at once."""
    approach: tuple[tuple[float, float], ...]
    """(time, fullness) on the way there, thinned."""
    cleared_at: float | None = None
    acted_at: float | None = None
    """When something was decided because of it."""
    led_to: str = ""
    """That decision's sentence, or why nothing was decided."""


class Counted(NamedTuple):
    """Bad and total of the feed that counted most."""

    bad: float
    total: float
    source: str


class Peak(NamedTuple):
    """How near an alarm a rule ever came, when, and what had been counted by then."""

    fullness: float = 0.0
    at: float | None = None
    bad: float = 0.0
    total: float = 0.0


class Bin(NamedTuple):
    """One rule in one stretch of time: the fullest its evidence was, the worst verdict, the counts that came in, and
    the last reading of a gauge. `seen` is False before its first evidence."""

    fullness: float
    verdict: Verdict
    bad: float
    total: float
    value: float | None
    seen: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Gap:
    """Evidence of a check that was missing, all times of one reason together."""

    check: str
    reason: str
    times: int
    seconds: float
    first_at: float
    until: float
    goes_on: bool
    """Still missing at the last event."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Repeated:
    """A failing probe was repeated: how many failures in a row, and how it ended (`proven`, `passed`, `away`, `closed`,
    `open`). A proven one may have passed later, at `until`."""

    probe: str
    at: float
    """When the first failed answer came."""
    failures: int
    needed: int
    detail: str
    until: float
    ended: str


class Tally(NamedTuple):
    """A probe's confirmations in all, and how many of them a pass ended before they proved anything."""

    times: int = 0
    passed: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Held:
    """A proven rollback was kept back. `ended` is empty while held, then one of `rolled back`, `released`, `changed`
    (held for another reason) and `watch ended`."""

    at: float
    kind: str
    criterion: str
    proof: str
    reason: str
    until: float | None = None
    ended: str = ""


class Taken(NamedTuple):
    """A decision."""

    at: float
    action: str
    criterion: str
    reason: str
    window: str | None


class Moment(NamedTuple):
    """One line of what happened, in order."""

    at: float
    kind: str
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Criterion:
    """One rule's story."""

    index: int
    rule: Rule
    state: RuleState
    """Where it stands at the last event."""
    changes: tuple[Change, ...]
    changes_left_out: int
    proofs: tuple[Proof, ...]
    proofs_in_all: int
    peak: Peak
    counted: Counted
    bins: tuple[Bin, ...]
    coverage: Mapping[str, float]
    """By window, of those that had something to watch."""
    achieved: tuple[Achieved, ...]
    """Of rollback rows that a meter judges."""
    gaps: tuple[Gap, ...]
    """Of its checks."""

    @property
    def can_roll_back(self) -> bool:
        """Whether its action is a rollback."""
        return self.rule.row.action is Action.ROLLBACK

    @property
    def silent(self) -> bool:
        """Whether nothing was ever seen of it."""
        known = self.counted.total or self.state.value is not None or self.state.sampled_at is not None
        return not (known or self.proofs or self.peak.fullness)


@dataclass(frozen=True, slots=True, kw_only=True)
class Explanation:
    """Why a watch went as it did."""

    watch: Watch
    """At the last event of its journal."""
    begins_at: float
    """The cutover: where the first bin begins."""
    bin_s: float
    ends: tuple[float, ...]
    """The bins' ends; the last one may be shorter than the others."""
    criteria: tuple[Criterion, ...]
    decisions: tuple[Taken, ...]
    course: tuple[Moment, ...]
    """Everything decided, held, refused, said from outside or lost, in order; single failed probes left out."""
    course_left_out: int
    holds: tuple[Held, ...]
    confirmations: tuple[Repeated, ...]
    """The longest ones, in order of time."""
    tallies: Mapping[str, Tally] = field(default_factory=dict)
    away_s: float = 0.0
    """How long the watchdog itself was away."""
    not_folded: int = 0
    """Events that could not be judged and were left out, as the live watch does."""

    @property
    def lasted_s(self) -> float:
        """From the cutover to the last event."""
        return self.watch.at - self.begins_at
