"""Histograms: what they keep, and the percentiles that come out."""

import math
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from watchdog.emulator.descriptors import LATENCY_BUCKETS, SHARE_BUCKETS
from watchdog.emulator.distribution import Buckets, Distribution, between


class TestDistribution:
    def test_percentiles_are_googles_own_example(self) -> None:
        """One sample between 128 and 256 (cloud.google.com/monitoring/api/v3/distribution-metrics, case 1)."""
        one = Distribution(Buckets.exponential(finite=10, growth=2.0, scale=1.0))
        one.add(200.0)

        assert [192.0, pytest.approx(249.6), pytest.approx(254.72)] == [one.percentile(p) for p in (50, 95, 99)]

    def test_the_default_edges_are_those_seen_in_exported_data(self) -> None:
        seen = (19.48717100000001, 74.00249944258171, 1067.1895716335973, 4052.650622296292, 27264.20685613271)

        assert [min(LATENCY_BUCKETS.bounds, key=lambda bound: abs(bound - edge)) for edge in seen] == pytest.approx(
            seen
        )
        assert LATENCY_BUCKETS.bounds[-1] > 3_600_000, "the longest request of Cloud Run"
        assert len(SHARE_BUCKETS.bounds) == 101

    def test_open_buckets_have_bounded_percentiles(self) -> None:
        buckets = Buckets.explicit([10.0, 20.0])
        low, high = Distribution(buckets), Distribution(buckets)
        low.add(1.0)
        high.add(1e9)

        assert low.percentile(50) == 5.0
        assert high.percentile(50) == 20.0
        assert math.isnan(Distribution(buckets).percentile(50))

    def test_different_buckets_cannot_be_added(self) -> None:
        with pytest.raises(ValueError, match="different buckets"):
            Distribution(Buckets.explicit([1.0])).merge(Distribution(Buckets.explicit([2.0])))

    @given(st.lists(st.floats(0, 1e6), max_size=60), st.integers(0, 60))
    def test_merging_equals_adding_everything(self, values: list[float], cut: int) -> None:
        whole, left, right = (Distribution(LATENCY_BUCKETS) for _ in range(3))
        for value in values:
            whole.add(value)
        for value in values[:cut]:
            left.add(value)
        for value in values[cut:]:
            right.add(value)
        left.merge(right)

        assert left.counts == whole.counts
        assert left.count == whole.count
        assert left.mean == pytest.approx(whole.mean)
        assert left.squares == pytest.approx(whole.squares, rel=1e-6, abs=1e-3)

    @given(st.integers(0, 10_000), st.lists(st.floats(0, 1), max_size=6))
    def test_the_parts_of_a_partition_add_up(self, number: int, cuts: list[float]) -> None:
        edges = sorted({0.0, 1.0, *cuts})

        parts = [between(number, low, high) for low, high in pairwise(edges)]

        assert sum(parts) == number
        assert all(part >= 0 for part in parts)

    @given(st.lists(st.floats(0, 3e6), min_size=1, max_size=200), st.floats(0, 100))
    def test_a_percentile_is_within_one_bucket_of_the_truth(self, values: list[float], percent: float) -> None:
        found = Distribution(LATENCY_BUCKETS)
        for value in values:
            found.add(value)
        rank = max(0, math.ceil(len(values) * percent / 100) - 1)
        true = sorted(values)[rank]

        assert abs(LATENCY_BUCKETS.index(found.percentile(percent)) - LATENCY_BUCKETS.index(true)) <= 1
