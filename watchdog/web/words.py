"""How states and verdicts look: a tone for the colour, a glyph, and words that say the same without colour."""

from collections.abc import Mapping
from typing import Any, Final, NamedTuple

from watchdog.core.advice import LOUD


class Look(NamedTuple):
    """`tone` is one of good, info, warn, bad, off: a colour, an icon. The label never relies on it."""

    tone: str
    glyph: str
    label: str


UNKNOWN: Final = Look("off", "?", "Unknown")

_STATES: Final[Mapping[str, Look]] = {
    "pending": Look("off", "…", "Pending"),
    "watching": Look("good", "●", "Watching"),
    "confirming": Look("warn", "!", "Confirming a failure"),
    "held": Look("warn", "‖", "Held"),
    "awaiting_approval": Look("bad", "?", "Needs your approval"),
    "rolling_back": Look("bad", "↩", "Rolling back"),
    "verifying": Look("warn", "↩", "Verifying recovery"),
    "paused": Look("off", "‖", "Paused"),
    "ended": Look("off", "■", "Ended"),
}
_OUTCOMES: Final[Mapping[str, Look]] = {
    "passed": Look("good", "✓", "Passed"),
    "rolled_back": Look("warn", "↩", "Rolled back"),
    "failed": Look("bad", "✗", "Failed"),
    "superseded": Look("off", "→", "Superseded"),
    "overridden": Look("off", "→", "Overridden by hand"),
    "unverified": Look("warn", "?", "Unverified"),
}
_VERDICTS: Final[Mapping[str, Look]] = {
    "PASS": Look("good", "✓", "Pass"),
    "WARN": Look("warn", "!", "Warning"),
    "FAIL": Look("bad", "✗", "Fail"),
    "INCONCLUSIVE": Look("off", "–", "Not proven"),
    "ERROR": Look("warn", "?", "No data"),
    "UNVERIFIED": Look("warn", "?", "Unverified"),
}
_PROBES: Final[Mapping[str, Look]] = {
    "passing": Look("good", "✓", "Passing"),
    "failing": Look("bad", "✗", "Failing"),
    "missing": Look("warn", "?", "No answer to judge"),
    "unknown": Look("off", "–", "Not asked yet"),
}
_WINDOWS: Final[Mapping[str, str]] = {"immediate": "Immediate", "short_term": "Short term", "extended": "Extended"}


def watch_look(view: Mapping[str, Any]) -> Look:
    """A watch at a glance. A watch that goes on takes the tone of its worst row."""
    outcome = view.get("outcome")
    if outcome:
        return _OUTCOMES.get(str(outcome), UNKNOWN)
    look = _STATES.get(str(view.get("state")), UNKNOWN)
    if view.get("state") == "watching":
        rows = {row.get("verdict") for row in view.get("criteria") or ()}
        if "FAIL" in rows:
            return Look("bad", "✗", "Watching, a criterion fails")
        if rows & {"WARN", "ERROR"}:
            return Look("warn", "!", "Watching, with warnings")
    return look


def window_look(window: Mapping[str, Any], view: Mapping[str, Any]) -> Look:
    """A window says its own verdict, else, while it is open, that of its worst row."""
    if window.get("verdict"):
        return verdict_look(window["verdict"])
    if window.get("state") != "open":
        return Look("off", "■", "Done")
    rows = {r.get("verdict") for r in view.get("criteria") or () if r.get("window") in (None, window.get("name"))}
    return verdict_look(next((v for v in (*LOUD, "PASS") if v in rows), None))


def verdict_look(verdict: Any) -> Look:
    """A criterion's or a window's verdict."""
    return _VERDICTS.get(str(verdict), Look("off", "–", "Open"))


def probe_look(state: Any) -> Look:
    """A probe's state."""
    return _PROBES.get(str(state), UNKNOWN)


def window_name(name: Any) -> str:
    """`Short term` for `short_term`."""
    return _WINDOWS.get(str(name), str(name).replace("_", " ").capitalize()) if name else ""
