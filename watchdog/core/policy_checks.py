"""The sections of a policy file that make rows of their own: `logs`, `version_check`, `edge`, `jobs`."""

import re
from collections.abc import Iterator
from typing import Annotated, ClassVar, Final

from pydantic import AfterValidator, BeforeValidator, Field, WithJsonSchema

from watchdog.core.checks import (
    CERTIFICATE,
    CORS,
    HEADERS,
    HTTPS,
    JOB_PREFIX,
    LOGS,
    VERSION,
    Auth,
    CorsCheck,
    EdgeCheck,
    JobCheck,
    LogsCheck,
    VersionCheck,
)
from watchdog.core.conditions import quoted
from watchdog.core.findings import Findings, Path
from watchdog.core.model import Action, Row, Severity, Table, Window
from watchdog.core.policy_fields import (
    Audience,
    BaseUrl,
    Duration,
    Few,
    Interval,
    Length,
    Note,
    Url,
    UrlPath,
    choice,
    matching,
)
from watchdog.core.policy_section import Section, mapped
from watchdog.core.queries import broken_jmespath

FAILURES: Final = 3
"""Failures in a row that break a check which is made often."""
EDGE_FAILURES: Final = 2
DEFAULT_GRACE_S: Final = 300.0
_ANY: Final = frozenset({"present", "any", "*"})
_SCHEDULER: Final = r"[A-Za-z0-9_-]{1,500}|projects/[^/]+/locations/[^/]+/jobs/[A-Za-z0-9_-]{1,500}"


def _pattern(value: str) -> str:
    try:
        re.compile(value)
    except re.error as error:
        raise ValueError(f"{quoted(value)} is not a regular expression: {error}") from None
    return value


def _query(value: str) -> str:
    problem = broken_jmespath(value)
    if problem:
        raise ValueError(problem)
    return value


def _origin(value: str) -> str:
    if not re.fullmatch(r"https?://[^/\s@?#]+", value):
        raise ValueError(f"{quoted(value)} is not an origin; write for example https://app.example.com, without a path")
    return value


def _headers(value: object) -> object:
    if isinstance(value, list):  # a list of names: each must be there
        return {str(name): "present" for name in value}
    return value


_ACTIONS: Final = tuple(str(a) for a in Action)
_Action = Annotated[str, *choice(*_ACTIONS)]
_Auth = Annotated[str, *choice("none", "google", "id_token")]
_Query = Annotated[str, AfterValidator(_query), Field(min_length=1, max_length=5000)]
_Origins = list[Annotated[str, AfterValidator(_origin)]]
_Headers = Annotated[
    dict[str, str],
    BeforeValidator(_headers),
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "object", "additionalProperties": {"type": "string"}},
                {"type": "array", "items": {"type": "string"}},
            ]
        }
    ),
]


class _CheckFile(Section):
    """What every check has."""

    action: _Action | None = None
    """What to do when it fails; `investigate` by default."""
    failures: Few | None = None
    """So many failures in a row break it, and as many passes mend it."""
    note: Note | None = None
    """The team's own words, shown beside the row."""


class LogsFile(Section):
    """No new errors in the log of the new revision."""

    until: Length | None = None
    """So long after the cutover; 5m by default."""
    at_least: Few | None = None
    """A kind of error counts once it was logged so often; 1 by default."""
    ignore: list[Annotated[str, AfterValidator(_pattern), Field(min_length=1, max_length=500)]] | None = None
    """Regular expressions of errors that are known and do no harm."""
    action: _Action | None = None
    """What to do when there are some; `investigate` by default."""
    note: Note | None = None
    """The team's own words, shown beside the row."""


class VersionCheckFile(_CheckFile):
    """Does the version that was deployed answer?"""

    path: UrlPath | None = None
    """Below the service's URL."""
    url: Url | None = None
    """Or a whole address of its own."""
    json_query: _Query | None = Field(None, alias="json")
    """JMESPath of the version in the answer; by default the whole body is the version."""
    expect: (
        Annotated[str, *matching(r"deploy|image|label:[a-z0-9_/.-]{1,100}", "deploy, image or label:NAME")] | None
    ) = None
    """`deploy` (the default): what the notice says, else the image's tag; `image`; `label:NAME`."""
    pattern: Annotated[str, AfterValidator(_pattern), Field(max_length=500)] | None = None
    """A regular expression that the whole version must match, in place of `expect`."""
    auth: _Auth | None = None
    audience: Audience | None = None
    every: Interval | None = None
    """60s by default."""


class CertificateFile(Section):
    """How long the certificate must hold."""

    valid_for: Length | None = None
    """14d by default."""


class CorsFile(Section):
    """Who may read the API from a browser."""

    allowed: _Origins | None = None
    """Origins that must be let in; every other one must not."""
    path: UrlPath | None = None
    """What is asked; `/` by default."""


class EdgeFile(_CheckFile):
    """The way in that users take: certificate, HTTPS, security headers, CORS."""

    url: BaseUrl | None = None
    """By default the service's public URL."""
    path: UrlPath | None = None
    """Whose answer carries the headers; `/` by default."""
    certificate: CertificateFile | bool | None = None
    """Chain and expiry; `{valid_for: 14d}`, or true."""
    https: bool | Url | None = None
    """Plain HTTP must lead to HTTPS or be closed; an address where HTTP would be answered otherwise."""
    headers: _Headers | None = None
    """Name → value, `present` for any; or a list of names."""
    cors: CorsFile | None = None
    every: Interval | None = None
    """5m by default."""


class JobFile(_CheckFile):
    """One job that runs by itself."""

    required: ClassVar = {}
    scheduler: Annotated[str, *matching(_SCHEDULER, "a Cloud Scheduler job")] | None = None
    """The job's name, or its whole resource name."""
    heartbeat: Length | None = None
    """It calls `POST /api/v1/services/SERVICE/heartbeats/JOB` at least so often."""
    grace: Duration | None = None
    """How late it may be; 5m by default."""


def logs_of(value: object, windows: tuple[Window, ...], findings: Findings) -> tuple[LogsCheck | None, list[Row]]:
    """The section `logs` and its row. `logs: true` takes every default."""
    path: Path = ("logs",)
    read = None if value is None or value is False else LogsFile.read({} if value is True else value, path, findings)
    if read is None:
        return None, []
    given = {"until_s": read.until, "at_least": read.at_least, "ignore": tuple(read.ignore or ())}
    check = LogsCheck(**{key: v for key, v in given.items() if v is not None})
    action = Action(read.action or "investigate")
    severity = Severity.CRITICAL if action is Action.ROLLBACK else Severity.WARNING
    row = Row(
        id=LOGS,
        table=Table.CHECK,
        metric=LOGS,
        condition=None,
        action=action,
        severity=severity,
        windows=windows,
        until_s=check.until_s,
    )
    return check, [row]


def version_of(value: object, windows: tuple[Window, ...], findings: Findings) -> tuple[VersionCheck | None, list[Row]]:
    """The section `version_check` and its row."""
    path: Path = ("version_check",)
    read = None if value is None else VersionCheckFile.read(value, path, findings)
    if read is None:
        return None, []
    if read.path is None and read.url is None and not read.spoilt & {"path", "url"}:
        findings.problem(path, "has neither path nor url; write for example path: /version")
    if read.path is not None and read.url is not None:
        findings.problem((*path, "url"), "stands beside path; keep one of them")
    if read.pattern is not None and read.expect is not None:
        findings.problem((*path, "pattern"), "stands beside expect; keep one of them")
    _check_audience(read.audience, read.auth, path, read.spoilt, findings)
    check = VersionCheck(
        path=read.path,
        url=read.url,
        query=read.json_query,
        expect=read.expect or "deploy",
        pattern=read.pattern,
        auth=_auth(read.auth),
        audience=read.audience,
        **({} if read.every is None else {"every_s": read.every}),
    )
    return check, [_row(VERSION, read, windows, FAILURES)]


def edge_of(value: object, windows: tuple[Window, ...], findings: Findings) -> tuple[EdgeCheck | None, list[Row]]:
    """The section `edge` and its rows, one for each thing that it asks."""
    path: Path = ("edge",)
    read = None if value is None else EdgeFile.read(value, path, findings)
    if read is None:
        return None, []
    certificate_s = None
    if read.certificate:
        given = read.certificate.valid_for if isinstance(read.certificate, CertificateFile) else None
        certificate_s = 14 * 86_400.0 if given is None else given
    for name in read.headers or ():
        if not re.fullmatch(r"[A-Za-z0-9-]+", name):
            findings.problem((*path, "headers", name), f"{quoted(name)} is not the name of a header")
    check = EdgeCheck(
        url=read.url,
        path=read.path or "/",
        certificate_s=certificate_s,
        https=bool(read.https),
        http_url=read.https if isinstance(read.https, str) else None,
        headers={n: "" if v.lower() in _ANY else v for n, v in (read.headers or {}).items()},
        cors=None
        if read.cors is None
        else CorsCheck(allowed=tuple(read.cors.allowed or ()), path=read.cors.path or "/"),
        **({} if read.every is None else {"every_s": read.every}),
    )
    rows = [_row(name, read, windows, EDGE_FAILURES) for name in edge_checks(check)]
    if not rows and not read.spoilt:
        findings.problem(path, "asks for nothing; write at least one of certificate, https, headers and cors")
    return check, rows


def edge_checks(check: EdgeCheck) -> Iterator[str]:
    """The checks that an `edge` section asks for."""
    asked = {
        CERTIFICATE: check.certificate_s is not None,
        HTTPS: check.https,
        HEADERS: bool(check.headers),
        CORS: check.cors is not None,
    }
    return (name for name, wanted in asked.items() if wanted)


def jobs_of(value: object, windows: tuple[Window, ...], findings: Findings) -> tuple[dict[str, JobCheck], list[Row]]:
    """The section `jobs`: each job, and its row."""
    made, rows = dict[str, JobCheck](), list[Row]()
    for name, item in mapped(value, ("jobs",), findings).items():
        path: Path = ("jobs", name)
        if not re.fullmatch(r"[a-z][a-z0-9_-]{0,62}", name):
            findings.problem(path, "is no name for a job; use small letters, digits, _ and -")
            continue
        read = JobFile.read(item, path, findings)
        if read is None:
            continue
        if (read.scheduler is None) == (read.heartbeat is None) and not read.spoilt & {"scheduler", "heartbeat"}:
            both = (
                "stands beside heartbeat; keep one of them" if read.scheduler else "has neither scheduler nor heartbeat"
            )
            findings.problem((*path, "scheduler") if read.scheduler else path, both)
        made[name] = JobCheck(
            name=name,
            scheduler=read.scheduler,
            heartbeat_s=read.heartbeat,
            grace_s=DEFAULT_GRACE_S if read.grace is None else read.grace,
        )
        rows.append(_row(f"{JOB_PREFIX}{name}", read, windows, 1))
    return made, rows


def notes_of(rows: list[Row], file: object) -> Iterator[tuple[str, str]]:
    """(row id, the team's words) for every check that has some."""
    sections = file if isinstance(file, dict) else {}
    for row in rows:
        name = row.metric.removeprefix("check.")
        section, _, rest = name.partition(".")
        given = sections.get({"version": "version_check", "job": "jobs"}.get(section, section))
        given = given.get(rest) if section == "job" and isinstance(given, dict) else given
        note = given.get("note") if isinstance(given, dict) else None
        if isinstance(note, str) and note.strip():
            yield row.id, note.strip()


def _row(metric: str, read: _CheckFile, windows: tuple[Window, ...], failures: int) -> Row:
    action = Action(read.action or "investigate")
    return Row(
        id=metric,
        table=Table.CHECK,
        metric=metric,
        condition=None,
        action=action,
        severity=Severity.CRITICAL if action is Action.ROLLBACK else Severity.WARNING,
        windows=windows,
        failures=read.failures or failures,
    )


def _auth(given: str | None) -> Auth:
    return "google" if given == "google" else "id_token" if given == "id_token" else "none"


def _check_audience(
    audience: str | None, auth: str | None, path: Path, spoilt: frozenset[str], findings: Findings
) -> None:
    if audience is not None and auth != "id_token" and "auth" not in spoilt:
        findings.problem((*path, "audience"), "has no meaning without auth: id_token")
