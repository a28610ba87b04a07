"""The emulator's collectors as the other side of Slack and PagerDuty."""

from collections.abc import AsyncIterator
from dataclasses import dataclass

import aiohttp
import pytest
from aiohttp import web

from watchdog.actions.pagerduty import PagerDutyNotifier
from watchdog.actions.slack import SlackNotifier
from watchdog.emulator.collectors import Collected, add_routes
from watchdog.settings import PagerDutySettings, SlackSettings
from watchdog.transport import open_session

KEYS = {1: "k1" * 16, 2: "k2" * 16}


@dataclass(kw_only=True)
class World:
    """The collectors behind a real server, and notifiers set up as the environment would."""

    collected: Collected
    url: str
    session: aiohttp.ClientSession

    def slack(self, *, slash: str = "/") -> SlackNotifier:
        settings = SlackSettings(token="xoxb-test-token", channel="#deploys", api_url=f"{self.url}/slack/api{slash}")
        notifier = SlackNotifier.from_settings(self.session, settings)
        assert notifier is not None
        return notifier

    def webhook(self) -> SlackNotifier:
        settings = SlackSettings(webhook_url=f"{self.url}/slack/webhook/T000/B000/secret")
        notifier = SlackNotifier.from_settings(self.session, settings)
        assert notifier is not None
        return notifier

    def pagerduty(self) -> PagerDutyNotifier:
        settings = PagerDutySettings(
            routing_key=KEYS[1], routing_keys={2: KEYS[2]}, events_url=f"{self.url}/pagerduty/"
        )
        notifier = PagerDutyNotifier.from_settings(self.session, settings)
        assert notifier is not None
        return notifier


@pytest.fixture
async def world() -> AsyncIterator[World]:
    collected = Collected()
    app = web.Application()
    add_routes(app, collected)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    async with open_session() as session:
        yield World(collected=collected, url=f"http://127.0.0.1:{runner.addresses[0][1]}", session=session)
    await runner.cleanup()
