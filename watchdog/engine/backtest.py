"""Ended watches judged again: by their own policy, which must reproduce what was decided, or by another one.

What the journal cannot know is said and never filled in: what followed on a rollback that the other policy would not
have made, rows whose metric nobody sampled, answers to probes that were asked otherwise.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from math import inf
from typing import Any, Final

from watchdog.core import marks
from watchdog.core.catalogue import Family
from watchdog.core.events import Event, Probed, Sampled, Written
from watchdog.core.model import Action, Counts, Failed, Missing, Outcome, Passed
from watchdog.core.policy import Policy
from watchdog.core.report import view
from watchdog.core.report_text import offset_text, seconds_of
from watchdog.core.rules import Rule, Rules
from watchdog.core.text import listing
from watchdog.engine.replay import Judgement, Turn, judge, refold
from watchdog.engine.replay_journal import Journal, differences
from watchdog.engine.replay_policy import moved_at, other_questions, trials, under

NO_SAMPLES: Final = "no samples in the journal"
SAME_S: Final = 1.0
"""Rollbacks that are decided this near each other are the same decision."""
_PASSED: Final = "passed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Course:
    """How a watch went, or would have gone. Times are seconds since the cutover.

    `turn` is the rollback: made, asked for in mode approve, said in mode observe, or (in fact) refused by `refused`.
    `outcome` is None where nothing can be said.
    """

    turn: Turn | None
    outcome: str | None
    reason: str
    ended_s: float
    refused: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Unseen:
    """A row of the policy that this journal has no evidence for, and why."""

    criterion: str
    action: str
    why: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Rejudged:
    """One watch, judged again. `differences`: where its own policy decides otherwise now than it did live."""

    shown: Mapping[str, Any]
    policy: str
    own: bool
    """Whether it was its own policy."""
    live: Course
    again: Course
    unseen: tuple[Unseen, ...] = ()
    unknown_after_s: float | None = None
    """From here on nothing is known: the live watch had moved traffic away, and this policy had not."""
    differences: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def change(self) -> str:
        """`same`, `sooner`, `later`, `newly_rolled_back` or `no_longer_rolled_back`."""
        one, other = self.live.turn, self.again.turn
        if one is None or other is None:
            return "same" if one is other else "newly_rolled_back" if one is None else "no_longer_rolled_back"
        return "same" if abs(self.by_s) < SAME_S else "later" if self.by_s > 0 else "sooner"

    @property
    def by_s(self) -> float:
        """How much later it would have rolled back than it did (seconds); 0 where one of the two did not."""
        one, other = self.live.turn, self.again.turn
        return other.at_s - one.at_s if one is not None and other is not None else 0.0

    @property
    def mark(self) -> str:
        """The person's word, empty without one."""
        return str((self.shown.get("mark") or {}).get("mark") or "")

    @property
    def had_to_go(self) -> str:
        """By the mark, whether the release had to be rolled back: `yes`, `no` or `unknown`."""
        return {True: "yes", False: "no", None: "unknown"}[marks.had_to_go(self.shown)]


def rejudge(journal: Journal, policy: Policy | None = None) -> Rejudged:
    """Judge an ended watch again, by its own policy or by another one."""
    live = refold(journal.opening, journal.events)
    shown: Mapping[str, Any] = journal.shown if journal.shown is not None else view(live.watch)
    found = tuple(differences(journal, live))
    in_fact = _in_fact(shown, live)
    if policy is None or journal.is_under(policy):
        return Rejudged(
            shown=shown,
            policy=journal.opening.policy_hash,
            own=True,
            live=in_fact,
            again=in_fact if not found else _again(live, live.turns[-1] if live.turns else None),
            unseen=_unseen(live.watch.rules, journal.events, {}),
            differences=found,
            notes=_notes(journal, live),
        )
    judged = judge(*under(policy, journal.opening, journal.events))
    turn = judged.turns[0] if judged.turns else None
    again, unknown = _again(judged, turn), None
    moved = moved_at(journal.opening, journal.events)
    unseen = _unseen(judged.watch.rules, journal.events, other_questions(policy, journal.opening))
    if turn is None and moved < inf:
        unknown = moved - judged.origin
        reason = "Traffic was moved back then, so that nothing is known of what this revision would have done."
        again = Course(turn=None, outcome=None, reason=reason, ended_s=unknown)
    elif again.outcome == _PASSED and any(u.action == Action.ROLLBACK for u in unseen):
        rows = listing(u.criterion for u in unseen if u.action == Action.ROLLBACK)
        reason = f"Nothing speaks against it, but {rows} could not be judged."
        again = Course(turn=turn, outcome=Outcome.UNVERIFIED.value, reason=reason, ended_s=again.ended_s)
    notes = [*_notes(journal, live)]
    if found:
        notes.append(f"This version decides otherwise under the watch's own policy, too: {found[0]}.")
    return Rejudged(
        shown=shown,
        policy=policy.hash,
        own=False,
        live=in_fact,
        again=again,
        unseen=unseen,
        unknown_after_s=unknown,
        differences=found,
        notes=tuple(notes),
    )


# --- in fact, and again -------------------------------------------------------------------------------------------


def _in_fact(shown: Mapping[str, Any], live: Judgement) -> Course:
    """What the read model says, which no later version of ours has judged again."""
    origin = live.origin
    cutover = seconds_of(shown.get("cutover_at"))
    ended = seconds_of(shown.get("ended_at") or shown.get("last_evaluation_at")) or origin
    rollback, turn, refused = shown.get("rollback"), None, ""
    if rollback:
        decided = seconds_of(rollback.get("decided_at")) or origin
        by, state = str(rollback.get("by") or ""), rollback.get("state")
        turn = Turn(
            at_s=decided - (origin if cutover is None else cutover),
            how="person" if by else "observed" if state == "observed" else "automatic",
            criterion=str(rollback.get("trigger") or ""),
            proof=str(rollback.get("proof") or ""),
            by=by,
        )
        if state in _NOT_WRITTEN:
            refused = str(rollback.get("reason") or "it was not carried out")
    elif live.turns:
        tried = shown.get("trial") or {}
        why = tried.get("reason") if tried.get("put_back_at") else shown.get("reason")
        turn, refused = live.turns[-1], str(why or "it was not carried out")
    return Course(
        turn=turn,
        outcome=shown.get("outcome"),
        reason=str(shown.get("reason") or ""),
        ended_s=ended - origin,
        refused=refused,
    )


def _again(judged: Judgement, turn: Turn | None) -> Course:
    return Course(
        turn=turn,
        outcome=judged.outcome.value if judged.outcome else None,
        reason=judged.reason,
        ended_s=judged.ended_s,
    )


def _notes(journal: Journal, live: Judgement) -> tuple[str, ...]:
    refusal = next((e.reason for e in journal.events if isinstance(e, Written) and e.result in _NOT_WRITTEN), "")
    found = (
        [f"In fact a rollback was not written: {refusal}. A replay supposes that nothing stops it."] if refusal else []
    )
    for tried in trials(journal.events):
        ends = "" if tried.end == inf else f" to {offset_text(tried.end, live.origin)}"
        found.append(
            f"In fact a trial had part of the traffic elsewhere ({tried.after}) from "
            f"{offset_text(tried.start, live.origin)}{ends}; what was counted then is of fewer requests. "
            "A replay makes no trial."
        )
    if live.left_out:
        events = "1 event" if live.left_out == 1 else f"{live.left_out} events"
        found.append(f"Left out, because this version could not judge it: {events}.")
    return tuple(found)


_NOT_WRITTEN: Final = frozenset({"refused", "failed"})


# --- what was never sampled ---------------------------------------------------------------------------------------


def _unseen(rules: Rules, events: Iterable[Event], other: Mapping[str, str]) -> tuple[Unseen, ...]:
    """Rows that nothing in the journal speaks to."""
    counted, read, asked = _sampled(events)
    found = []
    for rule in rules.rules:
        why = rule.why_not or _why_unseen(rule, counted, read, asked, other)
        if why:
            found.append(Unseen(criterion=rule.label, action=rule.row.action.value, why=why))
    return tuple(dict.fromkeys(found))


def _why_unseen(rule: Rule, counted: set[str], read: set[str], asked: set[str], other: Mapping[str, str]) -> str:
    changed = next((f" ({check}: {other[check]})" for check in rule.checks if check in other), "")
    if rule.family in {Family.PROBES, Family.JOURNEYS}:  # each of them speaks for the row
        seen = all(check in asked | counted and check not in other for check in rule.checks)
        missing = listing(check for check in rule.checks if check not in asked | counted)
        return "" if seen else f"{NO_SAMPLES}{changed or f' ({missing})'}"
    speaks = counted if rule.is_meter else read | counted
    return "" if any(c in speaks and c not in other for c in rule.checks) else f"{NO_SAMPLES}{changed}"


def _sampled(events: Iterable[Event]) -> tuple[set[str], set[str], set[str]]:
    """Checks that were counted, that were read, and probes that were answered; what is missing says nothing."""
    counted, read, asked = set[str](), set[str](), set[str]()
    for event in events:
        if isinstance(event, Probed):
            if isinstance(event.answer.evidence, Passed | Failed):
                asked.add(event.probe)
        elif isinstance(event, Sampled):
            for sample in event.samples:
                if not isinstance(sample.evidence, Missing):
                    (counted if isinstance(sample.evidence, Counts) else read).add(sample.check)
    return counted, read, asked


# --- all of them --------------------------------------------------------------------------------------------------


@dataclass(slots=True)
class Totals:
    """What all watches together say of a policy."""

    judged: int = 0
    not_judged: int = 0
    not_reproduced: int = 0
    would_roll_back: int = 0
    marked: Counter[str] = field(default_factory=Counter)
    """Of those that would be rolled back, by the person's word; empty without one."""
    had_to_go: Counter[str] = field(default_factory=Counter)
    """Of those, by what the marks say of the release."""
    newly_caught: Counter[str] = field(default_factory=Counter)
    newly_missed: Counter[str] = field(default_factory=Counter)

    def add(self, found: Rejudged) -> None:
        """One more."""
        self.judged += 1
        self.not_reproduced += bool(found.differences)
        if found.again.turn is not None and not found.again.refused:
            self.would_roll_back += 1
            self.marked[found.mark] += 1
            self.had_to_go[found.had_to_go] += 1
        if found.change == "newly_rolled_back":
            self.newly_caught[found.had_to_go] += 1
        if found.change == "no_longer_rolled_back":
            self.newly_missed[found.had_to_go] += 1


def policies_by_service(policies: Sequence[Policy]) -> Mapping[str, Policy]:
    """`project/region/name` → its policy; the last one of two."""
    return {str(key): policy for policy in policies for key in policy.service.keys}
