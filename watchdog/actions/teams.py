"""Microsoft Teams by a Workflows webhook: an Adaptive Card a message."""

from typing import Any, Final, Self

import aiohttp

from watchdog.actions.render import Message, clip
from watchdog.ports import Delivery, Receipt
from watchdog.settings import TeamsSettings
from watchdog.transport import Peer, error_of, request, url_secrets

_TEXT_MAX: Final = 2000
_EVIDENCE_MAX: Final = 6
"""Teams takes 28 KB a message."""
_COLOUR: Final = {"critical": "Attention", "error": "Attention", "warning": "Warning", "info": "Good"}


class TeamsNotifier:
    """Keeps `ports.Notifier`."""

    channel = "teams"

    def __init__(self, session: aiohttp.ClientSession, *, webhook_url: str) -> None:
        self._session, self._url = session, webhook_url
        self._peer = Peer(
            name="Microsoft Teams",
            timeout_s=9.0,
            secrets=url_secrets(webhook_url, path=True),
            hints=dict.fromkeys((400, 401, 403, 404), "Check WATCHDOG_TEAMS__WEBHOOK_URL"),
        )

    @classmethod
    def from_settings(cls, session: aiohttp.ClientSession, settings: TeamsSettings) -> Self | None:
        """The channel, or None where no webhook is set."""
        if settings.webhook_url is None:
            return None
        return cls(session, webhook_url=settings.webhook_url.get_secret_value())

    async def deliver(self, delivery: Delivery) -> Receipt:
        """Post once. Teams knows no id of ours, so a message whose answer was lost shows twice."""
        doing = "Posting to Microsoft Teams"
        card = card_of(Message.of(delivery.body))
        reply = await request(self._session, self._peer, "POST", self._url, json=card, doing=doing)
        if not reply.ok:
            raise error_of(reply, self._peer, doing=doing)
        return Receipt(provider_id=delivery.key)


def card_of(message: Message) -> dict[str, Any]:
    """The message as an Adaptive Card: headline, the five answers, the small print, the links."""
    body: list[dict[str, Any]] = [
        {
            **_text(message.headline),
            "size": "Large",
            "weight": "Bolder",
            "color": _COLOUR.get(message.severity, "Default"),
        }
    ]
    for question, answer in message.answers():
        body += [{**_text(question), "weight": "Bolder", "spacing": "Medium"}, {**_text(answer), "spacing": "None"}]
    if message.evidence:
        body.append({**_text("Evidence"), "weight": "Bolder", "spacing": "Medium"})
        body += [_text(f"{name}: {value}") for name, value in message.evidence[:_EVIDENCE_MAX]]
    facts = [{"title": name, "value": clip(value, 300)} for name, value in message.facts()]
    if facts:
        body.append({"type": "FactSet", "facts": facts})
    card: dict[str, Any] = {
        "$schema": "http://adaptivecards.io/schemas/adaptive-card.json",
        "type": "AdaptiveCard",
        "version": "1.4",
        "msteams": {"width": "Full"},
        "body": body,
    }
    if message.links:
        card["actions"] = [
            {"type": "Action.OpenUrl", "title": link.text, "url": link.href} for link in message.links[:6]
        ]
    attachment = {"contentType": "application/vnd.microsoft.card.adaptive", "contentUrl": None, "content": card}
    return {"type": "message", "summary": clip(message.headline, 200), "attachments": [attachment]}


def _text(text: str) -> dict[str, Any]:
    return {"type": "TextBlock", "text": clip(text, _TEXT_MAX), "wrap": True}
