"""The token of another service account, by IAM Credentials: one identity reads, another one writes.

Its right to write is then nowhere in the process that answers the web; it is lent for an hour at a time to whoever may
have it (`iam.serviceAccounts.getAccessToken`), and each time stands in the audit log.
"""

import asyncio
from dataclasses import dataclass

import aiohttp
import structlog

from watchdog.errors import TemporaryError, WatchdogError
from watchdog.ports import Clock
from watchdog.transport.google import CLOUD_PLATFORM, GoogleTokens
from watchdog.transport.http import Peer, request_json

API = "https://iamcredentials.googleapis.com"
PERMISSION = "iam.serviceAccounts.getAccessToken"
LIFETIME_S = 3600
"""The longest that Google gives without an organisation policy that allows more."""
AHEAD_S = 600.0
"""A token is replaced this long before it expires, while it still serves."""
LEAST_S = 30.0
"""A token that has less than this left is not used for a write any more."""

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class _Held:
    token: str
    expires: float
    """Monotonic seconds."""


class Impersonated:
    """One service account's tokens, for everybody in the process. Without `tokens` no credentials of our own are sent,
    which is right for an emulator only."""

    def __init__(
        self,
        session: aiohttp.ClientSession,
        tokens: GoogleTokens | None,
        clock: Clock,
        *,
        account: str,
        api_url: str = API,
    ) -> None:
        self.account = account
        self._session = session
        self._tokens = tokens
        self._clock = clock
        self._url = f"{api_url.rstrip('/')}/v1/projects/-/serviceAccounts/{account}:generateAccessToken"
        self._held: _Held | None = None
        self._fetching: asyncio.Task[_Held] | None = None
        self._peer = Peer(
            name="IAM Credentials",
            hints={
                403: f"Grant the watchdog's account {PERMISSION} on {account} (roles/iam.serviceAccountTokenCreator) "
                "and enable iamcredentials.googleapis.com",
                404: f"There is no service account {account}: check rollback.impersonate",
            },
        )

    async def headers(self) -> dict[str, str]:
        """`Authorization` as that account.

        Raises TemporaryError when no token came, and PermanentError when we may not have one."""
        now = self._clock.monotonic()
        left = self._held.expires - now if self._held is not None else 0.0
        if left < AHEAD_S and (self._fetching is None or self._fetching.done()):
            self._fetching = asyncio.create_task(self._fetch(), name=f"impersonate/{self.account}")
            self._fetching.add_done_callback(self._note)
        if self._held is None or left < LEAST_S:
            assert self._fetching is not None  # noqa: S101 - so little is left that it was asked for above
            return _bearer(await asyncio.shield(self._fetching))
        return _bearer(self._held)

    def forget(self) -> None:
        """Drop the token: somebody answered 401 to it, so it was revoked before its time."""
        self._held = None

    async def close(self) -> None:
        """Stop asking."""
        if self._fetching is not None and not self._fetching.done():
            self._fetching.cancel()
            await asyncio.wait([self._fetching])

    async def _fetch(self) -> _Held:
        doing = f"Taking a token of {self.account}"
        began = self._clock.monotonic()  # counted from here, whatever either side's clock says
        headers = await self._tokens.headers() if self._tokens is not None else None
        body = {"scope": [CLOUD_PLATFORM], "lifetime": f"{LIFETIME_S}s"}
        answer = await request_json(
            self._session, self._peer, "POST", self._url, doing=doing, json=body, headers=headers
        )
        token = answer.get("accessToken")
        if not isinstance(token, str) or not token:
            raise TemporaryError(f"{doing}: IAM Credentials answered without a token")
        self._held = _Held(token, began + LIFETIME_S)
        return self._held

    def _note(self, task: "asyncio.Task[_Held]") -> None:
        """One that failed in the background has nobody who would hear of it."""
        if not task.cancelled() and isinstance(error := task.exception(), WatchdogError):
            _log.warning("impersonation_failed", account=self.account, error=str(error))


def _bearer(held: _Held) -> dict[str, str]:
    return {"Authorization": f"Bearer {held.token}"}
