"""The request log finds in under a minute what Cloud Monitoring, at its real pace, shows after five."""

import asyncio
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.drills import world
from tests.drills.world import FAILING, SERVICE, Cloud, daemon
from tests.engine.world import policy_text

pytestmark = [pytest.mark.drill, pytest.mark.timeout(150)]
GOOD, BAD = f"{SERVICE}-good", f"{SERVICE}-bad"
FOUND_S = 60.0
ERRORS = {"kind": "status", "status": 500, "share": 0.2, "users_only": True}
POLICY = policy_text(
    criteria='  - {metric: error_rate, target: "< 1%", action: rollback}\ncold_start: {errors: 0s, latency: 0s}',
    every="1s",
    timeout="1s",
    probe_every="5s",
    warm="1s",
    settle="1s",
).replace("metrics_every: 500ms", "metrics_every: 60s")


@pytest.fixture(scope="module")
def endpoints(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mapping[str, Any]]:
    """An emulator whose Monitoring is as slow as the real one: a sample a minute, three minutes late."""
    pace = ("--routing-delay", "0.1", "--startup", "0.02", "--sample-period", "60", "--ingest-delay", "180")
    arguments = ("-m", "watchdog.emulator", "--listen", "127.0.0.1:0", *pace)
    with world.process(tmp_path_factory.mktemp("emulator"), "emulator", *arguments) as running:
        yield asyncio.run(world._endpoints(running))


async def test_a_fifth_of_errors_behind_green_probes_are_rolled_back_within_a_minute(
    cloud: Cloud, tmp_path: Path
) -> None:
    async with daemon(cloud, tmp_path, text=POLICY) as dog:
        await cloud.ask("PUT", "load", {"rate_per_s": 40})
        await cloud.deploy("bad", ERRORS)
        watch = await dog.watch(BAD)
        write = await written(cloud)
        served = [r["ended_at"] for r in await cloud.requests() if r["revision"] == BAD]
        _, shown = await dog.ask("GET", f"/api/v1/watches/{watch['id']}")
        split = await restored(cloud)

    took = write["at"] - served[0]
    assert took <= FOUND_S, f"{took:.1f} s"
    assert list(split) != [BAD]
    reasons = [d["reason"] for d in shown["decisions"] if d["action"] == "rollback"]
    assert reasons
    assert "request_log" in reasons[0]
    assert "error_rate" in reasons[0]
    assert not dog.process.logged("probe_failed")


async def written(cloud: Cloud) -> dict[str, Any]:
    """The watchdog's one write, once it is there."""
    async with asyncio.timeout(FOUND_S + 30.0):
        while not (found := await cloud.writes()):  # noqa: ASYNC110 - another process, which signals nothing
            await asyncio.sleep(0.2)
    (write,) = found
    return write


async def restored(cloud: Cloud) -> dict[str, int]:
    """The split, once the bad revision is out of it."""
    async with asyncio.timeout(10.0):
        while BAD in (split := await cloud.split()):  # noqa: ASYNC110 - as above
            await asyncio.sleep(0.1)
    return split


async def test_without_the_right_to_read_the_log_it_says_so_once_and_watches_on(cloud: Cloud, tmp_path: Path) -> None:
    await cloud.ask("POST", "logging/faults", {"kind": "permission_denied"})
    async with daemon(cloud, tmp_path, text=POLICY) as dog:
        await cloud.deploy("bad")
        watch = await dog.watch(BAD, "watching")
        _, shown = await dog.ask("GET", f"/api/v1/watches/{watch['id']}")
        await cloud.afflict(BAD, FAILING)
        ended = await dog.ended(BAD)

    assert [note for note in shown["notes"] if "roles/logging.viewer" in note], shown["notes"]
    assert len(dog.process.logged("request_log_down")) == 1
    assert ended["outcome"] == "rolled_back"
