"""What a trial costs and proves.

A trial moves 20 % of the traffic, and the request log counts both revisions in 5 s, complete 10 s later. *Added* is the
time from the first write to the second one when a good target is tried: what the trial adds to a rollback for the 80 %
of users who stay on the bad revision meanwhile; a trial that proves nothing takes its whole minute. *Rate* is the
service's requests a second, *bad* the new revision's share of failing ones; a good target fails 0.1 % of its own, the
limit is 1 %. The other columns are trials of a target that fails as often, in the same way (*would not help*), and of
one that fails three times as often, in another way (*migration?*); what is not said there is undecided and completed.

The statistics are those of the daemon (`core/two_arms.py`), fed in virtual time on the grid of the feed. *The real
loop* is the drill `trial-completes` with its variations: daemon, emulated cloud, both writes.
"""

import argparse
import logging
import random
import sys
import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from math import exp
from pathlib import Path
from typing import Final

from benchmarks.tables import conditions, quantile, table
from watchdog.core.trial import LONGEST_S, SETTLE_S
from watchdog.core.two_arms import Block, Finding, Known, Served, weigh
from watchdog.demo.drill import load_drill
from watchdog.demo.rehearse import rehearse_inside
from watchdog.demo.stage import Stage
from watchdog.demo.teller import Teller
from watchdog.demo.virtual import run_virtually
from watchdog.sources.request_tally import LAG_S, PERIOD_S
from watchdog.telemetry import configure_logging

RATES: Final = (1.0, 5.0, 20.0, 100.0)
SHARES: Final = (0.03, 0.08, 0.3, 1.0)
BASE: Final = 0.001
LIMIT: Final = 0.01
PART: Final = 0.2
ROUTED_S: Final = 1.0
TARGET_S: Final = 30.0
"""Median seconds added at 20 requests a second or more, where 30 % or more of them fail."""


@dataclass(frozen=True, slots=True, kw_only=True)
class World:
    """Shares of failing requests on both revisions, and how they fail."""

    rate: float
    watched: float
    target: float
    kinds: tuple[str, str] = ("503", "503")


def trial(world: World, chance: random.Random) -> tuple[Finding, float]:
    """One trial: what was found, and seconds from the first write to then."""
    phase_s = chance.uniform(0.0, PERIOD_S)  # of the feed's grid at the first write
    blocks: list[Block] = []
    start = phase_s
    while True:
        seen_s = start + PERIOD_S + LAG_S
        if seen_s > ROUTED_S + LONGEST_S:
            return Finding.UNDECIDED, ROUTED_S + LONGEST_S
        if start >= ROUTED_S:
            arms = [
                _served(chance, world.rate * part * PERIOD_S, share, kind)
                for share, part, kind in (
                    (world.watched, 1.0 - PART, world.kinds[0]),
                    (world.target, PART, world.kinds[1]),
                )
            ]
            blocks.append(Block(start + PERIOD_S, arms[0], arms[1], settled=start >= ROUTED_S + SETTLE_S))
            finding, _ = weigh(blocks, Known(share=world.watched, limit=LIMIT))
            if finding is not Finding.UNDECIDED:
                return finding, seen_s
        start += PERIOD_S


def _served(chance: random.Random, mean: float, share: float, kind: str) -> Served:
    total = _poisson(chance, mean)
    bad = float(sum(chance.random() < share for _ in range(total)))
    return Served(bad, float(total), ((kind, bad),) if bad else ())


def _poisson(chance: random.Random, mean: float) -> int:
    if mean > 50.0:  # in parts, since exp(-mean) would vanish
        return _poisson(chance, mean / 2.0) + _poisson(chance, mean / 2.0)
    left, n = chance.random(), 0
    while left > exp(-mean):
        left *= chance.random()
        n += 1
    return n


def row(rate: float, share: float, seeds: int) -> tuple[float, list[object]]:
    """The median cost of a cell, and its line."""
    kinds = ("503", "500")
    good = [trial(World(rate=rate, watched=share, target=BASE), random.Random(f"good/{s}")) for s in range(seeds)]
    same = [trial(World(rate=rate, watched=share, target=share), random.Random(f"same/{s}")) for s in range(seeds)]
    worse = World(rate=rate, watched=share, target=min(1.0, 3 * share), kinds=kinds)
    other = [trial(worse, random.Random(f"other/{s}")) for s in range(seeds)]
    added = [s for _, s in good]
    refused = {Finding.AS_SICK, Finding.SICK_OTHERWISE}
    return quantile(added, 0.5), [
        f"{rate:g}/s, {share:.0%} bad",
        f"{quantile(added, 0.5):.1f} s",
        f"{quantile(added, 0.95):.1f} s",
        _part(f is Finding.HELPS for f, _ in good),
        _part(f in refused for f, _ in good),
        _part(f is Finding.AS_SICK for f, _ in same),
        _part(f is Finding.SICK_OTHERWISE for f, _ in other),
    ]


def _part(found: Iterable[bool]) -> str:
    flags = list(found)
    return f"{sum(flags) / len(flags):.0%}"


def make_parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.trial", description="What a trial costs and proves.")
    parser.add_argument("--seeds", type=int, default=300, help="trials a cell (300)")
    parser.add_argument("--loop", type=int, default=20, help="plays of the drill (20); 0 leaves it out")
    parser.add_argument("--check", action="store_true", help="exit 1 when a target is missed")
    return parser


def between_writes(seed: int) -> float:
    """Seconds from the first to the second write of one play of the drill."""
    configure_logging(level=logging.CRITICAL)
    drill = load_drill("trial-completes")
    at: list[float] = []

    async def watched(stage: Stage) -> None:
        await drill.play(stage)
        await stage.served(good=100)
        at.extend(float(w["at"]) for w in await stage.writes())

    played = replace(drill, play=watched)
    teller = Teller(as_json=True, tells=False)
    with tempfile.TemporaryDirectory() as folder:
        run_virtually(lambda: rehearse_inside(played, teller=teller, folder=Path(folder), seed=seed))
    return at[-1] - at[0]


def real_loop(plays: int) -> str:
    """Seconds between the two writes of the drill's plays."""
    found = [between_writes(seed) for seed in range(plays)]
    return (
        f"The real loop, 20 requests/s of which 30 % to 100 % fail: first to second write {quantile(found, 0.5):.1f} s "
        f"(median of {plays} plays), {quantile(found, 0.95):.1f} s (p95)."
    )


def run(given: argparse.Namespace) -> tuple[str, bool]:
    """Measure; the table, and whether the target was kept."""
    header = ["20 % on trial", "added, p50", "p95", "helps", "wrongly put back", "would not help", "migration?"]
    lines, kept = [], True
    for rate in RATES:
        for share in SHARES:
            median, line = row(rate, share, given.seeds)
            kept = kept and (median <= TARGET_S or rate < 20.0 or share < 0.3)
            lines.append(line)
    said = (
        f"Target: a median of {TARGET_S:g} s at 20/s and more with 30 % bad and more: {'kept' if kept else 'MISSED'}."
    )
    parts = [table(header, lines), said, real_loop(given.loop) if given.loop else "", conditions()]
    return "\n\n".join(part for part in parts if part), kept


def main(argv: Sequence[str] | None = None) -> int:
    """Measure and print."""
    given = make_parser().parse_args(argv)
    text, kept = run(given)
    print(text)
    return 1 if given.check and not kept else 0


if __name__ == "__main__":
    sys.exit(main())
