"""What the fold asks the engine to do. Everything that goes on for a while is in `schedule.plan` instead."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Restore:
    """Move traffic back to the target, by the protocol: preflight, compare and swap. Answered by `events.Written`."""

    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Scale:
    """Raise the service's maximum of instances, or put it back, as the watch's last `Scaling` says. Answered by
    `events.Scaled`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunJob:
    """Run the job that undoes the migration, as the watch's `JobRun` says. Answered by `events.JobRan`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Notify:
    """Send a message. `key` is unique; `body` has the shape of `messages.Body`."""

    key: str
    kind: str
    body: Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Announce:
    """Tell whoever follows along (terminal, log, JSON lines): `event` and its fields, JSON-able."""

    event: str
    at: float
    fields: Mapping[str, Any]


Command = Restore | Scale | RunJob | Notify | Announce
