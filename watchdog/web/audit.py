"""What an entry of the audit log says about a Cloud Run service: has somebody changed it, or has it become ready?

Shapes (real entries, and https://cloud.google.com/run/docs/audit-logging): an *activity* entry says who asked for a
change, a *system_event* entry that it is ready; `protoPayload.response` is the service afterwards. Reading forgives:
the log holds much that is not for us, and what is not understood is not a change.
"""

import re
from collections.abc import Mapping
from typing import Any, Final, NamedTuple

from watchdog.actions.knative import LOCATION_LABEL
from watchdog.actions.knative_shapes import CLIENT_NAME
from watchdog.core.author import OURS
from watchdog.core.model import ServiceKey

_RESOURCE: Final = re.compile(r"(?:namespaces/([^/]+)|projects/([^/]+)/locations/([^/]+))/services/([^/]+)$")
_CHANGES: Final = frozenset({"CreateService", "ReplaceService", "UpdateService"})
_READY: Final = "Ready condition status changed to True for Service "
_SYSTEM_EVENT: Final = "%2Fsystem_event"


class Change(NamedTuple):
    """A reason to look at a service now. `same` is equal for entries that tell of the same change."""

    service: ServiceKey
    by: str
    what: str
    same: str


def change_of(entry: Mapping[str, Any]) -> Change | None:
    """The change that the entry tells of, unless it failed, was our own, or is about something else.

    Entries that leave the generation as it is (labels and annotations) tell of the change that made it.
    """
    payload = _mapping(entry.get("protoPayload"))
    response = _mapping(payload.get("response"))
    if payload.get("serviceName") != "run.googleapis.com" or _mapping(payload.get("status")).get("code"):
        return None
    service = _service(entry, payload, response)
    if service is None or _client(response) == OURS:
        return None
    if _ready(payload, response):
        what = "ready"
    elif _is_change(payload) and not _text(entry.get("logName")).endswith(_SYSTEM_EVENT):
        what = "changed"
    else:
        return None
    who = _text(_mapping(payload.get("authenticationInfo")).get("principalEmail"))
    return Change(service, who, what, f"{what}:{_identity(entry, response)}")


def _service(entry: Mapping[str, Any], payload: Mapping[str, Any], response: Mapping[str, Any]) -> ServiceKey | None:
    """The service that the entry is about; None for revisions, jobs and whatever names no place."""
    found = _RESOURCE.search(_text(payload.get("resourceName")))
    if found is None:
        return None
    labels = _mapping(_mapping(entry.get("resource")).get("labels"))
    own = _mapping(_mapping(response.get("metadata")).get("labels"))
    project = _text(labels.get("project_id")) or found[1] or found[2]
    region = _text(labels.get("location")) or found[3] or _text(own.get(LOCATION_LABEL))
    return ServiceKey(project=project, region=region, name=found[4]) if region else None


def _is_change(payload: Mapping[str, Any]) -> bool:
    """Whether the method writes services: of v1, of v2 or, for functions, of an internal API."""
    method = _text(payload.get("methodName")).rpartition(".")[2]
    return method.replace("InternalService", "Service") in _CHANGES


def _ready(payload: Mapping[str, Any], response: Mapping[str, Any]) -> bool:
    """Whether a service is ready as it was last asked for: the entry says so, or its v1 or v2 Service shows it."""
    status = _mapping(response.get("status"))
    asked = _mapping(response.get("metadata")).get("generation") or response.get("generation")
    observed = status.get("observedGeneration") or response.get("observedGeneration")
    conditions = status.get("conditions")
    shown = [_mapping(c) for c in conditions] if isinstance(conditions, list) else []
    last = _mapping(response.get("terminalCondition"))
    ready = (
        _text(_mapping(payload.get("status")).get("message")).startswith(_READY)
        or any(c.get("type") == "Ready" and _text(c.get("status")).lower() == "true" for c in shown)
        or (last.get("type") == "Ready" and last.get("state") == "CONDITION_SUCCEEDED")
    )
    return ready and (not observed or str(asked) == str(observed))


def _identity(entry: Mapping[str, Any], response: Mapping[str, Any]) -> str:
    """The service's generation, which one change of its spec raises by one; else the entry itself."""
    metadata = _mapping(response.get("metadata"))
    generation = metadata.get("generation") or response.get("generation")
    if generation:
        return f"{metadata.get('uid') or response.get('uid')}:{generation}"
    return f"{entry.get('insertId')}:{entry.get('timestamp')}"


def _client(response: Mapping[str, Any]) -> str:
    """What wrote the service last, as it called itself."""
    annotations = _mapping(_mapping(response.get("metadata")).get("annotations"))
    return _text(annotations.get(CLIENT_NAME)) or _text(response.get("client"))


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""
