"""A journey as values: what a person does with the service, step by step, and how texts with variables are filled in.

A journey is what a probe is, only longer: it passes or fails as a whole. Its steps are kept with the policy in the
journal, so they never hold a secret: `${secret.NAME}` stays as it is written until the step is sent.
"""

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field

SECRET: Final = "secret."  # noqa: S105 - a prefix, not a secret
"""Begins the name of a variable that the environment gives: `${secret.password}`."""
BUILT_IN: Final[Mapping[str, str]] = {
    "run": "twelve letters and digits, other ones in every run",
    "today": "the date of the run in UTC, as 2026-09-21",
    "now": "the time of the run in UTC, as 2026-09-21T14:13:20Z",
}
"""Variables that every journey has."""

_REFERENCE = re.compile(r"\$(\$)?\{([^{}]*)\}")
NAME = re.compile(r"(?:secret\.)?[a-z][a-z0-9_]{0,62}")
"""What may stand between the braces."""

Method = Literal["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"]
CaptureKind = Literal["jmespath", "header", "cookie", "regex"]


class _Value(BaseModel):
    """Frozen and closed, as all parts of a policy."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Capture(_Value):
    """Where a variable's value is taken from in an answer."""

    kind: CaptureKind
    expression: str
    """A JMESPath into the JSON body, the name of a header or cookie, or a regular expression over the body whose first
    group (or whole match) is the value."""


class Assertion(_Value):
    """What a JMESPath into the JSON body must give: exactly `true`, or the value of `equals`, or a list (or text) that
    holds `contains`."""

    jmespath: str
    kind: Literal["true", "equals", "contains"] = "true"
    value: Any = None
    """May hold variables."""


class JourneyExpect(_Value):
    """What the answer to a step must be."""

    status: tuple[int, ...] = (200,)
    json_subset: Any = None
    """A JSON value that the body must contain, variables filled in; None asks nothing."""
    header: Mapping[str, str] = Field(default_factory=dict)
    """Header → a text that its value must contain, without regard to case."""
    text: str | None = None
    """A regular expression that must match somewhere in the body."""
    assertions: tuple[Assertion, ...] = ()


class JourneyStep(_Value):
    """One request, what its answer must be, and what is kept of it."""

    name: str
    method: Method = "GET"
    path: str
    """Below the service's URL; may hold variables, which are quoted."""
    headers: Mapping[str, str] = Field(default_factory=dict)
    json_body: Any = None
    form: Mapping[str, str] = Field(default_factory=dict)
    expect: JourneyExpect = JourneyExpect()
    capture: Mapping[str, Capture] = Field(default_factory=dict)
    timeout_s: float = 5.0
    after: str = ""
    """Of a cleanup step: it has something to do only once this step has passed."""


class Journey(_Value):
    """The content of a journey file."""

    title: str = ""
    steps: tuple[JourneyStep, ...]
    cleanup: tuple[JourneyStep, ...] = ()
    """Sent in any case, in this order, also after a failed step. One whose `after` has not passed, or whose variables
    were never captured, has nothing to clean up and is skipped."""
    variables: Mapping[str, Any] = Field(default_factory=dict)
    """Name → value, which may use the built-in ones and secrets."""
    timeout_s: float = 20.0
    """For all steps together; cleanup has its own time."""

    @property
    def secrets(self) -> tuple[str, ...]:
        """Names of the secrets that it needs, in alphabetical order."""
        texts: list[Any] = [dict(self.variables)]
        for step in (*self.steps, *self.cleanup):
            texts += [parts for _, parts in templates_of(step)]
        names = {name for text in texts for name in references(text) if name.startswith(SECRET)}
        return tuple(sorted(name.removeprefix(SECRET) for name in names))


def templates_of(step: JourneyStep) -> Iterator[tuple[tuple[str | int, ...], Any]]:
    """Every part of a step in which variables are filled in, with its place in the file."""
    yield ("path",), step.path
    yield ("headers",), dict(step.headers)
    yield ("json",), step.json_body
    yield ("form",), dict(step.form)
    yield ("expect", "json"), step.expect.json_subset
    yield ("expect", "header"), dict(step.expect.header)
    for index, assertion in enumerate(step.expect.assertions):
        yield ("expect", "jmespath", index), assertion.value


# --- texts with variables -----------------------------------------------------------------------------------------


def references(value: Any) -> Iterator[str]:
    """The names between `${` and `}` in a JSON value, in order; a doubled dollar sign (`$${`) refers to nothing."""
    if isinstance(value, str):
        yield from (match[2] for match in _REFERENCE.finditer(value) if not match[1])
    elif isinstance(value, Mapping):
        for key, item in value.items():
            yield from references(key)
            yield from references(item)
    elif isinstance(value, list | tuple):
        for item in value:
            yield from references(item)


def placed_references(value: Any, place: tuple[str | int, ...] = ()) -> Iterator[tuple[tuple[str | int, ...], str]]:
    """The same with the place of the text that holds each name."""
    if isinstance(value, Mapping):
        for key, item in value.items():
            yield from ((place, name) for name in references(key))
            yield from placed_references(item, (*place, key))
    elif isinstance(value, list | tuple):
        for index, item in enumerate(value):
            yield from placed_references(item, (*place, index))
    else:
        yield from ((place, name) for name in references(value))


def text_of(value: Any) -> str:
    """A variable's value inside a text: numbers and the like as JSON writes them."""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def fill(value: Any, variables: Mapping[str, Any]) -> Any:
    """The JSON value with its variables filled in. A text that is nothing but one reference keeps the variable's type,
    so that a captured number is sent as a number. Raises `KeyError` for a variable without a value."""
    if isinstance(value, str):
        whole = _REFERENCE.fullmatch(value)
        if whole and not whole[1]:
            return variables[whole[2]]
        return fill_text(value, variables)
    if isinstance(value, Mapping):
        return {fill_text(key, variables): fill(item, variables) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [fill(item, variables) for item in value]
    return value


def fill_text(text: str, variables: Mapping[str, Any]) -> str:
    """The text with its variables filled in. Raises `KeyError` for a variable without a value."""

    def found(match: re.Match[str]) -> str:
        return f"${{{match[2]}}}" if match[1] else text_of(variables[match[2]])

    return _REFERENCE.sub(found, text)
