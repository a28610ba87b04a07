"""Cloud SQL's `instances.get` and `backupRuns.list`, from what a script says: `PUT /emulator/sql/instances/{name}`.

The script is `{"primary"?: NAME, "backups": [{"ended_s_ago": 600, "status"?: "SUCCESSFUL", "error"?: TEXT}, …]}`,
newest first. An instance that nobody scripted does not exist.
"""

from datetime import UTC, datetime
from typing import Any, Literal

from aiohttp import web
from pydantic import BaseModel, ConfigDict

from watchdog.emulator import clock
from watchdog.emulator.api_errors import ApiError
from watchdog.emulator.scripting import read_model

TOOK_S = 90.0


class BackupRun(BaseModel):
    """One backup."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    ended_s_ago: float
    status: Literal["SUCCESSFUL", "FAILED", "RUNNING", "ENQUEUED"] = "SUCCESSFUL"
    error: str = ""


class Instance(BaseModel):
    """One instance; with `primary` a replica."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    primary: str = ""
    backups: tuple[BackupRun, ...] = ()


class CloudSql:
    """The instances of the emulated world, by their names alone: in whichever project they are asked for."""

    def __init__(self) -> None:
        self.instances: dict[str, tuple[float, Instance]] = {}
        """Name → when it was scripted (Unix seconds), and what it is."""
        self.refuses = False
        """Whether every question is answered with 403."""

    def clear(self) -> None:
        """Forget them all."""
        self.instances.clear()
        self.refuses = False

    def put(self, name: str, instance: Instance) -> None:
        """Say what an instance is like, as of now."""
        self.instances[name] = (clock.now(), instance)

    async def get(self, request: web.Request) -> web.Response:
        """GET one instance."""
        found = self._found(request)
        if isinstance(found, web.Response):
            return found
        project, name, (_, instance) = request.match_info["project"], request.match_info["name"], found
        kind = {"instanceType": "CLOUD_SQL_INSTANCE"}
        if instance.primary:
            kind = {
                "instanceType": "READ_REPLICA_INSTANCE",
                "masterInstanceName": f"{project}:{instance.primary}",
            }
        return web.json_response({"kind": "sql#instance", "name": name, "project": project, **kind})

    async def runs(self, request: web.Request) -> web.Response:
        """GET the backup runs of one."""
        found = self._found(request)
        if isinstance(found, web.Response):
            return found
        since, instance = found
        items = [_run(i, run, since) for i, run in enumerate(instance.backups)]
        most = int(request.query.get("maxResults", "20"))
        return web.json_response({"kind": "sql#backupRunsList", "items": items[:most]})

    async def script(self, request: web.Request) -> web.Response:
        """PUT what an instance is like."""
        self.put(request.match_info["name"], await read_model(request, Instance))
        return web.Response(status=204)

    def _found(self, request: web.Request) -> tuple[float, Instance] | web.Response:
        error = ApiError(403, "The client is not authorized to make this request.", status="PERMISSION_DENIED")
        if not self.refuses:
            found = self.instances.get(request.match_info["name"])
            if found is not None:
                return found
            error = ApiError(404, "The Cloud SQL instance does not exist.", status="NOT_FOUND")
        return web.json_response(error.body(), status=error.code)


def _run(index: int, run: BackupRun, since: float) -> dict[str, Any]:
    ended = since - run.ended_s_ago
    item: dict[str, Any] = {
        "kind": "sql#backupRun",
        "id": str(round(ended * 1000) - index),
        "type": "ON_DEMAND",
        "status": run.status,
        "startTime": _stamp(ended - TOOK_S),
    }
    if run.status in {"SUCCESSFUL", "FAILED"}:
        item["endTime"] = _stamp(ended)
    if run.error:
        item["error"] = {"kind": "sql#operationError", "code": "UNKNOWN", "message": run.error}
    return item


def _stamp(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def add_sql_routes(app: web.Application, sql: CloudSql, *, with_control: bool) -> None:
    """Mount the API and, where `with_control` says so, its script."""
    app.router.add_get("/v1/projects/{project}/instances/{name}", sql.get)
    app.router.add_get("/v1/projects/{project}/instances/{name}/backupRuns", sql.runs)
    if with_control:
        app.router.add_put("/emulator/sql/instances/{name}", sql.script)
