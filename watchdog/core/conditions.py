"""Durations, shares and conditions: the small language in which a team's tables are written, and how it is shown again.

Every parser answers in base units (seconds, ratio 0..1, bytes, per second, count) or raises `ValueError` with a whole
sentence that quotes the text and proposes what was probably meant.
"""

import re
from collections.abc import Mapping
from decimal import Decimal
from typing import Final

from watchdog.core.catalogue import UNITS, Dimension
from watchdog.core.model import Condition
from watchdog.core.suggest import closest

_NUMBER: Final = r"[0-9]{1,15}(?:\.[0-9]{1,9})?"

_DURATION: Final = re.compile(
    rf"(?:(?P<d>{_NUMBER}) ?d)?(?:(?P<h>{_NUMBER}) ?h)?(?:(?P<m>{_NUMBER}) ?m(?!s))?(?:(?P<s>{_NUMBER}) ?s)?"
    rf"(?:(?P<ms>{_NUMBER}) ?ms)?"
)
_MILLISECONDS: Final = {"d": 86_400_000, "h": 3_600_000, "m": 60_000, "s": 1000, "ms": 1}
_LONG_UNITS: Final = {
    "msec": "ms",
    "millis": "ms",
    "milliseconds": "ms",
    "millisecond": "ms",
    "sec": "s",
    "secs": "s",
    "second": "s",
    "seconds": "s",
    "min": "m",
    "mins": "m",
    "minute": "m",
    "minutes": "m",
    "hr": "h",
    "hrs": "h",
    "hour": "h",
    "hours": "h",
    "day": "d",
    "days": "d",
}
LONGEST_S: Final = 365 * 86_400.0
"""No duration of a policy is longer than a year."""

_CONDITION: Final = re.compile(
    rf"(?P<op>[<>=≤≥!]{{0,3}})\s*(?P<number>[+-]?{_NUMBER})\s*(?P<unit>[^\s0-9.]*)\s*(?P<before>before)?"
)
_OPERATORS: Final = ("<", "<=", ">", ">=")
_MEANT_OPERATORS: Final = {"=<": "<=", "=>": ">=", "≤": "<=", "≥": ">=", "<<": "<", ">>": ">"}
_MEANT_UNITS: Final = {
    **{long: short for long, short in _LONG_UNITS.items() if short in UNITS},
    "%%": "%",
    "percent": "%",
    "pct": "%",
    "/sec": "/s",
    "/minute": "/min",
    "rps": "/s",
    "qps": "/s",
    "req/s": "/s",
    "b": "bytes",
    "byte": "bytes",
}
_MEASURED_IN: Final = {
    Dimension.RATIO: "%",
    Dimension.TIME: "ms, s or m",
    Dimension.BYTES: "MB or GB",
    Dimension.RATE: "/s or /min",
    Dimension.BANDWIDTH: "kB/s or MB/s",
    Dimension.COUNT: "a number without a unit",
}
_NAMES: Final = {
    Dimension.RATIO: "a share",
    Dimension.TIME: "a time",
    Dimension.BYTES: "an amount of memory",
    Dimension.RATE: "a rate",
    Dimension.BANDWIDTH: "a bandwidth",
    Dimension.COUNT: "a count",
}
_EXAMPLES: Final = {
    Dimension.RATIO: "< 1%",
    Dimension.TIME: "< 500ms",
    Dimension.BYTES: "< 512MB",
    Dimension.RATE: "> 10/s",
    Dimension.BANDWIDTH: "> 10MB/s",
    Dimension.COUNT: "< 100",
}


def quoted(text: object) -> str:
    """A value as a message shows it: in quotes, on one line, not longer than a line."""
    if text is None:
        return "nothing"
    if isinstance(text, Mapping | list):
        return "a list" if isinstance(text, list) else "a mapping"
    shown = " ".join(str(text).split())
    shown = shown.lower() if isinstance(text, bool) else shown
    shown = shown if len(shown) <= 60 else shown[:57] + "…"
    return f'"{shown}"' if isinstance(text, str) else shown


# --- durations ----------------------------------------------------------------------------------------------------


def parse_duration(text: str) -> float:
    """Seconds in `500ms`, `5s`, `15m`, `24h`, `2d` or `1h30m`. A bare number is refused: nobody can see its unit."""
    word = text.strip()
    match = _DURATION.fullmatch(word)
    if not word or match is None:
        raise ValueError(_wrong_duration(word))
    total = sum(Decimal(value) * _MILLISECONDS[unit] for unit, value in match.groupdict().items() if value)
    if total != int(total):
        raise ValueError(f"{quoted(word)} is finer than a millisecond")
    if total > int(LONGEST_S * 1000):
        raise ValueError(f"{quoted(word)} is longer than a year")
    return int(total) / 1000


def _wrong_duration(word: str) -> str:
    if re.fullmatch(_NUMBER, word):
        return f'{quoted(word)} has no unit; did you mean "{word}s"?'
    if re.fullmatch(rf"-\s*{_NUMBER}\s*\w*", word):
        return f"{quoted(word)} is negative; a duration is not"
    meant = re.fullmatch(rf"({_NUMBER})\s*([A-Za-z]+)", word)
    if meant:
        unit = meant[2].lower()
        unit = _LONG_UNITS.get(unit, unit)
        if unit in _MILLISECONDS:
            return f'{quoted(word)} is not a duration; did you mean "{meant[1]}{unit}"?'
    return f"{quoted(word)} is not a duration; write for example 500ms, 5s, 15m, 24h or 2d"


def format_duration(seconds: float) -> str:
    """The shortest text that `parse_duration` reads back: `15m`, `1h30m`, `1.5s`, `24h`, `2d`. Rounded to 1 ms."""
    ms = round(seconds * 1000)
    if ms < 0:
        return "-" + format_duration(-seconds)
    if 0 < ms < 1000:
        return f"{ms}ms"
    days = ms // 86_400_000 if ms >= 2 * 86_400_000 else 0
    ms -= days * 86_400_000
    hours, ms = divmod(ms, 3_600_000)
    minutes, ms = divmod(ms, 60_000)
    rest = f"{ms // 1000}" + (f".{ms % 1000:03d}".rstrip("0") if ms % 1000 else "")
    parts = [f"{n}{unit}" for n, unit in ((days, "d"), (hours, "h"), (minutes, "m")) if n]
    return "".join(parts) + (f"{rest}s" if ms or not parts else "")


# --- shares -------------------------------------------------------------------------------------------------------


def parse_share(text: str) -> float:
    """A ratio 0..1 from `20%`. Bare numbers are refused: 0.2 and 20 both happen, and one of them is wrong."""
    word = text.strip()
    match = re.fullmatch(rf"({_NUMBER})\s*%", word)
    if match is None:
        if re.fullmatch(_NUMBER, word):
            raise ValueError(f'{quoted(word)} has no unit; did you mean "{_as_percent(float(word))}"?')
        raise ValueError(f"{quoted(word)} is not a share; write for example 20%")
    ratio = float(Decimal(match[1]) / 100)
    if ratio > 1.0:
        raise ValueError(f"{quoted(word)} is more than all; a share is 100% at most")
    return ratio


def _as_percent(number: float) -> str:
    return f"{number * 100:g}%" if 0 < number < 1 else f"{number:g}%"


def format_share(ratio: float) -> str:
    """`0.005` → `0.5%`."""
    return f"{_digits(ratio * 100)}%"


# --- conditions ---------------------------------------------------------------------------------------------------


def parse_condition(text: str, dimension: Dimension | None, *, bare_share: bool = False) -> Condition:
    """The condition that `< 500ms`, `>= 99.5%` or `< 1.5x before` states about a metric of this dimension.

    `dimension` None takes any unit (a pending metric that does not tell its own). `bare_share` reads `100%` as
    `>= 100%`, as a health check's target is written. `Condition.unit` is the unit as written (`x` when relative).
    """
    example = _EXAMPLES.get(dimension, "< 100") if dimension else "< 100"
    word = " ".join(text.split())
    match = _CONDITION.fullmatch(word)
    if match is None:
        raise ValueError(f'{quoted(word)} is not a condition; write an operator and a number, for example "{example}"')
    op, number, unit = match["op"], match["number"], match["unit"]
    if number.startswith(("-", "+")):
        raise ValueError(f"{quoted(word)}: the number must be written without a sign")
    if unit.lower().endswith("before") and unit.lower() != "before" and not match["before"]:
        unit, before = unit[: -len("before")], True
    else:
        before = bool(match["before"]) or unit.lower() == "before"
    if bare_share and not op and unit == "%" and not before:
        return Condition(op=">=", value=_share(number, word), unit="%", relative=False, text=word)
    if op not in _OPERATORS:
        raise ValueError(_wrong_operator(word, op, number, match["unit"], bare_share=bare_share))
    if before or unit.lower() in {"x", "×"}:
        return _relative(word, op, number, unit, before=before)
    value = _absolute(word, op, number, unit, dimension)
    return Condition(op=op, value=value, unit=unit, relative=False, text=word)


def _wrong_operator(word: str, op: str, number: str, unit: str, *, bare_share: bool) -> str:
    if op in _MEANT_OPERATORS:
        return f'{quoted(word)}: "{op}" is not an operator; did you mean "{_MEANT_OPERATORS[op]} {number}{unit}"?'
    if op:
        return f'{quoted(word)}: "{op}" is not an operator; use <, <=, > or >='
    if bare_share:
        return f'{quoted(word)} has no operator; write "100%" or for example ">= 99%"'
    return f'{quoted(word)} has no operator; did you mean "< {number}{unit}" or "> {number}{unit}"?'


def _relative(word: str, op: str, number: str, unit: str, *, before: bool) -> Condition:
    if unit.lower() not in {"x", "×"} or not before or unit != "x":
        raise ValueError(f'{quoted(word)} is half a comparison; did you mean "{op} {number}x before"?')
    factor = float(Decimal(number))
    if not 0 < factor <= 1000:
        raise ValueError(f"{quoted(word)}: the factor must be above 0 and at most 1000")
    return Condition(op=op, value=factor, unit="x", relative=True, text=word)


def _share(number: str, word: str) -> float:
    ratio = float(Decimal(number) / 100)
    if ratio > 1.0:
        raise ValueError(f"{quoted(word)} is more than all; a share is 100% at most")
    return ratio


def _absolute(word: str, op: str, number: str, unit: str, dimension: Dimension | None) -> float:
    if not unit:
        if dimension in {None, Dimension.COUNT}:
            return float(Decimal(number))
        raise ValueError(f'{quoted(word)} has no unit; did you mean "{op} {_with_unit(number, dimension)}"?')
    if unit not in UNITS or unit in {"ratio", "count"}:
        raise ValueError(_wrong_unit(word, op, number, unit, dimension))
    found, size = UNITS[unit]
    if dimension is not None and found is not dimension:
        raise ValueError(
            f"{quoted(word)} has an impossible unit: {_NAMES[dimension]} is measured in {_MEASURED_IN[dimension]}"
        )
    if found is Dimension.RATIO:
        return _share(number, word)
    return float(Decimal(number) * Decimal(str(size)))


def _with_unit(number: str, dimension: Dimension | None) -> str:
    value = float(number)
    if dimension is Dimension.RATIO:
        return _as_percent(value)
    if dimension is Dimension.TIME:
        return f"{number}ms" if value >= 10 else f"{number}s"
    return number + {Dimension.BYTES: "MB", Dimension.BANDWIDTH: "MB/s"}.get(dimension or Dimension.RATE, "/s")


def _wrong_unit(word: str, op: str, number: str, unit: str, dimension: Dimension | None) -> str:
    allowed = [u for u, (d, _) in UNITS.items() if u not in {"ratio", "count"} and dimension in {None, d}]
    low = unit.lower()
    meant = _MEANT_UNITS.get(low) or next((u for u in allowed if u.lower() == low), None) or closest(unit, allowed)
    if meant in allowed:
        return f'{quoted(word)}: "{unit}" is not a unit; did you mean "{op} {number}{meant}"?'
    if dimension is Dimension.COUNT:
        return f'{quoted(word)}: a count has no unit; did you mean "{op} {number}"?'
    return f'{quoted(word)}: "{unit}" is not a unit; use {", ".join(allowed)}'


def format_quantity(value: float, unit: str) -> str:
    """A value in base units as a person reads it in `unit`: (0.0062, "%") → `0.62%`, (0.62, "ms") → `620ms`."""
    if unit == "x":
        return f"{_digits(value)}x before"
    size = UNITS[unit][1] if unit in UNITS else 1.0
    return f"{_digits(value / size)}{'' if unit in {'count', 'ratio'} else unit}"


def format_condition(condition: Condition) -> str:
    """The condition in its normal form: `< 500ms`, `>= 100%`, `< 1.5x before`."""
    return f"{condition.op} {format_quantity(condition.value, condition.unit)}"


def _digits(number: float) -> str:
    """Four significant digits, never an exponent for what a policy can hold."""
    if abs(number) >= 1000:
        return f"{number:.0f}"
    return f"{number:.4g}" if abs(number) >= 1e-4 or number == 0 else f"{number:.9f}".rstrip("0").rstrip(".")
