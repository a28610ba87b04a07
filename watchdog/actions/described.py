"""What a Cloud Run service's own JSON tells somebody who is to write its first policy. Pure: no network, no clock."""

from collections.abc import Iterator, Mapping
from typing import Any

from watchdog.core.first_policy import OPEN, Described, FoundProbe
from watchdog.core.model import ServiceKey

_INGRESS = "run.googleapis.com/ingress"
_IAP = "run.googleapis.com/iap-enabled"
_URL_OFF = "run.googleapis.com/default-url-disabled"
_REGIONS = "run.googleapis.com/regions"
_DATABASES = "run.googleapis.com/cloudsql-instances"
_PROBES = (("readinessProbe", "ready"), ("livenessProbe", "live"), ("startupProbe", "startup"))


def described(raw: Mapping[str, Any], key: ServiceKey) -> Described:
    """Read a v1 Service. Fields that are not there count as Cloud Run's defaults."""
    metadata, status = _mapping(raw, "metadata"), _mapping(raw, "status")
    annotations = _mapping(metadata, "annotations")
    template = _mapping(_mapping(raw, "spec"), "template")
    spec = _mapping(template, "spec")
    containers = [c for c in _list(spec, "containers") if isinstance(c, Mapping)]
    serving: Mapping[str, Any] = next((c for c in containers if c.get("ports")), containers[0] if containers else {})
    left_out: list[str] = []
    of_template = _mapping(_mapping(template, "metadata"), "annotations")
    named = _text(of_template, _DATABASES)
    return Described(
        key=key,
        url="" if _on(annotations, _URL_OFF) else _text(status, "url") or _text(_mapping(status, "address"), "url"),
        probes=tuple(_probes(serving, left_out)),
        left_out=tuple(left_out),
        ingress=_text(annotations, _INGRESS) or OPEN,
        iap=_on(annotations, _IAP),
        databases=tuple(d for d in (part.strip() for part in named.split(",")) if d.count(":") >= 2),
        account=_text(spec, "serviceAccountName"),
        image=_text(serving, "image"),
        regions=tuple(r for r in (part.strip() for part in _text(annotations, _REGIONS).split(",")) if r),
    )


def _probes(container: Mapping[str, Any], left_out: list[str]) -> Iterator[FoundProbe]:
    """Each path once: that which says most of the service first."""
    ports = [p.get("containerPort") for p in _list(container, "ports") if isinstance(p, Mapping)]
    seen: set[str] = set()
    for kind, name in _PROBES:
        probe = _mapping(container, kind)
        words = kind.removesuffix("Probe")
        if "grpc" in probe:
            left_out.append(f"Its {words} probe is gRPC, which cannot be asked from outside: name an HTTP endpoint.")
        get = _mapping(probe, "httpGet")
        if not get:
            continue
        path = _text(get, "path") or "/"
        path = path if path.startswith("/") else f"/{path}"
        if "#" in path or not path.isascii() or not path.isprintable() or " " in path:
            left_out.append(f"Its {words} probe asks a path that cannot be written here: name an HTTP endpoint.")
        elif get.get("port") is not None and ports and get["port"] not in ports:
            left_out.append(f"Its {words} probe asks port {get['port']}, which only the container itself reaches.")
        elif path not in seen:
            seen.add(path)
            yield FoundProbe(name=name, path=path, origin=f"The {words} probe of its specification")


def _mapping(raw: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    value = raw.get(name)
    return value if isinstance(value, Mapping) else {}


def _list(raw: Mapping[str, Any], name: str) -> list[Any]:
    value = raw.get(name)
    return value if isinstance(value, list) else []


def _text(raw: Mapping[str, Any], name: str) -> str:
    value = raw.get(name)
    return value if isinstance(value, str) else ""


def _on(raw: Mapping[str, Any], name: str) -> bool:
    return _text(raw, name).lower() == "true"
