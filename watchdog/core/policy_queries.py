"""Queries of a policy file, as far as they can be judged without asking anybody: what never can be right is said here.

Whether a query answers one number is only known when it is asked; until then its grammar is all there is.
"""

from watchdog.core.conditions import quoted
from watchdog.core.findings import Findings, Path
from watchdog.core.policy_grammar import MetricFile
from watchdog.core.queries import broken_jmespath, metric_types, unbalanced


def check_query(source: str, read: MetricFile, path: Path, findings: Findings) -> None:
    """Note what is wrong with the query of a metric of this source."""
    if source == "cloud_monitoring" and read.filter is not None:
        types = metric_types(read.filter)
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
