"""The Admin API v1 (Knative) of Cloud Run, as far as gcloud and the watchdog speak it.

Both address forms are served: `/apis/serving.knative.dev/v1/namespaces/P/…` and `/v1/projects/P/locations/R/…`. In the
first the region is in the host name (`us-central1-run.googleapis.com`); on a bare address it is the region in which a
service of that name exists, else the default one. Request lines may be absolute, so that gcloud can use this server as
its forward proxy: CLOUDSDK_PROXY_TYPE=http, CLOUDSDK_PROXY_ADDRESS, CLOUDSDK_PROXY_PORT and
CLOUDSDK_API_ENDPOINT_OVERRIDES_RUN=http://run.fake.test/. Credentials are ignored.
"""

import asyncio
import re

from aiohttp import web

from watchdog.emulator.admin_edge import ACTOR, BODY, CHANGE, DEFAULT_ACTOR, KEY, Edge
from watchdog.emulator.api_errors import ApiError, not_found
from watchdog.emulator.fleet import Fleet
from watchdog.emulator.knative import render_list, render_operation, render_revision, render_service
from watchdog.emulator.selectors import parse_selector
from watchdog.emulator.splitter import Splitter
from watchdog.emulator.templates import project_number
from watchdog.emulator.world import Json, Service, ServiceKey, World
from watchdog.emulator.writes import Change, Writer

REGION_IN_HOST = re.compile(r"^([a-z]+-[a-z]+\d+)-run\.")
NAMESPACED = "/apis/serving.knative.dev/v1/namespaces/{project}"
LOCATED = "/v1/projects/{project}/locations/{region}"
WAIT_S = 30.0


class Admin:
    """Handlers of the Admin API; `add_routes` mounts them."""

    def __init__(self, world: World, writer: Writer, splitter: Splitter, fleet: Fleet, edge: Edge) -> None:
        self._world = world
        self._writer = writer
        self._splitter = splitter
        self._fleet = fleet
        self._edge = edge

    def add_routes(self, app: web.Application) -> None:
        """Mount both address forms, operations, service usage and IAM."""
        router, guard = app.router, self._edge.guard
        for base in (NAMESPACED, LOCATED):
            router.add_get(f"{base}/services", guard(self.list_services, "run.services.list"))
            router.add_post(f"{base}/services", guard(self.create_service, "run.services.create", write=True))
            one = base + "/services/{name:[^:/]+}"
            router.add_get(one, guard(self.get_service, "run.services.get"))
            router.add_put(one, guard(self.replace_service, "run.services.update", write=True))
            router.add_delete(one, guard(self.delete_service, "run.services.delete", write=True))
            router.add_get(f"{base}/revisions", guard(self.list_revisions, "run.revisions.list"))
            one = base + "/revisions/{name:[^:/]+}"
            router.add_get(one, guard(self.get_revision, "run.revisions.get"))
            router.add_delete(one, guard(self.delete_revision, "run.revisions.delete", write=True))
        operation = LOCATED + "/operations/{operation:[^:/]+}"
        router.add_get(operation, guard(self.get_operation, "run.operations.get"))
        router.add_post(f"{operation}:wait", guard(self.wait_operation, "run.operations.get"))
        service = LOCATED + "/services/{name:[^:/]+}"
        router.add_post(f"{service}:testIamPermissions", guard(self.test_permissions, "run.services.get"))
        router.add_get(f"{service}:getIamPolicy", guard(self.get_policy, "run.services.getIamPolicy"))
        router.add_post(f"{service}:setIamPolicy", guard(self.set_policy, "run.services.setIamPolicy", write=True))
        router.add_get("/v1/projects/{project}/services/{api}", guard(self.get_api, "serviceusage.services.get"))

    async def list_services(self, request: web.Request) -> Json:
        """GET services of one region, or of all (`-`)."""
        project, region = self._project(request), request.match_info.get("region") or _host_region(request)
        services = [
            service
            for key, service in sorted(self._world.services.items())
            if key.project == project and region in {None, "-", key.region}
        ]
        return self._page(request, "ServiceList", [render_service(service) for service in services])

    async def get_service(self, request: web.Request) -> Json:
        """GET one service."""
        return render_service(self._service(request))

    async def create_service(self, request: web.Request) -> Json:
        """POST a service."""
        region = request.match_info.get("region") or _host_region(request) or self._world.default_region
        service = self._writer.create(
            self._project(request), region, request[BODY], actor=_actor(request), dry_run=_is_dry_run(request)
        )
        if not _is_dry_run(request):
            created = self._world.revision(service.key, service.latest_created)
            request[KEY], request[CHANGE] = service.key, Change(service=service, revision=created, spec_changed=True)
            await self._splitter.open_all()
        return render_service(service)

    async def replace_service(self, request: web.Request) -> Json:
        """PUT a service: `replaceService`."""
        key = request[KEY] = self._service(request).key
        change = self._writer.replace(key, request[BODY], actor=_actor(request), dry_run=_is_dry_run(request))
        if not _is_dry_run(request):
            request[CHANGE] = change
        return render_service(change.service)

    async def delete_service(self, request: web.Request) -> Json:
        """DELETE a service with its revisions."""
        key = request[KEY] = self._service(request).key
        revisions = self._world.revisions_of(key)
        service = self._writer.delete_service(key)
        request[CHANGE] = Change(service=service, revision=None, spec_changed=True)
        self._splitter.forget(key)
        for revision in revisions:
            await self._fleet.stop(revision)
        return {"status": "Success", "details": {"name": key.name, "uid": service.uid}}

    async def list_revisions(self, request: web.Request) -> Json:
        """GET revisions, newest first, by `labelSelector`."""
        project, region = self._project(request), request.match_info.get("region") or _host_region(request)
        matches = parse_selector(request.query.get("labelSelector", ""))
        revisions = [
            revision
            for revision in self._world.revisions.values()
            if revision.key.project == project
            and region in {None, "-", revision.key.region}
            and matches(revision.labels)
        ]
        revisions.sort(key=lambda revision: (revision.created_at, revision.number), reverse=True)
        items = [render_revision(revision, self._world.services.get(revision.key)) for revision in revisions]
        return self._page(request, "RevisionList", items)

    async def get_revision(self, request: web.Request) -> Json:
        """GET one revision."""
        key, name = self._revision_key(request)
        revision = self._world.revision(key, name)
        if revision is None:
            raise not_found("REVISION", name, project=key.project, region=key.region)
        return render_revision(revision, self._world.services.get(key))

    async def delete_revision(self, request: web.Request) -> Json:
        """DELETE a revision that nothing uses."""
        key, name = self._revision_key(request)
        request[KEY] = key
        revision = self._writer.delete_revision(key, name)
        service = self._world.services.get(key)
        if service is not None:
            request[CHANGE] = Change(service=service, revision=None, spec_changed=False)
        await self._fleet.stop(revision)
        return {"status": "Success", "details": {"name": name, "uid": revision.uid}}

    async def get_operation(self, request: web.Request) -> Json:
        """GET a long-running operation."""
        return render_operation(self._world, request.match_info["operation"])

    async def wait_operation(self, request: web.Request) -> Json:
        """POST `:wait`: answers when the operation is done, or after `timeout` (at most 30 s)."""
        operation_id = request.match_info["operation"]
        wanted = str(request[BODY].get("timeout", "30s"))
        try:
            timeout_s = min(WAIT_S, float(wanted.removesuffix("s")))
        except ValueError:
            raise ApiError(400, f"timeout: '{wanted}' is not a duration such as '30s'") from None
        found = self._world.operations.get(operation_id)
        service = None if found is None else self._world.services.get(found[0])
        try:
            async with asyncio.timeout(timeout_s):
                while service is not None and found is not None and service.observed_generation < found[1]:
                    await service.routed.wait()
        except TimeoutError:
            pass  # the answer says `done: false`
        return render_operation(self._world, operation_id)

    async def test_permissions(self, request: web.Request) -> Json:
        """Everything that is asked for is granted, existing service or not, unless a switch forbids it: without the
        one for writes only `get` and `list` are left."""
        asked = request[BODY].get("permissions", [])
        may_write = self._edge.may_write(request)
        return {"permissions": [p for p in asked if may_write or str(p).rpartition(".")[2] in {"get", "list"}]}

    async def get_policy(self, request: web.Request) -> Json:
        """The IAM policy as it was last set."""
        return self._service(request).iam_policy

    async def set_policy(self, request: web.Request) -> Json:
        """Keep an IAM policy; nothing looks at it."""
        service = self._service(request)
        service.iam_policy = request[BODY].get("policy") or {}
        return service.iam_policy

    async def get_api(self, request: web.Request) -> Json:
        """Service usage: every API is enabled."""
        project, api = request.match_info["project"], request.match_info["api"]
        return {"name": f"projects/{project_number(project)}/services/{api}", "state": "ENABLED"}

    def _page(self, request: web.Request, kind: str, items: list[Json]) -> Json:
        limit = request.query.get("limit", "0")
        if not limit.isdigit():
            raise ApiError(400, f"limit: '{limit}' is not a number")
        return render_list(kind, items, limit=int(limit), token=request.query.get("continue", ""))

    def _project(self, request: web.Request) -> str:
        """The project id; numbers are taken, too."""
        given = request.match_info["project"]
        known = {key.project for key in self._world.services}
        return next((project for project in known if project_number(project) == given), given)

    def _service(self, request: web.Request) -> Service:
        name, project = request.match_info["name"], self._project(request)
        region = request.match_info.get("region") or _host_region(request)
        found = self._world.find_services(name=name, project=project, region=region)
        if not found:
            raise not_found("SERVICE", name, project=project, region=region or self._world.default_region)
        in_default = [service for service in found if service.key.region == self._world.default_region]
        return (in_default or found)[0]

    def _revision_key(self, request: web.Request) -> tuple[ServiceKey, str]:
        name, project = request.match_info["name"], self._project(request)
        region = request.match_info.get("region") or _host_region(request)
        for revision in self._world.revisions.values():
            if revision.name == name and revision.key.project == project and region in {None, revision.key.region}:
                return revision.key, name
        raise not_found("REVISION", name, project=project, region=region or self._world.default_region)


def _host_region(request: web.Request) -> str | None:
    found = REGION_IN_HOST.match(request.host)
    return found.group(1) if found else None


def _actor(request: web.Request) -> str:
    return request.headers.get(ACTOR, DEFAULT_ACTOR)


def _is_dry_run(request: web.Request) -> bool:
    return request.query.get("dryRun") == "all"
