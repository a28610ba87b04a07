"""Cloud Monitoring v3 as the sources need it: timings from descriptors, aligned series as plain numbers, our errors.

Google's client costs a quarter of a second and 34 MB to import, so nothing of it is loaded before the first question,
and then on a thread. It is made inside the running loop, which gRPC's asyncio channels belong to. `emulator_host`
(`CLOUD_MONITORING_EMULATOR_HOST`) means plaintext and no credentials; otherwise Application Default Credentials.
"""

import asyncio
import importlib
import os
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from watchdog.errors import PermanentError, TemporaryError, WatchdogError
from watchdog.sources.monitoring_messages import Line, Number, SeriesQuery, build_request, quoted, read_value

if TYPE_CHECKING:
    from google.cloud.monitoring_v3 import MetricServiceAsyncClient

CALL_TIMEOUT_S = 10.0
SCOPE = "https://www.googleapis.com/auth/monitoring.read"
LEAST_PERIOD_S = 60.0
"""For a descriptor that announces no sampling period: the shortest alignment that the API takes
(google/monitoring/v3/common.proto, `alignment_period`)."""
ROLE = "roles/monitoring.viewer"
CHANNEL_OPTIONS = (
    ("grpc.max_receive_message_length", -1),
    # gRPC waits up to 2 minutes before it connects again; our caller asks every minute and wants to know.
    ("grpc.max_reconnect_backoff_ms", 5000),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Timing:
    """What a metric's descriptor announces: how often it is sampled, after how long a point can be read, and of which
    kind (`GAUGE`, `DELTA`, `CUMULATIVE`) and type (`INT64`, `DOUBLE`, `DISTRIBUTION`, …) its points are."""

    period_s: float
    lag_s: float
    kind: str = ""
    value_type: str = ""


class MonitoringClient:
    """Reads Cloud Monitoring. Every call ends within `timeout_s`; nothing is retried here, the caller asks again."""

    def __init__(self, *, emulator_host: str | None = None, timeout_s: float = CALL_TIMEOUT_S) -> None:
        self._emulator_host = emulator_host
        self._timeout_s = timeout_s
        self._lock = asyncio.Lock()
        self._client: MetricServiceAsyncClient | None = None
        self._timings: dict[tuple[str, str], Mapping[str, Timing]] = {}

    async def close(self) -> None:
        """Close the channel. A later call opens a new one."""
        async with self._lock:
            client, self._client = self._client, None
        if client is not None:
            transport: Any = client.transport
            await transport.close()

    async def timings(self, project: str, prefix: str) -> Mapping[str, Timing]:
        """Metric type → timing for every type that begins with `prefix`; asked once a project, then remembered.

        Raises `TemporaryError` or `PermanentError`.
        """
        known = self._timings.get((project, prefix))
        if known is not None:
            return known
        found: dict[str, Timing] = {}
        async with self._asking(f"the metric descriptors of project {project}") as client:
            request = {"name": f"projects/{project}", "filter": f"metric.type = starts_with({quoted(prefix)})"}
            async for descriptor in await client.list_metric_descriptors(
                request=request, timeout=self._timeout_s, retry=None
            ):
                period_s = descriptor.metadata.sample_period.ToMicroseconds() / 1e6
                lag_s = descriptor.metadata.ingest_delay.ToMicroseconds() / 1e6
                found[descriptor.type] = Timing(
                    period_s=period_s or LEAST_PERIOD_S,
                    lag_s=lag_s,
                    kind=_enum_name(descriptor, "metric_kind"),
                    value_type=_enum_name(descriptor, "value_type"),
                )
        if not found:
            raise TemporaryError(f"Cloud Monitoring lists no metric {prefix}… in project {project} yet.")
        self._timings[project, prefix] = found
        return found

    async def lines(self, query: SeriesQuery) -> list[Line]:
        """The series that answer `query`; none when nothing was measured. Raises `TemporaryError`, `PermanentError`."""
        # A metric may belong to several resources: what tells series apart is both their labels.
        found: dict[tuple[tuple[str, str], ...], dict[int, Number | None]] = {}
        kept: dict[tuple[tuple[str, str], ...], Mapping[str, str]] = {}
        async with self._asking(f"{query.metric} of project {query.project}") as client:
            pager = await client.list_time_series(request=build_request(query), timeout=self._timeout_s, retry=None)
            async for series in pager:
                message = type(series).pb(series)
                # A series that fills a page goes on in the next one, under the same labels.
                labels = dict(message.metric.labels)
                resource = {f"resource.{key}": value for key, value in message.resource.labels.items()}
                key = tuple(sorted((labels | resource).items()))
                kept[key] = labels
                points = found.setdefault(key, {})
                for point in message.points:
                    points[point.interval.end_time.ToMicroseconds()] = read_value(point.value, query.scale)
        return [Line(labels=kept[key], points=points) for key, points in found.items()]

    @asynccontextmanager
    async def _asking(self, what: str) -> "AsyncIterator[MetricServiceAsyncClient]":
        """Give the client, and turn whatever goes wrong into our errors."""
        try:
            client = await self._connected()
            from google.api_core import exceptions  # noqa: PLC0415 - loaded with the client, not with this module
        except WatchdogError:
            raise
        except TimeoutError:
            raise TemporaryError("Google's credentials could not be read in time.") from None
        try:
            yield client
        except exceptions.GoogleAPICallError as error:
            raise _mapped(error, what, exceptions) from error
        except (exceptions.GoogleAPIError, OSError) as error:
            raise TemporaryError(f"Cloud Monitoring could not be asked for {what}: {error}") from error

    async def _connected(self) -> "MetricServiceAsyncClient":
        async with self._lock:
            if self._client is None:
                kind, transport, insecure_channel = await asyncio.to_thread(_load)
                if self._emulator_host:
                    made = transport(channel=insecure_channel(self._emulator_host, options=CHANNEL_OPTIONS))
                else:
                    made = await self._authenticated(transport)
                self._client = kind(transport=made)
            return self._client

    async def _authenticated(self, transport: Any) -> Any:
        async with asyncio.timeout(self._timeout_s):
            credentials = await asyncio.to_thread(_default_credentials)

        def channel(host: str, **settings: Any) -> Any:
            return transport.create_channel(host, **(settings | {"options": CHANNEL_OPTIONS}))

        return transport(credentials=credentials, channel=channel)


def _load() -> tuple[Any, Any, Any]:
    """Google's client, its asyncio transport, and gRPC's plaintext channel."""
    # Else gRPC's C++ core writes lines of its own into our structured logs.
    os.environ.setdefault("GRPC_VERBOSITY", "ERROR")
    monitoring = importlib.import_module("google.cloud.monitoring_v3")
    transports = importlib.import_module("google.cloud.monitoring_v3.services.metric_service.transports.grpc_asyncio")
    return (
        monitoring.MetricServiceAsyncClient,
        transports.MetricServiceGrpcAsyncIOTransport,
        importlib.import_module("grpc.aio").insecure_channel,
    )


def _default_credentials() -> Any:
    from google.auth import default  # noqa: PLC0415 - loaded when first needed
    from google.auth.exceptions import DefaultCredentialsError, GoogleAuthError  # noqa: PLC0415

    try:
        return default(scopes=(SCOPE,))[0]
    except DefaultCredentialsError as error:
        raise PermanentError(
            "Cloud Monitoring needs Google credentials and there are none: run with a service account that has "
            f"{ROLE}, or `gcloud auth application-default login` ({error})"
        ) from error
    except GoogleAuthError as error:
        raise TemporaryError(f"Google's credentials could not be read: {error}") from error


def _enum_name(message: Any, name: str) -> str:
    """The name of an enumerated field's value, empty for one that this version does not know."""
    found = message.DESCRIPTOR.fields_by_name[name].enum_type.values_by_number.get(getattr(message, name))
    return found.name if found is not None else ""


def _mapped(error: Any, what: str, exceptions: Any) -> WatchdogError:
    status = int(error.code) if error.code is not None else None
    said = str(error.message or error)
    if isinstance(error, exceptions.Unauthenticated):
        return PermanentError(
            f"Cloud Monitoring does not accept our credentials for {what}: use an account that has {ROLE} ({said})",
            status=status,
        )
    if isinstance(error, exceptions.PermissionDenied):
        return PermanentError(
            f"Cloud Monitoring refuses {what}: grant {ROLE} to the watchdog's service account ({said})", status=status
        )
    lasting: tuple[type[Exception], ...] = (
        exceptions.InvalidArgument,
        exceptions.NotFound,
        exceptions.FailedPrecondition,
        exceptions.MethodNotImplemented,
    )
    if isinstance(error, lasting):
        return PermanentError(
            f"Cloud Monitoring cannot answer {what}: {said} (reading it needs {ROLE} and the project's right name)",
            status=status,
        )
    return TemporaryError(f"Cloud Monitoring did not answer {what}: {said}")
