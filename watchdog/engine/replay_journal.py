"""A watch's journal from outside: what `GET /api/v1/watches/{id}/events` answers, or a store's own records.

Replayed, it has to give the decisions that were taken live; `differences` says where it does not.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any, Final

from watchdog.core.events import Event, Opened
from watchdog.core.journal import JournalError, decode
from watchdog.core.policy import Policy
from watchdog.core.report import view
from watchdog.core.report_text import offset_text, seconds_of
from watchdog.engine.replay import Judgement
from watchdog.engine.replay_csv import MOST_PROBLEMS
from watchdog.errors import ConfigError
from watchdog.ports import Record

SAME_S: Final = 0.005
"""Times of a read model, and of journals without `at_unix_s`, are cut to a millisecond."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Journal:
    """A journal, understood. `shown` is the watch's read model where it came along: decisions, outcome, reason."""

    opening: Opened
    events: tuple[Event, ...]
    shown: Mapping[str, Any] | None = None

    def is_under(self, policy: Policy) -> bool:
        """Whether the watch was judged by this very policy, wherever the service was (one watch sees one region)."""
        mine, other = dict(self.opening.policy), policy.canonical()
        return {**mine, "service": None} == {**other, "service": None}


def looks_like_json(text: str) -> bool:
    """Whether the text is JSON rather than a table."""
    return text.removeprefix("\ufeff").lstrip()[:1] in {"{", "["}


def read_journal(text: str, name: str) -> Journal:
    """The journal in a text: JSON lines, a JSON list, or the report's JSON with `watch` and `events`.

    Raises `ConfigError` with every problem, each with its line or its record.
    """
    rows, shown = _rows(text.removeprefix("\ufeff"), name)
    reader = _Reader(name)
    found = [reader.record(place, row) for place, row in rows]
    return reader.journal([f for f in found if f is not None], shown)


def journal_of(records: Iterable[Record], name: str, shown: Mapping[str, Any] | None = None) -> Journal:
    """The journal of a store's records. Raises `ConfigError` when it cannot be replayed."""
    reader = _Reader(name)
    found = [reader.decoded(f"record {r.seq}", r.seq, r.kind, r.schema, r.at, r.body) for r in records]
    return reader.journal([f for f in found if f is not None], shown)


def differences(journal: Journal, judged: Judgement) -> list[str]:
    """Where the replay decided otherwise than the live watch did; empty when it is reproduced."""
    found = [
        *(f"the journal writes traffic at {_at(judged, a)}, which the replay did not ask for" for a in judged.unasked),
        *(f"the replay rolls back at {_at(judged, a)}, which the journal goes on without" for a in judged.unanswered),
    ]
    if journal.shown is None:
        return found
    mine = view(judged.watch)
    found += [
        f"{word}: live {_quoted(journal.shown.get(word))}, replayed {_quoted(mine[word])}"
        for word in ("outcome", "reason")
        if (mine[word] or None) != (journal.shown.get(word) or None)
    ]
    live, again = list(journal.shown.get("decisions") or ()), mine["decisions"]
    for i in range(max(len(live), len(again))):
        one, other = _decision(live, i), _decision(again, i)
        if one is None or other is None or one[1:] != other[1:] or abs(one[0] - other[0]) > SAME_S:
            found.append(f"decision {i + 1}: live {_told(one, judged)}, replayed {_told(other, judged)}")
    return found


# --- text to rows -------------------------------------------------------------------------------------------------

_Row = tuple[str, Any]
"""Where it stands, and what stands there."""


def _rows(text: str, name: str) -> tuple[list[_Row], Mapping[str, Any] | None]:
    try:
        whole = json.loads(text)
    except (ValueError, RecursionError):
        return _lines(text, name), None
    shown: Mapping[str, Any] | None = None
    if isinstance(whole, dict) and isinstance(whole.get("events"), list):
        shown = whole.get("watch") if isinstance(whole.get("watch"), dict) else None
        whole = whole["events"]
    rows = whole if isinstance(whole, list) else [whole]
    return [(f"record {i}", row) for i, row in enumerate(rows, start=1)], shown


def _lines(text: str, name: str) -> list[_Row]:
    rows: list[_Row] = []
    problems: list[str] = []
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip():
            continue
        try:
            rows.append((str(number), json.loads(line)))
        except (ValueError, RecursionError) as error:
            problems.append(f"{name}:{number}: is not JSON: {error}")
    if problems:
        raise ConfigError(*_bounded(problems, name))
    return rows


@dataclass(frozen=True, slots=True)
class _Found:
    place: str
    seq: int | None
    event: Event


@dataclass(slots=True)
class _Reader:
    name: str
    problems: list[str] = field(default_factory=list)

    def record(self, place: str, row: Any) -> _Found | None:
        """The event of a row; None when a problem was noted."""
        if not isinstance(row, dict) or not isinstance(row.get("kind"), str) or not isinstance(row.get("body"), dict):
            self._problem(place, 'is no journal record: it needs "kind", "at", "schema" and "body"')
            return None
        word = "at" if row.get("at_unix_s") is None else "at_unix_s"
        try:
            at = seconds_of(row.get(word))
        except (TypeError, ValueError):
            at = None
        if at is None or at - at != 0.0:
            self._problem(place, f'"{word}" is {_quoted(row.get(word))}, which is neither ISO 8601 nor Unix seconds')
            return None
        schema, seq = row.get("schema", 1), row.get("seq")
        if type(schema) is not int or (seq is not None and type(seq) is not int):
            self._problem(place, '"schema" and "seq" have to be whole numbers')
            return None
        return self.decoded(place, seq, row["kind"], schema, at, row["body"])

    def decoded(
        self, place: str, seq: int | None, kind: str, schema: int, at: float, body: Mapping[str, Any]
    ) -> _Found | None:
        """The event of a record; None when a problem was noted."""
        try:
            return _Found(place, seq, decode(kind, schema, at, body))
        except JournalError as error:
            self._problem(place, str(error))
        except (IndexError, AttributeError) as error:
            self._problem(place, f"the {kind} event is damaged: {error!r}")
        return None

    def journal(self, found: Sequence[_Found], shown: Mapping[str, Any] | None) -> Journal:
        """All of it in order. Raises `ConfigError` with every problem."""
        rows = self._in_order(found)
        if not rows and not self.problems:
            self._problem("", "has no record, so there is nothing to judge")
        first = rows[0].event if rows else None
        if rows and not isinstance(first, Opened):
            self._problem(rows[0].place, "does not begin with watch_opened; fetch the journal from its beginning")
        for row in rows[1:]:
            if isinstance(row.event, Opened):
                self._problem(row.place, "opens another watch; one journal is replayed at a time")
        if self.problems or not isinstance(first, Opened):
            raise ConfigError(*_bounded(self.problems, self.name))
        return Journal(opening=first, events=tuple(row.event for row in rows[1:]), shown=shown)

    def _in_order(self, found: Sequence[_Found]) -> list[_Found]:
        """By their numbers, where they have any; pages that overlap give the same record twice."""
        if any(row.seq is None for row in found):
            return list(found)
        by_seq: dict[int, _Found] = {}
        for row in found:
            seq = row.seq or 0
            if seq in by_seq and by_seq[seq].event != row.event:
                self._problem(row.place, f"has the number {seq} like another record that differs")
            by_seq[seq] = row
        rows = [by_seq[seq] for seq in sorted(by_seq)]
        for before, row in pairwise(rows):
            gap = (row.seq or 0) - (before.seq or 0) - 1
            if gap and not self.problems:
                self._problem(row.place, f"{gap} records before number {row.seq} are missing")
        return rows

    def _problem(self, place: str, sentence: str) -> None:
        where = f"{self.name}:{place}" if place.isdigit() else f"{self.name}: {place}".removesuffix(": ")
        self.problems.append(f"{where}: {sentence}")


def _bounded(problems: Sequence[str], name: str) -> list[str]:
    more = len(problems) - MOST_PROBLEMS
    return [*problems[:MOST_PROBLEMS], *([f"{name}: and {more} more problems"] if more > 0 else [])]


# --- words --------------------------------------------------------------------------------------------------------


def _decision(rows: Sequence[Mapping[str, Any]], index: int) -> tuple[float, str, str, str] | None:
    if index >= len(rows):
        return None
    row = rows[index]
    return seconds_of(row.get("at")) or 0.0, str(row["action"]), str(row["criterion"]), str(row["reason"])


def _told(decision: tuple[float, str, str, str] | None, judged: Judgement) -> str:
    if decision is None:
        return "none"
    at, action, criterion, reason = decision
    return f"{action} for {criterion} at {_at(judged, at - judged.origin)} ({reason})"


def _at(judged: Judgement, at_s: float) -> str:
    return offset_text(at_s, 0.0) if judged.watch.cutover_at is not None else f"{at_s:.1f} s after the opening"


def _quoted(value: object) -> str:
    return "nothing" if value in (None, "") else f'"{str(value)[:200]}"'
