"""The comparison as Markdown tables."""

from collections.abc import Iterable, Sequence
from math import isfinite
from typing import Final

from benchmarks.detection_parts.cases import is_step
from benchmarks.detection_parts.joint import Joint
from benchmarks.detection_parts.latency import MOST, Row
from benchmarks.detection_parts.play import MEASURED, OURS, RULES, Played
from benchmarks.detection_parts.scores import Tally, ratio, tally
from benchmarks.detection_parts.shared import Outcome
from benchmarks.detection_parts.twin import Feed
from benchmarks.tables import table

SHOWN: Final = {
    "1.5 %, late": (10.0,),
    "3 %, late": (1.0, 10.0),
    "3 %, at deploy": (10.0,),
    "6 %, late": (1.0, 100.0),
    "100 %, late": (0.1, 1.0, 100.0),
    "0.9 → 3 %, late": (10.0,),
    "slow burn 0.5 → 1.2 %, late": (100.0,),
    "ramp to 5 % in 1 h, late": (10.0,),
    "flapping 5 s in 60, late": (10.0,),
    "flapping 5 s in 300, late": (10.0,),
}
"""The faults that the short table shows, and at which rates."""


def false_rollbacks(played: Iterable[Played], feed: Feed, rules: Sequence[str] = RULES) -> str:
    """Shares of watches that were rolled back falsely, over all rates, with their 95 % intervals."""
    rows = [[p.scenario.name, len(p.rps), *(_with_interval(tally(p, feed, rule)) for rule in rules)] for p in played]
    return table([f"false rollbacks in 24 h, {feed.name}", "watches", *rules], rows)


def false_by_rate(played: Iterable[Played], feed: Feed, rules: Sequence[str] = RULES) -> str:
    """The same by rate: percents at each rate."""
    some = list(played)
    return table(
        [f"% false rollbacks at {_rates(some)} requests/s, {feed.name}", *rules],
        [[p.scenario.name, *(_by_rate(p, feed, rule) for rule in rules)] for p in some],
    )


def _by_rate(played: Played, feed: Feed, rule: str) -> str:
    return "/".join(_percent(tally(played, feed, rule, rps).share) for rps in played.scenario.rates)


def _rates(played: Sequence[Played]) -> str:
    return "/".join(f"{rps:g}" for rps in played[0].scenario.rates)


def delays(played: Iterable[Played], feed: Feed, *, everything: bool = False) -> str:
    """Median and p95 of the delay; m: share missed, f: share that had been rolled back before the fault."""
    rows = [
        [f"{p.scenario.name}, {rps:g}/s", *(_delay(tally(p, feed, rule, rps)) for rule in RULES)]
        for p in played
        for rps in (p.scenario.rates if everything else SHOWN.get(p.scenario.name, ()))
    ]
    return table([f"delay in s, median / p95, {feed.name}", *RULES], rows)


def ratios(played: Iterable[Played], feed: Feed) -> str:
    """Our mean delay over the bound, and its p95, for every step."""

    def cell(p: Played, rps: float) -> str:
        r = ratio(p, feed, rps)
        missed = f" m{_percent(r.missed / r.watches)}" if r.missed else ""
        return f"{r.mean:.2f} / {r.p95:.2f}{missed}" if isfinite(r.mean) else "all missed"

    some = [p for p in played if is_step(p.scenario)]
    return table(
        [f"our delay over the bound, mean / p95, {feed.name}", *(f"{rps:g}/s" for rps in some[0].scenario.rates)],
        [[p.scenario.name, *(cell(p, rps) for rps in p.scenario.rates)] for p in some],
    )


def shared(outages: Sequence[Outcome]) -> str:
    """What each rule does about an outage that a rollback cannot cure, and what ours does once the control is asked."""
    rules = outages[0].rolled_back
    rows = [
        [
            o.scenario.name,
            o.watches,
            *("/".join(_percent(share) for share in o.rolled_back[rule]) for rule in rules),
        ]
        for o in outages
    ]
    controls = "/".join(f"{c:g}" for c in outages[0].controls)
    return table([f"% rolled back, control of {controls} requests/s, direct feed", "watches a cell", *rules], rows)


def price(outages: Sequence[Outcome]) -> str:
    """What asking the control costs when only the new revision is bad."""
    rows = [
        [
            o.scenario.name,
            *(f"{_percent(held)} / {wait:.0f} s" for held, wait in zip(o.held, o.waits_s, strict=True)),
        ]
        for o in outages
    ]
    head = "only the new revision is bad: % held at first / mean wait for the control to speak"
    return table([head, *(f"control {c:g}/s" for c in outages[0].controls)], rows)


def beyond(played: Sequence[Played], feeds: Sequence[Feed]) -> str:
    """Errors that cause each other: with burstiness unknown, and measured in the hour before the cutover."""
    rules = (OURS, MEASURED, "3 in a row", "Argo", "Kayenta-like", "burn rate", "CUSUM")
    rows = [
        [f"{p.scenario.name}, {feed.name}", *(_by_rate(p, feed, rule) for rule in rules)]
        for p in played
        for feed in feeds
    ]
    return table([f"% false rollbacks at {_rates(played)} requests/s", "ours, D = 1", *rules[1:]], rows)


def latency(rows: Iterable[Row]) -> str:
    """Our P95 row on the direct feed."""
    cells = [
        [
            f"{r.name}, {r.rps:g}/s",
            *(f"{n} of {r.watches}" for n in r.false),
            *([""] * (len(MOST) - len(r.false))),
            "" if r.delay_s is None else f"{r.delay_s:.0f} s",
        ]
        for r in rows
    ]
    return table(["P95 row, direct feed", *(f"false, {name}" for name in MOST), "median delay"], cells)


def joint(played: Joint) -> str:
    """All rows together."""
    rows = [[name, f"{n} of {played.watches}"] for name, n in played.by_row.items()]
    return table(
        ["every rate at 0.9 of what its row allows", "false rollbacks"],
        [*rows, ["**any row**", f"**{played.any_row} of {played.watches}**"]],
    )


# --- cells ----------------------------------------------------------------------------------------------------------


def _with_interval(t: Tally) -> str:
    low, high = t.interval
    return f"{_percent(t.share)} [{_percent(low)}, {_percent(high)}]"


def _percent(share: float) -> str:
    """A share in percent, in two significant figures, without the sign."""
    percent = 100 * share
    if percent == 0.0 or percent >= 99.95:
        return f"{percent:.0f}"
    return f"{percent:.2g}" if percent < 10 else f"{percent:.0f}"


def _delay(t: Tally) -> str:
    median, p95 = t.delay(0.5), t.delay(0.95)
    marks = [f"{letter}{_percent(n / t.watches)}" for letter, n in (("m", t.missed), ("f", t.false)) if n and t.watches]
    figures = "–" if median is None or p95 is None else f"{median:.0f} / {p95:.0f}"
    return " ".join([figures, *marks])
