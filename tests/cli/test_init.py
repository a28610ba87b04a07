"""`watchdog init`, against the emulated cloud and without one."""

import asyncio
import json
import os
from pathlib import Path
from typing import Any

from tests.cli.conftest import Run
from tests.emulator.cloud_world import Cloud, running_cloud
from watchdog.policy_file import load_policy

SERVICE = "barq-fleet/us-central1/barq-fleet-api"


async def call(cloud: Cloud, command: list[str], *arguments: str, **env: str) -> tuple[int, str, str]:
    process = await asyncio.create_subprocess_exec(
        *command,
        *arguments,
        env={**os.environ, **cloud.emulator.endpoints()["env"], **env},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, err = await process.communicate()
    assert process.returncode is not None
    assert "Traceback" not in err.decode()
    return process.returncode, out.decode(), err.decode()


async def test_the_policy_is_written_once_and_passes_preflight(command: list[str], tmp_path: Path) -> None:
    async with running_cloud() as cloud:
        await cloud.deploy(image="us-docker.pkg.dev/barq-fleet/api/api:2.0.0")
        code, out, err = await call(cloud, command, "init", "barq-fleet-api", GOOGLE_CLOUD_PROJECT="barq-fleet")
        assert code == 0, err
        policy = load_policy(tmp_path / "barq-fleet-api.yaml").policy
        assert (policy.rollback.mode, policy.service.regions) == ("observe", ("us-central1",))
        assert [p.path for p in policy.probes.values()] == ["/health"]
        assert "gcloud run services add-iam-policy-binding barq-fleet-api" in out
        assert "watchdog preflight --config barq-fleet-api.yaml" in out
        again, _, said = await call(cloud, command, "init", SERVICE)
        assert (again, "--force" in said) == (2, True)
        env = {"WATCHDOG_DATABASE_URL": "sqlite:///./w.db"}
        ready, told, _ = await call(cloud, command, "preflight", "--config", "barq-fleet-api.yaml", **env)
        assert ready == 0, told


async def test_what_the_service_says_of_itself_is_in_it(command: list[str], tmp_path: Path) -> None:
    async with running_cloud() as cloud:
        body = await cloud.read()
        body["metadata"]["annotations"]["run.googleapis.com/ingress"] = "internal"
        template: dict[str, Any] = body["spec"]["template"]
        template["metadata"]["annotations"]["run.googleapis.com/cloudsql-instances"] = "barq-fleet:us-central1:fleet-db"
        template["spec"]["containers"][0]["livenessProbe"] = {"httpGet": {"path": "/api/v1/health/live", "port": 8080}}
        status, _ = await cloud.write(body)
        assert status == 200
        await cloud.settle()
        code, out, err = await call(cloud, command, "init", SERVICE, "--json", "--print")
        missing = await call(cloud, command, "init", "barq-fleet/us-central1/other", "--print")
    assert code == 0, err
    told = json.loads(out)
    assert told["warnings"] == []
    assert "live: {path: /api/v1/health/live" in told["policy"]
    assert "it answered as it should" in told["policy"]
    assert "database_cpu" in told["policy"]
    assert "Ingress is internal" in told["policy"]
    assert told["file"] is None
    assert os.listdir(tmp_path) == []  # noqa: PTH208 - no blocking pathlib here
    assert missing[0] == 2
    assert "There: barq-fleet-api" in missing[2]
    assert "--offline" in missing[2]


def test_without_an_answer_it_says_so_and_offline_it_asks_nobody(run: Run, tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setenv("CLOUD_RUN_EMULATOR_HOST", "127.0.0.1:1")
    away = run("init", SERVICE)
    assert away.code == 1
    assert "--offline" in away.err
    assert not list(tmp_path.iterdir())
    made = run("init", SERVICE, "--offline", "--output", "mine.yaml")
    assert made.code == 0, made.err
    assert "without asking Cloud Run" in (tmp_path / "mine.yaml").read_text()
    assert run("check", "mine.yaml").code == 0
    (tmp_path / "mine.yaml").write_text("mine")
    assert run("init", SERVICE, "--offline", "-o", "mine.yaml").code == 2
    assert (tmp_path / "mine.yaml").read_text() == "mine"
    assert run("init", SERVICE, "--offline", "-o", "mine.yaml", "--force").code == 0


def test_what_nobody_said_is_asked_for(run: Run) -> None:
    assert "Which project" in run("init", "api").err
    assert run("init", "a/b/c/d").code == 2
    assert run("init", "api", "--project", "q", "--offline").code == 2
