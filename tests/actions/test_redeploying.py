"""A revision is made again from a snapshot, without anybody's traffic or tag changing by it."""

import aiohttp

from tests.actions.test_cloud_run import KEY, settled
from tests.actions.test_scaling import control, emulator  # noqa: F401 - fixtures
from watchdog.actions.cloud_run import CloudRun
from watchdog.actions.redeploying import snapshot, with_template
from watchdog.emulator.director import Release
from watchdog.emulator.server import Emulator

AGAIN = f"{KEY.name}-wd-w1"


async def test_it_is_the_same_again_and_gets_no_traffic(emulator: Emulator, control: CloudRun) -> None:  # noqa: F811
    first = Release(revision=f"{KEY.name}-old", image="us-docker.pkg.dev/p/api:1.0", env={"DB": "x"}, labels={"v": "1"})
    old = await emulator.director.deploy(first)
    await emulator.director.settle(old.key)
    taken = await control.snapshot(KEY, old.name)
    await emulator.director.deploy(Release(revision=f"{KEY.name}-bad", tag="canary"))
    before = await settled(control)
    assert before.split.shares[0].latest
    await control.redeploy(KEY, taken, name=AGAIN, resource_version=before.resource_version)
    after = await settled(control)
    assert after.split.percents() == before.split.percents() == {f"{KEY.name}-bad": 100}
    assert not after.split.shares[0].latest, "else the new revision would have taken all traffic by being made"
    assert [(t.name, t.revision) for t in after.tags] == [("canary", f"{KEY.name}-bad")]
    assert after.latest_ready == AGAIN
    revisions = {r.name: r for r in await control.revisions(KEY)}
    assert revisions[AGAIN].image == revisions[old.name].image
    assert revisions[AGAIN].fingerprint == revisions[old.name].fingerprint
    assert revisions[AGAIN].labels["v"] == "1"
    async with aiohttp.ClientSession() as session, session.get(f"{after.url}/version") as answer:
        assert answer.status == 200


def test_what_the_server_put_there_is_left_out() -> None:
    raw = {
        "metadata": {
            "labels": {"serving.knative.dev/service": "s", "team": "fleet"},
            "annotations": {"run.googleapis.com/lastModifier": "me", "run.googleapis.com/cloudsql-instances": "db"},
        },
        "spec": {"containers": [{"image": "side"}, {"image": "api:1", "ports": [{"containerPort": 8080}]}]},
        "status": {"imageDigest": "api@sha256:abc"},
    }
    assert snapshot(raw) == {
        "metadata": {"labels": {"team": "fleet"}, "annotations": {"run.googleapis.com/cloudsql-instances": "db"}},
        "spec": {"containers": [{"image": "side"}, {"image": "api@sha256:abc", "ports": [{"containerPort": 8080}]}]},
    }
    assert raw["spec"]["containers"][1]["image"] == "api:1"  # type: ignore[index]


def test_a_service_without_a_wish_for_traffic_is_pinned_too() -> None:
    raw = {"status": {"latestReadyRevisionName": "s-1"}, "spec": {"template": {}}}
    body = with_template(raw, {"spec": {}}, "s-2", resource_version="1")
    assert body["spec"]["traffic"] == [{"revisionName": "s-1", "percent": 100}]
    assert body["spec"]["template"]["metadata"]["name"] == "s-2"
