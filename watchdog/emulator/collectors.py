"""Where pages arrive: Slack's Web API and incoming webhooks, PagerDuty's Events API, and what mail brought.

For the sender: `POST /slack/api/METHOD`, `POST /slack/webhook/…`, `POST /pagerduty/v2/enqueue`,
`POST /pagerduty/v2/change/enqueue`. For tests, drills and the demo:

| request | answer |
|---|---|
| `GET /emulator/collectors/slack` | `{"received": […], "messages": […]}` |
| `GET /emulator/collectors/pagerduty` | `{"received": […], "incidents": […], "changes": […]}` |
| `GET /emulator/collectors/smtp` | `{"received": […]}` |
| `…?after=SEQ&wait_s=10` | only later entries; waits up to so long for the first one |
| `DELETE /emulator/collectors/CHANNEL` | forgets them and ends the behaviours |
| `GET`, `POST`, `DELETE /emulator/collectors/CHANNEL/behaviours` | scripted behaviours (`collector_behaviour`) |
| `PUT /emulator/collectors/slack/channels` | `{"#name": "channel_not_found"}`: what posting there meets |
"""

import asyncio
import json
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from typing import Any
from urllib.parse import parse_qsl

from aiohttp import web
from pydantic import RootModel

from watchdog.emulator.collector_behaviour import Behaviour
from watchdog.emulator.collector_store import CHANNELS, Channel, Collected, Received
from watchdog.emulator.scripting import read_model, reset_connection, unprocessable
from watchdog.emulator.slack_workspace import WEBHOOK_STATUS, SlackError, refusal

__all__ = ["Collected", "Received", "add_routes"]

LONGEST_HANG_S = 3600.0
LONGEST_WAIT_S = 60.0
MAIL_KINDS = frozenset({"status", "hang", "reset", "lost_answer", "latency"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """What a request is answered with: JSON for a mapping, else plain text."""

    status: int
    content: Mapping[str, Any] | str
    accepted: bool
    note: str = ""


Process = Callable[[web.Request, bytes], Reply]
"""Takes a request in and says what to answer."""


def add_routes(app: web.Application, collected: Collected) -> None:
    """Mount the collectors and their control routes; the routes are in the module's docstring."""
    desk = _Desk(collected)
    app.on_shutdown.append(desk.close)
    router = app.router
    for method in ("GET", "POST"):
        router.add_route(method, "/slack/api/{method}", desk.slack)
    router.add_post("/slack/webhook/{tail:.+}", desk.webhook)
    router.add_post("/pagerduty/v2/enqueue", desk.enqueue)
    router.add_post("/pagerduty/v2/change/enqueue", desk.change)
    router.add_put("/emulator/collectors/slack/channels", desk.set_channels)
    router.add_get("/emulator/collectors/{channel}", desk.show)
    router.add_delete("/emulator/collectors/{channel}", desk.forget)
    router.add_get("/emulator/collectors/{channel}/behaviours", desk.behaviours)
    router.add_post("/emulator/collectors/{channel}/behaviours", desk.behave)
    router.add_delete("/emulator/collectors/{channel}/behaviours", desk.stop_behaving)


class _Desk:
    """The handlers."""

    def __init__(self, collected: Collected) -> None:
        self._collected = collected
        self._closing = asyncio.Event()

    async def close(self, _app: web.Application) -> None:
        """Let go of every request that hangs, so that the server can end."""
        self._closing.set()

    async def slack(self, request: web.Request) -> web.StreamResponse:
        return await self._receive(request, "slack", request.match_info["method"], self._process_slack)

    async def webhook(self, request: web.Request) -> web.StreamResponse:
        return await self._receive(request, "slack", "webhook", self._process_webhook)

    async def enqueue(self, request: web.Request) -> web.StreamResponse:
        return await self._receive(request, "pagerduty", "enqueue", self._process_event)

    async def change(self, request: web.Request) -> web.StreamResponse:
        return await self._receive(request, "pagerduty", "change", self._process_event)

    async def _receive(self, request: web.Request, channel: Channel, kind: str, process: Process) -> web.StreamResponse:
        body = await request.read()
        now = self._collected.now()
        met = self._collected.behaviours[channel].take(request.path, now=now)
        shown = _shown(request, body)

        def note(*, accepted: bool, status: int | None, note: str = "") -> None:
            self._collected.add(
                channel,
                kind,
                shown,
                accepted=accepted,
                status=status,
                note=note,
                behaviour=met.kind if met else "",
            )

        if met is not None and met.kind in {"hang", "reset"}:
            note(accepted=False, status=None)
            if met.kind == "hang":
                await self._hang(request, met.latency_s)
            return _reset(request)
        if met is not None and met.kind == "latency":
            await asyncio.sleep(met.latency_s)
        reply = _scripted(channel, kind, met) or process(request, body)
        note(
            accepted=reply.accepted,
            status=None if met is not None and met.kind == "lost_answer" else reply.status,
            note=reply.note,
        )
        if met is not None and met.kind == "lost_answer":
            return _reset(request)
        headers = {"Retry-After": str(met.retry_after_s)} if met is not None and met.kind == "rate_limited" else {}
        text = reply.content if isinstance(reply.content, str) else json.dumps(reply.content)
        kind_of_text = "text/html" if isinstance(reply.content, str) else "application/json"
        response = web.Response(status=reply.status, text=text, content_type=kind_of_text, headers=headers)
        if met is not None and met.kind == "drip":
            return await _drip(request, response, met.latency_s)
        return response

    async def _hang(self, request: web.Request, limit_s: float) -> None:
        """Until the sender is gone, the server ends, or `limit_s` (0: an hour) is over."""
        with suppress(TimeoutError):
            async with asyncio.timeout(limit_s or LONGEST_HANG_S):
                while request.transport is not None and not request.transport.is_closing():
                    with suppress(TimeoutError):
                        await asyncio.wait_for(self._closing.wait(), timeout=0.1)
                        return

    def _process_slack(self, request: web.Request, body: bytes) -> Reply:
        method = request.match_info["method"]
        try:
            fields, warning = _slack_fields(request, body)
        except SlackError as error:
            return _slack_reply(refusal(error))
        scheme, _, token = request.headers.get("Authorization", "").partition(" ")
        token = token.strip() if scheme.lower() == "bearer" else str(fields.get("token") or "")
        answer = self._collected.slack.call(method, fields, token=token, now=self._collected.now())
        if warning:
            meta = answer.setdefault("response_metadata", {})
            answer["warning"], meta["warnings"] = warning, [warning]
        return _slack_reply(answer)

    def _process_webhook(self, request: web.Request, body: bytes) -> Reply:
        try:
            text = body.decode()
            if request.content_type == "application/x-www-form-urlencoded":
                text = dict(parse_qsl(text)).get("payload", "")
            payload = json.loads(text)
        except ValueError:
            payload = None
        status, text = self._collected.slack.webhook(payload, now=self._collected.now())
        return Reply(status=status, content=text, accepted=status == 200, note="" if status == 200 else text)

    def _process_event(self, request: web.Request, body: bytes) -> Reply:
        account = self._collected.pagerduty
        take = account.change if request.path.endswith("/change/enqueue") else account.enqueue
        answer = take(body, now=self._collected.now())
        return Reply(status=answer.status, content=answer.body, accepted=answer.accepted, note=answer.note)

    async def show(self, request: web.Request) -> web.Response:
        channel = _channel(request)
        after, wait_s = _number(request, "after"), min(_number(request, "wait_s"), LONGEST_WAIT_S)
        if wait_s > 0:
            with suppress(TimeoutError):
                await self._collected.wait_for(channel, after=int(after), timeout_s=wait_s)
        received = [asdict(entry) for entry in self._collected.received(channel, after=int(after))]
        answer: dict[str, Any] = {"received": received}
        if channel == "slack":
            answer["messages"] = self._collected.slack.messages()
        elif channel == "pagerduty":
            answer["incidents"] = self._collected.pagerduty.incidents()
            answer["changes"] = self._collected.pagerduty.changes()
        return web.json_response(answer)

    async def forget(self, request: web.Request) -> web.Response:
        self._collected.clear(_channel(request))
        return web.Response(status=204)

    async def behaviours(self, request: web.Request) -> web.Response:
        active = self._collected.behaviours[_channel(request)].active(self._collected.now())
        return web.json_response({"behaviours": [behaviour.model_dump() for behaviour in active]})

    async def behave(self, request: web.Request) -> web.Response:
        channel = _channel(request)
        behaviour = await read_model(request, Behaviour)
        if channel == "smtp" and behaviour.kind not in MAIL_KINDS:
            raise unprocessable(f"kind: mail can only {', '.join(sorted(MAIL_KINDS))}")
        self._collected.behave(channel, behaviour)
        return web.json_response(behaviour.model_dump(), status=201)

    async def stop_behaving(self, request: web.Request) -> web.Response:
        self._collected.behaviours[_channel(request)].clear()
        return web.Response(status=204)

    async def set_channels(self, request: web.Request) -> web.Response:
        self._collected.slack.channel_errors = (await read_model(request, RootModel[dict[str, str]])).root
        return web.json_response(self._collected.slack.channel_errors)


def _scripted(channel: Channel, kind: str, met: Behaviour | None) -> Reply | None:
    """The answer of a behaviour that takes nothing in; None when the request is processed."""
    if met is None or met.kind not in {"rate_limited", "status", "error"}:
        return None
    if met.kind == "error" and channel == "slack":
        if kind == "webhook":
            return Reply(status=WEBHOOK_STATUS.get(met.error, 400), content=met.error, accepted=False, note=met.error)
        return Reply(status=200, content={"ok": False, "error": met.error}, accepted=False, note=met.error)
    if met.kind == "error":
        body = {"status": "invalid event", "message": "Event object is invalid", "errors": [met.error]}
        return Reply(status=400, content=body, accepted=False, note=met.error)
    if met.kind == "rate_limited":
        content = (
            {"ok": False, "error": "ratelimited"}
            if channel == "slack"
            else {"status": "throttle exceeded", "message": "Requests for this service are arriving too quickly."}
        )
        return Reply(status=429, content=content, accepted=False, note="rate limited")
    status = met.status or 500
    return Reply(status=status, content=f"scripted {status}", accepted=False, note=f"HTTP {status}")


def _slack_reply(answer: Mapping[str, Any]) -> Reply:
    return Reply(status=200, content=answer, accepted=bool(answer["ok"]), note=str(answer.get("error", "")))


def _slack_fields(request: web.Request, body: bytes) -> tuple[dict[str, Any], str]:
    """The arguments of a Web API call, from the query, a form or JSON, and Slack's warning about them."""
    fields: dict[str, Any] = dict(request.query)
    if not body:
        return fields, ""
    if request.content_type == "application/x-www-form-urlencoded":
        return fields | dict(parse_qsl(body.decode(errors="replace"), keep_blank_values=True)), ""
    if request.content_type != "application/json":
        raise SlackError("invalid_post_type")
    try:
        document = json.loads(body)
    except ValueError as error:
        raise SlackError("invalid_json") from error
    if not isinstance(document, dict):
        raise SlackError("json_not_object")
    return fields | document, "" if request.charset else "missing_charset"


def _shown(request: web.Request, body: bytes) -> Any:
    """The body as the collector shows it: JSON or form where it is one, else text; never the sender's token."""
    text = body.decode(errors="replace")
    if request.content_type == "application/x-www-form-urlencoded":
        return {key: value for key, value in parse_qsl(text, keep_blank_values=True) if key != "token"}
    try:
        return json.loads(text)
    except ValueError:
        return text


def _reset(request: web.Request) -> web.Response:
    reset_connection(request.transport)
    return web.Response()  # goes nowhere


async def _drip(request: web.Request, response: web.Response, gap_s: float) -> web.StreamResponse:
    stream = web.StreamResponse(status=response.status, headers=response.headers)
    body = response.body if isinstance(response.body, bytes) else b""
    stream.content_length = len(body)
    with suppress(ConnectionError):  # the sender may lose patience
        await stream.prepare(request)
        for byte in body:
            await asyncio.sleep(gap_s)
            await stream.write(bytes((byte,)))
        await stream.write_eof()
    return stream


def _channel(request: web.Request) -> Channel:
    for channel in CHANNELS:
        if channel == request.match_info["channel"]:
            return channel
    raise unprocessable(f"'{request.match_info['channel']}' is no collector; there are {', '.join(CHANNELS)}")


def _number(request: web.Request, name: str) -> float:
    try:
        return float(request.query.get(name, "0"))
    except ValueError:
        raise unprocessable(f"{name}: '{request.query[name]}' is not a number") from None
