"""Entries of Cloud Run's audit log in the shapes that Cloud Logging exports, and how Pub/Sub pushes them."""

import base64
import json
from typing import Any

from tests.web.views import NEW
from watchdog.core.model import ServiceKey

UID = "31507df8-baf4-4b1d-9fb3-6951da0cfffb"
DEPLOYER = "jane@example.com"


def service_v1(
    key: ServiceKey, *, generation: int = 7, ready: str = "True", client: str = "gcloud", **changes: Any
) -> dict[str, Any]:
    """The v1 Service of an entry's `response`."""
    return {
        "@type": "type.googleapis.com/google.cloud.run.v1.Service",
        "apiVersion": "serving.knative.dev/v1",
        "kind": "Service",
        "metadata": {
            "name": key.name, "namespace": "125992521190", "uid": UID, "generation": generation,
            "selfLink": f"/apis/serving.knative.dev/v1/namespaces/125992521190/services/{key.name}",
            "resourceVersion": "AAXDIkEBm98",
            "labels": {"cloud.googleapis.com/location": key.region},
            "annotations": {
                "run.googleapis.com/client-name": client, "serving.knative.dev/lastModifier": DEPLOYER,
            },
        },
        "spec": {"traffic": [{"percent": 100, "latestRevision": True}]},
        "status": {
            "observedGeneration": generation,
            "conditions": [{"type": "RoutesReady", "status": "True"}, {"type": "Ready", "status": ready}],
            "latestReadyRevisionName": NEW, "latestCreatedRevisionName": NEW,
            "traffic": [{"revisionName": NEW, "percent": 100, "latestRevision": True}],
        },
    } | changes  # fmt: skip


def service_v2(key: ServiceKey, *, state: str = "CONDITION_SUCCEEDED", client: str = "terraform") -> dict[str, Any]:
    """The v2 Service, as Terraform's entries show it."""
    return {
        "@type": "type.googleapis.com/google.cloud.run.v2.Service",
        "name": f"projects/{key.project}/locations/{key.region}/services/{key.name}", "uid": UID,
        "generation": "7", "observedGeneration": "7", "client": client,
        "terminalCondition": {"type": "Ready", "state": state},
    }  # fmt: skip


def ready_entry(key: ServiceKey, *, insert_id: str = "-xujmfncgd0", **service: Any) -> dict[str, Any]:
    """A `system_event`: the service has become ready."""
    return _entry(
        key, "system_event", insert_id,
        status={"message": f"Ready condition status changed to True for Service {key.name}."},
        methodName="/Services.ReplaceService", resourceName=f"namespaces/{key.project}/services/{key.name}",
        response=service_v1(key, **service),
    )  # fmt: skip


def change_entry(key: ServiceKey, *, insert_id: str = "1a2b3c4d5e6", **changes: Any) -> dict[str, Any]:
    """An `activity`: somebody has asked for a change, which is not ready yet. `changes` are of `protoPayload`."""
    payload = {
        "authenticationInfo": {"principalEmail": DEPLOYER},
        "methodName": "google.cloud.run.v1.Services.ReplaceService",
        "resourceName": f"namespaces/{key.project}/services/{key.name}",
        "response": service_v1(key, ready="Unknown"),
    }  # fmt: skip
    return _entry(key, "activity", insert_id, **(payload | changes))


def _entry(key: ServiceKey, log: str, insert_id: str, **payload: Any) -> dict[str, Any]:
    return {
        "protoPayload": {
            "@type": "type.googleapis.com/google.cloud.audit.AuditLog", "serviceName": "run.googleapis.com", **payload
        },
        "insertId": insert_id,
        "resource": {
            "type": "cloud_run_revision",
            "labels": {
                "project_id": key.project, "location": key.region, "service_name": key.name,
                "revision_name": "", "configuration_name": "",
            },
        },
        "timestamp": "2026-09-21T14:13:19.482143Z", "receiveTimestamp": "2026-09-21T14:13:20.131933174Z",
        "severity": "NOTICE", "logName": f"projects/{key.project}/logs/cloudaudit.googleapis.com%2F{log}",
    }  # fmt: skip


def pushed(entry: Any, *, message_id: str = "8817453211967325") -> dict[str, Any]:
    """The entry as Pub/Sub pushes it."""
    at = "2026-09-21T14:13:20.402Z"
    return {
        "message": {
            "data": base64.b64encode(json.dumps(entry).encode()).decode(),
            "attributes": {"logging.googleapis.com/timestamp": "2026-09-21T14:13:19.482143Z"},
            "messageId": message_id, "message_id": message_id, "publishTime": at, "publish_time": at,
        },
        "subscription": "projects/barq-fleet/subscriptions/watchdog",
        "deliveryAttempt": 1,
    }  # fmt: skip
