"""Revision templates and traffic lists as the server completes, compares and refuses them.

A client that reads a service and writes it back must not make a revision, so defaults are filled in before anything is
stored or compared. Traffic lists are validated as far as the server does it at once; a revision that does not exist is
found out later, by the reconciler.
"""

import copy
import hashlib
import re
from typing import Any

from watchdog.emulator.api_errors import ApiError
from watchdog.emulator.world import Json, ServiceKey

TAG = re.compile(r"[a-z]([-a-z0-9]*[a-z0-9])?")
NAME = re.compile(r"[a-z]([-a-z0-9]{0,61}[a-z0-9])?")
PROJECT_NUMBER_DIGITS = 12


def project_number(project: str) -> str:
    """A number that stands for the project in namespaces and service accounts, the same on every run."""
    return str(int(hashlib.sha256(project.encode()).hexdigest(), 16))[:PROJECT_NUMBER_DIGITS]


def image_digest(image: str) -> str:
    """`IMAGE@sha256:…`, always the same for the same reference."""
    if "@sha256:" in image:
        return image
    name, colon, tag = image.rpartition(":")
    if not colon or "/" in tag:
        name, tag = image, "latest"
    return f"{name}@sha256:{hashlib.sha256(f'{name}:{tag}'.encode()).hexdigest()}"


def complete_template(raw: object, *, key: ServiceKey) -> Json:
    """The template with the defaults that Cloud Run fills in; raises `ApiError` 400 when it can't be deployed."""
    if not isinstance(raw, dict):
        raise ApiError(400, "spec.template: should be set")
    template: Json = _without_nulls(copy.deepcopy(raw))
    metadata = template.setdefault("metadata", {})
    metadata.pop("creationTimestamp", None)
    metadata.setdefault("labels", {}).setdefault("run.googleapis.com/startupProbeType", "Default")
    metadata.setdefault("annotations", {}).setdefault("autoscaling.knative.dev/maxScale", "100")
    name = metadata.get("name")
    if name is not None and (not str(name).startswith(f"{key.name}-") or not NAME.fullmatch(str(name))):
        raise ApiError(
            400,
            f"spec.template.metadata.name: '{name}' should be a DNS label prefixed with the service's, '{key.name}-'",
        )
    spec = template.setdefault("spec", {})
    spec.setdefault("containerConcurrency", 80)
    spec.setdefault("timeoutSeconds", 300)
    spec.setdefault("serviceAccountName", f"{project_number(key.project)}-compute@developer.gserviceaccount.com")
    containers = spec.get("containers")
    if not isinstance(containers, list) or not containers or not containers[0].get("image"):
        raise ApiError(400, "spec.template.spec.containers: should name at least one container with an image")
    main = containers[0]
    main.setdefault("ports", [{"name": "http1", "containerPort": 8080}])
    limits = main.setdefault("resources", {}).setdefault("limits", {})
    limits.setdefault("cpu", "1000m")
    limits.setdefault("memory", "512Mi")
    main.setdefault(
        "startupProbe",
        {"timeoutSeconds": 240, "periodSeconds": 240, "failureThreshold": 1, "tcpSocket": {"port": 8080}},
    )
    return template


def same_configuration(one: Json, other: Json) -> bool:
    """Whether two completed templates ask for the same revision, whatever they are called."""
    return _nameless(one) == _nameless(other)


def complete_traffic(raw: object, *, key: ServiceKey) -> list[Json]:
    """The traffic list in stored form; raises `ApiError` 400.

    An empty list means everything to the latest Ready revision. Percents of zero are left out, as in every answer of
    the real API.
    """
    if raw is None or raw == []:
        return [{"latestRevision": True, "percent": 100}]
    if not isinstance(raw, list):
        raise ApiError(400, "spec.traffic: should be a list")
    entries = [_complete_entry(entry, index) for index, entry in enumerate(raw)]
    total = sum(int(entry.get("percent", 0)) for entry in entries)
    if total != 100:
        raise ApiError(400, f"spec.traffic: percents of traffic targets should sum to 100, got {total}")
    tags = [entry["tag"] for entry in entries if "tag" in entry]
    for tag in tags:
        if tags.count(tag) > 1:
            raise ApiError(400, f"spec.traffic: tag '{tag}' is used more than once")
        if not TAG.fullmatch(tag) or len(tag) + len(key.name) > 46:
            raise ApiError(400, f"spec.traffic: tag '{tag}' is not a valid tag for service '{key.name}'")
    return entries


def _complete_entry(raw: object, index: int) -> Json:
    where = f"spec.traffic[{index}]"
    if not isinstance(raw, dict):
        raise ApiError(400, f"{where}: should be an object")
    name, latest, percent, tag = (raw.get(field) for field in ("revisionName", "latestRevision", "percent", "tag"))
    if bool(name) == bool(latest):
        raise ApiError(400, f"{where}: exactly one of revisionName and latestRevision should be set")
    if name and not NAME.fullmatch(str(name)):
        raise ApiError(400, f"{where}.revisionName: '{name}' is not a revision id")
    if percent is not None and (isinstance(percent, bool) or not isinstance(percent, int) or not 0 <= percent <= 100):
        raise ApiError(400, f"{where}.percent: should be a whole number from 0 to 100, got {percent!r}")
    entry: Json = {"revisionName": name} if name else {"latestRevision": True}
    if percent:
        entry["percent"] = percent
    if tag:
        entry["tag"] = str(tag)
    return entry


def _nameless(template: Json) -> Json:
    metadata = {key: value for key, value in template["metadata"].items() if key != "name"}
    return {**template, "metadata": metadata}


def _without_nulls(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_nulls(item) for key, item in value.items() if item is not None}
    if isinstance(value, list):
        return [_without_nulls(item) for item in value]
    return value
