"""The decision rule beside those of others, on the same days.

Who rolls back a healthy release, who keeps a bad one, and how long does each take? Ours is the evidence meter as
shipped: the error rows of config/barq-fleet.yaml, with the ladder, alpha and feeds that a watch gives them. The days
are synthetic; docs/evidence.md says what that leaves open. About a quarter of an hour on one core; `--quick` takes half
a minute, and too few watches to prove anything.
"""

import argparse
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from time import perf_counter

from benchmarks.detection_parts import sections, targets
from benchmarks.detection_parts.cases import BEYOND, FAULTS, GUILTY, HEALTHY, SHARED
from benchmarks.detection_parts.joint import Joint, play_joint, pooled
from benchmarks.detection_parts.latency import play_latency
from benchmarks.detection_parts.play import PART, Played, TwinError, plan, play_all
from benchmarks.detection_parts.shared import play_shared
from benchmarks.detection_parts.streams import DAY_S, Scenario
from benchmarks.detection_parts.twin import DIRECT, FEEDS
from benchmarks.tables import conditions

PROVEN = ("0.1 %", "0.1 % + 5 s blips")
"""Scenarios whose target is so small that it takes more watches to prove."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Effort:
    """How many watches a rate, how many of them with a control, and how much of a day the core replays."""

    healthy: int
    proving: int
    faults: int
    shared: int
    latency: int
    controls: float
    replay_s: float


FULL = Effort(healthy=2000, proving=3000, faults=400, shared=300, latency=160, controls=0.25, replay_s=DAY_S)
QUICK = Effort(healthy=30, proving=30, faults=20, shared=10, latency=12, controls=0.5, replay_s=3600.0)


def make_parser() -> argparse.ArgumentParser:
    """The command line."""
    title = (__doc__ or "").partition("\n")[0]
    parser = argparse.ArgumentParser(prog="python -m benchmarks.detection", description=title)
    parser.add_argument("--quick", action="store_true", help="few watches of everything: within a minute")
    parser.add_argument("--seed", type=int, default=20_261, help="of all days (20261)")
    parser.add_argument("--jobs", type=int, default=1, help="processes (1); the figures do not depend on it")
    parser.add_argument("--details", action="store_true", help="every fault at every rate")
    parser.add_argument("--check", action="store_true", help="exit 1 when a target is missed")
    return parser


def run(given: argparse.Namespace) -> tuple[str, bool]:
    """The tables, and whether every target was kept. Raises `TwinError`; says on stderr how far it is."""
    began = perf_counter()
    effort = QUICK if given.quick else FULL

    def say(what: str) -> None:
        print(f"{perf_counter() - began:5.0f} s  {what}", file=sys.stderr, flush=True)

    def played(scenarios: Sequence[Scenario], each: int) -> list[Played]:
        say(f"{scenarios[0].name}{', …' if len(scenarios) > 1 else ''}")
        tasks = plan(
            scenarios,
            seed=given.seed,
            each=each,
            control_share=effort.controls,
            replayed=1,
            replay_s=effort.replay_s,
        )
        return play_all(tasks, jobs=max(1, given.jobs))

    healthy = [p for s in HEALTHY for p in played([s], effort.proving if s.name in PROVEN else effort.healthy)]
    beyond = played(BEYOND, effort.healthy)
    faults = played(FAULTS, effort.faults)
    say("shared outages")
    outages, guilty = (
        [play_shared(s, seed=given.seed, each=effort.shared) for s in cases] for cases in (SHARED, GUILTY)
    )
    say("all rows together")
    joint = _joint(given.seed, effort.healthy)
    everything = [*healthy, *beyond, *faults]
    found = targets.lines(everything, outages, joint)
    tables = {
        "Targets": targets.as_table(found),
        "Healthy releases": "\n\n".join(sections.false_rollbacks(healthy, feed) for feed in FEEDS),
        "Healthy releases by traffic": sections.false_by_rate(healthy, DIRECT),
        "Faults": "\n\n".join(sections.delays(faults, feed, everything=given.details) for feed in FEEDS),
        "Ours against the bound": "\n\n".join(sections.ratios(faults, feed) for feed in FEEDS),
        "Outages shared by old and new": f"{sections.shared(outages)}\n\n{sections.price(guilty)}",
        "Errors that cause each other": sections.beyond(beyond, FEEDS),
        "Latency": sections.latency(play_latency(seed=given.seed, each=effort.latency)),
        "All rows together": sections.joint(joint),
    }
    watches = sum(len(p.rps) for p in everything) + joint.watches
    watches += sum(o.watches * len(o.controls) for o in (*outages, *guilty))
    ended = (
        f"{watches:,} watches, {sum(p.replayed for p in everything)} of them replayed through the core itself with the "
        f"same result; seed {given.seed}; {perf_counter() - began:.0f} s. {conditions()}"
    )
    text = "\n\n".join([*(f"### {title}\n\n{table}" for title, table in tables.items()), ended])
    return text, not any("missed" in line.result for line in found)


def _joint(seed: int, each: int) -> Joint:
    return pooled(
        [play_joint(seed=seed, each=min(PART, each - first), part=i) for i, first in enumerate(range(0, each, PART))]
    )


def main(argv: Sequence[str] | None = None) -> int:
    """Play, and print."""
    given = make_parser().parse_args(argv)
    try:
        text, kept = run(given)
    except TwinError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    print(text)
    return 1 if given.check and not kept else 0


if __name__ == "__main__":
    sys.exit(main())
