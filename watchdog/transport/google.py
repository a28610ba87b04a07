"""Google's tokens: Application Default Credentials, refreshed ahead of time and once for everybody in the process.

google-auth asks the network in blocking calls, so that happens in a thread of its own; it is imported only then,
because it costs 80 ms and 16 MB that an emulator or a client verb never needs.
"""

import asyncio
import contextlib
import functools
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVar, cast

import structlog

from watchdog.errors import PermanentError, TemporaryError
from watchdog.transport.http import scrub

if TYPE_CHECKING:
    from google.auth.credentials import Credentials
    from google.auth.transport import Request

_T = TypeVar("_T")
_log = structlog.get_logger(__name__)

CLOUD_PLATFORM = "https://www.googleapis.com/auth/cloud-platform"
_TOKEN_CALL_S = 5.0
_TOKEN_TOTAL_S = 20.0
_HOW_TO_GET_CREDENTIALS = (
    "Run `gcloud auth application-default login`, or set GOOGLE_APPLICATION_CREDENTIALS to a credentials file, "
    "or run where a service account is attached"
)
_HOW_TO_GET_ID_TOKENS = (
    "ID tokens need a service account: run where one is attached, or set GOOGLE_APPLICATION_CREDENTIALS to a "
    "service account's (or an impersonating) credentials file"
)

LoadCredentials = Callable[["Request"], "Credentials"]
"""Finds credentials, perhaps by asking the network; runs in a thread."""


class GoogleTokens:
    """Access tokens and ID tokens of Application Default Credentials, for everybody in the process.

    A token is refreshed about four minutes before it expires, in the background and once for all who ask: no rollback
    waits for a token while the old one still serves. `load` replaces the search for credentials in tests.
    """

    def __init__(
        self,
        *,
        load: LoadCredentials | None = None,
        load_id: Callable[[str], LoadCredentials] | None = None,
    ) -> None:
        self._access = _Keeper(load or _default_credentials, "A Google access token", _HOW_TO_GET_CREDENTIALS)
        self._load_id = load_id or _id_credentials
        self._ids: dict[str, _Keeper] = {}

    async def headers(self) -> dict[str, str]:
        """`Authorization` and, where the credentials name one, the project that pays for the quota."""
        headers: dict[str, str] = {}
        (await self._access.credentials()).apply(headers)  # type: ignore[no-untyped-call]
        return headers

    async def access_token(self) -> str:
        """An OAuth access token for Google Cloud. Raises TemporaryError, or PermanentError saying how to get one."""
        return str((await self._access.credentials()).token)

    async def id_token(self, audience: str) -> str:
        """An OpenID Connect token for a service that only lets known identities in; same errors."""
        keeper = self._ids.get(audience)
        if keeper is None:
            keeper = _Keeper(self._load_id(audience), f"An ID token for {audience}", _HOW_TO_GET_ID_TOKENS)
            self._ids[audience] = keeper
        return str((await keeper.credentials()).token)

    def forget(self) -> None:
        """Drop the access token: somebody answered 401 to it, so it was revoked before its time."""
        self._access.forget()

    async def close(self) -> None:
        """Stop refreshing. A thread that still waits for the network ends by itself and delays nobody."""
        for keeper in (self._access, *self._ids.values()):
            await keeper.close()


class _Keeper:
    """One set of credentials and the single refresh under way for it."""

    def __init__(self, load: LoadCredentials, what: str, todo: str) -> None:
        self._load = load
        self._what = what
        self._todo = todo
        self._credentials: Credentials | None = None
        self._refreshing: asyncio.Task[Credentials] | None = None
        self._last_failure = ""

    async def credentials(self) -> "Credentials":
        """Credentials whose token can be used now."""
        from google.auth.credentials import TokenState  # noqa: PLC0415 - only when it is needed

        held = self._credentials
        state = held.token_state if held is not None else TokenState.INVALID
        if held is not None and state is TokenState.FRESH:
            return held
        if self._refreshing is None or self._refreshing.done():
            self._refreshing = asyncio.create_task(self._refresh(), name="google-token")
            self._refreshing.add_done_callback(self._note)
        if held is not None and state is TokenState.STALE:
            return held
        return await asyncio.shield(self._refreshing)

    def forget(self) -> None:
        self._credentials = None

    async def close(self) -> None:
        if self._refreshing is not None:
            self._refreshing.cancel()
            await asyncio.wait([self._refreshing])

    async def _refresh(self) -> "Credentials":
        try:
            self._credentials = await asyncio.wait_for(_in_thread(self._refresh_in_thread), _TOKEN_TOTAL_S)
        except TimeoutError:
            raise TemporaryError(f"{self._what} did not come within {_TOKEN_TOTAL_S:g} s") from None
        except PermanentError:
            # Somebody may log in again or mount another file: look for credentials afresh, once these are used up.
            if self._credentials is not None and not self._credentials.valid:
                self._credentials = None
            raise
        return self._credentials

    def _refresh_in_thread(self) -> "Credentials":
        import google.auth.exceptions as google_errors  # noqa: PLC0415
        import requests  # noqa: PLC0415
        from google.auth.transport.requests import Request as RequestsRequest  # noqa: PLC0415

        try:
            with requests.Session() as session:
                call = cast("Request", functools.partial(RequestsRequest(session), timeout=_TOKEN_CALL_S))
                credentials = self._credentials or self._load(call)
                credentials.refresh(call)  # type: ignore[no-untyped-call]
        except google_errors.GoogleAuthError as error:
            cause = scrub(str(error.args[0]) if error.args else type(error).__name__)
            unreachable = isinstance(error, google_errors.TransportError)
            unreachable = unreachable or isinstance(error.__cause__, google_errors.TransportError)
            if error.retryable or unreachable:
                raise TemporaryError(f"{self._what} could not be had: {cause}") from None
            raise PermanentError(f"{self._what} could not be had: {cause.rstrip('.')}. {self._todo}") from None
        except (OSError, ValueError) as error:  # an unreadable or malformed credentials file
            raise PermanentError(f"{self._what} could not be had: {scrub(str(error))}. {self._todo}") from None
        return credentials

    def _note(self, task: "asyncio.Task[Credentials]") -> None:
        """Log a change, because a failed refresh in the background has nobody who would hear of it."""
        if task.cancelled():
            return
        failure = str(task.exception() or "")
        if failure and failure != self._last_failure:
            _log.warning("google_token_refresh_failed", what=self._what, error=failure)
        elif self._last_failure and not failure:
            _log.info("google_token_refresh_recovered", what=self._what)
        self._last_failure = failure


def _default_credentials(call: "Request") -> "Credentials":
    import google.auth  # noqa: PLC0415

    credentials, _project = google.auth.default(scopes=[CLOUD_PLATFORM], request=call)
    return credentials


def _id_credentials(audience: str) -> LoadCredentials:
    def load(call: "Request") -> "Credentials":
        from google.oauth2.id_token import fetch_id_token_credentials  # noqa: PLC0415

        found = fetch_id_token_credentials(audience, request=call)  # type: ignore[no-untyped-call]
        return cast("Credentials", found)

    return load


async def _in_thread(work: Callable[[], _T]) -> _T:
    """Run blocking work in a daemon thread: unlike the loop's own executor it is never waited for at exit."""
    loop = asyncio.get_running_loop()
    outcome: asyncio.Future[_T] = loop.create_future()

    def settle(result: _T | None, error: BaseException | None) -> None:
        if outcome.done():
            return
        if error is not None:
            outcome.set_exception(error)
        else:
            outcome.set_result(result)  # type: ignore[arg-type] # T itself may be None

    def run() -> None:
        result, failure = None, None
        try:
            result = work()
        except Exception as error:  # noqa: BLE001 - handed to whoever awaits, not swallowed
            failure = error
        with contextlib.suppress(RuntimeError):  # the loop has closed meanwhile: nobody waits any more
            loop.call_soon_threadsafe(settle, result, failure)

    threading.Thread(target=run, name="google-auth", daemon=True).start()
    return await outcome
