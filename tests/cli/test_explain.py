"""`watchdog explain`: from a daemon, from the store where none answers, and from a journal's file."""

import asyncio
import io
import json
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from tests.cli.conftest import Run
from tests.cli.stored import keep
from tests.core.player import Player, World, down_from, play
from tests.core.test_explain import errors
from tests.web.world import Site
from watchdog.cli.explain_page import page, sparkline
from watchdog.core import report
from watchdog.core.events import Event
from watchdog.core.journal import encode
from watchdog.core.text import iso
from watchdog.ports import NewEvent

GOLDEN = Path(__file__).parent / "golden"


def records(events: Iterable[Event]) -> list[NewEvent]:
    """The journal's rows."""
    out = []
    for event in events:
        kind, schema, body = encode(event)
        out.append(NewEvent(at=event.at, seen_at=event.at, kind=kind, schema=schema, body=body))
    return out


def lines(events: Iterable[Event]) -> str:
    """The journal as the API answers it, one record a line."""
    rows = [
        {"seq": i, "at": iso(r.at), "seen_at": iso(r.at), "kind": r.kind, "schema": 1, "body": r.body, "late": False}
        for i, r in enumerate(records(events), start=1)
    ]
    return "".join(f"{json.dumps(row)}\n" for row in rows)


def outage() -> Player:
    """30 % errors from the tenth minute on."""
    return play(World(requests=errors(0.3, after_s=600))).run(1800)


def at_the_edge() -> Player:
    """The public URL fails and the revision's own does not; still watched."""
    return play(World(public=down_from(300))).run(480)


def nearly() -> Player:
    """Some errors for half a minute, and nothing came of it."""
    player = play(World(requests=errors(0.06, after_s=600, until_s=625))).run(900)
    player.operate("finish")
    return player.run(901)


@pytest.fixture(scope="module")
def rolled_back() -> Player:
    return outage()


@pytest.fixture
def file(tmp_path: Path, rolled_back: Player) -> Path:
    path = tmp_path / "journal.jsonl"
    path.write_text(lines(rolled_back.journal))
    return path


# --- what is printed --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name, made", [("outage", outage), ("edge", at_the_edge), ("nearly", nearly)])
def test_an_explanation_reads_as_agreed(name: str, made: Any, run: Run, tmp_path: Path) -> None:
    """When the wording is meant to change, delete the golden file, run again and read what was written."""
    path = tmp_path / "journal.jsonl"
    path.write_text(lines(made().journal))
    found = run("explain", str(path))
    golden = GOLDEN / f"explain_{name}.txt"
    if not golden.exists():
        golden.parent.mkdir(exist_ok=True)
        golden.write_text(found.out, "utf-8")
        pytest.fail(f"{golden} did not exist; it is written now: read it")

    assert (found.code, found.err) == (0, "")
    assert found.out == golden.read_text("utf-8")


def test_where_the_output_is_no_terminal_it_is_plain_and_no_wider_than_a_log(run: Run, file: Path) -> None:
    found = run("explain", str(file))

    assert "\x1b" not in found.out
    assert all(len(line) <= 120 and line == line.rstrip() for line in found.out.splitlines())


def test_the_sparkline_is_full_only_where_the_evidence_was_enough() -> None:
    assert sparkline([None, 0.0, 0.2, 0.5, 0.99, 1.0]).plain == "·▁▂▄▇█"
    assert sparkline([None, 0.0, 0.5, 1.0], blocks=False).plain == " _-#"


def test_an_output_without_blocks_gets_ascii(run: Run, file: Path) -> None:
    view = json.loads(run("explain", str(file), "--json").out)
    out = io.StringIO()
    Console(file=out, width=120).print(page(view, blocks=False))

    assert "█" not in out.getvalue()
    assert "#" in out.getvalue()


def test_what_came_from_outside_cannot_move_the_cursor(run: Run, tmp_path: Path) -> None:
    player = play().run(120)
    player.operate("hold", reason="wait\x1b[2J\nfor me")
    path = tmp_path / "journal.jsonl"
    path.write_text(lines(player.journal))
    found = run("explain", str(path))

    assert "\x1b" not in found.out
    assert "alice holds it: wait [2J for me" in found.out


# --- where it comes from ----------------------------------------------------------------------------------------------


def test_the_moment_of_the_proof_in_a_file_is_the_decisions(run: Run, file: Path, rolled_back: Player) -> None:
    """Times of a journal that came as text are cut to a millisecond."""
    view = json.loads(run("explain", str(file), "--json").out)
    (proof,) = next(c for c in view["criteria"] if c["id"] == "success.error_rate")["proofs"]
    shown = report.view(rolled_back.watch)

    assert view["decisions"][0]["at"] == shown["decisions"][0]["at"]
    assert proof["at"] == iso(rolled_back.announced("warming")[0].at)
    assert [(d["at"], d["action"], d["reason"]) for d in view["decisions"]] == [
        (d["at"], d["action"], d["reason"]) for d in shown["decisions"]
    ]


async def test_daemon_store_and_file_explain_the_same(site: Site, run: Run, rolled_back: Player, file: Path) -> None:
    await site.put(report.view(rolled_back.watch), records(rolled_back.journal))
    by_daemon = await asyncio.to_thread(run, "explain", "w1", "--json")

    assert by_daemon.code == 0
    assert json.loads(by_daemon.out) == json.loads((await asyncio.to_thread(run, "explain", str(file), "--json")).out)
    assert (await asyncio.to_thread(run, "explain", "w1")).out == (
        await asyncio.to_thread(run, "explain", str(file))
    ).out


def test_the_store_is_asked_where_no_daemon_answers(
    run: Run, rolled_back: Player, file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    database = tmp_path / "watchdog.db"
    keep(database, report.view(rolled_back.watch), events=records(rolled_back.journal))
    monkeypatch.setenv("WATCHDOG_DATABASE_URL", f"sqlite:///{database}")
    monkeypatch.setenv("WATCHDOG_URL", "http://127.0.0.1:9")
    found = run("explain", "w1", "--json")

    assert found.code == 0
    assert "reading the journal in the store" in found.err
    assert json.loads(found.out) == json.loads(run("explain", str(file), "--json").out)
    assert "## Why was it rolled back?" in run("report", "w1").out


def test_the_reports_json_and_standard_input_are_journals_too(
    run: Run, rolled_back: Player, file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = [json.loads(line) for line in file.read_text().splitlines()]
    whole = tmp_path / "report.json"
    whole.write_text(json.dumps({"watch": report.view(rolled_back.watch), "events": rows}))
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(file.read_bytes())))

    assert run("explain", str(whole)).out == run("explain", str(file)).out == run("explain", "-").out


def test_a_file_that_is_called_like_a_service_does_not_hide_it(run: Run, tmp_path: Path) -> None:
    """The binary of a service lies in the folder of its sources, under its name."""
    (tmp_path / "barq-fleet-api").write_bytes(b"\x7fELF")
    found = run("explain", "barq-fleet-api")

    assert found.code == 1
    assert "no daemon answers" in found.err


# --- refused ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "raw, told",
    [
        (b"start_s,end_s\n", "is no journal (JSON); `watchdog replay` judges tables"),
        (b"SQLite format 3\x00\xff\xfe", "is no journal (JSON, in UTF-8); for a database set WATCHDOG_DATABASE_URL"),
        (b'{"kind": "sampled", "at": 1.0, "schema": 1, "body": {"samples": []}}\n', "does not begin with watch_opened"),
        (b"[]", "has no record"),
    ],
)
def test_a_file_that_is_no_journal_is_refused_with_its_place(run: Run, tmp_path: Path, raw: bytes, told: str) -> None:
    path = tmp_path / "x.json"
    path.write_bytes(raw)
    found = run("explain", str(path))

    assert (found.code, found.out) == (2, "")
    assert found.err.startswith(f"error: {path}")
    assert told in found.err


def test_a_file_that_is_not_there_is_told(run: Run, tmp_path: Path) -> None:
    found = run("explain", str(tmp_path / "nonesuch.json"))

    assert found.code == 2
    assert "cannot be read: No such file" in found.err


async def test_an_unknown_watch_is_told(site: Site, run: Run) -> None:
    found = await asyncio.to_thread(run, "explain", "nonesuch", "--json")

    assert found.code == 11
    assert json.loads(found.out)["status"] == 404
    assert "neither a watch nor a service" in found.err


async def test_a_watch_whose_journal_is_gone_is_told(site: Site, run: Run, rolled_back: Player) -> None:
    await site.put(report.view(rolled_back.watch))
    found = await asyncio.to_thread(run, "explain", "w1")

    assert found.code == 1
    assert "Watch w1 cannot be explained: the journal holds no watch." in found.err
