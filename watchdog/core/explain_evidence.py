"""How near an alarm the evidence of a rule is at one moment."""

from typing import Final

from watchdog.core import verdicts
from watchdog.core.explanation import QUIET
from watchdog.core.series import Series
from watchdog.core.state import Watch

NEARLY: Final = 0.99
"""The most that evidence is shown as before it is enough."""


def loud(series: Series) -> list[bool]:
    """Of each meter, whether its evidence is more than quiet: the same as `fullness`, for all at once."""
    most = [0.0] * len(series.meters)
    for track in series.tracks:
        for cell, w in zip(track.cells, track.wealth, strict=True):
            most[cell.meter] = max(most[cell.meter], w)
    return [w > (1.0 + meter.need) ** QUIET - 1.0 for w, meter in zip(most, series.meters, strict=True)]


def present(watch: Watch) -> float:
    """The newest moment that was judged."""
    return watch.at if watch.ended_at is None else watch.ended_at


def fullness(watch: Watch, index: int) -> float:
    """How near an alarm a rule is, 0..1, and 1 only when it is enough; of `health_check failing` how many of the
    failures in a row are there."""
    if watch.verdicts[index].alarmed_at is not None:
        return 1.0
    rule = watch.rules.rules[index]
    if rule.by_confirmation:
        runs = [watch.confirmations[c] for c in rule.checks if c in watch.confirmations]
        return min(NEARLY, max((r.failures / r.rule.failures for r in runs), default=0.0))
    return min(NEARLY, verdicts.fullness(watch, index))
