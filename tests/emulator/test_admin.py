"""The Admin API v1: what a client reads, what it may write, and how it is refused."""

import asyncio
import copy
import re
from typing import Any

import pytest

from tests.emulator.cloud_world import BASE, KEY, NAME, PROJECT, SERVICE, Cloud, running_cloud
from watchdog.emulator.director import Release
from watchdog.emulator.templates import image_digest


async def test_service_reads_like_cloud_run(cloud: Cloud) -> None:
    service = await cloud.read()

    assert (service["apiVersion"], service["kind"]) == ("serving.knative.dev/v1", "Service")
    assert service["metadata"]["generation"] == service["status"]["observedGeneration"] == 1
    assert service["metadata"]["labels"]["cloud.googleapis.com/location"] == "us-central1"
    assert service["spec"]["traffic"] == [{"latestRevision": True, "percent": 100}]
    (entry,) = service["status"]["traffic"]
    assert entry == {
        "revisionName": service["status"]["latestReadyRevisionName"],
        "latestRevision": True,
        "percent": 100,
    }
    assert re.fullmatch(rf"{NAME}-00001-[a-z]{{3}}", entry["revisionName"])
    assert {one["type"]: one["status"] for one in service["status"]["conditions"]} == {
        "Ready": "True",
        "ConfigurationsReady": "True",
        "RoutesReady": "True",
    }


async def test_unchanged_write_makes_no_revision(cloud: Cloud) -> None:
    """What was read can be written back: same generation, same revision, but a new resourceVersion."""
    before = await cloud.read()

    status, after = await cloud.write(before)

    assert status == 200
    assert after["metadata"]["generation"] == 1
    assert after["metadata"]["resourceVersion"] != before["metadata"]["resourceVersion"]
    assert len(cloud.emulator.world.revisions_of(KEY)) == 1


async def test_stale_write_is_refused_word_for_word(cloud: Cloud) -> None:
    stale = await cloud.read()
    await cloud.write(stale)
    current = (await cloud.read())["metadata"]["resourceVersion"]

    status, answer = await cloud.write(stale)

    assert status == 409
    assert answer == {
        "error": {
            "code": 409,
            "status": "ABORTED",
            "message": f"Conflict for resource '{NAME}': version '{stale['metadata']['resourceVersion']}' was specified"
            f" but current version is '{current}'.",
        }
    }


async def test_status_changes_are_versioned_too(cloud: Cloud) -> None:
    """Whoever reads while a split is still being routed, and writes after it, is refused."""
    service = await cloud.read()
    service["spec"]["traffic"] = [{"latestRevision": True, "percent": 100}, {"latestRevision": True, "tag": "live"}]
    _, midway = await cloud.write(service)
    await cloud.settle()

    status, answer = await cloud.write(midway)

    assert (status, answer["error"]["status"]) == (409, "ABORTED")


async def test_write_without_version_wins(cloud: Cloud) -> None:
    service = await cloud.read()
    del service["metadata"]["resourceVersion"]

    status, _ = await cloud.write(service)

    assert status == 200


@pytest.mark.parametrize(
    "change",
    [
        lambda template: template["spec"]["containers"][0].update(image="us-docker.pkg.dev/barq-fleet/api/api:2"),
        lambda template: template["metadata"]["labels"].update({"client.knative.dev/nonce": "abcdefghij"}),
        lambda template: template["spec"]["containers"][0].update(env=[{"name": "A", "value": "1"}]),
        lambda template: template["metadata"].update(name=f"{NAME}-by-hand"),
    ],
    ids=["image", "nonce", "environment", "name"],
)
async def test_changed_template_makes_a_revision(cloud: Cloud, change: Any) -> None:
    service = await cloud.read()
    change(service["spec"]["template"])
    name = service["spec"]["template"]["metadata"].get("name")

    status, answer = await cloud.write(service)

    created = answer["status"]["latestCreatedRevisionName"]
    assert status == 200
    assert answer["metadata"]["generation"] == 2
    assert created == name if name else re.fullmatch(rf"{NAME}-00002-[a-z]{{3}}", created)


async def test_traffic_alone_makes_no_revision(cloud: Cloud) -> None:
    service = await cloud.read()
    pinned = {"revisionName": service["status"]["latestReadyRevisionName"], "percent": 100}

    after = await cloud.split([pinned])

    assert after["metadata"]["generation"] == 2
    assert after["status"]["traffic"] == [pinned]
    assert len(cloud.emulator.world.revisions_of(KEY)) == 1


async def test_naming_the_latest_revision_makes_no_revision(cloud: Cloud) -> None:
    """A client may pin `template.metadata.name` to the latest created revision to be sure that none is made."""
    service = await cloud.read()
    service["spec"]["template"]["metadata"]["name"] = service["status"]["latestCreatedRevisionName"]

    status, _ = await cloud.write(service)

    assert status == 200
    assert len(cloud.emulator.world.revisions_of(KEY)) == 1


async def test_revision_name_is_never_reused_for_something_else(cloud: Cloud) -> None:
    service = await cloud.read()
    name = service["status"]["latestCreatedRevisionName"]
    service["spec"]["template"]["metadata"]["name"] = name
    service["spec"]["template"]["spec"]["containers"][0]["image"] = "us-docker.pkg.dev/barq-fleet/api/api:other"

    status, answer = await cloud.write(service)

    assert status == 409
    assert answer["error"]["status"] == "ALREADY_EXISTS"
    assert f"Revision named '{name}' with different configuration already exists" in answer["error"]["message"]
    assert (await cloud.read())["metadata"]["generation"] == 1


@pytest.mark.parametrize(
    "traffic,complaint",
    [
        ([{"latestRevision": True, "percent": 90}], "sum to 100, got 90"),
        ([{"revisionName": f"projects/p/locations/r/services/s/revisions/{NAME}", "percent": 9}], "not a revision id"),
        ([{"revisionName": f"{NAME}-1", "latestRevision": True, "percent": 100}], "exactly one"),
        ([{"percent": 100}], "exactly one"),
        ([{"latestRevision": True, "percent": 200}, {"latestRevision": True, "percent": -100}], "from 0 to 100"),
        ([{"latestRevision": True, "percent": "100"}], "whole number"),
        ([{"latestRevision": True, "percent": 100, "tag": "a"}, {"latestRevision": True, "tag": "a"}], "than once"),
        ([{"latestRevision": True, "percent": 100, "tag": "Not-A-Tag"}], "not a valid tag"),
        ("all of it", "should be a list"),
    ],
)  # fmt: skip
async def test_impossible_traffic_is_refused_at_once(cloud: Cloud, traffic: Any, complaint: str) -> None:
    service = await cloud.read()
    service["spec"]["traffic"] = traffic

    status, answer = await cloud.write(service)

    assert (status, answer["error"]["status"]) == (400, "INVALID_ARGUMENT")
    assert complaint in answer["error"]["message"]
    assert (await cloud.read())["metadata"]["generation"] == 1


async def test_empty_traffic_means_all_to_latest(cloud: Cloud) -> None:
    service = await cloud.read()
    service["spec"]["traffic"] = []

    _, answer = await cloud.write(service)

    assert answer["spec"]["traffic"] == [{"latestRevision": True, "percent": 100}]


async def test_annotations_of_clients_are_kept(cloud: Cloud) -> None:
    service = await cloud.read()
    creator = service["metadata"]["annotations"]["serving.knative.dev/creator"]
    service["metadata"]["annotations"] |= {
        "deploy-watchdog/rolled-back": "barq-fleet-api-00002-bad",
        "serving.knative.dev/creator": "somebody@else",
    }
    service["metadata"]["labels"]["team"] = "fleet"

    await cloud.call("PUT", SERVICE, service, X_Emulator_Actor="watchdog@barq-fleet.iam.gserviceaccount.com")

    metadata = (await cloud.read())["metadata"]
    assert metadata["annotations"]["deploy-watchdog/rolled-back"] == "barq-fleet-api-00002-bad"
    assert metadata["annotations"]["serving.knative.dev/creator"] == creator
    assert metadata["annotations"]["run.googleapis.com/lastModifier"] == "watchdog@barq-fleet.iam.gserviceaccount.com"
    assert metadata["labels"]["team"] == "fleet"
    assert metadata["generation"] == 1


@pytest.mark.parametrize(
    "method,path",
    [("GET", f"{BASE}/services/nobody"), ("PUT", f"{BASE}/services/nobody"), ("GET", f"{BASE}/revisions/{NAME}-1")],
)
async def test_unknown_resources_are_404(cloud: Cloud, method: str, path: str) -> None:
    status, answer = await cloud.call(method, path, {} if method == "PUT" else None)

    assert (status, answer["error"]["status"]) == (404, "NOT_FOUND")


async def test_bodies_that_are_not_json_are_400(cloud: Cloud) -> None:
    async with cloud.http.put(cloud.admin_url + SERVICE, data=b"{") as answer:
        assert answer.status == 400
        assert "Invalid JSON" in (await answer.json())["error"]["message"]


async def test_template_without_image_is_400(cloud: Cloud) -> None:
    service = await cloud.read()
    service["spec"]["template"]["spec"]["containers"] = []

    status, answer = await cloud.write(service)

    assert status == 400
    assert "containers" in answer["error"]["message"]


async def test_services_are_created_and_deleted(cloud: Cloud) -> None:
    body = {
        "metadata": {"name": "other"},
        "spec": {"template": {"spec": {"containers": [{"image": "gcr.io/barq-fleet/other"}]}}},
    }

    status, created = await cloud.call("POST", f"{BASE}/services", body)
    again, answer = await cloud.call("POST", f"{BASE}/services", body)
    _, gone = await cloud.call("DELETE", f"{BASE}/services/other")

    assert status == 200
    assert created["status"]["latestCreatedRevisionName"].startswith("other-00001-")
    assert (again, answer["error"]["status"]) == (409, "ALREADY_EXISTS")
    assert gone["status"] == "Success"
    assert (await cloud.call("GET", f"{BASE}/services/other"))[0] == 404


async def test_lists_cover_one_region_or_all(cloud: Cloud) -> None:
    """The same service in two regions is two services; the host name or the path says which is meant."""
    await cloud.emulator.director.deploy(Release(region="europe-west1", project=PROJECT))
    located = f"/v1/projects/{PROJECT}/locations"

    async def regions(path: str, **headers: str) -> list[str]:
        _, listed = await cloud.call("GET", path, **headers)
        return [item["metadata"]["labels"]["cloud.googleapis.com/location"] for item in listed["items"]]

    assert await regions(f"{located}/-/services") == ["europe-west1", "us-central1"]
    assert await regions(f"{located}/europe-west1/services") == ["europe-west1"]
    assert await regions(f"{BASE}/services", Host="europe-west1-run.googleapis.com") == ["europe-west1"]
    _, located_service = await cloud.call("GET", f"{located}/europe-west1/services/{NAME}")
    assert located_service["metadata"]["labels"]["cloud.googleapis.com/location"] == "europe-west1"
    assert (await cloud.read())["metadata"]["labels"]["cloud.googleapis.com/location"] == "us-central1"


async def test_lists_come_in_pages(cloud: Cloud) -> None:
    for image in ("a", "b"):
        await cloud.deploy(image=f"gcr.io/barq-fleet/api:{image}")

    _, first = await cloud.call("GET", f"{BASE}/revisions?limit=2")
    _, rest = await cloud.call("GET", f"{BASE}/revisions?limit=2&continue={first['metadata']['continue']}")

    assert [len(first["items"]), len(rest["items"])] == [2, 1]
    assert "continue" not in rest["metadata"]


async def test_revisions_are_selected_by_label_newest_first(cloud: Cloud) -> None:
    second = await cloud.deploy(image="gcr.io/barq-fleet/api:2", labels={"watchdog-rollback-safe": "false"})
    first = cloud.emulator.world.revisions_of(KEY)[-1]

    async def names(selector: str) -> list[str]:
        _, listed = await cloud.call("GET", f"{BASE}/revisions?labelSelector={selector}")
        return [item["metadata"]["name"] for item in listed["items"]]

    assert await names(f"serving.knative.dev/service = {NAME}") == [second.name, first.name]
    assert await names("serving.knative.dev/service=nobody") == []
    assert await names("watchdog-rollback-safe==false,serving.knative.dev/service") == [second.name]
    assert await names("watchdog-rollback-safe!=false") == [first.name]
    assert await names("!watchdog-rollback-safe") == [first.name]
    assert await names("cloud.googleapis.com/location in (us-central1, europe-west1)") == [second.name, first.name]
    status, answer = await cloud.call("GET", f"{BASE}/revisions?labelSelector=(((")
    assert (status, answer["error"]["status"]) == (400, "INVALID_ARGUMENT")


async def test_revision_tells_digest_and_whether_it_serves(cloud: Cloud) -> None:
    old = cloud.emulator.world.revisions_of(KEY)[0]
    new = await cloud.deploy(image="gcr.io/barq-fleet/api:2")

    _, shown = await cloud.call("GET", f"{BASE}/revisions/{new.name}")
    _, retired = await cloud.call("GET", f"{BASE}/revisions/{old.name}")

    assert shown["status"]["imageDigest"] == image_digest("gcr.io/barq-fleet/api:2")
    assert re.fullmatch(r"gcr\.io/barq-fleet/api@sha256:[0-9a-f]{64}", shown["status"]["imageDigest"])
    assert _conditions(shown) == {
        "Ready": "True",
        "Active": "True",
        "ContainerHealthy": "True",
        "ResourcesAvailable": "True",
    }
    assert _conditions(retired)["Active"] == "False"


async def test_only_unused_revisions_can_be_deleted(cloud: Cloud) -> None:
    old = cloud.emulator.world.revisions_of(KEY)[0]
    new = await cloud.deploy(image="gcr.io/barq-fleet/api:2")

    refused, answer = await cloud.call("DELETE", f"{BASE}/revisions/{new.name}")
    deleted, _ = await cloud.call("DELETE", f"{BASE}/revisions/{old.name}")

    assert (refused, answer["error"]["status"]) == (400, "FAILED_PRECONDITION")
    assert deleted == 200
    assert [revision.name for revision in cloud.emulator.world.revisions_of(KEY)] == [new.name]


async def test_dry_run_checks_and_changes_nothing(cloud: Cloud) -> None:
    service = await cloud.read()
    changed = copy.deepcopy(service)
    changed["spec"]["template"]["spec"]["containers"][0]["image"] = "gcr.io/barq-fleet/api:2"

    status, _ = await cloud.call("PUT", f"{SERVICE}?dryRun=all", changed)
    changed["spec"]["traffic"] = [{"latestRevision": True, "percent": 1}]
    refused, _ = await cloud.call("PUT", f"{SERVICE}?dryRun=all", changed)

    assert (status, refused) == (200, 400)
    assert await cloud.read() == service


async def test_iam_switches_answer_403(cloud: Cloud) -> None:
    service = await cloud.read()
    cloud.emulator.gate.may_write = False
    refused, answer = await cloud.write(service)
    cloud.emulator.gate.may_read = False
    blind, _ = await cloud.call("GET", SERVICE)

    assert (refused, answer["error"]["status"], blind) == (403, "PERMISSION_DENIED", 403)
    assert "run.services.update" in answer["error"]["message"]


async def test_credentials_are_accepted_and_ignored(cloud: Cloud) -> None:
    status, _ = await cloud.call("GET", SERVICE, Authorization="Bearer ya29.whatever")

    assert status == 200


async def test_helpers_of_gcloud_answer(cloud: Cloud) -> None:
    permissions = {"permissions": ["run.services.update"]}
    path = f"/v1/projects/{PROJECT}/locations/us-central1/services/{NAME}"

    assert await cloud.call("POST", f"{path}:testIamPermissions", permissions) == (200, permissions)
    assert (await cloud.call("GET", f"/v1/projects/{PROJECT}/services/run.googleapis.com"))[1]["state"] == "ENABLED"
    policy = {"bindings": [{"role": "roles/run.invoker", "members": ["allUsers"]}]}
    await cloud.call("POST", f"{path}:setIamPolicy", {"policy": policy})
    assert (await cloud.call("GET", f"{path}:getIamPolicy"))[1] == policy


async def test_server_can_be_used_as_forward_proxy(cloud: Cloud) -> None:
    """The real gcloud uses it so: the request line then holds a whole URL, with the region in its host name."""
    host, _, port = cloud.emulator.endpoints()["cloud_run"].rpartition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    target = f"http://us-central1-run.fake.test{SERVICE}?alt=json"
    writer.write(f"GET {target} HTTP/1.1\r\nHost: us-central1-run.fake.test\r\nConnection: close\r\n\r\n".encode())

    answer = await reader.read()
    writer.close()
    await writer.wait_closed()

    assert answer.startswith(b"HTTP/1.1 200")
    assert b'"kind": "Service"' in answer


async def test_service_account_numbers_name_the_project(cloud: Cloud) -> None:
    """Answers carry the project's number as namespace; a client may ask with it."""
    namespace = (await cloud.read())["metadata"]["namespace"]

    status, _ = await cloud.call("GET", f"/apis/serving.knative.dev/v1/namespaces/{namespace}/services/{NAME}")

    assert namespace.isdigit()
    assert status == 200


async def test_same_seed_makes_the_same_world() -> None:
    async def names() -> tuple[str, str]:
        async with running_cloud(seed=7) as cloud:
            service = await cloud.read()
            return service["status"]["latestReadyRevisionName"], service["metadata"]["uid"]

    assert await names() == await names()


def _conditions(resource: dict[str, Any]) -> dict[str, str]:
    return {condition["type"]: condition["status"] for condition in resource["status"]["conditions"]}
