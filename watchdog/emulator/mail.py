"""A mailbox that takes every mail, or refuses it as scripted, and keeps envelope, headers and bodies.

It speaks SMTP in the emulator's own event loop (aiosmtpd). AUTH is offered and any name and password pass, also without
TLS: on loopback there is nothing to protect, and a sender that is configured with credentials has to work.
"""

import asyncio
from collections.abc import Callable
from email import message_from_bytes, policy
from email.message import EmailMessage
from typing import Any

from aiosmtpd.smtp import SMTP, AuthResult, Envelope, LoginPassword, Session

from watchdog.emulator.collector_behaviour import Behaviour, Stage
from watchdog.emulator.collector_store import Collected
from watchdog.emulator.scripting import reset_connection

LONGEST_HANG_S = 3600.0
MOST_BYTES = 32 * 1024 * 1024

_Take = Callable[[Stage, str], Behaviour | None]
"""The behaviour that a stage of the dialogue with these recipients meets."""


class MailCollector:
    """An SMTP server that puts what it gets into `collected`, channel `smtp`."""

    def __init__(self, collected: Collected) -> None:
        self._collected = collected
        self._server: asyncio.Server | None = None
        self._connections: set[asyncio.BaseTransport] = set()

    async def start(self, host: str, port: int) -> int:
        """Serve on `host:port` (0 takes a free one); returns the port. `OSError` when it is taken."""
        if self._server is not None:
            raise RuntimeError("this mail collector is already running")
        self._server = await asyncio.get_running_loop().create_server(self._answer, host, port)
        return int(self._server.sockets[0].getsockname()[1])

    async def stop(self) -> None:
        """Cut every dialogue and give the port back."""
        server, self._server = self._server, None
        if server is None:
            return
        server.close()
        for transport in tuple(self._connections):
            reset_connection(transport)
        await server.wait_closed()

    def _answer(self) -> asyncio.BaseProtocol:
        behaviour = self._take("connect", "")
        if behaviour is not None:
            return _Refusal(self._collected, behaviour, self._connections)
        return _Dialogue(_Handler(self._collected, self._take), self._connections)

    def _take(self, stage: Stage, recipients: str) -> Behaviour | None:
        return self._collected.behaviours["smtp"].take(recipients, now=self._collected.now(), stage=stage)


class _Dialogue(SMTP):
    """One SMTP dialogue whose connection the collector can cut."""

    def __init__(self, handler: "_Handler", connections: set[asyncio.BaseTransport]) -> None:
        super().__init__(
            handler,
            hostname="mail.emulator",
            ident="emulated mailbox",
            data_size_limit=MOST_BYTES,
            enable_SMTPUTF8=True,
            auth_require_tls=False,
            authenticator=_admit,
            loop=asyncio.get_running_loop(),
        )
        self._connections = connections
        self._own: asyncio.BaseTransport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._own = transport
        self._connections.add(transport)
        super().connection_made(transport)

    def connection_lost(self, error: Exception | None) -> None:
        if self._own is not None:
            self._connections.discard(self._own)
        super().connection_lost(error)


class _Refusal(asyncio.Protocol):
    """A connection that gets no dialogue."""

    def __init__(self, collected: Collected, behaviour: Behaviour, connections: set[asyncio.BaseTransport]) -> None:
        self._collected = collected
        self._behaviour = behaviour
        self._connections = connections
        self._transport: asyncio.BaseTransport | None = None
        self._patience: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport
        self._connections.add(transport)
        refused = self._behaviour.kind == "status"
        line = _status_line(self._behaviour, default=421)
        self._collected.add(
            "smtp",
            "connect",
            {},
            accepted=False,
            status=int(line[:3]) if refused else None,
            note=line if refused else "",
            behaviour=self._behaviour.kind,
        )
        if refused and isinstance(transport, asyncio.Transport):
            transport.write(f"{line}\r\n".encode())
            transport.close()
        elif self._behaviour.kind == "hang":
            hang_s = self._behaviour.latency_s or LONGEST_HANG_S
            self._patience = asyncio.get_running_loop().call_later(hang_s, reset_connection, transport)
        else:
            reset_connection(transport)

    def connection_lost(self, _error: Exception | None) -> None:
        if self._patience is not None:
            self._patience.cancel()
        if self._transport is not None:
            self._connections.discard(self._transport)


class _Handler:
    """aiosmtpd's hooks; each returns the status line of its command."""

    def __init__(self, collected: Collected, take: _Take) -> None:
        self._collected = collected
        self._take = take

    async def handle_MAIL(  # noqa: N802 - aiosmtpd's name
        self, server: SMTP, session: Session, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        refusal = await self._meet("mail", server, envelope, session, {"mail_from": address})
        if refusal is None:
            envelope.mail_from = address
            envelope.mail_options.extend(options)
        return refusal or "250 OK"

    async def handle_RCPT(  # noqa: N802 - aiosmtpd's name
        self, server: SMTP, session: Session, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        known = {"mail_from": envelope.mail_from, "rcpt_tos": [*envelope.rcpt_tos, address]}
        refusal = await self._meet("rcpt", server, envelope, session, known, recipients=address)
        if refusal is None:
            envelope.rcpt_tos.append(address)
            envelope.rcpt_options.extend(options)
        return refusal or "250 OK"

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:  # noqa: N802 - aiosmtpd's
        body = _parsed(envelope)
        return await self._meet("data", server, envelope, session, body) or "250 Message accepted for delivery"

    async def _meet(
        self,
        stage: Stage,
        server: SMTP,
        envelope: Envelope,
        session: Session,
        body: dict[str, Any],
        *,
        recipients: str = "",
    ) -> str | None:
        """The refusal that is scripted for this stage, or None; what arrived is noted either way."""
        met = self._take(stage, recipients or " ".join(envelope.rcpt_tos))
        body["login"] = session.auth_data.login.decode() if isinstance(session.auth_data, LoginPassword) else None

        def note(*, accepted: bool, status: int | None, note: str = "") -> None:
            kind = "message" if stage == "data" else stage
            self._collected.add(
                "smtp", kind, body, accepted=accepted, status=status, note=note, behaviour=met.kind if met else ""
            )

        if met is not None and met.kind == "status":
            line = _status_line(met, default=451)
            note(accepted=False, status=int(line[:3]), note=line)
            return line
        if met is not None and met.kind in {"hang", "reset", "lost_answer"}:
            note(accepted=met.kind == "lost_answer", status=None)
            if met.kind == "hang":
                await asyncio.sleep(met.latency_s or LONGEST_HANG_S)
            reset_connection(server.transport)
            await asyncio.sleep(LONGEST_HANG_S)  # ends at once: losing the connection cancels the dialogue
        if met is not None:
            await asyncio.sleep(met.latency_s)
        if stage == "data":
            note(accepted=True, status=250)
        return None


def _admit(_server: SMTP, _session: Session, _envelope: Envelope, _mechanism: str, login: Any) -> AuthResult:
    return AuthResult(success=True, auth_data=login)


def _status_line(behaviour: Behaviour, *, default: int) -> str:
    status = behaviour.status or default
    return f"{status} {behaviour.error or ('4.3.0 try again later' if status < 500 else '5.3.0 refused')}"


def _parsed(envelope: Envelope) -> dict[str, Any]:
    content = envelope.content or b""
    raw = content.encode() if isinstance(content, str) else content
    message = message_from_bytes(raw, policy=policy.default)
    return {
        "mail_from": envelope.mail_from,
        "rcpt_tos": list(envelope.rcpt_tos),
        "subject": str(message.get("Subject", "")),
        "from": str(message.get("From", "")),
        "to": str(message.get("To", "")),
        "message_id": str(message.get("Message-ID", "")),
        "headers": {name: str(value) for name, value in message.items()},
        "text": _body(message, "plain"),
        "html": _body(message, "html"),
        "size_bytes": len(raw),
    }


def _body(message: EmailMessage, kind: str) -> str | None:
    """The first `text/kind` part, with plain newlines instead of SMTP's."""
    part = message.get_body((kind,))
    if part is None:
        return None
    try:
        text = str(part.get_content())
    except (LookupError, UnicodeError):  # a charset that Python doesn't know
        payload = part.get_payload(decode=True)
        text = payload.decode(errors="replace") if isinstance(payload, bytes) else ""
    return text.replace("\r\n", "\n")
