"""Slack: one root message a release, kept up to date for each of its regions, with every event in its thread.

With a bot token, the first message of a thread becomes the root and its `ts` and channel are remembered; later ones are
replies, shown in the channel too where they ask for it. With only an incoming webhook, which answers no `ts`, every
message stands alone.
"""

from collections.abc import Mapping
from dataclasses import asdict, replace
from typing import Any, Self

import aiohttp
import structlog

from watchdog.actions.render import Message, clip
from watchdog.actions.slack_blocks import Card, card_blocks, escape, event_blocks, fallback, standing, status_of
from watchdog.errors import PermanentError, TemporaryError, WatchdogError
from watchdog.ports import Delivery, Receipt
from watchdog.settings import SlackSettings
from watchdog.transport import Peer, error_of, request, retry_after_s, scrub, url_secrets

_TEMPORARY = frozenset(
    {"ratelimited", "rate_limited", "message_limit_exceeded", "internal_error", "fatal_error", "service_unavailable",
     "request_timeout", "team_added_to_org", "unknown_error"}
)  # fmt: skip
_ROOT_GONE = frozenset({"message_not_found", "thread_not_found", "invalid_thread_ts", "cannot_reply_to_message"})
_CANNOT_UPDATE = frozenset({"cant_update_message", "edit_window_closed"})
_BAD_MARKUP = frozenset({"invalid_blocks", "invalid_blocks_format", "msg_blocks_too_long", "msg_too_long"})
_CHATTER = frozenset({"window", "note", "promoted", "recovered"})
"""A message that a webhook posts stands alone in the channel for ever, so good news is left out."""
_PLAIN_MAX = 3000
_UPDATE_TEXT_MAX = 3900
_ADVICE = {
    "account_inactive": "Give WATCHDOG_SLACK__TOKEN a token that is valid",
    "channel_not_found": "Check WATCHDOG_SLACK__CHANNEL, and invite the bot if the channel is private",
    "invalid_auth": "Give WATCHDOG_SLACK__TOKEN a token that is valid",
    "is_archived": "Name another channel in WATCHDOG_SLACK__CHANNEL",
    "missing_scope": "Give the Slack app the scope chat:write and install it again",
    "not_authed": "Give WATCHDOG_SLACK__TOKEN a token that is valid",
    "not_in_channel": "Invite the bot to the channel: /invite",
    "token_expired": "Give WATCHDOG_SLACK__TOKEN a token that is valid",
    "token_revoked": "Give WATCHDOG_SLACK__TOKEN a token that is valid",
}

_log = structlog.get_logger(__name__)


class _RefusedError(PermanentError):
    """Slack's `ok: false`, with its code."""

    def __init__(self, message: str, *, code: str, status: int) -> None:
        super().__init__(message, status=status)
        self.code = code


class SlackNotifier:
    """Keeps `ports.Notifier`, by bot token (with `channel`) or else by incoming webhook."""

    channel = "slack"

    def __init__(
        self,
        session: aiohttp.ClientSession,
        *,
        token: str = "",
        slack_channel: str = "",
        webhook_url: str = "",
        api_url: str = "https://slack.com/api/",
        timeout_s: float = 10.0,
        buttons: bool = False,
    ) -> None:
        self._session = session
        self._with_buttons = buttons
        self._token = token
        self._slack_channel = slack_channel
        self._webhook_url = webhook_url
        self._api_url = api_url.rstrip("/")
        hidden = (token, *url_secrets(webhook_url, path=True), *url_secrets(api_url))
        self._peer = Peer(
            name="Slack",
            timeout_s=timeout_s,
            secrets=tuple(part for part in hidden if part),
            hints=dict.fromkeys((403, 404, 410), "Check WATCHDOG_SLACK__WEBHOOK_URL and WATCHDOG_SLACK__API_URL"),
        )

    @classmethod
    def from_settings(cls, session: aiohttp.ClientSession, settings: SlackSettings) -> Self | None:
        """The channel, or None where neither a token nor a webhook is set."""
        if settings.token is None and settings.webhook_url is None:
            return None
        return cls(
            session,
            token=settings.token.get_secret_value() if settings.token else "",
            slack_channel=settings.channel or "",
            webhook_url=settings.webhook_url.get_secret_value() if settings.webhook_url else "",
            api_url=settings.api_url,
            buttons=settings.signing_secret is not None,
        )

    async def deliver(self, delivery: Delivery) -> Receipt:
        """Post once. A root message that cannot be brought up to date is logged and never costs the reply."""
        message = Message.of(delivery.body)
        if not self._token:
            if message.kind in _CHATTER and message.severity == "info":
                return Receipt(provider_id="left out")
            await self._post_by_webhook(message)
            return Receipt()
        key = delivery.key if self._with_buttons else ""
        root = delivery.remembered.get("ts")
        if not root:
            return await self._open_thread(message, key)
        where = delivery.remembered.get("channel") or self._slack_channel
        reply: dict[str, Any] = {"channel": where, "thread_ts": root, "text": fallback(message)}
        reply["blocks"] = event_blocks(message, key=key)
        if message.broadcast:
            reply["reply_broadcast"] = True
        try:
            answer = await self._post(reply)
        except _RefusedError as error:
            if error.code not in _ROOT_GONE:
                raise
            _log.warning("slack_root_gone", watch=message.watch, error=str(error))
            return await self._open_thread(message, key)
        remember = await self._update_root(message, delivery.remembered, where=where, root=root, key=key)
        return Receipt(provider_id=f"{where}/{answer.get('ts', '')}", remember=remember)

    async def _open_thread(self, message: Message, key: str) -> Receipt:
        card = Card.of(message)
        root = await self._post_root(message, card, text=fallback(message), key=key)
        remember = {**asdict(card), **root, **standing(message, {})}
        return Receipt(provider_id=f"{root['channel']}/{root['ts']}", remember=remember)

    async def _post_root(self, message: Message, card: Card, *, text: str, key: str) -> dict[str, str]:
        root = {"channel": self._slack_channel, "text": text, "blocks": card_blocks(card, message, key=key)}
        answer = await self._post(root)
        return {"channel": str(answer.get("channel") or self._slack_channel), "ts": str(answer.get("ts") or "")}

    async def _update_root(
        self, message: Message, remembered: Mapping[str, str], *, where: str, root: str, key: str
    ) -> Mapping[str, str]:
        """Show the new status in the root message; returns what to remember from now on. Best effort, but for one case.

        Slack takes a reply to a message that was deleted, says `ok`, and shows it to nobody. So an update that finds no
        message means that the reply was lost too: then the message opens a new thread, or fails and is tried again.
        """
        card = Card.remembered(remembered)
        regions = {**remembered, **standing(message, remembered)}
        card = replace(card, title=card.title or message.headline, status=status_of(regions) or card.status)
        text = escape(f"{card.title}\n{card.status}", _UPDATE_TEXT_MAX)
        update = {"channel": where, "ts": root, "text": text, "blocks": card_blocks(card, message, key=key)}
        try:
            await self._call("chat.update", update)
        except _RefusedError as error:
            _log.warning("slack_root_update_failed", watch=message.watch, error=str(error))
            if error.code == "message_not_found":
                return (await self._open_thread(message, key)).remember
            if error.code not in _CANNOT_UPDATE:
                return {}
            successor = await self._replace_root(message, card, text=text, key=key)
            return {**successor, **standing(message, remembered)} if successor else {}
        except WatchdogError as error:
            _log.warning("slack_root_update_failed", watch=message.watch, error=str(error))
            return {}
        return {"status": card.status, **standing(message, remembered)}

    async def _replace_root(self, message: Message, card: Card, *, text: str, key: str) -> Mapping[str, str]:
        """A root message that Slack lets nobody change any more gets a successor; the thread goes on below that."""
        try:
            return {**asdict(card), **await self._post_root(message, card, text=text, key=key)}
        except WatchdogError as error:
            _log.warning("slack_root_update_failed", watch=message.watch, error=str(error))
            return {}

    async def _post(self, payload: Mapping[str, Any]) -> dict[str, Any]:
        """Post a message; markup that Slack refuses is left out rather than losing the page."""
        payload = {**payload, "unfurl_links": False, "unfurl_media": False}
        try:
            return await self._call("chat.postMessage", payload)
        except _RefusedError as error:
            if error.code not in _BAD_MARKUP:
                raise
            _log.warning("slack_blocks_refused", error=str(error))
            return await self._call("chat.postMessage", _plain(payload))

    async def _call(self, method: str, payload: Mapping[str, Any]) -> dict[str, Any]:
        doing = f"Calling Slack's {method}"
        headers = {"Authorization": f"Bearer {self._token}", "Content-Type": "application/json; charset=utf-8"}
        url = f"{self._api_url}/{method}"
        reply = await request(self._session, self._peer, "POST", url, json=payload, headers=headers, doing=doing)
        if not reply.ok:
            raise error_of(reply, self._peer, doing=doing)
        if not isinstance(reply.body, dict):
            raise TemporaryError(f"{doing}: Slack answered with something that is not a JSON object")
        if reply.body.get("ok") is True:
            return reply.body
        code = scrub(str(reply.body.get("error") or "unknown_error"), self._peer.secrets, limit=80)
        if code in _TEMPORARY:
            raise TemporaryError(f"{doing}: Slack answered {code}", delay_s=retry_after_s(reply.headers))
        advice = f". {_ADVICE[code]}" if code in _ADVICE else ""
        raise _RefusedError(f"{doing}: Slack answered {code}{advice}", code=code, status=reply.status)

    async def _post_by_webhook(self, message: Message) -> None:
        doing = "Posting to Slack's incoming webhook"
        payload: dict[str, Any] = {"text": fallback(message), "blocks": event_blocks(message)}
        reply = await request(self._session, self._peer, "POST", self._webhook_url, json=payload, doing=doing)
        if reply.status == 400 and reply.text.strip() in _BAD_MARKUP:
            _log.warning("slack_blocks_refused", error=reply.text.strip())
            payload = _plain(payload)
            reply = await request(self._session, self._peer, "POST", self._webhook_url, json=payload, doing=doing)
        if not reply.ok:
            raise error_of(reply, self._peer, doing=doing)


def _plain(payload: Mapping[str, Any]) -> dict[str, Any]:
    """The message without blocks; cut once more, since its length may have been what Slack refused."""
    rest = {name: value for name, value in payload.items() if name != "blocks"}
    return {**rest, "text": clip(str(payload["text"]), _PLAIN_MAX)}
