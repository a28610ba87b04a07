"""Kubernetes label selectors, in the forms that Cloud Run's clients send."""

import re
from collections.abc import Callable, Mapping

from watchdog.emulator.api_errors import ApiError

Matcher = Callable[[Mapping[str, str]], bool]

_NAME = r"[A-Za-z0-9._/-]+"
_EQUALITY = re.compile(rf"({_NAME})\s*(==|=|!=)\s*([A-Za-z0-9._-]*)")
_MEMBERSHIP = re.compile(rf"({_NAME})\s+(in|notin)\s*\(([^)]*)\)")
_PRESENCE = re.compile(rf"(!?)\s*({_NAME})")
_COMMA = re.compile(r",(?![^(]*\))")


def parse_selector(text: str) -> Matcher:
    """A predicate over labels; an empty selector matches everything. Raises `ApiError` 400."""
    parts = [_parse_part(part.strip()) for part in _COMMA.split(text)] if text.strip() else []
    return lambda labels: all(part(labels) for part in parts)


def _parse_part(part: str) -> Matcher:
    if found := _EQUALITY.fullmatch(part):
        name, operator, value = found.groups()
        if operator == "!=":
            return lambda labels: labels.get(name) != value
        return lambda labels: labels.get(name) == value
    if found := _MEMBERSHIP.fullmatch(part):
        name, operator, values = found.groups()
        allowed = {value.strip() for value in values.split(",")}
        if operator == "in":
            return lambda labels: labels.get(name) in allowed
        return lambda labels: labels.get(name) not in allowed
    if found := _PRESENCE.fullmatch(part):
        absent, name = found.groups()
        return lambda labels: (name not in labels) if absent else (name in labels)
    raise ApiError(400, f"labelSelector: '{part}' is not a requirement")
