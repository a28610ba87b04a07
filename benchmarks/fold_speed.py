"""A 24 h watch through the fold.

How long it takes on one core, and whether its state grows. The watch is that of the shipped BARQ policy on a healthy
service with 20 requests/s: every probe of the policy, and every point that Cloud Run's metrics give for it. It is
judged by `watchdog.engine.replay`, the engine of `watchdog replay`: each deadline is fired at its moment, as it is
live. Journal rows are decoded before the clock starts, and the clock is the processor's: seconds on one core.

Feeds:

* *60 s*: Cloud Monitoring as it is, 60 s wide points, 180 s late;
* *60 s + 5 s*: beside it the counts of a feed as fast as a request log, 5 s wide, 10 s late;
* *all at 5 s*: every metric point 5 s wide, as the demo's Monitoring gives them;
* *CSV*: the 60 s feeds as a file for `watchdog replay FILE`, reading included.
"""

import argparse
import random
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields, is_dataclass
from functools import partial
from gc import collect, freeze
from importlib.resources import as_file, files
from time import process_time
from typing import Any, Final

from benchmarks.tables import conditions, held, quantile, table
from watchdog.core import watch as folding
from watchdog.core.catalogue import Dimension, known_metric
from watchdog.core.events import Event, Lag, Opened, Probed, Sampled, Target
from watchdog.core.model import Counts, Deploy, Evidence, Passed, Sample, Split, Value
from watchdog.core.policy import Policy
from watchdog.core.probing import ProbeAnswer, Purpose, Role
from watchdog.core.rules import compile_rules, latency_limits
from watchdog.core.state import Watch
from watchdog.engine.replay import batches, judge, opening_of
from watchdog.engine.replay_csv import COLUMNS, read_csv
from watchdog.policy_file import load_policy
from watchdog.sources.cloud_run_readings import READ_BY_ROWS, READINGS, latency_checks

CUTOVER: Final = 1_760_000_040.0
"""Unix seconds; a whole minute, as Monitoring's periods are."""
RATE_PER_S: Final = 20.0
BAD_SHARE: Final = 0.0004
"""Below every row of the policy, so that no row alarms and all of them work to the end."""
SLOW_SHARES: Final = ((0.12, 0.1), (0.2, 0.03), (0.3, 0.02), (0.5, 0.008), (1.0, 0.001))
"""Seconds → the share of requests that take longer."""
BASELINES: Final = {"error_rate": 0.0005, "p50_latency": 0.080, "cpu_usage": 0.30, "memory_usage": 0.40}
READINGS_BEFORE: Final = {"p50_latency": 0.080, "p95_latency": 0.150, "p99_latency": 0.480}
GAUGES: Final = {"cpu_usage": 0.31, "memory_usage": 0.41, "request_rate": RATE_PER_S}
COMPARED: Final = 25_000
"""Samples that the best run is also told for, so that policies with more rows or probes can be compared. The goal of
60 s feeds, 0.5 s, is for so many."""
SLOW, FAST = (60.0, 180.0), (5.0, 10.0)
"""Width and lag in seconds."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Feed:
    """One source's metric points."""

    source: str
    period_s: float
    lag_s: float
    checks: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Day:
    """One watch's evidence."""

    opening: Opened
    events: tuple[Event, ...]

    @property
    def samples(self) -> int:
        """Probes and metric points."""
        return sum(len(e.samples) if isinstance(e, Sampled) else 1 for e in self.events)


def shipped_policy() -> Policy:
    """`config/barq-fleet.yaml`."""
    with as_file(files("watchdog.data") / "barq-fleet.yaml") as path:
        return load_policy(path).policy


def checks_of(policy: Policy) -> tuple[str, ...]:
    """Every check that Cloud Run's metrics answer for this policy, as the source `cloud_run` announces them."""
    rules = compile_rules(policy, baselines=BASELINES)
    limits = latency_limits(rules.rules)
    asked = [r for r in READINGS if not r.on_demand or any(check in rules.by_check for check in r.checks)]
    named = tuple(c for r in asked for c in r.checks if c not in READ_BY_ROWS or c in rules.by_check)
    return named + latency_checks(limits, upper=True)


def make_day(policy: Policy, feeds: Sequence[Feed], *, seed: int) -> Day:
    """24 h of a healthy service."""
    chance = random.Random(seed)
    revision = "barq-fleet-api-00042-lup"
    opening = Opened(
        at=CUTOVER,
        watch="bench",
        deploy=Deploy(service=policy.service.keys[0], revision=revision),
        policy=policy.canonical(),
        policy_hash=policy.hash,
        target=Target(split=Split.of({"barq-fleet-api-00041-vix": 100}), source="discovery"),
        split=Split.of({revision: 100}),
        cutover_at=CUTOVER,
        lags=tuple(
            Lag(source=f.source, check=check, period_s=f.period_s, lag_s=f.lag_s) for f in feeds for check in f.checks
        ),
        baselines=BASELINES,
        armed=tuple(policy.probes),
    )
    events: list[Event] = list(_probes(policy, revision, chance))
    for feed in feeds:
        events += _points(policy, feed, revision, chance)
    return Day(opening=opening, events=tuple(sorted(events, key=lambda e: e.at)))


def _probes(policy: Policy, revision: str, chance: random.Random) -> list[Probed]:
    found: list[Probed] = []
    for number, name in enumerate(policy.probes):
        at = CUTOVER + 0.3 * (number + 1)
        while (window := policy.window_at(at - CUTOVER)) is not None:
            took = chance.lognormvariate(-4.0, 0.4)
            answer = ProbeAnswer(evidence=Passed(), started_at=at, ended_at=at + took, status=200)
            found.append(
                Probed(
                    at=at + took,
                    probe=name,
                    role=Role.PUBLIC,
                    purpose=Purpose.REGULAR,
                    scheduled_at=at,
                    answer=answer,
                    slot_s=window.probe_every_s,
                    revision=revision,
                )
            )
            at += window.probe_every_s
    return found


def _points(policy: Policy, feed: Feed, revision: str, chance: random.Random) -> list[Event]:
    """One event a period with every check of the feed, as the engine hands on what one question brought."""
    found: list[Event] = []
    for k in range(int(policy.watch_s / feed.period_s)):
        start = CUTOVER + k * feed.period_s
        end = start + feed.period_s
        seen = end + feed.lag_s
        if seen > CUTOVER + policy.watch_s:
            break
        evidence = _evidence(feed, chance)
        samples = [
            Sample(source=feed.source, check=c, revision=revision, start=start, end=end, seen=seen, evidence=e)
            for c, e in evidence.items()
        ]
        found.append(Sampled(at=seen, samples=tuple(samples)))
    return found


def _evidence(feed: Feed, chance: random.Random) -> Mapping[str, Evidence]:
    total = float(_poisson(chance, RATE_PER_S * feed.period_s))
    slower = {f"slower_than_{limit * 1000:g}ms": share for limit, share in SLOW_SHARES}
    found: dict[str, Evidence] = {}
    for check in feed.checks:
        if check == "error_rate":
            found[check] = Counts(_binomial(chance, total, BAD_SHARE), total)
        elif check.startswith("slower_than_"):
            found[check] = Counts(_binomial(chance, total, slower[check.removesuffix("_upper")]), total)
        else:
            level = READINGS_BEFORE.get(check) or GAUGES[check]
            found[check] = Value(level * chance.uniform(0.97, 1.03))
    return found


def _poisson(chance: random.Random, mean: float) -> int:
    """Normal above 50, where nothing here tells the difference."""
    if mean > 50.0:
        return max(0, round(chance.gauss(mean, mean**0.5)))
    count, left = 0, chance.expovariate(1.0)
    while left < mean:
        count, left = count + 1, left + chance.expovariate(1.0)
    return count


def _binomial(chance: random.Random, total: float, share: float) -> float:
    return float(min(total, _poisson(chance, total * share)))


# --- state ------------------------------------------------------------------------------------------------------------


def state_bytes(watch: Watch) -> int:
    """Memory that the watch holds by itself: everything reachable from it but its rules, each object once."""
    seen: set[int] = {id(watch.rules)}
    return _bytes(watch, seen)


def _bytes(x: object, seen: set[int]) -> int:
    if id(x) in seen or x is None or isinstance(x, type | bool):
        return 0
    seen.add(id(x))
    own = sys.getsizeof(x)
    if isinstance(x, str | bytes | int | float):
        return own
    if isinstance(x, Mapping):
        return own + sum(_bytes(k, seen) + _bytes(v, seen) for k, v in x.items())
    if isinstance(x, tuple | list | set | frozenset):
        return own + sum(_bytes(item, seen) for item in x)
    if is_dataclass(x):
        return own + sum(_bytes(getattr(x, f.name), seen) for f in fields(x))
    return own


def states_at(day: Day, hours: Sequence[float]) -> list[int]:
    """The state's size after so many hours."""
    watch, _ = folding.opened(day.opening)
    sizes: list[int] = []
    left = sorted(hours)
    for event in day.events:
        while left and event.at >= CUTOVER + left[0] * 3600.0 - 1.0:
            sizes.append(state_bytes(watch))
            left.pop(0)
        watch, _ = folding.advance(watch, event)
    return sizes + [state_bytes(watch)] * len(left)


# --- measuring --------------------------------------------------------------------------------------------------------


def timed(work: Callable[[], object], *, runs: int) -> list[float]:
    """Processor seconds of each run: what it takes on a core of its own, whoever else uses the machine.

    What the benchmark itself holds is kept from the garbage collector, whose other work the fold pays.
    """
    found: list[float] = []
    for _ in range(runs):
        collect()
        freeze()
        began = process_time()
        work()
        found.append(process_time() - began)
    return found


def as_csv(day: Day) -> str:
    """The same evidence as a file for `watchdog replay`."""
    rows = [",".join(COLUMNS)]
    for event in day.events:
        if isinstance(event, Probed):
            start, seen = event.scheduled_at - CUTOVER, event.at - CUTOVER
            rows.append(f"{start:.3f},{start + event.slot_s:.3f},{seen:.3f},probe.{event.probe},0,1,,")
        elif isinstance(event, Sampled):
            for s in event.samples:
                if (cell := _cell(s)) is not None:
                    span = f"{s.start - CUTOVER:.3f},{s.end - CUTOVER:.3f},{s.seen - CUTOVER:.3f}"
                    rows.append(f"{span},{s.check},{cell},")
    return "\n".join(rows) + "\n"


def _cell(sample: Sample) -> str | None:
    match sample.evidence:
        case Counts(bad, total):
            return f"{bad:g},{total:g},"
        case Value(x):
            known = known_metric(sample.check)
            return f",,{x:.6f}" if known is None or known.dimension is not Dimension.RATE else f",,{x:.4f}"
        case _:
            return None


def replay_file(text: str, policy: Policy) -> Any:
    """What `watchdog replay FILE` does with a CSV between reading the file and printing."""
    evidence = read_csv(text, "bench.csv", policy)
    return judge(opening_of(policy, ends_s=None), batches(evidence.samples))


def variants(policy: Policy, seed: int) -> Mapping[str, tuple[Day, float | None]]:
    """Name → the day, and its target in seconds."""
    checks = checks_of(policy)
    counted = tuple(c for c in checks if c == "error_rate" or (c.startswith("slower_") and not c.endswith("_upper")))
    monitoring = Feed(source="cloud_run", period_s=SLOW[0], lag_s=SLOW[1], checks=checks)
    log = Feed(source="request_log", period_s=FAST[0], lag_s=FAST[1], checks=counted)
    return {
        "60 s": (slow := make_day(policy, [monitoring], seed=seed), 0.5 * slow.samples / COMPARED),
        "60 s + 5 s": (make_day(policy, [monitoring, log], seed=seed), 1.5),
        "all at 5 s": (
            make_day(policy, [Feed(source="cloud_run", period_s=5.0, lag_s=5.0, checks=checks)], seed=seed),
            None,
        ),
    }


def make_parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.fold_speed", description="How fast a 24 h watch is folded, and how big it grows."
    )
    parser.add_argument("--runs", type=int, default=5, help="of each variant (5)")
    parser.add_argument("--feed", choices=["60 s", "60 s + 5 s", "all at 5 s", "CSV"], help="only this one")
    parser.add_argument("--seed", type=int, default=20_260)
    parser.add_argument("--check", action="store_true", help="exit 1 when a target is missed")
    return parser


def run(given: argparse.Namespace) -> tuple[str, bool]:
    """Measure; the table, and whether every target was held."""
    policy = shipped_policy()
    days = variants(policy, given.seed)
    rows: list[list[object]] = []
    kept = True
    for name, (day, target) in days.items():
        if given.feed not in (None, name):
            continue
        judgement = judge(day.opening, day.events)
        if judgement.outcome is None or judgement.outcome.value != "passed":
            raise SystemExit(f"{name}: a healthy watch ended {judgement.outcome}: {judgement.reason}")
        took = timed(partial(judge, day.opening, day.events), runs=given.runs)
        sizes = [f"{size / 1000:.0f} kB" for size in states_at(day, [1.0, 24.0])]
        rows.append([*_row(f"feeds {name}", day.samples, took, target), *sizes])
        kept = kept and (target is None or quantile(took, 0.5) <= target)
    if given.feed in (None, "CSV"):
        text = as_csv(days["60 s"][0])
        took = timed(partial(replay_file, text, policy), runs=given.runs)
        rows.append([*_row("the 60 s feeds from a CSV, reading included", text.count("\n") - 1, took, None), "", ""])
    header = [
        "24 h watch, BARQ policy",
        "samples",
        "best",
        "median",
        f"best, for {COMPARED:,}",
        "target",
        "held",
        "state at 1 h",
        "at 24 h",
    ]
    return f"{table(header, rows)}\n\n{given.runs} runs each, one core. {conditions()}", kept


def _row(name: str, samples: int, took: Sequence[float], target: float | None) -> list[object]:
    best, median = min(took), quantile(took, 0.5)
    goal = ["", ""] if target is None else [f"≤ {target:.2g} s", held(median, target)]
    compared = best * COMPARED / samples
    return [name, f"{samples:,}", f"{best:.2f} s", f"{median:.2f} s", f"{compared:.2f} s", *goal]


def main(argv: Sequence[str] | None = None) -> int:
    """Measure and print; 1 when a target was missed and that was asked for."""
    given = make_parser().parse_args(argv)
    text, kept = run(given)
    print(text)
    return 1 if given.check and not kept else 0


if __name__ == "__main__":
    sys.exit(main())
