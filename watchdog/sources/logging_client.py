"""Cloud Logging v2 as the request log needs it: one live tail or one list a call, our errors, lazily loaded.

Google's package costs 70 ms and 5 MB on top of Cloud Monitoring's, so nothing of it is loaded before the first session,
and then on a thread. Of it the messages and the authenticated channel are used, not the client: that wraps every
message once more, and a session has 500 a second. `emulator_host` (`CLOUD_LOGGING_EMULATOR_HOST`) means plaintext and
no credentials; otherwise Application Default Credentials.
"""

import asyncio
import importlib
import os
from collections.abc import AsyncGenerator
from typing import Any

from watchdog.errors import PermanentError, TemporaryError, WatchdogError
from watchdog.sources.log_messages import build_request

SCOPE = "https://www.googleapis.com/auth/logging.read"
ROLE = "roles/logging.viewer"
METHOD = "/google.logging.v2.LoggingServiceV2/TailLogEntries"
LIST = "/google.logging.v2.LoggingServiceV2/ListLogEntries"
PAGE = 1000
"""Entries that one call lists at most (google/logging/v2/logging.proto)."""
OPEN_S = 20.0
"""The longest that opening a session may take: connecting, TLS, credentials."""
STANDS_S = 2.0
"""A session that was sent and not refused for so long stands. Most servers say so at once, by their headers."""
REFUSAL_S = 0.05
"""From a refusal's headers to its status."""
CROWDED_S = 30.0
"""Before the next try when the project has too many sessions."""
CHANNEL_OPTIONS = (
    ("grpc.max_receive_message_length", -1),
    ("grpc.max_reconnect_backoff_ms", 5000),
    # A stream without traffic looks the same whether its peer lives or not; Google's own streaming clients ask every
    # 30 s as well.
    ("grpc.keepalive_time_ms", 30_000),
    ("grpc.keepalive_timeout_ms", 10_000),
    ("grpc.http2.max_pings_without_data", 0),
)
_LASTING = frozenset({"INVALID_ARGUMENT", "NOT_FOUND", "FAILED_PRECONDITION", "UNIMPLEMENTED"})


class LoggingClient:
    """Opens live tails. Nothing is retried here: whoever tails opens the next session."""

    def __init__(self, *, emulator_host: str | None = None) -> None:
        self._emulator_host = emulator_host
        self._lock = asyncio.Lock()
        self._channel: Any = None
        self._messages: Any = None

    async def close(self) -> None:
        """Close the channel, and every session with it. A later call opens a new one."""
        async with self._lock:
            channel, self._channel = self._channel, None
        if channel is not None:
            await channel.close(None)

    async def load(self) -> None:
        """Import and connect, which is slow the first time. Raises `PermanentError` or `TemporaryError`."""
        try:
            await self._connected()
        except OSError as error:
            raise TemporaryError(f"Cloud Logging could not be reached: {error}") from error

    async def tail(self, project: str, text: str) -> AsyncGenerator[Any, None]:
        """Yields None once the session stands, then every `TailLogEntriesResponse`, until the session ends.

        It always ends with an error: `TemporaryError` (`delay_s` 0 when Logging only asks for a new session), or
        `PermanentError`. Close the generator to end the session.
        """
        from grpc import RpcError  # noqa: PLC0415 - loaded when first needed

        tasks: list[asyncio.Task[Any]] = []
        call = None
        try:
            async with asyncio.timeout(OPEN_S):
                call = await self._begin(project, text)
            tasks = [asyncio.create_task(call.read()), asyncio.create_task(call.initial_metadata())]
            await asyncio.wait(tasks, timeout=STANDS_S, return_when=asyncio.FIRST_COMPLETED)
            await asyncio.wait(tasks[:1], timeout=REFUSAL_S)
            if tasks[0].done():
                tasks[0].result()  # a refusal
            yield None
            message = await tasks[0]
            while message:
                yield message
                message = await call.read()
        except WatchdogError:
            raise
        except TimeoutError:
            raise TemporaryError(f"Cloud Logging opened no session for project {project} in {OPEN_S:.0f} s.") from None
        except RpcError as error:
            raise _mapped(error, project) from error
        except OSError as error:
            raise TemporaryError(f"Cloud Logging could not be asked for project {project}: {error}") from error
        finally:
            if call is not None:
                call.cancel()
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        raise TemporaryError(f"Cloud Logging ended the session of project {project}.")

    async def newest(self, project: str, text: str) -> list[Any]:
        """The newest entries that the filter selects, newest first, `PAGE` at most. Raises `TemporaryError` or
        `PermanentError`. A project may list 60 times a minute (cloud.google.com/logging/quotas)."""
        from grpc import RpcError  # noqa: PLC0415 - loaded when first needed

        try:
            channel = await self._connected()
            request = self._messages.ListLogEntriesRequest.pb()()
            request.resource_names.append(f"projects/{project}")
            request.filter, request.order_by, request.page_size = text, "timestamp desc", PAGE
            call = channel.unary_unary(
                LIST,
                request_serializer=self._messages.ListLogEntriesRequest.pb().SerializeToString,
                response_deserializer=self._messages.ListLogEntriesResponse.pb().FromString,
            )
            return list((await call(request, timeout=OPEN_S)).entries)
        except RpcError as error:
            if error.code().name == "RESOURCE_EXHAUSTED":
                told = f"Cloud Logging lists nothing more of project {project} in this minute (60 a minute)"
                raise TemporaryError(told, delay_s=CROWDED_S) from error
            raise _mapped(error, project) from error
        except OSError as error:
            raise TemporaryError(f"Cloud Logging could not be asked for project {project}: {error}") from error

    async def _begin(self, project: str, text: str) -> Any:
        """A call whose one request has been sent."""
        channel = await self._connected()
        call = channel.stream_stream(
            METHOD,
            request_serializer=self._messages.TailLogEntriesRequest.pb().SerializeToString,
            response_deserializer=self._messages.TailLogEntriesResponse.pb().FromString,
        )()
        try:
            await call.write(build_request(project, text))
        except asyncio.InvalidStateError:
            pass  # refused already: reading says why
        except BaseException:
            call.cancel()
            raise
        return call

    async def _connected(self) -> Any:
        async with self._lock:
            if self._channel is None:
                self._messages, transport, insecure_channel = await asyncio.to_thread(_load)
                if self._emulator_host:
                    self._channel = insecure_channel(self._emulator_host, options=CHANNEL_OPTIONS)
                else:
                    credentials = await asyncio.to_thread(_default_credentials)
                    self._channel = transport.create_channel(
                        f"{transport.DEFAULT_HOST}:443",
                        credentials=credentials,
                        scopes=(SCOPE,),
                        options=CHANNEL_OPTIONS,
                    )
            return self._channel


def _load() -> tuple[Any, Any, Any]:
    """Google's messages, its asyncio transport (which knows host and TLS), and gRPC's plaintext channel."""
    # Else gRPC's C++ core writes lines of its own into our structured logs.
    os.environ.setdefault("GRPC_VERBOSITY", "ERROR")
    transports = importlib.import_module("google.cloud.logging_v2.services.logging_service_v2.transports.grpc_asyncio")
    return (
        importlib.import_module("google.cloud.logging_v2.types"),
        transports.LoggingServiceV2GrpcAsyncIOTransport,
        importlib.import_module("grpc.aio").insecure_channel,
    )


def _default_credentials() -> Any:
    from google.auth import default  # noqa: PLC0415 - loaded when first needed
    from google.auth.exceptions import DefaultCredentialsError, GoogleAuthError  # noqa: PLC0415

    try:
        return default(scopes=(SCOPE,))[0]
    except DefaultCredentialsError as error:
        raise PermanentError(
            "Cloud Logging needs Google credentials and there are none: run with a service account that has "
            f"{ROLE}, or `gcloud auth application-default login` ({error})"
        ) from error
    except GoogleAuthError as error:
        raise TemporaryError(f"Google's credentials could not be read: {error}") from error


def _mapped(error: Any, project: str) -> WatchdogError:
    code, said = error.code().name, error.details() or "no reason given"
    if code == "OUT_OF_RANGE":
        # "Session has run for the maximum allowed duration of 1h. To continue, start a new session".
        return TemporaryError(f"Cloud Logging asks for a new session: {said}", delay_s=0.0)
    if code == "RESOURCE_EXHAUSTED":
        return TemporaryError(
            f"Cloud Logging has no session left for project {project} (a project has 10): {said}", delay_s=CROWDED_S
        )
    if code in {"PERMISSION_DENIED", "UNAUTHENTICATED"}:
        return PermanentError(
            f"Cloud Logging refuses the request log of project {project}: grant {ROLE} to the watchdog's service "
            f"account, and see that the Logging API is enabled ({said})",
            status=403 if code == "PERMISSION_DENIED" else 401,
        )
    if code in _LASTING:
        return PermanentError(f"Cloud Logging cannot tail the request log of project {project}: {said}")
    return TemporaryError(f"Cloud Logging's session for project {project} broke: {code.lower()}, {said}")
