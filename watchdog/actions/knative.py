"""The Admin API v1's JSON and our model, each turned into the other. Pure: no network, no clock.

Reading is forgiving, because a service that is being changed lacks fields, and the emulators of others lack more.
Writing is strict: the body is the one that was read, with a new `spec.traffic` and two or three annotations.
"""

import json
from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import Any

from watchdog.actions.fingerprint import fingerprint
from watchdog.actions.knative_shapes import CLIENT_NAME, CLIENT_VERSION
from watchdog.actions.knative_shapes import draft as _draft
from watchdog.actions.knative_shapes import integer as _integer
from watchdog.actions.knative_shapes import items as _items
from watchdog.actions.knative_shapes import mapping as _mapping
from watchdog.actions.knative_shapes import name as _name
from watchdog.actions.knative_shapes import own as _own
from watchdog.actions.knative_shapes import text as _text
from watchdog.actions.knative_shapes import texts as _texts
from watchdog.actions.knative_shapes import unix as _unix
from watchdog.actions.scaling import revision_max, scale_mark, service_max
from watchdog.core.journal import decode_mark, encode_mark
from watchdog.core.model import RevisionState, ServiceKey, ServiceState, Share, Split, Tag, TrialMark
from watchdog.errors import PermanentError

LOCATION_LABEL = "cloud.googleapis.com/location"
GENERATION_LABEL = "serving.knative.dev/configurationGeneration"
SERVICE_LABEL = "serving.knative.dev/service"
ROLLED_BACK = "deploy-watchdog/rolled-back"
TRIAL = "deploy-watchdog/trial"
REGIONS = "run.googleapis.com/regions"
LAST_MODIFIER = "serving.knative.dev/lastModifier"

_IDLE = frozenset({"retired", "retiring", "reserve"})
"""Reasons of a revision that merely has no traffic: it is idle, not broken."""


# --- reading ------------------------------------------------------------------------------------------------------


def service_state(raw: Mapping[str, Any], key: ServiceKey) -> ServiceState:
    """Read a v1 Service. `key` names project and region, because the API answers with the project's number."""
    metadata, spec, status = (_mapping(raw.get(part)) for part in ("metadata", "spec", "status"))
    annotations = _mapping(metadata.get("annotations"))
    latest_created = _name(status.get("latestCreatedRevisionName"))
    latest_ready = _name(status.get("latestReadyRevisionName"))
    observed = _integer(status.get("observedGeneration"))
    generation = _integer(metadata.get("generation"), default=observed)
    ready, message = _condition(status, "Ready")
    shown = _items(status, "traffic")
    wished = _items(spec, "traffic") or [{"latestRevision": True, "percent": 100}]
    latest = latest_ready or latest_created
    return ServiceState(
        project=key.project,
        region=key.region,
        name=key.name,
        url=_text(status.get("url")) or _text(_mapping(status.get("address")).get("url")),
        split=Split(tuple(_shares(shown, latest))),
        desired=Split(tuple(_shares(wished, latest))),
        tags=tuple(_tags(shown, wished, latest)),
        latest_created=latest_created,
        latest_ready=latest_ready,
        generation=generation,
        observed_generation=observed,
        resource_version=_text(metadata.get("resourceVersion")),
        ready=ready if observed == generation else None,
        ready_message=message,
        rolled_back=_text(annotations.get(ROLLED_BACK)),
        trial=_mark(_text(annotations.get(TRIAL))),
        max_instances=service_max(annotations),
        scaled=scale_mark(annotations),
        last_modifier=_text(annotations.get(LAST_MODIFIER)),
        client_name=_text(annotations.get(CLIENT_NAME)),
        client_version=_text(annotations.get(CLIENT_VERSION)),
        spans=tuple(r.strip() for r in _text(annotations.get(REGIONS)).split(",") if r.strip()),
        labels=_texts(metadata.get("labels")),
    )


def service_name(raw: Mapping[str, Any]) -> str:
    """The service's own name, empty where there is none."""
    return _text(_mapping(raw.get("metadata")).get("name"))


def location(raw: Mapping[str, Any]) -> str:
    """The region that the API labels the service with, empty where it does not."""
    return _texts(_mapping(raw.get("metadata")).get("labels")).get(LOCATION_LABEL, "")


def revision_state(raw: Mapping[str, Any]) -> RevisionState:
    """Read a v1 Revision. `image` is the reference with its digest where the API has resolved it."""
    metadata, spec, status = (_mapping(raw.get(part)) for part in ("metadata", "spec", "status"))
    ready, message = _condition(status, "Ready")
    reason = _reason(status)
    ready = ready or reason.lower() in _IDLE
    why = message if reason in message else f"{reason}: {message}"
    containers = _items(spec, "containers")
    serving = next((item for item in containers if item.get("ports")), containers[0] if containers else {})
    return RevisionState(
        name=_text(metadata.get("name")),
        ready=ready,
        reason="" if ready else why or "its Ready condition is not known",
        created_at=_unix(metadata.get("creationTimestamp")),
        image=_text(status.get("imageDigest")) or _text(serving.get("image")),
        tagged_image=_text(serving.get("image")),
        fingerprint=fingerprint(raw),
        max_instances=revision_max(_mapping(metadata.get("annotations"))),
        labels=_texts(metadata.get("labels")),
    )


def newest_first(revisions: Iterable[RevisionState]) -> list[RevisionState]:
    """Order revisions by creation, and by generation where several were created in the same second."""

    def age(state: RevisionState) -> tuple[float, int, str]:
        return state.created_at, _integer(state.labels.get(GENERATION_LABEL)), state.name

    return sorted(revisions, key=age, reverse=True)


def page(raw: Mapping[str, Any]) -> tuple[list[Mapping[str, Any]], str]:
    """The items of one page of a list, and the token of the next page (empty: there is none)."""
    return _items(raw, "items"), _text(_mapping(raw.get("metadata")).get("continue"))


def _shares(entries: Iterable[Mapping[str, Any]], latest: str) -> Iterator[Share]:
    """Entries with percent > 0; entries of one revision and kind become one share, in order of first appearance."""
    percents: dict[tuple[str, bool], int] = {}
    for entry in entries:
        percent = _integer(entry.get("percent"))
        if percent > 0:
            key = (_revision_of(entry, latest), _follows_latest(entry))
            percents[key] = percents.get(key, 0) + percent
    for (revision, follows), percent in percents.items():
        yield Share(revision=revision, percent=percent, latest=follows)


def _tags(shown: Iterable[Mapping[str, Any]], wished: Iterable[Mapping[str, Any]], latest: str) -> Iterator[Tag]:
    """Tags as they are, then those that are only asked for, which have no URL yet."""
    seen: set[str] = set()
    for entries in (shown, wished):
        for entry in entries:
            name = _text(entry.get("tag"))
            if name and name not in seen:
                seen.add(name)
                yield Tag(name=name, revision=_revision_of(entry, latest), url=_text(entry.get("url")))


def _follows_latest(entry: Mapping[str, Any]) -> bool:
    return entry.get("latestRevision") is True or not entry.get("revisionName")


def _mark(text: str) -> TrialMark | None:
    """The trial's mark; None where there is none, or none that we wrote."""
    if not text:
        return None
    try:
        return decode_mark(json.loads(text))
    except (LookupError, TypeError, ValueError, AttributeError):
        return None


def _revision_of(entry: Mapping[str, Any], latest: str) -> str:
    return _name(entry.get("revisionName")) or latest


def _condition(status: Mapping[str, Any], kind: str) -> tuple[bool | None, str]:
    for condition in _items(status, "conditions"):
        if condition.get("type") == kind:
            value = {"true": True, "false": False}.get(_text(condition.get("status")).lower())
            message = _text(condition.get("message")) or _text(condition.get("reason"))
            return value, "" if value else message
    return None, ""


def _reason(status: Mapping[str, Any]) -> str:
    conditions = _items(status, "conditions")
    return next((_text(item.get("reason")) for item in conditions if item.get("type") == "Ready"), "")


# --- writing ------------------------------------------------------------------------------------------------------


def with_traffic(
    raw: Mapping[str, Any],
    split: Split,
    *,
    resource_version: str,
    rolled_back: str | None = None,
    trial: TrialMark | None = None,
    client_version: str = "",
) -> dict[str, Any]:
    """The Service to PUT: what was read, with another split; the template is untouched, so no revision is made.

    Every tag keeps its name and its revision (or keeps following the latest one) as an entry of its own at 0 %, as
    gcloud writes it. `rolled_back` sets our annotation, removes it when empty, and leaves it alone when None; `trial`
    marks a trial rollback, and every other write of ours takes such a mark away. Raises PermanentError for a split that
    is not whole percents adding up to 100.
    """
    if sum(share.percent for share in split.shares) != 100 or any(share.percent <= 0 for share in split.shares):
        raise PermanentError(f"The split {split} does not add up to 100 %, so it was not written")
    body, annotations = _draft(raw, resource_version, client_version)
    if rolled_back:
        annotations[ROLLED_BACK] = rolled_back
    elif rolled_back is not None:
        annotations.pop(ROLLED_BACK, None)
    if trial is not None:
        annotations[TRIAL] = json.dumps(encode_mark(trial), separators=(",", ":"))
    else:
        annotations.pop(TRIAL, None)
    spec = _own(body, "spec")
    spec["traffic"] = [*_percent_entries(split), *_tag_entries(_items(spec, "traffic"))]
    return body


def with_tags(
    raw: Mapping[str, Any],
    *,
    add: Mapping[str, str],
    remove: Collection[str],
    resource_version: str,
    client_version: str = "",
) -> dict[str, Any]:
    """The Service to PUT: what was read, with other tags. Every share, its kind and everybody else's tag stay."""
    body, _ = _draft(raw, resource_version, client_version)
    spec = _own(body, "spec")
    entries = [dict(e) for e in _items(spec, "traffic")] or [{"latestRevision": True, "percent": 100}]
    gone = {*remove, *add}
    kept = []
    for entry in entries:
        if entry.get("tag") in gone:
            if not _integer(entry.get("percent")):
                continue
            entry.pop("tag")
            entry.pop("url", None)
        kept.append(entry)
    spec["traffic"] = [*kept, *({"revisionName": _name(r), "percent": 0, "tag": tag} for tag, r in add.items())]
    return body


def _percent_entries(split: Split) -> Iterator[dict[str, Any]]:
    percents: dict[str | None, int] = {}
    for share in split.shares:
        key = None if share.latest else share.revision
        percents[key] = percents.get(key, 0) + share.percent
    for name, percent in percents.items():
        kind = {"latestRevision": True} if name is None else {"revisionName": _name(name)}
        yield {**kind, "percent": percent}


def _tag_entries(entries: Iterable[Mapping[str, Any]]) -> Iterator[dict[str, Any]]:
    for entry in entries:
        if tag := _text(entry.get("tag")):
            name = _name(entry.get("revisionName"))
            kind = {"latestRevision": True} if _follows_latest(entry) else {"revisionName": name}
            yield {**kind, "percent": 0, "tag": tag}
