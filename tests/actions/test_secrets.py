"""No secret leaves by any door but the one it is for: not in messages, not in errors, not in logs, not in receipts."""

import asyncio
import base64
import json
import re
import traceback
from collections.abc import Awaitable, Mapping
from dataclasses import asdict
from typing import Any

import pytest
from structlog.testing import capture_logs

from tests.actions.messages import DECISION, OPENED, ROLLED_BACK, delivery
from tests.actions.recorder import Answer, Recorder, Seen, recording
from watchdog.actions import channels
from watchdog.actions.cloud_run import CloudRun
from watchdog.actions.email import EmailNotifier
from watchdog.actions.heartbeat import Heartbeat
from watchdog.actions.pagerduty import PagerDutyNotifier
from watchdog.actions.slack import SlackNotifier
from watchdog.actions.slack_whisper import Whisperer
from watchdog.core.model import ServiceKey, Split
from watchdog.engine.clock import SystemClock
from watchdog.errors import WatchdogError
from watchdog.ports import Notifier
from watchdog.settings import load_settings

SLACK_TOKEN = "xoxb-PLANTED-slack-token"
ROUTING_KEYS = {1: "PLANTEDroutingkeynumber1xxxxxxxx", 2: "PLANTEDroutingkeynumber2xxxxxxxx"}
WEBHOOK_PATH = "/services/T0/B0/PLANTEDwebhook"
USERINFO = "PLANTEDuser:PLANTEDpassword"

STATUSES = (200, 202, 302, 400, 401, 403, 404, 409, 410, 429, 500, 503)


def echo(status: int) -> Any:
    """A server that answers everything that it was told, secrets included, in each vendor's shape of an error."""

    def answer(seen: Seen) -> Answer:
        told = f"{seen.path} {json.dumps(dict(seen.headers))} {seen.text}"
        shape: dict[str, Any] = {"ok": False, "error": {"status": told, "message": told}}
        if "chat" in seen.path:
            shape = {"ok": False, "error": told}
        return Answer(status=status, body=told if WEBHOOK_PATH in seen.path else shape)

    return answer


def environment(server: Recorder, *, webhook: bool = False) -> Mapping[str, str]:
    base = server.url.replace("http://", f"http://{USERINFO}@")
    slack = (
        {"WATCHDOG_SLACK__WEBHOOK_URL": f"{base}{WEBHOOK_PATH}"}
        if webhook
        else {"WATCHDOG_SLACK__TOKEN": SLACK_TOKEN, "WATCHDOG_SLACK__CHANNEL": "#deploys"}
    )
    return {
        **slack,
        "WATCHDOG_SLACK__API_URL": f"{server.url}/api/",
        "WATCHDOG_SLACK__SIGNING_SECRET": "PLANTEDsigningsecret",
        "WATCHDOG_PAGERDUTY__ROUTING_KEY": ROUTING_KEYS[1],
        "WATCHDOG_PAGERDUTY__ROUTING_KEYS__2": ROUTING_KEYS[2],
        "WATCHDOG_PAGERDUTY__WEBHOOK_SECRET": "PLANTEDwebhooksecret",
        "WATCHDOG_PAGERDUTY__EVENTS_URL": base,
        "WATCHDOG_WEBHOOK__URL": f"{base}{WEBHOOK_PATH}",
        "WATCHDOG_WEBHOOK__SECRET": "PLANTEDwebhooksigning",
        "WATCHDOG_GOOGLE_CHAT__WEBHOOK_URL": f"{base}/v1/spaces/A/messages?key=PLANTEDkey&token=PLANTEDtoken",
        "WATCHDOG_TEAMS__WEBHOOK_URL": f"{base}/workflows/PLANTEDworkflow?sig=PLANTEDsig",
        "WATCHDOG_HEARTBEAT__URL": f"{base}/ping/PLANTEDheartbeat",
        "WATCHDOG_API_TOKEN": "PLANTEDapitoken",
        "WATCHDOG_DATABASE_URL": f"postgresql://{USERINFO}@db/watchdog",
    }


async def everything_told(notifier: Notifier) -> str:
    """What a notifier raises, logs, answers and shows of itself while it delivers an incident."""
    told = [repr(notifier), str(notifier)]
    remembered: dict[str, str] = {}
    with capture_logs() as logs:
        for body in (OPENED, DECISION, ROLLED_BACK):
            try:
                receipt = await notifier.deliver(delivery(body, channel=notifier.channel, remembered=remembered))
                remembered.update(receipt.remember)
                told.append(str(asdict(receipt)))
            except WatchdogError as error:
                told += [str(error), repr(error), "".join(traceback.format_exception(error))]
    return "\n".join([*told, str(logs)])


def planted(text: str) -> list[str]:
    return re.findall(r"PLANTED\w*|PLANTED", text)


@pytest.mark.parametrize("status", STATUSES)
@pytest.mark.parametrize("webhook", [False, True])
async def test_slack_tells_nobody(status: int, webhook: bool) -> None:  # noqa: FBT001
    async with recording(echo(status)) as (server, session):
        settings = load_settings(environment(server, webhook=webhook))
        notifier = SlackNotifier.from_settings(session, settings.slack)
        assert notifier is not None

        told = await everything_told(notifier)

        assert server.seen
        assert planted(told) == []
        assert all(planted(seen.text) == [] for seen in server.seen)
        if not webhook:
            assert all(seen.headers["Authorization"] == f"Bearer {SLACK_TOKEN}" for seen in server.seen)


@pytest.mark.parametrize("status", STATUSES)
async def test_pagerduty_tells_nobody(status: int) -> None:
    async with recording(echo(status)) as (server, session):
        notifier = PagerDutyNotifier.from_settings(session, load_settings(environment(server)).pagerduty)
        assert notifier is not None

        told = await everything_told(notifier)

        assert server.seen
        assert planted(told) == []
        for seen in server.seen:
            body = seen.json
            assert body.pop("routing_key") in ROUTING_KEYS.values()
            assert planted(json.dumps(body)) == []


@pytest.mark.parametrize("status", STATUSES)
async def test_no_channel_of_the_registry_tells_anybody(status: int) -> None:
    """Whatever a server answers, and it answers all it was told: no secret but the one it is for leaves by it."""
    async with recording(echo(status)) as (server, session):
        settings = load_settings(environment(server))
        found = channels.load(session, SystemClock(), settings)
        assert {n.channel for n in found} == {"slack", "pagerduty", "webhook", "google_chat", "teams"}
        for notifier in found:
            assert planted(await everything_told(notifier)) == [], notifier.channel
        for seen in server.seen:
            body = re.sub(r'"routing_key": "[^"]*"', "", seen.text)
            assert planted(body) == [], seen.path
        assert settings.heartbeat.url is not None
        private = f"{server.url}/actions/PLANTEDresponse"
        whisperer = Whisperer(session, api_url=server.url)
        told = await complaint(Heartbeat(session, settings.heartbeat.url).beat())
        assert planted(told + await complaint(whisperer.whisper(private, "x"))) == []


async def complaint(work: Awaitable[object]) -> str:
    """What an error of ours tells, trace included; nothing when there is none."""
    try:
        await work
    except WatchdogError as error:
        return "".join(traceback.format_exception(error))
    return ""


async def test_a_mail_server_that_repeats_what_it_was_told_reveals_nothing() -> None:
    """It answers AUTH with all that it got, the password in base64 included."""
    heard: list[str] = []

    async def dialogue(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"220 mail.test ESMTP\r\n")
        while line := await reader.readline():
            heard.append(line.decode().strip())
            greeting = heard[-1].upper().startswith("EHLO")
            answer = "250-mail.test\r\n250 AUTH PLAIN LOGIN" if greeting else f"535 5.7.8 {' '.join(heard)}"
            writer.write(f"{answer}\r\n".encode())
        writer.close()

    listening = await asyncio.start_server(dialogue, "127.0.0.1", 0)
    port = listening.sockets[0].getsockname()[1]
    async with listening:
        mail = EmailNotifier(f"smtp://{USERINFO}@127.0.0.1:{port}", sender="dog@x.example", to=["a@b.example"])
        told = await everything_told(mail)
    assert any("AUTH" in line for line in heard)
    assert planted(told) == []
    for word in ("PLANTEDpassword", "\0PLANTEDuser\0PLANTEDpassword", "PLANTEDuser"):
        assert base64.b64encode(word.encode()).decode() not in told


async def test_a_server_out_of_reach_is_named_without_its_secrets() -> None:
    async with recording(Answer()) as (server, session):
        gone = Recorder(Answer())
        gone.url = "http://127.0.0.1:1"
        for webhook in (False, True):
            settings = load_settings(environment(gone, webhook=webhook))
            for notifier in (
                SlackNotifier.from_settings(session, settings.slack),
                PagerDutyNotifier.from_settings(session, settings.pagerduty),
            ):
                assert notifier is not None
                told = await everything_told(notifier)
                assert "no connection to" in told
                assert planted(told) == []
        assert server.seen == []


async def test_a_service_body_with_secrets_never_gets_into_an_error() -> None:
    """Variables of the template go back in the PUT, and nowhere else."""
    secret = {"name": "PASSWORD", "value": "PLANTEDvariable"}
    body = {
        "metadata": {"name": "api", "resourceVersion": "1"},
        "spec": {"template": {"spec": {"containers": [{"image": "x", "env": [secret]}]}}},
    }
    key = ServiceKey(project="p", region="r", name="api")
    async with recording(Answer(body=body)) as (server, session):
        control = CloudRun(session, tokens=None, api_url=server.url)
        state = await control.read(key)
        server.answers.append(Answer(status=503, body={"error": {"message": "unavailable"}}))

        with pytest.raises(WatchdogError) as caught:
            await control.move(key, Split.of({"a": 100}), resource_version=state.resource_version)

        told = "".join(traceback.format_exception(caught.value)) + repr(state) + repr(await control.revisions(key))
        assert planted(told) == []
