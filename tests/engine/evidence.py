"""Evidence for replays: tables in the words of the file format, and journals as a live watch would have written."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.core.policies import MINIMAL
from watchdog.core import watch as folding
from watchdog.core.commands import Command, Restore
from watchdog.core.events import Event, Opened, Probed, Ticked, TrafficSeen, Written
from watchdog.core.journal import encode
from watchdog.core.model import Passed
from watchdog.core.policy import Policy
from watchdog.core.policy_build import build_policy
from watchdog.core.probing import ProbeAnswer, Purpose, Role
from watchdog.core.report import view
from watchdog.core.state import Watch
from watchdog.core.text import iso
from watchdog.engine import replay
from watchdog.engine.replay import Judgement
from watchdog.engine.replay_csv import HEADER, read_csv
from watchdog.policy_file import load_policy

BARQ = load_policy(Path(__file__).parents[2] / "config" / "barq-fleet.yaml").policy


def policy(**changes: Any) -> Policy:
    """A policy that rolls back above 1 % of errors, with one probe; other top-level keys on top."""
    base = {**MINIMAL, "success_criteria": [{"metric": "error_rate", "target": "< 1%", "action": "rollback"}]}
    built = build_policy({**base, **changes})
    assert built.policy is not None, built.problems
    return built.policy


@dataclass(frozen=True, kw_only=True)
class Row:
    """One row of a table; what is None stays empty."""

    start: float
    end: float
    check: str
    bad: float | None = None
    total: float | None = None
    value: float | None = None
    missing: str = ""
    seen: float | None = None

    def text(self) -> str:
        cells = (self.start, self.end, self.seen, self.check, self.bad, self.total, self.value, self.missing)
        return ",".join(
            "" if cell is None else f"{cell:.12g}" if isinstance(cell, float) else str(cell) for cell in cells
        )


def table(rows: Iterable[Row]) -> str:
    """The file."""
    return "\n".join([HEADER, *(row.text() for row in rows)]) + "\n"


def judged(rows: Iterable[Row], by: Policy = BARQ) -> Judgement:
    """What a replay of the table finds."""
    evidence = read_csv(table(rows), "evidence.csv", by)
    ends_s = evidence.last_s if evidence.last_s < by.watch_s else None
    return replay.judge(replay.opening_of(by, ends_s=ends_s), replay.batches(evidence.samples))


def counts(check: str, *, until: float, width: float = 5.0, total: float = 50.0, bad: float = 0.0) -> list[Row]:
    """The same counts in every interval from the cutover on."""
    return [
        Row(start=i * width, end=(i + 1) * width, check=check, bad=bad, total=total) for i in range(int(until / width))
    ]


def broken(rows: Sequence[Row], *, after: float, share: float) -> list[Row]:
    """The same rows with this share of bad events in those that begin at or after a time."""
    return [
        row
        if row.start < after or row.total is None
        else Row(start=row.start, end=row.end, check=row.check, bad=share * row.total, total=row.total, seen=row.seen)
        for row in rows
    ]


def healthy(until: float) -> list[Row]:
    """Good requests and good probes."""
    return [*counts("error_rate", until=until), *counts("health_check", until=until, total=1.0)]


# --- journals -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Recorded:
    """What a live watch left behind: journal rows as the API answers them, its read model, its events."""

    rows: list[dict[str, Any]]
    shown: dict[str, Any]
    opening: Opened
    events: list[Event]
    watch: Watch

    @property
    def report(self) -> dict[str, Any]:
        """What `GET …/report?format=json` answers."""
        return {"watch": self.shown, "events": self.rows}


def recorded(opening: Opened, evidence: Iterable[Event]) -> Recorded:
    """A watch run live in small steps: looked at whenever something is due, its rollback written and verified."""
    watch, _ = folding.opened(opening)
    events: list[Event] = []
    coming = list(evidence)

    def fold(event: Event) -> Sequence[Command]:
        nonlocal watch
        watch, commands = folding.advance(watch, event)
        if commands or not isinstance(event, Ticked):
            events.append(event)
        return commands

    while watch.open and (coming or watch.due < float("inf")):
        late = 0.013  # nobody wakes up at the very moment
        commands = fold(coming.pop(0) if coming and coming[0].at <= watch.due else Ticked(at=watch.due + late))
        if any(isinstance(command, Restore) for command in commands):
            coming = [*_restored(watch), *(e for e in coming if e.at > watch.at + 60.0)]
    rows = []
    for seq, event in enumerate([opening, *events], start=1):
        kind, schema, body = encode(event)
        at = iso(event.at)
        rows.append({"seq": seq, "at": at, "seen_at": at, "kind": kind, "schema": schema, "body": body, "late": False})
    return Recorded(rows=rows, shown=view(watch), opening=opening, events=events, watch=watch)


def _restored(watch: Watch) -> list[Event]:
    at, goal = watch.at, watch.target.split
    found: list[Event] = [
        Written(at=at + 0.31, result="done", reason="", before=watch.split, after=goal),
        TrafficSeen(at=at + 1.17, split=goal, tags=watch.tags),
    ]
    for i in range(20):
        t = at + 7.0 + i
        answer = ProbeAnswer(evidence=Passed(), started_at=t, ended_at=t + 0.02, status=200)
        found += [
            Probed(at=t + 0.02, probe=name, role=Role.PUBLIC, purpose=Purpose.VERIFY, scheduled_at=t, answer=answer)
            for name in watch.rules.policy.probes
        ]
    return found
