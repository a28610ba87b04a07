"""State rendered as the Admin API v1 (Knative) answers it."""

import copy

from watchdog.emulator import clock
from watchdog.emulator.api_errors import ApiError
from watchdog.emulator.templates import project_number
from watchdog.emulator.world import Condition, Json, Revision, Service, ServiceKey, World

API_VERSION = "serving.knative.dev/v1"


def render_service(service: Service) -> Json:
    """A v1 Service."""
    key = service.key
    status: Json = {
        "observedGeneration": service.observed_generation,
        "conditions": [_condition(kind, condition) for kind, condition in service.conditions.items()],
        "latestCreatedRevisionName": service.latest_created,
        "traffic": copy.deepcopy(service.status_traffic),
        "url": service.url,
        "address": {"url": service.url},
    }
    if service.latest_ready:
        status["latestReadyRevisionName"] = service.latest_ready
    return {
        "apiVersion": API_VERSION,
        "kind": "Service",
        "metadata": {
            "name": key.name,
            "namespace": project_number(key.project),
            "selfLink": f"/apis/{API_VERSION}/namespaces/{project_number(key.project)}/services/{key.name}",
            "uid": service.uid,
            "resourceVersion": service.resource_version,
            "generation": service.generation,
            "creationTimestamp": clock.iso(service.created_at),
            "labels": dict(service.labels),
            "annotations": {**service.annotations, "run.googleapis.com/operation-id": service.operation_id},
        },
        "spec": {"template": copy.deepcopy(service.template), "traffic": copy.deepcopy(service.traffic)},
        "status": status,
    }


def render_revision(revision: Revision, service: Service | None) -> Json:
    """A v1 Revision; `service` tells whether it is in use."""
    key = revision.key
    in_use = service is not None and any(entry.get("revisionName") == revision.name for entry in service.status_traffic)
    active = Condition(
        status="True" if in_use else "False",
        reason="" if in_use else "Retired",
        message="" if in_use else "Revision retired.",
        changed_at=revision.ready.changed_at,
    )
    conditions = [
        _condition("Ready", revision.ready),
        {**_condition("Active", active), "severity": "Info"},
        _condition("ContainerHealthy", revision.ready),
        _condition("ResourcesAvailable", Condition(status="True", changed_at=revision.created_at)),
    ]
    return {
        "apiVersion": API_VERSION,
        "kind": "Revision",
        "metadata": {
            "name": revision.name,
            "namespace": project_number(key.project),
            "selfLink": f"/apis/{API_VERSION}/namespaces/{project_number(key.project)}/revisions/{revision.name}",
            "uid": revision.uid,
            "resourceVersion": f"AAY{revision.number:08d}",
            "generation": 1,
            "creationTimestamp": clock.iso(revision.created_at),
            "labels": dict(revision.labels),
            "annotations": dict(revision.annotations),
            "ownerReferences": [
                {"kind": "Configuration", "name": key.name, "apiVersion": API_VERSION, "controller": True}
            ],
        },
        "spec": copy.deepcopy(revision.template["spec"]),
        "status": {
            "observedGeneration": 1,
            "conditions": conditions,
            "imageDigest": revision.image_digest,
            "logUrl": f"https://console.cloud.google.com/logs/viewer?project={key.project}"
            f"&resource=cloud_run_revision/service_name/{key.name}/revision_name/{revision.name}",
        },
    }


def render_list(kind: str, items: list[Json], *, limit: int = 0, token: str = "") -> Json:
    """One page of a v1 list: at most `limit` items (0: all) from `token` on."""
    try:
        start = int(token or 0)
    except ValueError:
        raise ApiError(400, f"continue: '{token}' is not a token of this API") from None
    page = items[start : start + limit] if limit else items[start:]
    metadata: Json = {"selfLink": f"/apis/{API_VERSION}"}
    if start + len(page) < len(items):
        metadata["continue"] = str(start + len(page))
    return {"apiVersion": API_VERSION, "kind": kind, "metadata": metadata, "items": page}


def render_operation(world: World, operation_id: str) -> Json:
    """The long-running operation of a write, done when its generation is routed; raises `ApiError` 404."""
    found = world.operations.get(operation_id)
    if found is None:
        raise ApiError(404, f"Operation '{operation_id}' does not exist")
    key, generation = found
    service = world.services.get(key)
    operation: Json = {
        "name": operation_name(key, operation_id),
        "metadata": {"@type": "type.googleapis.com/google.cloud.run.v1.OperationMetadata", "target": key.name},
        "done": service is None or service.observed_generation >= generation,
    }
    if operation["done"] and service is not None:
        operation["response"] = {
            "@type": "type.googleapis.com/google.cloud.run.v1.Service",
            **render_service(service),
        }
    return operation


def operation_name(key: ServiceKey, operation_id: str) -> str:
    """The full name under which gcloud asks for an operation."""
    return f"projects/{key.project}/locations/{key.region}/operations/{operation_id}"


def _condition(kind: str, condition: Condition) -> Json:
    rendered: Json = {
        "type": kind,
        "status": condition.status,
        "lastTransitionTime": clock.iso(condition.changed_at),
    }
    if condition.reason:
        rendered["reason"] = condition.reason
    if condition.message:
        rendered["message"] = condition.message
    return rendered
