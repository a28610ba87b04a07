"""The real gcloud against the emulator: what it can't tell from Cloud Run, our client can't either."""

import asyncio
import json
import os
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests import needs
from tests.emulator.cloud_world import KEY, NAME, PROJECT, REGION, Cloud, running_cloud
from watchdog.emulator.director import Release
from watchdog.emulator.gate import AdminFault


@dataclass(frozen=True, kw_only=True)
class Gcloud:
    """A gcloud with a configuration of its own, whose proxy and endpoint is the emulator."""

    program: Path
    environment: dict[str, str]

    async def run(self, *arguments: str, fails: bool = False) -> str:
        """What it prints to standard output; to standard error when it is to fail."""
        process = await asyncio.create_subprocess_exec(
            self.program,
            "run",
            *arguments,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env=self.environment,
        )
        out, err = (text.decode() for text in await process.communicate())
        assert (process.returncode != 0) == fails, f"exit {process.returncode}: {out}{err}"
        return err if fails else out + err

    async def read(self, *arguments: str) -> Any:
        """The JSON that it prints."""
        printed = await self.run(*arguments, "--format=json")
        return json.JSONDecoder().raw_decode(printed[min(printed.index(mark) for mark in "[{" if mark in printed) :])[0]


@pytest.fixture
async def empty() -> AsyncIterator[Cloud]:
    async with running_cloud(empty=True, routing_delay_s=0.2) as cloud:
        yield cloud


@pytest.fixture
def gcloud(empty: Cloud, tmp_path: Path) -> Gcloud:
    address, _, port = empty.emulator.endpoints()["cloud_run"].rpartition(":")
    inherited = {name: value for name, value in os.environ.items() if name in {"PATH", "HOME", "LANG"}}
    return Gcloud(
        program=needs.gcloud(),
        environment={
            **inherited,
            "CLOUDSDK_CONFIG": str(tmp_path),
            "CLOUDSDK_CORE_DISABLE_PROMPTS": "1",
            "CLOUDSDK_CORE_DISABLE_USAGE_REPORTING": "1",
            "CLOUDSDK_COMPONENT_MANAGER_DISABLE_UPDATE_CHECK": "1",
            "CLOUDSDK_CORE_PROJECT": PROJECT,
            "CLOUDSDK_RUN_REGION": REGION,
            "CLOUDSDK_AUTH_DISABLE_CREDENTIALS": "true",
            "CLOUDSDK_PROXY_TYPE": "http",
            "CLOUDSDK_PROXY_ADDRESS": address,
            "CLOUDSDK_PROXY_PORT": port,
            "CLOUDSDK_API_ENDPOINT_OVERRIDES_RUN": "http://run.fake.test/",
            "CLOUDSDK_API_ENDPOINT_OVERRIDES_SERVICEUSAGE": "http://serviceusage.fake.test/",
        },
    )


@pytest.mark.timeout(180)
async def test_gcloud_deploys_pins_releases_and_tags(empty: Cloud, gcloud: Gcloud) -> None:
    """One story: create, deploy, split by hand, deploy in vain, release, then a candidate and a broken one."""
    deploy = ("deploy", NAME, "--no-allow-unauthenticated")

    created = await gcloud.run(*deploy, "--image=gcr.io/barq-fleet/api:1.0.0")
    assert f"revision [{NAME}-00001-" in created
    assert "serving 100 percent of traffic" in created
    first = empty.service.latest_ready

    # The same image again is a new revision, because gcloud labels it with a nonce.
    await gcloud.run(*deploy, "--image=gcr.io/barq-fleet/api:1.0.0")
    second = empty.service.latest_ready
    assert second != first

    described = await gcloud.read("services", "describe", NAME)
    assert described["status"]["traffic"] == [{"latestRevision": True, "percent": 100, "revisionName": second}]
    listed = await gcloud.read("revisions", "list", f"--service={NAME}")
    assert [revision["metadata"]["name"] for revision in listed] == [second, first]
    assert listed[0]["status"]["imageDigest"].startswith("gcr.io/barq-fleet/api@sha256:")

    await gcloud.run("services", "update-traffic", NAME, f"--to-revisions={first}=90,{second}=10")
    assert empty.service.split() == {first: 90, second: 10}

    in_vain = await gcloud.run(*deploy, "--image=gcr.io/barq-fleet/api:1.1.0")
    assert "serving 0 percent of traffic" in in_vain
    assert empty.service.split() == {first: 90, second: 10}

    await gcloud.run("services", "update-traffic", NAME, "--to-latest")
    third = empty.service.latest_ready
    assert empty.service.split() == {third: 100}

    candidate = await gcloud.run(*deploy, "--image=gcr.io/barq-fleet/api:1.2.0", "--no-traffic", "--tag=candidate")
    fourth = empty.service.latest_ready
    assert empty.emulator.director.tag_url(KEY, "candidate") in candidate
    assert (empty.service.split(), empty.service.tags()) == ({third: 100}, {"candidate": fourth})
    assert await empty.get_revision(empty.emulator.director.tag_url(KEY, "candidate")) == fourth

    failed = await gcloud.run(*deploy, "--image=gcr.io/barq-fleet/broken:1", fails=True)
    assert "is not ready and cannot serve traffic" in failed
    assert empty.service.split() == {third: 100}
    assert len(empty.emulator.world.revisions_of(KEY)) == 5


@pytest.mark.timeout(60)
async def test_gcloud_gives_up_on_a_conflict(empty: Cloud, gcloud: Gcloud) -> None:
    """Somebody writes between gcloud's read and its write: it fails, and nothing of it is applied."""
    revision = await empty.emulator.director.deploy(Release(revision=f"{NAME}-one"))
    await empty.settle()
    empty.emulator.gate.arm(AdminFault(kind="race", on="writes", count=1))

    printed = await gcloud.run("services", "update-traffic", NAME, f"--to-revisions={revision.name}=100", fails=True)

    assert "was specified but current version is" in printed
    assert empty.service.traffic == [{"latestRevision": True, "percent": 100}]
