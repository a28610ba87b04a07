"""`watchdog replay`: what it prints, byte by byte the same for the same evidence, and its exit codes."""

import io
import json
import random
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from tests.cli.conftest import ROOT, Result, Run
from tests.cli.stored import keep
from tests.engine.evidence import BARQ, Recorded, Row, broken, counts, healthy, recorded, table
from watchdog.core.journal import encode
from watchdog.engine import replay
from watchdog.engine.replay_csv import HEADER, read_csv
from watchdog.ports import NewEvent

POLICY = str(ROOT / "config" / "barq-fleet.yaml")
OUTAGE = broken(healthy(900), after=300.0, share=1.0)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "evidence.csv"


def judged(run: Run, file: Path, rows: list[Row], *more: str) -> Result:
    file.write_text(table(rows))
    return run("replay", str(file), "--config", POLICY, *more)


# --- tables -------------------------------------------------------------------------------------------------------


def test_an_outage_is_told_as_json(run: Run, file: Path) -> None:
    found = judged(run, file, OUTAGE, "--json")
    decision, ended = map(json.loads, found.out.splitlines())
    assert found.code == 10
    assert list(decision) == ["event", "at_s", "action", "criterion", "reason"]
    assert (decision["event"], decision["action"], decision["criterion"]) == ("decision", "rollback", "error_rate < 1%")
    assert 300 < decision["at_s"] <= 345
    assert list(ended) == ["event", "at_s", "outcome", "reason"]
    assert (ended["event"], ended["outcome"]) == ("watch_ended", "rolled_back")
    assert decision["at_s"] < ended["at_s"] < decision["at_s"] + 60


def test_an_outage_is_told_in_sentences(run: Run, file: Path) -> None:
    found = judged(run, file, OUTAGE)
    first, decision, ended = found.out.splitlines()
    assert first == f"Judging 360 rows over 15 min under policy {BARQ.hash}."
    assert "rollback: Rolling back barq-fleet-api (us-central1) from candidate to previous 100 %" in decision
    assert "ROLLED BACK: " in ended


@pytest.mark.parametrize(
    "rows, code, outcome",
    [
        (healthy(900), 0, "passed"),
        (OUTAGE, 10, "rolled_back"),
        ([replace(r, bad=None, total=None, missing="no_series") for r in healthy(900)], 13, "unverified"),
    ],
    ids=["passed", "rolled back", "unverified"],
)
def test_the_exit_code_is_the_outcomes(run: Run, file: Path, rows: list[Row], code: int, outcome: str) -> None:
    found = judged(run, file, rows, "--json")
    assert found.code == code
    assert json.loads(found.out.splitlines()[-1])["outcome"] == outcome


def test_in_observe_mode_it_fails_as_it_would_live(run: Run, file: Path, tmp_path: Path) -> None:
    observing = tmp_path / "observe.yaml"
    observing.write_text(Path(POLICY).read_text().replace("mode: automatic", "mode: observe"))
    file.write_text(table(OUTAGE))
    found = run("replay", str(file), "--config", str(observing), "--json")
    assert found.code == 11
    assert "Would roll back" in found.out


@pytest.mark.parametrize("more", [(), ("--json",)], ids=["sentences", "json"])
def test_shuffled_rows_give_the_same_bytes(run: Run, file: Path, more: tuple[str, ...]) -> None:
    rows = [*OUTAGE, *counts("cpu_usage_", until=60), Row(start=0, end=60, check="nobody", value=1.0)]
    first = judged(run, file, rows, *more)
    for seed in range(3):
        shuffled = list(rows)
        random.Random(seed).shuffle(shuffled)
        again = judged(run, file, shuffled, *more)
        assert (again.code, again.out, again.err) == (first.code, first.out, first.err)


def test_rows_that_nobody_reads_are_warned_of_once(run: Run, file: Path) -> None:
    found = judged(run, file, [*healthy(300), *counts("eror_rate", until=300)])
    assert found.err.count("eror_rate") == 1
    assert 'did you mean "error_rate"?' in found.err


def test_the_policy_may_come_from_the_environment(run: Run, file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file.write_text(table(healthy(300)))
    found = run("replay", str(file))
    assert found.code == 2
    assert "name one with --config FILE or in WATCHDOG_CONFIG" in found.err
    monkeypatch.setenv("WATCHDOG_CONFIG", POLICY)
    assert run("replay", str(file)).code == 0
    monkeypatch.setenv("WATCHDOG_CONFIG", f"{POLICY},{POLICY}")
    assert "say with --config which one" in run("replay", str(file)).err


def test_a_dash_reads_standard_input(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    for text, code in ((table(OUTAGE).encode(), 10), (b"SQLite format 3\x00", 2)):
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(text)))
        assert run("replay", "-", "--config", POLICY).code == code


# --- refused ------------------------------------------------------------------------------------------------------


def test_every_problem_of_a_file_is_told_and_the_code_is_2(run: Run, file: Path) -> None:
    file.write_text(f"{HEADER}\n0,5,,error_rate,11,10,,\nx,5,,error_rate,0,10,,\n")
    found = run("replay", str(file), "--config", POLICY, "--json")
    assert (found.code, found.out) == (2, "")
    assert f"error: {file}:2: bad: 11 is more than total 10" in found.err
    assert f'error: {file}:3: start_s: "x" is not a number' in found.err


@pytest.mark.parametrize(
    "raw, told",
    [
        (b"", ":1: is empty; begin with the header"),
        (b"start_s,end_s\n\xff\xfe\n", ":2: is not UTF-8 (byte 0xff); save it as UTF-8"),
        (b'{"kind": ', ":1: is not JSON"),
        (b"\x00\x01\x02", ":1: the header is missing"),
    ],
)
def test_a_file_that_is_neither_is_refused(run: Run, file: Path, raw: bytes, told: str) -> None:
    file.write_bytes(raw)
    found = run("replay", str(file), "--config", POLICY)
    assert found.code == 2
    assert f"error: {file}{told}" in found.err


def test_a_file_that_is_not_there_is_told(run: Run, tmp_path: Path) -> None:
    assert "cannot be read: No such file or directory" in run("replay", str(tmp_path / "x.csv")).err
    assert "cannot be read: Is a directory" in run("replay", str(tmp_path)).err


# --- journals -----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def outage() -> Recorded:
    samples = read_csv(table(OUTAGE), "x", BARQ).samples
    return recorded(replay.opening_of(BARQ, ends_s=900.0), replay.batches(samples))


def test_a_journal_reproduces_its_decisions(run: Run, file: Path, outage: Recorded) -> None:
    file.write_text(json.dumps(outage.report))
    found = run("replay", str(file))
    assert found.code == 10
    assert "Every decision of the live watch was reproduced." in found.out
    lines = [json.loads(line) for line in run("replay", str(file), "--json").out.splitlines()]
    assert [line["event"] for line in lines] == ["compared", "decision", "watch_ended"]
    assert lines[0] == {"event": "compared", "reproduced": True, "differences": []}


def test_a_journal_that_is_not_reproduced_is_an_error(run: Run, file: Path, outage: Recorded) -> None:
    file.write_text(json.dumps({**outage.report, "watch": {**outage.shown, "decisions": []}}))
    found = run("replay", str(file))
    assert found.code == 1
    assert "error: not reproduced: decision 1: live none, replayed rollback" in found.err


def test_a_journal_keeps_its_policy_whatever_the_environment_says(
    run: Run, file: Path, outage: Recorded, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    other = tmp_path / "other.yaml"
    other.write_text(Path(POLICY).read_text().replace('"< 1%", action: rollback', '"< 1%", action: investigate'))
    file.write_text("".join(json.dumps(row) + "\n" for row in outage.rows))
    monkeypatch.setenv("WATCHDOG_CONFIG", str(other))
    assert "Every traffic write was reproduced." in run("replay", str(file)).out
    found = run("replay", str(file), "--config", str(other))
    assert f"not the journal's own {BARQ.hash}" in found.out
    assert "reproduced" not in found.out


def test_an_open_journal_is_unverified(run: Run, file: Path, outage: Recorded) -> None:
    file.write_text(json.dumps(outage.rows[:20]))
    found = run("replay", str(file), "--json")
    assert found.code == 13
    assert json.loads(found.out.splitlines()[-1])["reason"] == "The journal ends while the watch is open (watching)."


def test_a_watch_is_replayed_from_a_database(run: Run, tmp_path: Path, outage: Recorded) -> None:
    path = tmp_path / "watchdog.db"
    rows = []
    for event in [outage.opening, *outage.events]:
        kind, schema, body = encode(event)
        rows.append(NewEvent(at=event.at, seen_at=event.at, kind=kind, schema=schema, body=body))
    keep(path, outage.shown, events=rows)
    found = run("replay", str(path), "--watch", "replay")
    assert (found.code, found.err) == (10, "")
    assert "Every decision of the live watch was reproduced." in found.out
    by_service = run("replay", str(path), "--watch", "barq-fleet-api", "--json")
    assert by_service.code == 10
    assert "say with --watch ID" in run("replay", str(path)).err
    assert run("replay", str(path), "--watch", "nonesuch").code == 2


def test_a_watch_can_only_be_named_in_a_database(run: Run, file: Path) -> None:
    file.write_text(table(OUTAGE))
    found = run("replay", str(file), "--watch", "w7f3k2", "--config", POLICY)
    assert found.code == 2
    assert "--watch is for a SQLite database" in found.err


# --- as a process -------------------------------------------------------------------------------------------------


def test_the_process_says_the_same_with_its_exit_code(command: list[str], file: Path) -> None:
    file.write_text(table(OUTAGE))
    arguments = [*command, "replay", str(file), "--config", POLICY, "--json"]
    done = subprocess.run(arguments, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 10
    assert [json.loads(line)["event"] for line in done.stdout.splitlines()] == ["decision", "watch_ended"]
