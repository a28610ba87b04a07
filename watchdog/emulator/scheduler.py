"""Cloud Scheduler's `jobs.get`, from what a script says: `PUT /emulator/scheduler/jobs/{name}` with the job's fields.

`lastAttemptTime` and `scheduleTime` may also be numbers: seconds from now.
"""

import json
from datetime import UTC, datetime
from typing import Any

from aiohttp import web

from watchdog.emulator import clock
from watchdog.emulator.api_errors import ApiError
from watchdog.emulator.scripting import unprocessable

TIMES = ("lastAttemptTime", "scheduleTime")
FIELDS = frozenset({"state", "schedule", "status", *TIMES})


class Scheduler:
    """The jobs of the emulated world, by their names alone: in whichever project and location they are asked for."""

    def __init__(self) -> None:
        self.jobs: dict[str, dict[str, Any]] = {}

    def clear(self) -> None:
        """Forget them all."""
        self.jobs.clear()

    def put(self, name: str, fields: dict[str, Any]) -> None:
        """Say what a job is like. `ValueError` for fields that a job does not have."""
        unknown = set(fields) - FIELDS
        if unknown:
            raise ValueError(f"a job has no {', '.join(sorted(unknown))}")
        now = clock.now()
        job: dict[str, Any] = {"state": "ENABLED", "schedule": "*/5 * * * *", **fields}
        for key in TIMES:
            if isinstance(job.get(key), int | float):
                job[key] = datetime.fromtimestamp(now + job[key], UTC).isoformat().replace("+00:00", "Z")
        self.jobs[name] = job

    async def get(self, request: web.Request) -> web.Response:
        """GET one job."""
        path = "projects/{project}/locations/{region}/jobs/{name}".format(**request.match_info)
        found = self.jobs.get(request.match_info["name"])
        if found is None:
            error = ApiError(404, "Job not found.")
            return web.json_response(error.body(), status=error.code)
        return web.json_response({"name": path, **found})

    async def script(self, request: web.Request) -> web.Response:
        """PUT what a job is like."""
        try:
            fields = json.loads(await request.read())
            self.put(request.match_info["name"], fields)
        except (ValueError, TypeError) as error:
            raise unprocessable(str(error)) from error
        return web.Response(status=204)


def add_scheduler_routes(app: web.Application, scheduler: Scheduler, *, with_control: bool) -> None:
    """Mount the API and, where `with_control` says so, its script."""
    app.router.add_get("/v1/projects/{project}/locations/{region}/jobs/{name}", scheduler.get)
    if with_control:
        app.router.add_put("/emulator/scheduler/jobs/{name}", scheduler.script)
