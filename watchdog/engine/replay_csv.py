"""Evidence as a table: `start_s,end_s,seen_s,check,bad,total,value,missing`, one row a sample.

Times are seconds since the cutover, rows may stand in any order. Whatever cannot be evidence is told with its line and
column, all of it at once: a replay of half a file would be a verdict on something that nobody wrote down.
"""

import csv
import io
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Final

from watchdog.core.catalogue import (
    HEALTH_CHECK,
    PROBE_PREFIX,
    Dimension,
    Family,
    canonical_name,
    family,
    known_metric,
)
from watchdog.core.model import Counts, Evidence, Missing, Sample, Value
from watchdog.core.policy import Policy
from watchdog.core.rules import UPPER, Rules, compile_rules
from watchdog.core.suggest import closest, did_you_mean
from watchdog.engine.replay import CANDIDATE
from watchdog.errors import ConfigError

COLUMNS: Final = ("start_s", "end_s", "seen_s", "check", "bad", "total", "value", "missing")
HEADER: Final = ",".join(COLUMNS)
MOST_PROBLEMS: Final = 100
"""Problems that are told; a file of the wrong kind has one in every row."""
DIRECT_S: Final = 10.0
"""Rows up to this wide come from a feed that is 10 s late, wider ones from one that is 180 s late (DESIGN section 8).
The two are different sources, and feeds are never merged."""
LONGEST_S: Final = 366 * 86_400.0

_NUMBER = re.compile(r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d{1,3})?", re.ASCII)
_PERCENT = 2.0
"""A share above this was probably written in percent."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidenced:
    """A file's evidence: samples in the order in which they were seen, the end of the last one, and what was odd."""

    samples: tuple[Sample, ...]
    rows: int
    last_s: float
    warnings: tuple[str, ...]


def read_csv(text: str, name: str, policy: Policy) -> Evidenced:
    """The evidence in a table, for the checks of this policy; `name` is the file's, for messages.

    Raises `ConfigError` with every problem, each `FILE:LINE: COLUMN: SENTENCE`.
    """
    return _Reader(name, policy).read(text)


@dataclass(frozen=True, slots=True)
class _Row:
    """One row, understood. Compared as a whole, rows have one order, however they were shuffled."""

    seen: float
    end: float
    start: float
    check: str
    missing: str
    bad: float
    total: float
    value: float

    @property
    def order(self) -> tuple[float, float, float, str, str, float, float, float]:
        return (self.seen, self.end, self.start, self.check, self.missing, self.bad, self.total, self.value)

    @property
    def evidence(self) -> Evidence:
        if self.missing:
            return Missing(self.missing)
        return Counts(self.bad, self.total) if self.total >= 0.0 else Value(self.value)


_NONE = -1.0
"""Stands for an empty cell in a `_Row`: no count is negative."""


@dataclass(slots=True)
class _Reader:
    name: str
    policy: Policy
    rules: Rules = field(init=False)
    problems: list[str] = field(default_factory=list)
    known: dict[str, tuple[str, ...]] = field(default_factory=dict)
    """Check as the file names it → the checks that its rows are evidence for."""
    unread: set[str] = field(default_factory=set)
    percents: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.rules = compile_rules(self.policy, cold_start=False)

    def read(self, text: str) -> Evidenced:
        rows = list(self._rows(text))
        if self.problems:
            raise ConfigError(*self._told())
        rows.sort(key=lambda row: row.order)
        return Evidenced(
            samples=tuple(sample for row in rows for sample in self._samples(row)),
            rows=len(rows),
            last_s=max(row.end for row in rows),
            warnings=tuple(self._warnings()),
        )

    # --- from text to rows -----------------------------------------------------------------------------------------

    def _rows(self, text: str) -> Iterator[_Row]:
        lines = csv.reader(io.StringIO(text.removeprefix("\ufeff"), newline=""), strict=True)
        columns: list[int] | None = None
        found = False
        try:
            for cells in lines:
                if not any(cell.strip() for cell in cells):
                    continue
                if columns is None:
                    columns = self._header(lines.line_num, cells)
                    width = len(cells)
                    if columns is None:
                        return
                    continue
                found = True
                if len(cells) != width:
                    self._problem(lines.line_num, "", f"has {len(cells)} cells, the header has {width}")
                    continue
                if (row := self._row(lines.line_num, [cells[i] for i in columns])) is not None:
                    yield row
        except csv.Error as error:
            self._problem(lines.line_num, "", f"is not CSV: {error}")
            return
        if columns is None:
            self._problem(1, "", f"is empty; begin with the header {HEADER}")
        elif not found:
            self._problem(lines.line_num, "", "has no row below the header, so there is nothing to judge")

    def _header(self, line: int, cells: Sequence[str]) -> list[int] | None:
        """Where each of `COLUMNS` stands; None when the header cannot be used."""
        names = [cell.strip() for cell in cells]
        before = len(self.problems)
        missing = [column for column in COLUMNS if column not in names]
        if len(missing) == len(COLUMNS):
            self._problem(line, "", f"the header is missing; the first line has to be {HEADER}")
            return None
        for column in missing:
            self._problem(line, column, f"is missing in the header, which has to be {HEADER}")
        for i, cell in enumerate(names):
            if cell not in COLUMNS:
                self._problem(line, cell or f"column {i + 1}", f"is no column{did_you_mean(cell, COLUMNS)}")
            elif cell in names[:i]:
                self._problem(line, cell, "stands twice in the header")
        return [names.index(column) for column in COLUMNS] if len(self.problems) == before else None

    def _row(self, line: int, cells: Sequence[str]) -> _Row | None:
        before = len(self.problems)
        start, end, seen = self._times(line, cells)
        check = cells[3].strip()
        missing = cells[7].strip()
        bad = self._number(line, "bad", cells[4])
        total = self._number(line, "total", cells[5])
        checks = self._checks_of(check)
        signed = bool(checks) and known_metric(checks[0]) is None and checks[0] not in self.policy.probes
        value = self._number(line, "value", cells[6], signed=signed)
        if not check:
            self._problem(line, "check", "is empty; name a metric, a probe or health_check")
        if len(self.problems) == before:
            self._kinds(line, check, checks, bad=bad, total=total, value=value, missing=missing)
        if len(self.problems) != before or start is None or end is None:
            return None
        return _Row(
            seen=end if seen is None else seen,
            end=end,
            start=start,
            check=check,
            missing=missing,
            bad=_NONE if bad is None else bad,
            total=_NONE if total is None else total,
            value=0.0 if value is None else value,
        )

    def _times(self, line: int, cells: Sequence[str]) -> tuple[float | None, float | None, float | None]:
        before = len(self.problems)
        times = [self._number(line, column, cell) for column, cell in zip(COLUMNS[:3], cells[:3], strict=True)]
        for column, at in zip(COLUMNS[:3], times, strict=True):
            if at is None and column != "seen_s" and len(self.problems) == before:
                self._problem(line, column, "is empty; write seconds since the cutover")
            if at is not None and at > LONGEST_S:
                self._problem(line, column, f"{at:.15g} is more than a year; times are seconds since the cutover")
        start, end, seen = times
        if len(self.problems) == before and start is not None and end is not None:
            if end <= start:
                self._problem(line, "end_s", f"{end:.15g} is not after start_s {start:.15g}")
            elif seen is not None and seen < start:
                self._problem(line, "seen_s", f"{seen:.15g} is before start_s {start:.15g}: not seen yet")
        return start, end, seen

    def _number(self, line: int, column: str, cell: str, *, signed: bool = False) -> float | None:
        """The number in a cell; None when it is empty or a problem was noted."""
        text = cell.strip()
        if not text:
            return None
        if _NUMBER.fullmatch(text) is None:
            self._problem(line, column, f'"{text[:40]}" is not a number')
            return None
        number = float(text)
        if number - number != 0.0:
            self._problem(line, column, f'"{text[:40]}" is too large')
            return None
        if number < 0.0 and not signed:
            self._problem(line, column, f"{text[:40]} is negative")
            return None
        return number

    def _kinds(
        self,
        line: int,
        check: str,
        checks: tuple[str, ...],
        *,
        bad: float | None,
        total: float | None,
        value: float | None,
        missing: str,
    ) -> None:
        """One kind of evidence a row, and the kind that the check is judged by."""
        counted = bad is not None or total is not None
        kinds = [("bad and total", counted), ("value", value is not None), ("missing", bool(missing))]
        filled = [kind for kind, there in kinds if there]
        if len(filled) > 1:
            self._problem(line, filled[1], f"stands beside {filled[0]}; a row is counts, a value or missing")
        elif not filled:
            self._problem(line, "bad", "is empty like total, value and missing; fill in one kind of evidence")
        elif counted and (bad is None or total is None):
            self._problem(line, "bad" if bad is None else "total", "is empty; counts need both bad and total")
        elif bad is not None and total is not None and bad > total:
            self._problem(line, "bad", f"{bad:.15g} is more than total {total:.15g}")
        elif checks and value is not None and self._family(checks[0]) in {Family.ERRORS, Family.PROBES}:
            self._problem(line, "value", f"{check} is judged by counts: without bad and total a share proves nothing")
        elif checks and counted and self._family(checks[0]) is Family.GAUGE:
            self._problem(line, "bad", f"{check} is a gauge; write its reading into value")
        elif value is not None and value > _PERCENT and _is_share(check):
            self.percents.add(check)

    def _family(self, check: str) -> Family:
        if check in self.policy.probes:
            return Family.PROBES
        return Family.LATENCY if check.startswith("slower_than_") else family(check)

    # --- from rows to samples --------------------------------------------------------------------------------------

    def _checks_of(self, name: str) -> tuple[str, ...]:
        """The checks that rows of this name are evidence for; empty when no rule reads it."""
        found = self.known.get(name)
        if found is None:
            found = tuple(check for check in self._meant(name) if check in self.rules.by_check)
            self.known[name] = found
            if not found and name:
                self.unread.add(name)
        return found

    def _meant(self, name: str) -> tuple[str, ...]:
        if name == HEALTH_CHECK:
            return tuple(probe.name for probe in self.policy.probes.values() if probe.critical)
        if name.startswith(PROBE_PREFIX):
            return (name.removeprefix(PROBE_PREFIX),)
        if name.startswith("slower_than_"):  # as journals name these counts; a table has but one bound
            return (name, name + UPPER)
        return (canonical_name(name),)

    def _samples(self, row: _Row) -> Iterator[Sample]:
        source = "direct" if row.end - row.start <= DIRECT_S else "lagged"
        for check in self._checks_of(row.check):
            yield Sample(
                source=source,
                check=check,
                revision=CANDIDATE,
                start=row.start,
                end=row.end,
                seen=row.seen,
                evidence=row.evidence,
            )

    # --- what is said ----------------------------------------------------------------------------------------------

    def _problem(self, line: int, column: str, sentence: str) -> None:
        where = f"{column}: " if column else ""
        self.problems.append(f"{self.name}:{max(line, 1)}: {where}{sentence}")

    def _told(self) -> Iterator[str]:
        yield from islice(self.problems, MOST_PROBLEMS)
        if len(self.problems) > MOST_PROBLEMS:
            yield f"{self.name}: and {len(self.problems) - MOST_PROBLEMS} more problems"

    def _warnings(self) -> Iterator[str]:
        names = sorted({*self.rules.by_check, HEALTH_CHECK})
        for name in sorted(self.unread):
            idle = [r.why_not for r in self.rules.rules if r.row.metric == canonical_name(name) and r.why_not]
            best = None if idle else closest(name, names)
            hint = f'; did you mean "{best}"?' if best else ""
            why = idle[0] if idle else "no row of the policy judges it"
            yield f'{self.name}: rows of the check "{name}" are ignored: {why}{hint}'
        for name in sorted(self.percents):
            yield f"{self.name}: {name} has values above {_PERCENT:g}; shares are written as 0.85, not as 85"


def _is_share(check: str) -> bool:
    known = known_metric(check)
    return known is not None and known.dimension is Dimension.RATIO
