"""What can be wrong with the emulated Cloud Logging.

| kind | what happens |
|---|---|
| `unavailable`, `permission_denied`, `resource_exhausted`, `internal` | the next sessions are refused so |
| `reset` | a session breaks with UNAVAILABLE after `entries` more entries (0: at once) |
| `expire` | a session ends with OUT_OF_RANGE after `entries` more entries, as it does after an hour |
| `suppress` | the next `entries` entries are left out, and reported with `reason` |
| `silent` | nothing is delivered and nothing is said: what is due meanwhile is lost |
| `duplicate` | a `share` of the entries comes twice, in two responses |
| `late` | a `share` of the entries comes `late_s` later |
| `exclude` | entries that `filter` selects are nobody's, as with an exclusion filter of the project's sink |

`reset` and `expire` meet sessions that are open as well as new ones.
"""

from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from watchdog.emulator.logging_filter import Fields, parse

LoggingFaultKind = Literal[
    "unavailable",
    "permission_denied",
    "resource_exhausted",
    "internal",
    "reset",
    "expire",
    "suppress",
    "silent",
    "duplicate",
    "late",
    "exclude",
]
REFUSALS = ("unavailable", "permission_denied", "resource_exhausted", "internal")
CUTS = ("reset", "expire")


class LoggingFault(BaseModel):
    """One fault, as the control API writes it; without `sessions` and `for_s` it lasts until it is cleared."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: LoggingFaultKind
    sessions: Annotated[int, Field(ge=1)] | None = None
    """How many sessions are refused or cut."""
    for_s: Annotated[float, Field(gt=0)] | None = None
    """How long it lasts, in seconds from now."""
    entries: Annotated[int, Field(ge=0)] = 0
    reason: Literal["RATE_LIMIT", "NOT_CONSUMED"] = "RATE_LIMIT"
    share: Annotated[float, Field(gt=0, le=1)] = 1.0
    late_s: Annotated[float, Field(gt=0)] = 10.0
    filter: str = ""
    """In the Logging query language."""

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.sessions is not None and self.kind not in (*REFUSALS, *CUTS):
            raise ValueError(f"`{self.kind}` concerns entries, not sessions: say `for_s`, `entries`, or clear it")
        if self.kind == "suppress" and not self.entries:
            raise ValueError("`suppress` needs `entries`: how many are left out")
        if bool(self.filter) != (self.kind == "exclude"):
            raise ValueError("`exclude` needs a `filter`, and nothing else has one")
        parse(self.filter)
        return self


class _Entry:
    """A fault in force, and what is left of it."""

    def __init__(self, fault: LoggingFault, until: float) -> None:
        self.fault = fault
        self.until = until
        self.sessions = fault.sessions
        self.entries = fault.entries
        self.owed = 0.0
        self.excludes = parse(fault.filter)

    @property
    def used_up(self) -> bool:
        return self.sessions == 0 or (self.fault.kind == "suppress" and self.entries == 0)


class LoggingFaultBook:
    """The faults that are in force; the oldest of a kind is met first."""

    def __init__(self) -> None:
        self._entries: list[_Entry] = []

    def add(self, fault: LoggingFault, *, now: float) -> None:
        """Put `fault` in force at `now` (Unix seconds)."""
        self._entries.append(_Entry(fault, now + fault.for_s if fault.for_s is not None else float("inf")))

    def clear(self) -> None:
        """End every fault."""
        self._entries.clear()

    def active(self, now: float) -> list[LoggingFault]:
        """Faults in force at `now`, with the sessions and entries that are left to them."""
        self._expire(now)
        return [e.fault.model_copy(update={"sessions": e.sessions, "entries": e.entries}) for e in self._entries]

    def refusal(self, now: float) -> str:
        """How the session that opens now is refused; empty when it is not."""
        found = self._first(REFUSALS, now)
        if found is None:
            return ""
        self._spend(found)
        return found.fault.kind

    def cut(self, now: float, count: int) -> tuple[int, str]:
        """Of `count` entries that a session is about to deliver, how many it still does, and how it ends after them;
        empty when it goes on."""
        found = self._first(CUTS, now)
        if found is None:
            return count, ""
        if found.entries > count:
            found.entries -= count
            return count, ""
        kept = found.entries
        self._spend(found)
        return kept, found.fault.kind

    def suppressed(self, now: float) -> str:
        """Why the entry that is due now is left out; empty when it is not."""
        found = self._first(("suppress",), now)
        if found is None:
            return ""
        found.entries -= 1
        return found.fault.reason

    def silent(self, now: float) -> bool:
        """Whether nothing is delivered now."""
        return self._first(("silent",), now) is not None

    def twice(self, now: float) -> bool:
        """Whether the entry that is due now comes twice. The share is met by carrying the remainder, not by chance."""
        return self._shares("duplicate", now) is not None

    def late_s(self, now: float) -> float:
        """By how much the entry that is recorded now comes later."""
        found = self._shares("late", now)
        return 0.0 if found is None else found.fault.late_s

    def excludes(self, now: float, fields: Fields) -> bool:
        """Whether the entry that is recorded now goes nowhere."""
        self._expire(now)
        return any(e.fault.kind == "exclude" and e.excludes(fields) for e in self._entries)

    def _shares(self, kind: str, now: float) -> _Entry | None:
        found = self._first((kind,), now)
        if found is None:
            return None
        found.owed += found.fault.share
        if found.owed < 1.0:
            return None
        found.owed -= 1.0
        return found

    def _first(self, kinds: tuple[str, ...], now: float) -> _Entry | None:
        self._expire(now)
        return next((e for e in self._entries if e.fault.kind in kinds), None)

    def _spend(self, entry: _Entry) -> None:
        if entry.sessions is not None:
            entry.sessions -= 1
            entry.entries = entry.fault.entries

    def _expire(self, now: float) -> None:
        self._entries = [e for e in self._entries if now < e.until and not e.used_up]
