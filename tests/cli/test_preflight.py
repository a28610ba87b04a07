"""`watchdog preflight`, against the emulated cloud."""

import asyncio
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tests.cli.conftest import Run
from tests.emulator.cloud_world import Cloud, running_cloud
from watchdog.emulator import clock
from watchdog.emulator.cloud_sql import BackupRun, Instance
from watchdog.emulator.gate import AdminFault
from watchdog.emulator.ledger import Request

POLICY = """\
version: 1
service: {project: barq-fleet, region: us-central1, name: barq-fleet-api}
probes:
  health: {path: /health, expect: {status: 200, json: {status: healthy}}}
success_criteria:
  - {metric: error_rate, target: "< 1%", action: rollback}
  - {metric: health_check, target: "100%", action: rollback}
rollback: {mode: MODE}
"""


async def preflight(
    cloud: Cloud,
    command: list[str],
    folder: Path,
    *arguments: str,
    mode: str = "automatic",
    policy: str = POLICY,
    **env: str,
) -> tuple[int, dict[str, Mapping[str, Any]], str]:
    """Exit code, findings by check (the last line under `""`), and all that was printed."""
    (folder / "p.yaml").write_text(policy.replace("MODE", mode))
    process = await asyncio.create_subprocess_exec(
        *command,
        *("preflight", "--config", "p.yaml", "--json", *arguments),
        env={
            **os.environ,
            **cloud.emulator.endpoints()["env"],
            "WATCHDOG_DATABASE_URL": "sqlite:///./w.db",
            **env,
        },
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, err = await process.communicate()
    assert process.returncode is not None
    lines = [json.loads(line) for line in out.splitlines()]
    return process.returncode, {line.get("check", ""): line for line in lines}, out.decode() + err.decode()


def serve(cloud: Cloud, ended_at: float, *, status: int = 200) -> None:
    """One request that the newest revision answered then."""
    cloud.emulator.ledger.record(
        Request(
            revision=cloud.service.latest_ready,
            service=cloud.service.key.name,
            project=cloud.service.key.project,
            region=cloud.service.key.region,
            ended_at=ended_at,
            latency_s=0.05,
            status=status,
            user_agent="test",
            method="GET",
            url="http://api.test/",
            size_bytes=2,
            remote_ip="127.0.0.1",
            insert_id=f"served-{ended_at}",
        )
    )


async def test_ready_and_what_could_not_be_tested_is_said(command: list[str], tmp_path: Path) -> None:
    async with running_cloud() as cloud:
        old = cloud.service.latest_ready
        new = (await cloud.deploy(image="us-docker.pkg.dev/barq-fleet/api/api:2.0.0")).name
        code, found, said = await preflight(cloud, command, tmp_path)
        before = cloud.service.split()
    assert code == 0, said
    states = {check: line.get("state") for check, line in found.items()}
    assert {c for c, s in states.items() if s == "ok"} >= {
        *("Admin API", "run.services.list", "run.revisions.list", "run.services.get", "run.services.update"),
        *("target", "probe health", "metrics request_log", "store", "channels"),
    }, said
    assert f"{new} would go back to {old}=100" in found["target"]["detail"].replace(" %", "").replace(" 100", "=100")
    assert (states["tag"], states["write"], states["metrics cloud_run"]) == ("unknown",) * 3, said
    assert f"previous={old}" in found["tag"]["todo"]
    assert "Neither can be tested without writing" in found["write"]["todo"]
    assert (found[""]["ready"], found[""]["problems"]) == (True, 0)
    assert before == {new: 100}


async def test_each_thing_that_would_stop_a_rollback_is_named(command: list[str], tmp_path: Path) -> None:
    async with running_cloud() as cloud:
        cloud.emulator.gate.may_write = False
        code, found, said = await preflight(
            cloud,
            command,
            tmp_path,
            "--send-test",
            WATCHDOG_DATABASE_URL="sqlite:////nowhere/at/all/w.db",
            WATCHDOG_PAGERDUTY__EVENTS_URL="http://127.0.0.1:1/",
        )
        assert code == 11, said
        problems = {check for check, line in found.items() if line.get("state") == "problem"}
        assert problems == {"run.services.update", "target", "store", "channel pagerduty"}, said
        assert found["channel slack"]["state"] == "ok"
        assert "roles/run.developer" in found["run.services.update"]["todo"]
        cloud.emulator.gate.arm(AdminFault(kind="status", on="reads", count=1, status=403, message="denied"))
        code, found, said = await preflight(cloud, command, tmp_path, mode="observe")
    assert (code, found["Admin API"]["state"]) == (11, "problem")
    assert "run.services.get" in found["Admin API"]["detail"]
    assert found["run.services.update"]["state"] == "ok", "nothing is written in observe mode"
    assert "Traceback" not in said


def test_without_a_policy_it_is_a_matter_of_configuration(run: Run) -> None:
    found = run("preflight")
    assert found.code == 2
    assert "name one with --config" in found.err


BEFORE_A_DEPLOY = (
    POLICY.replace("mode: MODE}", "mode: MODE, schema_label: db-schema}")
    + """\
metrics:
  database_cpu: {source: cloud_sql, instance: barq-fleet-db}
  replication_lag: {source: cloud_sql, instance: barq-fleet-db-replica}
"""
)


async def test_what_must_be_well_before_a_deploy_is_asked_as_well(command: list[str], tmp_path: Path) -> None:
    """A schema that refuses the rollback, production that is sick, a backup that is too old; then all three mended."""
    async with running_cloud(ingest_delay_s=0.0) as cloud:
        await cloud.deploy(image="us-docker.pkg.dev/barq-fleet/api/api:2.0.0", labels={"db-schema": "v41"})
        await cloud.deploy(image="us-docker.pkg.dev/barq-fleet/api/api:2.1.0", labels={"db-schema": "v42"})
        sql, began = cloud.emulator.sql, clock.now() - 480.0
        sql.put("barq-fleet-db", Instance(backups=(BackupRun(ended_s_ago=7200.0),)))
        sql.put("barq-fleet-db-replica", Instance(primary="barq-fleet-db"))
        for i in range(1200):
            serve(cloud, began + i * 0.4, status=500 if i % 10 == 0 else 200)
        code, found, said = await preflight(cloud, command, tmp_path, policy=BEFORE_A_DEPLOY)
        assert (code, found[""]["problems"]) == (11, 3), said
        assert {c for c, line in found.items() if line.get("state") == "problem"} == {
            *("target", "production", "backup barq-fleet-db")
        }
        assert "has the label db-schema: v42" in found["target"]["detail"]
        assert "a rollback would be refused" in found["target"]["detail"]
        assert "error_rate < 1% is broken: error_rate: " in found["production"]["detail"]
        assert "the last backup is 2 h old, more than 1h" in found["backup barq-fleet-db"]["detail"]
        assert "gcloud sql backups create --instance barq-fleet-db" in found["backup barq-fleet-db"]["todo"]

        await cloud.deploy(image="us-docker.pkg.dev/barq-fleet/api/api:2.2.0", labels={"db-schema": "v42"})
        for i in range(1200):
            serve(cloud, began + i * 0.4)
        code, found, said = await preflight(cloud, command, tmp_path, "--max-backup-age", "1d", policy=BEFORE_A_DEPLOY)
    assert (code, found["production"]["state"], found["backup barq-fleet-db"]["state"]) == (0, "ok", "ok"), said
    assert "no row is broken" in found["production"]["detail"]


async def test_a_service_that_spans_regions_is_not_ready_for_automatic(command: list[str], tmp_path: Path) -> None:
    async with running_cloud() as cloud:
        cloud.service.annotations["run.googleapis.com/regions"] = "us-central1,europe-west1"
        code, found, _ = await preflight(cloud, command, tmp_path)
        assert code == 11
        assert found["mode"]["state"] == "problem"
        assert "acts as approve" in found["mode"]["detail"]


async def test_how_cold_the_target_is_and_what_that_costs_is_said(command: list[str], tmp_path: Path) -> None:
    async with running_cloud(sample_period_s=1.0, ingest_delay_s=31.0) as cloud:
        old = cloud.service.latest_ready
        new = (await cloud.deploy(image="us-docker.pkg.dev/barq-fleet/api/api:2.0.0", usage={"instances": 6})).name
        now = clock.now()
        for back_s in range(20, 60):
            serve(cloud, ended_at=now - back_s)
        cloud.emulator.director.use(new, {"instances": 6, "since": now - 90.0})
        control = cloud.emulator.endpoints()["control"]
        labels = {"service_name": cloud.service.key.name, "location": "us-central1", "revision_name": old}
        script = {"metric": "run.googleapis.com/container/startup_latencies", "resource": labels, "value": 3000.0}
        async with cloud.http.put(f"{control}/emulator/monitoring/series", json=script) as answer:
            assert answer.status == 204, await answer.text()
        _, found, said = await preflight(cloud, command, tmp_path)
    told = found["target's instances"]
    assert told["state"] == "ok", said
    assert told["detail"].startswith("target cold: about 6 instances × 3"), said
    assert "warmed with 6 requests at a time, 5 s at most" in told["detail"]
