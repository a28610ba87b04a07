"""The tables of a watch's page, row by row: criteria, probes, decisions, timeline."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from watchdog.core import trial_text
from watchdog.core.advice import LOUD
from watchdog.core.report_text import clock_text, date_text, is_silent, offset_text, percent_text, seconds_of, span_text
from watchdog.core.text import iso
from watchdog.web.words import Look, probe_look, verdict_look, window_name


@dataclass(frozen=True, slots=True, kw_only=True)
class Moment:
    """A time for people: `iso` for machines, `clock` and `date` in UTC, `offset` since the cutover."""

    iso: str
    clock: str
    date: str
    offset: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class CriterionRow:
    """One row of the criteria table."""

    id: str
    label: str
    action: str
    window: str
    look: Look
    value: str
    threshold: str
    counted: str
    fullness: float
    fullness_text: str
    source: str
    reason: str
    since: Moment | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ProbeRow:
    """One probe."""

    name: str
    look: Look
    armed: bool
    streak: str
    passed: str
    failed: str
    missing: str
    last: Moment | None
    duration: str
    detail: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """A line of a list with its time."""

    at: Moment | None
    kind: str
    text: str
    tone: str = "off"


def moment(at: Any, origin: float | None = None) -> Moment | None:
    """The time for people; None stays None."""
    seconds = seconds_of(at)
    if seconds is None:
        return None
    return Moment(
        iso=iso(seconds) or "",
        clock=clock_text(seconds),
        date=date_text(seconds),
        offset=offset_text(seconds, origin),
    )


def criteria(view: Mapping[str, Any]) -> Sequence[CriterionRow]:
    """The rows with evidence, worst first, in the policy's order among equals."""
    order = {verdict: i for i, verdict in enumerate((*LOUD, "PASS", "INCONCLUSIVE"))}
    rows = sorted(
        (r for r in view.get("criteria") or () if not is_silent(r)), key=lambda r: order.get(str(r.get("verdict")), 9)
    )
    origin = seconds_of(view.get("cutover_at"))
    return [
        CriterionRow(
            id=str(row["id"]),
            label=str((row.get("metric") if _limit(row) else row.get("label")) or row["id"]),
            action=str(row.get("action") or "").replace("_", " "),
            window=window_name(row.get("window")) if row.get("table") == "window_criteria" else "",
            look=verdict_look(row.get("verdict")),
            value=str(row.get("value_text") or "–"),
            threshold=_limit(row),
            counted=f"{row['bad']:g} of {row['n']:g}" if row.get("n") and row.get("bad") is not None else "",
            fullness=100.0 * min(1.0, max(0.0, row.get("fullness") or 0.0)),
            fullness_text=percent_text(row.get("fullness")),
            source=str(row.get("source") or ""),
            reason=str(row.get("reason") or ""),
            since=moment(row.get("since"), origin) if row.get("verdict") in LOUD else None,
        )
        for row in rows
    ]


def _limit(row: Mapping[str, Any]) -> str:
    """The limit for its own column; `health_check failing` has none, its label says it all."""
    text = str(row.get("threshold_text") or "")
    return "" if text == "failing" else text


def probes(view: Mapping[str, Any]) -> Sequence[ProbeRow]:
    """The policy's probes."""
    origin = seconds_of(view.get("cutover_at"))
    return [
        ProbeRow(
            name=str(probe["name"]),
            look=probe_look(probe.get("state")),
            armed=bool(probe.get("armed", True)),
            streak=_streak(probe.get("streak") or 0, probe.get("needed") or 0),
            passed=_count(probe.get("passed")),
            failed=_count(probe.get("failed")),
            missing=_count(probe.get("missing")),
            last=moment(probe.get("last_at"), origin),
            duration=_duration(probe.get("last_duration_s")),
            detail=str(probe.get("last_detail") or probe.get("last_reason") or ""),
        )
        for probe in view.get("probes") or ()
    ]


@dataclass(frozen=True, slots=True, kw_only=True)
class StepRow:
    """One step of a journey's last run."""

    name: str
    look: Look
    status: str
    duration: str
    detail: str


@dataclass(frozen=True, slots=True, kw_only=True)
class JourneyRow:
    """One journey and the steps of its last run."""

    name: str
    title: str
    look: Look
    at: Moment | None
    left_out: str
    steps: Sequence[StepRow]


def journeys(view: Mapping[str, Any]) -> Sequence[JourneyRow]:
    """The policy's journeys."""
    origin = seconds_of(view.get("cutover_at"))
    states = {p["name"]: p.get("state") for p in view.get("probes") or ()}
    return [
        JourneyRow(
            name=str(j["name"]),
            title=str(j.get("title") or j["name"]),
            look=probe_look(states.get(j["name"])),
            at=moment(j.get("at"), origin),
            left_out=str(j.get("left_out") or ""),
            steps=[
                StepRow(
                    name=str(s["name"]) + (" (cleanup)" if s.get("cleanup") else ""),
                    look=probe_look(_STEP_STATES.get(str(s.get("result")))),
                    status=str(s.get("status") or ""),
                    duration=_duration(s.get("seconds")) if s.get("result") != "skipped" else "",
                    detail=str(s.get("detail") or ("skipped" if s.get("result") == "skipped" else "")),
                )
                for s in j.get("steps") or ()
            ],
        )
        for j in view.get("journeys") or ()
    ]


_STEP_STATES = {"passed": "passing", "failed": "failing", "missing": "missing"}


def _streak(failures: int, needed: int) -> str:
    if not failures:
        return ""
    return f"{failures} of {needed} in a row" if failures < needed else f"{failures} in a row"


def _count(number: Any) -> str:
    return f"{number or 0:,.0f}".replace(",", "\N{THIN SPACE}")


def _duration(seconds: float | None) -> str:
    if seconds is None:
        return ""
    return f"{seconds * 1000:.0f} ms" if seconds < 1 else span_text(seconds)


def rollback_lines(view: Mapping[str, Any]) -> Sequence[Line]:
    """The steps of the rollback that have happened, in order, each with the time since the decision."""
    rollback = view.get("rollback") or {}
    decided = seconds_of(rollback.get("decided_at"))
    steps = (
        ("decided_at", "warn", f"Decided: {rollback.get('trigger') or 'rollback'}"),
        ("written_at", "bad", "Traffic write accepted"),
        ("restored_at", "info", "The old revision serves again"),
        ("verified_at", "good", "Recovery proven"),
    )
    found = [
        (seconds_of(rollback[name]) or 0.0, Line(at=moment(rollback[name], decided), kind=name, text=text, tone=tone))
        for name, tone, text in steps
        if rollback.get(name)
    ]
    found += [
        (seconds_of(at) or 0.0, Line(at=moment(at, decided), kind="trial", text=text, tone="warn"))
        for text, at in trial_text.steps(view)
        if at
    ]
    return [line for _, line in sorted(found, key=lambda pair: pair[0])]


def lines(view: Mapping[str, Any], part: str) -> Sequence[Line]:
    """`decisions` or `timeline`, newest first."""
    origin = seconds_of(view.get("cutover_at"))
    return [
        Line(
            at=moment(entry.get("at"), origin),
            kind=str(entry.get("kind") or entry.get("action") or "").replace("_", " "),
            text=str(entry.get("text") or entry.get("reason") or ""),
        )
        for entry in reversed(view.get(part) or ())
    ]
