"""The data plane: faults are real connections that fail, and the ledger counts what reached a container."""

import asyncio
from collections import Counter
from typing import Any

import aiohttp
import pytest

from tests.emulator.cloud_world import KEY, NAME, Cloud, running_cloud, until, until_async
from watchdog.emulator.faults import PROBE_PATHS, Fault
from watchdog.emulator.ledger import Request
from watchdog.emulator.load import LoadPlan

USER_PATH = "/api/v1/couriers"


def script(cloud: Cloud, *faults: dict[str, Any], revision: str | None = None, restart_clock: bool = False) -> None:
    """Give the serving revision these faults, now."""
    cloud.emulator.director.set_faults(
        revision or cloud.service.latest_ready,
        tuple(Fault.model_validate(fault) for fault in faults),
        restart_clock=restart_clock,
    )


def requests(cloud: Cloud) -> list[Request]:
    return cloud.emulator.ledger.since(0)[0]


async def test_good_revision_answers_probes_and_users(cloud: Cloud) -> None:
    answers = {path: await cloud.get(cloud.url + path) for path in (*PROBE_PATHS, USER_PATH, f"{USER_PATH}/17", "/no")}

    assert answers["/health"] == (200, '{"status": "healthy"}')
    assert answers["/api/v1/health/ready"] == (200, '{"status": "ready"}')
    assert answers["/api/v1/health/live"] == (200, '{"status": "alive"}')
    assert '"version": "1.0.0"' in answers["/version"][1]
    assert [answers[path][0] for path in (USER_PATH, f"{USER_PATH}/17", "/no")] == [200, 200, 404]


async def test_each_request_is_recorded_when_it_has_ended(cloud: Cloud) -> None:
    await cloud.get(f"{cloud.url}{USER_PATH}?page=2", agent="Mozilla/5.0")

    (request,) = requests(cloud)
    assert (request.revision, request.service, request.status) == (cloud.service.latest_ready, NAME, 200)
    assert (request.method, request.url, request.user_agent) == (
        "GET",
        f"{cloud.url}{USER_PATH}?page=2",
        "Mozilla/5.0",
    )
    assert request.latency_s > 0.005
    assert request.size_bytes > 10
    assert request.remote_ip == "127.0.0.1"


async def test_bodies_and_methods_reach_the_container(cloud: Cloud) -> None:
    async with cloud.http.post(f"{cloud.url}/api/v1/auth/login", json={"user": "a"}) as answer:
        assert answer.status == 200
        assert answer.headers["Server"] == "Google Frontend"

    assert requests(cloud)[0].method == "POST"


async def test_at_the_ceiling_the_front_turns_away_and_only_the_request_log_hears_of_it(cloud: Cloud) -> None:
    heard: list[Request] = []
    cloud.emulator.ledger.subscribe(heard.append)
    script(cloud, {"kind": "ceiling", "per_s": 2.0})

    answers = [await cloud.get(f"{cloud.url}/health") for _ in range(10)]

    taken = [status for status, _ in answers if status == 200]
    assert 2 <= len(taken) <= 4
    assert {answer for answer in answers if answer[0] != 200} == {(429, "Rate exceeded.")}
    assert len(requests(cloud)) == len(taken)
    assert [r.turned_away for r in heard].count(True) == 10 - len(taken)


async def test_down_revision_refuses_and_its_requests_are_not_counted(cloud: Cloud) -> None:
    """A container that can't be reached leaves no trace in the metrics: an outage looks like no traffic."""
    script(cloud, {"kind": "down"})
    direct = cloud.emulator._fleet.url(cloud.emulator.director.revision(cloud.service.latest_ready))

    with pytest.raises(aiohttp.ClientConnectorError):
        await cloud.get(f"{direct}/health")
    status, text = await cloud.get(f"{cloud.url}/health")

    assert status == 503
    assert "Server Error" in text
    assert requests(cloud) == []


async def test_down_revision_comes_back_by_script(cloud: Cloud) -> None:
    """`after_s` and `for_s` close and open the port in time, without a request to trigger it."""
    script(cloud, {"kind": "down", "after_s": 0.3, "for_s": 0.8}, restart_clock=True)

    async def status() -> int:
        return (await cloud.get(f"{cloud.url}/health"))[0]

    assert await status() == 200
    await until_async(lambda: _is(status(), 503), timeout_s=2)
    await until_async(lambda: _is(status(), 200), timeout_s=2)


async def test_going_down_resets_requests_under_way(cloud: Cloud) -> None:
    script(cloud, {"kind": "slow", "delay_ms": 5000})
    request = asyncio.create_task(cloud.get(f"{cloud.url}/health"))
    await until(lambda: cloud.emulator.in_flight(cloud.service.latest_ready))

    script(cloud, {"kind": "down"})

    assert (await request)[0] == 503


async def test_share_of_user_requests_fails_while_probes_stay_green(cloud: Cloud) -> None:
    script(cloud, {"kind": "status", "status": 500, "share": 0.08, "users_only": True})

    async def ask(path: str) -> int:
        return (await cloud.get(cloud.url + path))[0]

    users = Counter(await asyncio.gather(*(ask(USER_PATH) for _ in range(500))))
    probes = Counter(await asyncio.gather(*(ask(path) for path in PROBE_PATHS * 30)))

    assert set(users) == {200, 500}
    assert 15 <= users[500] <= 70, "8 % of 500, within five standard deviations"
    assert probes == {200: 120}
    assert sum(1 for request in requests(cloud) if request.status == 500) == users[500]


async def test_same_seed_fails_the_same_requests() -> None:
    async def statuses() -> list[int]:
        async with running_cloud(seed=3) as cloud:
            script(cloud, {"kind": "status", "share": 0.3})
            return [(await cloud.get(f"{cloud.url}/health"))[0] for _ in range(20)]

    first = await statuses()

    assert set(first) == {200, 503}
    assert first == await statuses()


async def test_paths_limit_a_fault(cloud: Cloud) -> None:
    script(cloud, {"kind": "status", "status": 502, "paths": ["/api/v1/vehicles"]})

    assert (await cloud.get(f"{cloud.url}/api/v1/vehicles/4"))[0] == 502
    assert (await cloud.get(cloud.url + USER_PATH))[0] == 200


@pytest.mark.parametrize(
    "body,expected",
    [(None, '{"status": "degraded"}'), ({"status": "starting"}, '{"status": "starting"}'), ("oops", "oops")],
)
async def test_wrong_body_is_answered_with_200(cloud: Cloud, body: Any, expected: str) -> None:
    script(cloud, {"kind": "wrong_body", "body": body})

    assert await cloud.get(f"{cloud.url}/health") == (200, expected)


async def test_slow_adds_its_delay_and_it_is_recorded(cloud: Cloud) -> None:
    script(cloud, {"kind": "slow", "delay_ms": 150})

    await cloud.get(f"{cloud.url}/health")

    assert requests(cloud)[0].latency_s >= 0.15


async def test_slow_and_failing_add_up(cloud: Cloud) -> None:
    script(cloud, {"kind": "slow", "delay_ms": 120}, {"kind": "status", "status": 503})

    status, _ = await cloud.get(f"{cloud.url}/health")

    assert status == 503
    assert requests(cloud)[0].latency_s >= 0.12


async def test_reset_reached_the_container_and_is_counted(cloud: Cloud) -> None:
    script(cloud, {"kind": "reset"})

    assert (await cloud.get(f"{cloud.url}/health"))[0] == 503
    assert [request.status for request in requests(cloud)] == [503]


async def test_flaky_mixes_its_ways_of_failing(cloud: Cloud) -> None:
    script(cloud, {"kind": "flaky", "share": 0.5})

    statuses = Counter([(await cloud.get(f"{cloud.url}/health"))[0] for _ in range(60)])

    assert set(statuses) == {200, 500, 503}


async def test_hanging_request_is_counted_only_when_it_ends(cloud: Cloud) -> None:
    """The caller gives up early; the platform ends the request at its time-out, with 504, and counts it then."""
    service = await cloud.read()
    service["spec"]["template"]["spec"]["timeoutSeconds"] = 1
    await cloud.write(service)
    await cloud.settle()
    script(cloud, {"kind": "hang"})

    with pytest.raises(TimeoutError):
        await cloud.get(f"{cloud.url}/health", timeout_s=0.2)
    assert requests(cloud) == []
    await until(lambda: requests(cloud))

    assert [request.status for request in requests(cloud)] == [504]
    assert requests(cloud)[0].latency_s >= 0.9


async def test_caller_who_leaves_does_not_end_his_request(cloud: Cloud) -> None:
    script(cloud, {"kind": "slow", "delay_ms": 300})

    with pytest.raises(TimeoutError):
        await cloud.get(f"{cloud.url}/health", timeout_s=0.1)
    await until(lambda: requests(cloud))

    assert requests(cloud)[0].status == 200


async def test_cold_start_delays_the_first_request_and_not_the_recorded_latency(cloud: Cloud) -> None:
    """Request latency in Cloud Run's metrics leaves the container's start out."""
    cold = {"kind": "startup", "delay_ms": 600, "idle_s": 60}
    await cloud.deploy(image="gcr.io/barq-fleet/api:2", faults=[cold])
    loop = asyncio.get_running_loop()

    took = []
    for _ in range(2):
        began = loop.time()
        await cloud.get(f"{cloud.url}/health")
        took.append(loop.time() - began)

    assert took[0] >= 0.6 > took[1]
    assert all(request.latency_s < 0.6 for request in requests(cloud))


async def test_split_is_drawn_for_each_request_by_percent(cloud: Cloud) -> None:
    old = cloud.service.latest_ready
    new = await cloud.deploy(image="gcr.io/barq-fleet/api:2", percent=20)

    answered = Counter(await asyncio.gather(*(cloud.get_revision(cloud.url) for _ in range(400))))

    assert set(answered) == {old, new.name}
    assert 40 <= answered[new.name] <= 120, "20 % of 400, within five standard deviations"


async def test_faults_are_of_a_revision_and_not_of_the_service(cloud: Cloud) -> None:
    """The sick revision's tag fails while the healthy one's passes: that is what a control is for."""
    old = cloud.service.latest_ready
    new = await cloud.deploy(image="gcr.io/barq-fleet/api:2", faults=[{"kind": "status"}])
    await cloud.split([{"latestRevision": True, "percent": 100}, {"revisionName": old, "tag": "previous"}])
    tag_url = cloud.emulator.director.tag_url(KEY, "previous")

    assert (await cloud.get(f"{cloud.url}/health"))[0] == 503
    assert (await cloud.get(f"{tag_url}/health"))[0] == 200
    script(cloud, revision=new.name)
    assert (await cloud.get(f"{cloud.url}/health"))[0] == 200


async def test_faults_travel_in_the_environment(cloud: Cloud) -> None:
    """So that a plain deploy command can deploy a bad revision."""
    service = await cloud.read()
    container = service["spec"]["template"]["spec"]["containers"][0]
    container["env"] = [{"name": "EMULATOR_FAULTS", "value": '[{"kind": "status", "status": 418}]'}]

    await cloud.write(service)
    await cloud.settle()
    assert (await cloud.get(f"{cloud.url}/health"))[0] == 418

    service = await cloud.read()
    container = service["spec"]["template"]["spec"]["containers"][0]
    container["env"] = [{"name": "EMULATOR_FAULTS", "value": '[{"kind": "explode"}]'}]
    status, answer = await cloud.write(service)
    assert status == 400
    assert "EMULATOR_FAULTS: 0.kind" in answer["error"]["message"]


async def test_load_comes_at_its_rate_from_many_users(cloud: Cloud) -> None:
    plan = LoadPlan(rate_per_s=200, arrivals="even", users=50)
    await cloud.emulator.set_load(cloud.service, plan)
    await until(lambda: len(requests(cloud)) >= 100)

    seen = requests(cloud)
    span = seen[99].ended_at - seen[0].ended_at
    assert 0.3 < span < 4.0
    assert len({request.remote_ip for request in seen}) > 10
    assert all(request.user_agent.startswith("Mozilla/5.0") for request in seen)
    assert len({request.url for request in seen}) > 3


async def test_load_does_not_wait_for_a_service_that_hangs(cloud: Cloud) -> None:
    """Open loop: what can't be sent is counted as dropped, and what was sent ends as an error."""
    script(cloud, {"kind": "hang"})
    await cloud.emulator.set_load(cloud.service, LoadPlan(rate_per_s=100, timeout_s=0.3, most_waiting=5))
    (load,) = cloud.emulator._load.values()

    await until(lambda: load.dropped and load.errors)

    assert set(load.errors) == {"TimeoutError"} | ({"ConnectionTimeoutError", "SocketTimeoutError"} & set(load.errors))
    assert not load.answers


async def _is(answer: Any, expected: int) -> bool:
    return bool(await answer == expected)
