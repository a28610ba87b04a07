"""IAM Credentials: access tokens of service accounts for whoever may have them, and whom a token stands for."""

import asyncio
from datetime import UTC, datetime
from itertools import count

from aiohttp import web

from watchdog.emulator import clock
from watchdog.emulator.api_errors import ApiError
from watchdog.emulator.gate import Gate, delay, refusal
from watchdog.emulator.scripting import reset_connection

PREFIX = "emulated-token-"
SCOPE = "https://www.googleapis.com/auth/cloud-platform"
LONGEST_S = 3600


class TokenMint:
    """Gives out tokens and knows them again. Anything that it has not given out stands for the default account."""

    def __init__(self, gate: Gate) -> None:
        self._gate = gate
        self._given: dict[str, tuple[str, float]] = {}
        self._numbers = count(1)
        self.asked = 0
        """Requests for a token so far."""

    def add_routes(self, app: web.Application) -> None:
        """Mount `generateAccessToken`."""
        app.router.add_post("/v1/projects/-/serviceAccounts/{account:[^:/]+}:generateAccessToken", self._generate)

    def clear(self) -> None:
        """Revoke every token."""
        self._given.clear()

    def account_of(self, request: web.Request) -> str:
        """The account that the request's token stands for, empty for the default one; raises `ApiError` 401."""
        token = request.headers.get("Authorization", "").removeprefix("Bearer ")
        if not token.startswith(PREFIX):
            return ""
        account, until = self._given.get(token, ("", 0.0))
        if clock.now() >= until:
            raise ApiError(401, "Request had invalid authentication credentials. Expected OAuth 2 access token.")
        return account

    async def _generate(self, request: web.Request) -> web.StreamResponse:
        self.asked += 1
        faults = self._gate.take_tokens()
        await delay(faults)
        fault = next((fault for fault in faults if fault.kind in {"status", "drop"}), None)
        try:
            if fault is not None and fault.kind == "drop":
                reset_connection(request.transport)
                await asyncio.sleep(0)
            if fault is not None:
                raise refusal(fault)
            return web.json_response(self._token(request.match_info["account"], await request.json()))
        except ApiError as error:
            return web.json_response(error.body(), status=error.code)

    def _token(self, account: str, body: object) -> dict[str, str]:
        if not isinstance(body, dict) or SCOPE not in (body.get("scope") or []):
            raise ApiError(400, "scope: at least one is required")
        lifetime = str(body.get("lifetime", "3600s")).removesuffix("s")
        if not lifetime.isdigit() or not 0 < int(lifetime) <= LONGEST_S:
            raise ApiError(400, f"lifetime: should be at most {LONGEST_S}s")
        if not self._gate.may_impersonate:
            raise ApiError(
                403,
                "Permission 'iam.serviceAccounts.getAccessToken' denied on resource (or it may not exist).",
            )
        token, until = f"{PREFIX}{next(self._numbers)}", clock.now() + int(lifetime)
        self._given[token] = (account, until)
        return {"accessToken": token, "expireTime": datetime.fromtimestamp(until, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")}
