"""Records incidents: plays scenarios with the emulator and the real daemon, and keeps each watch's report and journal.

    python -m tests.recordings.record [NAME…]       play again, about two minutes each; all of them by default
    python -m tests.recordings.record --accept      keep the journals, take over what today's judge says of them

A recording is what `watchdog report WATCH --json` prints, compressed. It is meant to be kept: a fold that decides
otherwise about an incident of the past is a change of judgement, and has to be wanted.
"""

import argparse
import asyncio
import gzip
import json
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from watchdog.core.report import view
from watchdog.demo.play import demo_policy
from watchdog.demo.world import World, open_world
from watchdog.emulator.scenario import Scenario, load_scenario
from watchdog.engine.replay import refold
from watchdog.engine.replay_journal import differences, read_journal

HERE = Path(__file__).parent
SUFFIX = ".json.gz"
LOOK_EVERY_S = 0.5

SCENARIOS: Mapping[str, str] = {
    "hard-down": "hard-down",
    "error-rate": "error-rate",
    "healthy": "healthy",
    **{
        name: str(HERE / "scenarios" / f"{name}.yaml")
        for name in ("slow-latency", "shared-outage", "blips", "flapping")
    },
    "people": str(HERE / "scenarios" / "people.yaml"),
}
"""Recording → what the emulator plays: a shipped scenario or a file beside this one."""
DEEDS: Mapping[str, Sequence[tuple[float, str, Mapping[str, Any]]]] = {
    "people": (
        (3.0, "pause", {"reason": "a migration runs", "by": "alice"}),
        (8.0, "signals", {"signal": "support_tickets", "reason": "three in a minute", "by": "bob"}),
        (14.0, "resume", {"reason": "it is through", "by": "alice"}),
        (20.0, "hold", {"reason": "it is the database", "by": "alice"}),
        (34.0, "ack", {"by": "bob"}),
        (38.0, "extend", {"for": "30s", "reason": "to see more", "by": "bob"}),
        (44.0, "resume", {"reason": "it is the release after all", "by": "alice"}),
    ),
}
"""Recording → what people do, seconds after the watch was seen: the verb's path and its body."""


def recordings() -> list[Path]:
    """Every recording there is."""
    return sorted(HERE.glob(f"*{SUFFIX}"))


def name_of(path: Path) -> str:
    """`hard-down`."""
    return path.name.removesuffix(SUFFIX)


def load(path: Path) -> str:
    """A recording's JSON."""
    return gzip.decompress(path.read_bytes()).decode()


def save(path: Path, report: Mapping[str, Any]) -> None:
    """Write a recording: the same report gives the same bytes."""
    text = json.dumps(report, ensure_ascii=False, separators=(",", ":"))
    path.write_bytes(gzip.compress(text.encode(), mtime=0))


# --- playing ------------------------------------------------------------------------------------------------------


async def record(name: str) -> None:
    """Play one scenario and keep its watch's report."""
    source = SCENARIOS[name]
    scenario = load_scenario(source)
    with tempfile.TemporaryDirectory(prefix="watchdog-recording-") as folder:
        async with open_world(["--scenario", source], Path(folder)) as world:
            await world.start_daemon(demo_policy(world.endpoints))
            watch = await _play(world, scenario, DEEDS.get(name, ()))
            report = await world.watchdog("GET", f"/api/v1/watches/{watch}/report?format=json")
    told = read_journal(json.dumps(report), name)
    wrong = differences(told, refold(told.opening, told.events))
    path = HERE / f"{name}{SUFFIX}"
    save(path, report)
    shown = report["watch"]
    print(f"{name}: {shown['outcome']}, {len(report['events'])} records, {path.stat().st_size // 1024} KB")  # noqa: T201
    for line in [shown["reason"], *(d["reason"] for d in shown["decisions"]), *(f"NOT REPRODUCED: {w}" for w in wrong)]:
        print(f"  {line}")  # noqa: T201
    if shown["outcome"] != scenario.expect.outcome:
        print(f"  NOT AS ITS SCRIPT SAYS: expected {scenario.expect.outcome}")  # noqa: T201


async def _play(world: World, scenario: Scenario, deeds: Sequence[tuple[float, str, Mapping[str, Any]]]) -> str:
    """The scenario up to the end of its watch; returns the watch's id."""
    tagging = {
        "service": scenario.service.name,
        "traffic": {"LATEST": 100},
        "tags": {"stable": scenario.good.revision},
        "wait": True,
    }
    await world.emulator("POST", "/emulator/traffic", tagging)
    await asyncio.sleep(scenario.before_s)
    deployed = await world.emulator("POST", "/emulator/deploy", scenario.deploy_body())
    loop = asyncio.get_running_loop()
    began, waiting, finished = loop.time(), list(deeds), False
    while True:
        await asyncio.sleep(LOOK_EVERY_S)
        rows = (await world.watchdog("GET", "/api/v1/watches"))["watches"]
        row = next((r for r in rows if r["revision"] == deployed["revision"]), None)
        if row is None:
            began = loop.time()
            continue
        if row["state"] == "ended":
            return str(row["id"])
        passed = loop.time() - began
        if waiting and passed >= waiting[0][0]:
            _, verb, body = waiting.pop(0)
            await world.watchdog("POST", f"/api/v1/watches/{row['id']}/{verb}", body)
        if passed > scenario.watch_s and not finished and row["state"] in {"watching", "paused", "held"}:
            finished = True
            await world.watchdog("POST", f"/api/v1/watches/{row['id']}/finish", {"reason": "end of the recording"})


# --- judging again ------------------------------------------------------------------------------------------------


def accept(path: Path) -> None:
    """Tell what today's judge says otherwise about a recording, and write that down."""
    report = json.loads(load(path))
    told = read_journal(load(path), path.name)
    judged = refold(told.opening, told.events)
    found = differences(told, judged)
    for line in found:
        print(f"{path.name}: {line}")  # noqa: T201
    if found:
        save(path, {**report, "watch": view(judged.watch)})


def main() -> None:
    """Record, or accept."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME", help="which ones")
    parser.add_argument("--accept", action="store_true", help="judge the recordings again and keep what is said now")
    arguments = parser.parse_args()
    if arguments.accept:
        for path in recordings():
            accept(path)
        return
    for name in arguments.names or SCENARIOS:
        asyncio.run(record(name))


if __name__ == "__main__":
    main()
