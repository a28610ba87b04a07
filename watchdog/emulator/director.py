"""Scripts the world: what people, pipelines and mishaps do to the services of the emulator.

The control API is a thin shell over this class; tests that run the emulator in their own process call it directly.
Every change of a service goes through the same `Writer` as the Admin API's writes.
"""

from dataclasses import fields as dataclass_fields
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

from watchdog.emulator import clock
from watchdog.emulator.admin_edge import DEFAULT_ACTOR
from watchdog.emulator.api_errors import ApiError
from watchdog.emulator.faults import Fault, FaultScript
from watchdog.emulator.fleet import Fleet
from watchdog.emulator.knative import render_service
from watchdog.emulator.ledger import InstanceUsage, Ledger
from watchdog.emulator.reconcile import Reconciler
from watchdog.emulator.scaling import REVISION_MAX, SERVICE_MAX
from watchdog.emulator.splitter import Splitter
from watchdog.emulator.world import Json, Revision, Service, ServiceKey, World
from watchdog.emulator.writes import Writer

LATEST = "LATEST"


class ServiceName(BaseModel):
    """Which service; project and region may be left out where the name says enough."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    service: str = "barq-fleet-api"
    project: str | None = None
    region: str | None = None


class Client(BaseModel):
    """With what somebody writes: the annotations `run.googleapis.com/client-name` and `…/client-version`. A client that
    names none leaves those of the last one standing."""

    client: str = ""
    client_version: str = ""

    def sign(self, body: Json) -> None:
        """Put the names into a service that is about to be written."""
        if self.client:
            annotations = body["metadata"].setdefault("annotations", {})
            annotations["run.googleapis.com/client-name"] = self.client
            annotations["run.googleapis.com/client-version"] = self.client_version


class Release(Client, ServiceName):
    """A revision to deploy, and how."""

    revision: str | None = None
    """Its name; generated when left out."""
    image: str = "us-docker.pkg.dev/barq-fleet/api/api:1.1.0"
    env: dict[str, str] = Field(default_factory=dict)
    labels: dict[str, str] = Field(default_factory=dict)
    """Labels of the template, hence of the revision."""
    tag: str | None = None
    percent: Annotated[int, Field(ge=0, le=100)] | None = None
    """Its share; the others keep their proportions. Left out, the wish for traffic stays: LATEST follows, a pin does
    not."""
    traffic: bool = True
    """False deploys without traffic, as `--no-traffic` does."""
    ready: bool = True
    """False: the container never starts."""
    faults: tuple[Fault, ...] = ()
    usage: dict[str, float] = Field(default_factory=dict)
    """Fields of `ledger.InstanceUsage`."""
    max_instances: Annotated[int, Field(ge=1)] | None = None
    """The revision's own maximum, in its template; the default of Cloud Run when left out."""
    deployer: str = DEFAULT_ACTOR
    annotations: dict[str, str] = Field(default_factory=dict)
    """Annotations of the service, beside those that it has."""


class Director:
    """Operations on the running world. All but the delays' effects are immediate; `settle` waits for those."""

    def __init__(
        self,
        *,
        world: World,
        writer: Writer,
        fleet: Fleet,
        splitter: Splitter,
        reconciler: Reconciler,
        ledger: Ledger,
    ) -> None:
        self.world = world
        self.ledger = ledger
        self.reconciler = reconciler
        self._writer = writer
        self._fleet = fleet
        self._splitter = splitter

    def service(self, name: str, *, project: str | None = None, region: str | None = None) -> Service:
        """The one service of that name; `ApiError` 404 when there is none, 400 when there are several."""
        found = self.world.find_services(name=name, project=project, region=region)
        if not found:
            raise ApiError(404, f"service '{name}': there is none; there are {_names(self.world.services)}")
        if len(found) > 1:
            raise ApiError(400, f"service '{name}': there are several; add project and region")
        return found[0]

    def revision(self, name: str) -> Revision:
        """The revision of that name, in any service; `ApiError` 404."""
        for revision in self.world.revisions.values():
            if revision.name == name:
                return revision
        raise ApiError(404, f"revision '{name}': there is none")

    async def deploy(self, release: Release) -> Revision:
        """Deploy a revision; makes the service, in `project` and `region`, when there is none of that name."""
        found = self.world.find_services(name=release.service, project=release.project, region=release.region)
        if found:
            service = self.service(release.service, project=release.project, region=release.region)
            release = self._named(service, release)
            body = render_service(service)
            body["spec"]["template"] = _template(release)
            body["spec"]["traffic"] = _traffic_after(service, release)
            body["metadata"]["annotations"] |= release.annotations
            release.sign(body)
            revision = self._writer.replace(service.key, body, actor=release.deployer).revision
            if revision is None:
                raise ApiError(409, f"revision '{release.revision}': it exists already, with the same configuration")
        else:
            service = self._create(release)
            revision = self.revision(service.latest_created)
        faults = (*release.faults, *(() if release.ready else (Fault(kind="never_ready"),)))
        if faults:
            revision.faults = FaultScript(faults, seed=self.world.seed)
        if release.usage:
            self.use(revision.name, release.usage)
        await self._splitter.open_all()
        return revision

    def set_faults(self, name: str, faults: tuple[Fault, ...], *, restart_clock: bool = False) -> Revision:
        """Replace the fault script of a revision, live; `restart_clock` counts `after_s` from now."""
        revision = self.revision(name)
        script = FaultScript(faults, seed=self.world.seed)
        script.first_traffic_at = clock.now() if restart_clock else revision.faults.first_traffic_at
        revision.faults = script
        if script.never_ready:
            self.reconciler.condemn(revision)
        self._fleet.wake(revision)
        return revision

    async def move_traffic(
        self,
        key: ServiceKey,
        traffic: dict[str, int],
        *,
        tags: dict[str, str] | None = None,
        by: str = DEFAULT_ACTOR,
        client: Client | None = None,
    ) -> None:
        """Write a split (revision or LATEST → percent), as a person with `update-traffic` does; tags are kept."""
        self.write_traffic(key, traffic, tags=tags, by=by, client=client)
        await self._splitter.open_all()

    def write_traffic(
        self,
        key: ServiceKey,
        traffic: dict[str, int],
        *,
        tags: dict[str, str] | None = None,
        by: str = DEFAULT_ACTOR,
        client: Client | None = None,
    ) -> None:
        """`move_traffic` without waiting for the ports of new tags."""
        service = self.world.services[key]
        kept = service.tags() if tags is None else tags
        entries: list[Json] = [{**_target(name), "percent": percent} for name, percent in traffic.items() if percent]
        entries += [{**_target(name), "tag": tag} for tag, name in kept.items()]
        body = render_service(service)
        body["spec"]["traffic"] = entries
        (client or Client()).sign(body)
        self._writer.replace(key, body, actor=by)

    def set_maximum(self, key: ServiceKey, most: int | None) -> None:
        """Set the service's own maximum of instances, as `update --max` does; None takes it away."""
        body = render_service(self.world.services[key])
        body["metadata"]["annotations"].pop(SERVICE_MAX, None)
        if most is not None:
            body["metadata"]["annotations"][SERVICE_MAX] = str(most)
        self._writer.replace(key, body, actor=DEFAULT_ACTOR)

    def race(self, key: ServiceKey, traffic: dict[str, int] | None) -> None:
        """Somebody else writes: a split, or only an annotation that changes the resourceVersion."""
        if traffic is not None:
            self.write_traffic(key, traffic)
            return
        body = render_service(self.world.services[key])
        body["metadata"]["annotations"]["emulator/raced-at"] = clock.iso(clock.now())
        self._writer.replace(key, body, actor=DEFAULT_ACTOR)

    def use(self, name: str, usage: dict[str, float]) -> InstanceUsage:
        """From now on the revision's instances use this much: fields of `ledger.InstanceUsage`."""
        fields: dict[str, Any] = {"since": clock.now(), **usage}
        unknown = sorted(set(usage) - {field.name for field in dataclass_fields(InstanceUsage)})
        if unknown:
            raise ApiError(400, f"usage: unknown key '{unknown[0]}'; known are cpu, memory, demand, instances, …")
        scripted = InstanceUsage(**{**fields, "instances": int(fields.get("instances", 1))})
        self.ledger.set_usage(name, scripted)
        return scripted

    def tag_url(self, key: ServiceKey, tag: str) -> str:
        """Where a tag is, or will be, reached."""
        return self._splitter.tag_url(key, tag)

    async def settle(self, key: ServiceKey) -> Service:
        """Wait until the newest wish of a service has been settled, for good or ill."""
        service = self.world.services[key]
        while service.observed_generation < service.generation:
            await service.routed.wait()
        return service

    def _named(self, service: Service, release: Release) -> Release:
        """With a name, where the traffic list must name the revision before it exists."""
        if release.revision is not None or (release.traffic and release.tag is None and release.percent is None):
            return release
        suffix = f"{self.world.random.getrandbits(20):05x}"
        return release.model_copy(update={"revision": f"{service.key.name}-{service.revisions_made + 1:05d}-{suffix}"})

    def _create(self, release: Release) -> Service:
        body: Json = {
            "metadata": {"name": release.service, "annotations": dict(release.annotations)},
            "spec": {"template": _template(release), "traffic": _traffic_of_new(release)},
        }
        release.sign(body)
        project, region = release.project or "barq-fleet", release.region or self.world.default_region
        return self._writer.create(project, region, body, actor=release.deployer)


def _template(release: Release) -> Json:
    metadata: Json = {"labels": dict(release.labels)}
    if release.revision is not None:
        metadata["name"] = release.revision
    else:
        # Without a name, the same image and environment would be the same revision.
        metadata["labels"]["client.knative.dev/nonce"] = f"{clock.now():.6f}".replace(".", "")
    if release.max_instances is not None:
        metadata["annotations"] = {REVISION_MAX: str(release.max_instances)}
    container: Json = {"image": release.image}
    if release.env:
        container["env"] = [{"name": name, "value": value} for name, value in sorted(release.env.items())]
    return {"metadata": metadata, "spec": {"containers": [container]}}


def _traffic_of_new(release: Release) -> list[Json]:
    latest: Json = {"latestRevision": True, "percent": 100}
    return [latest] if release.tag is None else [latest, {"latestRevision": True, "tag": release.tag}]


def _traffic_after(service: Service, release: Release) -> list[Json]:
    """The traffic list with which `release` is deployed; pins what serves now where LATEST would follow it."""
    tag = [] if release.tag is None else [{**_target(release.revision or LATEST), "tag": release.tag}]
    if release.percent is None and release.traffic:
        return [*_without_tag(service.traffic, release.tag), *tag]
    share = release.percent if release.percent is not None and release.traffic else 0
    serving = [entry for entry in service.status_traffic if entry.get("percent")]
    tags = [{"revisionName": name, "tag": kept} for kept, name in service.tags().items() if kept != release.tag]
    mine = [{**_target(release.revision or LATEST), "percent": share}] if share else []
    return [*mine, *_scaled(serving, 100 - share), *tags, *tag]


def _without_tag(entries: list[Json], tag: str | None) -> list[Json]:
    """The entries, with `tag` free to be given to another revision."""
    freed = [
        {name: value for name, value in entry.items() if name != "tag" or tag is None or value != tag}
        for entry in entries
    ]
    return [entry for entry in freed if "percent" in entry or "tag" in entry]


def _scaled(serving: list[Json], total: int) -> list[Json]:
    """The present split on `total` percent, pinned, by largest remainder."""
    if not total:
        return []
    exact = [entry["percent"] * total / 100 for entry in serving]
    whole = [int(share) for share in exact]
    by_remainder = sorted(range(len(exact)), key=lambda index: whole[index] - exact[index])
    for index in by_remainder[: total - sum(whole)]:
        whole[index] += 1
    pinned = zip(serving, whole, strict=True)
    return [{"revisionName": entry["revisionName"], "percent": share} for entry, share in pinned if share]


def _target(name: str) -> Json:
    return {"latestRevision": True} if name == LATEST else {"revisionName": name}


def _names(services: dict[ServiceKey, Service]) -> str:
    return ", ".join(f"'{key.project}/{key.region}/{key.name}'" for key in sorted(services)) or "none"
