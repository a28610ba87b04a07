"""What automatic would have done in the watches that only observed, and whether that was right.

Whether it was right only people know: what nobody has marked (`history --mark`) is counted as unmarked, never as right.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from watchdog.core import marks
from watchdog.core.advice import quote

ENOUGH: Final = 10
"""Watches after which a summary says something."""
_NAMED: Final = 5
"""Watches that it names at most."""
_WOULD: Final = "Would roll back"
"""Begins the reason of a rollback that was decided and only said."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Turn:
    """One watch: whether automatic would have rolled it back, and whether, by a person's mark, it had to be."""

    watch: str
    revision: str
    at: str
    """ISO 8601."""
    would: bool
    had_to: bool | None
    proof: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Observed:
    """The watches of one service in observe mode that have ended, oldest first."""

    turns: Sequence[Turn]

    def count(self, *, would: bool, had_to: bool | None) -> int:
        """How many were so."""
        return sum(t.would == would and t.had_to is had_to for t in self.turns)

    @property
    def would(self) -> int:
        """How many would have been rolled back."""
        return sum(t.would for t in self.turns)

    @property
    def wrong(self) -> int:
        """Rollbacks of what was healthy, and faults that were missed."""
        return self.count(would=True, had_to=False) + self.count(would=False, had_to=True)

    @property
    def unmarked(self) -> Sequence[Turn]:
        """Those that would have been rolled back and that nobody has marked: the ones worth a person's minute."""
        return [t for t in self.turns if t.would and t.had_to is None]


def said(reasons: Iterable[str]) -> str:
    """Of a watch's decisions, the rollback that was only said; empty where there was none."""
    return next((reason for reason in reasons if reason.startswith(_WOULD)), "")


def of(views: Iterable[Mapping[str, Any]]) -> Observed:
    """From the read models of one service's watches, in any order."""
    mine = [v for v in views if v.get("mode") == "observe" and v.get("ended_at") and not v.get("known_bad")]
    return Observed(turns=[_turn(v) for v in sorted(mine, key=lambda v: str(v.get("opened_at") or ""))])


def by_service(views: Iterable[Mapping[str, Any]]) -> dict[str, Observed]:
    """`project/region/name` → what was observed, of services that still observe and have done so often enough."""
    groups: dict[str, list[Mapping[str, Any]]] = {}
    for view in views:
        groups.setdefault(f"{view['project']}/{view['region']}/{view['service']}", []).append(view)
    found = {name: of(group) for name, group in groups.items() if _still(group)}
    return {name: one for name, one in found.items() if len(one.turns) >= ENOUGH}


def _still(group: Sequence[Mapping[str, Any]]) -> bool:
    """Whether the newest watch only observes: once the mode has changed, nobody needs persuading."""
    return max(group, key=lambda v: str(v.get("opened_at") or "")).get("mode") == "observe"


def _turn(view: Mapping[str, Any]) -> Turn:
    told = str(view.get("would_roll_back") or "")
    proof = str((view.get("rollback") or {}).get("proof") or told)
    return Turn(
        watch=str(view["id"]),
        revision=str(view.get("revision") or ""),
        at=str(view.get("opened_at") or ""),
        would=bool(told),
        had_to=marks.had_to_go(view),
        proof=proof if told else "",
    )


# --- words --------------------------------------------------------------------------------------------------------


def sentence(found: Observed) -> str:
    """`In 10 watches in observe mode since 2026-09-01, automatic would have …`."""
    since = found.turns[0].at[:10] if found.turns else ""
    went = _counted(found, would=True, right="right", wrong="wrong: a healthy release")
    stayed = _counted(found, would=False, right="right", wrong="wrong: a fault that was missed")
    alone = len(found.turns) - found.would
    return (
        f"In {len(found.turns)} watches in observe mode since {since}, automatic would have rolled back "
        f"{found.would}{went} and left {alone} alone{stayed}."
    )


def _counted(found: Observed, *, would: bool, right: str, wrong: str) -> str:
    counts = {
        right: found.count(would=would, had_to=would),
        wrong: found.count(would=would, had_to=not would),
        "unmarked": found.count(would=would, had_to=None),
    }
    told = ", ".join(f"{n} {word}" for word, n in counts.items() if n)
    return f" ({told})" if told else ""


def advice(found: Observed) -> str:
    """What to do about it."""
    if found.unmarked:
        names = [f"`watchdog history --mark {quote(t.watch)} right`" for t in found.unmarked[:_NAMED]]
        more = f" and {len(found.unmarked) - _NAMED} more" if len(found.unmarked) > _NAMED else ""
        return f"Say of each rollback whether it was right (or wrong): {', '.join(names)}{more}."
    if found.wrong:
        return "Mend the rows that were wrong (`watchdog explain WATCH`, `watchdog backtest --config CHANGED`) first."
    if not found.would:
        return "Nothing had to be rolled back yet. Try it out with `watchdog drill`, or set rollback.mode: approve."
    return "It was right: set rollback.mode: approve, then automatic, and run `watchdog preflight`."


def lines(found: Observed) -> list[tuple[str, str]]:
    """Each rollback that would have been made: which watch, and what it was."""
    words = {True: "right", False: "WRONG", None: "unmarked"}
    went = [t for t in found.turns if t.would][-_NAMED:]
    return [(f"{t.watch} {t.revision}", f"{words[t.had_to]}: {t.proof}") for t in went]


def as_json(found: Observed) -> dict[str, Any]:
    """For programs."""
    return {
        "watches": len(found.turns),
        "would_roll_back": found.would,
        "right": found.count(would=True, had_to=True) + found.count(would=False, had_to=False),
        "wrong_rollbacks": found.count(would=True, had_to=False),
        "missed": found.count(would=False, had_to=True),
        "unmarked": sum(t.had_to is None for t in found.turns),
        "sentence": sentence(found),
        "advice": advice(found),
    }
