"""Every message as people read it, in one file to be read by people: `golden/messages.md`.

`UPDATE_GOLDEN=1 pytest tests/core/test_messages_golden.py` writes it anew, for review.
"""

import os
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.core.drive import CONTROL, DOWN, NEW, NEWER, OK, OLD, T0, Drive, opening
from tests.core.test_escalation import failing, paged
from watchdog.core.commands import Notify
from watchdog.core.events import Writing
from watchdog.core.model import Counts, Split, Value
from watchdog.core.probing import Purpose
from watchdog.core.text import iso

GOLDEN = Path(__file__).parent / "golden" / "messages.md"


def hard_down(**changes: Any) -> Drive:
    drive = Drive(opening(link="https://dog.example/watches/w1", **changes))
    drive.healthy(0, 50)
    drive.hard_down(50)
    return drive


def begun(**changes: Any) -> Drive:
    drive = hard_down(**changes)
    drive.put(Writing(at=T0 + 54.5, after=Split.of({OLD: 100})))
    return drive


def rolled_back() -> Drive:
    drive = begun()
    drive.restored(55)
    drive.verify(OK, 63)
    return drive


def no_api() -> Drive:
    drive = hard_down()
    drive.put(Writing(at=T0 + 55, after=Split.of({OLD: 100}), trouble="Cloud Run answered 503"))
    drive.written(120, "failed", reason="Cloud Run answered 503 (tried 13 times)")
    drive.traffic({OLD: 100}, 300)
    return drive


def did_not_help() -> Drive:
    drive = begun()
    drive.restored(55)
    for k in range(100):
        drive.probe(DOWN, 63 + k, purpose=Purpose.VERIFY)
    return drive


def not_routed() -> Drive:
    drive = begun()
    drive.written(55)
    drive.tick(120)
    return drive


def back_again() -> Drive:
    drive = begun()
    drive.restored(55)
    drive.traffic({NEW: 100}, 70)
    return drive


def refused() -> Drive:
    drive = hard_down()
    drive.written(55, "refused", reason="3 rollbacks of api within 24 h already (per_day: 3)", retry_at=T0 + 3600)
    return drive


def unsafe() -> Drive:
    first = opening()
    drive = Drive(replace(first, deploy=replace(first.deploy, rollback_safe=False)))
    drive.healthy(0, 50)
    drive.hard_down(50)
    drive.healthy(60, 380)
    return drive


def observed() -> Drive:
    drive = hard_down(mode="observe")
    drive.written(55, "observed", reason=f"would have moved traffic from {NEW} 100 % to {OLD} 100 %")
    return drive


def known_bad() -> Drive:
    drive = hard_down(mode="observe", known_bad=True)
    drive.written(55, "observed", reason=f"would have moved traffic from {NEW} 100 % to {OLD} 100 %")
    return drive


def approval() -> Drive:
    drive = hard_down(mode="approve")
    drive.tick(1000)
    return drive


def shared() -> Drive:
    drive = Drive(opening(tags=CONTROL))
    drive.healthy(0, 50)
    drive.hard_down(50, control=DOWN)
    drive.healthy(60, 80)
    return drive


def paused() -> Drive:
    drive = Drive()
    drive.operate("pause", 10)
    drive.healthy(11, 50)
    drive.hard_down(50)
    return drive


def warnings() -> Drive:
    drive = Drive()
    for k in range(6):
        drive.sample("memory_usage", Value(0.9), 60 + 60 * k, 120 + 60 * k)
    drive.signal("users_complain", 700)
    drive.tick(1400)
    return drive


def people() -> Drive:
    drive = paged()
    drive.operate("ack", 600)
    failing(drive, 660, 4500)
    drive.operate("unack", 4600)
    drive.operate("assign", 4700, name="Grace")
    drive.operate("resolve", 4800, reason="fixed by hand")
    return drive


def ladder() -> Drive:
    drive = paged()
    failing(drive, 60, 4000)
    return drive


def promoted() -> Drive:
    drive = Drive(opening(split=Split.of({OLD: 90, NEW: 10})))
    drive.traffic({OLD: 50, NEW: 50}, 60)
    return drive


def superseded() -> Drive:
    drive = Drive()
    drive.traffic({NEWER: 100}, 60, newer=True)
    return drive


def overridden() -> Drive:
    drive = Drive()
    drive.traffic({OLD: 100}, 60)
    return drive


def passed() -> Drive:
    drive = Drive(opening(ends_at=T0 + 60))
    drive.healthy(0, 60)
    drive.tick(70)
    return drive


def unverified() -> Drive:
    drive = Drive(opening(ends_at=T0 + 600))
    drive.healthy(0, 100)
    drive.tick(700)
    return drive


def blind() -> Drive:
    drive = Drive()
    drive.counts(0, 100, 60, 120)
    drive.sample("error_rate", Counts(0, 0), 120, 180)
    drive.tick(3000)
    return drive


SCENARIOS: Mapping[str, Callable[[], Drive]] = {
    "A healthy deploy, cut short": passed,
    "Rolled back": rolled_back,
    "Cloud Run's API is away, and a person does it by hand": no_api,
    "The rollback did not help": did_not_help,
    "The rollback is not routed": not_routed,
    "The bad revision is put back": back_again,
    "Refused by the budget": refused,
    "Not safe to roll back, and well again": unsafe,
    "Observe mode": observed,
    "A known bad revision serves again": known_bad,
    "Approve mode, unanswered": approval,
    "Both revisions are sick, and well again": shared,
    "Paused": paused,
    "Warnings": warnings,
    "Acknowledged, reminded, given back, passed on, resolved": people,
    "The ladder": ladder,
    "Promoted": promoted,
    "Superseded": superseded,
    "Overridden": overridden,
    "Blind": blind,
    "Too little was seen": unverified,
}


def told(drive: Drive) -> list[Mapping[str, Any]]:
    return [c.body for c in drive.commands if isinstance(c, Notify)]


def text_of(message: Mapping[str, Any]) -> str:
    note = message["incident"]
    marks = [message["severity"], "in the channel" if message["broadcast"] else "quiet"]
    marks += [f"{note['action']} {note['dedup_key']}"] if note else []
    marks += ["change event"] if message["change"] else []
    lines = [f"**{message['title']}**", f"`{message['kind']}` ({', '.join(marks)}) at {iso(message['at'])}", ""]
    for question, part in (("happened", "happened"), ("did", "did"), ("over?", "over"), ("you must", "todo")):
        lines.append(f"- {question}: {message[part]}")
    lines += [f"- {name}: {value}" for name, value in message["evidence"]]
    return "\n".join([*lines, f"- now: {message['status']}", ""])


def test_every_message_reads_as_reviewed() -> None:
    parts = ["# Every message\n"]
    for name, play in SCENARIOS.items():
        parts.append(f"## {name}\n")
        parts += [text_of(message) for message in told(play())]
    text = "\n".join(parts)
    if os.environ.get("UPDATE_GOLDEN"):
        GOLDEN.parent.mkdir(exist_ok=True)
        GOLDEN.write_text(text, encoding="utf-8")
    assert GOLDEN.read_text(encoding="utf-8") == text


@pytest.mark.parametrize("name", SCENARIOS)
def test_every_message_answers_every_question_and_a_page_says_what_to_do(name: str) -> None:
    for message in told(SCENARIOS[name]()):
        for part in ("title", "happened", "did", "over", "todo", "status"):
            assert message[part], f"{message['kind']} leaves {part} out"
        note = message["incident"]
        if note and note["action"] == "trigger":
            assert message["todo"] != "Nothing.", message["title"]
            assert message["evidence"] or message["kind"] == "opened", message["title"]
        if note and note["action"] == "resolve":
            assert not message["over"].startswith("No"), message["title"]


def test_every_kind_that_there_is_is_shown() -> None:
    found = {message["kind"] for play in SCENARIOS.values() for message in told(play())}
    assert found >= {
        *("opened", "window", "passed", "promoted", "superseded", "overridden", "unverified", "warning", "blind"),
        *("decision", "rolled_back", "not_recovered", "rollback_failed", "held", "approval", "recovered"),
        *("note", "escalation", "reminder"),
    }
