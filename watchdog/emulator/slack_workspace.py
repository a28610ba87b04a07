"""A Slack workspace as far as a bot sees it: messages, threads, updates, and Slack's own refusals.

Facts from docs.slack.dev (chat.postMessage, chat.update, auth.test, incoming webhooks), and from what users ran into:

* An error is HTTP 200 with `ok: false`.
* `chat.postMessage` takes a channel's name or id and answers with the id; `chat.update` takes only the id, a name is
  `channel_not_found` (slackapi/python-slack-sdk issue 696).
* A `thread_ts` of a wrong shape is `invalid_thread_ts` (jenkinsci/slack-plugin issue 584). One that names no message is
  answered `ok` and the reply is seen nowhere (python-slack-sdk issue 840): kept here with `"orphan": true`.
* `chat.update` keeps the blocks when none are given.
"""

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from watchdog.emulator.slack_blocks import check_blocks

MOST_TEXT = 40_000
MOST_UPDATE_TEXT = 4_000
KEEP_MESSAGES = 5_000
TEAM_ID, BOT_ID, BOT_USER_ID, APP_ID = "T0EMULATOR", "B0EMULATOR", "U0EMULATOR", "A0EMULATOR"

WEBHOOK_STATUS: Mapping[str, int] = {
    "invalid_payload": 400,
    "no_text": 400,
    "invalid_blocks": 400,
    "user_not_found": 400,
    "action_prohibited": 403,
    "invalid_token": 403,
    "channel_not_found": 404,
    "no_service": 404,
    "channel_is_archived": 410,
    "rollup_error": 500,
}
"""Error text of an incoming webhook → its HTTP status."""


@dataclass(slots=True, kw_only=True)
class Message:
    """One message as it stands now."""

    channel: str
    """The channel's id."""
    channel_name: str
    """As the sender wrote it; `webhook` for those that came by one."""
    ts: str
    text: str
    blocks: list[Any]
    attachments: list[Any]
    at: float
    """Unix seconds."""
    thread_ts: str = ""
    reply_broadcast: bool = False
    orphan: bool = False
    """A reply to a message that does not exist: nobody sees it."""
    updated_at: float | None = None
    earlier: list[str] = field(default_factory=list)
    """The texts before each update, oldest first."""

    def public(self) -> dict[str, Any]:
        """As the Web API shows it."""
        shown: dict[str, Any] = {
            "type": "message",
            "subtype": "bot_message",
            "text": self.text,
            "ts": self.ts,
            "bot_id": BOT_ID,
            "app_id": APP_ID,
            "team": TEAM_ID,
        }
        if self.blocks:
            shown["blocks"] = self.blocks
        if self.attachments:
            shown["attachments"] = self.attachments
        if self.thread_ts:
            shown["thread_ts"] = self.thread_ts
        if self.updated_at is not None:
            shown["edited"] = {"user": BOT_USER_ID, "ts": f"{self.updated_at:.6f}"}
        return shown


class SlackError(Exception):
    """Slack refuses; `word` is its error, `details` go into `response_metadata`."""

    def __init__(self, word: str, details: list[str] | None = None) -> None:
        super().__init__(word)
        self.word = word
        self.details = details or []


class SlackWorkspace:
    """Channels and their messages."""

    def __init__(self) -> None:
        self.channel_errors: dict[str, str] = {}
        """Channel name or id → the error that posting there meets, such as `channel_not_found` or `is_archived`."""
        self._messages: dict[tuple[str, str], Message] = {}
        self._serial = 0

    def messages(self) -> list[dict[str, Any]]:
        """Every message as it stands now, oldest first."""
        return [asdict(message) for message in self._messages.values()]

    def clear(self) -> None:
        """Forget the messages; the channels' errors stay."""
        self._messages.clear()

    def call(self, method: str, fields: Mapping[str, Any], *, token: str, now: float) -> dict[str, Any]:
        """The JSON answer of a Web API method, `ok: false` included; `token` is empty when none was sent."""
        calls = {"chat.postMessage": self._post, "chat.update": self._update, "auth.test": self._test}
        try:
            if method not in calls:
                return {"ok": False, "error": "unknown_method", "req_method": method}
            if not token:
                raise SlackError("not_authed")
            if not token.startswith("xox"):
                raise SlackError("invalid_auth")
            return {"ok": True} | calls[method](fields, now)
        except SlackError as error:
            return refusal(error)

    def webhook(self, payload: object, *, now: float) -> tuple[int, str]:
        """Status and text that an incoming webhook answers `payload` with."""
        try:
            if not isinstance(payload, Mapping):
                raise SlackError("invalid_payload")
            content = _content(payload)
            if not any(content.values()):
                raise SlackError("no_text")
            self._add(channel="C0WEBHOOK", name="webhook", now=now, **content)
        except SlackError as error:
            return WEBHOOK_STATUS.get(error.word, 400), error.word
        return 200, "ok"

    def _post(self, fields: Mapping[str, Any], now: float) -> dict[str, Any]:
        name = str(fields.get("channel") or "")
        channel = channel_id(name)
        self._check_channel(name, channel)
        content = _content(fields)
        if not any(content.values()):
            raise SlackError("no_text")
        if len(content["text"]) > MOST_TEXT:
            raise SlackError("msg_too_long")
        thread_ts = fields.get("thread_ts") or ""
        if thread_ts and not re.fullmatch(r"\d+\.\d{6}", str(thread_ts)):
            raise SlackError("invalid_thread_ts", [f"[ERROR] {thread_ts} is not a valid thread_ts"])
        message = self._add(
            channel=channel,
            name=name,
            now=now,
            thread_ts=str(thread_ts),
            reply_broadcast=bool(thread_ts) and str(fields.get("reply_broadcast", "")).lower() in {"true", "1"},
            orphan=bool(thread_ts) and (channel, str(thread_ts)) not in self._messages,
            **content,
        )
        return {"channel": channel, "ts": message.ts, "message": message.public()}

    def _update(self, fields: Mapping[str, Any], now: float) -> dict[str, Any]:
        channel, ts = str(fields.get("channel") or ""), str(fields.get("ts") or "")
        self._check_channel(channel, channel)
        if channel != channel_id(channel):
            raise SlackError("channel_not_found")
        content = _content(fields)
        given = {key: value for key, value in content.items() if fields.get(key) is not None}
        if not any(given.values()):
            raise SlackError("no_text")
        if len(content["text"]) > MOST_UPDATE_TEXT:
            raise SlackError("msg_too_long")
        message = self._messages.get((channel, ts))
        if message is None:
            raise SlackError("message_not_found")
        message.earlier.append(message.text)
        for key, value in given.items():
            setattr(message, key, value)
        message.updated_at = now
        return {"channel": channel, "ts": ts, "text": message.text, "message": message.public()}

    def _test(self, _fields: Mapping[str, Any], _now: float) -> dict[str, Any]:
        return {
            "url": "https://emulator.slack.com/",
            "team": "Emulator",
            "user": "watchdog",
            "team_id": TEAM_ID,
            "user_id": BOT_USER_ID,
            "bot_id": BOT_ID,
            "is_enterprise_install": False,
        }

    def _check_channel(self, name: str, channel: str) -> None:
        for known, error in self.channel_errors.items():
            if known in {name, channel} or channel_id(known) == channel:
                raise SlackError(error)
        if not name:
            raise SlackError("channel_not_found")

    def _add(self, *, channel: str, name: str, now: float, **content: Any) -> Message:
        self._serial += 1
        message = Message(
            channel=channel, channel_name=name, ts=f"{int(now)}.{self._serial % 1_000_000:06d}", at=now, **content
        )
        self._messages[channel, message.ts] = message
        while len(self._messages) > KEEP_MESSAGES:
            del self._messages[next(iter(self._messages))]
        return message


def channel_id(name: str) -> str:
    """The id of the channel that `name` means; ids stand for themselves."""
    if re.fullmatch(r"[CGD][A-Z0-9]{8,}", name):
        return name
    return "C" + hashlib.sha256(name.lstrip("#").encode()).hexdigest()[:10].upper()


def refusal(error: SlackError) -> dict[str, Any]:
    """The JSON answer that carries `error`."""
    answer: dict[str, Any] = {"ok": False, "error": error.word}
    if error.details:
        if error.word == "invalid_blocks":
            answer["errors"] = [detail.removeprefix("[ERROR] ") for detail in error.details]
        answer["response_metadata"] = {"messages": error.details}
    return answer


def _content(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Text, blocks and attachments; raises `SlackError` for what Slack would not take."""
    text = fields.get("text")
    if text is not None and not isinstance(text, str):
        raise SlackError("invalid_arguments", ["[ERROR] must be a string [json-pointer:/text]"])
    content = {"text": text or "", "blocks": _array(fields, "blocks"), "attachments": _array(fields, "attachments")}
    wrong = check_blocks(content["blocks"])
    if wrong:
        raise SlackError("invalid_blocks", [f"[ERROR] {sentence}" for sentence in wrong])
    return content


def _array(fields: Mapping[str, Any], key: str) -> list[Any]:
    value = fields.get(key)
    if isinstance(value, str):
        # A form can carry an array only as JSON.
        try:
            value = json.loads(value) if value else None
        except ValueError as error:
            raise SlackError(f"invalid_{key}_format" if key == "blocks" else "invalid_arguments") from error
    if value is None:
        return []
    if not isinstance(value, list):
        raise SlackError(f"invalid_{key}_format" if key == "blocks" else "invalid_arguments")
    return value
