"""Why was it rolled back, or why not? A watch's journal folded again, looking at the evidence on the way.

The fold is the live one, so what is found is what was decided then. One record after the other is read and nothing is
kept that grows with the length of the watch.
"""

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from math import inf
from typing import Final, NamedTuple

from watchdog.core import achieved, coverage, explain_bins
from watchdog.core import explain_evidence as evidence
from watchdog.core import watch as folding
from watchdog.core.commands import Announce, Command
from watchdog.core.events import Event, Opened, Resumed
from watchdog.core.explain_bins import Bins
from watchdog.core.explain_rows import MOMENTS, Confirmations, Ends, Gaps, Holds, Row
from watchdog.core.explanation import QUIET, Criterion, Explanation, Gap, Moment, Peak, Proof, Taken
from watchdog.core.journal import JournalError
from watchdog.core.model import Action, Verdict
from watchdog.core.rules import Rule
from watchdog.core.state import Watch

DECISIONS: Final = 200
_UNTOLD: Final = frozenset({"opened", "probe", "window", "acknowledged", "ignored", "signoff"})
"""Lines of the timeline that say nothing about why it went as it did."""


def explain(events: Iterable[Event]) -> Explanation:
    """Explain a journal, from its `Opened` on. Raises `JournalError` when it does not begin with one."""
    explainer = Explainer()
    for event in events:
        explainer.fold(event)
    return explainer.explanation()


class _Turn(NamedTuple):
    """A rule's evidence became enough, or its alarm cleared, or its verdict became another."""

    at: float
    rule: int
    reason: str = ""
    verdict: Verdict | None = None
    cleared: bool = False


@dataclass(slots=True)
class Explainer:
    """Folds a journal event by event; `explanation` may be asked for at any time."""

    _watch: Watch | None = None
    _bins: Bins | None = None
    _rows: list[Row] = field(default_factory=list)
    _by_id: dict[str, int] = field(default_factory=dict)
    _gaps: Gaps = field(default_factory=Gaps)
    _confirmations: Confirmations = field(default_factory=Confirmations)
    _holds: Holds = field(default_factory=Holds)
    _decisions: Ends[Taken] = field(default_factory=lambda: Ends(DECISIONS))
    _course: Ends[Moment] = field(default_factory=lambda: Ends(MOMENTS))
    _moved_at: float | None = None
    """When a rollback took the traffic away: from then on nothing is said about the watched revision any more."""
    _away_s: float = 0.0
    _not_folded: int = 0

    def fold(self, event: Event) -> None:
        """Fold in the next event. One that the fold cannot take is left out, as the live watch does (decision 18)."""
        if isinstance(event, Opened):
            if self._watch is not None:
                raise JournalError(f"the journal opens a second watch at {event.at}; one is explained at a time")
            self._open(event)
            return
        before = self._watch
        if before is None:
            raise JournalError("the journal does not begin with watch_opened, so there is nothing to fold it onto")
        if not before.open:
            return
        try:
            watch, commands = folding.advance(before, event)
        except Exception:  # noqa: BLE001 - supervision: counted and told, and the rest is explained
            self._not_folded += 1
            return
        if isinstance(event, Resumed):
            self._away_s += max(0.0, event.at - event.down_since)
        self._watch = watch
        self._follow(before, watch, commands)

    def _open(self, event: Opened) -> None:
        watch, commands = folding.opened(event)
        rules = watch.rules.rules
        self._rows = [Row(verdict=state.verdict) for state in watch.verdicts]
        self._by_id = {rule.row.id: i for i, rule in enumerate(rules)}
        self._watch = watch
        deque(self._announced(commands), maxlen=0)
        self._begin(watch)

    def _begin(self, watch: Watch) -> None:
        if self._bins is None and watch.cutover_at is not None:
            self._bins = Bins(watch.cutover_at, [r.now for r in self._rows], [r.verdict for r in self._rows])

    # --- one event --------------------------------------------------------------------------------------------------

    def _follow(self, before: Watch, watch: Watch, commands: Sequence[Command]) -> None:
        self._begin(watch)
        for turn in sorted((*self._announced(commands), *self._alarmed(before, watch)), key=lambda t: t.at):
            if self._bins is not None and self._moved_at is None:
                self._bins.pass_to(turn.at, before)
            self._turn(turn)
        if self._bins is not None and self._moved_at is None:
            closed = self._bins.pass_to(evidence.present(watch), before)
            self._look(before, watch, everything=closed)
        if self._moved_at is None and watch.rollback is not None:
            self._moved_at = watch.rollback.written_at
        if watch.missing is not before.missing:
            self._gaps.follow(before, watch)
        if watch.confirmations is not before.confirmations:
            self._confirmations.follow(before, watch)
        if watch.hold is not before.hold:
            self._holds.follow(before, watch)
        if watch.timeline is not before.timeline:
            self._tell(before, watch)

    def _announced(self, commands: Sequence[Command]) -> Iterator[_Turn]:
        """What was announced, at the very moments at which the fold found it."""
        for command in commands:
            if not isinstance(command, Announce):
                continue
            f, at = command.fields, command.at
            if command.event == "decision":
                window = None if f["window"] is None else str(f["window"])
                self._decisions.add(Taken(at, str(f["action"]), str(f["criterion"]), str(f["reason"]), window))
            elif command.event == "comparing":
                text = f"{f['reason']}; counting whether {f['control']} fails the same users too."
                self._course.add(Moment(at, "comparing", text))
            elif command.event == "warming":
                self._course.add(Moment(at, "warming", f"{f['reason']}; asking {f['target']} whether it is well."))
            elif command.event == "verdict_changed":
                yield _Turn(at, self._by_id[f["id"]], str(f["reason"]), Verdict(f["verdict"]))

    def _alarmed(self, before: Watch, watch: Watch) -> Iterator[_Turn]:
        """Alarms raised and cleared, and verdicts that nobody announced because they went there and back."""
        if watch.verdicts is before.verdicts:
            return
        for i, (old, state) in enumerate(zip(before.verdicts, watch.verdicts, strict=True)):
            if old is state:
                continue
            if old.alarmed_at is not None and state.alarmed_at != old.alarmed_at:
                yield _Turn(watch.at if state.alarmed_at is None else state.alarmed_at, i, cleared=True)
            if state.alarmed_at is not None and state.alarmed_at != old.alarmed_at:
                yield _Turn(state.alarmed_at, i, state.reason)
            yield _Turn(watch.at, i, state.reason, state.verdict)

    def _turn(self, turn: _Turn) -> None:
        row, at = self._rows[turn.rule], turn.at
        if turn.verdict is not None:
            if turn.verdict is row.verdict:
                return
            row.turn(at, turn.verdict, turn.reason)
        elif turn.cleared:
            row.clear(at)
        else:
            row.prove(at, turn.reason, began_at=self._began(turn.rule, row))
            self._mark_peak(turn.rule, at, 1.0)
        self._show(turn.rule)

    def _began(self, index: int, row: Row) -> float | None:
        watch = self._watch
        if watch is not None and watch.rules.rules[index].by_confirmation:
            runs = self._confirmations.going_on
            return min((runs[c].at for c in watch.rules.rules[index].checks if c in runs), default=None)
        return row.stirred_at

    def _look(self, before: Watch, watch: Watch, *, everything: bool) -> None:
        """See how full the evidence of those rules is that may have changed."""
        if everything:
            for i in range(len(self._rows)):
                self._see(i, watch)
            return
        touched: set[int] = set()
        for key, stream in watch.streams.items():
            if self._stirs(stream.rules):  # what is not quiet falls with time, too
                touched.update(i for i in stream.rules if self._rows[i].now > QUIET)
            old = before.streams.get(key)
            if old is stream or old is None or old.series.tracks is stream.series.tracks:
                continue
            if old.series.due < inf or old.series.bad != stream.series.bad:
                much = zip(stream.rules, evidence.loud(stream.series), strict=True)
                touched.update(i for i, is_loud in much if is_loud)
        if watch.verdicts is not before.verdicts:
            pairs = zip(watch.verdicts, before.verdicts, strict=True)
            touched.update(i for i, (new, old) in enumerate(pairs) if new is not old)
        if watch.confirmations is not before.confirmations:
            touched.update(i for i, r in enumerate(watch.rules.rules) if r.by_confirmation)
        for i in touched:
            self._see(i, watch)

    def _stirs(self, rules: tuple[int, ...]) -> bool:
        return any(self._rows[i].now > QUIET for i in rules)

    def _see(self, index: int, watch: Watch) -> None:
        row = self._rows[index]
        full = evidence.fullness(watch, index)
        if full != row.now:
            row.move(watch.at, full)
            self._mark_peak(index, watch.at, full)
            self._show(index)

    def _mark_peak(self, index: int, at: float, full: float) -> None:
        watch, row = self._watch, self._rows[index]
        if watch is not None and full > row.peak.fullness:
            bad, total, _ = explain_bins.counted(watch, index)
            row.peak = Peak(full, at, bad, total)

    def _show(self, index: int) -> None:
        if self._bins is not None:
            self._bins.now[index], self._bins.verdicts[index] = self._rows[index].now, self._rows[index].verdict
            self._bins.touch(index)

    def _tell(self, before: Watch, watch: Watch) -> None:
        """Take over what the timeline says anew; it drops its oldest lines by itself."""
        known, fresh = before.timeline[-1] if before.timeline else None, []
        for entry in reversed(watch.timeline):
            if entry is known:
                break
            fresh.append(entry)
        for entry in reversed(fresh):
            if entry.kind not in _UNTOLD:
                self._course.add(Moment(entry.at, entry.kind, entry.text))

    # --- the end ----------------------------------------------------------------------------------------------------

    def explanation(self) -> Explanation:
        """What was found so far. Raises `JournalError` when no watch was opened."""
        watch = self._watch
        if watch is None:
            raise JournalError("the journal holds no watch")
        bins = self._bins or Bins(watch.opened_at, [r.now for r in self._rows], [r.verdict for r in self._rows])
        at = evidence.present(watch) if self._moved_at is None else self._moved_at
        if self._moved_at is None:
            self._look(watch, watch, everything=True)
        gaps = self._gaps.all(at)
        return Explanation(
            watch=watch,
            begins_at=bins.begins_at,
            bin_s=bins.width_s,
            ends=bins.ends(at),
            criteria=tuple(self._criterion(i, watch, at, bins, gaps) for i in range(len(self._rows))),
            decisions=self._decisions.all(),
            course=tuple(sorted(self._course.all(), key=lambda m: m.at)),
            course_left_out=self._course.left_out,
            holds=self._holds.all(watch),
            confirmations=self._confirmations.all(),
            tallies=dict(self._confirmations.tallies),
            away_s=self._away_s,
            not_folded=self._not_folded,
        )

    def _criterion(self, index: int, watch: Watch, at: float, bins: Bins, gaps: Sequence[Gap]) -> Criterion:
        rule, row = watch.rules.rules[index], self._rows[index]
        until = coverage.watched_until(watch)
        windows = watch.rules.policy.windows
        covered = {w.window.value: coverage.of_rule(watch, rule, i, until) for i, w in enumerate(windows)}
        mine = tuple(g for g in gaps if g.check in rule.checks)
        return Criterion(
            index=index,
            rule=rule,
            state=watch.verdicts[index],
            changes=row.changes.all(),
            changes_left_out=row.changes.left_out,
            proofs=tuple(self._led(p, rule, watch) for p in row.proofs),
            proofs_in_all=row.proofs_in_all,
            peak=row.peak,
            counted=explain_bins.counted(watch, index),
            bins=bins.of_rule(index, watch, at) if watch.cutover_at is not None else (),
            coverage={name: c for name, c in covered.items() if c is not None},
            achieved=achieved.of_row(watch, index) if rule.row.action is Action.ROLLBACK else (),
            gaps=mine,
        )

    def _led(self, proof: Proof, rule: Rule, watch: Watch) -> Proof:
        """What a proof led to: the next decision about its row while it stood, else what was in its way."""
        until = inf if proof.cleared_at is None else proof.cleared_at
        for d in self._decisions.all():
            if d.criterion == rule.label and proof.at <= d.at <= until:
                return replace(proof, acted_at=d.at, led_to=d.reason)
        others = [h for h in self._holds.all(watch) if h.criterion != rule.label]
        if any(h.at <= proof.at < (h.until or inf) for h in others):
            return replace(proof, led_to="Not acted on by itself: a rollback was being held.")
        rolled = next((d for d in self._decisions.all() if d.action == Action.ROLLBACK and d.at <= until), None)
        if rolled is not None:
            return replace(proof, led_to=f"Nothing of its own: {rolled.criterion} had decided about the rollback.")
        if any(h.criterion == rule.label and proof.at <= h.at <= until for h in self._holds.all(watch)):
            return replace(proof, led_to="It was held.")
        if proof.cleared_at is not None and rule.row.action is Action.ROLLBACK:
            return replace(proof, led_to="Nothing: it cleared before anything was decided.")
        return proof
