"""Buttons in Slack: who clicked, may they, and the same letter in the inbox that the API would have put there.

Slack ignores what a click is answered with, so people are told by the click's own `response_url`, seen by them only.
What came of it is said in the thread by the watch itself.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final

import structlog
from aiohttp import web

from watchdog.core.model import ServiceKey
from watchdog.errors import WatchdogError
from watchdog.ports import WatchRow
from watchdog.web.inbox import post
from watchdog.web.lookup import watch_stream
from watchdog.web.problems import Problem
from watchdog.web.services import WebServices, services_of
from watchdog.web.verbs import refuse_impossible

Whisper = Callable[[str, str], Awaitable[None]]
"""Tells one person something: the click's `response_url`, the text."""

ACTION_PREFIX: Final = "watchdog_"
NEEDS: Final[Mapping[str, frozenset[str]]] = {
    "ack": frozenset({"responder", "operator"}),
    "hold": frozenset({"responder", "operator"}),
    "rollback": frozenset({"operator"}),
}
"""What a button does → who may."""
DONE: Final = {
    "ack": "Acknowledged. The thread will say so.",
    "hold": "Held: no automatic rollback until somebody runs `watchdog resume`.",
    "rollback": "The rollback is asked for. The thread will say how it goes.",
}
_WHISPER_S: Final = 1.5
"""Slack waits 3 s for our answer."""

_log = structlog.get_logger("watchdog.web")


async def clicked(request: web.Request, payload: Mapping[str, Any]) -> web.Response:
    """Carry out a click, or say why not; always 200, for Slack would only show an error sign."""
    services = services_of(request)
    said = await _outcome(request, services, payload)
    url = payload.get("response_url")
    if said and services.whisper is not None and isinstance(url, str):
        try:
            async with asyncio.timeout(_WHISPER_S):
                await services.whisper(url, said)
        except (WatchdogError, TimeoutError) as error:
            _log.warning("slack_whisper_lost", error=str(error) or "no answer in time")
    return web.json_response({"response_type": "ephemeral", "replace_original": False, "text": said})


async def _outcome(request: web.Request, services: WebServices, payload: Mapping[str, Any]) -> str:
    """What the person is told; empty for a click that is none of ours (a link, an app of somebody else)."""
    found = _button(payload)
    if found is None:
        return ""
    verb, watch_id, message = found
    user = payload.get("user")
    user = user if isinstance(user, Mapping) else {}
    member = str(user.get("id") or "")
    row = await services.store.watch(watch_id)
    if row is None:
        return f"There is no watch {watch_id} any more. Nothing was done."
    role = services.slack_roles(ServiceKey(project=row.project, region=row.region, name=row.service)).get(member, "")
    if role not in NEEDS[verb]:
        wanted = " or ".join(sorted(NEEDS[verb]))
        _log.warning("slack_click_refused", watch=row.id, verb=verb, member=member, role=role)
        return (
            f"Nothing was done: {verb} needs the role {wanted}, and you have {role or 'none'}. Roles are in the "
            f"policy, under channels.slack.roles; your member id is {member}."
        )
    return await _post(request, row, verb, _name(user), member, message)


async def _post(request: web.Request, row: WatchRow, verb: str, name: str, member: str, message: str) -> str:
    try:
        refuse_impossible(row, verb)
    except Problem as problem:
        return f"Nothing was done. {problem.detail}"
    letter = {"verb": verb, "by": name, "reason": "by a button in Slack"}
    new = (await post(request, watch_stream(row.id), "operator", letter, same=f"slack:{verb}:{message}")).new
    _log.info("slack_click", watch=row.id, verb=verb, member=member, repeated=not new)
    return DONE[verb] if new else "That was asked for by this message already; it counts once."


def _button(payload: Mapping[str, Any]) -> tuple[str, str, str] | None:
    """Verb, watch and message of the button that was clicked."""
    actions = payload.get("actions")
    if payload.get("type") != "block_actions" or not isinstance(actions, list):
        return None
    for action in actions:
        if not isinstance(action, Mapping):
            continue
        action_id = str(action.get("action_id") or "")
        verb = action_id.removeprefix(ACTION_PREFIX) if action_id.startswith(ACTION_PREFIX) else ""
        watch_id, _, message = str(action.get("value") or "").partition("|")
        if verb in NEEDS and watch_id and len(message) <= 200:
            return verb, watch_id, message
    return None


def _name(user: Mapping[str, Any]) -> str:
    told = str(user.get("name") or user.get("username") or user.get("id") or "somebody")
    return " ".join("".join(c if c.isprintable() else " " for c in told).split())[:100] or "somebody"
