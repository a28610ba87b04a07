"""Any HTTP endpoint: every message as a CloudEvent, signed so that the receiver can tell it is ours and fresh.

The envelope is CloudEvents 1.0 in structured JSON; the signature follows Standard Webhooks: HMAC-SHA256, in base64,
over `webhook-id.webhook-timestamp.body`. The id is the message's key: the same for every retry.
"""

import base64
import hashlib
import hmac
import json
from collections.abc import Mapping
from typing import Any, Final, Self

import aiohttp

from watchdog.actions.render import iso
from watchdog.errors import ConflictError
from watchdog.ports import Clock, Delivery, Receipt
from watchdog.settings import WebhookSettings
from watchdog.transport import Peer, error_of, request, url_secrets

_PRIVATE: Final = frozenset({"to"})
"""Parts of a message that are addresses of people and nobody else's business."""


class WebhookNotifier:
    """Keeps `ports.Notifier`."""

    channel = "webhook"

    def __init__(self, session: aiohttp.ClientSession, clock: Clock, *, url: str, secret: str = "") -> None:
        self._session, self._clock, self._url, self._secret = session, clock, url, secret
        hidden = tuple(part for part in (secret, *url_secrets(url, path=True)) if part)
        self._peer = Peer(
            name="the webhook",
            timeout_s=9.0,
            secrets=hidden,
            hints=dict.fromkeys((401, 403, 404, 410), "Check WATCHDOG_WEBHOOK__URL and WATCHDOG_WEBHOOK__SECRET"),
        )

    @classmethod
    def from_settings(cls, session: aiohttp.ClientSession, clock: Clock, settings: WebhookSettings) -> Self | None:
        """The channel, or None where no address is set."""
        if settings.url is None:
            return None
        secret = settings.secret.get_secret_value() if settings.secret is not None else ""
        return cls(session, clock, url=settings.url.get_secret_value(), secret=secret)

    async def deliver(self, delivery: Delivery) -> Receipt:
        """Post once. 2xx is delivered, 409 too: the receiver has this id already."""
        doing = "Posting to the webhook"
        body = json.dumps(event_of(delivery), ensure_ascii=False, sort_keys=True).encode()
        headers = {"Content-Type": "application/cloudevents+json; charset=utf-8", "webhook-id": delivery.key}
        if self._secret:
            at = str(int(self._clock.now()))
            headers |= {"webhook-timestamp": at, "webhook-signature": signature(self._secret, delivery.key, at, body)}
        reply = await request(self._session, self._peer, "POST", self._url, data=body, headers=headers, doing=doing)
        if not reply.ok:
            error = error_of(reply, self._peer, doing=doing)
            if not isinstance(error, ConflictError):
                raise error
        return Receipt(provider_id=delivery.key)


def signature(secret: str, message_id: str, at: str, body: bytes) -> str:
    """`v1,` and the signature of what is sent at `at` (Unix seconds)."""
    signed = f"{message_id}.{at}.".encode() + body
    return "v1," + base64.b64encode(hmac.new(secret.encode(), signed, hashlib.sha256).digest()).decode()


def event_of(delivery: Delivery) -> dict[str, Any]:
    """The CloudEvent; `data` is the message."""
    body: Mapping[str, Any] = delivery.body
    place = "/".join(str(body.get(part) or "") for part in ("project", "region", "service") if body.get(part))
    return {
        "specversion": "1.0",
        "id": delivery.key,
        "source": f"/watchdog/{place}" if place else "/watchdog",
        "type": f"watchdog.{body.get('kind') or 'message'}.v1",
        "subject": str(body.get("watch") or delivery.thread),
        "time": iso(float(body.get("at") or delivery.created_at)),
        "datacontenttype": "application/json",
        "data": {name: value for name, value in body.items() if name not in _PRIVATE},
    }
