"""`watchdog notify --test`, against the emulator's Slack and PagerDuty."""

import asyncio
import json
import os
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass

import pytest
from aiohttp import web

from tests.cli.conftest import ROOT, Run
from watchdog.emulator.collectors import Collected, add_routes
from watchdog.emulator.mail import MailCollector


@dataclass(frozen=True)
class World:
    collected: Collected
    env: Mapping[str, str]

    async def notify(self, command: list[str], *arguments: str, **env: str) -> tuple[int, str, str]:
        """Run the verb in a process of its own: it sets up logging."""
        process = await asyncio.create_subprocess_exec(
            *command,
            "notify",
            "--test",
            *arguments,
            cwd=ROOT,
            env={**os.environ, **self.env, **env},
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        out, err = await process.communicate()
        assert process.returncode is not None
        return process.returncode, out.decode(), err.decode()


@pytest.fixture
async def world() -> AsyncIterator[World]:
    collected = Collected()
    app = web.Application()
    add_routes(app, collected)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    env = {
        "WATCHDOG_SLACK__TOKEN": "xoxb-emulator",
        "WATCHDOG_SLACK__CHANNEL": "#barq-alerts",
        "WATCHDOG_SLACK__API_URL": f"{url}/slack/api/",
        "WATCHDOG_PAGERDUTY__ROUTING_KEY": "e" * 32,
        "WATCHDOG_PAGERDUTY__EVENTS_URL": f"{url}/pagerduty",
    }
    yield World(collected, env)
    await runner.cleanup()


async def test_a_test_message_arrives_everywhere_and_wakes_nobody(world: World, command: list[str]) -> None:
    code, out, err = await world.notify(command, "--by", "jane")
    assert (code, err) == (0, "")
    assert [line.split(": ")[:2] for line in out.splitlines()] == [["slack", "delivered"], ["pagerduty", "delivered"]]
    slack, pagerduty = world.collected.received("slack"), world.collected.received("pagerduty")
    assert "Test message from Watchdog" in slack[0].body["text"]
    assert "jane" in slack[0].body["text"]
    assert len(pagerduty) == 1
    assert "event_action" not in pagerduty[0].body
    assert pagerduty[0].body["payload"]["summary"].startswith("Test message from Watchdog")


async def test_every_channel_and_every_routing_key_is_tried(world: World, command: list[str]) -> None:
    mail = MailCollector(world.collected)
    port = await mail.start("127.0.0.1", 0)
    slack = world.env["WATCHDOG_SLACK__API_URL"].removesuffix("api/")
    try:
        code, out, err = await world.notify(
            command,
            WATCHDOG_PAGERDUTY__ROUTING_KEYS__2="f" * 32,
            WATCHDOG_SMTP__URL=f"smtp://127.0.0.1:{port}",
            WATCHDOG_SMTP__FROM="dog@barq.example",
            WATCHDOG_SMTP__TO="alerts@barq.example",
            WATCHDOG_WEBHOOK__URL=f"{slack}webhook/T/B/x",
        )
    finally:
        await mail.stop()
    told = [line.split(": ")[:2] for line in out.splitlines()]
    assert told[:3] == [["slack", "delivered"], ["pagerduty", "delivered"], ["email", "delivered"]], out + err
    assert told[3] == ["webhook", "NOT delivered"], "that one is Slack's, which refuses a CloudEvent"
    assert code == 11
    keys = [entry.body["routing_key"] for entry in world.collected.received("pagerduty")]
    assert keys == ["e" * 32, "f" * 32]
    (received,) = world.collected.received("smtp")
    assert "Test message from Watchdog" in received.body["subject"]


async def test_a_channel_that_fails_is_told_and_the_others_are_not_held_up(world: World, command: list[str]) -> None:
    code, out, err = await world.notify(command, "--json", WATCHDOG_PAGERDUTY__EVENTS_URL="http://127.0.0.1:1/")
    assert code == 11
    slack, pagerduty = map(json.loads, out.splitlines())
    assert (slack["channel"], slack["delivered"]) == ("slack", True)
    assert (pagerduty["channel"], pagerduty["delivered"]) == ("pagerduty", False)
    assert "no connection to PagerDuty" in pagerduty["detail"]
    assert "e" * 32 not in out + err


def test_without_any_channel_it_says_how_to_set_one(run: Run) -> None:
    found = run("notify", "--test")
    assert found.code == 2
    assert "WATCHDOG_SLACK__TOKEN" in found.err
    assert "WATCHDOG_PAGERDUTY__ROUTING_KEY" in found.err
