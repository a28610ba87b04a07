"""Google Chat by incoming webhook: one thread a watch, every message posted once however often it is tried."""

import hashlib
from typing import Final, Self

import aiohttp

from watchdog.actions.render import Message, clip
from watchdog.ports import Delivery, Receipt
from watchdog.settings import GoogleChatSettings
from watchdog.transport import Peer, request_json, url_secrets

_TEXT_MAX: Final = 4000


class GoogleChatNotifier:
    """Keeps `ports.Notifier`."""

    channel = "google_chat"

    def __init__(self, session: aiohttp.ClientSession, *, webhook_url: str) -> None:
        self._session, self._url = session, webhook_url
        self._peer = Peer(
            name="Google Chat",
            timeout_s=9.0,
            secrets=url_secrets(webhook_url, path=True),
            hints=dict.fromkeys((400, 401, 403, 404), "Check WATCHDOG_GOOGLE_CHAT__WEBHOOK_URL"),
        )

    @classmethod
    def from_settings(cls, session: aiohttp.ClientSession, settings: GoogleChatSettings) -> Self | None:
        """The channel, or None where no webhook is set."""
        if settings.webhook_url is None:
            return None
        return cls(session, webhook_url=settings.webhook_url.get_secret_value())

    async def deliver(self, delivery: Delivery) -> Receipt:
        """Post once; the request's id makes a retry give back the message that is there."""
        body = {"text": text_of(Message.of(delivery.body)), "thread": {"threadKey": f"watchdog-{delivery.thread}"}}
        params = {
            "messageReplyOption": "REPLY_MESSAGE_FALLBACK_TO_NEW_THREAD",
            "requestId": hashlib.sha256(delivery.key.encode()).hexdigest()[:32],
        }
        joined = "&".join(f"{name}={value}" for name, value in params.items())
        url = f"{self._url}{'&' if '?' in self._url else '?'}{joined}"
        answer = await request_json(self._session, self._peer, "POST", url, json=body, doing="Posting to Google Chat")
        return Receipt(provider_id=str(answer.get("name") or ""))


def text_of(message: Message) -> str:
    """The five answers in Chat's own markup; what could be read as markup is taken apart."""
    lines = [f"*{_plain(message.headline)}*"]
    lines += [f"*{question}* {_plain(answer)}" for question, answer in message.answers()]
    lines += [f"• {_plain(name)}: {_plain(value)}" for name, value in message.evidence]
    lines += [f"_{name}: {_plain(value)}_" for name, value in message.facts()]
    links = [f"<{link.href}|{_plain(link.text)}>" for link in message.links]
    room = _TEXT_MAX - sum(len(link) + 1 for link in links)
    return "\n".join([clip("\n".join(lines), room), *links])


def _plain(text: str) -> str:
    """No mention of everybody, no link, no bold by accident."""
    return text.replace("<", "‹").replace(">", "›").replace("*", "∗")
