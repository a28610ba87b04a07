"""Cloud Run jobs by the Admin API v2: `jobs.run` and executions, as a script says how long they take and how they end.

| request | body → answer |
|---|---|
| `PUT /emulator/jobs/{name}` | `{takes_s?, fails?, message?}` → 204: a job of this name, in every project and region |
| `GET /emulator/jobs/{name}` | → `{"executions": [v2 Execution]}`, oldest first |
"""

from dataclasses import dataclass
from typing import Annotated, Any

from aiohttp import web
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from watchdog.emulator import clock
from watchdog.emulator.admin_edge import Edge
from watchdog.emulator.api_errors import ApiError
from watchdog.emulator.scripting import unprocessable
from watchdog.emulator.world import Json

LOCATED = "/v2/projects/{project}/locations/{region}/jobs/{job:[^:/]+}"


class JobScript(BaseModel):
    """How a job behaves, from its next run on."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    takes_s: Annotated[float, Field(ge=0)] = 5.0
    fails: bool = False
    message: str = "The container exited with status 1."


@dataclass(frozen=True, slots=True, kw_only=True)
class _Run:
    path: str
    began_at: float
    script: JobScript

    def render(self) -> Json:
        """The v2 Execution now."""
        ends_at = self.began_at + self.script.takes_s
        done = clock.now() >= ends_at
        body: Json = {"name": self.path, "createTime": clock.iso(self.began_at), "taskCount": 1}
        completed: Json = {"type": "Completed", "state": "CONDITION_RECONCILING"}
        if done:
            body["completionTime"] = clock.iso(ends_at)
            body["failedCount" if self.script.fails else "succeededCount"] = 1
            completed["state"] = "CONDITION_FAILED" if self.script.fails else "CONDITION_SUCCEEDED"
            completed |= {"message": self.script.message} if self.script.fails else {}
        else:
            body["runningCount"] = 1
        return {**body, "conditions": [completed]}


class Jobs:
    """All jobs and their executions."""

    def __init__(self) -> None:
        self._scripts: dict[str, JobScript] = {}
        self._runs: dict[str, list[_Run]] = {}

    def clear(self) -> None:
        """Forget them all."""
        self._scripts.clear()
        self._runs.clear()

    def executions(self, name: str) -> list[Json]:
        """The job's executions, oldest first."""
        return [run.render() for run in self._runs.get(name, ())]

    async def run(self, request: web.Request) -> Json:
        """POST `:run`: the long-running operation, whose metadata is the execution."""
        path, name = self._job(request)
        runs = self._runs.setdefault(name, [])
        made = _Run(
            path=f"{path}/executions/{name}-{len(runs) + 1:05d}", began_at=clock.now(), script=self._scripts[name]
        )
        runs.append(made)
        kind = "type.googleapis.com/google.cloud.run.v2.Execution"
        return {"name": f"{path}/operations/{len(runs)}", "metadata": {"@type": kind, **made.render()}, "done": False}

    async def list_executions(self, request: web.Request) -> Json:
        """GET the executions, newest first."""
        return {"executions": self.executions(self._job(request)[1])[::-1]}

    async def script(self, request: web.Request) -> web.Response:
        """PUT how a job behaves."""
        try:
            self._scripts[request.match_info["job"]] = JobScript.model_validate(await request.json())
        except (ValidationError, ValueError) as error:
            raise unprocessable(str(error)) from error
        return web.Response(status=204)

    async def shown(self, request: web.Request) -> web.Response:
        """GET what ran."""
        return web.json_response({"executions": self.executions(request.match_info["job"])})

    def _job(self, request: web.Request) -> tuple[str, str]:
        info: dict[str, Any] = dict(request.match_info)
        path = f"projects/{info['project']}/locations/{info['region']}/jobs/{info['job']}"
        if info["job"] not in self._scripts:
            raise ApiError(404, f"Resource '{path}' was not found")
        return path, info["job"]


def add_job_routes(app: web.Application, jobs: Jobs, edge: Edge, *, with_control: bool) -> None:
    """Mount the API and, where `with_control` says so, its script."""
    app.router.add_post(f"{LOCATED}:run", edge.guard(jobs.run, "run.jobs.run", write=True))
    app.router.add_get(f"{LOCATED}/executions", edge.guard(jobs.list_executions, "run.executions.list"))
    if with_control:
        app.router.add_put("/emulator/jobs/{job}", jobs.script)
        app.router.add_get("/emulator/jobs/{job}", jobs.shown)
