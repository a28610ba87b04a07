"""The daemon at rest, its start and its end.

One service under load in the emulator, the shipped BARQ policy, the real daemon as a process of its own. Starts are
measured from right before the process is created to the moment at which its first probe was sent, as the emulator
recorded it (the end of the request less its latency); one start before them is thrown away, since it reads everything
from the disk. CPU is process time over wall time, memory the resident set (1 MB = 10⁶ bytes); both are read from
outside, after a warm-up:

* *between deploys*: traffic discovery every 10 s, probes every minute;
* *watching*: a healthy revision in its immediate window, three probes every 5 s, metrics every 60 s and
  the request log as it comes, where the daemon reads it.
"""

import argparse
import asyncio
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import psutil

from benchmarks.lab import CLOCK, Lab, LabError, barq_policy, open_lab
from benchmarks.tables import conditions, held, quantile, table

USERS_PER_S: Final = 10.0
MEMORY_TARGET_MB: Final = 130.0
START_TARGET_S: Final = 2.0
EXIT_TARGET_S: Final = 5.0
MB: Final = 1e6


@dataclass(frozen=True, slots=True, kw_only=True)
class Start:
    """One start and its end. Seconds."""

    kind: str
    first_probe_s: float
    busy_s: float
    """Processor time that the daemon had used when the probe had been seen."""
    exit_s: float
    code: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Rest:
    """One observation: CPU as a share of one core, resident memory in MB at most, seconds observed."""

    kind: str
    cpu: float
    memory_mb: float
    seconds: float


async def start_once(lab: Lab, policy: dict[str, Any], kind: str, *, database: str) -> Start:
    """Start the daemon, wait for its first probe, end it."""
    _, index = await lab.requests_since(2**62)
    daemon = await lab.start_daemon(policy, database=database)

    async def probed() -> float | None:
        lines, _ = await lab.requests_since(index)
        sent = [line["ended_at"] - line["latency_s"] for line in lines if "(probe)" in line["user_agent"]]
        return min(sent) if sent else None

    sent_at = await lab.until("the first probe", probed)
    spent = psutil.Process(daemon.handle.pid).cpu_times()
    exit_s, code = await lab.stop_daemon()
    return Start(
        kind=kind,
        first_probe_s=sent_at - daemon.spawned_at,
        busy_s=spent.user + spent.system,
        exit_s=exit_s,
        code=code,
    )


async def observe(lab: Lab, kind: str, *, warm_s: float, seconds: float) -> Rest:
    """Leave the daemon alone, and look at its process from outside."""
    if lab.daemon is None:
        raise LabError("no daemon runs")
    await CLOCK.sleep(warm_s)
    process = psutil.Process(lab.daemon.handle.pid)
    before, began = process.cpu_times(), CLOCK.monotonic()
    most = 0.0
    while CLOCK.monotonic() - began < seconds:
        most = max(most, float(process.memory_info().rss))
        await CLOCK.sleep(1.0)
    after, took = process.cpu_times(), CLOCK.monotonic() - began
    spent = after.user + after.system - before.user - before.system
    return Rest(kind=kind, cpu=spent / took, memory_mb=most / MB, seconds=took)


async def measure(*, starts: int, warm_s: float, seconds: float, seed: int) -> tuple[list[Start], list[Rest]]:
    """Everything, in one emulator."""
    found: list[Start] = []
    rests: list[Rest] = []
    async with open_lab(rate_per_s=USERS_PER_S, seed=seed) as lab:
        policy = barq_policy(lab)
        await start_once(lab, policy, "", database="cold.db")
        for i in range(starts):
            found.append(await start_once(lab, policy, "a new database", database=f"new-{i}.db"))
            sys.stderr.write(f"start {i + 1} of {starts}: first probe after {found[-1].first_probe_s:.2f} s\n")
        await lab.start_daemon(policy)
        await lab.wait_ready()
        rests.append(await observe(lab, "between deploys", warm_s=warm_s, seconds=seconds))
        watch = await lab.watch_of(await lab.deploy("us-docker.pkg.dev/barq-fleet/api/api:1.1.0", run="rest"))
        rests.append(await observe(lab, "watching a healthy release", warm_s=warm_s, seconds=seconds))
        view = await lab.ask_daemon("GET", f"/watches/{watch}")
        if view["state"] != "watching":
            raise LabError(f"the healthy watch is {view['state']}: {view['reason']}; logs: {lab.folder}")
        exit_s, code = await lab.stop_daemon()
        sys.stderr.write(f"SIGTERM with an open watch: gone after {exit_s:.2f} s with code {code}\n")
        for i in range(starts):
            found.append(await start_once(lab, policy, "an open watch to resume", database="watchdog.db"))
            sys.stderr.write(f"restart {i + 1} of {starts}: first probe after {found[-1].first_probe_s:.2f} s\n")
        found.append(Start(kind="", first_probe_s=0.0, busy_s=0.0, exit_s=exit_s, code=code))
    return found, rests


def report(starts: Sequence[Start], rests: Sequence[Rest]) -> tuple[str, bool]:
    """Two tables, and whether the targets were kept."""
    kept = True
    rows: list[list[object]] = []
    for rest in rests:
        kept = kept and rest.memory_mb <= MEMORY_TARGET_MB
        fine = held(rest.memory_mb, MEMORY_TARGET_MB)
        goal = f"≤ {MEMORY_TARGET_MB:g} MB"
        rows.append([rest.kind, f"{rest.seconds:.0f} s", f"{rest.cpu:.1%}", f"{rest.memory_mb:.0f} MB", goal, fine])
    text = [table(["daemon, one service", "observed", "CPU (of one core)", "memory (most)", "target", "held"], rows)]
    rows = []
    for kind in dict.fromkeys(s.kind for s in starts if s.kind):
        some = [s.first_probe_s for s in starts if s.kind == kind]
        fine = held(quantile(some, 0.5), START_TARGET_S)
        kept = kept and quantile(some, 0.5) <= START_TARGET_S
        spread = [f"{min(some):.2f} s", f"{quantile(some, 0.5):.2f} s", f"{max(some):.2f} s"]
        rows.append([f"start → first probe, {kind}", len(some), *spread, f"≤ {START_TARGET_S:g} s", fine])
        busy = [s.busy_s for s in starts if s.kind == kind]
        spread = [f"{min(busy):.2f} s", f"{quantile(busy, 0.5):.2f} s", f"{max(busy):.2f} s"]
        rows.append(["… processor time of it", len(busy), *spread, "", ""])
    ends = [s.exit_s for s in starts]
    kept = kept and max(ends) <= EXIT_TARGET_S and not any(s.code for s in starts)
    spread = [f"{min(ends):.2f} s", f"{quantile(ends, 0.5):.2f} s", f"{max(ends):.2f} s"]
    codes = ", ".join(str(code) for code in sorted({s.code for s in starts}))
    goal = f"≤ {EXIT_TARGET_S:g} s"
    rows.append([f"SIGTERM → exit (code {codes})", len(ends), *spread, goal, held(max(ends), EXIT_TARGET_S)])
    text.append(table(["", "runs", "best", "median", "worst", "target", "held"], rows))
    return "\n\n".join(text), kept


def make_parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.at_rest", description="What the daemon costs while nothing happens."
    )
    parser.add_argument("--starts", type=int, default=7, help="starts of each kind (7)")
    parser.add_argument("--warm-up", type=float, default=20.0, metavar="SECONDS", help="before each observation (20)")
    parser.add_argument("--seconds", type=float, default=120.0, help="of each observation (120)")
    parser.add_argument("--seed", type=int, default=20_260)
    parser.add_argument("--check", action="store_true", help="exit 1 when a target is missed")
    return parser


def run(given: argparse.Namespace) -> tuple[str, bool]:
    """Measure; the tables, and whether every target was held."""
    starts, rests = asyncio.run(
        measure(starts=max(1, given.starts), warm_s=given.warm_up, seconds=given.seconds, seed=given.seed)
    )
    text, kept = report(starts, rests)
    return f"{text}\n\n{conditions()}", kept


def main(argv: Sequence[str] | None = None) -> int:
    """Measure and print; 1 when a target was missed and that was asked for."""
    given = make_parser().parse_args(argv)
    text, kept = run(given)
    print(text)
    return 1 if given.check and not kept else 0


if __name__ == "__main__":
    sys.exit(main())
