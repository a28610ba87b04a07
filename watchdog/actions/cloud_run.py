"""Cloud Run traffic by the Admin API v1, read and moved by compare and swap.

Version 1 (Knative), because its `replaceService` refuses a stale `metadata.resourceVersion` with 409 while version 2
ignores its etag on traffic. The PUT needs the whole Service, so the body of the last read is kept until it is written.
"""

from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from types import MappingProxyType
from typing import Any, Self
from urllib.parse import quote, urlsplit

import aiohttp

from watchdog import __version__
from watchdog.actions import jobs, knative, knative_shapes, redeploying, scaling
from watchdog.actions.described import described
from watchdog.core.beyond import ScaleMark
from watchdog.core.first_policy import Described
from watchdog.core.model import RevisionState, ServiceKey, ServiceState, Split, TrialMark
from watchdog.errors import ConflictError, PermanentError, TemporaryError
from watchdog.ports import Execution, Right
from watchdog.settings import Settings
from watchdog.transport import GoogleTokens, Peer, Reply, error_of, request
from watchdog.transport.impersonation import PERMISSION, Impersonated

ADMIN_API = "https://{region}-run.googleapis.com"
TIMEOUT_S = 5.0

_CLOUD_RUN = Peer(
    name="Cloud Run",
    timeout_s=TIMEOUT_S,
    hints={
        401: "Check the watchdog's Google credentials",
        403: "Grant the watchdog's service account run.services.get and run.services.update on the service, "
        "run.services.list and run.revisions.list on the project, and iam.serviceAccounts.actAs on the service's own "
        "service account (deploy/README.md has the commands)",
        404: "Check project, region and name in the policy",
    },
)
_TESTED = (
    ("run.services.get", "reading the service", False),
    ("run.services.update", "moving its traffic", True),
)
"""What can be tested on a service: its `list` permissions belong to the project, and are proven by listing."""
_UNTESTED = (
    "A write also needs roles/iam.serviceAccountUser on the service's runtime account and "
    "roles/artifactregistry.reader on the repository of its images. Neither can be tested without writing."
)
_PAGES_MAX = 100
_KEPT_MAX = 64


class CloudRun:
    """Keeps `ports.TrafficControl`.

    `api_url` is the base URL, in which `{region}` stands for the service's region. Without `tokens` no credentials are
    sent, which is right for an emulator only.
    """

    def __init__(
        self,
        session: aiohttp.ClientSession,
        *,
        tokens: GoogleTokens | None,
        api_url: str = ADMIN_API,
        writers: Mapping[ServiceKey, Impersonated] = MappingProxyType({}),
    ) -> None:
        self._session = session
        self._tokens = tokens
        self._writers = writers
        self._api_url = api_url.rstrip("/")
        self._endpoint = api_url.replace("{region}-", "").rstrip("/")
        self._bodies: dict[ServiceKey, tuple[str, dict[str, Any]]] = {}

    @classmethod
    def from_settings(
        cls,
        session: aiohttp.ClientSession,
        settings: Settings,
        tokens: GoogleTokens | None,
        *,
        writers: Mapping[ServiceKey, Impersonated] = MappingProxyType({}),
    ) -> Self:
        """The real API, or the emulator where `CLOUD_RUN_EMULATOR_HOST` names one."""
        if (emulator := settings.cloud_run_emulator_host) is not None:
            return cls(session, tokens=None, api_url=f"http://{emulator}", writers=writers)
        return cls(session, tokens=tokens, writers=writers)

    @property
    def endpoint(self) -> str:
        """The base URL that was asked last; the global one before that."""
        return self._endpoint

    async def read(self, service: ServiceKey) -> ServiceState:
        """The service now."""
        body = await self._call("GET", service.region, _path(service), doing=f"Reading {service}")
        return self._keep(service, body)

    @property
    def untested(self) -> str:
        """See `ports.Rights.untested`."""
        return _UNTESTED

    async def rights(self, service: ServiceKey) -> Sequence[Right]:
        """See `ports.Rights.rights`: by `testIamPermissions`, which changes nothing."""
        granted = await self._granted(service, None)
        writer = self._writers.get(service)
        if writer is None:
            return [_right(service, granted, tested) for tested in _TESTED]
        found = [_right(service, granted, tested) for tested in _TESTED if not tested[2]]
        try:
            await writer.headers()
        except PermanentError as error:
            return [*found, _lent(writer.account, held=False, remedy=str(error))]
        found.append(_lent(writer.account, held=True))
        lent = await self._granted(service, writer)
        return [*found, *(_right(service, lent, tested, writer.account) for tested in _TESTED if tested[2])]

    async def _granted(self, service: ServiceKey, writer: Impersonated | None) -> set[str]:
        """What of `_TESTED` we hold, or whoever writes for us."""
        place = f"projects/{quote(service.project, safe='')}/locations/{quote(service.region, safe='')}"
        path = f"/v1/{place}/services/{quote(service.name, safe='')}:testIamPermissions"
        doing = f"Testing {f'the permissions of {writer.account}' if writer else 'our permissions'} on {service}"
        asked = [permission for permission, _, _ in _TESTED]
        answer = await self._call("POST", service.region, path, doing=doing, json={"permissions": asked}, writer=writer)
        held = answer.get("permissions")
        return {p for p in held if isinstance(p, str)} if isinstance(held, list) else set()

    async def list_services(self, project: str, region: str) -> Sequence[ServiceState]:
        """All services of a project and region, in one read unless the API pages them."""
        doing = f"Listing the services of {project} in {region}"
        path = f"{_namespace(project)}/services"
        # The real endpoint holds one region; one that stands for all of them labels what it lists.
        return [
            knative.service_state(item, ServiceKey(project=project, region=region, name=name))
            async for item in self._items(region, path, {}, doing=doing)
            if (name := knative.service_name(item)) and knative.location(item) in ("", region)
        ]

    async def describe(self, service: ServiceKey) -> Described:
        """What a first policy of the service needs to know. Raises `PermanentError(status=404)` when there is none."""
        body = await self._call("GET", service.region, _path(service), doing=f"Reading {service}")
        return described(body, service)

    async def locate(self, project: str, name: str) -> Sequence[Described]:
        """The services of that name in all regions of a project, described."""
        doing = f"Looking for {name} in all regions of {project}"
        path = f"/v1/projects/{quote(project, safe='')}/locations/-/services"
        return [
            described(item, ServiceKey(project=project, region=knative.location(item), name=name))
            async for item in self._items("", path, {}, doing=doing)
            if knative.service_name(item) == name
        ]

    async def revisions(self, service: ServiceKey) -> Sequence[RevisionState]:
        """All revisions, newest first."""
        path = f"{_namespace(service.project)}/revisions"
        selector = {"labelSelector": f"{knative.SERVICE_LABEL}={service.name}"}
        doing = f"Listing the revisions of {service}"
        found = [
            knative.revision_state(item) async for item in self._items(service.region, path, selector, doing=doing)
        ]
        return knative.newest_first(
            state for state in found if state.labels.get(knative.SERVICE_LABEL, service.name) == service.name
        )

    async def move(
        self,
        service: ServiceKey,
        split: Split,
        *,
        resource_version: str,
        rolled_back: str | None = None,
        trial: TrialMark | None = None,
    ) -> ServiceState:
        """Write the split by compare and swap."""
        doing = f"Moving the traffic of {service} to {split}"
        body = await self._body(service, resource_version, doing)
        wanted = knative.with_traffic(
            body,
            split,
            resource_version=resource_version,
            rolled_back=rolled_back,
            trial=trial,
            client_version=__version__,
        )
        return await self._put(service, wanted, doing)

    async def tag(
        self, service: ServiceKey, *, add: Mapping[str, str], remove: Sequence[str], resource_version: str
    ) -> ServiceState:
        """Write tags by compare and swap."""
        doing = f"Tagging revisions of {service}"
        body = await self._body(service, resource_version, doing)
        wanted = knative.with_tags(
            body, add=add, remove=remove, resource_version=resource_version, client_version=__version__
        )
        return await self._put(service, wanted, doing)

    async def scale(
        self, service: ServiceKey, instances: int, *, resource_version: str, mark: ScaleMark
    ) -> ServiceState:
        """Write the service's maximum of instances by compare and swap."""
        doing = f"Setting the maximum of instances of {service} to {instances}"
        body = await self._body(service, resource_version, doing)
        wanted = scaling.with_maximum(
            body, instances, resource_version=resource_version, mark=mark, client_version=__version__
        )
        return await self._put(service, wanted, doing)

    async def snapshot(self, service: ServiceKey, revision: str) -> Mapping[str, Any]:
        """What makes the revision again."""
        path = f"{_namespace(service.project)}/revisions/{quote(revision, safe='')}"
        return redeploying.snapshot(await self._call("GET", service.region, path, doing=f"Reading {revision}"))

    async def redeploy(
        self, service: ServiceKey, template: Mapping[str, Any], *, name: str, resource_version: str
    ) -> ServiceState:
        """Make a revision from a snapshot by compare and swap."""
        doing = f"Deploying {name}"
        body = await self._body(service, resource_version, doing)
        wanted = redeploying.with_template(
            body, template, name, resource_version=resource_version, client_version=__version__
        )
        return await self._put(service, wanted, doing)

    async def executions(self, place: ServiceKey, job: str) -> Sequence[Execution]:
        """The job's executions."""
        path, doing = f"{jobs.path_of(place, job)}/executions", f"Listing the executions of the job {job}"
        answer = await self._call("GET", place.region, path, doing=doing)
        return [jobs.execution(item) for item in knative_shapes.items(answer, "executions")]

    async def run_job(self, place: ServiceKey, job: str, *, writer: ServiceKey) -> Execution:
        """Run the job."""
        path, doing = f"{jobs.path_of(place, job)}:run", f"Running the job {job}"
        lent = self._writers.get(writer)
        return jobs.started(await self._call("POST", place.region, path, json={}, doing=doing, writer=lent))

    async def _body(self, service: ServiceKey, resource_version: str, doing: str) -> dict[str, Any]:
        """The whole Service of this version. Raises `ConflictError` when there is another one by now."""
        version, body = self._bodies.get(service, ("", None))
        if body is None or version != resource_version:
            body = await self._call("GET", service.region, _path(service), doing=f"Reading {service}")
            state = self._keep(service, body)
            if state.resource_version != resource_version:
                raise ConflictError(
                    f"{doing}: somebody wrote in between (version {state.resource_version}, not {resource_version})"
                )
        return body

    async def _put(self, service: ServiceKey, wanted: Mapping[str, Any], doing: str) -> ServiceState:
        # Whatever comes back, what was kept is used up: after a failure the service has to be read again.
        self._bodies.pop(service, None)
        writer = self._writers.get(service)
        answer = await self._call("PUT", service.region, _path(service), json=wanted, doing=doing, writer=writer)
        return self._keep(service, answer)

    def _keep(self, service: ServiceKey, body: dict[str, Any]) -> ServiceState:
        state = knative.service_state(body, service)
        self._bodies.pop(service, None)
        self._bodies[service] = (state.resource_version, body)
        while len(self._bodies) > _KEPT_MAX:
            del self._bodies[next(iter(self._bodies))]
        return state

    async def _items(
        self, region: str, path: str, params: Mapping[str, str], *, doing: str
    ) -> AsyncIterator[Mapping[str, Any]]:
        token = ""
        for _ in range(_PAGES_MAX):
            query = {**params, "continue": token} if token else params
            answer = await self._call("GET", region, path, params=query, doing=doing)
            if answer.get("unreachable"):
                raise TemporaryError(f"{doing}: Cloud Run could not reach every region, so the list is incomplete")
            items, following = knative.page(answer)
            for item in items:
                yield item
            if not following:
                return
            if following == token:
                raise PermanentError(f"{doing}: Cloud Run keeps answering with the same page, so the list has no end")
            token = following
        raise PermanentError(f"{doing}: more than {_PAGES_MAX} pages, which is more than Cloud Run can hold")

    async def _call(
        self,
        method: str,
        region: str,
        path: str,
        *,
        doing: str,
        json: Any = None,
        params: Mapping[str, str] | None = None,
        writer: Impersonated | None = None,
    ) -> dict[str, Any]:
        tokens = writer or self._tokens
        reply = await self._send(method, region, path, tokens, doing=doing, json=json, params=params)
        if reply.status == 401 and tokens is not None:  # revoked early; the request was never carried out
            tokens.forget()
            reply = await self._send(method, region, path, tokens, doing=doing, json=json, params=params)
        if reply.ok:
            if isinstance(reply.body, dict):
                return reply.body
            raise TemporaryError(f"{doing}: Cloud Run answered {reply.status} with something that is no JSON object")
        error = error_of(reply, _CLOUD_RUN, doing=doing)
        if isinstance(error, ConflictError) and "ALREADY_EXISTS" in str(error):
            # Not a lost race: the API took the body for a new revision, and would do so for ever.
            raise PermanentError(str(error), status=409)
        raise error

    async def _send(
        self,
        method: str,
        region: str,
        path: str,
        tokens: GoogleTokens | Impersonated | None,
        *,
        doing: str,
        json: Any,
        params: Mapping[str, str] | None,
    ) -> Reply:
        self._endpoint = base = _in_region(self._api_url, region)
        headers = await tokens.headers() if tokens is not None else {}
        if self._tokens is None:  # an emulator is at one address for all regions: its host says which, as for real
            headers["Host"] = urlsplit(_in_region(ADMIN_API, region)).netloc
        return await request(
            self._session, _CLOUD_RUN, method, base + path, doing=doing, json=json, params=params, headers=headers
        )


def _in_region(url: str, region: str) -> str:
    """A region's own endpoint; the global one where none is named."""
    return url.replace("{region}", region) if region else url.replace("{region}-", "")


def _right(service: ServiceKey, granted: Collection[str], tested: tuple[str, str, bool], account: str = "") -> Right:
    permission, purpose, writes = tested
    return Right(
        permission=permission,
        held=permission in granted,
        purpose=f"{purpose}, as {account}" if account else purpose,
        remedy=_remedy(permission, service, account or "WATCHDOG_ACCOUNT"),
        writes=writes,
    )


def _lent(account: str, *, held: bool, remedy: str = "") -> Right:
    """Whether we may have the writer's tokens."""
    return Right(permission=PERMISSION, held=held, purpose=f"writing as {account}", remedy=remedy, writes=True)


def _remedy(permission: str, service: ServiceKey, account: str) -> str:
    role = "roles/run.developer" if permission == "run.services.update" else "roles/run.viewer"
    return (
        f"Grant {permission} on the service to {_named(account)}: {role}, or the narrower role of "
        f"deploy/README.md: gcloud run services add-iam-policy-binding {service.name} --project {service.project} "
        f"--region {service.region} --member serviceAccount:{account} --role {role}"
    )


def _named(account: str) -> str:
    return "the watchdog's account" if account == "WATCHDOG_ACCOUNT" else account


def _namespace(project: str) -> str:
    return f"/apis/{knative_shapes.API_VERSION}/namespaces/{quote(project, safe='')}"


def _path(service: ServiceKey) -> str:
    return f"{_namespace(service.project)}/services/{quote(service.name, safe='')}"
