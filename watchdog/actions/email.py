"""Email by SMTP: text and HTML, encrypted wherever the server can, one mail thread a watch.

A mail's Message-ID follows from its key, so a mail that arrives twice because the server's answer was lost is one mail
for most readers.
"""

import base64
import hashlib
import html
import ssl
from collections.abc import Sequence
from datetime import UTC, datetime
from email.headerregistry import Address
from email.message import EmailMessage
from email.policy import SMTP as WIRE
from email.utils import format_datetime, parseaddr
from typing import Any, Final, Self
from urllib.parse import unquote, urlsplit

import aiosmtplib
import structlog

from watchdog.actions.render import Message, clip
from watchdog.errors import PermanentError, TemporaryError
from watchdog.ports import Delivery, Receipt
from watchdog.settings import SmtpSettings
from watchdog.transport import scrub, url_secrets

_SUBJECT_MAX: Final = 180
_LOCAL: Final = frozenset({"localhost", "127.0.0.1", "::1"})

_log = structlog.get_logger(__name__)


class EmailNotifier:
    """Keeps `ports.Notifier`. `url` is `smtp://` (STARTTLS where offered), `smtp+starttls://` (required) or
    `smtps://`, with user and password where the server wants them."""

    channel = "email"

    def __init__(
        self,
        url: str,
        *,
        sender: str,
        to: Sequence[str],
        timeout_s: float = 9.0,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        parts = urlsplit(url)
        self._host = parts.hostname or "localhost"
        self._implicit = parts.scheme == "smtps"
        self._starttls: bool | None = True if parts.scheme == "smtp+starttls" else None
        self._port = parts.port or (465 if self._implicit else 587)
        self._user, self._password = unquote(parts.username or ""), unquote(parts.password or "")
        self._sender, self._to = sender, tuple(to)
        self._timeout_s = timeout_s
        self._tls = tls
        plain = (self._password, *url_secrets(url))
        wire = (f"\0{self._user}\0{self._password}", self._user, self._password)  # as AUTH sends them
        coded = [base64.b64encode(part.encode()).decode() for part in wire if self._password and part]
        self._secrets = tuple(part for part in (*plain, *coded) if part)
        if self._password and not self._implicit and self._host not in _LOCAL:
            self._starttls = True  # a password never travels in the clear

    @classmethod
    def from_settings(cls, settings: SmtpSettings) -> Self | None:
        """The channel, or None where no mail server is set."""
        if settings.url is None or not settings.sender:
            return None
        return cls(settings.url.get_secret_value(), sender=settings.sender, to=settings.to)

    async def deliver(self, delivery: Delivery) -> Receipt:
        """Send one mail to the standing recipients and to whom the escalation names."""
        message = Message.of(delivery.body)
        recipients = list(dict.fromkeys([*self._to, *message.to_email]))
        if not recipients:
            raise PermanentError("Sending mail: there is nobody to send it to; name them in WATCHDOG_SMTP__TO")
        mail = mail_of(message, key=delivery.key, thread=delivery.thread, sender=self._sender, to=recipients)
        try:
            refused, _ = await aiosmtplib.send(
                mail,
                sender=parseaddr(self._sender)[1],
                recipients=recipients,
                hostname=self._host,
                port=self._port,
                username=self._user or None,
                password=self._password or None,
                use_tls=self._implicit,
                start_tls=None if self._implicit else self._starttls,
                tls_context=self._tls,
                timeout=self._timeout_s,
            )
        except aiosmtplib.SMTPException as error:
            raise self._fault(error) from None
        except (OSError, ssl.SSLError) as error:
            raise TemporaryError(f"Sending mail: no connection to {self._host} ({self._told(error)})") from None
        if refused:
            _log.warning("mail_partly_refused", watch=message.watch, recipients=len(refused))
        return Receipt(provider_id=str(mail["Message-ID"]))

    def _fault(self, error: aiosmtplib.SMTPException) -> TemporaryError | PermanentError:
        """4xx, and a connection that did not last, may go better the next time; 5xx will not."""
        code = _code(error)
        said = f"Sending mail: {self._host} answered {self._told(error)}"
        if isinstance(error, aiosmtplib.SMTPAuthenticationError) and code >= 500:
            return PermanentError(f"{said}. Check user and password in WATCHDOG_SMTP__URL", status=code)
        if isinstance(error, aiosmtplib.SMTPNotSupported) or "STARTTLS extension not supported" in str(error):
            return PermanentError(f"{said}. The server offers no STARTTLS; use smtps:// in WATCHDOG_SMTP__URL")
        if code >= 500:
            return PermanentError(said, status=code)
        return TemporaryError(said)

    def _told(self, error: Exception) -> str:
        return scrub(str(error) or type(error).__name__, self._secrets, limit=200)


def _code(error: aiosmtplib.SMTPException) -> int:
    """The server's code; for refused recipients the gentlest, since one who may take it later is worth another try."""
    if isinstance(error, aiosmtplib.SMTPRecipientsRefused):
        return min((one.code for one in error.recipients), default=0)
    return error.code if isinstance(error, aiosmtplib.SMTPResponseException) else 0


def mail_of(message: Message, *, key: str, thread: str, sender: str, to: Sequence[str]) -> EmailMessage:
    """The mail. Every header is one line, whatever the message holds."""
    mail = EmailMessage(policy=WIRE.clone(max_line_length=250))
    mail["Subject"] = clip(_line(f"[{message.severity.upper()}] {message.headline}"), _SUBJECT_MAX)
    name, address = parseaddr(sender)
    mail["From"] = Address(name or "Watchdog", addr_spec=address)
    mail["To"] = ", ".join(to)
    mail["Message-ID"] = _id(key)
    mail["References"] = mail["In-Reply-To"] = _id(f"thread:{thread}")
    mail["Auto-Submitted"] = "auto-generated"
    if message.severity == "critical":
        mail["X-Priority"] = "1"
        mail["Importance"] = "high"
    if message.at:
        mail["Date"] = format_datetime(datetime.fromtimestamp(message.at, UTC))
    mail.set_content(text_of(message))
    mail.add_alternative(html_of(message), subtype="html")
    return mail


def text_of(message: Message) -> str:
    """The five answers in order, then the small print."""
    lines = [message.headline, ""]
    for question, answer in message.answers():
        lines += [question.upper(), answer, ""]
    if message.evidence:
        lines += ["EVIDENCE", *(f"- {name}: {value}" for name, value in message.evidence), ""]
    lines += [f"{name}: {value}" for name, value in message.facts()]
    lines += [f"{link.text}: {link.href}" for link in message.links]
    return "\n".join(lines).rstrip() + "\n"


_COLOUR: Final = {"critical": "#b3261e", "error": "#b3261e", "warning": "#9a6700", "info": "#1a7f37"}


def html_of(message: Message) -> str:
    """The same for readers that show HTML: no images, no scripts, nothing from elsewhere."""

    def row(question: str, answer: str) -> str:
        cell = "padding:4px 12px 4px 0;vertical-align:top"
        return f'<tr><td style="{cell};color:#57606a">{html.escape(question)}</td><td style="{cell}">{answer}</td></tr>'

    rows = [row(question, html.escape(answer)) for question, answer in message.answers()]
    if message.evidence:
        items = "".join(f"<li>{html.escape(name)}: {html.escape(value)}</li>" for name, value in message.evidence)
        rows.append(row("Evidence", f'<ul style="margin:0;padding-left:18px">{items}</ul>'))
    rows += [row(name, html.escape(value)) for name, value in message.facts()]
    links = " · ".join(f'<a href="{html.escape(link.href)}">{html.escape(link.text)}</a>' for link in message.links)
    colour = _COLOUR.get(message.severity, _COLOUR["info"])
    return (
        '<!doctype html><html><body style="font-family:sans-serif;font-size:15px;color:#1f2328">'
        f'<h2 style="font-size:18px;color:{colour}">{html.escape(message.headline)}</h2>'
        f"<table>{''.join(rows)}</table><p>{links}</p></body></html>\n"
    )


def _id(text: str) -> str:
    return f"<{hashlib.sha256(text.encode()).hexdigest()[:32]}@watchdog.invalid>"


def _line(text: Any) -> str:
    return " ".join("".join(c if c.isprintable() else " " for c in str(text)).split())
