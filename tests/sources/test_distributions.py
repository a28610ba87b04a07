"""Bucket maths: never more sure than the buckets are."""

import math
from bisect import bisect_right
from itertools import accumulate, pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from watchdog.sources.distributions import Histogram, exponential_bounds, linear_bounds

BOUNDS = exponential_bounds(scale=10.0, growth=1.1, finite=135)


def histogram(values: list[float], bounds: tuple[float, ...] = BOUNDS) -> Histogram:
    """What the API would keep of these values."""
    counts = [0] * (len(bounds) + 1)
    for value in values:
        counts[bisect_right(bounds, value)] += 1
    mean = sum(values) / len(values) if values else 0.0
    return Histogram.of(bounds, counts, mean=mean, total=len(values))


latencies = st.lists(st.floats(min_value=0.0, max_value=3e6), max_size=60)
bounds = st.lists(st.floats(min_value=0.001, max_value=1e6), min_size=1, max_size=12, unique=True).map(
    lambda edges: tuple(sorted(edges))
)


@settings(max_examples=60)
@given(latencies, bounds, st.floats(min_value=0.01, max_value=1e6))
def test_the_true_count_lies_between_the_sure_and_the_possible_one(
    values: list[float], edges: tuple[float, ...], limit: float
) -> None:
    surely, at_most = histogram(values, edges).above(limit)
    slack = limit * 1e-9

    assert surely <= sum(value >= limit - slack for value in values)
    assert sum(value >= limit + slack for value in values) <= at_most
    assert 0 <= surely <= at_most <= len(values)


@settings(max_examples=60)
@given(latencies, bounds, st.data())
def test_on_an_edge_the_count_is_exact(values: list[float], edges: tuple[float, ...], data: st.DataObject) -> None:
    edges = tuple(edge for edge, following in pairwise((*edges, math.inf)) if following > edge * 1.000001)
    limit = data.draw(st.sampled_from(edges))

    assert histogram(values, edges).above(limit) == (sum(value >= limit for value in values),) * 2


@settings(max_examples=60)
@given(latencies, st.lists(st.floats(min_value=0.0, max_value=1.0), min_size=2, max_size=5))
def test_quantiles_grow_with_q_and_stay_in_the_bucket_of_the_true_one(values: list[float], qs: list[float]) -> None:
    distribution = histogram(values)
    found = [distribution.quantile(q) for q in sorted(qs)]

    if not values:
        assert all(math.isnan(x) for x in found)
        return
    assert all(low <= high + 1e-6 * abs(high) for low, high in pairwise(found))
    totals = list(accumulate(distribution.counts))
    for q, x in zip(sorted(qs), found, strict=True):
        bucket = next(i for i, total in enumerate(totals) if total and total >= q * len(values))
        low = BOUNDS[bucket - 1] if bucket else 0.0
        assert low <= x <= (BOUNDS[bucket] if bucket < len(BOUNDS) else low) * (1 + 1e-12)


@settings(max_examples=60)
@given(latencies, latencies)
def test_merging_is_the_same_as_having_measured_together(one: list[float], other: list[float]) -> None:
    merged, together = histogram(one).merged(histogram(other)), histogram(one + other)

    assert merged.counts == together.counts
    assert merged.mean == pytest.approx(together.mean, nan_ok=True)


def test_the_limit_of_the_checklist_lies_inside_a_bucket_of_cloud_run() -> None:
    distribution = histogram([400.0, 499.0, 520.0, 547.0, 548.0, 900.0])

    assert distribution.above(500.0) == (2, 5)
    assert distribution.above(10.0 * 1.1**41) == (5, 5)


def test_interpolation_follows_the_published_formula() -> None:
    distribution = Histogram.of((0.0, 100.0, 200.0), (0, 10, 30, 0), mean=130.0, total=40)

    assert distribution.quantile(0.5) == pytest.approx(100.0 + 100.0 * (20 - 10) / 30)
    assert distribution.quantile(0.25) == pytest.approx(100.0)
    assert distribution.quantile(1.0) == pytest.approx(200.0)


def test_open_buckets_answer_their_bound() -> None:
    distribution = Histogram.of((10.0, 20.0), (4, 0, 4), mean=20.0, total=8)

    assert distribution.quantile(0.25) == pytest.approx(5.0)
    assert distribution.quantile(0.99) == pytest.approx(20.0)
    assert distribution.above(25.0) == (0, 4)


def test_trailing_empty_buckets_may_be_left_out_and_scale_brings_base_units() -> None:
    distribution = Histogram.of((500.0, 1000.0), (3, 2), mean=450.0, total=5, scale=0.001)

    assert distribution.bounds == (0.5, 1.0)
    assert distribution.counts == (3, 2, 0)
    assert distribution.above(0.5) == (2, 2)
    assert distribution.mean == pytest.approx(0.45)


@pytest.mark.parametrize(
    "edges, counts, total",
    [((), (1,), 1), ((2.0, 1.0), (1,), 1), ((1.0, 1.0), (1,), 1), ((1.0,), (1, 1, 1), 3), ((1.0,), (1,), 2),
     ((1.0,), (2, -1), 1), ((math.inf,), (1,), 1)],
)  # fmt: skip
def test_a_distribution_that_contradicts_itself_is_refused(
    edges: tuple[float, ...], counts: tuple[int, ...], total: int
) -> None:
    with pytest.raises(ValueError, match="bucket"):
        Histogram.of(edges, counts, mean=1.0, total=total)


def test_different_buckets_are_not_added() -> None:
    with pytest.raises(ValueError, match="different buckets"):
        histogram([1.0]).merged(histogram([1.0], (5.0,)))


def test_linear_and_exponential_bounds_are_those_of_the_proto() -> None:
    assert linear_bounds(offset=0.0, width=0.25, finite=4) == (0.0, 0.25, 0.5, 0.75, 1.0)
    assert exponential_bounds(scale=1.0, growth=2.0, finite=3) == (1.0, 2.0, 4.0, 8.0)
