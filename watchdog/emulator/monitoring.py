"""Cloud Monitoring v3 over plaintext gRPC, fed by the emulator's own traffic: good enough for Google's own client.

Served are `ListTimeSeries`, `GetMetricDescriptor` and `ListMetricDescriptors`; every other method is UNIMPLEMENTED. The
pip package ships messages but no server stubs, so the handlers are put together from the messages' own serialisers.
"""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import grpc
import grpc.aio
from aiohttp import web
from google.api.metric_pb2 import MetricDescriptor
from google.cloud.monitoring_v3 import types

from watchdog.emulator import clock
from watchdog.emulator.descriptors import LATENCY_BUCKETS, Metric, describe
from watchdog.emulator.distribution import Buckets
from watchdog.emulator.ledger import Ledger
from watchdog.emulator.monitoring_faults import FaultBook, FaultKind, MonitoringFault
from watchdog.emulator.monitoring_filter import InvalidFilterError, matches, parse
from watchdog.emulator.monitoring_query import RefusedError, answer, invalid, project_of, select, understand
from watchdog.emulator.monitoring_samples import Samples
from watchdog.emulator.scripted_series import Script, ScriptedSeries
from watchdog.emulator.scripting import read_model, unprocessable
from watchdog.emulator.shared_metrics import ALL, SCRIPTED

SERVICE = "google.monitoring.v3.MetricService"
CONTAINER_INGEST_DELAY_S = 60.0
"""Google's metric list: CPU and memory are visible after 60 s, all other Cloud Run metrics after 180 s."""
MOST_DESCRIPTORS = 10_000
LONGEST_HANG_S = 3600.0

_REFUSALS: dict[str, tuple[grpc.StatusCode, str]] = {
    "unavailable": (grpc.StatusCode.UNAVAILABLE, "The service is currently unavailable."),
    "permission_denied": (
        grpc.StatusCode.PERMISSION_DENIED,
        "Permission monitoring.timeSeries.list denied (or the resource may not exist).",
    ),
    "resource_exhausted": (
        grpc.StatusCode.RESOURCE_EXHAUSTED,
        "Quota exceeded for 'Time series queries per minute' of service 'monitoring.googleapis.com'.",
    ),
    "internal": (grpc.StatusCode.INTERNAL, "Internal error encountered."),
}

# The protobuf messages beneath the proto-plus ones.
_MESSAGES: dict[str, tuple[Any, Any]] = {
    "ListTimeSeries": (types.ListTimeSeriesRequest.pb(), types.ListTimeSeriesResponse.pb()),
    "GetMetricDescriptor": (types.GetMetricDescriptorRequest.pb(), MetricDescriptor),
    "ListMetricDescriptors": (types.ListMetricDescriptorsRequest.pb(), types.ListMetricDescriptorsResponse.pb()),
}


class MonitoringServer:
    """The emulated API over the requests and the usage in `ledger`."""

    def __init__(
        self,
        *,
        ledger: Ledger,
        sample_period_s: float = 60.0,
        ingest_delay_s: float = 180.0,
        container_ingest_delay_s: float | None = None,
        latency_edges_ms: Sequence[float] | None = None,
        now: Callable[[], float] = clock.now,
    ) -> None:
        """Requests that `ledger` already holds are counted too.

        `container_ingest_delay_s` concerns CPU and memory; by default 60 s, or `ingest_delay_s` where that is shorter.
        `latency_edges_ms` replaces the exponential buckets of request latencies; `ValueError` when not ascending.
        `now` gives Unix seconds.
        """
        if sample_period_s <= 0 or ingest_delay_s < 0:
            raise ValueError(
                "sample_period_s must be above 0 and ingest_delay_s must not be negative, "
                f"got {sample_period_s} and {ingest_delay_s}"
            )
        self.sample_period_s = sample_period_s
        self.ingest_delay_s = ingest_delay_s
        self.container_ingest_delay_s = (
            min(CONTAINER_INGEST_DELAY_S, ingest_delay_s)
            if container_ingest_delay_s is None
            else container_ingest_delay_s
        )
        self.calls: Counter[str] = Counter()
        """How often each method was called, refused calls included."""
        self.port: int | None = None
        self._now = now
        self._faults = FaultBook()
        self._samples = Samples(
            ledger=ledger,
            period_s=sample_period_s,
            latency_buckets=LATENCY_BUCKETS if latency_edges_ms is None else Buckets.explicit(latency_edges_ms),
            hold_back=lambda: self._faults.hold_back(now()),
        )
        self._scripted = ScriptedSeries(period_s=sample_period_s)
        for request in ledger.since(0)[0]:
            self._samples.record(request)
        ledger.subscribe(self._samples.record)
        self._server: grpc.aio.Server | None = None

    async def start(self, host: str, port: int) -> int:
        """Serve on `host:port` (0 takes a free one); returns the port. `RuntimeError` when the address is taken."""
        if self._server is not None:
            raise RuntimeError("this Cloud Monitoring emulator is already running")
        server = grpc.aio.server(options=(("grpc.so_reuseport", 0),))
        handlers = {
            name: grpc.unary_unary_rpc_method_handler(
                self._guarded(name, behaviour),
                request_deserializer=_MESSAGES[name][0].FromString,
                response_serializer=_MESSAGES[name][1].SerializeToString,
            )
            for name, behaviour in (
                ("ListTimeSeries", self._list_time_series),
                ("GetMetricDescriptor", self._get_metric_descriptor),
                ("ListMetricDescriptors", self._list_metric_descriptors),
            )
        }
        server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, handlers),))
        self.port = server.add_insecure_port(f"{host}:{port}")
        await server.start()
        self._server = server
        return self.port

    async def stop(self) -> None:
        """Cut every call that is under way and give the port back."""
        server, self._server, self.port = self._server, None, None
        if server is not None:
            await server.stop(None)

    def set_fault(self, kind: FaultKind, **options: Any) -> MonitoringFault:
        """Put a fault in force; `options` are the fields of `MonitoringFault`. `ValueError` when they don't fit."""
        fault = MonitoringFault.model_validate({"kind": kind, **options})
        self._faults.add(fault, now=self._now())
        return fault

    def clear_faults(self) -> None:
        """End every fault; requests that a `late` one holds back still come late."""
        self._faults.clear()

    def faults(self) -> list[MonitoringFault]:
        """Faults in force, with the calls that are left to them."""
        return self._faults.active(self._now())

    def clear(self) -> None:
        """Forget every sample, as when the ledger is cleared."""
        self._samples.clear()
        self._scripted.clear()

    def script(self, metric: str, value: float | None, **fields: Any) -> None:
        """Say what a series of a metric without a maker shows from now on; `fields` are those of `Script`."""
        self._scripted.put(Script.model_validate({"metric": metric, "value": value, **fields}), now=self._now())

    def ingest_delay_of(self, metric: Metric) -> float:
        """Seconds between the end of a point of `metric` and the moment at which it can be read."""
        return self.container_ingest_delay_s if metric.from_container else self.ingest_delay_s

    def _guarded(
        self, method: str, behaviour: Callable[[Any, frozenset[str]], Any]
    ) -> Callable[[Any, "grpc.aio.ServicerContext[Any, Any]"], Awaitable[Any]]:
        async def handle(request: Any, context: "grpc.aio.ServicerContext[Any, Any]") -> Any:
            self.calls[method] += 1
            met = self._faults.take(method, f"{request.name} {getattr(request, 'filter', '')}", now=self._now())
            for fault in met:
                if fault.kind == "latency":
                    await asyncio.sleep(fault.latency_s)
                elif fault.kind == "deadline":
                    await asyncio.sleep(fault.latency_s or LONGEST_HANG_S)
            try:
                for fault in met:
                    if fault.kind in _REFUSALS:
                        raise RefusedError(*_REFUSALS[fault.kind])
                return behaviour(request, frozenset(fault.kind for fault in met))
            except RefusedError as refused:
                await context.abort(refused.code, refused.message)

        return handle

    def _list_time_series(self, request: Any, faults: frozenset[str]) -> Any:
        query = understand(request, sample_period_s=self.sample_period_s)
        held = self._scripted if query.metric.type in SCRIPTED else self._samples
        delay_us = round(self.ingest_delay_of(query.metric) * 1e6)
        return answer(
            request,
            query,
            lambda now_us: [] if "empty" in faults else select(query, held, now_us=now_us - delay_us),
            now_us=round(self._now() * 1e6),
            as_nan="nan" in faults,
        )

    def _get_metric_descriptor(self, request: Any, _faults: frozenset[str]) -> MetricDescriptor:
        project = project_of(request.name)
        name = request.name.removeprefix(f"projects/{project}/metricDescriptors/")
        if name not in ALL:
            raise RefusedError(grpc.StatusCode.NOT_FOUND, f"Could not find descriptor for metric '{name}'.")
        return self._describe(ALL[name], project)

    def _list_metric_descriptors(self, request: Any, faults: frozenset[str]) -> Any:
        project = project_of(request.name)
        try:
            expression = parse(request.filter)
        except InvalidFilterError as error:
            raise invalid(str(error)) from error
        found = [
            self._describe(metric, project)
            for metric in ALL.values()
            if not request.active_only or self._active(metric, project)
            if matches(expression, {"metric.type": metric.type, "resource.type": metric.resource, "project": project})
        ]
        start = int(request.page_token) if request.page_token.isdecimal() else 0
        size = request.page_size if 0 < request.page_size < MOST_DESCRIPTORS else MOST_DESCRIPTORS
        response = _MESSAGES["ListMetricDescriptors"][1]()
        if "empty" not in faults:
            response.metric_descriptors.extend(found[start : start + size])
            response.next_page_token = str(start + size) if start + size < len(found) else ""
        return response

    def _active(self, metric: Metric, project: str) -> bool:
        return (self._scripted if metric.type in SCRIPTED else self._samples).has_data(project)

    def _describe(self, metric: Metric, project: str) -> MetricDescriptor:
        return describe(
            metric,
            project=project,
            sample_period_s=self.sample_period_s,
            ingest_delay_s=self.ingest_delay_of(metric),
        )


def add_control_routes(app: web.Application, server: MonitoringServer) -> None:
    """Script `server` over HTTP.

    * `GET /emulator/monitoring`: its settings, calls and faults
    * `POST /emulator/monitoring/faults`: one `MonitoringFault`; 201, or 422 with a sentence
    * `DELETE /emulator/monitoring/faults`: ends them all
    * `PUT /emulator/monitoring/series`: one `Script`, a series of Cloud SQL, Memorystore, …; 204, or 422
    * `DELETE /emulator/monitoring/samples`: forgets every sample
    """

    async def show(_request: web.Request) -> web.Response:
        return web.json_response(
            {
                "port": server.port,
                "sample_period_s": server.sample_period_s,
                "ingest_delay_s": server.ingest_delay_s,
                "container_ingest_delay_s": server.container_ingest_delay_s,
                "calls": dict(server.calls),
                "faults": [fault.model_dump() for fault in server.faults()],
            }
        )

    async def add(request: web.Request) -> web.Response:
        fault = await read_model(request, MonitoringFault)
        server.set_fault(**fault.model_dump())
        return web.json_response(fault.model_dump(), status=201)

    async def clear_faults(_request: web.Request) -> web.Response:
        server.clear_faults()
        return web.Response(status=204)

    async def script(request: web.Request) -> web.Response:
        read = await read_model(request, Script)
        try:
            server.script(**read.model_dump())
        except ValueError as error:
            raise unprocessable(str(error)) from error
        return web.Response(status=204)

    async def clear_samples(_request: web.Request) -> web.Response:
        server.clear()
        return web.Response(status=204)

    app.router.add_get("/emulator/monitoring", show)
    app.router.add_post("/emulator/monitoring/faults", add)
    app.router.add_delete("/emulator/monitoring/faults", clear_faults)
    app.router.add_put("/emulator/monitoring/series", script)
    app.router.add_delete("/emulator/monitoring/samples", clear_samples)
