"""What becomes of a write: when it shows, what it leaves serving, and how it fails."""

import asyncio
from typing import Any

import pytest

from tests.emulator.cloud_world import KEY, NAME, PROJECT, Cloud, running_cloud, until
from watchdog.emulator.director import Release


async def test_write_is_accepted_at_once_and_routed_later() -> None:
    """Until the routing delay has passed the answer shows the old split, Ready Unknown and the old generation."""
    async with running_cloud(routing_delay_s=0.6) as cloud:
        old = cloud.service.latest_ready
        service = await cloud.read()
        service["spec"]["template"]["spec"]["containers"][0]["image"] = "gcr.io/barq-fleet/api:2"

        _, accepted = await cloud.write(service)
        midway = await cloud.read()
        await cloud.settle()
        settled = await cloud.read()

    for seen in (accepted, midway):
        assert (seen["metadata"]["generation"], seen["status"]["observedGeneration"]) == (2, 1)
        assert _conditions(seen) == dict.fromkeys(("Ready", "ConfigurationsReady", "RoutesReady"), "Unknown")
        assert seen["status"]["traffic"][0]["revisionName"] == old
    assert settled["status"]["observedGeneration"] == 2
    assert _conditions(settled) == dict.fromkeys(("Ready", "ConfigurationsReady", "RoutesReady"), "True")
    assert settled["status"]["traffic"][0]["revisionName"] == settled["status"]["latestCreatedRevisionName"] != old


async def test_latest_follows_each_ready_revision(cloud: Cloud) -> None:
    for image in ("2", "3"):
        revision = await cloud.deploy(image=f"gcr.io/barq-fleet/api:{image}")

        assert await cloud.get_revision(cloud.url) == revision.name


async def test_pinned_traffic_gives_later_deploys_nothing(cloud: Cloud) -> None:
    old = cloud.service.latest_ready
    await cloud.split([{"revisionName": old, "percent": 100}])

    new = await cloud.deploy(image="gcr.io/barq-fleet/api:2")
    service = await cloud.read()

    assert service["status"]["latestReadyRevisionName"] == new.name
    assert service["status"]["traffic"] == [{"revisionName": old, "percent": 100}]
    assert _conditions(service)["Ready"] == "True"
    assert await cloud.get_revision(cloud.url) == old


@pytest.mark.parametrize("release", [{"ready": False}, {"image": "gcr.io/barq-fleet/broken:2"}], ids=["told", "image"])
async def test_revision_that_never_starts_leaves_traffic_alone(cloud: Cloud, release: dict[str, Any]) -> None:
    old = cloud.service.latest_ready

    failed = await cloud.deploy(**{"image": "gcr.io/barq-fleet/api:2", **release})
    service = await cloud.read()

    ready = next(condition for condition in service["status"]["conditions"] if condition["type"] == "Ready")
    assert (ready["status"], ready["reason"]) == ("False", "HealthCheckContainerError")
    assert f"Revision '{failed.name}' is not ready and cannot serve traffic." in ready["message"]
    assert _conditions(service)["RoutesReady"] == "True"
    assert service["status"]["observedGeneration"] == service["metadata"]["generation"]
    assert service["status"]["latestCreatedRevisionName"] == failed.name
    assert service["status"]["latestReadyRevisionName"] == old
    assert service["status"]["traffic"][0]["revisionName"] == old
    assert await cloud.get_revision(cloud.url) == old


async def test_unknown_revision_fails_and_leaves_the_last_split(cloud: Cloud) -> None:
    before = await cloud.read()

    after = await cloud.split([{"revisionName": f"{NAME}-99999-zzz", "percent": 100}])

    routes = next(condition for condition in after["status"]["conditions"] if condition["type"] == "RoutesReady")
    assert routes["status"] == "False"
    assert routes["message"].startswith(f"Revision '{NAME}-99999-zzz' does not exist or is deleted.")
    assert _conditions(after)["Ready"] == "False"
    assert after["status"]["traffic"] == before["status"]["traffic"]
    assert after["status"]["observedGeneration"] == 2


async def test_condemned_revision_takes_no_traffic(cloud: Cloud) -> None:
    """A revision can lose its image or a secret after it has served; going back to it then fails."""
    old = cloud.emulator.world.revisions_of(KEY)[0]
    new = await cloud.deploy(image="gcr.io/barq-fleet/api:2")
    cloud.emulator.director.reconciler.condemn(old, reason="SecretsAccessCheckFailed", message="Secret is gone.")

    after = await cloud.split([{"revisionName": old.name, "percent": 100}])

    ready = next(condition for condition in after["status"]["conditions"] if condition["type"] == "Ready")
    assert (ready["status"], ready["reason"]) == ("False", "SecretsAccessCheckFailed")
    assert await cloud.get_revision(cloud.url) == new.name


async def test_service_becomes_ready_again_after_a_failure(cloud: Cloud) -> None:
    await cloud.deploy(image="gcr.io/barq-fleet/broken:2")

    good = await cloud.deploy(image="gcr.io/barq-fleet/api:3")

    assert _conditions(await cloud.read())["Ready"] == "True"
    assert await cloud.get_revision(cloud.url) == good.name


async def test_tags_reach_their_revision_without_traffic(cloud: Cloud) -> None:
    old = cloud.service.latest_ready
    new = await cloud.deploy(image="gcr.io/barq-fleet/api:2", tag="candidate", traffic=False)

    service = await cloud.read()

    tagged = service["status"]["traffic"][0]
    assert tagged == {"revisionName": new.name, "tag": "candidate", "url": tagged["url"]}, "tag-only entries come first"
    assert cloud.service.split() == {old: 100}
    assert await cloud.get_revision(tagged["url"]) == new.name
    assert await cloud.get_revision(cloud.url) == old


async def test_tag_keeps_its_url_and_goes_with_its_entry(cloud: Cloud) -> None:
    old = cloud.service.latest_ready
    new = await cloud.deploy(image="gcr.io/barq-fleet/api:2")
    latest = {"latestRevision": True, "percent": 100}
    first = await cloud.split([latest, {"revisionName": old, "tag": "prev"}])
    url = first["status"]["traffic"][0]["url"]

    assert await cloud.get_revision(url) == old
    moved = await cloud.split([latest, {"revisionName": new.name, "tag": "prev"}])
    assert moved["status"]["traffic"][0]["url"] == url
    assert await cloud.get_revision(url) == new.name
    await cloud.split([latest])
    assert (await cloud.get(url))[0] == 404


async def test_named_revision_can_take_a_share_from_the_start(cloud: Cloud) -> None:
    old = cloud.service.latest_ready

    new = await cloud.deploy(image="gcr.io/barq-fleet/api:2", revision=f"{NAME}-canary", percent=10)

    assert new.name == f"{NAME}-canary"
    assert cloud.service.split() == {new.name: 10, old: 90}


async def test_operation_waits_for_the_routing() -> None:
    async with running_cloud(routing_delay_s=0.5) as cloud:
        service = await cloud.read()
        service["spec"]["template"]["spec"]["containers"][0]["image"] = "gcr.io/barq-fleet/api:2"
        _, accepted = await cloud.write(service)
        operation_id = accepted["metadata"]["annotations"]["run.googleapis.com/operation-id"]
        path = f"/v1/projects/{PROJECT}/locations/us-central1/operations/{operation_id}"

        _, impatient = await cloud.call("POST", f"{path}:wait", {"timeout": "0.01s"})
        _, patient = await cloud.call("POST", f"{path}:wait", {"timeout": "30s"})
        _, later = await cloud.call("GET", path)

    assert impatient["done"] is False
    assert patient == later
    assert patient["done"] is True
    assert patient["response"]["status"]["observedGeneration"] == 2


async def test_newest_wish_wins_over_one_that_is_still_routed() -> None:
    async with running_cloud(routing_delay_s=0.3) as cloud:
        old = cloud.service.latest_ready
        service = await cloud.read()
        service["spec"]["traffic"] = [{"revisionName": old, "percent": 100}]
        _, service = await cloud.write(service)
        service["spec"]["traffic"] = [{"latestRevision": True, "percent": 100}, {"revisionName": old, "tag": "prev"}]
        await cloud.write(service)
        await cloud.settle()

        assert cloud.service.observed_generation == 3
        assert cloud.service.tags() == {"prev": old}
        assert [change.generation for change in cloud.emulator.world.traffic_history] == [1, 3]


async def test_requests_under_way_finish_on_their_revision(cloud: Cloud) -> None:
    """Routing moves new requests only."""
    slow = await cloud.deploy(image="gcr.io/barq-fleet/api:2", faults=[{"kind": "slow", "delay_ms": 1000}])
    request = asyncio.create_task(cloud.get(f"{cloud.url}/version"))
    await until(lambda: cloud.emulator.in_flight(slow.name))

    fast = await cloud.deploy(image="gcr.io/barq-fleet/api:3")
    assert not request.done()
    assert await cloud.get_revision(cloud.url) == fast.name

    status, text = await request
    assert status == 200
    assert slow.name in text


async def test_split_can_spread_slowly_over_the_fronts() -> None:
    """With a propagation time the API already shows the new split while some requests still use the old one."""
    async with running_cloud(propagation_s=1.0) as cloud:
        old = cloud.service.latest_ready
        new = await cloud.deploy(image="gcr.io/barq-fleet/api:2")
        assert cloud.service.split() == {new.name: 100}

        seen = {await cloud.get_revision(cloud.url) for _ in range(20)}
        assert old in seen
        async with asyncio.timeout(5):
            while [await cloud.get_revision(cloud.url) for _ in range(5)] != [new.name] * 5:
                pass


async def test_unroutable_first_deploy_is_404_at_the_front(cloud: Cloud) -> None:
    revision = await cloud.emulator.director.deploy(Release(service="other", image="gcr.io/barq-fleet/broken:1"))
    await cloud.emulator.director.settle(revision.key)
    service = cloud.emulator.world.services[revision.key]

    assert service.conditions["Ready"].status == "False"
    assert service.status_traffic == []
    assert (await cloud.get(service.url))[0] == 404


async def test_deleted_service_stops_settling() -> None:
    async with running_cloud(routing_delay_s=0.05) as cloud:
        service = await cloud.read()
        service["spec"]["template"]["spec"]["containers"][0]["image"] = "gcr.io/barq-fleet/api:2"
        await cloud.write(service)
        url = cloud.url
        await cloud.call("DELETE", f"/apis/serving.knative.dev/v1/namespaces/{PROJECT}/services/{NAME}")

        await until(lambda: not cloud.emulator.director.reconciler._tasks)
        assert (await cloud.get(url))[0] == 404
        assert not cloud.emulator._fleet._workloads


def _conditions(service: dict[str, Any]) -> dict[str, str]:
    return {condition["type"]: condition["status"] for condition in service["status"]["conditions"]}
