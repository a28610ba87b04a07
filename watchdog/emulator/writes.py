"""What the Admin API accepts at once: create, replace and delete.

A write is checked, changes the wish (`template`, `traffic`, labels, annotations) and returns; what becomes of the wish
is the reconciler's business, which is told through `Writer.on_change`. `replace` compares `metadata.resourceVersion`,
as the real v1 `replaceService` does and v2's traffic patch does not.
"""

import uuid
from collections.abc import Callable
from dataclasses import dataclass

from watchdog.emulator import clock
from watchdog.emulator.api_errors import ApiError, conflict, not_found
from watchdog.emulator.faults import Fault, FaultScript
from watchdog.emulator.scaling import check_maximum, scaling_of
from watchdog.emulator.scripted_images import faults_of_template
from watchdog.emulator.templates import (
    NAME,
    complete_template,
    complete_traffic,
    image_digest,
    project_number,
    same_configuration,
)
from watchdog.emulator.world import Condition, Json, Revision, Service, ServiceKey, World

SERVER_ANNOTATIONS = (
    "serving.knative.dev/creator",
    "run.googleapis.com/operation-id",
    "run.googleapis.com/urls",
    "run.googleapis.com/ingress-status",
)
"""Annotations that a client may send back but not change."""

SUFFIX_LETTERS = "abcdefghjkmnpqrstvwxz"


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """What a write did."""

    service: Service
    revision: Revision | None
    """The new revision, when the template asked for one."""
    spec_changed: bool


class Writer:
    """Applies writes to the world.

    `open_url` gives a new service its public URL; `on_change` is told of every applied change before the call returns.
    """

    def __init__(
        self, world: World, *, open_url: Callable[[ServiceKey], str], on_change: Callable[[Change], None]
    ) -> None:
        self._world = world
        self._open_url = open_url
        self._on_change = on_change

    def create(self, project: str, region: str, body: Json, *, actor: str, dry_run: bool = False) -> Service:
        """POST: a new service; 409 ALREADY_EXISTS when there is one of that name."""
        metadata = body.get("metadata") or {}
        name = str(metadata.get("name", ""))
        if not NAME.fullmatch(name) or len(name) > 49:
            raise ApiError(400, f"metadata.name: '{name}' is not a valid service name")
        key = ServiceKey(project, region, name)
        if key in self._world.services:
            raise ApiError(409, f"Resource '{name}' already exists", status="ALREADY_EXISTS")
        spec = body.get("spec") or {}
        now = clock.now()
        service = Service(
            key=key,
            uid=self._uid(),
            created_at=now,
            creator=actor,
            url="",
            template=complete_template(spec.get("template"), key=key),
            traffic=complete_traffic(spec.get("traffic"), key=key),
        )
        self._check_name(service, service.template)
        check_maximum(metadata.get("annotations") or {})
        faults = faults_of_template(service.template)
        if dry_run:
            return service
        service.url = self._open_url(key)
        self._describe(service, metadata, actor=actor)
        self._world.services[key] = service
        revision = self._make_revision(service, faults, actor=actor)
        self._finish(service, revision, spec_changed=True)
        return service

    def replace(self, key: ServiceKey, body: Json, *, actor: str, dry_run: bool = False) -> Change:
        """PUT: compare, and swap. 404 unknown, 409 ABORTED stale, 400 malformed, 409 ALREADY_EXISTS revision name."""
        service = self._world.services.get(key)
        if service is None:
            raise not_found("SERVICE", key.name, project=key.project, region=key.region)
        metadata, spec = body.get("metadata") or {}, body.get("spec") or {}
        if metadata.get("name") != key.name:
            raise ApiError(400, f"metadata.name: should be '{key.name}', got '{metadata.get('name')}'")
        namespaces = {None, "", key.project, project_number(key.project)}
        if metadata.get("namespace") not in namespaces:
            raise ApiError(400, f"metadata.namespace: should be '{key.project}', got '{metadata.get('namespace')}'")
        version = metadata.get("resourceVersion")
        if version and version != service.resource_version:
            raise conflict(key.name, specified=str(version), current=service.resource_version)
        template = complete_template(spec.get("template"), key=key)
        traffic = complete_traffic(spec.get("traffic"), key=key)
        wants_revision = template != service.template and self._check_name(service, template)
        check_maximum(metadata.get("annotations") or {})
        spec_changed = (
            template != service.template
            or traffic != service.traffic
            or scaling_of(metadata.get("annotations") or {}) != scaling_of(service.annotations)
        )
        faults = faults_of_template(template)
        if dry_run:
            return Change(service=service, revision=None, spec_changed=spec_changed)
        service.template, service.traffic = template, traffic
        self._describe(service, metadata, actor=actor)
        service.generation += 1 if spec_changed else 0
        revision = self._make_revision(service, faults, actor=actor) if wants_revision else None
        return self._finish(service, revision, spec_changed=spec_changed)

    def delete_service(self, key: ServiceKey) -> Service:
        """DELETE a service with all its revisions."""
        service = self._world.services.pop(key, None)
        if service is None:
            raise not_found("SERVICE", key.name, project=key.project, region=key.region)
        for revision in self._world.revisions_of(key):
            del self._world.revisions[key.project, key.region, revision.name]
        service.abandon()
        return service

    def delete_revision(self, key: ServiceKey, name: str) -> Revision:
        """DELETE a revision; 400 FAILED_PRECONDITION while it is tagged, serves, or is the latest."""
        revision, service = self._world.revision(key, name), self._world.services.get(key)
        if revision is None:
            raise not_found("REVISION", name, project=key.project, region=key.region)
        wished = [entry.get("revisionName") for entry in service.traffic] if service else []
        shown = [entry.get("revisionName") for entry in service.status_traffic] if service else []
        latest = service.latest_created if service else ""
        if name in {*wished, *shown, latest}:
            raise ApiError(
                400,
                f"Revision '{name}' cannot be deleted: it is the latest created revision, tagged, or in the traffic"
                f" targets of service '{key.name}'.",
                status="FAILED_PRECONDITION",
            )
        del self._world.revisions[key.project, key.region, name]
        return revision

    def _check_name(self, service: Service, template: Json) -> bool:
        """Whether this template needs a new revision; 409 when its name is taken by a different configuration."""
        name = template["metadata"].get("name")
        if not name:
            return True
        taken = self._world.revisions.get((service.key.project, service.key.region, name))
        if taken is None:
            return True
        if taken.key == service.key and same_configuration(taken.template, template):
            return False
        raise ApiError(
            409, f"Revision named '{name}' with different configuration already exists.", status="ALREADY_EXISTS"
        )

    def _describe(self, service: Service, metadata: Json, *, actor: str) -> None:
        kept = {name: service.annotations[name] for name in SERVER_ANNOTATIONS if name in service.annotations}
        sent = {str(name): str(value) for name, value in (metadata.get("annotations") or {}).items()}
        fresh = {
            "serving.knative.dev/creator": service.creator,
            "run.googleapis.com/ingress-status": "all",
            "run.googleapis.com/urls": f'["{service.url}"]',
        }
        service.annotations = {
            "run.googleapis.com/ingress": "all",
            **sent,
            **fresh,
            **kept,
            "serving.knative.dev/lastModifier": actor,
            "run.googleapis.com/lastModifier": actor,
        }
        service.labels = {
            **{str(name): str(value) for name, value in (metadata.get("labels") or {}).items()},
            "cloud.googleapis.com/location": service.key.region,
        }

    def _uid(self) -> str:
        return str(uuid.UUID(int=self._world.random.getrandbits(128), version=4))

    def _make_revision(self, service: Service, faults: tuple[Fault, ...], *, actor: str) -> Revision:
        service.revisions_made += 1
        metadata = service.template["metadata"]
        suffix = "".join(self._world.random.choice(SUFFIX_LETTERS) for _ in range(3))
        name = metadata.get("name") or f"{service.key.name}-{service.revisions_made:05d}-{suffix}"
        now, key = clock.now(), service.key
        revision = Revision(
            name=name,
            key=key,
            number=service.revisions_made,
            template=service.template,
            labels={
                **metadata["labels"],
                "serving.knative.dev/service": key.name,
                "serving.knative.dev/serviceUid": service.uid,
                "serving.knative.dev/configuration": key.name,
                "serving.knative.dev/configurationGeneration": str(service.revisions_made),
                "cloud.googleapis.com/location": key.region,
            },
            annotations={
                **metadata["annotations"],
                "serving.knative.dev/creator": actor,
                "run.googleapis.com/lastModifier": actor,
            },
            created_at=now,
            uid=self._uid(),
            image_digest=image_digest(str(service.template["spec"]["containers"][0]["image"])),
            faults=FaultScript(faults, seed=self._world.seed),
            ready=Condition(status="Unknown", reason="Deploying", message="Deploying revision.", changed_at=now),
        )
        self._world.revisions[key.project, key.region, name] = revision
        service.latest_created = name
        return revision

    def _finish(self, service: Service, revision: Revision | None, *, spec_changed: bool) -> Change:
        self._world.touch(service)
        self._world.start_operation(service)
        change = Change(service=service, revision=revision, spec_changed=spec_changed)
        if spec_changed:
            service.routed.clear()
        self._on_change(change)
        return change
