"""The service's maximum of instances in the Admin API's JSON: an annotation of the service, hence no new revision.

`run.googleapis.com/maxScale` on the Service bounds all revisions together; `autoscaling.knative.dev/maxScale` on the
template bounds one revision, and a change of it makes a new one. Missing, zero or unreadable means "not set".
"""

import json
from collections.abc import Mapping
from typing import Any, Final

from watchdog.actions.knative_shapes import draft, integer, text
from watchdog.core.beyond import ScaleMark

SERVICE_MAX: Final = "run.googleapis.com/maxScale"
REVISION_MAX: Final = "autoscaling.knative.dev/maxScale"
SCALED: Final = "deploy-watchdog/scaled-up"


def service_max(annotations: Mapping[str, Any]) -> int:
    """The service's own maximum; 0 when it is not set."""
    return max(0, integer(annotations.get(SERVICE_MAX)))


def revision_max(annotations: Mapping[str, Any]) -> int:
    """A revision's maximum; 0 when it is not set, which means Cloud Run's default."""
    return max(0, integer(annotations.get(REVISION_MAX)))


def scale_mark(annotations: Mapping[str, Any]) -> ScaleMark | None:
    """Our mark; None where there is none, or none that we wrote."""
    try:
        b = json.loads(text(annotations.get(SCALED)) or "null")
        if not isinstance(b, dict):
            return None
        return ScaleMark(
            watch=str(b["watch"]),
            number=int(b["number"]),
            before=int(b["before"]),
            after=int(b["after"]),
            times=tuple(float(t) for t in b["times"]),
        )
    except (LookupError, TypeError, ValueError):
        return None


def with_maximum(
    raw: Mapping[str, Any], instances: int, *, resource_version: str, mark: ScaleMark, client_version: str = ""
) -> dict[str, Any]:
    """The Service to PUT: what was read, with another maximum; template and traffic are untouched."""
    body, annotations = draft(raw, resource_version, client_version)
    annotations[SERVICE_MAX] = str(instances)
    annotations[SCALED] = json.dumps(
        {
            "watch": mark.watch,
            "number": mark.number,
            "before": mark.before,
            "after": mark.after,
            "times": [round(t, 3) for t in mark.times],
        },
        separators=(",", ":"),
    )
    return body
