"""How many instances there may be: the service's own limits, and those of its revisions' templates.

A limit of the service is an annotation of the Service: to change it makes no revision, but a new generation. A limit of
a revision stands in its template. Both count; a missing one means Cloud Run's default for a revision, and none for the
service.
"""

from watchdog.emulator.api_errors import ApiError
from watchdog.emulator.ledger import NO_MAXIMUM
from watchdog.emulator.world import Json, Revision, Service

SERVICE_MAX = "run.googleapis.com/maxScale"
SERVICE_MIN = "run.googleapis.com/minScale"
REVISION_MAX = "autoscaling.knative.dev/maxScale"
DEFAULT_MAX = 100


def check_maximum(annotations: Json) -> None:
    """400 for limits that are no whole numbers, or that contradict each other."""
    limits = {}
    for name in (SERVICE_MAX, SERVICE_MIN):
        given = str(annotations.get(name, "")).strip()
        if given and not given.isdigit():
            raise ApiError(400, f"metadata.annotations[{name}]: '{given}' should be a whole number of instances")
        limits[name] = int(given or 0)
    if limits[SERVICE_MAX] and limits[SERVICE_MIN] > limits[SERVICE_MAX]:
        raise ApiError(400, f"metadata.annotations[{SERVICE_MIN}]: should not be above {SERVICE_MAX}")


def scaling_of(annotations: Json) -> tuple[str, str]:
    """The service's limits as they are written."""
    return str(annotations.get(SERVICE_MIN, "")), str(annotations.get(SERVICE_MAX, ""))


def most_instances(service: Service, revision: Revision) -> int:
    """How many instances of the revision there may be."""
    return min(_number(service.annotations, SERVICE_MAX, NO_MAXIMUM), _number(revision.annotations, REVISION_MAX))


def _number(annotations: Json, name: str, default: int = DEFAULT_MAX) -> int:
    text = str(annotations.get(name, ""))
    return int(text) if text.isdigit() and int(text) else default
