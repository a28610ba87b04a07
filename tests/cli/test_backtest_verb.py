"""`watchdog backtest` as it is typed: read from a daemon or from its database, told in sentences and in JSON."""

import asyncio
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.cli.conftest import Result, Run
from tests.cli.stored import keep
from tests.core.policies import MINIMAL
from tests.engine.evidence import Recorded, broken, healthy, policy, recorded, table
from tests.recordings.record import HERE, SUFFIX, load
from tests.web.world import Site
from watchdog.cli.backtest_page import Page
from watchdog.core.journal import encode
from watchdog.core.policy import ColdStart, Policy
from watchdog.engine import replay
from watchdog.engine.backtest import rejudge
from watchdog.engine.replay_csv import read_csv
from watchdog.engine.replay_journal import read_journal
from watchdog.ports import NewEvent

EPOCH = 1_790_000_000.0
INVESTIGATE = {"success_criteria": [{"metric": "error_rate", "target": "< 1%", "action": "investigate"}]}


@pytest.fixture(scope="module")
def outage() -> Recorded:
    """A bad release that was only looked into, because its policy asked for no more."""
    by = policy(**INVESTIGATE)
    evidence = read_csv(table(broken(healthy(420.0), after=120.0, share=0.3)), "x", by)
    opening = replace(
        replay.opening_of(by, ends_s=None), at=EPOCH, cutover_at=EPOCH, ends_at=EPOCH + 420.0, watch="w7f3k2"
    )
    events = [
        replace(
            event,
            at=EPOCH + event.at,
            samples=tuple(
                replace(s, start=EPOCH + s.start, end=EPOCH + s.end, seen=EPOCH + s.seen) for s in event.samples
            ),
        )
        for event in replay.batches(evidence.samples)
    ]
    return recorded(opening, events)


@pytest.fixture
def strict(tmp_path: Path) -> str:
    """A policy that rolls back where that one only looked."""
    path = tmp_path / "strict.yaml"
    rows = [{"metric": "error_rate", "target": "< 1%", "action": "rollback"}]
    path.write_text(yaml.safe_dump({**MINIMAL, "success_criteria": rows}))
    return str(path)


def rows_of(made: Recorded) -> list[NewEvent]:
    found = []
    for event in [made.opening, *made.events]:
        kind, schema, body = encode(event)
        found.append(NewEvent(at=event.at, seen_at=event.at, kind=kind, schema=schema, body=body))
    return found


@pytest.fixture(autouse=True)
def no_daemon(monkeypatch: pytest.MonkeyPatch, alone: None) -> None:
    """None answers."""
    monkeypatch.setenv("WATCHDOG_URL", "http://127.0.0.1:9")


@pytest.fixture
def ask(tmp_path: Path, run: Run) -> Callable[..., Result]:
    """The verb over a database that holds this watch."""

    def call(made: Recorded, *arguments: str, **shown: Any) -> Result:
        keep(tmp_path / "watchdog.db", {**made.shown, **shown}, events=rows_of(made))
        return run("backtest", *arguments)

    return call


WRONG = {"mark": "wrong", "by": "jane", "reason": "users complained", "at": "2026-09-21T15:02:00Z"}


def test_its_own_policy_gives_the_same_decisions(ask: Callable[..., Result], outage: Recorded) -> None:
    found = ask(outage, "--last", "5")
    assert found.code == 0, found.err
    assert "again         the same, decision by decision" in found.out
    assert "Every decision was reproduced." in found.out


def test_a_watch_that_is_not_reproduced_is_an_error(ask: Callable[..., Result], outage: Recorded) -> None:
    found = ask(outage, reason="It was the weather.")
    assert found.code == 1
    assert 'NOT THE SAME  reason: live "It was the weather."' in found.out
    assert "1 of 1 are not reproduced" in found.err


def test_a_changed_policy_says_when_why_and_what_happened_in_fact(
    ask: Callable[..., Result], outage: Recorded, strict: str
) -> None:
    found = ask(outage, "--config", strict, mark=WRONG)
    assert found.code == 0, found.err
    assert "marked wrong (jane, 2026-09-21 15:02 UTC: users complained)" in found.out
    assert "in fact       not rolled back; ended " in found.out
    assert "would         roll back at +2 min" in found.out
    assert "error_rate < 1%" in found.out
    assert "then          in fact it stayed, and the watch ended " in found.out
    assert "1 of 1 would be rolled back (marked: 1 wrong); by the marks: 1 had to be." in found.out
    assert "Newly caught 1 (1 that had to go). Newly missed 0." in found.out


async def test_a_daemon_is_asked_for_its_journals(site: Site, run: Run, outage: Recorded, strict: str) -> None:
    await site.put({**outage.shown, "mark": WRONG}, rows_of(outage))
    found = await asyncio.to_thread(run, "backtest", "--config", strict, "--json")
    assert found.code == 0, found.err
    judged, ended = map(json.loads, found.out.splitlines())
    assert (judged["event"], judged["change"], judged["had_to_go"]) == ("watch_judged", "newly_rolled_back", "yes")
    assert (judged["live"]["rolled_back"], judged["again"]["rolled_back"]) == (False, True)
    assert judged["reproduced"] is True
    assert (ended["event"], ended["would_roll_back"], ended["newly_caught"]["yes"]) == ("backtest_ended", 1, 1)


def test_nothing_to_judge_is_13(ask: Callable[..., Result], outage: Recorded) -> None:
    found = ask(outage, "no-such-service")
    assert found.code == 13
    assert "No watch of no-such-service has ended yet" in found.out


def test_a_journal_that_cannot_be_read_is_told_and_is_13(run: Run, outage: Recorded, tmp_path: Path) -> None:
    keep(tmp_path / "watchdog.db", outage.shown)  # its journal was cleared away
    found = run("backtest")
    assert found.code == 13
    assert "not judged    watch w7f3k2: has no record" in found.out
    assert "1 could not be judged." in found.out


def test_what_cannot_be_asked_is_a_usage_error(run: Run, strict: str, tmp_path: Path) -> None:
    twice = run("backtest", "--config", strict, "--config", strict)
    assert twice.code == 2
    assert "give one policy a service" in twice.err
    (tmp_path / "bad.yaml").write_text("version: 1\nservice: {}\n")
    bad = run("backtest", "--config", str(tmp_path / "bad.yaml"))
    assert bad.code == 2
    assert "Traceback" not in bad.err


def test_sooner_and_later_are_told_from_the_side_of_what_happened(capsys: pytest.CaptureFixture[str]) -> None:
    """A recorded watch whose counts went on during its trial, so that a more patient policy is known to be later."""
    one = read_journal(load(HERE / f"flapping{SUFFIX}"), "flapping")
    own = Policy.from_canonical(one.opening.policy)
    found = rejudge(one, own.model_copy(update={"cold_start": ColdStart(errors_s=30.0)}))
    assert found.change == "later"
    page = Page(False, ["changed"])  # noqa: FBT003 - as the verb makes it
    page.watch(found)
    late = round(found.by_s)
    told = capsys.readouterr().out
    assert f", {late} s later: error_rate" in told
    assert f"in fact it had been rolled back {late} s before; the watch ended rolled back" in told
    sooner = replace(found, live=found.again, again=found.live)
    page.watch(sooner)
    assert f"in fact it went on for {late} s until it was rolled back" in capsys.readouterr().out


def test_a_criterion_is_not_said_twice(capsys: pytest.CaptureFixture[str]) -> None:
    one = read_journal(load(HERE / f"hard-down{SUFFIX}"), "hard-down")
    own = Policy.from_canonical(one.opening.policy)
    found = rejudge(one, own.model_copy(update={"coverage_floor": 0.7}))
    Page(False, ["changed"]).watch(found)  # noqa: FBT003 - as the verb makes it
    would = next(line for line in capsys.readouterr().out.splitlines() if line.strip().startswith("would"))
    assert would.count("health_check failing") == 1
