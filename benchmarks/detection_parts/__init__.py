"""The parts of `benchmarks.detection`: streams, the rules under comparison, bounds, scores and tables."""
