"""The trial's story for people, from a watch's read model: what was tried, what both showed, what came of it."""

from collections.abc import Mapping, Sequence
from typing import Any

from watchdog.core.advice import split_text
from watchdog.core.text import share

VERDICTS: Mapping[str, str] = {
    "helps": "going back helps; the rest followed",
    "as_sick": "a rollback would not help; put back",
    "sick_otherwise": "the old code cannot serve; put back",
    "undecided": "nothing was proven in time; the rest followed",
    "cut_short": "not waited for; the rest followed at once",
    "held": "held by a person; put back",
    "undone": "somebody else moved the traffic",
    "refused": "the target cannot serve; put back",
}


def steps(view: Mapping[str, Any]) -> Sequence[tuple[str, Any]]:
    """What happened, and when (ISO 8601, None where it has not)."""
    trial = view.get("trial") or {}
    if not trial:
        return ()
    verdict = VERDICTS.get(str(trial.get("verdict")), "")
    return (
        (f"Trial: a share went to {', '.join(trial['target']['revisions'])}", trial.get("written_at")),
        ("Both served the same users", trial.get("routed_at")),
        (f"Trial: {verdict}", trial.get("decided_at")),
        ("The share was put back", trial.get("put_back_at")),
    )


def sentence(view: Mapping[str, Any]) -> str:
    """The verdict with both counts, or how far the trial has come; empty without one."""
    trial = view.get("trial") or {}
    if not trial:
        return ""
    if trial.get("reason"):
        return str(trial["reason"])
    return f"On trial ({split_text(trial.get('to'))}): {counts(trial)}."


def counts(trial: Mapping[str, Any]) -> str:
    """Both arms in a few words."""
    return "; ".join(f"{', '.join(arm['revisions'])} {served(arm)}" for arm in (trial["watched"], trial["target"]))


def served(arm: Mapping[str, Any]) -> str:
    """`failed 12 of 80 (15 %)`."""
    if not arm.get("total"):
        return "not counted yet"
    return f"failed {arm['bad']:g} of {arm['total']:g} ({share(arm['bad'] / arm['total'])})"


def kinds(arm: Mapping[str, Any]) -> str:
    """`12 × 503, 3 × 500`, the most frequent first; empty where the feed does not tell."""
    found = sorted((arm.get("kinds") or {}).items(), key=lambda k: (-k[1], k[0]))
    return ", ".join(f"{n:g} × {kind}" for kind, n in found)
