"""`watchdog history --mark`: by the daemon, and straight into a store that nobody or somebody keeps."""

import asyncio
import json
from pathlib import Path

import pytest

from tests.cli.conftest import Run
from tests.cli.stored import keep, letters
from tests.web import views
from tests.web.world import Site
from watchdog.store import make_store

API = "service/barq-fleet/us-central1/barq-fleet-api"
WATCH = str(views.rolled_back()["id"])


@pytest.fixture
def database(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """What a foreground watch has left behind; no daemon answers."""
    monkeypatch.setenv("WATCHDOG_URL", "http://127.0.0.1:9")
    path = tmp_path / "watchdog.db"
    keep(path, views.rolled_back(), views.watching())
    return path


async def test_a_mark_lands_in_the_inbox_of_whoever_keeps_the_service(site: Site, run: Run) -> None:
    await site.put(views.rolled_back())
    typed = ("history", "--mark", WATCH, "Wrong", "--reason", "the database", "--by", "jane")
    found = await asyncio.to_thread(run, *typed)
    assert found.code == 0, found.err
    assert found.out.startswith(f"Watch {WATCH} is marked wrong (the outcome was wrong: a healthy release was rolled")
    letter = {"watch": WATCH, "mark": "wrong", "by": "jane", "reason": "the database"}
    assert await site.letters(API) == [("mark", letter)]


def test_without_a_daemon_it_is_written_at_once_and_the_last_word_is_shown(database: Path, run: Run) -> None:
    for word in ("right", "wrong"):
        found = run("history", "--mark", WATCH, word, "--by", "jane", "--json")
        assert found.code == 0, found.err
        assert json.loads(found.out)["written"] is True
    listed = run("history")
    assert listed.out.splitlines()[0].split("  ")[0] == "VERSION"
    assert "MARKED" in listed.out.splitlines()[0]
    assert "rolled back  wrong" in next(line for line in listed.out.splitlines() if WATCH in line)
    deploys = json.loads(run("history", "--json").out)["deploys"]
    assert [(d["mark"] or {}).get("by") for d in deploys if d["watch"] == WATCH] == ["jane"]
    assert "| Marked | wrong (jane, " in run("report", WATCH).out
    assert "Marked wrong (jane, " in run("status", WATCH).out


def test_where_somebody_keeps_the_service_it_is_a_letter_to_them(database: Path, run: Run) -> None:
    async def keep_service() -> None:
        store = make_store(f"sqlite:///{database}")
        await store.open()
        assert await store.acquire(API, "foreground watch", ttl_s=1e9, now=4e9) is not None
        await store.close()

    asyncio.run(keep_service())
    found = run("history", "--mark", WATCH, "right")
    assert found.code == 0, found.err
    assert "the history shows it within half a second" in found.out
    assert [(x.kind, x.body["mark"]) for x in letters(database, API)] == [("mark", "right")]


@pytest.mark.parametrize(
    "arguments, code, told",
    [
        (["--mark", WATCH, "great"], 2, "'great' is no mark; write WATCH and one of right, wrong, late, unclear"),
        (["--mark", "w7f3k2", "right"], 11, "has not ended yet"),
        (["--mark", "nonesuch", "right"], 11, "is neither a watch nor a service"),
        (["barq-fleet-api", "--mark", WATCH, "right"], 2, "--mark names its watch itself; leave out barq-fleet-api"),
        (["--mark", WATCH, "right", "--reason", "x" * 501], 2, "reason: String should have at most 500 characters"),
        (["--reason", "x"], 2, "--reason is said with --mark only"),
    ],
)
def test_what_cannot_be_marked_is_told(arguments: list[str], code: int, told: str, database: Path, run: Run) -> None:
    found = run("history", *arguments)
    assert (found.code, told in found.err) == (code, True), found.err
