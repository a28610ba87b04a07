"""A database goes back by a job, once, before old code meets it; or a person gets the commands."""

from pathlib import Path
from typing import Any

import pytest

from tests.core.drive import NEW, OK, OLD, T0, TEXT, Drive, opening
from watchdog.core import watch as folding
from watchdog.core.commands import RunJob
from watchdog.core.events import JobRan, Operated
from watchdog.core.journal import decode, encode
from watchdog.core.report import view
from watchdog.core.report_text import markdown
from watchdog.policy_file import parse_policy

JOB = "migrate-down"
GCLOUD = "gcloud run jobs execute migrate-down --project acme --region europe-west1 --wait"


def migrated(
    section: str = "{job: migrate-down, run: automatic}", mode: str = "automatic", *, label: bool = True
) -> Drive:
    text = TEXT.format(mode=mode)
    if label:
        text = text.replace("rollback:\n", "rollback:\n  schema_label: db\n")
    policy = parse_policy(f"{text}database_rollback: {section}\n", Path("policy.yaml")).policy
    schemas = {NEW: "42", OLD: "41"} if label else {}
    drive = Drive(opening(policy=policy.canonical(), policy_hash=policy.hash, schemas=schemas))
    drive.healthy(0, 50)
    drive.hard_down(50)
    return drive


def jobs(drive: Drive) -> int:
    return sum(isinstance(c, RunJob) for c in drive.commands)


def ran(drive: Drive, result: str, at_s: float, **changes: Any) -> None:
    drive.put(JobRan(at=T0 + at_s, result=result, execution="migrate-down-00001", **changes))


def lets(drive: Drive, at_s: float) -> None:
    drive.put(Operated(at=T0 + at_s, verb="signoff", by="ada", name="database_rollback"))


def test_the_job_runs_first_and_traffic_follows() -> None:
    drive = migrated()
    assert (jobs(drive), drive.writes) == (1, 0)
    assert "the job migrate-down undoes the migration first" in drive.messages("held")[-1]["happened"]
    ran(drive, "running", 56)
    assert drive.writes == 0
    ran(drive, "succeeded", 70)
    assert drive.writes == 1
    drive.restored(72)
    drive.verify(OK, 80)
    assert drive.watch.outcome == "rolled_back"
    report = markdown(view(drive.watch), ())
    assert "has undone the migration at" in report


def test_traffic_follows_also_when_the_fault_has_gone_meanwhile() -> None:
    """The new code does not know the schema any more."""
    drive = migrated()
    ran(drive, "running", 56)
    drive.healthy(60, 75)
    assert drive.watch.hold is not None, "a probe that passes does not end it"
    ran(drive, "succeeded", 76)
    assert drive.writes == 1


def test_a_job_that_fails_is_paged_and_never_run_again_by_itself() -> None:
    drive = migrated()
    ran(drive, "failed", 60, reason="exit 1")
    assert drive.writes == 0
    page = drive.messages("rollback_failed")[-1]
    assert "failed (migrate-down-00001): exit 1" in page["happened"]
    assert GCLOUD in page["todo"]
    drive.hard_down(100)
    drive.tick(4000)
    assert (jobs(drive), drive.writes) == (1, 0)
    lets(drive, 4001)
    assert jobs(drive) == 2, "a person may"
    assert drive.watch.job is not None
    assert drive.watch.job.since == T0 + 60, "and the execution that failed is not taken for the new one"


@pytest.mark.parametrize(
    "section, mode", [("{job: migrate-down}", "automatic"), ("{job: migrate-down, run: automatic}", "approve")]
)
def test_a_person_lets_it_run(section: str, mode: str) -> None:
    drive = migrated(section, mode)
    assert jobs(drive) == 0
    page = drive.messages("rollback_failed")[-1]
    lets_it = "`watchdog signoff w1 database_rollback --reason …` runs the job migrate-down, then rolls back"
    assert lets_it in page["todo"]
    assert GCLOUD in page["todo"]
    lets(drive, 60)
    assert jobs(drive) == 1
    lets(drive, 61)
    assert jobs(drive) == 1, "once"
    ran(drive, "succeeded", 70)
    assert drive.writes == 1
    assert drive.watch.rollback is not None
    assert drive.watch.rollback.by == "ada"
    assert not drive.watch.signed


def test_a_person_who_holds_is_not_overruled() -> None:
    drive = migrated()
    drive.operate("hold", 56)
    ran(drive, "succeeded", 70)
    assert drive.writes == 0
    assert drive.messages("note")[-1]["title"] == "Database rolled back: api (europe-west1)"


def test_commands_alone_are_shown_in_page_and_report() -> None:
    drive = migrated('{commands: ["alembic downgrade -1"]}')
    assert jobs(drive) == 0
    assert "`alembic downgrade -1`" in drive.messages("rollback_failed")[-1]["todo"]
    assert "alembic downgrade -1" in markdown(view(drive.watch), ())
    lets(drive, 60)
    assert jobs(drive) == 0
    assert "database_rollback" in drive.watch.signed, "there is no job, so it is a sign-off like any other"


def test_a_rollback_without_labels_says_how_the_database_goes_back() -> None:
    drive = migrated("{job: migrate-down}", label=False)
    assert (jobs(drive), drive.writes) == (0, 1)
    drive.restored(56)
    drive.verify(OK, 64)
    assert GCLOUD in drive.messages("rolled_back")[-1]["todo"]


def test_every_step_replays_from_the_journal() -> None:
    drive = migrated()
    ran(drive, "running", 56)
    ran(drive, "succeeded", 70)
    read = []
    for event in drive.events:
        kind, schema, body = encode(event)
        read.append(decode(kind, schema, event.at, body))
    again, _ = folding.replay(read)
    assert again is not None
    assert view(again) == view(drive.watch)
