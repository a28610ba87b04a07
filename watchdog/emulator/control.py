"""The control API: scripts the emulator over HTTP with JSON. Bodies are strict; a mistake is 422 with the key's name.

| request | body → answer |
|---|---|
| `GET /emulator/endpoints` | → where everything listens, and `env`: what to set for the watchdog |
| `POST /emulator/reset` | `{}` → 204: as freshly started; ports stay |
| `GET /emulator/services` | → `{"services": [{project, region, name, url, generation, observed_generation, split, tags, conditions, latest_ready, latest_created, revisions: [{name, ready, image, version, faults}]}]}` |
| `POST /emulator/services` | a release, as for deploy, of a service that does not exist yet; 201 |
| `POST /emulator/deploy` | `{service, project?, region?, revision?, image?, env?, labels?, tag?, percent?, traffic?, ready?, faults?, usage?, deployer?, annotations?, client?, client_version?, wait?}` → 201 `{revision, service, url, tag_url, split}`; `wait: true` answers when it is settled |
| `PUT /emulator/revisions/{name}/faults` | `{faults: […], restart_clock?}` → `{faults}`: live; an empty list cures |
| `PUT /emulator/revisions/{name}/usage` | `{cpu?, memory?, instances?, demand?, cpu_per_min?, memory_per_min?}` |
| `POST /emulator/revisions/{name}/condemn` | `{reason?, message?}` → 204: not Ready from now on |
| `POST /emulator/traffic` | `{service, traffic: {REV or "LATEST": percent}, tags?: {TAG: REV}, by?, client?, client_version?, wait?}` → `{split, tags}` |
| `PUT /emulator/scaling` | `{service?, project?, region?, max_instances: N or null, wait?}` → `{max_instances}`: the service's own maximum |
| `GET /emulator/traffic` | → `{"history": [{at, service, project, region, generation, split, tags}]}`, `?service=` |
| `GET`, `PATCH /emulator/delays` | `{routing_delay_s?, startup_s?, startup_timeout_s?, propagation_s?}` |
| `GET`, `POST`, `DELETE /emulator/admin-faults` | `{kind: status, latency, drop, race or unreachable; on?, count?, for_s?, status?, latency_s?, …}` |
| `PUT /emulator/iam` | `{read?: bool, write?: bool, impersonate?: bool, writers?: [ACCOUNT], revoke?: bool}`: false answers 403; with `writers`, only tokens of these accounts write; `revoke` takes back those given out |
| `GET /emulator/admin-log` | → `{"reads": N, "writes": [{at, method, service, status, traffic, annotations, new_revision, applied, …}]}` |
| `PUT /emulator/load` | `{service?, project?, region?, who?, rate_per_s, …}` (`load.LoadPlan`); a load of each `who`; rate 0 stops |
| `GET /emulator/load` | → `{"load": [{service, plan, sent, dropped, answers, errors}]}` |
| `GET /emulator/requests` | → `{"revisions": {REV: {requests, by_status, first_ended_at, last_ended_at}}, "next": N, "requests"?: […]}`; lines with `?since=N` |

Times are Unix seconds. `/emulator/jobs…`, `/emulator/monitoring…`, `/emulator/logging…`, `/emulator/entrance` and the collectors' routes are documented with them. The Admin API is
served on this port as well.
"""  # noqa: E501 -- a table reads best with one line a row

import json
from collections.abc import Awaitable, Callable
from dataclasses import asdict
from typing import Any, Protocol, TypeVar

from aiohttp import web
from pydantic import BaseModel, ValidationError

from watchdog.emulator.api_errors import ApiError
from watchdog.emulator.control_bodies import Condemnation, DelayChange, Deploy, Iam, Load, Maximum, Script, Shift
from watchdog.emulator.control_views import describe_change, describe_revision, describe_service, describe_write
from watchdog.emulator.credentials import TokenMint
from watchdog.emulator.director import Director, Release
from watchdog.emulator.gate import AdminFault, Gate
from watchdog.emulator.load import LoadPlan
from watchdog.emulator.world import Json, Service

Model = TypeVar("Model", bound=BaseModel)


class Stage(Protocol):
    """What the control API needs of the emulator that it belongs to."""

    director: Director
    gate: Gate
    mint: TokenMint

    def endpoints(self) -> Json:
        """Where everything listens."""

    async def reset(self) -> None:
        """Back to the start."""

    async def apply_gate(self) -> None:
        """Open or close the Admin API's port as the gate says."""

    async def set_load(self, service: Service, plan: LoadPlan) -> None:
        """Replace the load on a service."""

    def load_reports(self) -> list[Json]:
        """The load on every service."""


class Control:
    """Handlers of the control API."""

    def __init__(self, stage: Stage) -> None:
        self._stage = stage

    def add_routes(self, app: web.Application) -> None:
        """Mount everything under `/emulator/`."""
        routes: list[tuple[str, str, Callable[[web.Request], Awaitable[web.Response]]]] = [
            ("GET", "endpoints", self.endpoints),
            ("POST", "reset", self.reset),
            ("GET", "services", self.services),
            ("POST", "services", self.create),
            ("POST", "deploy", self.deploy),
            ("PUT", "revisions/{name}/faults", self.faults),
            ("PUT", "revisions/{name}/usage", self.usage),
            ("POST", "revisions/{name}/condemn", self.condemn),
            ("POST", "traffic", self.shift),
            ("PUT", "scaling", self.scale),
            ("GET", "traffic", self.history),
            ("GET", "delays", self.delays),
            ("PATCH", "delays", self.delays),
            ("GET", "admin-faults", self.admin_faults),
            ("POST", "admin-faults", self.arm),
            ("DELETE", "admin-faults", self.disarm),
            ("PUT", "iam", self.iam),
            ("GET", "admin-log", self.admin_log),
            ("PUT", "load", self.set_load),
            ("GET", "load", self.load),
            ("GET", "requests", self.requests),
        ]
        for method, path, handler in routes:
            app.router.add_route(method, f"/emulator/{path}", _answering_errors(handler))

    async def endpoints(self, _request: web.Request) -> web.Response:
        """Where everything listens."""
        return _json(self._stage.endpoints())

    async def reset(self, _request: web.Request) -> web.Response:
        """Back to the start."""
        await self._stage.reset()
        return web.Response(status=204)

    async def services(self, _request: web.Request) -> web.Response:
        """Every service with its revisions."""
        world = self._stage.director.world
        described = [
            {**describe_service(service), "revisions": [describe_revision(one) for one in world.revisions_of(key)]}
            for key, service in sorted(world.services.items())
        ]
        return _json({"services": described})

    async def create(self, request: web.Request) -> web.Response:
        """A service."""
        release = await _body(request, Deploy)
        if self._stage.director.world.find_services(
            name=release.service, project=release.project, region=release.region
        ):
            raise ApiError(409, f"service '{release.service}': it exists already", status="ALREADY_EXISTS")
        return await self._deploy(release)

    async def deploy(self, request: web.Request) -> web.Response:
        """A revision."""
        return await self._deploy(await _body(request, Deploy))

    async def _deploy(self, body: Deploy) -> web.Response:
        director = self._stage.director
        revision = await director.deploy(Release.model_validate(body.model_dump(exclude={"wait"})))
        service = director.world.services[revision.key]
        if body.wait:
            await director.settle(revision.key)
        tag_url = director.tag_url(revision.key, body.tag) if body.tag else None
        answer = {"revision": revision.name, "service": revision.key.name, "url": service.url, "tag_url": tag_url}
        return _json({**answer, "split": service.split()}, status=201)

    async def faults(self, request: web.Request) -> web.Response:
        """A revision's fault script."""
        body = await _body(request, Script)
        director = self._stage.director
        revision = director.set_faults(request.match_info["name"], body.faults, restart_clock=body.restart_clock)
        return _json({"faults": [fault.model_dump(exclude_defaults=True) for fault in revision.faults.faults]})

    async def usage(self, request: web.Request) -> web.Response:
        """What a revision's instances use."""
        body = await _read_json(request)
        if not isinstance(body, dict) or not all(isinstance(value, int | float) for value in body.values()):
            raise ApiError(422, "body: should be an object of numbers")
        director = self._stage.director
        return _json(asdict(director.use(director.revision(request.match_info["name"]).name, body)))

    async def condemn(self, request: web.Request) -> web.Response:
        """A revision is not Ready any more."""
        body = await _body(request, Condemnation)
        director = self._stage.director
        director.reconciler.condemn(
            director.revision(request.match_info["name"]), reason=body.reason, message=body.message
        )
        return web.Response(status=204)

    async def shift(self, request: web.Request) -> web.Response:
        """Somebody moves traffic."""
        body = await _body(request, Shift)
        director = self._stage.director
        service = director.service(body.service, project=body.project, region=body.region)
        await director.move_traffic(service.key, body.traffic, tags=body.tags, by=body.by, client=body)
        if body.wait:
            await director.settle(service.key)
        return _json({"split": service.split(), "tags": service.tags()})

    async def scale(self, request: web.Request) -> web.Response:
        """Somebody sets the service's maximum of instances."""
        body = await _body(request, Maximum)
        director = self._stage.director
        service = director.service(body.service, project=body.project, region=body.region)
        director.set_maximum(service.key, body.max_instances)
        if body.wait:
            await director.settle(service.key)
        return _json({"max_instances": body.max_instances})

    async def history(self, request: web.Request) -> web.Response:
        """Every split since the start, with the moment from which it was used."""
        wanted = request.query.get("service")
        changes = self._stage.director.world.traffic_history
        return _json({"history": [describe_change(change) for change in changes if wanted in {None, change.key.name}]})

    async def delays(self, request: web.Request) -> web.Response:
        """The delays of the control plane."""
        delays = self._stage.director.reconciler.delays
        if request.method == "PATCH":
            for name, value in (await _body(request, DelayChange)).model_dump(exclude_none=True).items():
                setattr(delays, name, value)
        return _json(asdict(delays))

    async def admin_faults(self, _request: web.Request) -> web.Response:
        """Faults of the Admin API that are armed."""
        return _json({"faults": [fault.model_dump(exclude_defaults=True) for fault in self._stage.gate.faults()]})

    async def arm(self, request: web.Request) -> web.Response:
        """Another fault of the Admin API."""
        self._stage.gate.arm(await _body(request, AdminFault))
        await self._stage.apply_gate()
        return await self.admin_faults(request)

    async def disarm(self, _request: web.Request) -> web.Response:
        """No more faults of the Admin API, and IAM allows everything."""
        self._stage.gate.clear()
        await self._stage.apply_gate()
        return web.Response(status=204)

    async def iam(self, request: web.Request) -> web.Response:
        """Allow or forbid reads and writes."""
        body = await _body(request, Iam)
        gate = self._stage.gate
        gate.may_read, gate.may_write, gate.may_impersonate = body.read, body.write, body.impersonate
        gate.writers = None if body.writers is None else frozenset(body.writers)
        if body.revoke:
            self._stage.mint.clear()
        return _json(body.model_dump())

    async def admin_log(self, _request: web.Request) -> web.Response:
        """Every write that the Admin API saw, and how many reads."""
        world = self._stage.director.world
        return _json({"reads": world.reads, "writes": [describe_write(write) for write in world.write_log]})

    async def set_load(self, request: web.Request) -> web.Response:
        """Load on a service."""
        body = await _body(request, Load)
        service = self._stage.director.service(body.service, project=body.project, region=body.region)
        await self._stage.set_load(service, body.plan())
        return await self.load(request)

    async def load(self, _request: web.Request) -> web.Response:
        """What the users have seen."""
        return _json({"load": self._stage.load_reports()})

    async def requests(self, request: web.Request) -> web.Response:
        """Requests per revision, and with `since` the lines themselves."""
        ledger = self._stage.director.ledger
        since = request.query.get("since", "")
        lines, index = ledger.since(int(since) if since.isdigit() else 2**62)
        answer: Json = {
            "revisions": {
                name: {**asdict(totals), "by_status": {str(code): n for code, n in sorted(totals.by_status.items())}}
                for name, totals in ledger.totals().items()
            },
            "next": index,
        }
        if since.isdigit():
            answer["requests"] = [asdict(line) for line in lines]
        return _json(answer)


def _answering_errors(
    handler: Callable[[web.Request], Awaitable[web.Response]],
) -> Callable[[web.Request], Awaitable[web.Response]]:
    async def answer(request: web.Request) -> web.Response:
        try:
            return await handler(request)
        except ApiError as error:
            return _json(error.body(), status=error.code)

    return answer


async def _read_json(request: web.Request) -> Any:
    text = await request.text()
    try:
        return json.loads(text) if text else {}
    except ValueError as error:
        raise ApiError(400, f"the body is not JSON: {error}") from None


async def _body(request: web.Request, model: type[Model]) -> Model:
    try:
        return model.model_validate(await _read_json(request))
    except ValidationError as error:
        problems = [
            f"{'.'.join(str(part) for part in item['loc']) or 'body'}: {item['msg']}" for item in error.errors()
        ]
        raise ApiError(422, "; ".join(problems), status="INVALID_ARGUMENT") from None


def _json(payload: object, *, status: int = 200) -> web.Response:
    return web.json_response(payload, status=status)
