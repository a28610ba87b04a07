"""PagerDuty by Events API v2: one incident a watch under our own key, so that every retry is the same event, and one
for all regions of a release (`pagerduty_book`).

A key is scoped to its routing key, so acknowledging and resolving go to every routing key that was triggered on; what
those were is remembered with the thread. A message that belongs to no incident becomes a change event, which pages
nobody.
"""

import hashlib
import json
from collections.abc import Mapping
from typing import Any, Self

import aiohttp
import structlog

from watchdog.actions.pagerduty_book import Book, level_of
from watchdog.actions.render import Message, clip, iso
from watchdog.errors import PermanentError, WatchdogError
from watchdog.ports import Delivery, Receipt
from watchdog.settings import PagerDutySettings
from watchdog.transport import Peer, request_json, url_secrets

_SUMMARY_MAX = 1024
_KEY_MAX = 255
_BODY_BYTES_MAX = 512 * 1024
_SEVERITIES = frozenset({"critical", "error", "warning", "info"})
_ACTIONS = frozenset({"trigger", "acknowledge", "resolve"})
_TOO_LARGE = {"Left out": "The details were too large for PagerDuty; the links lead to them."}

_log = structlog.get_logger(__name__)


class PagerDutyNotifier:
    """Keeps `ports.Notifier`. `routing_keys` are by escalation level; level 1 is the one that always exists."""

    channel = "pagerduty"

    def __init__(
        self,
        session: aiohttp.ClientSession,
        *,
        routing_keys: Mapping[int, str],
        events_url: str = "https://events.pagerduty.com",
        timeout_s: float = 10.0,
    ) -> None:
        self._session = session
        self._routing_keys = dict(routing_keys)
        self._events_url = events_url.rstrip("/")
        self._peer = Peer(
            name="PagerDuty",
            timeout_s=timeout_s,
            secrets=(*self._routing_keys.values(), *url_secrets(events_url)),
            hints={
                400: "Check WATCHDOG_PAGERDUTY__ROUTING_KEY: it is an Events API v2 integration key",
                404: "Check WATCHDOG_PAGERDUTY__EVENTS_URL: /v2/enqueue is appended to it",
            },
        )

    @classmethod
    def from_settings(cls, session: aiohttp.ClientSession, settings: PagerDutySettings) -> Self | None:
        """The channel, or None where no routing key is set."""
        if settings.routing_key is None:
            return None
        keys = {1: settings.routing_key.get_secret_value()}
        keys |= {level: key.get_secret_value() for level, key in settings.routing_keys.items()}
        return cls(session, routing_keys=keys, events_url=settings.events_url)

    async def deliver(self, delivery: Delivery) -> Receipt:
        """Send the incident's event to each routing key it concerns, and the change event where one is asked for."""
        message = Message.of(delivery.body)
        if not message.incident_action:
            await self._change(message)
            return Receipt()
        if message.incident_action not in _ACTIONS or not message.dedup_key:
            raise PermanentError(
                f"The message {delivery.key} asks PagerDuty for {message.incident_action!r} of no incident"
            )
        book, key, action = Book.remembered(delivery.remembered), message.dedup_key, message.incident_action
        keys = {key: book.trigger(key)} if action == "trigger" else book.used(key)
        for mine, carrier in sorted(keys.items()):
            level = level_of(mine)
            if action == "resolve" and not book.last_of(mine, carrier):
                _log.info("pagerduty_left_open", watch=message.watch, key=carrier, why="another region leans on it")
                continue
            await self._enqueue(incident_event(message, self._key_of(level), carrier), doing=f"Paging level {level}")
        if message.change:
            await self._change_beside_incident(message)
        if action == "resolve":
            keys = dict.fromkeys(keys, "")
        return Receipt(provider_id=message.dedup_key, remember=book.to_remember(keys))

    def _key_of(self, level: int) -> str:
        return self._routing_keys.get(level) or self._routing_keys[1]

    async def _enqueue(self, event: Mapping[str, Any], *, doing: str) -> None:
        url = f"{self._events_url}/v2/enqueue"
        await request_json(self._session, self._peer, "POST", url, json=event, doing=doing)

    async def _change(self, message: Message) -> None:
        url = f"{self._events_url}/v2/change/enqueue"
        # A test tries the keys of every level: a wrong one would be found at night, by nobody being woken.
        levels = sorted(self._routing_keys) if message.kind == "test" else [1]
        for level in levels:
            doing = "Sending a change event" if level == 1 else f"Sending a change event by the key of level {level}"
            event = change_event(message, self._key_of(level))
            await request_json(self._session, self._peer, "POST", url, json=event, doing=doing)

    async def _change_beside_incident(self, message: Message) -> None:
        """A change event has no key of its own, and a repeated trigger could reopen what somebody resolved meanwhile:
        so once the page is out, a lost change event is said and not retried."""
        try:
            await self._change(message)
        except WatchdogError as error:
            _log.warning("pagerduty_change_event_lost", watch=message.watch, error=str(error))


def incident_event(message: Message, routing_key: str, dedup_key: str) -> dict[str, Any]:
    """The body for `/v2/enqueue`; acknowledge and resolve tell as much as trigger, so that the timeline says why."""
    event: dict[str, Any] = {
        "routing_key": routing_key,
        "event_action": message.incident_action,
        "dedup_key": _bounded_key(dedup_key),
    }
    event["payload"] = {
        "summary": summary(message),
        "source": "/".join(part for part in (message.region, message.service) if part) or "watchdog",
        "severity": message.severity if message.severity in _SEVERITIES else "error",
        "component": message.service,
        "group": message.project,
        "class": message.kind,
        "custom_details": details(message),
    }
    if message.at:
        event["payload"]["timestamp"] = iso(message.at)
    event["client"] = "Watchdog"
    if message.links:
        event["client_url"] = message.links[0].href
        event["links"] = [{"href": link.href, "text": link.text} for link in message.links]
    return _fitting(event)


def change_event(message: Message, routing_key: str) -> dict[str, Any]:
    """The body for `/v2/change/enqueue`: shown beside incidents for 90 days, pages nobody."""
    payload: dict[str, Any] = {
        "summary": summary(message),
        "source": "/".join(part for part in (message.region, message.service) if part) or "watchdog",
        "custom_details": details(message),
    }
    if message.at:
        payload["timestamp"] = iso(message.at)
    event: dict[str, Any] = {"routing_key": routing_key, "payload": payload}
    if message.links:
        event["links"] = [{"href": link.href, "text": link.text} for link in message.links]
    return _fitting(event)


def summary(message: Message) -> str:
    """The title and the decision sentence: what the phone reads out."""
    happened = message.happened if message.happened not in message.headline else ""
    return clip(f"{message.headline.rstrip('.')}. {happened}".strip() if happened else message.headline, _SUMMARY_MAX)


def details(message: Message) -> dict[str, Any]:
    """The five answers in order, then the small print."""
    found: dict[str, Any] = dict(message.answers())
    if message.evidence:
        found["Evidence"] = [f"{name}: {value}" for name, value in message.evidence]
    found.update(message.facts())
    return found


def _fitting(event: dict[str, Any]) -> dict[str, Any]:
    """The event within PagerDuty's 512 KB: evidence goes first, then all details, then the links."""
    payload = event["payload"]
    if _size(event) > _BODY_BYTES_MAX:
        payload["custom_details"] = {k: v for k, v in payload["custom_details"].items() if k != "Evidence"} | _TOO_LARGE
    if _size(event) > _BODY_BYTES_MAX:
        payload["custom_details"] = dict(_TOO_LARGE)
    if _size(event) > _BODY_BYTES_MAX:
        event.pop("links", None)
        event.pop("client_url", None)
    return event


def _size(event: Mapping[str, Any]) -> int:
    return len(json.dumps(event).encode())


def _bounded_key(key: str) -> str:
    """PagerDuty takes 255 characters; a longer key keeps its beginning and stays unique by its hash."""
    if len(key) <= _KEY_MAX:
        return key
    return f"{key[: _KEY_MAX - 65]}/{hashlib.sha256(key.encode()).hexdigest()}"
