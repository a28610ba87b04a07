"""Shapes in the Admin API's JSON: forgiving readers of what may be missing, and the copy that a write starts from."""

import copy
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final

from watchdog.core.author import OURS

API_VERSION: Final = "serving.knative.dev/v1"
CLIENT_NAME: Final = "run.googleapis.com/client-name"
CLIENT_VERSION: Final = "run.googleapis.com/client-version"


def draft(raw: Mapping[str, Any], resource_version: str, client_version: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """A copy of the Service to be changed, of the version that was read, and its annotations."""
    body: dict[str, Any] = copy.deepcopy(dict(raw))
    body.setdefault("apiVersion", API_VERSION)
    body.setdefault("kind", "Service")
    metadata = own(body, "metadata")
    if resource_version:
        metadata["resourceVersion"] = resource_version
    annotations = own(metadata, "annotations")
    annotations[CLIENT_NAME] = OURS
    annotations[CLIENT_VERSION] = client_version
    return body, annotations


def own(parent: dict[str, Any], key: str) -> dict[str, Any]:
    """The object below `key`, made when it is missing, so that it can be written to."""
    if not isinstance(parent.get(key), dict):
        parent[key] = {}
    child: dict[str, Any] = parent[key]
    return child


def mapping(value: Any) -> Mapping[str, Any]:
    """The object, or an empty one."""
    return value if isinstance(value, Mapping) else {}


def items(value: Mapping[str, Any], key: str) -> list[Mapping[str, Any]]:
    """The objects of the list below `key`."""
    found = value.get(key)
    return [item for item in found if isinstance(item, Mapping)] if isinstance(found, list) else []


def text(value: Any) -> str:
    """The text, or none."""
    return value if isinstance(value, str) else ""


def texts(value: Any) -> dict[str, str]:
    """The object's entries as text."""
    return {str(key): str(item) for key, item in mapping(value).items()}


def name(value: Any) -> str:
    """A bare revision id: some answers hold `projects/…/revisions/NAME`, and the traffic list takes only NAME."""
    return text(value).rpartition("/")[2]


def integer(value: Any, *, default: int = 0) -> int:
    """The whole number, also where it is written as text; `default` for anything else."""
    if isinstance(value, bool) or not isinstance(value, (int, float, str)):
        return default
    try:
        return int(value)
    except (ValueError, OverflowError):
        return default


def unix(value: Any) -> float:
    """Unix seconds of an RFC 3339 time; 0 for anything else."""
    try:
        moment = datetime.fromisoformat(text(value))
    except ValueError:
        return 0.0
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
