"""Actions beyond traffic as values: what a policy allows, and what has been done about instances.

Pure values without judgement, so that model, policy and state can all hold them.
"""

from dataclasses import dataclass
from typing import Literal

from pydantic import BaseModel, ConfigDict

DEFAULT_STEP = 0.5
DEFAULT_MEASURE_S = 600.0
DEFAULT_PER_DAY = 3
DEFAULT_JOB_S = 600.0


class _Value(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class ScaleUp(_Value):
    """How far a service may be scaled up."""

    max_instances: int
    """The cap: the service's own maximum is never raised above it."""
    step: float = DEFAULT_STEP
    """How much more at a time, as a share of the present maximum; at least one instance."""
    measure_after_s: float = DEFAULT_MEASURE_S
    """When the row is looked at again."""
    per_day: int = DEFAULT_PER_DAY
    """At most so many times in 24 h."""
    next_size: dict[str, str] = {}
    """Instance of Cloud SQL or Memorystore → the tier, or the size in GB, that comes next: for the page's command."""


class DatabaseRollback(_Value):
    """How the database goes back: a Cloud Run job, or commands for a person."""

    job: str = ""
    region: str = ""
    """The job's; empty means the service's."""
    run: Literal["approve", "automatic"] = "approve"
    within_s: float = DEFAULT_JOB_S
    """How long the job may take."""
    commands: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class JobRun:
    """The one run of the job that undoes a migration, as far as it has come.

    `stage`: `starting` (asked for; whether Cloud Run has begun is not known yet), `running`, `succeeded`, `failed`.
    """

    job: str
    asked_at: float
    since: float
    """An execution that began after this (Unix seconds) is taken for ours, whoever started it."""
    stage: str = "starting"
    by: str = ""
    """Who let it run; empty where the policy does."""
    execution: str = ""
    ended_at: float | None = None
    reason: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ScaleMark:
    """What is written on the service with every change of its maximum: whose it is, and when it was raised lately.

    `times` (Unix seconds) is the budget, which so survives the loss of every store. `watch` is empty once the maximum
    was put back.
    """

    watch: str = ""
    number: int = 0
    """Which scaling of that watch, from 1."""
    before: int = 0
    after: int = 0
    times: tuple[float, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Scaling:
    """One attempt of a watch to scale its service up.

    `stage`: `writing` (to be judged and written), `asked` (waits for a person), `judging` (written, to be measured
    again), `reverting`; and the ends `helped`, `reverted`, `left` (somebody else changed it, or nothing could be
    measured), `refused`, `observed`, `failed`, `dropped` (cleared before anything was written).
    """

    number: int
    """Which of its watch, from 1."""
    rule: int
    """The row that is measured again: the gravest that asked for it."""
    criterion: str
    sentence: str
    decided_at: float
    value: float | None
    """The row's reading then."""
    stage: str = "writing"
    tries: int = 1
    """How often it was judged whether it may be written."""
    by: str = ""
    """Who approved it."""
    instances: float | None = None
    """How many there were when it was decided."""
    before: int = 0
    """The service's maximum before, and after."""
    after: int = 0
    written_at: float | None = None
    due: float | None = None
    """When it is measured again, or an approval runs out."""
    ended_at: float | None = None
    value_after: float | None = None
    instances_after: float | None = None
    reason: str = ""
    command: str = ""
    """What a person would type instead."""
