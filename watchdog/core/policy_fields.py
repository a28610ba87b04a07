"""What one key of a policy file may hold: pydantic types that read a text and say in a whole sentence what is wrong.

Each carries the JSON Schema of its text, so editors refuse what the loader would refuse.
"""

import re
from collections.abc import Callable, Mapping
from typing import Annotated
from urllib.parse import urlsplit

from pydantic import AfterValidator, BeforeValidator, Field, WithJsonSchema

from watchdog.core.conditions import format_duration, format_share, parse_duration, parse_share, quoted
from watchdog.core.model import Action
from watchdog.core.suggest import did_you_mean
from watchdog.core.variables import malformed

RESERVED_ACTIONS = ("redeploy_image", "database_rollback")
"""Sections of the file: what they say is done where it is needed, and no row asks for it."""


def _text(value: object) -> str:
    if isinstance(value, Mapping | list):
        raise ValueError(f"{quoted(value)} stands where text belongs")  # noqa: TRY004 - pydantic collects ValueError
    return value if isinstance(value, str) else quoted(value)


def _within(low: float, high: float, show: Callable[[float], str]) -> AfterValidator:
    def check(value: float) -> float:
        if not low <= value <= high:
            raise ValueError(f"{show(value)} is out of range; it must be between {show(low)} and {show(high)}")
        return value

    return AfterValidator(check)


def _whole(low: int, high: int) -> AfterValidator:
    def check(value: int) -> int:
        if not low <= value <= high:
            raise ValueError(f"{quoted(value)} is out of range; it must be between {low} and {high}")
        return value

    return AfterValidator(check)


def matching(pattern: str, what: str) -> tuple[AfterValidator, WithJsonSchema]:
    """A text of this form; `what` names it in the message."""
    compiled = re.compile(pattern)

    def check(value: str) -> str:
        if not compiled.fullmatch(value):
            raise ValueError(f"{quoted(value)} is not {what}")
        return value

    return AfterValidator(check), WithJsonSchema({"type": "string", "pattern": f"^(?:{pattern})$"})


def choice(*names: str) -> tuple[BeforeValidator, WithJsonSchema]:
    """One of these words."""

    def check(value: object) -> object:
        if value not in names:
            off = " (YAML reads off, no and false alike)" if value is False else ""
            raise ValueError(f"{quoted(value)}{off} is not one of {', '.join(names)}{_close(value, names)}")
        return value

    return BeforeValidator(check), WithJsonSchema({"enum": list(names)})


def _close(value: object, names: tuple[str, ...]) -> str:
    hint = did_you_mean(value, names) if isinstance(value, str) else ""
    return "" if hint.startswith("; known") else hint


def _share_or_off(value: object) -> float | None:
    if value is False or (isinstance(value, str) and value.strip().lower() == "off"):
        return None
    if value is True:
        raise ValueError('true is not a share; write for example 20%, or "off"')
    share = parse_share(_text(value))
    if share == 0:
        raise ValueError("0% moves nothing; write off to move all traffic at once")
    return share


def _actions(value: object) -> tuple[Action, ...]:
    items = value if isinstance(value, list) else [value]
    if not 1 <= len(items) <= 2:
        raise ValueError("write one action, or two: the first for warning, the second for critical")
    known = tuple(str(a) for a in Action)
    for item in items:
        if item in RESERVED_ACTIONS:
            raise ValueError(f"{quoted(item)} is reserved for its own section of the file; use {', '.join(known)}")
        if item not in known:
            raise ValueError(f"{quoted(item)} is not one of {', '.join(known)}{_close(item, known)}")
    return tuple(Action(str(item)) for item in items)


def _statuses(value: object) -> tuple[int, ...]:
    items = value if isinstance(value, list) else [value]
    for item in items:
        if isinstance(item, bool) or not isinstance(item, int) or not 100 <= item <= 599:
            raise ValueError(f"{quoted(item)} is not an HTTP status; write for example 200, or [200, 204]")
    if not items:
        raise ValueError("no status can match an empty list; write for example 200")
    return tuple(items)


def _url(value: str) -> str:
    """An absolute HTTP address without credentials, which the journal would keep."""
    if not re.fullmatch(r"[!-~]+", value):
        raise ValueError(f"{quoted(value)} is not an address: it holds spaces or other unprintable characters")
    try:
        parts = urlsplit(value)
        port = parts.port
    except ValueError as error:
        raise ValueError(f"{quoted(value)} is not an address: {error}") from None
    if parts.scheme not in {"http", "https"} or not parts.hostname or port == 0:
        raise ValueError(f"{quoted(value)} is not an address; write for example https://api.example.com")
    if "@" in parts.netloc:
        raise ValueError("an address in a policy must not hold a user name or password")
    if parts.fragment:
        raise ValueError(f"{quoted(value)}: what follows # never reaches a server")
    return value


def _audience(value: str) -> str:
    """A URL, or the OAuth client of Identity-Aware Proxy."""
    if re.fullmatch(r"[0-9a-z-]+\.apps\.googleusercontent\.com", value):
        return value
    try:
        return _url(value)
    except ValueError:
        example = "https://api.example.com or 123-abc.apps.googleusercontent.com"
        raise ValueError(
            f"{quoted(value)} is neither an address nor the client of Identity-Aware Proxy; write for example {example}"
        ) from None


def _base_url(value: str) -> str:
    if "?" in _url(value):
        raise ValueError(f"{quoted(value)} must end before the query: paths are appended to it")
    return value.rstrip("/")


def _headers(value: dict[str, str]) -> dict[str, str]:
    for name, text in value.items():
        if not re.fullmatch(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+", name):
            raise ValueError(f"{quoted(name)} is not the name of a header")
        if not re.fullmatch(r"[\t -~]*", text):
            raise ValueError(f"header {quoted(name)} holds a line break or an unprintable character")
        if name.lower() == "user-agent":
            raise ValueError("User-Agent cannot be changed: it tells the watchdog's own probes from users")
    return value


def _variables(value: dict[str, str]) -> dict[str, str]:
    """Headers of a probe, in which `${NAME}` is a secret of the environment."""
    for name, text in value.items():
        if (wrong := malformed(text)) is not None:
            raise ValueError(f"header {quoted(name)}: {quoted(wrong)} is no variable; write ${{NAME}} in capitals")
    return value


_DURATION_SCHEMA = WithJsonSchema(
    {"type": "string", "pattern": r"^([0-9]+(\.[0-9]+)? ?(ms|s|m|h|d))+$", "examples": ["500ms", "5s", "15m", "24h"]}
)
_SHARE_SCHEMA = WithJsonSchema({"type": "string", "pattern": r"^[0-9]+(\.[0-9]+)? ?%$", "examples": ["20%", "0.5%"]})
_DURATION = BeforeValidator(lambda value: parse_duration(_text(value)))
_SHARE = BeforeValidator(lambda value: parse_share(_text(value)))

Duration = Annotated[float, _DURATION, _within(0, 30 * 86_400, format_duration), _DURATION_SCHEMA]
Interval = Annotated[float, _DURATION, _within(0.1, 86_400, format_duration), _DURATION_SCHEMA]
Length = Annotated[float, _DURATION, _within(1, 30 * 86_400, format_duration), _DURATION_SCHEMA]
Share = Annotated[float, _SHARE, _SHARE_SCHEMA]
Alpha = Annotated[float, _SHARE, _within(1e-6, 0.5, format_share), _SHARE_SCHEMA]
ShareOrOff = Annotated[
    float | None,
    BeforeValidator(_share_or_off),
    WithJsonSchema({"anyOf": [{"type": "string", "pattern": r"^([0-9]+(\.[0-9]+)? ?%|off)$"}, {"const": False}]}),
]
_ACTION_SCHEMA = {"enum": [str(a) for a in Action]}
Actions = Annotated[
    tuple[Action, ...],
    BeforeValidator(_actions),
    WithJsonSchema({"anyOf": [_ACTION_SCHEMA, {"type": "array", "items": _ACTION_SCHEMA, "maxItems": 2}]}),
]
Statuses = Annotated[
    tuple[int, ...],
    BeforeValidator(_statuses),
    WithJsonSchema({"anyOf": [{"type": "integer"}, {"type": "array", "items": {"type": "integer"}, "minItems": 1}]}),
]
Url = Annotated[str, AfterValidator(_url)]
Audience = Annotated[str, AfterValidator(_audience)]
BaseUrl = Annotated[str, AfterValidator(_base_url)]
Headers = Annotated[dict[str, str], AfterValidator(_headers)]
ProbeHeaders = Annotated[dict[str, str], AfterValidator(_headers), AfterValidator(_variables)]
UrlPath = Annotated[str, *matching(r"/[!-\"$-~]*", "a path; it begins with / and holds neither spaces nor #")]
Project = Annotated[str, *matching(r"[a-z0-9](?:[a-z0-9.:-]{0,61}[a-z0-9])?", "a project id, such as barq-fleet")]
Region = Annotated[str, *matching(r"[a-z](?:[a-z0-9-]{0,61}[a-z0-9])?", "a region, such as us-central1")]
ServiceName = Annotated[
    str, *matching(r"[a-z](?:[a-z0-9-]{0,61}[a-z0-9])?", "the name of a Cloud Run service, such as barq-fleet-api")
]
ServiceAccount = Annotated[
    str,
    *matching(
        r"[a-z0-9][a-z0-9-]{0,62}@[a-z0-9][a-z0-9.-]{0,120}\.gserviceaccount\.com",
        "the email address of a service account, such as writer@barq-fleet.iam.gserviceaccount.com",
    ),
]
LabelName = Annotated[
    str, *matching(r"[a-z](?:[a-z0-9_-]{0,62})", "the name of a label of Cloud Run, such as schema-version")
]
Note = Annotated[str, AfterValidator(str.strip), Field(max_length=500)]
Few = Annotated[int, _whole(1, 1000)]
SignalName = Annotated[str, *matching(r"[a-z][a-z0-9_]{0,63}", "a signal; use small letters, digits and _")]
ConditionText = Annotated[str, WithJsonSchema({"type": "string", "examples": ["< 1%", "> 500ms", "< 1.5x before"]})]
