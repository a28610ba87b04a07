"""What a policy knows of undoing a migration: a job, commands for a person, and whether the job may run by itself."""

from math import inf
from typing import Final

from watchdog.core import doubt
from watchdog.core.advice import quote
from watchdog.core.beyond import JobRun
from watchdog.core.state import Watch

APPROVAL: Final = "database_rollback"
"""The sign-off by which a person lets the job run."""
HOLD: Final = "database"
"""Kind of the hold while it runs."""
ACTIVE: Final = frozenset({"starting", "running"})
SLACK_S: Final = 120.0
"""Beyond the job's own time: for being asked for, and for its end to be seen."""


def running(watch: Watch) -> bool:
    """Whether the job is under way."""
    return watch.job is not None and watch.job.stage in ACTIVE


def undone(watch: Watch) -> bool:
    """Whether the database is back, so that old code may meet it."""
    return watch.job is not None and watch.job.stage == "succeeded"


def runs_by_itself(watch: Watch) -> bool:
    """Whether the watch may let the job run: once, where the policy says so in so many words."""
    config = watch.rules.policy.database_rollback
    wanted = config is not None and bool(config.job) and config.run == "automatic"
    return wanted and watch.job is None and doubt.mode(watch) == "automatic"


def asked(watch: Watch, by: str = "") -> JobRun:
    """A new run. What began since the watch opened, or since the last run ended, is taken for it."""
    config, last = watch.rules.policy.database_rollback, watch.job
    since = watch.opened_at if last is None or last.ended_at is None else last.ended_at
    return JobRun(job=config.job if config is not None else "", asked_at=watch.at, since=since, by=by)


def holds_until(watch: Watch) -> float:
    """Until when the end of the watch waits for a job under way."""
    config = watch.rules.policy.database_rollback
    if watch.job is None or config is None or not running(watch):
        return -inf
    return watch.job.asked_at + config.within_s + SLACK_S


def region(watch: Watch) -> str:
    """Where the job is."""
    config = watch.rules.policy.database_rollback
    return (config.region if config is not None else "") or watch.deploy.service.region


def commands(watch: Watch) -> tuple[str, ...]:
    """What a person types to undo the migration."""
    config = watch.rules.policy.database_rollback
    if config is None:
        return ()
    if not config.job:
        return config.commands
    project = quote(watch.deploy.service.project)
    job = f"gcloud run jobs execute {quote(config.job)} --project {project} --region {quote(region(watch))} --wait"
    return (*config.commands, job) if config.commands else (job,)


def hint(watch: Watch) -> str:
    """One or two sentences for a page, empty where the policy knows nothing of it, or where it is done."""
    config = watch.rules.policy.database_rollback
    if config is None or undone(watch):
        return ""
    by_hand = " ".join(f"`{command}`" for command in commands(watch))
    if config.job and watch.job is None and watch.open:
        lets = f"`watchdog signoff {watch.id} {APPROVAL} --reason …` runs the job {config.job}"
        then = ", then rolls back" if watch.rollback is None else ""
        return f"If this deploy migrated the database: {lets}{then}; by hand: {by_hand}."
    return f"If this deploy migrated the database, undo that by hand: {by_hand}."
