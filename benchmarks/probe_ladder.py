"""Chooses the evidence meter's ladder for probes: which severities, how long their slots, how many an alarm needs.

Every candidate judges the same simulated watches of 24 h, probed every 1, 5, 15 and 60 s. Healthy ones: 1.8 % of the
probes fail (the limit is 2 %), or everything fails for 5 s or 20 s about every 4 h. Sick ones, from a random moment
between hour 2 and 12: all probes fail, or 30 %, or 8 %. Printed as Markdown: the share of healthy watches with an
alarm, and the median and 95th percentile of the seconds from the fault to the alarm ("never": none in 12 h).

One probe of three is simulated, with its third of the row's alpha: blips hit all three at once, so that is what a watch
would see. `python -m benchmarks.probe_ladder --watches 400`
"""

import argparse
import random
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import ceil, exp, inf, log

from watchdog.core.policy import PROBE_P0, AlphaConfig
from watchdog.core.sequential import PROBES, Ladder, Meter, Rung

DAY_S = 86_400.0
PROBES_OF_A_ROW = 3
EVERY_S = (1.0, 5.0, 15.0, 60.0)
ANSWER_S = 0.05
"""A probe is counted when it is answered."""
LOST = 0.001
"""Of a service that is well, this share of the probes is lost all the same."""
BLIPS_EVERY_S = 4 * 3600.0

CANDIDATES: dict[str, Ladder] = {
    "chosen": PROBES,
    "longer": (Rung(3, 300, 3), Rung(15, 60, 4), Rung(200, 15, 4)),
    "hasty": (Rung(3, 120, 4), Rung(15, 30, 4), Rung(200, 5, 6)),
    "fewer slots": (Rung(3, 120, 4), Rung(15, 30, 4), Rung(200, 10, 4)),
    "closer": (Rung(3, 120, 4), Rung(10, 30, 4), Rung(40, 15, 5), Rung(200, 10, 5)),
    "without 3": (Rung(15, 15, 6), Rung(200, 10, 5)),
}
"""What was compared at last; a dozen more came before it."""


@dataclass(frozen=True, slots=True)
class Judge:
    """One ladder for one probing interval, with everything computed that does not depend on the answers."""

    meter: Meter
    every_s: float
    tracks: tuple[tuple[float, list[float], list[float], list[int]], ...]
    """By rung: slot length, every slot's bet, what a clean slot leaves of the wealth, and its probes."""

    @classmethod
    def of(cls, ladder: Ladder, every_s: float) -> "Judge":
        """A ladder with one probe's share of the row's alpha, for probes sent every `every_s` seconds."""
        alpha = AlphaConfig().probes / PROBES_OF_A_ROW
        meter = Meter.start(p0=PROBE_P0, alpha=alpha, burstiness=1.0, ladder=ladder, watch_s=DAY_S)
        tracks = []
        for r, rung in enumerate(ladder):
            slots = int(DAY_S // rung.slot_s)
            asked = [0] * (slots + 1)
            for k in range(int(DAY_S / every_s)):
                asked[int((k * every_s + ANSWER_S) // rung.slot_s)] += 1
            bets = [1.0 / (meter.horizon[r] * (j + 1)) for j in range(slots)]
            kept = [exp(meter.score(r, 0, n)) for n in asked[:slots]]
            tracks.append((rung.slot_s, bets, kept, asked))
        return cls(meter, every_s, tuple(tracks))

    def alarm(self, failed: Sequence[float]) -> float:
        """When the failures (answer times, in order) raise an alarm, `inf` when never."""
        return min(self._alarm(r, failed) for r in range(len(self.tracks)))

    def _alarm(self, r: int, failed: Sequence[float]) -> float:
        length, bets, kept, asked = self.tracks[r]
        bad: dict[int, int] = {}
        for at in failed:
            slot = int(at // length)
            bad[slot] = bad.get(slot, 0) + 1
        wealth, begin = 0.0, 0
        for slot in sorted(bad):
            if slot >= len(bets):
                break
            for bet, keep in zip(bets[begin:slot], kept[begin:slot], strict=True):
                wealth = (wealth + bet) * keep
            wealth = self.meter.grown(wealth, r, slot, bad[slot], asked[slot])
            if wealth >= self.meter.need:
                return (slot + 1) * length
            begin = slot + 1
        return inf


# --- worlds -----------------------------------------------------------------------------------------------------------


def _at_random(rng: random.Random, share: float, every_s: float, start: float, end: float) -> Iterator[float]:
    """The answers between `start` and `end` that fail when each fails by itself with this chance."""
    k = ceil(start / every_s) - 1
    while True:
        k += 1 + int(log(1.0 - rng.random()) / log(1.0 - share))  # answers up to the next failure are geometric
        if k * every_s >= end:
            return
        yield k * every_s + ANSWER_S


def _all(every_s: float, start: float, end: float) -> Iterator[float]:
    """Every answer between `start` and `end`."""
    k = ceil(start / every_s)
    while k * every_s < min(end, DAY_S):
        yield k * every_s + ANSWER_S
        k += 1


def flaky(rng: random.Random, every_s: float) -> list[float]:
    """1.8 % fail, all day: just within the limit."""
    return list(_at_random(rng, 0.018, every_s, 0.0, DAY_S))


def blips(rng: random.Random, every_s: float, length_s: float) -> list[float]:
    """Everything fails for some seconds, about every 4 h."""
    found = set(_at_random(rng, LOST, every_s, 0.0, DAY_S))
    at = rng.expovariate(1.0 / BLIPS_EVERY_S)
    while at < DAY_S:
        found.update(_all(every_s, at, at + length_s))
        at += length_s + rng.expovariate(1.0 / BLIPS_EVERY_S)
    return sorted(found)


def sick(rng: random.Random, every_s: float, share: float) -> tuple[float, list[float]]:
    """When a fault begins, and the answers that fail: this share of them from then on."""
    begins = rng.uniform(2 * 3600.0, 12 * 3600.0)
    before = list(_at_random(rng, LOST, every_s, 0.0, begins))
    until = begins + 12 * 3600.0 if share < 1.0 else begins + 3600.0
    after = _all(every_s, begins, until) if share >= 1.0 else _at_random(rng, share, every_s, begins, until)
    return begins, before + list(after)


# --- the table --------------------------------------------------------------------------------------------------------


def false_share(judge: Judge, worlds: Sequence[list[float]]) -> str:
    """The share of healthy watches with an alarm, in percent."""
    alarms = sum(judge.alarm(failed) < inf for failed in worlds)
    return f"{100.0 * alarms / len(worlds):.2f}".rstrip("0").rstrip(".")


def delays(judge: Judge, worlds: Sequence[tuple[float, list[float]]]) -> str:
    """Median and 95th percentile of the seconds from the fault to the alarm; false alarms before it are left out."""
    found = sorted(judge.alarm(failed) - begins for begins, failed in worlds)
    late = [d for d in found if d >= 0.0]
    told = (f"{d:.0f}" if d < inf else "never" for d in (late[len(late) // 2], late[len(late) * 19 // 20]))
    return " / ".join(told)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--watches", type=int, default=400, help="simulated watches a cell (default: 400)")
    parser.add_argument("--seed", type=int, default=20, help="the random numbers' seed (default: 20)")
    parser.add_argument("--only", nargs="*", help="candidates by the beginning of their names (default: all)")
    args = parser.parse_args()
    names = [n for n in CANDIDATES if not args.only or n.startswith(tuple(args.only))]
    began = time.perf_counter()
    print(
        "| probed every | ladder | 1.8 % flaky: false % | 20 s blips: false % | 5 s blips: false % "
        "| all fail: median / p95 s | 30 % fail: median / p95 s | 8 % fail: median / p95 s |\n"
        "|---|---|---|---|---|---|---|---|"
    )
    for every_s in EVERY_S:
        rng = random.Random(f"{args.seed}/{every_s}")
        many = range(args.watches)
        worlds = (
            [flaky(rng, every_s) for _ in many],
            [blips(rng, every_s, 20.0) for _ in many],
            [blips(rng, every_s, 5.0) for _ in many],
        )
        faults = [[sick(rng, every_s, share) for _ in many] for share in (1.0, 0.3, 0.08)]
        for name in names:
            judge = Judge.of(CANDIDATES[name], every_s)
            cells = [false_share(judge, w) for w in worlds] + [delays(judge, f) for f in faults]
            print(f"| {every_s:g} s | {name} | {' | '.join(cells)} |", flush=True)
    for name in names:
        rungs = " ".join(f"({r.rho:g}, {r.slot_s:g} s, {r.cap_slots})" for r in CANDIDATES[name])
        print(f"\n{name}: {rungs}")
    print(f"\n{args.watches} watches a cell, seed {args.seed}; took {time.perf_counter() - began:.0f} s.")


if __name__ == "__main__":
    main()
