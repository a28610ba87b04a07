"""The tables of a policy file compiled to rows, each checked against what its metric can be.

A row that nobody can measure, that can never be broken or that always is broken says nothing at run time, so all of it
is refused here, while somebody is looking at the file.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from watchdog.core.catalogue import (
    HEALTH_CHECK,
    INVESTIGATED,
    JOURNEYS,
    REQUEST_DROP,
    Dimension,
    Family,
    canonical_name,
)
from watchdog.core.conditions import format_quantity, parse_condition, quoted
from watchdog.core.findings import Findings, Path, format_path
from watchdog.core.model import Action, Condition, Row, Severity, Table, Window
from watchdog.core.policy_grammar import AlertFile, CriterionFile, ImmediateFile
from watchdog.core.suggest import closest
from watchdog.core.vocabulary import Measure, Vocabulary

SIGNALS: Final = ("critical_functionality_broken", "database_corruption", "security_vulnerability")
"""Signals that the checklist names. A team may add its own."""

_FLIPPED: Final = {"<": ">", "<=": ">=", ">": "<", ">=": "<="}


@dataclass(slots=True)
class RowCompiler:
    """Turns table rows of the file into `Row`s, one a severity, and keeps what else it learns on the way."""

    vocabulary: Vocabulary
    findings: Findings
    rows: list[Row] = field(default_factory=list)
    signals: set[str] = field(default_factory=set)
    notes: dict[str, str] = field(default_factory=dict)
    _places: dict[str, Path] = field(default_factory=dict)

    def criterion(self, read: CriterionFile, path: Path, window: Window | None = None) -> None:
        """A row of `success_criteria`, or of `window_criteria` for its window."""
        table, prefix = (Table.WINDOW, f"window.{window}") if window else (Table.SUCCESS, "success")
        measure = self._measure(read.metric, (*path, "metric"))
        if measure and measure.family is Family.JOURNEYS and read.alpha is not None:
            self.findings.problem(
                (*path, "alpha"), "journeys are judged by confirm, not by a meter: they have no alpha"
            )
        condition = self._condition(read.target, (*path, "target"), measure, target=True)
        actions = self._actions(read, path, "rollback")
        if len(actions) > 1:
            self.findings.problem(
                (*path, "action"), "a criterion has one action: only alerts have a warning and a critical"
            )
        if measure and self._is_new(prefix, measure.name, path) and condition and actions:
            action = actions[0]
            self._add(
                Row(
                    id=f"{prefix}.{measure.name}",
                    table=table,
                    metric=measure.name,
                    condition=condition,
                    action=action,
                    severity=Severity.CRITICAL if action is Action.ROLLBACK else Severity.WARNING,
                    windows=(window,) if window else self.vocabulary.windows,
                    alpha=read.alpha,
                    pending=measure.pending,
                ),
                read.note,
            )

    def alert(self, read: AlertFile, path: Path) -> None:
        """A row of `alert_thresholds`: one row for its warning, one for its critical."""
        measure = self._measure(read.metric, (*path, "metric"))
        if measure and measure.family is Family.JOURNEYS:
            self.findings.problem(
                (*path, "metric"),
                f"{measure.name} is no alert: a journey works or does not. Write it into success_criteria or "
                'window_criteria with target: "100%", or into immediately_if as failing',
            )
            return
        texts = {Severity.WARNING: read.warning, Severity.CRITICAL: read.critical}
        given = [s for s in texts if texts[s] is not None]
        if not given and not read.spoilt & {"warning", "critical"}:
            self.findings.problem(path, 'has neither warning nor critical; write for example warning: "> 0.5%"')
        conditions = {s: self._condition(texts[s], (*path, s.value), measure, target=False) for s in given}
        self._compare(conditions, path)
        actions = self._actions(read, path, "[investigate, rollback]")
        if len(actions) == 2 and len(given) == 1:
            self.findings.problem(
                (*path, "action"),
                "two actions need a warning and a critical: the first belongs to one, the second to the other",
            )
        if not measure or not self._is_new("alert", measure.name, path):
            return
        for severity, condition in conditions.items():
            if condition is None or not actions:
                continue
            self._add(
                Row(
                    id=f"alert.{measure.name}.{severity}",
                    table=Table.ALERT,
                    metric=measure.name,
                    condition=condition,
                    action=actions[-1] if severity is Severity.CRITICAL else actions[0],
                    severity=severity,
                    windows=self.vocabulary.windows,
                    alpha=read.alpha,
                    pending=measure.pending,
                ),
                read.note,
            )

    def immediate(self, read: ImmediateFile, path: Path, at: Path) -> None:
        """An entry of `immediately_if`: `METRIC > NUMBER`, `METRIC failing`, or a signal. Its text stands at `at`."""
        if (read.when is None) == (read.signal is None):
            if not read.spoilt:
                self.findings.problem(path, 'needs either a condition, for example "error_rate > 5%", or signal: NAME')
        elif read.signal is not None:
            self._signal(read.signal, (*path, "signal"), read)
        else:
            self._when(read.when or "", path, at, read)

    # --- inside ----------------------------------------------------------------------------------------------------

    def _signal(self, name: str, path: Path, read: ImmediateFile) -> None:
        meant = None if name in SIGNALS else closest(name, SIGNALS, cutoff=0.85)
        if meant:
            self.findings.problem(path, f'{quoted(name)} is no known signal; did you mean "{meant}"?')
        elif self._is_new("signal", name, path[:-1]):
            self.signals.add(name)
            if read.note:
                self.notes[f"signal.{name}"] = read.note
        if read.alpha is not None:
            self.findings.problem((*path[:-1], "alpha"), "a signal is a statement, not a measurement: it has no alpha")

    def _when(self, text: str, path: Path, at: Path, read: ImmediateFile) -> None:
        match = re.fullmatch(r"\s*([^\s<>=]+)\s*(.*?)\s*", text, re.DOTALL)
        if match is None:
            self.findings.problem(at, f'{quoted(text)} is not a condition; write for example "error_rate > 5%"')
            return
        measure = self._measure(match[1], at)
        failing = match[2] == "failing"
        if measure and failing:
            self._check_failing(measure, at)
            if read.alpha is not None:
                self.findings.problem(
                    (*path, "alpha"), "failing is decided by confirm, not by a meter: it has no alpha"
                )
        condition = None if failing else self._condition(match[2], at, measure, target=False)
        if measure and self._is_new("immediate", measure.name, path) and (failing or condition):
            self._add(
                Row(
                    id=f"immediate.{measure.name}",
                    table=Table.IMMEDIATE,
                    metric=measure.name,
                    condition=condition,
                    action=Action.ROLLBACK,
                    severity=Severity.CRITICAL,
                    windows=self.vocabulary.windows,
                    alpha=read.alpha,
                    pending=measure.pending,
                ),
                read.note,
            )

    def _check_failing(self, measure: Measure, path: Path) -> None:
        if measure.family is Family.JOURNEYS:
            if measure.name == JOURNEYS and not self.vocabulary.critical_journeys:
                self.findings.problem(path, "journeys can never be failing: every journey says critical: false")
            return
        if measure.family is not Family.PROBES:
            example = f"{measure.name} > 5%" if measure.dimension is Dimension.RATIO else f"{measure.name} > 100"
            self.findings.problem(
                path, f'only probes can be failing; write a threshold for {measure.name}, for example "{example}"'
            )
        elif measure.name == HEALTH_CHECK and not self.vocabulary.critical_probes:
            self.findings.problem(path, "health_check can never be failing: every probe says critical: false")

    def _actions(self, read: CriterionFile | AlertFile, path: Path, example: str) -> Sequence[Action]:
        """What a row asks for; a metric that seldom speaks of the release alone asks for a person by itself."""
        if read.action or "action" in read.spoilt:
            return read.action or ()
        if canonical_name((read.metric or "").strip()) in INVESTIGATED:
            return (Action.INVESTIGATE,)
        self.findings.problem((*path, "action"), f"is missing; write for example action: {example}")
        return ()

    def _measure(self, metric: str | None, path: Path) -> Measure | None:
        if metric is None:
            return None
        try:
            return self.vocabulary.measure(metric)
        except ValueError as error:
            self.findings.problem(path, str(error))
            return None

    def _condition(self, text: str | None, path: Path, measure: Measure | None, *, target: bool) -> Condition | None:
        if text is None:
            return None
        # Of a metric that is unknown anyway, 100% may well have been a target for a probe.
        bare = target and (measure is None or measure.family in {Family.PROBES, Family.JOURNEYS})
        try:
            condition = parse_condition(text, measure.dimension if measure else None, bare_share=bare)
            if measure:
                self._check_direction(condition, measure, path, target=target)
                _check_possible(condition, measure)
        except ValueError as error:
            name = f"{measure.name}: " if measure else ""
            self.findings.problem(path, f"{name}{error}")
            return None
        return condition

    def _check_direction(self, condition: Condition, measure: Measure, path: Path, *, target: bool) -> None:
        """A target says what must hold and a threshold what must not; writing the one as the other is a usual slip."""
        if measure.high_is_bad is None:
            return
        wanted = "<" if measure.high_is_bad is target else ">"
        if condition.op.startswith(wanted):
            return
        role = "a target says what must hold" if target else "a threshold says what must not happen"
        meant = f"{_FLIPPED[condition.op]} {format_quantity(condition.value, condition.unit)}"
        said = f'{quoted(condition.text)} points the wrong way, since {role}; did you mean "{meant}"?'
        if measure.family is not Family.GAUGE:
            raise ValueError(said)
        self.findings.warning(path, f"{measure.name}: {said}")

    def _compare(self, conditions: Mapping[Severity, Condition | None], path: Path) -> None:
        """A warning has to come before its critical."""
        warning, critical = conditions.get(Severity.WARNING), conditions.get(Severity.CRITICAL)
        if not warning or not critical:
            return
        if warning.op[0] != critical.op[0]:
            self.findings.problem(
                (*path, "warning"),
                f"{quoted(warning.text)} and critical {quoted(critical.text)} point in opposite directions",
            )
            return
        looser = warning.value > critical.value if warning.op[0] == ">" else warning.value < critical.value
        if looser and warning.relative == critical.relative:
            self.findings.problem(
                (*path, "warning"),
                f"{quoted(warning.text)} is looser than critical {quoted(critical.text)}, so it never comes first; "
                "did you swap them?",
            )

    def _is_new(self, prefix: str, name: str, path: Path) -> bool:
        first = self._places.setdefault(f"{prefix}.{name}", path)
        if first != path:
            self.findings.problem(path, f"is a second row for {name}; the first is {format_path(first)}")
            return False
        return True

    def _add(self, row: Row, note: str | None) -> None:
        self.rows.append(row)
        if note:
            self.notes[row.id] = note


def _check_possible(condition: Condition, measure: Measure) -> None:
    """Refuses what can never happen or always does. Raises `ValueError`."""
    text, op, value = quoted(condition.text), condition.op, condition.value
    if measure.family is Family.JOURNEYS:
        if condition.relative or op != ">=" or value != 1:
            raise ValueError(f'{text}: a journey works or does not; write "100%", or "{measure.name} failing"')
        return
    if condition.relative:
        if measure.name == REQUEST_DROP:
            raise ValueError(f'{text}: it says what is missing compared with before already; write for example "50%"')
        if measure.family is Family.PROBES:
            raise ValueError(f'{text}: probes are not compared with before; write "100%"')
        if not measure.has_past:
            raise ValueError(f"{text}: its source only knows what is now, so there is no before; name a number")
        return
    if measure.family is Family.ERRORS and not 0 < value < 1:
        raise ValueError(f'{text} cannot be judged: name a share above 0% and below 100%, for example "0.1%"')
    if measure.family in {Family.LATENCY, Family.PROBES} and value == 0:
        raise ValueError(
            f"{text} says nothing: every answer takes time"
            if measure.family is Family.LATENCY
            else f"{text} says nothing: it never depends on the probes"
        )
    share = measure.dimension is Dimension.RATIO
    if (op == "<" and value == 0) or (op == ">" and share and value == 1):
        raise ValueError(f"{text} can never be true")
    if (op == ">=" and value == 0) or (op == "<=" and share and value == 1):
        raise ValueError(f"{text} is always true")


def read_immediate(item: object, path: Path, findings: Findings) -> tuple[ImmediateFile | None, Path]:
    """An entry of `immediately_if` in either of its forms, and where its text stands."""
    if isinstance(item, str):
        return ImmediateFile(when=item), path
    return ImmediateFile.read(item, path, findings), (*path, "when")
