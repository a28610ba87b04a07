"""The workload's own API: sessions and rows that all revisions of a service share, and faults of one workflow only."""

import asyncio
from itertools import count

from tests.emulator.cloud_world import Cloud
from tests.sources.servers import LoopClock
from watchdog.emulator.director import Release
from watchdog.emulator.faults import PROBE_PATHS, Fault
from watchdog.journey_file import SHIPPED, load_journey
from watchdog.sources.journey import HttpJourneys


async def login(cloud: Cloud, **body: str) -> tuple[int, dict[str, str]]:
    async with cloud.http.post(f"{cloud.url}/api/v1/auth/login", json=body or {"user": "a"}) as answer:
        token = (await answer.json()).get("token", "")
        return answer.status, {"Authorization": f"Bearer {token}"}


async def status(cloud: Cloud, method: str, path: str, body: object = None, **more: object) -> int:
    async with cloud.http.request(method, f"{cloud.url}{path}", json=body, **more) as answer:  # type: ignore[arg-type]
        return answer.status


async def test_writing_needs_a_session_that_has_not_ended(cloud: Cloud) -> None:
    _, headers = await login(cloud)
    courier = {"name": "Ada"}
    assert await status(cloud, "POST", "/api/v1/couriers", courier) == 401
    assert await status(cloud, "POST", "/api/v1/couriers", courier, headers=headers) == 201
    assert await status(cloud, "POST", "/api/v1/auth/logout", headers=headers) == 204
    assert await status(cloud, "POST", "/api/v1/couriers", courier, headers=headers) == 401
    assert await status(cloud, "GET", "/api/v1/couriers", headers=headers) == 401
    assert (await login(cloud, user="a", password="wrong"))[0] == 401


async def test_what_one_revision_made_the_next_one_knows(cloud: Cloud) -> None:
    _, headers = await login(cloud)
    async with cloud.http.post(f"{cloud.url}/api/v1/couriers", json={"name": "Ada"}, headers=headers) as answer:
        number = (await answer.json())["id"]
    release = Release(revision=f"{cloud.service.key.name}-next", image="api:2")
    await cloud.emulator.director.settle((await cloud.emulator.director.deploy(release)).key)
    assert await status(cloud, "GET", f"/api/v1/couriers/{number}", headers=headers) == 200
    assert await status(cloud, "DELETE", f"/api/v1/couriers/{number}", headers=headers) == 204
    assert await status(cloud, "GET", f"/api/v1/couriers/{number}", headers=headers) == 404


async def test_one_workflow_breaks_while_everything_that_probes_and_readers_see_is_well(cloud: Cloud) -> None:
    _, headers = await login(cloud)
    fault = Fault(kind="status", status=500, paths=("/api/v1/assignments",), methods=("POST",))
    cloud.emulator.director.set_faults(cloud.service.latest_ready, (fault,))
    read = [*PROBE_PATHS, "/api/v1/assignments", "/api/v1/couriers"]
    assert [await status(cloud, "GET", path) for path in read] == [200] * len(read)
    assert await status(cloud, "POST", "/api/v1/couriers", {"name": "Ada"}, headers=headers) == 201
    assert await status(cloud, "POST", "/api/v1/assignments", {}, headers=headers) == 500


async def test_the_shipped_journeys_pass_here_all_at_once_and_leave_nothing_behind(cloud: Cloud) -> None:
    files = sorted((SHIPPED / "journeys").glob("*.yaml"))
    secrets = {"email": "watchdog@barqfleet.com", "password": "emulated"}
    numbers = count()
    async with HttpJourneys(LoopClock(), secrets=secrets, new_run=lambda: f"r{next(numbers)}") as journeys:
        answers = await asyncio.gather(*(journeys.run(load_journey(f).journey, cloud.url) for f in files))
    assert [a.detail for a in answers if not a.ok] == []
    assert {s.result for a in answers for s in a.steps} == {"passed"}
    async with cloud.http.get(f"{cloud.url}/api/v1/couriers") as answer:
        assert [row["id"] for row in (await answer.json())["items"]] == [17]
