"""Queries of a policy file, as far as they can be judged without asking anybody: what never can be right is said here.

Whether a query answers one number is only known when it is asked; until then its grammar is all there is.
"""

import re
from typing import Final

import jmespath
from jmespath.exceptions import JMESPathError

from watchdog.core.conditions import quoted
from watchdog.core.findings import Findings, Path
from watchdog.core.policy_grammar import MetricFile

_METRIC_TYPE: Final = re.compile(r"""\bmetric\.type\s*=\s*("[^"]*"|'[^']*'|[^\s)]+)""")
_PAIRS: Final = {")": "(", "]": "[", "}": "{"}


def check_query(source: str, read: MetricFile, path: Path, findings: Findings) -> None:
    """Note what is wrong with the query of a metric of this source."""
    if source == "cloud_monitoring" and read.filter is not None:
        types = _METRIC_TYPE.findall(read.filter)
        problem = unbalanced(read.filter)
        if len(types) != 1:
            problem = (
                f"names {len(types) or 'no'} metric types; a filter names exactly one, for example metric.type = "
                '"pubsub.googleapis.com/subscription/num_undelivered_messages"'
            )
        if problem:
            findings.problem((*path, "filter"), problem)
    if source == "prometheus" and read.query is not None:
        problem = unbalanced(read.query)
        if problem:
            findings.problem((*path, "query"), f"{quoted(read.query)} {problem}")
    if source == "json_endpoint":
        if read.query is not None:
            problem = broken_jmespath(read.query)
            if problem:
                findings.problem((*path, "query"), problem)
        if read.url is None and read.path is None and not read.spoilt & {"url", "path"}:
            findings.problem(path, "has neither url nor path; write for example path: /internal/pool")
        if read.url is not None and read.path is not None:
            findings.problem((*path, "path"), "stands beside url; keep one of them")
    if read.audience is not None and read.auth != "id_token" and "auth" not in read.spoilt:
        findings.problem((*path, "audience"), "has no meaning without auth: id_token")


def metric_type(text: str) -> str:
    """The one metric type that a Cloud Monitoring filter names; empty when it names none."""
    found = _METRIC_TYPE.search(text)
    return found[1].strip("\"'") if found else ""


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
