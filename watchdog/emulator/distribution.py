"""Histograms as Cloud Monitoring stores them: fixed buckets, a mean, a sum of squared deviations, no single values.

The watchdog reads whole distributions and takes counts and percentiles from them, so what a bucket loses must be lost
here too: a threshold inside a bucket can only be interpolated, as with the real thing.
"""

import math
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Self

from google.api.distribution_pb2 import Distribution as DistributionPb


@dataclass(frozen=True, slots=True)
class Buckets:
    """Bounds, ascending; bucket `i` holds `bounds[i-1] <= x < bounds[i]`, the first and the last are open-ended."""

    bounds: tuple[float, ...]
    options: DistributionPb.BucketOptions = field(compare=False, repr=False)

    @classmethod
    def exponential(cls, *, finite: int, growth: float, scale: float) -> Self:
        """`finite` buckets between the bounds `scale * growth**i`, i = 0 … finite (google/api/distribution.proto)."""
        options = DistributionPb.BucketOptions()
        options.exponential_buckets.num_finite_buckets = finite
        options.exponential_buckets.growth_factor = growth
        options.exponential_buckets.scale = scale
        return cls(tuple(scale * growth**i for i in range(finite + 1)), options)

    @classmethod
    def linear(cls, *, finite: int, width: float, offset: float) -> Self:
        """`finite` buckets between the bounds `offset + width * i`, i = 0 … finite (google/api/distribution.proto)."""
        options = DistributionPb.BucketOptions()
        options.linear_buckets.num_finite_buckets = finite
        options.linear_buckets.width = width
        options.linear_buckets.offset = offset
        return cls(tuple(offset + width * i for i in range(finite + 1)), options)

    @classmethod
    def explicit(cls, bounds: Sequence[float]) -> Self:
        """Buckets between `bounds`; `ValueError` when there are none, or they aren't finite and strictly ascending."""
        edges = tuple(float(bound) for bound in bounds)
        if not edges or not all(map(math.isfinite, edges)) or any(high <= low for low, high in pairwise(edges)):
            msg = f"bucket edges must be finite and strictly ascending, got {list(bounds)}"
            raise ValueError(msg)
        options = DistributionPb.BucketOptions()
        options.explicit_buckets.bounds.extend(edges)
        return cls(edges, options)

    def index(self, value: float) -> int:
        """The bucket that `value` falls into."""
        return bisect_right(self.bounds, value)


@dataclass(slots=True)
class Distribution:
    """A mutable histogram over `buckets`; `counts` is sparse, bucket → number of values."""

    buckets: Buckets
    counts: dict[int, int] = field(default_factory=dict)
    count: int = 0
    mean: float = 0.0
    squares: float = 0.0
    """Sum of the squared deviations from the mean."""

    def add(self, value: float) -> None:
        """Count one value (Welford's method, as distribution.proto asks for)."""
        bucket = self.buckets.index(value)
        self.counts[bucket] = self.counts.get(bucket, 0) + 1
        self.count += 1
        deviation = value - self.mean
        self.mean += deviation / self.count
        self.squares += deviation * (value - self.mean)

    def merge(self, other: "Distribution") -> None:
        """Add everything that `other` holds; both must have the same buckets, else `ValueError`."""
        if other.buckets.bounds != self.buckets.bounds:
            msg = "distributions with different buckets cannot be added"
            raise ValueError(msg)
        if not other.count:
            return
        total = self.count + other.count
        apart = other.mean - self.mean
        self.squares += other.squares + apart * apart * self.count * other.count / total
        self.mean += apart * other.count / total
        self.count = total
        for bucket, number in other.counts.items():
            self.counts[bucket] = self.counts.get(bucket, 0) + number

    def part(self, start: float, end: float) -> "Distribution":
        """The share of the values between the fractions `start` and `end` of its time, 0 ≤ start ≤ end ≤ 1.

        Rounded so that the parts of a partition add up to the whole; mean and variance are those of the whole.
        """
        counts = {bucket: between(number, start, end) for bucket, number in self.counts.items()}
        counts = {bucket: number for bucket, number in counts.items() if number}
        count = sum(counts.values())
        if not count:
            return Distribution(self.buckets)
        return Distribution(self.buckets, counts, count, self.mean, self.squares * count / self.count)

    def percentile(self, percent: float) -> float:
        """The `percent`-th percentile (0 … 100), interpolated within its bucket; NaN when empty.

        `low + (high - low) * (p - p_low) / (p_high - p_low)`, from "Percentiles and distribution-valued metrics",
        cloud.google.com/monitoring/api/v3/distribution-metrics. That page gives no rule for the two open buckets: here
        the first reaches down to 0 (or to its own bound where that is lower) and the last has no width.
        """
        below = 0
        for bucket in sorted(self.counts):
            p_low = 100.0 * below / self.count
            below += self.counts[bucket]
            p_high = 100.0 * below / self.count
            if percent <= p_high:
                bounds = self.buckets.bounds
                low = bounds[bucket - 1] if bucket else min(0.0, bounds[0])
                high = bounds[bucket] if bucket < len(bounds) else low
                return low + (high - low) * (percent - p_low) / (p_high - p_low)
        return math.nan

    def fill(self, message: DistributionPb) -> None:
        """Write this histogram into a protobuf message; trailing empty buckets are left out, as the real API does."""
        message.count = self.count
        message.mean = self.mean
        message.sum_of_squared_deviation = self.squares
        message.bucket_options.CopyFrom(self.buckets.options)
        if self.counts:
            message.bucket_counts.extend(self.counts.get(bucket, 0) for bucket in range(max(self.counts) + 1))


def between(number: int, start: float, end: float) -> int:
    """How many of `number` evenly spread events lie between the fractions `start` and `end`; partitions add up."""
    return math.floor(number * end + 0.5) - math.floor(number * start + 0.5)
