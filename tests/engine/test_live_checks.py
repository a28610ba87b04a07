"""Checks of version, edge and jobs, and metrics from everywhere, by the real daemon against the emulated cloud."""

from pathlib import Path

from tests.engine.world import BAD, KEY, emulated, eventually, kept, policy_text
from watchdog.core.model import Verdict
from watchdog.core.standing import RuleState
from watchdog.engine.runner import WatchRunner
from watchdog.policy_file import parse_policy

SECTIONS = """\
cold_start: {errors: 0s, latency: 0s}
version_check: {path: /version, json: version, every: 1s}
edge: {headers: [X-Frame-Options], every: 1s, failures: 1}
jobs:
  nightly: {scheduler: nightly-report}
  cleanup: {heartbeat: 1h}
metrics:
  database_cpu: {source: cloud_sql, instance: shop-db}
  pool_utilization: {source: json_endpoint, path: /health, query: 'length(status)', unit: ratio}
alert_thresholds:
  - {metric: database_cpu, critical: "> 90%", action: scale_up}
  - {metric: pool_utilization, warning: "> 90%", action: investigate}
"""
CRITERIA = '  - {metric: health_check, target: "100%", action: rollback}'


def says(runner: WatchRunner, row: str) -> RuleState:
    rules = runner.watch.rules.rules
    return next(s for r, s in zip(rules, runner.watch.verdicts, strict=True) if r.row.id == row)


async def test_a_watch_makes_its_live_checks_and_hears_its_jobs(tmp_path: Path) -> None:
    checking = parse_policy(policy_text(criteria=CRITERIA) + SECTIONS, Path("policy.yaml")).policy
    async with emulated(sample_period_s=1.0, ingest_delay_s=1.0) as cloud:
        cloud.emulator.scheduler.put("nightly-report", {"state": "PAUSED"})
        cloud.emulator.monitoring.script(
            "cloudsql.googleapis.com/database/cpu/utilization", 0.97, resource={"database_id": "barq-fleet:shop-db"}
        )
        async with kept(cloud, tmp_path / "w.db", checking) as house:
            await cloud.deploy(BAD)
            runner = await house.watching(BAD)
            assert runner.watch.expected_version == "1", "the image's tag"

            async def verdict(row: str, wanted: Verdict, what: str) -> RuleState:
                await eventually(lambda: says(runner, row).verdict is wanted, f"{row}: {wanted}", within_s=30.0)
                found = says(runner, row)
                assert what in found.reason
                return found

            async def pinged() -> bool:
                return "heartbeat" in [r.kind async for r in house.store.read(f"service/{KEY}")]

            await verdict("check.version", Verdict.PASS, "")
            await verdict("check.edge.headers", Verdict.WARN, "edge.headers: X-Frame-Options is missing")
            await verdict("check.job.nightly", Verdict.WARN, "job.nightly: the job is paused")
            await verdict("check.job.cleanup", Verdict.INCONCLUSIVE, "no heartbeat yet")
            await verdict("alert.database_cpu.critical", Verdict.FAIL, "database_cpu: 97 % (4 of the last 4 points")
            assert says(runner, "alert.pool_utilization.warning").value == 7.0, "`healthy` has seven letters"

            await house.order("heartbeat", job="cleanup")
            await eventually(pinged, "the ping is in the journal")
            assert "cleanup" in house.keeper.service.heartbeats
            assert runner.watch.rollback is None
