"""Discovery lists services once for each project and region: 300 services cost as many reads as one."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from math import inf
from pathlib import Path

import pytest

from tests.engine.world import GOOD, KEY, Cloud, emulated, eventually, kept, policy
from watchdog.actions.cloud_run import CloudRun
from watchdog.core.model import ServiceKey, ServiceState
from watchdog.emulator.director import Release
from watchdog.emulator.world import Service
from watchdog.emulator.world import ServiceKey as Key
from watchdog.engine.clock import SystemClock
from watchdog.engine.discovery import READS_PER_MIN, Discovery
from watchdog.errors import PermanentError, TemporaryError
from watchdog.transport import open_session

MANY = 300
NAMES = [f"api-{i:03d}" for i in range(MANY)]
KEYS = [ServiceKey(project="barq-fleet", region="us-central1", name=name) for name in NAMES]


class Skipping(SystemClock):
    """Waits no time and remembers how long it should have waited, so that a budget can be told without it."""

    def __init__(self) -> None:
        super().__init__()
        self.skipped_s = 0.0

    def monotonic(self) -> float:
        return super().monotonic() + self.skipped_s

    async def sleep(self, delay_s: float) -> None:
        self.skipped_s += max(0.0, delay_s)
        await asyncio.sleep(0)


class Narrow(CloudRun):
    """May get services, but not list them."""

    async def list_services(self, project: str, region: str) -> list[ServiceState]:
        raise PermanentError(f"no run.services.list on {project} in {region}", status=403)


class Counting(CloudRun):
    """Counts its lists, those that fail too."""

    lists = 0

    async def list_services(self, project: str, region: str) -> Sequence[ServiceState]:
        self.lists += 1
        return await super().list_services(project, region)


@asynccontextmanager
async def crowd() -> AsyncIterator[tuple[Cloud, CloudRun]]:
    """An emulated project with 300 services (as the API shows them: nobody sends them a request) and a client."""
    async with emulated(tagged=False) as cloud, open_session() as session:
        world = cloud.emulator.world
        like = world.services[Key("barq-fleet", "us-central1", KEY.name)]
        for name in NAMES:
            key = Key("barq-fleet", "us-central1", name)
            world.services[key] = Service(
                key=key,
                uid=name,
                created_at=like.created_at,
                creator=like.creator,
                url=like.url,
                template=like.template,
                traffic=[{"latestRevision": True, "percent": 100}],
                resource_version="v1",
                observed_generation=1,
                conditions=like.conditions,
                status_traffic=[{"revisionName": f"{name}-00001", "percent": 100, "latestRevision": True}],
                latest_created=f"{name}-00001",
                latest_ready=f"{name}-00001",
            )
        address = cloud.emulator.endpoints()["env"]["CLOUD_RUN_EMULATOR_HOST"]
        yield cloud, CloudRun(session, tokens=None, api_url=f"http://{address}")


async def rounds(discovery: Discovery, count: int) -> list[dict[str, ServiceState]]:
    """Every keeper looks `count` times, all at the same time, each wanting something newer than it has."""
    seen = dict.fromkeys(KEYS, -inf)
    found: list[dict[str, ServiceState]] = []

    async def look(key: ServiceKey, into: dict[str, ServiceState]) -> None:
        into[key.name], seen[key] = await discovery.look(key, newer_than=seen[key])

    for _ in range(count):
        found.append({})
        await asyncio.gather(*(look(key, found[-1]) for key in KEYS))
    return found


async def test_three_hundred_services_are_read_by_one_list_a_round_within_the_budget() -> None:
    async with crowd() as (cloud, api):
        clock = Skipping()
        discovery = Discovery(clock, api, KEYS)
        cloud.emulator.world.reads = 0
        began = clock.monotonic()
        found = await rounds(discovery, 7)
        took_min = (clock.monotonic() - began) / 60.0
        assert all(f[name].split.sole == f"{name}-00001" for f in found for name in NAMES)
        assert cloud.emulator.world.reads == 7  # where a get each would have been 2,100
        # However often it is asked for: three pages a list, so the budget spreads these seven over 18 s or more.
        assert READS_PER_MIN * took_min + 2 * 3 >= 7 * 3


async def test_where_listing_is_forbidden_each_service_is_read_within_the_same_budget() -> None:
    async with crowd() as (cloud, api):
        clock = Skipping()

        narrow = Narrow(api._session, tokens=None, api_url=api._api_url)
        cloud.emulator.world.reads = 0
        (found,) = await rounds(Discovery(clock, narrow, KEYS), 1)
        assert set(found) == set(NAMES)
        assert cloud.emulator.world.reads == MANY
        assert clock.skipped_s >= MANY * 60.0 / READS_PER_MIN - 10.0


async def test_a_list_that_fails_is_not_asked_for_again_by_everyone_who_waited() -> None:
    async with crowd() as (cloud, api):
        await cloud.disturb(kind="status", status=503)
        counted = Counting(api._session, tokens=None, api_url=api._api_url)
        discovery = Discovery(Skipping(), counted, KEYS)
        answers = await asyncio.gather(*(discovery.look(k, newer_than=-inf) for k in KEYS), return_exceptions=True)
        assert counted.lists == 1
        assert all(isinstance(a, TemporaryError) for a in answers)
        await cloud.calm()
        state, _ = await discovery.look(KEYS[0], newer_than=discovery._area(KEYS[0]).began)
        assert state.name == NAMES[0]


async def test_a_service_that_the_list_does_not_hold_is_said_to_be_missing() -> None:
    async with crowd() as (_, api):
        other = ServiceKey(project="barq-fleet", region="us-central1", name="no-such-service")
        discovery = Discovery(Skipping(), api, [*KEYS, other])
        with pytest.raises(PermanentError, match="lists no such service") as error:
            await discovery.look(other, newer_than=-inf)
        assert error.value.status == 404


async def test_keepers_that_share_a_list_fall_into_step_and_find_a_deploy_in_time(tmp_path: Path) -> None:
    """Two services at rest cost one read a round, not two; a deploy of one of them is found as soon as it would be."""
    second = "second-api"
    policies = [policy(discover="1s", probe_every="60s"), policy(name=second, discover="1s", probe_every="60s")]
    async with emulated() as cloud:
        await cloud.emulator.director.deploy(Release(service=second, revision=f"{second}-good", image="api:1"))
        async with kept(cloud, tmp_path / "w.db", *policies) as house:
            keepers = house.supervisor.keepers.values()
            await eventually(lambda: all(k.service.known for k in keepers), "both known")
            cloud.emulator.world.reads = 0
            await asyncio.sleep(2.5)
            assert cloud.emulator.world.reads <= 3
            await cloud.deploy("barq-fleet-api-next")
            runner = await house.watching("barq-fleet-api-next")
            assert runner.watch.target.split.percents() == {GOOD: 100}
