"""Whether the database was backed up lately, as the emulated Cloud SQL Admin API says."""

from collections.abc import Sequence
from pathlib import Path

import pytest
from aiohttp import ClientSession, web

from watchdog.core.policy import Policy
from watchdog.emulator import clock
from watchdog.emulator.cloud_sql import BackupRun, CloudSql, Instance, add_sql_routes
from watchdog.engine.backed_up import MOST_S, backed_up
from watchdog.engine.findings import Finding
from watchdog.policy_file import parse_policy
from watchdog.sources.backups import CloudSqlBackups
from watchdog.transport import GoogleTokens

HEAD = "version: 1\nservice: {project: acme, region: europe-west1, name: shop}\nprobes: {live: {path: /live}}\n"
POLICY = parse_policy(
    HEAD + "metrics:\n"
    "  database_cpu: {source: cloud_sql, instance: db}\n"
    '  database_disk: {source: cloud_sql, instance: "acme:db"}\n'
    "  replication_lag: {source: cloud_sql, instance: db-replica}\n"
    "success_criteria:\n"
    '  - {metric: database_cpu, target: "< 70%", action: investigate}\n',
    Path("policy.yaml"),
).policy
REPLICA = Instance(primary="db")


async def ask(instances: dict[str, Instance], *, refused: bool = False, policy: Policy = POLICY) -> Sequence[Finding]:
    sql, app = CloudSql(), web.Application()
    for name, instance in instances.items():
        sql.put(name, instance)
    sql.refuses = refused
    add_sql_routes(app, sql, with_control=False)
    runner = web.AppRunner(app)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        async with ClientSession() as session:
            backups = CloudSqlBackups(session, GoogleTokens(), base_url=f"http://127.0.0.1:{runner.addresses[0][1]}")
            return await backed_up(backups, policy, most_s=MOST_S, now=clock.now())
    finally:
        await runner.cleanup()


def run(minutes_ago: float, status: str = "SUCCESSFUL", error: str = "") -> BackupRun:
    return BackupRun.model_validate({"ended_s_ago": minutes_ago * 60.0, "status": status, "error": error})


@pytest.mark.parametrize(
    "runs, mark, said",
    [
        ((run(10),), "ok", "the last backup is 10 min old"),
        ((run(61),), "problem", "old, more than 1h"),
        ((), "problem", "no backup that succeeded"),
        ((run(0, "RUNNING"), run(20)), "ok", "the last backup is 20 min old"),
        ((run(1, "FAILED", "disk full"), run(90)), "problem", "; a newer one failed: disk full"),
        ((run(1, "FAILED", "disk full"),), "problem", "no backup that succeeded; a newer one failed: disk full"),
    ],
)
async def test_the_newest_backup_that_succeeded_counts(runs: tuple[BackupRun, ...], mark: str, said: str) -> None:
    (found,) = await ask({"db": Instance(backups=runs), "db-replica": REPLICA})
    assert (found.check, found.mark) == ("backup db", mark), "one database, named three times, one of them a replica"
    assert said in found.detail
    assert (found.todo == "gcloud sql backups create --instance db --project acme") == (mark != "ok")


async def test_what_may_not_be_asked_is_unknown_and_names_the_role() -> None:
    found = await ask({"db": Instance(backups=(run(1),))}, refused=True)
    assert {f.mark for f in found} == {"unknown"}
    assert all("roles/cloudsql.viewer" in f.detail for f in found)


async def test_an_instance_that_is_not_there_is_a_mistake_in_the_policy() -> None:
    found = {f.check: f for f in await ask({"db": Instance(backups=(run(1),))})}
    assert found["backup db"].mark == "ok"
    assert found["backup db-replica"].mark == "unknown"
    assert "name in the policy" in found["backup db-replica"].todo


async def test_a_policy_without_a_database_asks_nothing() -> None:
    plain = parse_policy(
        HEAD + 'success_criteria: [{metric: error_rate, target: "< 1%", action: rollback}]\n', Path("p")
    )
    assert await ask({}, policy=plain.policy) == []
