"""What contradicts itself is missing: a period is judged whole or not at all."""

import math

import pytest

from watchdog.core.model import Counts, Missing, Value
from watchdog.sources.cloud_run_readings import (
    QUANTILES,
    Values,
    judge_cpu,
    judge_latencies,
    judge_memory,
    judge_requests,
    merge,
)
from watchdog.sources.distributions import Histogram
from watchdog.sources.monitoring_messages import Number

ONE = Histogram.of((0.1, 0.5), (1, 1), mean=0.2, total=2)
OTHER = Histogram.of((0.2, 0.5), (1, 1), mean=0.2, total=2)
EMPTY = Histogram.of((0.1, 0.5), (), mean=0.0, total=0)


@pytest.mark.parametrize(
    "value, reason", [(None, "malformed"), (ONE, "malformed"), (math.nan, "nan"), (math.inf, "nan")]
)
def test_counts_that_are_no_numbers_spoil_the_period(value: Number | None, reason: str) -> None:
    values = [({"response_code_class": "2xx"}, 10), ({"response_code_class": "5xx"}, value)]

    checks = ("error_rate", "request_rate", "client_error_rate")
    assert judge_requests(values, 60.0, ()) == dict.fromkeys(checks, Missing(reason))


def test_a_class_without_a_name_counts_as_a_request() -> None:
    values = [({}, 5), ({"response_code_class": "5xx"}, 1), ({"response_code_class": "4xx"}, 3)]

    assert judge_requests(values, 60.0, ()) == {
        "error_rate": Counts(1, 9),
        "request_rate": Value(0.15),
        "client_error_rate": Counts(3, 9),
    }


@pytest.mark.parametrize(
    "value, reason", [(None, "malformed"), (7, "malformed"), (OTHER, "malformed"), (math.nan, "nan")]
)
def test_a_distribution_that_cannot_be_read_spoils_the_period(value: Number | None, reason: str) -> None:
    values: Values = [({}, ONE), ({}, value)]

    found = judge_latencies(values, 60.0, (0.5,)) | judge_cpu(values, 60.0, ()) | judge_memory(values, 60.0, ())

    assert set(found) == {*QUANTILES, "slower_than_500ms", "slower_than_500ms_upper", "cpu_usage", "memory_usage"}
    assert set(found.values()) == {Missing(reason)}


def test_several_distributions_of_a_period_are_one() -> None:
    merged = merge([({}, ONE), ({}, ONE)])

    assert isinstance(merged, Histogram)
    assert merged.total == 4


def test_an_empty_distribution_has_counts_and_no_percentiles() -> None:
    found = judge_latencies([({}, EMPTY)], 60.0, (0.5,))

    assert found["slower_than_500ms"] == Counts(0, 0)
    assert found["p95_latency"] == Missing("nan")
    assert judge_cpu([({}, EMPTY)], 60.0, ()) == {"cpu_usage": Missing("nan")}
