"""What other systems post here: Cloud Run's audit log by Pub/Sub, PagerDuty's webhooks, Slack's interactions.

Each proves who it is before anything of its body is believed. What is well-formed and none of our business is answered
with success, because a sender repeats what is refused: Pub/Sub for a week, and PagerDuty switches the hook off.
"""

import base64
import hashlib
import hmac
import json
import re
from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final, TypeVar
from urllib.parse import parse_qs

import pydantic
import structlog
from aiohttp import web

from watchdog.core.model import State
from watchdog.ports import WatchRow
from watchdog.web import audit
from watchdog.web.bodies import Hook, PagerDutyEvent, PagerDutyIncident, PagerDutyWebhook, PubSubMessage, PubSubPush
from watchdog.web.clicks import clicked
from watchdog.web.inbox import post
from watchdog.web.lookup import service_stream, watch_stream
from watchdog.web.problems import Problem
from watchdog.web.security import google_identity, same, unsigned
from watchdog.web.services import WebServices, services_of

BODY_BYTES: Final = 1024 * 1024
"""An entry of the audit log has up to 256 KiB, a third more in base64."""
SLACK_SKEW_S: Final = 300.0

_PAGERDUTY: Final = "X-PagerDuty-Signature"
_SLACK: Final = "X-Slack-Signature"
_DEDUP_KEY: Final = re.compile(r"watchdog/([^/]+)/([^/]+)/([^/]+)/[0-9]+")
_NAME_MOST: Final = 200
_VERBS: Final[Mapping[str, str]] = {
    "incident.acknowledged": "ack",
    "incident.unacknowledged": "unack",
    "incident.resolved": "resolve",
    "incident.reassigned": "assign",
    "incident.delegated": "assign",
    "incident.escalated": "assign",
}
"""What PagerDuty tells → what a person did to the watch's incident."""

_log = structlog.get_logger("watchdog.web")

Model = TypeVar("Model", bound=Hook)


# --- Pub/Sub ------------------------------------------------------------------------------------------------------


async def pubsub(request: web.Request) -> web.Response:
    """An entry of the audit log: makes the service's keeper look at once. 202 when it does, 204 when it need not.

    A look and not a deploy notice: whether a watch opens is decided by what serves, not by what was announced, so
    neither a repeated push nor a change without traffic can open one.
    """
    await google_identity(request)
    services = services_of(request)
    push = _parse(await _read(request), PubSubPush)
    entry = _entry(push.message)
    change = audit.change_of(entry) if entry is not None else None
    if change is None or change.service not in services.services:
        return web.Response(status=204)
    letter = {"by": change.by or "pubsub", "reason": change.what}
    new = (await post(request, service_stream(change.service), "look", letter, same=change.same)).new
    detail = "In the inbox." if new else "This change was told before; it counts once."
    answer = {"accepted": True, "service": str(change.service), "repeated": not new, "detail": detail}
    return web.json_response(answer, status=202)


def _entry(message: PubSubMessage) -> Mapping[str, Any] | None:
    """The message's LogEntry; None for a message that has attributes only."""
    if not message.data:
        if message.attributes:
            return None
        raise Problem(400, "message: has neither data nor attributes, which Pub/Sub never sends.")
    try:
        entry = json.loads(base64.b64decode(message.data, validate=True))
    except (ValueError, RecursionError):  # RecursionError: brackets, nested a thousand deep
        raise Problem(400, "message.data: must be base64 of a Cloud Logging LogEntry as JSON.") from None
    if not isinstance(entry, dict):
        raise Problem(400, "message.data: the LogEntry must be a JSON object.")
    return entry


# --- PagerDuty ----------------------------------------------------------------------------------------------------


async def pagerduty(request: web.Request) -> web.Response:
    """A V3 webhook: what a person does to an incident there counts here (202); everything else is noted (204)."""
    services = services_of(request)
    raw = await _signed_by_pagerduty(request, services.pagerduty_secret)
    event = _parse(raw, PagerDutyWebhook).event
    verb = _VERBS.get(event.event_type)
    row = await _watch_of(services, event) if verb is not None else None
    if verb is None or row is None or _is_known(row, verb):
        watch = row.id if row is not None else None
        _log.info("pagerduty_event_not_needed", event_id=event.id, event_type=event.event_type, watch=watch)
        return web.Response(status=204)
    reason = f"{event.event_type.removeprefix('incident.')} in PagerDuty"
    letter = {"verb": verb, "by": _who(event), "reason": reason, "said_at": _said_at(event)}
    if verb == "assign":
        letter["name"] = _assignee(event)
    new = (await post(request, watch_stream(row.id), "operator", letter, same=f"pagerduty:{event.id}")).new
    for other in await _regions_of(services, row):  # what was said of the one incident counts in each of its regions
        if not _is_known(other, verb):
            await post(request, watch_stream(other.id), "operator", letter, same=f"pagerduty:{event.id}")
    detail = "In the inbox." if new else "The same event is in the inbox already; it counts once."
    answer = {"accepted": True, "watch": row.id, "repeated": not new, "detail": detail}
    return web.json_response(answer, status=202, headers={"Location": f"/api/v1/watches/{row.id}"})


async def _signed_by_pagerduty(request: web.Request, secret: str | None) -> bytes:
    """The body, if one of its signatures is made with our secret (while a secret is changed there are two)."""
    if not secret:
        raise unsigned("No webhook secret is set. Set WATCHDOG_PAGERDUTY__WEBHOOK_SECRET and restart it.", _PAGERDUTY)
    given = request.headers.get(_PAGERDUTY, "")
    raw = await _read(request) if given else b""
    expected = "v1=" + hmac.new(secret.encode(), raw, hashlib.sha256).hexdigest()
    if not given or not any(same(one.strip(), expected) for one in given.split(",")):
        raise unsigned(f"The body is not signed with our secret: {_PAGERDUTY} is missing or wrong.", _PAGERDUTY)
    return raw


async def _watch_of(services: WebServices, event: PagerDutyEvent) -> WatchRow | None:
    """The watch that the incident's key names; None for incidents that others opened."""
    incident = _valid(PagerDutyIncident, event.data or {}, "event.data")
    for key in (incident.incident_key, *(alert.alert_key for alert in incident.alerts)):
        found = _DEDUP_KEY.fullmatch(key or "")
        row = await services.store.watch(found[3]) if found else None
        if found and row is not None and (row.region, row.service) == (found[1], found[2]):
            return row
    return None


async def _regions_of(services: WebServices, row: WatchRow) -> list[WatchRow]:
    """The open watches of the same release in other regions: one page stands for all of them."""
    release = row.view.get("release") or row.id
    rows = await services.store.watches(open_only=True, of=(row.project, row.service))
    return [r for r in rows if r.id != row.id and r.view.get("release") == release and r.view.get("incident")]


def _is_known(row: WatchRow, verb: str) -> bool:
    """Whether nobody waits for it: the watch has ended, or it is the echo of what we said ourselves."""
    incident = row.view.get("incident") or {}
    if row.state == State.ENDED or incident.get("resolved_at") is not None:
        return True
    return verb == "ack" and incident.get("acknowledged_at") is not None


def _said_at(event: PagerDutyEvent) -> float:
    """When it happened there, Unix seconds: webhooks overtake each other. 0 when it does not say."""
    try:
        return datetime.fromisoformat(event.occurred_at or "").timestamp()
    except ValueError:
        return 0.0


def _assignee(event: PagerDutyEvent) -> str:
    """Who has it now."""
    incident = _valid(PagerDutyIncident, event.data or {}, "event.data")
    return _one_line(next((a.summary or "" for a in incident.assignees), ""))


def _who(event: PagerDutyEvent) -> str:
    return _one_line((event.agent.summary if event.agent else None) or "") or "PagerDuty"


def _one_line(name: str) -> str:
    return " ".join("".join(c if c.isprintable() else " " for c in name).split())[:_NAME_MOST]


# --- Slack --------------------------------------------------------------------------------------------------------


async def slack(request: web.Request) -> web.Response:
    """A click in Slack: a button's letter goes into the inbox, and the person is told what came of it."""
    services = services_of(request)
    raw = await _signed_by_slack(request, services.slack_secret, services.clock.now())
    try:
        form = parse_qs(raw.decode(), max_num_fields=100)
    except ValueError:  # not UTF-8, or too many fields
        raise Problem(400, "The body is not a form.") from None
    if len(form.get("payload", ())) != 1:
        raise Problem(400, "payload: the form must have it once, as Slack's interactions do.")
    try:
        payload = json.loads(form["payload"][0])
    except (ValueError, RecursionError):
        payload = None
    if not isinstance(payload, dict):
        raise Problem(400, "payload: must be a JSON object.")
    return await clicked(request, payload)


async def _signed_by_slack(request: web.Request, secret: str | None, now: float) -> bytes:
    """The body, if Slack signed it within the last five minutes (https://api.slack.com/authentication)."""
    if not secret:
        raise unsigned("No signing secret is set. Set WATCHDOG_SLACK__SIGNING_SECRET and restart it.", _SLACK)
    given = request.headers.get(_SLACK, "")
    at = request.headers.get("X-Slack-Request-Timestamp", "")
    if not given or not re.fullmatch(r"[0-9]{1,12}", at):
        raise unsigned(f"{_SLACK} or X-Slack-Request-Timestamp is missing or wrong.", _SLACK)
    if abs(now - int(at)) > SLACK_SKEW_S:
        raise unsigned("The request was signed more than five minutes from now, so it may be a repeated one.", _SLACK)
    raw = await _read(request)
    expected = "v0=" + hmac.new(secret.encode(), f"v0:{at}:".encode() + raw, hashlib.sha256).hexdigest()
    if not same(given.strip(), expected):
        raise unsigned(f"The body is not signed with our secret: {_SLACK} is wrong.", _SLACK)
    return raw


# --- bodies -------------------------------------------------------------------------------------------------------


async def _read(request: web.Request) -> bytes:
    """The raw body: hooks send more than the API takes."""
    try:
        return await request.clone(client_max_size=BODY_BYTES).read()
    except web.HTTPRequestEntityTooLarge:
        raise Problem(413, f"The body is larger than {BODY_BYTES // 1024} KiB.") from None


def _parse(raw: bytes, model: type[Model]) -> Model:
    """The body, validated. Raises `Problem` 400: a sender that isn't a person has sent what it never should."""
    try:
        body = json.loads(raw)
    except (ValueError, RecursionError):
        raise Problem(400, "The body is not JSON.") from None
    return _valid(model, body, "")


def _valid(model: type[Model], body: Any, place: str) -> Model:
    try:
        return model.model_validate(body)
    except pydantic.ValidationError as error:
        mistakes = error.errors(include_url=False, include_input=False)
        told = [(".".join([*filter(None, [place]), *map(str, e["loc"])]) or "body", e["msg"]) for e in mistakes]
        raise Problem(400, "; ".join(f"{where}: {what}" for where, what in told)) from None
