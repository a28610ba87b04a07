"""The targets of the product's acceptance, one line each: what was asked, what was measured, whether it holds.

*proven*: the upper end of the 95 % interval keeps the target. *held*: the estimate keeps it, and more watches would be
needed to prove it. *missed*: the estimate does not keep it.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from math import isinf
from typing import Final

import numpy as np

from benchmarks.detection_parts.bounds import wilson
from benchmarks.detection_parts.cases import is_step
from benchmarks.detection_parts.joint import Joint
from benchmarks.detection_parts.play import OURS, Played
from benchmarks.detection_parts.scores import Ratio, ratio, tally
from benchmarks.detection_parts.shared import Outcome
from benchmarks.detection_parts.streams import RATES
from benchmarks.detection_parts.twin import DIRECT, FEEDS, MONITORING, Feed, core_alarm, error_meters
from benchmarks.tables import table

MEAN_RATIO, P95_RATIO = 1.25, 2.2
SICK: Final = 0.3
"""A shared outage of at least this share has to be recognised with less traffic on the control."""
OUTAGE_S: Final[Mapping[Feed, float]] = {DIRECT: 40.0, MONITORING: 400.0}


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One target."""

    asked: str
    target: str
    measured: str
    result: str
    """`proven`, `held` or `missed`."""


def lines(played: Sequence[Played], outages: Iterable[Outcome], joint: Joint) -> list[Line]:
    """All of them, in the order of the issue."""
    by_name = {p.scenario.name: p for p in played}
    everything = "false rollback in 24 h, all rows together, every rate at 0.9 of its limit"
    found = [_share(everything, joint.any_row, joint.watches, 0.01)]
    for asked, name, target in (
        ("errors alone, 0.9 × threshold", "0.9 %", 0.002),
        ("errors alone, exactly at the threshold", "1.0 %, the threshold", 0.005),
        ("errors alone, base 0.1 %", "0.1 %", 0.0003),
        ("errors alone, base 0.1 % and 5 s blips", "0.1 % + 5 s blips", 0.0003),
        ("errors alone, base 0.1 % and 20 s blips", "0.1 % + 20 s blips", 0.003),
    ):
        found.append(_either_feed(asked, by_name[name], target))
    found += [_shared(o) for o in outages]
    steps = [p for p in played if is_step(p.scenario)]
    every = {feed: [ratio(p, feed, rps) for p in steps for rps in p.scenario.rates] for feed in FEEDS}
    for feed, ratios in every.items():
        found += _ratios([r for r in ratios if not r.missed], feed)
    found += [_outage(by_name["100 %, late"], feed) for feed in FEEDS]
    found.append(_one_in_ten())
    room = [r for ratios in every.values() for r in ratios if r.room]
    found.append(
        _share(
            "missed although 3 × the bound was left",
            sum(r.missed_with_room for r in room),
            sum(r.room for r in room),
            0.01,
        )
    )
    return found


def _share(asked: str, hits: int, of: int, target: float) -> Line:
    _, high = wilson(hits, of)
    result = "proven" if high <= target else "held" if hits / of <= target else "**missed**"
    return Line(
        asked=asked,
        target=f"≤ {100 * target:g} %",
        measured=f"{hits} of {of} ({100 * hits / of:.2g} %, at most {100 * high:.2g} %)",
        result=result,
    )


def _either_feed(asked: str, played: Played, target: float) -> Line:
    """Rolled back by the one feed or by the other, as a watch with both would be."""
    alarmed = np.logical_or.reduce([np.isfinite(played.of(feed, OURS)) for feed in FEEDS])
    return _share(f"{asked}, either feed", int(alarmed.sum()), int(alarmed.size), target)


def _shared(outage: Outcome) -> Line:
    """Over the controls that the target names."""
    least = 1.0 if outage.scenario.shared_share >= SICK else 5.0
    cells = [n for n, control in zip(outage.counts, outage.controls, strict=True) if control >= least]
    return _share(
        f"shared outage, {outage.scenario.name}, control ≥ {least:g}/s: rolled back",
        sum(cells),
        len(cells) * outage.watches,
        0.01,
    )


def _ratios(some: Sequence[Ratio], feed: Feed) -> list[Line]:
    found = []
    for what, target, of in (("mean", MEAN_RATIO, "mean"), ("p95", P95_RATIO, "p95")):
        worst = max(some, key=lambda r, of=of: getattr(r, of))  # type: ignore[misc]
        value = float(getattr(worst, of))
        found.append(
            Line(
                asked=f"{what} delay / (floor + Lorden-type bound), worst of {len(some)} cells, {feed.name}",
                target=f"≤ {target:g}",
                measured=f"{value:.2f} ({worst.where})",
                result="held" if value <= target else "**missed**",
            )
        )
    return found


def _outage(played: Played, feed: Feed) -> Line:
    p95 = {rps: tally(played, feed, OURS, rps).delay(0.95) or float("inf") for rps in RATES if rps >= 1.0}
    worst = max(p95.values())
    return Line(
        asked=f"total outage at 1–1000 requests/s, p95 of the delay, {feed.name}",
        target=f"≤ {OUTAGE_S[feed]:g} s",
        measured=" / ".join(f"{s:.0f}" for s in p95.values()) + " s",
        result="held" if worst <= OUTAGE_S[feed] else "**missed**",
    )


def _one_in_ten() -> Line:
    """Ten requests in ten minutes, one of them or two of them bad, wherever, by the core itself."""
    feed, slots = DIRECT, 120
    alarms, tried = 0, 0
    for number in (1, 2):
        for placed in combinations(range(10), number):
            points = [(0, 0)] * slots
            for i in range(10):
                points[6 + 12 * i] = (int(i in placed), 1)
            at = core_alarm(error_meters(feed), points, period_s=feed.period_s, lag_s=feed.lag_s)
            alarms, tried = alarms + (not isinf(at)), tried + 1
    return Line(
        asked="1 (or 2) errors in 10 requests",
        target="no rollback",
        measured=f"{alarms} in {tried} orders",
        result="proven" if not alarms else "**missed**",
    )


def as_table(found: Iterable[Line]) -> str:
    """Markdown."""
    return table(["target", "asked", "measured", "result"], [[x.asked, x.target, x.measured, x.result] for x in found])
