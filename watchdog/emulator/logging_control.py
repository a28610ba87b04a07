"""Scripts the emulated Cloud Logging over HTTP, as `monitoring.add_control_routes` does for Monitoring."""

from aiohttp import web

from watchdog.emulator.logging import LoggingServer
from watchdog.emulator.logging_faults import LoggingFault
from watchdog.emulator.scripting import read_model


def add_logging_routes(app: web.Application, server: LoggingServer) -> None:
    """Mount these.

    * `GET /emulator/logging`: its settings, sessions with their filters, entries delivered, and faults
    * `POST /emulator/logging/faults`: one `LoggingFault`; 201, or 422 with a sentence
    * `DELETE /emulator/logging/faults`: ends them all
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

    app.router.add_get("/emulator/logging", show)
    app.router.add_post("/emulator/logging/faults", add)
    app.router.add_delete("/emulator/logging/faults", clear)
