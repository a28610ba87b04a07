"""Series that a script says: metrics whose makers the emulator does not have, such as Cloud SQL's.

One script is one time series from the moment it was set: a point each sampling period, `value` and `per_min` more each
minute. For counters it is the increase a minute; for distributions each of `value` is measured once a second.
"""

import math
from collections.abc import Iterator
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from watchdog.emulator.descriptors import Kind, Metric, ValueType
from watchdog.emulator.distribution import Distribution
from watchdog.emulator.series import Point, Series, Value
from watchdog.emulator.shared_metrics import QUERY_BUCKETS, SCRIPTED

PAST_S = 3600.0
"""How long before it was set a series has been as it is, unless it says otherwise."""


class Script(BaseModel):
    """One scripted time series; the same metric and labels again replace it."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    metric: str
    """Its type, one of `shared_metrics.SCRIPTED`."""
    project: str = "barq-fleet"
    resource: dict[str, str] = Field(default_factory=dict)
    labels: dict[str, str] = Field(default_factory=dict)
    value: float | None
    """None ends the series: it has no point from now on."""
    per_min: float = 0.0
    past_s: Annotated[float, Field(ge=0)] = PAST_S
    """How long it has been so already."""


class ScriptedSeries:
    """Every scripted series with its history of values."""

    def __init__(self, *, period_s: float) -> None:
        self._period_us = round(period_s * 1e6)
        self._histories: dict[tuple[object, ...], list[tuple[float, Script]]] = {}

    def put(self, script: Script, *, now: float) -> None:
        """Set a series from now on; one that is new has been so for `past_s`. `ValueError` for a metric or label that
        does not exist."""
        metric = SCRIPTED.get(script.metric)
        if metric is None:
            raise ValueError(f"{script.metric} is not scripted here; one of {', '.join(SCRIPTED)}")
        unknown = {*script.labels} - {*metric.labels} | {*script.resource} - {*metric.resource_labels}
        if unknown:
            raise ValueError(f"{script.metric} has no label {', '.join(sorted(unknown))}")
        key = (script.metric, script.project, *sorted(script.resource.items()), *sorted(script.labels.items()))
        history = self._histories.setdefault(key, [])
        history.append((now if history else now - script.past_s, script))

    def clear(self) -> None:
        """Forget them all."""
        self._histories.clear()

    def has_data(self, project: str) -> bool:
        """Whether `project` has a series."""
        return any(key[1] == project for key in self._histories)

    def read(self, metric: Metric, *, project: str, start_us: int, end_us: int, now_us: int) -> list[Series]:
        """Series of `metric` with the points that overlap `(start_us, end_us]` and ended at or before `now_us`."""
        first = start_us // self._period_us
        last = min(-(-end_us // self._period_us), now_us // self._period_us) - 1
        found = []
        for key, history in self._histories.items():
            if key[0] != metric.type or key[1] != project:
                continue
            points = list(self._points(metric, history, range(first, last + 1)))
            if points:
                script = history[-1][1]
                found.append(
                    Series(
                        kind=metric.kind,
                        value_type=metric.value_type,
                        points=points,
                        metric_labels=script.labels,
                        resource_labels={"project_id": project} | script.resource,
                    )
                )
        return found

    def _points(self, metric: Metric, history: list[tuple[float, Script]], periods: range) -> Iterator[Point]:
        for period in periods:
            end_us = (period + 1) * self._period_us
            begun = [(since, script) for since, script in history if since * 1e6 < end_us]
            if not begun or begun[-1][1].value is None:
                continue
            since, script = begun[-1]
            x = (script.value or 0.0) + script.per_min * (end_us / 1e6 - since) / 60.0
            start_us = end_us if metric.kind is Kind.GAUGE else period * self._period_us
            yield Point(start_us=start_us, end_us=end_us, value=self._value(metric, x))

    def _value(self, metric: Metric, x: float) -> Value:
        seconds = self._period_us / 1e6
        if metric.value_type is ValueType.DISTRIBUTION:
            spread = Distribution(QUERY_BUCKETS)
            for _ in range(max(1, math.floor(seconds))):
                spread.add(x)
            return spread
        if metric.kind is not Kind.GAUGE:
            x *= seconds / 60.0
        return round(x) if metric.value_type is ValueType.INT64 else x
