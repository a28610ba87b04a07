"""What a person says of a watch that has ended: was its outcome right?

A mark is no evidence and changes no watch. It stands in the service's stream (its body is in the fact `watch_marked`)
and in the watch's read model; the last one counts.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from watchdog.core.model import Outcome
from watchdog.core.service import Fact
from watchdog.core.text import iso

WORDS: Final[Mapping[str, str]] = {
    "right": "the outcome was right",
    "wrong": "the outcome was wrong: a healthy release was rolled back, or a bad one was not",
    "late": "it should have been rolled back sooner",
    "unclear": "nobody can tell; takes back what was said before",
}
"""Mark → what it says."""
_NOT_LATE: Final = frozenset({Outcome.PASSED.value, Outcome.UNVERIFIED.value})


@dataclass(frozen=True, slots=True, kw_only=True)
class Mark:
    """A person's word about an ended watch. `word` is one of `WORDS`, `at` Unix seconds."""

    at: float
    word: str
    by: str = ""
    reason: str = ""


def why_not(view: Mapping[str, Any], word: str) -> str | None:
    """One sentence why this watch cannot be marked so, None when it can."""
    if word not in WORDS:
        return f"{word!r} is no mark; say {', '.join(WORDS)}."
    if view.get("state") != "ended":
        return f"Watch {view['id']} has not ended yet; its outcome can be marked when it has."
    if word == "late" and view.get("outcome") in _NOT_LATE:
        ending = str(view["outcome"]).replace("_", " ")
        return f"Watch {view['id']} ended {ending}, so nothing was done too late; `wrong` says that it missed a fault."
    return None


def fact(view: Mapping[str, Any], mark: Mark) -> Fact:
    """What the service's journal keeps of it."""
    body = {
        "watch": view["id"],
        "revision": view["revision"],
        "outcome": view.get("outcome"),
        "mark": mark.word,
        "by": mark.by,
        "reason": mark.reason,
    }
    return Fact(at=mark.at, kind="watch_marked", body=body)


def marked(view: Mapping[str, Any], mark: Mark) -> dict[str, Any]:
    """The watch's read model with the mark."""
    said = {"mark": mark.word, "by": mark.by, "reason": mark.reason, "at": iso(mark.at)}
    return {**view, "mark": said}


def sentence(view: Mapping[str, Any]) -> str:
    """`wrong (alice, 2026-09-21 15:02 UTC: it was the database)`; empty without a mark."""
    mark = view.get("mark")
    if not mark:
        return ""
    by = ", ".join(part for part in (mark.get("by"), f"{str(mark.get('at') or '')[:16].replace('T', ' ')} UTC") if part)
    return f"{mark['mark']} ({by}{': ' + mark['reason'] if mark.get('reason') else ''})"


def had_to_go(view: Mapping[str, Any]) -> bool | None:
    """Whether, by the mark, the release had to be rolled back; None where nobody has said.

    An outcome that was right says that what was decided had to be; one that was wrong, the contrary. `late` says that
    it had to be rolled back in any case.
    """
    word = (view.get("mark") or {}).get("mark")
    decided = view.get("rollback") is not None
    return {"right": decided, "wrong": not decided, "late": True}.get(str(word))
