"""From a watch's read model to what its page shows: words, bars, markers. Templates only print.

Views may come from an older version of ours, so nothing but the identity of a watch is taken for granted.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from watchdog.core import marks, trial_text
from watchdog.core.advice import LOUD, Step, headline, next_steps, release_steps
from watchdog.core.report_text import (
    clock_text,
    offset_text,
    percent_text,
    seconds_of,
    silent_rows,
    span_text,
)
from watchdog.core.text import iso
from watchdog.web.rows import criteria, journeys, lines, moment, probes, rollback_lines
from watchdog.web.words import Look, watch_look, window_look, window_name

NEW_ERRORS: Final = 10
"""Kinds of new errors that a page shows."""
_QUIET_S: Final[Mapping[str, float]] = {"immediate": 30.0, "short_term": 60.0, "extended": 180.0}
"""By window: silence that is longer than three probes is no longer normal."""


_PLAIN: Final[Mapping[str, Any]] = {
    "version": "",
    "deployer": "",
    "mode": "",
    "doubt": "",
    "previous": {},
    "rollback_safe": True,
    "project": "",
}
"""What templates read straight from the view, as it is when the view does not say."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Age:
    """How old the newest evidence is. `stale`: older than can be normal."""

    iso: str
    text: str
    stale: bool
    limit_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Segment:
    """A part of the traffic bar, in percent of its width."""

    revision: str
    percent: float
    start: float
    role: str
    """`new`, `old` or `other`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Marker:
    """An event on a window's bar, at a percentage of its width."""

    at: float
    tone: str
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class WindowBar:
    """One window: how far it has gone, how much of it was seen, what it says."""

    name: str
    state: str
    begins: str
    ends: str
    elapsed: float
    coverage: str
    look: Look
    markers: Sequence[Marker]


def age_of(view: Mapping[str, Any], now: float) -> Age | None:
    """None for what has ended, or has not begun to be judged."""
    seen = seconds_of(view.get("last_evaluation_at"))
    if seen is None or view.get("state") in ("ended", "pending"):
        return None
    limit = _QUIET_S.get(str(view.get("window")), 180.0)
    age = max(0.0, now - seen)
    return Age(iso=iso(seen) or "", text=span_text(age), stale=age > limit, limit_s=limit)


def traffic(view: Mapping[str, Any]) -> Sequence[Segment]:
    """The present split; the watched revision comes first."""
    split: Mapping[str, float] = view.get("split") or {}
    previous = view.get("previous") or {}
    total = sum(split.values()) or 1.0
    segments, start = [], 0.0
    for revision in sorted(split, key=lambda r: (r != view["revision"], r not in previous, r)):
        percent = 100.0 * split[revision] / total
        role = "new" if revision == view["revision"] else "old" if revision in previous else "other"
        segments.append(Segment(revision=revision, percent=percent, start=start, role=role))
        start += percent
    return segments


def windows(view: Mapping[str, Any], now: float) -> Sequence[WindowBar]:
    """All windows with what happened in them."""
    origin = seconds_of(view.get("cutover_at"))
    until = min(now, seconds_of(view.get("ended_at")) or now)
    bars = []
    for window in view.get("windows") or ():
        begin, end = seconds_of(window.get("starts_at")), seconds_of(window.get("ends_at"))
        known = begin is not None and end is not None and end > begin
        bars.append(
            WindowBar(
                name=window_name(window.get("name")),
                state="not reached" if window.get("state") in (None, "none") else str(window["state"]),
                begins=offset_text(begin, origin),
                ends=offset_text(end, origin),
                elapsed=100.0 * _within(until, begin, end) if known and begin is not None and end is not None else 0.0,
                coverage=percent_text(window.get("coverage")),
                look=window_look(window, view),
                markers=_markers(view, begin, end) if begin is not None and end is not None else (),
            )
        )
    return bars


def _within(at: float, begin: float, end: float) -> float:
    return min(1.0, max(0.0, (at - begin) / (end - begin)))


def _markers(view: Mapping[str, Any], begin: float, end: float) -> Sequence[Marker]:
    rollback = view.get("rollback") or {}
    found = [
        *((d.get("at"), "warn", f"Decision: {d.get('reason')}") for d in view.get("decisions") or ()),
        (rollback.get("written_at"), "bad", "Traffic moved back"),
        (rollback.get("verified_at"), "good", "Recovery proven"),
    ]
    markers = []
    for when, tone, text in found:
        at = seconds_of(when)
        if at is not None and end > begin and begin <= at < end:
            markers.append(Marker(at=100.0 * _within(at, begin, end), tone=tone, text=f"{clock_text(at)} {text}"))
    return markers


def _rollback(view: Mapping[str, Any], reason: str) -> Mapping[str, Any] | None:
    """The rollback as far as it has come, or the trial that was put back; None where nothing was moved."""
    rollback, trial = view.get("rollback") or {}, view.get("trial") or {}
    if not rollback and not trial:
        return None
    said = [text for part in ("proof", "reason") if (text := rollback.get(part)) and text not in reason]
    tried = trial_text.sentence(view)
    return {
        "state": str(rollback.get("state") or "trial over").replace("_", " "),
        "lines": rollback_lines(view),
        "said": [*said, *([tried] if tried else [])],
        "from": (rollback or trial).get("from") or {},
        "to": (rollback or trial).get("to") or {},
    }


def watch_page(view: Mapping[str, Any], now: float) -> Mapping[str, Any]:
    """Everything `watch.html` prints."""
    look = watch_look(view)
    reason, age = headline(view), age_of(view, now)
    return {
        "view": {**_PLAIN, **view},
        "look": look,
        "tone": look.tone,
        "page_title": f"{look.glyph} {look.label} · {view['service']}",
        "reason": reason,
        "window": window_name(view.get("window")),
        "ended": view.get("state") == "ended",
        "began": moment(view.get("cutover_at")),
        "ends": moment(view.get("ends_at")),
        "ended_at": moment(view.get("ended_at")),
        "left": span_text((seconds_of(view.get("ends_at")) or now) - now),
        "ago": span_text(now - (seconds_of(view.get("cutover_at")) or now)),
        "age": age,
        "traffic": traffic(view),
        "windows": windows(view, now),
        "criteria": criteria(view),
        "quiet_criteria": silent_rows(view),
        "quiet_count": sum(len(labels) for _, labels in silent_rows(view)),
        "probes": probes(view),
        "journeys": journeys(view),
        "signoffs": [{**s, "at": moment(s.get("signed_at"))} for s in view.get("signoffs") or ()],
        "rollback": _rollback(view, reason),
        "decisions": lines(view, "decisions"),
        "timeline": lines(view, "timeline"),
        "notes": _notes(view),
        "steps": [*_distrust(age), *next_steps(view)],
        "release": release_steps(view),
        "to_check": [Step(q["question"], q["command"]) for q in view.get("to_check") or ()],
        "new_errors": ((view.get("log") or {}).get("errors") or ())[:NEW_ERRORS],
        "incident": _incident(view),
        "marked": marks.sentence(view),
    }


def _distrust(age: Age | None) -> Sequence[Step]:
    if age is None or not age.stale:
        return []
    return [
        Step(f"Check that the watchdog runs: it has judged nothing since {clock_text(age.iso)} UTC.", "watchdog status")
    ]


def _notes(view: Mapping[str, Any]) -> Sequence[str]:
    notes = view.get("notes") or ()
    return [notes] if isinstance(notes, str) else [str(note) for note in notes]


def _incident(view: Mapping[str, Any]) -> Mapping[str, Any] | None:
    incident = view.get("incident")
    if not incident:
        return None
    acknowledged, resolved = incident.get("acknowledged_at"), incident.get("resolved_at")
    by = f" by {incident['acknowledged_by']}" if incident.get("acknowledged_by") else ""
    return {
        "title": str(incident.get("title") or "Incident"),
        "opened": moment(incident.get("opened_at")),
        "acknowledged": moment(acknowledged),
        "by": by,
        "resolved": moment(resolved),
        "alone": not (acknowledged or resolved),
    }


def index_row(view: Mapping[str, Any], now: float) -> Mapping[str, Any]:
    """One watch in the list."""
    loud = [str(r.get("label") or r["id"]) for r in view.get("criteria") or () if r.get("verdict") in LOUD]
    return {
        "view": {**_PLAIN, **view},
        "look": watch_look(view),
        "window": window_name(view.get("window")),
        "reason": headline(view),
        "loud": loud,
        "began": moment(view.get("cutover_at") or view.get("opened_at")),
        "ends": moment(view.get("ends_at")),
        "left": span_text((seconds_of(view.get("ends_at")) or now) - now),
        "ended_at": moment(view.get("ended_at")),
        "age": age_of(view, now),
        "traffic": traffic(view),
        "note": str(view.get("notes_of_deploy") or ""),
        "mark": str((view.get("mark") or {}).get("mark") or ""),
        "marked": marks.sentence(view),
    }
