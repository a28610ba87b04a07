"""What makes two revisions the same thing to run: the fingerprint that *known-bad* remembers.

Names, labels, annotations and the time of a deploy are left out on purpose: deploying the same broken thing again gives
it a new name and a fresh nonce, and has to be recognised all the same. A configuration-only deploy has to differ.
"""

import hashlib
import json
from collections.abc import Mapping
from typing import Any

SECRETS_ANNOTATION = "run.googleapis.com/secrets"
"""`alias:projects/P/secrets/NAME,…`: aliases are made up anew by a deploy, so they are replaced by what they mean."""


def fingerprint(revision: Mapping[str, Any]) -> str:
    """Sha256 (hex) over image digest, environment, secret versions, resources and command of a v1 Revision.

    Stable across the order of keys, of variables and of containers; the order of arguments counts. A tag is used where
    the API has not resolved an image to its digest. Values of variables only go in hashed.
    """
    spec, status = _mapping(revision.get("spec")), _mapping(revision.get("status"))
    aliases = _aliases(revision)
    digests = {
        str(item.get("name", "")): str(item.get("imageDigest", "")) for item in _items(status, "containerStatuses")
    }
    containers = _items(spec, "containers")
    parts = []
    for container in containers:
        serves = len(containers) == 1 or bool(container.get("ports"))
        digest = digests.get(str(container.get("name", ""))) or (str(status.get("imageDigest") or "") if serves else "")
        parts.append(_container(container, image=digest or str(container.get("image") or ""), aliases=aliases))
    volumes = sorted(_canonical(_volume(volume, aliases)) for volume in _items(spec, "volumes"))
    whole = _canonical({"containers": sorted(map(_canonical, parts)), "volumes": volumes})
    return hashlib.sha256(whole.encode()).hexdigest()


def _container(container: Mapping[str, Any], *, image: str, aliases: Mapping[str, str]) -> dict[str, Any]:
    mounts = {str(item.get("mountPath", "")): str(item.get("name", "")) for item in _items(container, "volumeMounts")}
    return {
        "image": image.rpartition("@")[2],
        "command": container.get("command") or [],
        "args": container.get("args") or [],
        "env": sorted(_canonical(_variable(item, aliases)) for item in _items(container, "env")),
        "resources": container.get("resources") or {},
        "mounts": mounts,
    }


def _variable(item: Mapping[str, Any], aliases: Mapping[str, str]) -> dict[str, Any]:
    reference = _mapping(_mapping(item.get("valueFrom")).get("secretKeyRef"))
    if reference:
        secret = str(reference.get("name") or "")
        return {"name": item.get("name"), "secret": aliases.get(secret, secret), "version": reference.get("key")}
    value = hashlib.sha256(str(item.get("value") or "").encode()).hexdigest()
    return {"name": item.get("name"), "value": value}


def _volume(volume: Mapping[str, Any], aliases: Mapping[str, str]) -> dict[str, Any]:
    source = _mapping(volume.get("secret"))
    if not source:
        return dict(volume)
    secret = str(source.get("secretName") or "")
    return {
        "name": volume.get("name"),
        "secret": aliases.get(secret, secret),
        "versions": sorted(_canonical([item.get("path"), item.get("key")]) for item in _items(source, "items")),
    }


def _aliases(revision: Mapping[str, Any]) -> dict[str, str]:
    text = _mapping(_mapping(revision.get("metadata")).get("annotations")).get(SECRETS_ANNOTATION)
    pairs = (part.partition(":") for part in str(text or "").split(","))
    return {alias.strip(): secret.strip() for alias, _, secret in pairs if secret}


def _canonical(value: Any) -> str:
    return json.dumps(value, sort_keys=True, separators=(",", ":"), default=str)


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _items(value: Mapping[str, Any], key: str) -> list[Mapping[str, Any]]:
    found = value.get(key)
    return [item for item in found if isinstance(item, Mapping)] if isinstance(found, list) else []
