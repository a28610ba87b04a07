"""`watchdog emulator` and `watchdog demo`: the verbs; what they start has its own tests."""

import asyncio
import json
import signal

import pytest
from aiohttp import ClientSession

from tests.cli.conftest import ROOT, Run
from watchdog.emulator.scenario import scenario_names


async def test_the_emulator_tells_its_endpoints_serves_and_ends_well(command: list[str]) -> None:
    process = await asyncio.create_subprocess_exec(
        *command, "emulator", "--listen", "127.0.0.1:0", "--ingest-delay", "1", cwd=ROOT, stdout=asyncio.subprocess.PIPE
    )
    try:
        assert process.stdout is not None
        endpoints = json.loads(await asyncio.wait_for(process.stdout.readline(), 20))
        assert endpoints["env"]["CLOUD_RUN_EMULATOR_HOST"] == endpoints["cloud_run"]
        async with ClientSession() as http, http.get(f"{endpoints['service_url']}/health") as answer:
            assert answer.status == 200
    finally:
        process.send_signal(signal.SIGTERM)
        code = await asyncio.wait_for(process.wait(), 10)
    assert code == 0


@pytest.mark.parametrize(
    "arguments, told",
    [
        (["--listen", "9090"], "'9090' is not HOST:PORT"),
        (["--scenario", "nonesuch"], "there are error-rate, hard-down"),
        (["--load", "-1"], "-1.0 is not in the range x>=0.0"),
        (["--sample-period", "0"], "0.0 is not in the range x>0.0"),
    ],
)
def test_a_world_that_cannot_be_is_told(run: Run, arguments: list[str], told: str) -> None:
    found = run("emulator", *arguments)
    assert found.code == 2
    assert told in found.err


def test_the_scenarios_are_listed(run: Run) -> None:
    found = run("demo", "--list")
    assert found.code == 0
    assert [line.split()[0] for line in found.out.splitlines()] == scenario_names()
    listed = [json.loads(line) for line in run("demo", "--list", "--json").out.splitlines()]
    assert [row["scenario"] for row in listed] == scenario_names()
