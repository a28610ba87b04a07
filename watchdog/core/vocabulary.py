"""What the rows of one policy may speak of: known metrics, declared ones, probes and windows."""

from collections.abc import Mapping
from dataclasses import dataclass

from watchdog.core.catalogue import (
    BUILT_IN,
    CHECK_PREFIX,
    HEALTH_CHECK,
    JOURNEY_PREFIX,
    JOURNEYS,
    METRICS,
    PROBE_PREFIX,
    SOURCES,
    Dimension,
    Family,
    canonical_name,
    known_metric,
)
from watchdog.core.conditions import quoted
from watchdog.core.model import Window
from watchdog.core.suggest import did_you_mean


@dataclass(frozen=True, slots=True, kw_only=True)
class Measure:
    """A metric as rows may use it."""

    name: str
    family: Family
    dimension: Dimension | None
    """None when it is pending and does not tell its unit, or when its declaration is broken."""
    high_is_bad: bool | None
    pending: bool = False
    has_past: bool = True
    """Whether its source can be asked what was before the deploy."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Vocabulary:
    """What the file declares, hence what its rows may speak of."""

    metrics: Mapping[str, Measure]
    probes: frozenset[str]
    critical_probes: frozenset[str]
    windows: tuple[Window, ...]
    journeys: frozenset[str] = frozenset()
    """Names without `journey.`."""
    critical_journeys: frozenset[str] = frozenset()

    def measure(self, metric: str) -> Measure:
        """The metric of this name. Raises `ValueError` saying why no row can use it."""
        name = canonical_name(metric.strip())
        if name == HEALTH_CHECK:
            if not self.probes:
                raise ValueError("health_check has no source: declare at least one probe under probes")
        elif name.startswith(PROBE_PREFIX):
            if name.removeprefix(PROBE_PREFIX) not in self.probes:
                names = [f"{PROBE_PREFIX}{p}" for p in sorted(self.probes)]
                raise ValueError(
                    f"there is no probe {quoted(name.removeprefix(PROBE_PREFIX))}{did_you_mean(name, names)}"
                )
        elif name == JOURNEYS:
            if not self.journeys:
                raise ValueError("journeys has no source: declare at least one journey under journeys")
        elif name.startswith(JOURNEY_PREFIX):
            if name.removeprefix(JOURNEY_PREFIX) not in self.journeys:
                names = [f"{JOURNEY_PREFIX}{j}" for j in sorted(self.journeys)]
                unknown = quoted(name.removeprefix(JOURNEY_PREFIX))
                raise ValueError(f"there is no journey {unknown}{did_you_mean(name, names)}")
        elif name in self.metrics:
            return self.metrics[name]
        known = None if name.startswith(CHECK_PREFIX) else known_metric(name)
        if known is None:
            names = [*METRICS, *(m for m in self.metrics if m not in METRICS), HEALTH_CHECK]
            names += [f"{PROBE_PREFIX}{p}" for p in sorted(self.probes)]
            names += [JOURNEYS, *(f"{JOURNEY_PREFIX}{j}" for j in sorted(self.journeys))] if self.journeys else []
            raise ValueError(f"unknown metric {quoted(metric)}{did_you_mean(metric, names)}")
        if known.family not in {Family.PROBES, Family.JOURNEYS} and name not in BUILT_IN:
            raise ValueError(f"no source feeds {metric}: declare it, for example metrics: {_declaration(name)}")
        return Measure(name=name, family=known.family, dimension=known.dimension, high_is_bad=known.high_is_bad)


def _declaration(name: str) -> str:
    source = SOURCES[next(iter(METRICS[name].sources), "prometheus")]
    needs = "".join(f", {key}: NAME" for key in source.needs)
    return f"{{{name}: {{source: {source.name}{needs}}}}}, or {{source: pending}}"
