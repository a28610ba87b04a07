"""Executions of a Cloud Run job as the Admin API v2 answers them."""

from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

from watchdog.actions.knative_shapes import integer, items, mapping, name, text, unix
from watchdog.core.model import ServiceKey
from watchdog.ports import Execution


def path_of(place: ServiceKey, job: str) -> str:
    """The job's resource, by its service's project and the region."""
    project, region = quote(place.project, safe=""), quote(place.region, safe="")
    return f"/v2/projects/{project}/locations/{region}/jobs/{quote(job, safe='')}"


def execution(raw: Mapping[str, Any]) -> Execution:
    """Read a v2 Execution. Its end is its `Completed` condition; the counts say it where that is missing."""
    done: bool | None = None
    message = ""
    for condition in items(raw, "conditions"):
        if condition.get("type") == "Completed":
            done = {"CONDITION_SUCCEEDED": True, "CONDITION_FAILED": False}.get(text(condition.get("state")))
            message = text(condition.get("message"))
    if done is None and text(raw.get("completionTime")):
        done = integer(raw.get("failedCount")) + integer(raw.get("cancelledCount")) == 0
    return Execution(
        name=name(raw.get("name")),
        created_at=unix(raw.get("createTime")),
        succeeded=done,
        message="" if done else message,
    )


def started(operation: Mapping[str, Any]) -> Execution:
    """The execution that a `:run` has begun: it stands in the operation's metadata, or in its response when it is
    done."""
    found = mapping(operation.get("metadata"))
    return execution(found if text(found.get("name")) else mapping(operation.get("response")))
