"""The sections of a policy file for actions beyond traffic: `scale_up` and `database_rollback`."""

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, ClassVar, Final

from pydantic import AfterValidator, Field

from watchdog.core.beyond import DatabaseRollback, ScaleUp
from watchdog.core.conditions import format_share
from watchdog.core.findings import Findings, Path
from watchdog.core.model import Action, Row
from watchdog.core.policy import MetricConfig
from watchdog.core.policy_fields import RESERVED_ACTIONS, Few, Length, Region, ServiceName, Share, choice
from watchdog.core.policy_section import Section

HEADROOM: Final = ("db_connections", "active_connections")
"""Metrics whose rows limit how far a service is scaled up: more instances open more connections."""


class ScaleUpFile(Section):
    """How far, how much at a time and how often."""

    required: ClassVar = {"max_instances": "20"}
    max_instances: Few | None = None
    """The service's maximum is never raised above this."""
    step: Share | None = None
    """How much more at a time, of the present maximum; 50% by default."""
    measure_after: Length | None = None
    """When the row is measured again; 10m by default."""
    per_day: Few | None = None
    """At most so many times in 24 hours; 3 by default."""
    next_size: dict[str, Annotated[str, Field(pattern=r"^[A-Za-z0-9_.-]{1,64}$")]] | None = None
    """Instance of Cloud SQL or Memorystore → its next tier or size in GB, for the command in the page."""


_Command = Annotated[str, AfterValidator(str.strip), Field(min_length=1, max_length=500)]


class DatabaseRollbackFile(Section):
    """A job, or commands."""

    job: ServiceName | None = None
    """The Cloud Run job that undoes the migration."""
    region: Region | None = None
    """The job's region; the service's by default."""
    run: Annotated[str, *choice("approve", "automatic")] | None = None
    """`approve` (the default): a person lets it run; `automatic`: it runs when a rollback needs it."""
    within: Length | None = None
    """How long the job may take; 10m by default."""
    commands: Annotated[list[_Command], Field(max_length=20)] | None = None
    """What a person would type, shown in the page and in the report."""


def scale_up_of(
    value: object, rows: Sequence[Row], metrics: Mapping[str, MetricConfig], findings: Findings
) -> ScaleUp | None:
    """The section, or None where there is none or it is broken."""
    path: Path = ("scale_up",)
    read = None if value is None else ScaleUpFile.read(value, path, findings)
    if read is None or read.max_instances is None:
        return None
    if read.step is not None and not 0.0 < read.step <= 10.0:
        findings.problem((*path, "step"), f"{format_share(read.step)} is out of range; write for example 50%")
        return None
    asking = [row for row in rows if row.action is Action.SCALE_UP]
    if not any(row.metric in metrics and metrics[row.metric].source == "cloud_run" for row in asking):
        findings.warning(
            path, "no row of Cloud Run's own metrics has the action scale_up, so this is never used (docs/policy.md)"
        )
    given = {
        "max_instances": read.max_instances,
        "step": read.step,
        "measure_after_s": read.measure_after,
        "per_day": read.per_day,
        "next_size": read.next_size,
    }
    return ScaleUp.model_validate({key: v for key, v in given.items() if v is not None})


def database_rollback_of(value: object, regions: int, findings: Findings) -> DatabaseRollback | None:
    """The section, or None where there is none or it is broken. `regions`: in how many the service is watched; their
    database is one, and each has a watch of its own."""
    path: Path = ("database_rollback",)
    read = None if value is None else DatabaseRollbackFile.read(value, path, findings)
    if read is None:
        return None
    if not read.job and not read.commands and not read.spoilt & {"job", "commands"}:
        findings.problem(path, "has neither job nor commands; write for example job: barq-fleet-migrate-down")
        return None
    for key in ("region", "run", "within"):
        if getattr(read, key) is not None and not read.job and "job" not in read.spoilt:
            findings.problem((*path, key), "has no meaning without job")
    if read.job and regions > 1 and read.region is None and "region" not in read.spoilt:
        findings.problem((*path, "region"), "is missing: the service has several, and each would run a job of its own")
    if regions > 1 and read.run == "automatic":
        findings.problem(
            (*path, "run"), "automatic would let two regions undo the same migration at once; write run: approve"
        )
    given: dict[str, Any] = {
        "job": read.job,
        "region": read.region,
        "run": read.run,
        "within_s": read.within,
        "commands": None if read.commands is None else tuple(read.commands),
    }
    return DatabaseRollback.model_validate({key: v for key, v in given.items() if v is not None})


def misplaced(values: Mapping[str, object], path: Path, findings: Findings) -> frozenset[str]:
    """Sections that stand below `rollback` although they belong at the top of the file."""
    found = frozenset(values) & frozenset(RESERVED_ACTIONS)
    for key in sorted(found):
        findings.problem((*path, key), f"belongs at the top of the file, not below rollback; write {key}: there")
    return found
