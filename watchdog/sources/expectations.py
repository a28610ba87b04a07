"""Whether an answer's body says what a probe expects: a JSON subset match whose every refusal has a sentence.

Strict on purpose, because other probers turn doubt into health (Gatus compares a missing or non-numeric value as 0, so
`errors < 5` passes on an HTML page): missing, null, another type and non-finite numbers all fail. Numbers are compared
exactly, by value (1 equals 1.0); a bool is not a number; objects may have more keys than expected, arrays may not have
more items.
"""

import json
import math
from collections.abc import Mapping, Sequence
from typing import Any, NoReturn

SHOWN = 40
"""Characters of a foreign value that a reason quotes."""


class BodyError(ValueError):
    """The body is not JSON. The text is one clause for a person."""


def parse_json(body: bytes) -> Any:
    """The JSON value of a body; raises `BodyError` for anything else, NaN and Infinity included (RFC 8259, part 6)."""
    if not body.strip():
        raise BodyError("the body is empty, expected JSON")
    try:
        return json.loads(body, parse_constant=_refuse_constant, parse_float=_finite)
    except BodyError:
        raise
    except RecursionError:
        raise BodyError("the body is JSON nested too deeply to be read") from None
    except ValueError as error:  # malformed, not UTF-8, or an integer of thousands of digits
        where = f" (line {error.lineno}, column {error.colno})" if isinstance(error, json.JSONDecodeError) else ""
        raise BodyError(f"the body is not JSON{where}: it begins {_excerpt(body)}") from None


def mismatch(expected: Any, actual: Any, *, path: str = "") -> str | None:
    """Why `actual` does not contain `expected`, as one clause that names the place; None when it does.

    Both are JSON values: None, bool, int, float, str, sequences and mappings with text keys.
    """
    where = path or "the body"
    if isinstance(expected, Mapping):
        if not isinstance(actual, Mapping):
            return f"{where} is {show(actual)}, expected an object"
        return _first_key_mismatch(expected, actual, path)
    if _is_array(expected):
        if not _is_array(actual):
            return f"{where} is {show(actual)}, expected an array"
        if len(expected) != len(actual):
            return f"{where} has {len(actual)} items, expected {len(expected)}"
        found = (mismatch(e, a, path=f"{path}[{i}]") for i, (e, a) in enumerate(zip(expected, actual, strict=True)))
        return next((reason for reason in found if reason), None)
    if _same_scalar(expected, actual):
        return None
    return f"{where} is {show(actual)}, expected {show(expected)}"


def show(value: Any) -> str:
    """A JSON value as a person reads it in a reason, shortened."""
    if isinstance(value, float) and not math.isfinite(value):
        return "not a finite number"
    text = json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= SHOWN else text[: SHOWN - 1] + "…"


def _first_key_mismatch(expected: Mapping[str, Any], actual: Mapping[str, Any], path: str) -> str | None:
    for key, wanted in expected.items():
        place = f"{path}.{key}" if path else str(key)
        if key not in actual:
            return f"{place} is missing, expected {show(wanted)}"
        reason = mismatch(wanted, actual[key], path=place)
        if reason:
            return reason
    return None


def _same_scalar(expected: Any, actual: Any) -> bool:
    if isinstance(expected, bool) or isinstance(actual, bool):
        return expected is actual
    if isinstance(expected, int | float) and isinstance(actual, int | float):
        # NaN equals nothing; an infinite number never is what a service reports.
        return math.isfinite(expected) and math.isfinite(actual) and expected == actual
    return type(expected) is type(actual) and bool(expected == actual)


def _is_array(value: Any) -> bool:
    return isinstance(value, Sequence) and not isinstance(value, str | bytes)


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise BodyError(f"the body holds a number that is not finite ({text[:SHOWN]})")
    return number


def _refuse_constant(text: str) -> NoReturn:
    raise BodyError(f"the body holds {text}, which is not JSON")


def _excerpt(body: bytes) -> str:
    return show(body[: 4 * SHOWN].decode("utf-8", "replace").strip())
