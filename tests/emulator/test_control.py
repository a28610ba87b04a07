"""The control API: every script that a drill needs, over HTTP, strict about its bodies."""

import asyncio
import json
import sys
from typing import Any

import aiohttp
import pytest

from tests.emulator.cloud_world import KEY, NAME, SERVICE, Cloud, running_cloud, until, until_async
from watchdog.emulator import clock
from watchdog.emulator.options import parse_address


async def test_endpoints_all_answer(cloud: Cloud) -> None:
    status, endpoints = await cloud.control("GET", "endpoints")

    assert status == 200
    assert endpoints["service_url"] == cloud.url
    assert endpoints["env"]["CLOUD_RUN_EMULATOR_HOST"] == endpoints["cloud_run"]
    assert endpoints["env"]["CLOUD_MONITORING_EMULATOR_HOST"] == endpoints["monitoring"]
    smtp = endpoints["env"]["WATCHDOG_SMTP__URL"].removeprefix("smtp://")
    for address in (endpoints["cloud_run"], endpoints["monitoring"], smtp):
        host, _, port = address.rpartition(":")
        _, writer = await asyncio.open_connection(host, int(port))
        writer.close()
        await writer.wait_closed()


async def test_environment_reaches_the_collectors(cloud: Cloud) -> None:
    """The URLs in `env` are exactly what the watchdog appends its paths to."""
    env = cloud.emulator.endpoints()["env"]
    message = {"channel": env["WATCHDOG_SLACK__CHANNEL"], "text": "hello"}
    headers = {"Authorization": f"Bearer {env['WATCHDOG_SLACK__TOKEN']}"}
    event = {
        "routing_key": env["WATCHDOG_PAGERDUTY__ROUTING_KEY"],
        "event_action": "trigger",
        "payload": {"summary": "down", "source": "test", "severity": "critical"},
    }

    async with cloud.http.post(f"{env['WATCHDOG_SLACK__API_URL']}chat.postMessage", json=message, headers=headers) as a:
        slack = await a.json()
    async with cloud.http.post(f"{env['WATCHDOG_PAGERDUTY__EVENTS_URL']}/v2/enqueue", json=event) as answer:
        pagerduty = answer.status

    assert (slack["ok"], pagerduty) == (True, 202)
    assert len(cloud.emulator.collected.received("slack")) == 1
    assert len(cloud.emulator.collected.received("pagerduty")) == 1


async def test_deploy_answers_when_it_is_settled(cloud: Cloud) -> None:
    old = cloud.service.latest_ready
    body = {"service": NAME, "revision": f"{NAME}-00042-lup", "image": "gcr.io/x:2", "tag": "new", "percent": 25}

    status, answer = await cloud.control("POST", "deploy", {**body, "wait": True})

    assert status == 201
    assert answer["split"] == {f"{NAME}-00042-lup": 25, old: 75}
    assert (answer["url"], answer["tag_url"]) == (cloud.url, cloud.emulator.director.tag_url(KEY, "new"))
    assert await cloud.get_revision(answer["tag_url"]) == f"{NAME}-00042-lup"


async def test_deploy_twice_of_one_name_is_refused(cloud: Cloud) -> None:
    body = {"revision": f"{NAME}-a", "image": "gcr.io/x:2"}
    await cloud.control("POST", "deploy", body)

    same, _ = await cloud.control("POST", "deploy", body)
    other, answer = await cloud.control("POST", "deploy", {**body, "image": "gcr.io/x:3"})

    assert (same, other) == (409, 409)
    assert "already exists" in answer["error"]["message"]


@pytest.mark.parametrize(
    "method,path,body,key",
    [
        ("POST", "deploy", {"imgae": "x"}, "imgae"),
        ("POST", "deploy", {"faults": [{"kind": "explode"}]}, "faults.0.kind"),
        ("POST", "deploy", {"percent": 101}, "percent"),
        ("PUT", "load", {"rate_per_s": -1}, "rate_per_s"),
        ("POST", "traffic", {"traffic": {"LATEST": "all"}}, "traffic.LATEST"),
        ("PATCH", "delays", {"routing_delay": 1}, "routing_delay"),
        ("POST", "admin-faults", {"kind": "status", "on": "everything"}, "on"),
        ("PUT", f"revisions/{NAME}-1/usage", {"cpu": "high"}, "body"),
    ],
)
async def test_mistakes_name_their_key(cloud: Cloud, method: str, path: str, body: Any, key: str) -> None:
    status, answer = await cloud.control(method, path, body)

    assert status == 422
    assert answer["error"]["message"].startswith(f"{key}: ")


async def test_body_that_is_not_json_is_refused(cloud: Cloud) -> None:
    async with cloud.http.post(f"{cloud.control_url}/emulator/deploy", data=b"{") as answer:
        assert answer.status == 400


async def test_unknown_names_are_404(cloud: Cloud) -> None:
    for method, path, body in (
        ("PUT", "revisions/nobody/faults", {"faults": []}),
        ("POST", "traffic", {"service": "nobody", "traffic": {"LATEST": 100}}),
        ("PUT", "load", {"service": "nobody", "rate_per_s": 1}),
    ):
        status, answer = await cloud.control(method, path, body)

        assert status == 404
        assert "nobody" in answer["error"]["message"]


async def test_faults_change_live_and_are_cured_by_an_empty_list(cloud: Cloud) -> None:
    path = f"revisions/{cloud.service.latest_ready}/faults"

    status, answer = await cloud.control("PUT", path, {"faults": [{"kind": "status", "status": 500}]})
    sick = (await cloud.get(f"{cloud.url}/health"))[0]
    await cloud.control("PUT", path, {"faults": []})

    assert (status, answer["faults"]) == (200, [{"kind": "status", "status": 500}])
    assert (sick, (await cloud.get(f"{cloud.url}/health"))[0]) == (500, 200)


async def test_services_are_created_and_shown(cloud: Cloud) -> None:
    status, _ = await cloud.control("POST", "services", {"service": "billing", "image": "gcr.io/x:1", "wait": True})
    again, _ = await cloud.control("POST", "services", {"service": "billing"})
    _, shown = await cloud.control("GET", "services")

    assert (status, again) == (201, 409)
    billing = next(service for service in shown["services"] if service["name"] == "billing")
    assert billing["split"] == {billing["latest_ready"]: 100}
    assert billing["revisions"][0]["ready"] == "True"


async def test_people_move_traffic_and_its_history_is_kept(cloud: Cloud) -> None:
    old = cloud.service.latest_ready
    began = clock.now()

    status, answer = await cloud.control("POST", "traffic", {"traffic": {old: 100}, "tags": {"t": old}, "wait": True})
    await cloud.control("POST", "traffic", {"traffic": {"LATEST": 100}, "wait": True})
    _, history = await cloud.control("GET", f"traffic?service={NAME}")

    assert (status, answer) == (200, {"split": {old: 100}, "tags": {"t": old}})
    moves = history["history"]
    assert [move["tags"] for move in moves] == [{}, {"t": old}]
    assert began <= moves[1]["at"] <= clock.now()


async def test_write_log_tells_who_wrote_what_and_how_it_ended(cloud: Cloud) -> None:
    service = await cloud.read()
    service["metadata"]["annotations"]["deploy-watchdog/rolled-back"] = "x"
    await cloud.call("PUT", SERVICE, service, User_Agent="deploy-watchdog/1")
    await cloud.call("PUT", SERVICE, service, User_Agent="deploy-watchdog/1")

    _, log = await cloud.control("GET", "admin-log")

    applied, refused = log["writes"]
    assert (applied["status"], applied["applied"], applied["user_agent"]) == (200, True, "deploy-watchdog/1")
    assert applied["annotations"]["deploy-watchdog/rolled-back"] == "x"
    assert applied["traffic"] == [{"latestRevision": True, "percent": 100}]
    assert (refused["status"], refused["applied"], refused["new_revision"]) == (409, False, "")
    assert log["reads"] == 1


async def test_next_writes_are_throttled_and_reads_are_not(cloud: Cloud) -> None:
    fault = {"kind": "status", "on": "writes", "status": 429, "count": 2, "retry_after_s": 7}
    await cloud.control("POST", "admin-faults", fault)
    service = await cloud.read()

    async with cloud.http.put(cloud.admin_url + SERVICE, json=service) as answer:
        assert (answer.status, answer.headers["Retry-After"]) == (429, "7")
        assert (await answer.json())["error"]["status"] == "RESOURCE_EXHAUSTED"
    second, _ = await cloud.write(service)
    third, _ = await cloud.write(service)

    assert (second, third) == (429, 200)


async def test_write_can_land_although_its_answer_is_lost(cloud: Cloud) -> None:
    """Whoever retries without reading again then meets his own write as a conflict."""
    service = await cloud.read()
    service["metadata"]["labels"]["landed"] = "yes"
    await cloud.control("POST", "admin-faults", {"kind": "status", "after": True, "on": "writes", "count": 1})

    first, _ = await cloud.write(service)
    second, _ = await cloud.write(service)

    assert (first, second) == (503, 409)
    assert (await cloud.read())["metadata"]["labels"]["landed"] == "yes"


async def test_connection_can_be_dropped_instead_of_an_answer(cloud: Cloud) -> None:
    service = await cloud.read()
    await cloud.control("POST", "admin-faults", {"kind": "drop", "on": "writes"})

    with pytest.raises(aiohttp.ClientError):
        await cloud.write(service)

    # Two lines: aiohttp repeats a PUT once by itself when the connection breaks.
    _, log = await cloud.control("GET", "admin-log")
    assert {(write["status"], write["applied"]) for write in log["writes"]} == {(0, False)}


async def test_write_can_land_and_the_connection_drop(cloud: Cloud) -> None:
    """Then aiohttp, which repeats a PUT once by itself, meets its own write as a conflict: so must the watchdog."""
    service = await cloud.read()
    service["metadata"]["labels"]["landed"] = "yes"
    await cloud.control("POST", "admin-faults", {"kind": "drop", "on": "writes", "after": True, "count": 1})

    status, answer = await cloud.write(service)

    assert (status, answer["error"]["status"]) == (409, "ABORTED")
    assert (await cloud.read())["metadata"]["labels"]["landed"] == "yes"


async def test_somebody_else_can_write_first(cloud: Cloud) -> None:
    old = cloud.service.latest_ready
    new = await cloud.deploy(image="gcr.io/barq-fleet/api:2")
    service = await cloud.read()
    await cloud.control("POST", "admin-faults", {"kind": "race", "on": "writes", "count": 1, "traffic": {old: 100}})

    status, answer = await cloud.write(service)

    assert (status, answer["error"]["status"]) == (409, "ABORTED")
    await cloud.settle()
    assert cloud.service.split() == {old: 100}
    assert new.is_ready


async def test_admin_api_can_be_slow(cloud: Cloud) -> None:
    await cloud.control("POST", "admin-faults", {"kind": "latency", "latency_s": 0.2, "count": 1})
    began = clock.monotonic()

    await cloud.read()

    assert clock.monotonic() - began >= 0.2


async def test_admin_api_can_be_unreachable_for_a_while(cloud: Cloud) -> None:
    """Its port refuses connections; the control API and the data plane go on; then it is back on the same port."""
    address = cloud.emulator.endpoints()["cloud_run"]
    await cloud.control("POST", "admin-faults", {"kind": "unreachable", "for_s": 1.0})

    with pytest.raises(aiohttp.ClientConnectorError):
        await cloud.read()
    assert (await cloud.get(f"{cloud.url}/health"))[0] == 200
    await until(lambda: cloud.emulator._listeners["cloud_run"].is_open)

    assert cloud.emulator.endpoints()["cloud_run"] == address
    assert (await cloud.read())["metadata"]["name"] == NAME


async def test_faults_of_the_admin_api_are_listed_and_taken_back(cloud: Cloud) -> None:
    await cloud.control("POST", "admin-faults", {"kind": "unreachable"})
    _, armed = await cloud.control("POST", "admin-faults", {"kind": "status", "for_s": 60})
    await cloud.control("PUT", "iam", {"write": False})
    await cloud.control("DELETE", "admin-faults")

    assert [fault["kind"] for fault in armed["faults"]] == ["unreachable", "status"]
    assert (await cloud.control("GET", "admin-faults"))[1] == {"faults": []}
    assert (await cloud.write(await cloud.read()))[0] == 200


async def test_iam_is_switched(cloud: Cloud) -> None:
    await cloud.control("PUT", "iam", {"write": False})

    assert (await cloud.write(await cloud.read()))[0] == 403


async def test_delays_are_changed(cloud: Cloud) -> None:
    _, delays = await cloud.control("PATCH", "delays", {"routing_delay_s": 0.25})
    began = clock.monotonic()
    await cloud.deploy(image="gcr.io/barq-fleet/api:2")

    assert delays["routing_delay_s"] == 0.25
    assert delays == (await cloud.control("GET", "delays"))[1]
    assert clock.monotonic() - began >= 0.25


async def test_load_is_set_shown_and_stopped(cloud: Cloud) -> None:
    await cloud.control("PUT", "load", {"rate_per_s": 100})

    async def answered() -> bool:
        _, shown = await cloud.control("GET", "load")
        return bool(shown["load"][0]["answers"].get("200", 0) >= 10)

    await until_async(answered)
    _, stopped = await cloud.control("PUT", "load", {"rate_per_s": 0})

    assert stopped["load"][0]["sent"] == 0


async def test_requests_are_counted_per_revision(cloud: Cloud) -> None:
    await cloud.get(f"{cloud.url}/health")
    _, first = await cloud.control("GET", "requests")
    await cloud.get(f"{cloud.url}/no-such-page")

    _, shown = await cloud.control("GET", f"requests?since={first['next']}")

    counts = shown["revisions"][cloud.service.latest_ready]
    assert (counts["requests"], counts["by_status"]) == (2, {"200": 1, "404": 1})
    assert [request["status"] for request in shown["requests"]] == [404]


async def test_usage_is_scripted(cloud: Cloud) -> None:
    name = cloud.service.latest_ready
    await cloud.get(f"{cloud.url}/health")

    await cloud.control("PUT", f"revisions/{name}/usage", {"cpu": 0.5, "memory": 0.6, "memory_per_min": 0.1})

    cpu, memory, instances = cloud.emulator.ledger.usage(name, clock.now() + 120)
    assert (cpu, round(memory, 1), instances) == (0.5, 0.8, 1)
    status, answer = await cloud.control("PUT", f"revisions/{name}/usage", {"gpu": 1})
    assert (status, "gpu" in answer["error"]["message"]) == (400, True)


async def test_condemned_revision_shows_as_not_ready(cloud: Cloud) -> None:
    name = cloud.service.latest_ready

    await cloud.control("POST", f"revisions/{name}/condemn", {"reason": "ContainerMissing"})

    _, shown = await cloud.control("GET", "services")
    assert shown["services"][0]["revisions"][0]["ready"] == "False"


async def test_reset_is_a_fresh_start_on_the_same_ports(cloud: Cloud) -> None:
    before = await cloud.control("GET", "endpoints")
    await cloud.deploy(image="gcr.io/barq-fleet/api:2", faults=[{"kind": "status"}], tag="t")
    await cloud.control("POST", "admin-faults", {"kind": "unreachable"})
    await cloud.control("PUT", "load", {"rate_per_s": 10})
    await cloud.get(f"{cloud.url}/health")

    status, _ = await cloud.control("POST", "reset")

    assert status == 204
    assert await cloud.control("GET", "endpoints") == before
    assert len(cloud.emulator.world.revisions_of(KEY)) == 1
    assert (await cloud.get(f"{cloud.url}/health"))[0] == 200
    assert (await cloud.read())["status"]["observedGeneration"] == 1
    assert (await cloud.control("GET", "load"))[1] == {"load": []}
    _, log = await cloud.control("GET", "admin-log")
    assert log == {"reads": 1, "writes": []}


async def test_port_that_is_taken_is_an_error_and_leaves_nothing_behind(cloud: Cloud) -> None:
    _, _, port = cloud.control_url.rpartition(":")

    with pytest.raises(OSError, match="in use"):
        async with running_cloud(port=int(port)):
            pass


@pytest.mark.parametrize("listen", ["127.0.0.1", "127.0.0.1:http", "127.0.0.1:70000", ""])
def test_bad_addresses_are_named(listen: str) -> None:
    with pytest.raises(ValueError, match="is not HOST:PORT"):
        parse_address(listen)


async def test_process_prints_its_endpoints_and_ends_on_sigterm() -> None:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "watchdog.emulator", "--listen", "127.0.0.1:0", stdout=asyncio.subprocess.PIPE
    )
    assert process.stdout is not None
    endpoints = json.loads(await process.stdout.readline())
    async with aiohttp.ClientSession() as http, http.get(f"{endpoints['service_url']}/health") as answer:
        assert await answer.json() == {"status": "healthy"}

    process.terminate()

    assert await process.wait() == 0
    assert await process.stdout.read() == b""
