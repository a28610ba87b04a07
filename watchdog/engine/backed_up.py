"""Was the database backed up lately? Asked of each Cloud SQL instance that a policy names."""

import asyncio
from typing import Final

from watchdog.core.conditions import format_duration
from watchdog.core.policy import Policy
from watchdog.core.text import span
from watchdog.engine.findings import Finding
from watchdog.errors import PermanentError, WatchdogError
from watchdog.ports import Backup, Backups

CHECK: Final = "backup"
MOST_S: Final = 3600.0
"""The checklist's limit for the last backup before a deploy."""


async def backed_up(backups: Backups, policy: Policy, *, most_s: float, now: float) -> list[Finding]:
    """A line a database. Without a Cloud SQL instance in the policy there is nothing to ask."""
    project = policy.service.project
    named = sorted({m.instance for m in policy.metrics.values() if m.source == "cloud_sql" and m.instance})
    answers = await asyncio.gather(*(backups.newest(project, n) for n in named), return_exceptions=True)
    known: dict[str, Backup] = {}
    found: list[Finding] = []
    for name, answer in zip(named, answers, strict=True):
        if isinstance(answer, Backup):
            known[answer.instance] = answer  # a replica's is its primary's
        elif isinstance(answer, WatchdogError):
            found.append(_unasked(name, answer))
        else:
            raise answer
    return [*found, *(_judged(b, project, most_s, now) for b in known.values())]


def _unasked(name: str, error: WatchdogError) -> Finding:
    gone = isinstance(error, PermanentError) and error.status == 404
    todo = "Check the instance's name in the policy." if gone else "Until then look at the backups by hand."
    return Finding(check=f"{CHECK} {name}", mark="unknown", detail=str(error), todo=todo)


def _judged(backup: Backup, project: str, most_s: float, now: float) -> Finding:
    check, name = f"{CHECK} {backup.instance}", backup.instance
    todo = f"gcloud sql backups create --instance {name} --project {project}"
    failed = f"; a newer one failed: {backup.failed}" if backup.failed else ""
    if backup.ended_at is None:
        return Finding(check=check, mark="problem", detail=f"no backup that succeeded{failed}", todo=todo)
    age_s = max(0.0, now - backup.ended_at)
    if age_s > most_s:
        detail = f"the last backup is {span(age_s)} old, more than {format_duration(most_s)}{failed}"
        return Finding(check=check, mark="problem", detail=detail, todo=todo)
    return Finding(check=check, mark="ok", detail=f"the last backup is {span(age_s)} old{failed}")
