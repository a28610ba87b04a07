"""What one step of a journey sends, and what is taken from its answer: pure functions over values."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, urlencode

import aiohttp
import jmespath
from jmespath.exceptions import JMESPathError
from multidict import CIMultiDict
from yarl import URL

from watchdog.core.journey import Assertion, Capture, JourneyExpect, JourneyStep, fill, fill_text, text_of
from watchdog.sources.expectations import BodyError, mismatch, parse_json, show


@dataclass(frozen=True, slots=True, kw_only=True)
class StepRequest:
    """One request, ready to be sent."""

    method: str
    url: URL
    headers: CIMultiDict[str]
    body: bytes | None


@dataclass(frozen=True, slots=True, kw_only=True)
class StepResponse:
    """An answer, read whole. `whole` is False when the body was longer than what is read."""

    status: int
    headers: Mapping[str, str]
    """Ignores case."""
    cookies: Mapping[str, str]
    """What this answer sets."""
    body: bytes
    whole: bool


class CaptureError(Exception):
    """A variable's value is not in the answer. The text is one clause for a person."""


def build_step(step: JourneyStep, base_url: str, variables: Mapping[str, Any], *, user_agent: str) -> StepRequest:
    """The request of a step. Raises `KeyError` for a variable without a value, `aiohttp.InvalidURL` for no address."""
    path = fill_text(step.path, _Quoted(variables))
    try:
        url = URL(f"{base_url.rstrip('/')}/{path.lstrip('/')}", encoded=True)
    except ValueError:
        raise aiohttp.InvalidURL("a step's address") from None
    if url.scheme not in ("http", "https") or not url.host:
        raise aiohttp.InvalidURL("a step's address")
    headers = CIMultiDict({name: fill_text(text, variables) for name, text in step.headers.items()})
    headers["User-Agent"] = user_agent
    body: bytes | None = None
    if step.json_body is not None:
        body = json.dumps(fill(step.json_body, variables), ensure_ascii=False).encode()
        headers.setdefault("Content-Type", "application/json")
    elif step.form:
        body = urlencode({name: fill_text(text, variables) for name, text in step.form.items()}).encode()
        headers.setdefault("Content-Type", "application/x-www-form-urlencoded")
    return StepRequest(method=step.method, url=url, headers=headers, body=body)


class _Quoted(Mapping[str, Any]):
    """Variables as they stand in a path: a value that holds a slash stays one segment."""

    def __init__(self, variables: Mapping[str, Any]) -> None:
        self._variables = variables

    def __getitem__(self, name: str) -> str:
        return quote(text_of(self._variables[name]), safe="")

    def __iter__(self) -> Any:
        return iter(self._variables)

    def __len__(self) -> int:
        return len(self._variables)


# --- what the answer must be --------------------------------------------------------------------------------------


def refusal(expect: JourneyExpect, response: StepResponse, variables: Mapping[str, Any]) -> tuple[str, str] | None:
    """Why the answer is not what was expected, the status apart: a typed reason and a clause; None when it is."""
    for name, wanted in expect.header.items():
        text, found = fill_text(wanted, variables), response.headers.get(name)
        if found is None:
            return "header", f"header {name} is missing, expected {show(text)}"
        if text.lower() not in found.lower():
            return "header", f"header {name} is {show(found)}, expected {show(text)}"
    if expect.text is None and expect.json_subset is None and not expect.assertions:
        return None
    if not response.whole:
        return "too_large", "the body is larger than what a journey reads"
    if expect.text is not None and not re.search(expect.text, response.body.decode("utf-8", "replace")):
        return "text", f"the body does not match {show(expect.text)}"
    return _unlike_json(expect, response.body, variables)


def _unlike_json(expect: JourneyExpect, body: bytes, variables: Mapping[str, Any]) -> tuple[str, str] | None:
    if expect.json_subset is None and not expect.assertions:
        return None
    try:
        value = parse_json(body)
    except BodyError as error:
        return "body", str(error)
    reason = None if expect.json_subset is None else mismatch(fill(expect.json_subset, variables), value)
    if reason:
        return "json", reason
    said = next((text for a in expect.assertions if (text := _unlike(a, value, variables))), "")
    return ("assertion", said) if said else None


def _unlike(assertion: Assertion, value: Any, variables: Mapping[str, Any]) -> str:
    try:
        found = jmespath.search(assertion.jmespath, value)
    except JMESPathError as error:  # a function that was given a value of the wrong type
        return f"{show(assertion.jmespath)} cannot be evaluated: {' '.join(str(error).split())[:80]}"
    wanted = fill(assertion.value, variables)
    if assertion.kind == "contains":
        if isinstance(found, list) and any(mismatch(wanted, item) is None for item in found):
            return ""
        if isinstance(found, str) and isinstance(wanted, str) and wanted in found:
            return ""
        return f"{show(assertion.jmespath)} gives {show(found)}, which does not contain {show(wanted)}"
    expected = True if assertion.kind == "true" else wanted
    same = mismatch(expected, found) is None
    return "" if same else f"{show(assertion.jmespath)} gives {show(found)}, expected {show(expected)}"


# --- what is kept of it -------------------------------------------------------------------------------------------


def captured(capture: Capture, response: StepResponse) -> Any:
    """The value that a step's capture takes from its answer, a JSON value. Raises `CaptureError` where it is not."""
    match capture.kind:
        case "header":
            found: Any = response.headers.get(capture.expression)
        case "cookie":
            found = response.cookies.get(capture.expression)
        case "regex":
            matched = re.search(capture.expression, response.body.decode("utf-8", "replace"))
            found = None if matched is None else matched[1] if matched.re.groups else matched[0]
        case _:
            try:
                found = jmespath.search(capture.expression, parse_json(response.body))
            except BodyError as error:
                raise CaptureError(str(error)) from None
            except JMESPathError as error:
                raise CaptureError(f"{show(capture.expression)} cannot be evaluated: {error}") from None
    if found is None:
        raise CaptureError(f"the answer has no {capture.kind} {show(capture.expression)}")
    return found
