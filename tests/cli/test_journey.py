"""`watchdog journey`: a journey run by hand, with the exit code of what it proved."""

import asyncio
import json
from pathlib import Path

import pytest

from tests.cli.conftest import Run
from tests.emulator.cloud_world import running_cloud
from watchdog.emulator.faults import Fault


@pytest.fixture
def secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WATCHDOG_JOURNEY__EMAIL", "watchdog@barqfleet.com")
    monkeypatch.setenv("WATCHDOG_JOURNEY__PASSWORD", "correct-horse")


async def test_each_step_is_shown_and_a_broken_workflow_is_exit_11(command: list[str], secrets: None) -> None:
    async with running_cloud() as cloud:
        fault = Fault(kind="status", status=500, paths=("/api/v1/assignments",), methods=("POST",))
        cloud.emulator.director.set_faults(cloud.service.latest_ready, (fault,))
        files = ("journeys/login.yaml", "journeys/assignment.yaml")
        process = await asyncio.create_subprocess_exec(
            *command, "journey", *files, "--url", cloud.url, "--json", stdout=asyncio.subprocess.PIPE
        )
        out, _ = await process.communicate()
    login, assignment = (json.loads(line) for line in out.splitlines())
    assert process.returncode == 11
    assert (login["result"], [s["result"] for s in login["steps"]]) == ("passed", ["passed"] * 4)
    assert assignment["detail"].startswith("step assign the vehicle: answered 500, expected 201")
    assert [s["name"] for s in assignment["steps"] if s["cleanup"] and s["result"] == "passed"] == [
        "delete the vehicle",
        "delete the courier",
        "log out",
    ]


def test_without_a_daemon_or_an_address_it_says_what_to_write(run: Run, secrets: None, tmp_path: Path) -> None:
    assert run("journey", "journeys/login.yaml").code == 2
    assert "say --url" in run("journey", "journeys/login.yaml").err
    assert run("journey", "nowhere.yaml", "--url", "https://a.example").code == 2
    (tmp_path / "bad.yaml").write_text("steps:\n  - {name: a, path: '/${x}'}\n")
    bad = run("journey", "bad.yaml", "--url", "https://a.example")
    assert (bad.code, 'bad.yaml:2: steps[0].path: undefined variable "x"' in bad.err) == (2, True)


def test_a_missing_secret_is_named_as_the_variable_that_it_is(run: Run) -> None:
    found = run("journey", "journeys/login.yaml", "--url", "https://a.example")
    assert found.code == 2
    assert "WATCHDOG_JOURNEY__EMAIL: is not set" in found.err
    assert "WATCHDOG_JOURNEY__PASSWORD: is not set" in found.err


def test_secrets_come_from_files_too(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("EMAIL", "PASSWORD"):
        (tmp_path / f"WATCHDOG_JOURNEY__{name}").write_text("something long\n")
    monkeypatch.setenv("WATCHDOG_SECRETS_DIR", str(tmp_path))
    found = run("journey", "journeys/login.yaml", "--url", "http://127.0.0.1:9")
    assert (found.code, found.err) == (11, "")
    assert "the connection was refused" in found.out
