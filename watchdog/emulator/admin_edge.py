"""What every Admin API request passes: injected faults, IAM, error documents, and the write log.

Handlers return JSON and raise `ApiError`; `Edge.guard` makes aiohttp handlers of them.
"""

import json
from collections.abc import Awaitable, Callable
from typing import Any

from aiohttp import web

from watchdog.emulator import clock
from watchdog.emulator.api_errors import ApiError
from watchdog.emulator.credentials import TokenMint
from watchdog.emulator.gate import AdminFault, Gate, delay, refusal
from watchdog.emulator.scripting import reset_connection
from watchdog.emulator.world import Json, ServiceKey, World, Write
from watchdog.emulator.writes import Change

Handler = Callable[[web.Request], Awaitable[Json]]

CHANGE = web.RequestKey("change", Change)
BODY = web.RequestKey("body", dict[str, Any])
KEY = web.RequestKey("key", ServiceKey)
ACCOUNT = web.RequestKey("account", str)

ACTOR = "X-Emulator-Actor"
"""Header that names who writes; shown as `lastModifier`."""

DEFAULT_ACTOR = "developer@example.com"


class Edge:
    """Wraps handlers. `race` lets somebody else write to a service just before the caller does."""

    def __init__(
        self,
        world: World,
        gate: Gate,
        mint: TokenMint,
        *,
        race: Callable[[ServiceKey, dict[str, int] | None], None],
    ) -> None:
        self._world = world
        self._gate = gate
        self._mint = mint
        self._race = race

    def may_write(self, request: web.Request) -> bool:
        """Whether whoever sends this may write."""
        return self._gate.writes(self._mint.account_of(request))

    def guard(self, handler: Handler, permission: str, *, write: bool = False) -> Callable[..., Any]:
        """An aiohttp handler for `handler`, which needs `permission`."""

        async def guarded(request: web.Request) -> web.StreamResponse:
            if self._gate.unreachable_until is not None:
                return _drop(request)
            faults = self._gate.take(write=write)
            await delay(faults)
            response = await self._answer(request, handler, permission, faults, write=write)
            if write:
                self._log(request, response)
            else:
                self._world.reads += 1
            return response

        return guarded

    async def _answer(
        self, request: web.Request, handler: Handler, permission: str, faults: list[AdminFault], *, write: bool
    ) -> web.StreamResponse:
        early = next((fault for fault in faults if fault.kind in {"status", "drop"} and not fault.after), None)
        late = next((fault for fault in faults if fault.kind in {"status", "drop"} and fault.after), None)
        try:
            request[BODY] = await _read_body(request)
            if write:
                self._race_first(request, faults)
            if early is not None:
                return _fail(request, early)
            account = request[ACCOUNT] = self._mint.account_of(request)
            self._gate.check_permission(permission, request.path.removeprefix("/apis/"), write=write, account=account)
            payload = await handler(request)
            if late is not None:
                return _fail(request, late)
        except ApiError as error:
            return web.json_response(error.body(), status=error.code)
        return web.json_response(payload)

    def _race_first(self, request: web.Request, faults: list[AdminFault]) -> None:
        name = request.match_info.get("name")
        for fault in faults:
            if fault.kind == "race" and name is not None:
                for service in self._world.find_services(name=name):
                    self._race(service.key, fault.traffic)

    def _log(self, request: web.Request, response: web.StreamResponse) -> None:
        body, change, key = request.get(BODY, {}), request.get(CHANGE), request.get(KEY)
        metadata = body.get("metadata") if isinstance(body.get("metadata"), dict) else {}
        spec = body.get("spec") if isinstance(body.get("spec"), dict) else {}
        self._world.write_log.append(
            Write(
                at=clock.now(),
                method=request.method,
                key=key or ServiceKey(request.match_info.get("project", ""), "", request.match_info.get("name", "")),
                status=0 if request.transport is None or request.transport.is_closing() else response.status,
                user_agent=request.headers.get("User-Agent", ""),
                resource_version=str(metadata.get("resourceVersion", "")),
                traffic=spec.get("traffic") or [],
                annotations=dict(metadata.get("annotations") or {}),
                new_revision=change.revision.name if change is not None and change.revision is not None else "",
                applied=change is not None,
                account=request.get(ACCOUNT, ""),
            )
        )


async def _read_body(request: web.Request) -> Json:
    text = await request.text()
    if not text:
        return {}
    try:
        body = json.loads(text)
    except ValueError as error:
        raise ApiError(400, f"Invalid JSON payload received: {error}") from None
    if not isinstance(body, dict):
        raise ApiError(400, "Invalid JSON payload received: should be an object")
    return body


def _fail(request: web.Request, fault: AdminFault) -> web.StreamResponse:
    if fault.kind == "drop":
        return _drop(request)
    error = refusal(fault)
    headers = {} if fault.retry_after_s is None else {"Retry-After": str(fault.retry_after_s)}
    return web.json_response(error.body(), status=error.code, headers=headers)


def _drop(request: web.Request) -> web.StreamResponse:
    reset_connection(request.transport)
    return web.Response(status=503)  # goes nowhere
