"""Which of Cloud Run's metrics are read, and how one period of each becomes evidence.

Only what a row reads is asked for, and the request count: reads are billed by the series.

| metric type | checks |
|---|---|
| request_count | `error_rate` (5xx among all), `client_error_rate` (4xx, where a row reads it), `request_rate` |
| request_latencies | `p50_latency` `p95_latency` `p99_latency` (seconds), `slower_than_<N>ms` (and its `_upper`) |
| container/cpu/utilizations | `cpu_usage`: the mean |
| container/memory/utilizations | `memory_usage`: the 95th percentile |
| container/instance_count | `instances`: active and idle ones |
| container/startup_latencies | `startup_latency`: the 95th percentile, seconds (for `preflight`) |
| container/network/… | `network_sent`, `network_received`: bytes a second |

Why a mean and a percentile: CPU is shared out, since Cloud Run adds instances by "averaging the CPU usage per second
over a 1-minute period" (cloud.google.com/run/docs/about-instance-autoscaling), so the mean says whether the revision
runs short, and one instance that starts does not. Memory is not: "Cloud Run instances that exceed their allowed memory
limit are terminated" (cloud.google.com/run/docs/configuring/services/memory-limits), each by itself: the fullest count.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from watchdog.core.model import Counts, Evidence, Missing, Value
from watchdog.core.rules import limit_check
from watchdog.sources.distributions import Histogram
from watchdog.sources.monitoring_messages import Number

PREFIX: Final = "run.googleapis.com/"
UPPER: Final = "_upper"
"""Suffix of the check that counts a request as slow when its bucket leaves that open."""
QUANTILES: Final[Mapping[str, float]] = {"p50_latency": 0.5, "p95_latency": 0.95, "p99_latency": 0.99}
STARTUP: Final = "startup_latency"
MEMORY_QUANTILE: Final = 0.95
READ_BY_ROWS: Final = frozenset({"client_error_rate"})
"""Checks that come with a reading, but are only handed on where a row reads them: what is handed on is journaled."""

Values = Sequence[tuple[Mapping[str, str], Number | None]]
"""One period: every series' labels and value."""
Judge = Callable[[Values, float, Sequence[float]], Mapping[str, Evidence]]
"""(values, period in seconds, latency limits in seconds) → check → evidence; a check left out has none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """One metric type, one call, and the checks that come from it."""

    metric: str
    checks: tuple[str, ...]
    judge: Judge
    group_by: tuple[str, ...] = ()
    scale: float = 1.0
    """Brings a distribution to base units."""
    counts_limits: bool = False
    """Whether it also answers the query's latency limits."""
    aligner: str = "ALIGN_DELTA"
    always: bool = False
    """Asked for also where no row reads it: it shows whether the feed is alive, and how much traffic there is."""
    on_demand: bool = False
    """Asked for only where a policy is given and a row of it reads it."""


def latency_checks(limits_s: Sequence[float], *, upper: bool) -> tuple[str, ...]:
    """The checks that answer each limit, with or without the liberal counts."""
    ends = ("", UPPER) if upper else ("",)
    return tuple(check + end for check in (limit_check(limit_s) for limit_s in limits_s) for end in ends)


def judge_requests(values: Values, period_s: float, _limits_s: Sequence[float]) -> dict[str, Evidence]:
    """Errors and rate from counts by class. A class without a series had no request, as long as another one had."""
    checks = ("error_rate", "request_rate", "client_error_rate")
    total = bad = client = 0.0
    for labels, value in values:
        if value is None or isinstance(value, Histogram):
            return dict.fromkeys(checks, Missing("malformed"))
        if not math.isfinite(value):
            return dict.fromkeys(checks, Missing("nan"))
        total += value
        bad += value if labels.get("response_code_class") == "5xx" else 0.0
        client += value if labels.get("response_code_class") == "4xx" else 0.0
    return {
        "error_rate": Counts(bad, total),
        "request_rate": Value(total / period_s),
        "client_error_rate": Counts(client, total),
    }


def judge_latencies(values: Values, _period_s: float, limits_s: Sequence[float]) -> dict[str, Evidence]:
    """Percentiles and counts from the period's one distribution."""
    checks = (*QUANTILES, *latency_checks(limits_s, upper=True))
    merged = merge(values)
    if isinstance(merged, Missing):
        return dict.fromkeys(checks, merged)
    evidence: dict[str, Evidence] = {check: _reading(merged.quantile(q)) for check, q in QUANTILES.items()}
    for limit_s in limits_s:
        surely, at_most = merged.above(limit_s)
        evidence[limit_check(limit_s)] = Counts(surely, merged.total)
        evidence[limit_check(limit_s) + UPPER] = Counts(at_most, merged.total)
    return evidence


def judge_cpu(values: Values, _period_s: float, _limits_s: Sequence[float]) -> dict[str, Evidence]:
    """The mean over all instances."""
    merged = merge(values)
    return {"cpu_usage": merged if isinstance(merged, Missing) else _reading(merged.mean)}


def judge_memory(values: Values, _period_s: float, _limits_s: Sequence[float]) -> dict[str, Evidence]:
    """The 95th percentile over all instances."""
    merged = merge(values)
    return {"memory_usage": merged if isinstance(merged, Missing) else _reading(merged.quantile(MEMORY_QUANTILE))}


def judge_instances(values: Values, _period_s: float, _limits_s: Sequence[float]) -> dict[str, Evidence]:
    """All instances, whatever their state."""
    total = _total(values)
    return {"instances": total if isinstance(total, Missing) else Value(total)}


def judge_startup(values: Values, _period_s: float, _limits_s: Sequence[float]) -> dict[str, Evidence]:
    """The 95th percentile of how long containers took to start."""
    merged = merge(values)
    return {STARTUP: merged if isinstance(merged, Missing) else _reading(merged.quantile(0.95))}


def judge_bytes(check: str) -> Judge:
    """Bytes a second of one direction."""

    def judge(values: Values, period_s: float, _limits_s: Sequence[float]) -> dict[str, Evidence]:
        total = _total(values)
        return {check: total if isinstance(total, Missing) else Value(total / period_s)}

    return judge


def _total(values: Values) -> float | Missing:
    total = 0.0
    for _, value in values:
        if value is None or isinstance(value, Histogram):
            return Missing("malformed")
        if not math.isfinite(value):
            return Missing("nan")
        total += value
    return total


def merge(values: Values) -> Histogram | Missing:
    """All of a period's distributions in one, or why that can't be."""
    merged: Histogram | None = None
    for _, value in values:
        if isinstance(value, float) and math.isnan(value):
            return Missing("nan")
        if not isinstance(value, Histogram):
            return Missing("malformed")
        try:
            merged = value if merged is None else merged.merged(value)
        except ValueError:
            return Missing("malformed")
    return merged or Missing("no_series")


def _reading(x: float) -> Value | Missing:
    return Value(x) if math.isfinite(x) else Missing("nan")


READINGS: Final = (
    Reading(
        metric=PREFIX + "request_count",
        checks=("error_rate", "request_rate", "client_error_rate"),
        judge=judge_requests,
        group_by=("metric.labels.response_code_class",),
        always=True,
    ),
    Reading(
        metric=PREFIX + "request_latencies",
        checks=tuple(QUANTILES),
        judge=judge_latencies,
        scale=0.001,
        counts_limits=True,
    ),
    Reading(metric=PREFIX + "container/cpu/utilizations", checks=("cpu_usage",), judge=judge_cpu),
    Reading(metric=PREFIX + "container/memory/utilizations", checks=("memory_usage",), judge=judge_memory),
    Reading(
        metric=PREFIX + "container/instance_count",
        checks=("instances",),
        judge=judge_instances,
        aligner="ALIGN_MEAN",
        on_demand=True,
    ),
    Reading(
        metric=PREFIX + "container/startup_latencies",
        checks=(STARTUP,),
        judge=judge_startup,
        scale=0.001,
        on_demand=True,
    ),
    Reading(
        metric=PREFIX + "container/network/sent_bytes_count",
        checks=("network_sent",),
        judge=judge_bytes("network_sent"),
        on_demand=True,
    ),
    Reading(
        metric=PREFIX + "container/network/received_bytes_count",
        checks=("network_received",),
        judge=judge_bytes("network_received"),
        on_demand=True,
    ),
)
