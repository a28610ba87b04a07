"""`status`, `history` and `report`: from a daemon, and from the store where none answers."""

import asyncio
import json
from pathlib import Path

import pytest

from tests.cli.conftest import Run
from tests.cli.stored import keep
from tests.web import views
from tests.web.world import Site, event


@pytest.fixture
async def watches(site: Site) -> Site:
    """One that passed, one that was rolled back and one that goes on."""
    for view in (views.passed(), views.rolled_back(), views.watching(notes_of_deploy="Courier search")):
        await site.put(view)
    return site


# --- status -------------------------------------------------------------------------------------------------------


async def test_status_lists_what_is_open(watches: Site, run: Run) -> None:
    found = await asyncio.to_thread(run, "status")
    assert found.code == 0
    head, *rows = found.out.splitlines()
    assert head.split()[:4] == ["WATCH", "SERVICE", "REGION", "REVISION"]
    assert len(rows) == 1
    assert rows[0].split()[:6] == ["w7f3k2", "barq-fleet-api", "us-central1", views.NEW, "watching", "immediate"]


async def test_status_as_json_is_one_document(watches: Site, run: Run) -> None:
    found = await asyncio.to_thread(run, "status", "--json")
    assert [row["id"] for row in json.loads(found.out)["watches"]] == ["w7f3k2"]


async def test_nothing_open_is_said(site: Site, run: Run) -> None:
    found = await asyncio.to_thread(run, "status")
    assert (found.code, found.out.split(".")[0]) == (0, "No watch is open")
    found = await asyncio.to_thread(run, "status", "--json")
    assert json.loads(found.out) == {"watches": []}


@pytest.mark.parametrize(
    "name", ["w7f3k2", "barq-fleet-api", "us-central1/barq-fleet-api", "barq-fleet/us-central1/barq-fleet-api"]
)
async def test_a_watch_is_named_by_its_id_or_its_service(watches: Site, run: Run, name: str) -> None:
    found = await asyncio.to_thread(run, "status", name, "--json")
    assert (found.code, json.loads(found.out)["id"]) == (0, "w7f3k2")


async def test_a_watch_is_shown_with_its_evidence_and_what_to_do(watches: Site, run: Run) -> None:
    found = await asyncio.to_thread(run, "status", "w7f3k2")
    assert found.code == 0
    for shown in ("error_rate < 1%", "health", views.NEW, "What to do:"):
        assert shown in found.out


async def test_an_ended_watch_is_shown_with_its_outcome_and_decisions(watches: Site, run: Run) -> None:
    view = views.rolled_back()
    found = await asyncio.to_thread(run, "status", str(view["id"]))
    assert found.code == 0
    assert f"ROLLED BACK: {view['reason']}" in found.out
    assert view["decisions"][0]["reason"] in found.out


async def test_an_ambiguous_name_lists_the_candidates(watches: Site, run: Run) -> None:
    await watches.put(views.watching(id="weurope", region="europe-west1"))
    found = await asyncio.to_thread(run, "status", "barq-fleet-api")
    assert found.code == 2
    assert "europe-west1/barq-fleet-api (weurope)" in found.err
    assert "us-central1/barq-fleet-api (w7f3k2)" in found.err


async def test_an_unknown_watch_is_told(watches: Site, run: Run) -> None:
    found = await asyncio.to_thread(run, "status", "nonesuch")
    assert found.code == 11
    assert found.err.startswith("error: nonesuch is neither a watch nor a service with an open watch.")


# --- history ------------------------------------------------------------------------------------------------------


async def test_history_is_the_checklists_table(watches: Site, run: Run) -> None:
    found = await asyncio.to_thread(run, "history")
    head, *rows = found.out.splitlines()
    assert head.split("  ")[0] == "VERSION"
    assert [word for word in ("DATE (UTC)", "DEPLOYER", "STATUS", "NOTES") if word in head] == [
        "DATE (UTC)",
        "DEPLOYER",
        "STATUS",
        "NOTES",
    ]
    assert len(rows) == 3
    mine = next(row for row in rows if "w7f3k2" in row)
    assert mine.split()[:5] == ["1.4.2", "2026-09-21", "14:13", "jane@example.com", "watching"]
    assert mine.endswith("w7f3k2  Courier search")
    assert any("rolled back" in row for row in rows)
    assert any("passed" in row for row in rows)


async def test_history_of_one_service_as_json(watches: Site, run: Run) -> None:
    await watches.put(views.watching(id="wother", service="barq-worker"))
    found = await asyncio.to_thread(run, "history", "us-central1/barq-fleet-api", "--limit", "2", "--json")
    deploys = json.loads(found.out)["deploys"]
    assert len(deploys) == 2
    assert {d["service"] for d in deploys} == {"barq-fleet-api"}
    assert set(deploys[0]) >= {"version", "date", "deployer", "status", "notes", "revision", "watch"}


async def test_an_empty_history_is_said(site: Site, run: Run) -> None:
    found = await asyncio.to_thread(run, "history", "barq-worker")
    assert (found.code, found.out) == (0, "No deploy of barq-worker has been watched yet.\n")


async def test_what_a_deployer_wrote_cannot_move_the_cursor(site: Site, run: Run) -> None:
    await site.put(views.watching(version="1.0\x1b[2J", deployer="eve\r\n"))
    found = await asyncio.to_thread(run, "history")
    assert found.out.isascii()
    assert all(line.isprintable() for line in found.out.splitlines())


# --- report -------------------------------------------------------------------------------------------------------


async def test_the_report_is_markdown(watches: Site, run: Run) -> None:
    found = await asyncio.to_thread(run, "report", str(views.rolled_back()["id"]))
    assert found.code == 0
    assert found.out.startswith("# Incident report: barq-fleet-api in us-central1: rolled back\n")


async def test_the_report_goes_into_a_file(watches: Site, run: Run, tmp_path: Path) -> None:
    path = tmp_path / "incident.md"
    found = await asyncio.to_thread(run, "report", "w7f3k2", "--output", str(path))
    assert (found.code, found.out) == (0, "")
    assert path.read_text().startswith("# Watch report: barq-fleet-api")


async def test_a_file_that_cannot_be_written_is_told(watches: Site, run: Run, tmp_path: Path) -> None:
    found = await asyncio.to_thread(run, "report", "w7f3k2", "-o", str(tmp_path / "none" / "x.md"))
    assert found.code == 2
    assert "x.md: cannot be written: No such file or directory" in found.err


async def test_the_report_as_json_has_the_journal(watches: Site, run: Run) -> None:
    await watches.put(views.watching(), [event("signalled", signal="x", by="", reason="")])
    found = await asyncio.to_thread(run, "report", "w7f3k2", "--json")
    whole = json.loads(found.out)
    assert whole["watch"]["id"] == "w7f3k2"
    assert [e["kind"] for e in whole["events"]] == ["signalled"]


# --- without a daemon ---------------------------------------------------------------------------------------------


@pytest.fixture
def stored(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two watches in a file, and nobody who serves them."""
    path = tmp_path / "left.db"
    keep(path, views.rolled_back(), views.watching(), events=[event("signalled", signal="x", by="", reason="")])
    monkeypatch.setenv("WATCHDOG_DATABASE_URL", f"sqlite:///{path}")
    monkeypatch.setenv("WATCHDOG_URL", "http://127.0.0.1:1")
    return path


def test_the_store_is_read_where_no_daemon_answers(stored: Path, run: Run) -> None:
    for arguments, shown in (
        (["status"], "w7f3k2"),
        (["status", "barq-fleet-api"], "error_rate < 1%"),
        (["history"], "rolled back"),
        (["report", str(views.rolled_back()["id"])], "# Incident report"),
        (["report", str(views.rolled_back()["id"]), "--json"], '"signalled"'),
    ):
        found = run(*arguments)
        assert found.code == 0, found.err
        assert shown in found.out
        assert found.err.startswith("note: no daemon answers at http://127.0.0.1:1: reading")


def test_names_are_looked_up_in_the_store_as_the_daemon_does(stored: Path, run: Run) -> None:
    found = run("status", "nonesuch")
    assert found.code == 11
    assert "nonesuch is neither a watch nor a service with an open watch." in found.err
    keep(stored, views.watching(id="weurope", region="europe-west1"))
    found = run("status", "barq-fleet-api")
    assert found.code == 2
    assert "europe-west1/barq-fleet-api (weurope)" in found.err


@pytest.mark.parametrize("verb", [["status"], ["history"], ["report", "w7f3k2"]])
def test_without_daemon_and_store_it_says_what_to_do(verb: list[str], run: Run, tmp_path: Path) -> None:
    found = run(*verb)
    assert found.code == 1
    assert found.err.startswith("error: no daemon answers at http://127.0.0.1:8080 (")
    assert "start one with `watchdog run`, or set WATCHDOG_URL" in found.err
    assert list(tmp_path.iterdir()) == []  # looking makes no database


def test_a_store_that_does_not_answer_either_is_told(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WATCHDOG_DATABASE_URL", "postgresql://watchdog:s3cretpass@127.0.0.1:1/watchdog")
    found = run("history")
    assert found.code == 1
    assert "no daemon answers at http://127.0.0.1:8080" in found.err
    assert "the store does not answer either" in found.err
    assert "s3cretpass" not in found.err


async def test_automatic_that_asks_first_says_why(watches: Site, run: Run) -> None:
    doubt = "The policy says automatic, but no preflight has passed yet: a person is asked first, as in mode approve."
    await watches.put(views.watching(mode="approve", doubt=doubt))
    assert "automatic, acts as approve" in (await asyncio.to_thread(run, "status")).out
    found = await asyncio.to_thread(run, "status", "w7f3k2")
    assert f"{doubt} `watchdog preflight` says what is missing." in found.out
