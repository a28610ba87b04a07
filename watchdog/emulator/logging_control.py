"""Scripts the emulated Cloud Logging over HTTP, as `monitoring.add_control_routes` does for Monitoring."""

from typing import Annotated

from aiohttp import web
from pydantic import BaseModel, ConfigDict, Field

from watchdog.emulator import clock
from watchdog.emulator.app_log import Severity
from watchdog.emulator.logging import LoggingServer
from watchdog.emulator.logging_faults import LoggingFault
from watchdog.emulator.scripting import read_model


class Entries(BaseModel):
    """What a container wrote, `count` times."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    project: str = "barq-fleet"
    region: str = "us-central1"
    service: str = "barq-fleet-api"
    revision: str
    text: str
    severity: Severity = "ERROR"
    trace: str = ""
    log_id: str = "run.googleapis.com/stderr"
    count: Annotated[int, Field(ge=1, le=10_000)] = 1
    ago_s: Annotated[float, Field(ge=0)] = 0.0


def add_logging_routes(app: web.Application, server: LoggingServer) -> None:
    """Mount these.

    * `GET /emulator/logging`: its settings, sessions with their filters, entries delivered, and faults
    * `POST /emulator/logging/faults`: one `LoggingFault`; 201, or 422 with a sentence
    * `DELETE /emulator/logging/faults`: ends them all
    * `POST /emulator/logging/entries`: one `Entries`, what a container wrote; 201
    """

    async def show(_request: web.Request) -> web.Response:
        return web.json_response(
            {
                "port": server.port,
                "delivery_delay_s": server.delivery_delay_s,
                "calls": dict(server.calls),
                "sessions": server.filters,
                "delivered": server.delivered,
                "faults": [fault.model_dump() for fault in server.faults()],
            }
        )

    async def add(request: web.Request) -> web.Response:
        fault = await read_model(request, LoggingFault)
        server.set_fault(**fault.model_dump())
        return web.json_response(fault.model_dump(), status=201)

    async def clear(_request: web.Request) -> web.Response:
        server.clear_faults()
        return web.Response(status=204)

    async def write(request: web.Request) -> web.Response:
        said = await read_model(request, Entries)
        for _ in range(said.count):
            server.lines.write(
                **said.model_dump(exclude={"count", "ago_s"}),
                at=clock.now() - said.ago_s,
            )
        return web.json_response(said.model_dump(), status=201)

    app.router.add_post("/emulator/logging/entries", write)
    app.router.add_get("/emulator/logging", show)
    app.router.add_post("/emulator/logging/faults", add)
    app.router.add_delete("/emulator/logging/faults", clear)
