"""The mail collector, met by Python's own SMTP client."""

import asyncio
import smtplib
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from email.message import EmailMessage

import pytest

from watchdog.emulator.collector_behaviour import Behaviour
from watchdog.emulator.collectors import Collected
from watchdog.emulator.mail import MailCollector


@dataclass
class World:
    collected: Collected
    mail: MailCollector
    port: int

    async def talk(self, dialogue: Callable[[smtplib.SMTP], object], *, timeout_s: float = 5.0) -> object:
        """Hold `dialogue` in a thread, as smtplib blocks."""

        def run() -> object:
            with smtplib.SMTP("127.0.0.1", self.port, local_hostname="client.test", timeout=timeout_s) as client:
                return dialogue(client)

        return await asyncio.to_thread(run)

    async def send(self, message: EmailMessage | None = None, *, timeout_s: float = 5.0) -> object:
        return await self.talk(lambda client: client.send_message(message or page()), timeout_s=timeout_s)

    def behave(self, **behaviour: object) -> None:
        self.collected.behave("smtp", Behaviour.model_validate(behaviour))


def page() -> EmailMessage:
    message = EmailMessage()
    message["Subject"] = "Rolled back: barq-fleet-api — 8 % of requests failed"
    message["From"] = "watchdog@barq.test"
    message["To"] = "oncall@barq.test, lead@barq.test"
    message.set_content("error_rate 8 % > 5 %\n")
    message.add_alternative("<p>error_rate 8&nbsp;%</p>\n", subtype="html")
    return message


@pytest.fixture
async def world() -> AsyncIterator[World]:
    collected = Collected()
    mail = MailCollector(collected)
    port = await mail.start("127.0.0.1", 0)
    yield World(collected, mail, port)
    await mail.stop()


class TestTaking:
    async def test_envelope_headers_and_both_bodies_are_kept(self, world: World) -> None:
        await world.send()

        (entry,) = world.collected.received("smtp")
        assert (entry.kind, entry.accepted, entry.status) == ("message", True, 250)
        assert entry.body["mail_from"] == "watchdog@barq.test"
        assert entry.body["rcpt_tos"] == ["oncall@barq.test", "lead@barq.test"]
        assert entry.body["subject"] == "Rolled back: barq-fleet-api — 8 % of requests failed"
        assert entry.body["text"] == "error_rate 8 % > 5 %\n"
        assert entry.body["html"] == "<p>error_rate 8&nbsp;%</p>\n"
        assert entry.body["headers"]["To"] == "oncall@barq.test, lead@barq.test"
        assert entry.body["login"] is None
        assert entry.body["size_bytes"] > 300

    async def test_several_in_one_dialogue(self, world: World) -> None:
        await world.talk(lambda client: [client.send_message(page()) for _ in range(3)])

        assert [entry.seq for entry in world.collected.received("smtp")] == [1, 2, 3]

    async def test_a_plain_one_has_no_html(self, world: World) -> None:
        await world.talk(lambda client: client.sendmail("a@x.test", ["b@x.test"], "Subject: hi\r\n\r\nbody\r\n"))

        (entry,) = world.collected.received("smtp")
        assert (entry.body["subject"], entry.body["text"], entry.body["html"]) == ("hi", "body\n", None)

    async def test_an_unknown_charset_is_read_as_well_as_can_be(self, world: World) -> None:
        raw = 'Content-Type: text/plain; charset="x-martian"\r\n\r\ncaf\u00e9\r\n'.encode()

        await world.talk(lambda client: client.sendmail("a@x.test", ["b@x.test"], raw))

        assert "caf" in world.collected.received("smtp")[0].body["text"]

    async def test_any_login_passes_and_is_noted(self, world: World) -> None:
        def dialogue(client: smtplib.SMTP) -> None:
            client.login("watchdog", "secret")
            client.send_message(page())

        await world.talk(dialogue)

        (entry,) = world.collected.received("smtp")
        assert entry.body["login"] == "watchdog"
        assert "secret" not in str(entry)


class TestRefusing:
    async def test_for_the_time_being(self, world: World) -> None:
        world.behave(kind="status", calls=1)

        with pytest.raises(smtplib.SMTPDataError) as caught:
            await world.send()
        await world.send()

        assert caught.value.smtp_code == 451
        assert [(entry.accepted, entry.status) for entry in world.collected.received("smtp")] == [
            (False, 451),
            (True, 250),
        ]

    async def test_for_good(self, world: World) -> None:
        world.behave(kind="status", status=554, error="5.7.1 spam")

        with pytest.raises(smtplib.SMTPDataError) as caught:
            await world.send()

        assert (caught.value.smtp_code, caught.value.smtp_error) == (554, b"5.7.1 spam")

    async def test_a_sender(self, world: World) -> None:
        world.behave(kind="status", status=550, stage="mail")

        with pytest.raises(smtplib.SMTPSenderRefused):
            await world.send()

    async def test_one_recipient_of_two(self, world: World) -> None:
        world.behave(kind="status", status=550, stage="rcpt", path="lead@")

        refused = await world.send()

        assert refused == {"lead@barq.test": (550, b"5.3.0 refused")}
        rejected, taken = world.collected.received("smtp")
        assert (rejected.kind, rejected.accepted) == ("rcpt", False)
        assert taken.body["rcpt_tos"] == ["oncall@barq.test"]

    async def test_a_whole_connection(self, world: World) -> None:
        world.behave(kind="status", stage="connect", calls=1)

        with pytest.raises(smtplib.SMTPConnectError) as caught:
            await world.send()

        assert caught.value.smtp_code == 421
        await world.send()


class TestFailing:
    @pytest.mark.parametrize("stage", ["connect", "mail", "rcpt", "data"])
    async def test_hanging_until_the_sender_gives_up(self, world: World, stage: str) -> None:
        world.behave(kind="hang", stage=stage, calls=1)

        with pytest.raises((TimeoutError, smtplib.SMTPServerDisconnected)):
            await world.send(timeout_s=0.2)

        await world.send()
        assert [entry.accepted for entry in world.collected.received("smtp")] == [False, True]

    @pytest.mark.parametrize("stage", ["connect", "mail", "rcpt", "data"])
    async def test_resetting_the_connection(self, world: World, stage: str) -> None:
        world.behave(kind="reset", stage=stage, calls=1)

        with pytest.raises((ConnectionError, smtplib.SMTPServerDisconnected)):
            await world.send()

        await world.send()

    async def test_a_lost_answer_was_taken_in(self, world: World) -> None:
        world.behave(kind="lost_answer", calls=1)

        with pytest.raises((ConnectionError, smtplib.SMTPServerDisconnected)):
            await world.send()

        (entry,) = world.collected.received("smtp")
        assert (entry.accepted, entry.status, entry.behaviour) == (True, None, "lost_answer")

    async def test_latency(self, world: World) -> None:
        world.behave(kind="latency", latency_s=0.1, calls=1)
        loop = asyncio.get_running_loop()
        start = loop.time()

        await world.send()

        assert loop.time() - start >= 0.1

    async def test_stopping_cuts_dialogues(self) -> None:
        collected = Collected()
        mail = MailCollector(collected)
        world = World(collected, mail, await mail.start("127.0.0.1", 0))
        world.behave(kind="hang")
        hanging = asyncio.create_task(world.send())
        await collected.wait_for("smtp")

        await asyncio.wait_for(mail.stop(), timeout=2.0)

        with pytest.raises((ConnectionError, smtplib.SMTPServerDisconnected)):
            await hanging
        await mail.stop()

    async def test_it_starts_once(self, world: World) -> None:
        with pytest.raises(RuntimeError, match="already running"):
            await world.mail.start("127.0.0.1", 0)

    async def test_a_taken_port_is_an_error(self, world: World) -> None:
        with pytest.raises(OSError, match="address already in use"):
            await MailCollector(Collected()).start("127.0.0.1", world.port)
