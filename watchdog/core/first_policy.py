"""The first policy of a service: what `watchdog init` writes, from what Cloud Run tells of it.

It stands in observe mode, it is valid as written, and each line that somebody has to think about says so. Whatever was
not known (nothing was asked, nothing answered) becomes a comment instead of a guess that looks like knowledge.
"""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal

from watchdog.core.model import ServiceKey

Answer = Literal["ok", "failed", "private", "hidden", "unasked"]
"""What a path answered from outside: as it should; wrongly; 401 or 403 before it came to the service; Google's own 404;
nothing that says anything about it."""

OPEN: Final = "all"
"""The ingress setting that lets everybody in."""
GUESSES: Final = ("/health", "/api/health", "/healthcheck", "/")
"""Paths that are tried where the service names none. Those that end in z are Google's own: they never arrive."""
_PLAIN: Final = re.compile(r"[A-Za-z0-9._~/-]+")
_DATABASE: Final = ("database_cpu", "database_memory", "database_disk", "db_connections")


@dataclass(frozen=True, slots=True, kw_only=True)
class FoundProbe:
    """An HTTP path that tells how the service is. `origin` says where it was found, `said` what it answered."""

    name: str
    path: str
    origin: str
    answer: Answer = "unasked"
    said: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Described:
    """What Cloud Run tells of a service before anything watches it."""

    key: ServiceKey
    asked: bool = True
    """False: nobody was asked, so what stands below is not known."""
    url: str = ""
    """Cloud Run's own address of it; empty where there is none."""
    probes: tuple[FoundProbe, ...] = ()
    """In its specification, and reachable from outside."""
    left_out: tuple[str, ...] = ()
    """Probes of its specification that cannot be asked from outside: sentences."""
    ingress: str = OPEN
    iap: bool = False
    databases: tuple[str, ...] = ()
    """Cloud SQL connections, `PROJECT:REGION:INSTANCE`."""
    account: str = ""
    """What the service runs as."""
    image: str = ""
    regions: tuple[str, ...] = ()
    """The regions of a multi-region service."""


def private(described: Described, probes: Sequence[FoundProbe]) -> bool:
    """Whether callers have to prove who they are, as far as answers have shown."""
    return described.iap or any(p.answer == "private" for p in probes)


def text(described: Described, probes: Sequence[FoundProbe]) -> str:
    """The policy as YAML. `probes` are those to write down, asked where that was possible."""
    sections = (
        _head(described),
        _service(described),
        _WINDOWS,
        _probes(described, probes),
        _metrics(described),
        _rows(described),
        _ROLLBACK,
    )
    whole = [list(lines) for lines in sections]
    return "\n".join("\n".join(lines) + "\n" for lines in whole if lines)


def file_name(key: ServiceKey) -> str:
    """Where the policy goes unless somebody says otherwise."""
    return f"{key.name}.yaml"


def kept(probes: Sequence[FoundProbe]) -> list[FoundProbe]:
    """What of several paths is worth writing down: all that may be asked, of guesses the first that answers."""
    guesses = [p for p in probes if not p.origin]
    good = next((p for p in guesses if p.answer in ("ok", "private")), None)
    found = [p for p in probes if p.origin and p.answer != "hidden"]
    return found or ([good] if good is not None else [])


def _head(described: Described) -> list[str]:
    key = described.key
    seen = "as Cloud Run describes it" if described.asked else "without asking Cloud Run: look at each line"
    return [
        f"# What is watched after each deploy of {key.name}, and what is done about it.",
        f"# Written by `watchdog init`, {seen}.",
        "# `watchdog check FILE` prints what it means; docs/policy.md has everything that it can say.",
        "version: 1",
    ]


def _service(described: Described) -> Iterator[str]:
    key = described.key
    yield from ("service:", f"  project: {_scalar(key.project)}", f"  region: {key.region}", f"  name: {key.name}")
    if len(described.regions) > 1:
        yield f"  # One service in several regions ({', '.join(described.regions)}): traffic moves in all at once."
    if described.url:
        yield f"  # Cloud Run's own address: {described.url}"
    if not described.url and described.asked:
        yield "  # Cloud Run gives it no address of its own (the default URL is off), so this one is needed:"
    elif described.ingress != OPEN:
        yield f"  # Ingress is {described.ingress}: that address answers inside Google's network only."
        yield "  # Run the watchdog there, or name the address that users come by:"
    else:
        yield "  # Where users come by a domain or a load balancer, name it: a fault in front of it is then told apart."
    yield "  # url: https://api.example.com"


_WINDOWS: Final = (
    "# Impatient while the deploy is likely to blame, patient when a blip is likelier.",
    "windows:",
    "  immediate:  {until: 15m, probe_every: 5s}",
    "  short_term: {until: 60m, probe_every: 15s, confirm: {failures: 10}}",
    "  extended:   {until: 24h, probe_every: 60s, confirm: {failures: 20}}",
)

_ANSWERS: Final[Mapping[Answer, str]] = {
    "ok": "it answered as it should",
    "failed": "it did NOT pass just now ({said}): mend it or its expectation, or it can never roll back",
    "private": "it let nobody in without a token ({said})",
    "hidden": "",
    "unasked": "not asked",
}


def _probes(described: Described, probes: Sequence[FoundProbe]) -> Iterator[str]:
    yield "# What tells within seconds that the service is down: best one that passes only if it can work."
    for sentence in described.left_out:
        yield f"# {sentence}"
    token = private(described, probes)
    if described.iap:
        yield "# Identity-Aware Proxy is in front: docs/policy.md (probes) says what lets a probe through."
    if token:
        yield "# Callers need a token: the watchdog sends one of its own account, which needs roles/run.invoker."
    yield "probes:"
    auth = ", auth: id_token" if token else ""
    for probe in probes:
        said = _ANSWERS[probe.answer].format(said=probe.said)
        origin = probe.origin or "Found by asking"
        yield f"  # {_one_line(origin)}; {_one_line(said)}."
        yield f"  {probe.name}: {{path: {_scalar(probe.path)}, timeout: 3s{auth}}}"
    if not probes:
        tried = " (tried: " + ", ".join(GUESSES) + ")" if described.asked and described.url else ""
        yield f"  # A GUESS: the service names no HTTP probe{tried}. Put its health endpoint here."
        yield f"  health: {{path: /health, timeout: 3s{auth}}}"
        yield "  # With more to expect: health: {path: /health, expect: {status: 200, json: {status: healthy}}}"


def _metrics(described: Described) -> Iterator[str]:
    if not described.databases:
        return
    first, *others = described.databases
    yield f"# Connected to the Cloud SQL instance {first}."
    for other in others:
        yield f"# Also connected to {other}: a metric of that name can watch one instance."
    yield "metrics:"
    instance = _scalar(_instance(described.key, first))
    for name in _DATABASE:
        yield f"  {name + ':':<16} {{source: cloud_sql, instance: {instance}}}"


def _instance(key: ServiceKey, connection: str) -> str:
    """How Cloud Monitoring names the instance of a connection."""
    project, _, name = connection.rsplit(":", 2)
    return name if project == key.project else f"{project}:{name}"


def _rows(described: Described) -> Iterator[str]:
    yield from (
        "# Success criteria: what has to hold, and what happens otherwise. Put your own limits in.",
        "success_criteria:",
        '  - {metric: error_rate,   target: "< 1%",     action: rollback}',
        '  - {metric: health_check, target: "100%",     action: rollback}',
        '  - {metric: p95_latency,  target: "< 500ms",  action: investigate}',
        '  - {metric: p99_latency,  target: "< 1000ms", action: investigate}',
        "",
        "window_criteria:",
        "  immediate:",
        '    - {metric: error_rate,  target: "< 1.5x before", action: investigate}',
        "  extended:",
        '    - {metric: p50_latency, target: "< 1.5x before", action: investigate}',
        "",
        "alert_thresholds:",
        '  - {metric: cpu_usage,    warning: "> 70%", critical: "> 90%", action: investigate}',
        '  - {metric: memory_usage, warning: "> 80%", critical: "> 90%", action: investigate}',
        "  # Requests that are refused (4xx) and traffic that stays away, compared with before: a word in chat.",
        '  - {metric: client_error_rate, warning: "> 3x before"}',
        '  - {metric: request_drop,      warning: "> 80%"}',
    )
    if described.databases:
        for name in _DATABASE:
            yield f'  - {{metric: {name}, warning: "> 70%", critical: "> 90%", action: investigate}}'


_ROLLBACK: Final = (
    "rollback:",
    "  # observe: everything happens but the write, and each message says what would have been done. After ten deploys",
    "  # `watchdog history` says how often that was right. Then approve (a person confirms), then automatic.",
    "  mode: observe",
    "  # The account that writes, where the watchdog itself shall only read (deploy/README.md, Two identities):",
    "  # impersonate: deploy-watchdog-writer@PROJECT.iam.gserviceaccount.com",
    "  # Both revisions get a tag while they are watched: the old one can then be asked whether going back would help.",
    "  # tag: true",
    "  immediately_if:",
    '    - "error_rate > 5%"',
    '    - "health_check failing"',
    "    - signal: critical_functionality_broken",
    "    - signal: database_corruption",
    "    - signal: security_vulnerability",
)


def _scalar(value: str) -> str:
    """As YAML reads it back, also inside braces."""
    return value if _PLAIN.fullmatch(value) and not re.fullmatch(r"[\d._~-]+", value) else json.dumps(value)


def _one_line(value: str) -> str:
    return " ".join("".join(c if c.isprintable() else " " for c in value).split())
