"""A revision's template as a snapshot, and the Service that makes a new revision from it without giving it traffic."""

import copy
from collections.abc import Mapping
from typing import Any, Final

from watchdog.actions.knative_shapes import draft, items, mapping, name, own, text

_SERVERS: Final = ("serving.knative.dev/", "cloud.googleapis.com/", "client.knative.dev/")
_SERVERS_OWN: Final = frozenset(
    {"run.googleapis.com/lastModifier", "run.googleapis.com/operation-id", "run.googleapis.com/startupProbeType"}
)
"""Labels and annotations that Cloud Run itself puts on a revision."""


def snapshot(raw: Mapping[str, Any]) -> dict[str, Any]:
    """A template that makes the same revision again: what a v1 Revision was made from, its image by digest."""
    metadata, spec = mapping(raw.get("metadata")), copy.deepcopy(dict(mapping(raw.get("spec"))))
    digest = text(mapping(raw.get("status")).get("imageDigest"))
    containers = items(spec, "containers")
    serving = next((c for c in containers if c.get("ports")), containers[0] if containers else None)
    if digest and isinstance(serving, dict):
        serving["image"] = digest
    kept = {part: _theirs(mapping(metadata.get(part))) for part in ("labels", "annotations")}
    return {"metadata": {part: values for part, values in kept.items() if values}, "spec": spec}


def _theirs(values: Mapping[str, Any]) -> dict[str, Any]:
    return {k: v for k, v in values.items() if not k.startswith(_SERVERS) and k not in _SERVERS_OWN}


def with_template(
    raw: Mapping[str, Any],
    template: Mapping[str, Any],
    revision: str,
    *,
    resource_version: str,
    client_version: str = "",
) -> dict[str, Any]:
    """The Service to PUT: what was read, with this template under this name. Whatever followed the latest revision is
    pinned to the one that it followed, so that nobody's share or tag changes."""
    body, _ = draft(raw, resource_version, client_version)
    spec = own(body, "spec")
    latest = name(mapping(raw.get("status")).get("latestReadyRevisionName"))
    made = copy.deepcopy(dict(template))
    own(made, "metadata")["name"] = revision
    spec["template"] = made
    entries = [dict(e) for e in items(spec, "traffic")] or [{"latestRevision": True, "percent": 100}]
    for entry in entries:
        if latest and (entry.get("latestRevision") is True or not entry.get("revisionName")):
            entry.pop("latestRevision", None)
            entry["revisionName"] = latest
    spec["traffic"] = entries
    return body
