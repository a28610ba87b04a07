"""How near an alarm the evidence of a rule is at one moment, and what its traffic would have let it find."""

from collections.abc import Sequence
from typing import Final

from watchdog.core import coverage, frontier, verdicts
from watchdog.core.catalogue import Family
from watchdog.core.explanation import QUIET, Achieved, Gap
from watchdog.core.series import Series
from watchdog.core.state import Watch

NEARLY: Final = 0.99
"""The most that evidence is shown as before it is enough."""


def loud(series: Series) -> list[bool]:
    """Of each meter, whether its evidence is more than quiet: the same as `fullness`, for all at once."""
    most = [0.0] * len(series.meters)
    for track in series.tracks:
        wealth = track.slots[-1].wealth if track.slots else track.base
        for cell, w in zip(track.cells, wealth, strict=True):
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
    if rule.row.condition is None:
        runs = [watch.confirmations[c] for c in rule.checks if c in watch.confirmations]
        return min(NEARLY, max((r.failures / r.rule.failures for r in runs), default=0.0))
    return min(NEARLY, verdicts.fullness(watch, index))


def achieved(watch: Watch, index: int, gaps: Sequence[Gap]) -> tuple[Achieved, ...]:
    """What each feed of requests could have found, given what it really brought; the keenest first.

    Probes have no such frontier: how often they are sent depends on the window, and confirmations outrun their meter.
    """
    rule = watch.rules.rules[index]
    if not rule.is_meter or rule.family is Family.PROBES or watch.cutover_at is None:
        return ()
    until = coverage.watched_until(watch)
    found: dict[str, Achieved] = {}
    for (source, check, _), stream in watch.streams.items():
        if index not in stream.rules:
            continue
        series, meter = stream.series, stream.series.meters[stream.rules.index(index)]
        lag = watch.rules.lags.get((source, check))
        begun = watch.cutover_at + watch.rules.cold_s(check)
        seen_s = until - begun - series.lag_s - sum(g.seconds for g in gaps if g.check == check)
        if series.total <= 0.0 or seen_s <= 0.0:
            continue
        rate, late = series.total / seen_s, series.lag_s + (lag.period_s if lag else 0.0)
        spans = [s for s in frontier.SPANS_S if s <= max(frontier.SPANS_S[0], until - begun)]
        reaches = tuple(frontier.reach(meter, rate, s, lag_s=late) for s in spans)
        found[source] = Achieved(source=source, rate_per_s=rate, reaches=reaches)
    return tuple(sorted(found.values(), key=lambda a: [2.0 if r.bad_share is None else r.bad_share for r in a.reaches]))
