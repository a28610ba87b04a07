"""What can be said of a query without asking anybody: its brackets, its JMESPath grammar, the metric that it names."""

import re
from typing import Final

import jmespath
from jmespath.exceptions import JMESPathError

from watchdog.core.conditions import quoted

_METRIC_TYPE: Final = re.compile(r"""\bmetric\.type\s*=\s*("[^"]*"|'[^']*'|[^\s)]+)""")
_PAIRS: Final = {")": "(", "]": "[", "}": "{"}


def metric_types(text: str) -> tuple[str, ...]:
    """The metric types that a Cloud Monitoring filter names."""
    return tuple(found.strip("\"'") for found in _METRIC_TYPE.findall(text))


def metric_type(text: str) -> str:
    """The one metric type that a Cloud Monitoring filter names; empty when it names none."""
    return next(iter(metric_types(text)), "")


def broken_jmespath(text: str) -> str:
    """What is wrong with a JMESPath expression, empty when nothing is."""
    try:
        jmespath.compile(text)
    except JMESPathError as error:
        said = " ".join(str(error).splitlines()[0].split())
        return f"{quoted(text)} is not a JMESPath expression: {said}"
    return ""


def unbalanced(text: str) -> str:
    """Which bracket or quote of a query is not closed, empty when all are."""
    open_, quote, escaped = list[str](), "", False
    for char in text:
        if escaped:
            escaped = False
        elif quote:
            escaped = char == "\\" and quote != "`"
            quote = "" if char == quote else quote
        elif char in "\"'`":
            quote = char
        elif char in "([{":
            open_.append(char)
        elif char in _PAIRS and (not open_ or open_.pop() != _PAIRS[char]):
            return f"has a {char} that nothing opened"
    if quote:
        return f"has a quote {quote} that is never closed"
    return f"has a {open_[-1]} that is never closed" if open_ else ""
