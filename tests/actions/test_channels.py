"""Email, webhook, Google Chat and Teams: what arrives, and what each answer means."""

import asyncio
import base64
import datetime as dt
import hashlib
import hmac
import ipaddress
import json
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from email.message import EmailMessage
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiosmtpd.smtp import SMTP
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from tests.actions.messages import DECISION, OPENED, ROLLED_BACK, assert_golden, delivery
from tests.actions.recorder import Answer, recording
from watchdog.actions import channels
from watchdog.actions.email import EmailNotifier, mail_of
from watchdog.actions.google_chat import GoogleChatNotifier
from watchdog.actions.render import Message
from watchdog.actions.teams import TeamsNotifier, card_of
from watchdog.actions.webhook import WebhookNotifier
from watchdog.emulator.collector_behaviour import Behaviour
from watchdog.emulator.collectors import Collected
from watchdog.emulator.mail import MailCollector
from watchdog.engine.clock import SystemClock
from watchdog.errors import PermanentError, TemporaryError
from watchdog.settings import load_settings

TO_LEAD = {**DECISION, "to": {"email": ["lead@barq.example"], "slack": []}}

# --- email --------------------------------------------------------------------------------------------------------


@asynccontextmanager
async def post_office() -> AsyncIterator[tuple[Collected, str]]:
    collected = Collected()
    mail = MailCollector(collected)
    port = await mail.start("127.0.0.1", 0)
    try:
        yield collected, f"smtp://127.0.0.1:{port}"
    finally:
        await mail.stop()


def sender(url: str) -> EmailNotifier:
    return EmailNotifier(url, sender="Watchdog <dog@barq.example>", to=["alerts@barq.example"])


async def test_a_mail_goes_to_the_standing_recipients_and_to_whom_the_ladder_names() -> None:
    async with post_office() as (collected, url):
        receipt = await sender(url).deliver(delivery(TO_LEAD, channel="email"))
        (mail,) = [entry.body for entry in collected.received("smtp") if entry.accepted]
    assert sorted(mail["rcpt_tos"]) == ["alerts@barq.example", "lead@barq.example"]
    assert mail["subject"].strip().startswith("[CRITICAL] Rolling back barq-fleet-api")
    assert "WHAT YOU MUST DO" in mail["text"]
    assert "&lt;healthy&gt; &amp; well" in mail["html"]
    assert receipt.provider_id.endswith("@watchdog.invalid>")


def test_a_mail_looks_like_this() -> None:
    mail = mail_of(
        Message.of(ROLLED_BACK), key="w7k2:2:rolled_back", thread="w7k2", sender="dog@x.example", to=["a@b.c"]
    )
    html = mail.get_body(("html",))
    text = mail.get_body(("plain",))
    assert isinstance(html, EmailMessage)
    assert isinstance(text, EmailMessage)
    parts = {"headers": dict(mail.items()), "text": text.get_content(), "html": html.get_content()}
    parts["headers"] = {k: str(v) for k, v in mail.items() if k != "Content-Type"}
    assert_golden("email_rolled_back", parts)


def test_a_retry_is_the_same_mail_and_a_watch_is_one_thread() -> None:
    def headers(body: dict[str, Any], key: str) -> tuple[str, str]:
        mail = mail_of(Message.of(body), key=key, thread="w7k2", sender="dog@x.example", to=["a@b.c"])
        return str(mail["Message-ID"]), str(mail["References"])

    first, again, next_ = headers(DECISION, "k1"), headers(DECISION, "k1"), headers(ROLLED_BACK, "k2")
    assert first == again
    assert first[0] != next_[0]
    assert first[1] == next_[1]


def test_no_message_can_add_a_header() -> None:
    body = {**DECISION, "title": "Down\r\nBcc: everybody@example.com"}
    mail = mail_of(Message.of(body), key="k", thread="t", sender="dog@x.example", to=["a@b.c"])
    assert mail["Bcc"] is None
    assert "\n" not in str(mail["Subject"])


@pytest.mark.parametrize(
    "behaviour, fault",
    [
        ({"kind": "status", "status": 451}, TemporaryError),
        ({"kind": "status", "status": 554}, PermanentError),
        ({"kind": "status", "status": 450, "stage": "rcpt"}, TemporaryError),
        ({"kind": "status", "status": 550, "stage": "rcpt"}, PermanentError),
        ({"kind": "status", "status": 421, "stage": "connect"}, TemporaryError),
        ({"kind": "reset", "stage": "data"}, TemporaryError),
        ({"kind": "lost_answer"}, TemporaryError),
    ],
)
async def test_what_a_mail_server_answers(behaviour: dict[str, Any], fault: type[Exception]) -> None:
    async with post_office() as (collected, url):
        collected.behave("smtp", Behaviour.model_validate({**behaviour, "calls": 1}))
        with pytest.raises(fault):
            await sender(url).deliver(delivery(DECISION, channel="email"))
        await sender(url).deliver(delivery(DECISION, channel="email"))


async def test_a_mail_server_that_is_not_there_is_tried_again() -> None:
    with pytest.raises(TemporaryError, match="onnect"):
        await sender("smtp://127.0.0.1:9").deliver(delivery(DECISION, channel="email"))


async def test_a_server_that_hangs_is_given_up_in_time() -> None:
    async with post_office() as (collected, url):
        collected.behave("smtp", Behaviour(kind="hang", calls=1))
        hasty = EmailNotifier(url, sender="dog@x.example", to=["a@b.c"], timeout_s=0.3)
        with pytest.raises(TemporaryError):
            await hasty.deliver(delivery(DECISION, channel="email"))


class _Box:
    """Takes any mail; `seen` holds whether it came encrypted."""

    def __init__(self) -> None:
        self.seen: list[bool] = []

    async def handle_DATA(self, server: SMTP, session: Any, envelope: Any) -> str:  # noqa: N802 - aiosmtpd's
        self.seen.append(session.ssl is not None)
        return "250 OK"


def certificate(folder: Path) -> tuple[ssl.SSLContext, ssl.SSLContext]:
    """The server's context, and one of a client that trusts it."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = dt.datetime.fromtimestamp(SystemClock().now(), dt.UTC)
    names = [x509.DNSName("localhost"), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - dt.timedelta(days=1))
        .not_valid_after(now + dt.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .sign(key, hashes.SHA256())
    )
    file = folder / "server.pem"
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    file.write_bytes(private + made.public_bytes(serialization.Encoding.PEM))
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(file)
    client = ssl.create_default_context(cadata=made.public_bytes(serialization.Encoding.PEM).decode())
    return server, client


async def test_mail_is_encrypted_by_starttls_and_a_certificate_nobody_knows_is_refused(tmp_path: Path) -> None:

    context, trusting = certificate(tmp_path)
    box = _Box()
    loop = asyncio.get_running_loop()
    listening = await loop.create_server(lambda: SMTP(box, tls_context=context, loop=loop), "127.0.0.1", 0)
    url = f"smtp+starttls://127.0.0.1:{listening.sockets[0].getsockname()[1]}"
    mail = delivery(DECISION, channel="email")
    try:
        await EmailNotifier(url, sender="dog@x.example", to=["a@b.c"], tls=trusting).deliver(mail)
        assert box.seen == [True]
        with pytest.raises(TemporaryError):
            await EmailNotifier(url, sender="dog@x.example", to=["a@b.c"]).deliver(mail)
        assert box.seen == [True]
    finally:
        listening.close()


async def test_a_server_without_starttls_gets_no_mail_that_asks_for_it() -> None:
    async with post_office() as (collected, url):
        strict = sender(url.replace("smtp://", "smtp+starttls://"))
        with pytest.raises(PermanentError, match="STARTTLS"):
            await strict.deliver(delivery(DECISION, channel="email"))
        assert not [entry for entry in collected.received("smtp") if entry.accepted]


# --- webhook ------------------------------------------------------------------------------------------------------


def hook(session: aiohttp.ClientSession, url: str) -> WebhookNotifier:
    return WebhookNotifier(session, SystemClock(), url=f"{url}/in", secret="planted")


async def test_the_webhook_gets_a_signed_cloud_event() -> None:
    async with recording(Answer(status=204, body="")) as (server, session):
        receipt = await hook(session, server.url).deliver(delivery(TO_LEAD, channel="webhook"))
    (seen,) = server.seen
    event = seen.json
    assert (event["specversion"], event["id"]) == ("1.0", "w7k2:1:decision")
    assert event["type"] == "watchdog.decision.v1"
    assert event["source"] == "/watchdog/barq-fleet/us-central1/barq-fleet-api"
    assert event["data"]["happened"] == DECISION["happened"]
    assert "lead@barq.example" not in seen.text, "addresses of people are nobody else's business"
    signed = f"{seen.headers['webhook-id']}.{seen.headers['webhook-timestamp']}.{seen.text}".encode()
    expected = base64.b64encode(hmac.new(b"planted", signed, hashlib.sha256).digest()).decode()
    assert seen.headers["webhook-signature"] == f"v1,{expected}"
    assert receipt.provider_id == "w7k2:1:decision"


@pytest.mark.parametrize("status, fault", [(429, TemporaryError), (503, TemporaryError), (400, PermanentError)])
async def test_what_an_endpoint_answers(status: int, fault: type[Exception]) -> None:
    async with recording(Answer(status=status, body={})) as (server, session):
        for notifier in (
            hook(session, server.url),
            GoogleChatNotifier(session, webhook_url=f"{server.url}/v1/spaces/A/messages?key=k&token=t"),
            TeamsNotifier(session, webhook_url=f"{server.url}/workflows/x"),
        ):
            with pytest.raises(fault):
                await notifier.deliver(delivery(DECISION))


async def test_an_endpoint_that_has_the_event_already_has_it() -> None:
    async with recording(Answer(status=409, body={})) as (server, session):
        await hook(session, server.url).deliver(delivery(DECISION, channel="webhook"))


# --- Google Chat and Teams ----------------------------------------------------------------------------------------


async def test_google_chat_keeps_a_watch_in_one_thread_and_a_retry_one_message() -> None:
    async with recording(Answer(body={"name": "spaces/A/messages/B"})) as (server, session):
        chat = GoogleChatNotifier(session, webhook_url=f"{server.url}/v1/spaces/A/messages?key=k&token=t")
        receipt = await chat.deliver(delivery(DECISION))
        await chat.deliver(delivery(DECISION))
    first, again = server.seen
    assert first.query == again.query
    assert first.query["key"] == "k"
    assert first.query["messageReplyOption"] == "REPLY_MESSAGE_FALLBACK_TO_NEW_THREAD"
    assert first.json["thread"] == {"threadKey": "watchdog-w7k2"}
    assert receipt.provider_id == "spaces/A/messages/B"
    assert "<healthy>" not in first.json["text"], "nothing of a message is read as markup"
    assert_golden("google_chat_decision", first.json)


async def test_teams_gets_an_adaptive_card() -> None:
    async with recording(Answer(status=202, body="")) as (server, session):
        await TeamsNotifier(session, webhook_url=f"{server.url}/workflows/x").deliver(delivery(ROLLED_BACK))
    (seen,) = server.seen
    assert_golden("teams_rolled_back", seen.json)


def test_a_card_stays_small_whatever_the_message_holds() -> None:
    huge = {**DECISION, "happened": "x" * 50_000, "evidence": [["n", "y" * 9000]] * 100}
    assert len(json.dumps(card_of(Message.of(huge)))) < 28 * 1024


# --- the registry -------------------------------------------------------------------------------------------------


async def test_every_channel_of_the_registry_is_built_from_the_environment() -> None:
    environment = {
        "WATCHDOG_SLACK__WEBHOOK_URL": "http://127.0.0.1:9/x",
        "WATCHDOG_PAGERDUTY__ROUTING_KEY": "k" * 32,
        "WATCHDOG_SMTP__URL": "smtp://127.0.0.1:9",
        "WATCHDOG_SMTP__FROM": "dog@x.example",
        "WATCHDOG_SMTP__TO": "a@b.example",
        "WATCHDOG_WEBHOOK__URL": "http://127.0.0.1:9/x",
        "WATCHDOG_GOOGLE_CHAT__WEBHOOK_URL": "http://127.0.0.1:9/x",
        "WATCHDOG_TEAMS__WEBHOOK_URL": "http://127.0.0.1:9/x",
    }
    async with recording(Answer()) as (_, session):
        found = channels.load(session, SystemClock(), load_settings(environment))
        none = channels.load(session, SystemClock(), load_settings({}))
    assert {n.channel for n in found} == {"slack", "pagerduty", "email", "webhook", "google_chat", "teams"}
    assert len(found) == len(channels.CHANNELS)
    assert none == []


def test_an_opening_is_plain_on_every_channel() -> None:
    assert card_of(Message.of(OPENED))["summary"] == OPENED["title"]
