"""An emulated Cloud Monitoring with Google's own client, a clock that the test turns, and a ledger to feed it."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import grpc
import grpc.aio
from google.cloud import monitoring_v3
from google.cloud.monitoring_v3.services.metric_service.transports import MetricServiceGrpcAsyncIOTransport
from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp

from watchdog.emulator.ledger import Ledger, Request
from watchdog.emulator.monitoring import MonitoringServer

T = 1_800_000_000.0
"""A whole minute, and a whole multiple of every period used here."""
PROJECT = "barq-fleet"
COUNT = "run.googleapis.com/request_count"
LATENCIES = "run.googleapis.com/request_latencies"
CPU = "run.googleapis.com/container/cpu/utilizations"
MEMORY = "run.googleapis.com/container/memory/utilizations"
INSTANCES = "run.googleapis.com/container/instance_count"
CONCURRENCIES = "run.googleapis.com/container/max_request_concurrencies"

Aligner = monitoring_v3.Aggregation.Aligner
Reducer = monitoring_v3.Aggregation.Reducer


@dataclass
class Clock:
    """Unix seconds, as the test sets them."""

    at: float = T

    def __call__(self) -> float:
        return self.at


@dataclass
class World:
    clock: Clock
    ledger: Ledger
    server: MonitoringServer
    client: monitoring_v3.MetricServiceAsyncClient
    _serial: int = field(default=0)

    def serve(
        self,
        *ended_at: float,
        status: int = 200,
        latency_ms: float = 50.0,
        revision: str = "api-00002",
        project: str = PROJECT,
    ) -> None:
        """Record one request for each moment."""
        for at in ended_at:
            self._serial += 1
            self.ledger.record(
                Request(
                    revision=revision,
                    service="api",
                    project=project,
                    region="us-central1",
                    ended_at=at,
                    latency_s=latency_ms / 1000.0,
                    status=status,
                    user_agent="test",
                    method="GET",
                    url="http://api.test/",
                    size_bytes=2,
                    remote_ip="127.0.0.1",
                    insert_id=f"request-{self._serial}",
                )
            )

    def request(
        self,
        metric: str = COUNT,
        *,
        start: float,
        end: float,
        where: str = "",
        aligner: Any = Aligner.ALIGN_NONE,
        reducer: Any = Reducer.REDUCE_NONE,
        period_s: float = 60.0,
        group_by: Sequence[str] = (),
        page_size: int = 0,
    ) -> monitoring_v3.ListTimeSeriesRequest:
        aggregation = monitoring_v3.Aggregation(
            per_series_aligner=aligner, cross_series_reducer=reducer, group_by_fields=group_by
        )
        if aligner:
            aggregation.alignment_period = Duration(seconds=int(period_s), nanos=round(period_s % 1 * 1e9))
        return monitoring_v3.ListTimeSeriesRequest(
            name=f"projects/{PROJECT}",
            filter=f'metric.type = "{metric}"{where}',
            interval=monitoring_v3.TimeInterval(start_time=stamp(start), end_time=stamp(end)),
            aggregation=aggregation,
            page_size=page_size,
        )

    async def query(self, request: monitoring_v3.ListTimeSeriesRequest) -> list[monitoring_v3.TimeSeries]:
        """All series of all pages, without the client's own retries."""
        return [series async for series in await self.client.list_time_series(request, retry=None, timeout=5.0)]

    async def ask(self, metric: str = COUNT, **options: Any) -> list[monitoring_v3.TimeSeries]:
        """The series that `request(…)` is answered with."""
        return await self.query(self.request(metric, **options))


@asynccontextmanager
async def emulated(ledger: Ledger | None = None, **options: Any) -> AsyncIterator[World]:
    """A running emulator; `options` go to `MonitoringServer`."""
    clock = Clock()
    book = ledger or Ledger()
    server = MonitoringServer(ledger=book, now=clock, **options)
    port = await server.start("127.0.0.1", 0)
    channel = grpc.aio.insecure_channel(f"127.0.0.1:{port}")
    client = monitoring_v3.MetricServiceAsyncClient(transport=MetricServiceGrpcAsyncIOTransport(channel=channel))
    try:
        yield World(clock=clock, ledger=book, server=server, client=client)
    finally:
        await channel.close(None)
        await server.stop()


def stamp(at: float) -> Timestamp:
    """`at`, Unix seconds, as protobuf writes it."""
    result = Timestamp()
    result.FromMicroseconds(round(at * 1e6))
    return result


def seconds(moment: Any) -> float:
    """A moment that the client read, in Unix seconds."""
    return float(moment.timestamp())


def ends(series: monitoring_v3.TimeSeries) -> list[float]:
    """When the points end, in the order in which they came."""
    return [seconds(point.interval.end_time) for point in series.points]


def ints(series: monitoring_v3.TimeSeries) -> list[int]:
    """The whole numbers of the points, in the order in which they came."""
    return [point.value.int64_value for point in series.points]
