"""May the service be scaled up, to how many instances, and what would a person type? Pure judgements on what the Admin
API says at the moment of the write.

Only the service's own maximum is ever written. It is an annotation of the service, so no revision comes of it. Where
the revision's maximum is what binds, more would need a new revision: that is a deploy, and a person's affair.
"""

from dataclasses import dataclass
from math import ceil, floor
from typing import Final

from watchdog.core.beyond import ScaleUp
from watchdog.core.catalogue import METRICS
from watchdog.core.model import RevisionState, ServiceState
from watchdog.core.policy_beyond import HEADROOM
from watchdog.core.remedies import described, more_instances
from watchdog.core.state import Watch
from watchdog.core.text import reading

DEFAULT_MAX: Final = 100
"""Cloud Run's own maximum of a revision that names none. A missing or zero maximum means this, never "few"."""
CEILING_SLACK: Final = 0.5
"""A minute's mean of instances may lie this much below the maximum although every one of them was there."""
STALE_S: Final = 600.0
"""A reading older than this says nothing of now: Cloud Monitoring is up to 4 minutes behind."""
DAY_S: Final = 86_400.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Raise:
    """The service's maximum may be raised. `room` says what bounds it, for people."""

    before: int
    after: int
    room: str
    command: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Keep:
    """It must not be raised, and why; what a person would type."""

    reason: str
    command: str


def plan(watch: Watch, service: ServiceState, revision: RevisionState | None, at: float) -> Raise | Keep:
    """What a row that asks for more instances gets. `revision` is None when it could not be read."""
    config, had, now = watch.rules.policy.scale_up, _binding(service, revision), _instances(watch, at)
    assert config is not None  # noqa: S101 - without the section nobody asks
    wanted = min(config.max_instances, had + max(1, ceil(had * config.step)))
    command = more_instances(watch, max(wanted, had + 1), revision_level=_of_revision(service, revision))
    if revision is None:
        return Keep(reason=f"what {watch.revision} itself allows could not be read", command=command)
    if watch.split.sole != watch.revision or service.split.sole != watch.revision:
        return Keep(
            reason=f"the traffic is split ({service.split}), and the maximum counts for all revisions together",
            command=command,
        )
    if now is None:
        return Keep(reason="how many instances run is not known, so neither is whether there are too few", command="")
    if now < had - CEILING_SLACK:
        return Keep(
            reason=f"{now:g} of at most {had} instances run: Cloud Run could add more by itself, and a higher maximum "
            "would change nothing. More CPU or memory for each instance may help",
            command=described(watch),
        )
    if _of_revision(service, revision):
        limit = f"the maximum of {watch.revision} itself ({had}{'' if revision.max_instances else ', the default'})"
        return Keep(reason=f"{limit} is what binds; to raise that makes a new revision", command=command)
    return _within(watch, config, service, revision, wanted, now, at, command)


def _within(
    watch: Watch,
    config: ScaleUp,
    service: ServiceState,
    revision: RevisionState,
    wanted: int,
    now: float,
    at: float,
    command: str,
) -> Raise | Keep:
    had = service.max_instances
    if wanted <= had:
        reached = f"the policy's cap is reached ({had} of at most {config.max_instances})"
        return Keep(reason=reached, command=command)
    recent = [t for t in (service.scaled.times if service.scaled else ()) if t > at - DAY_S]
    if len(recent) >= config.per_day:
        return Keep(
            reason=f"it was raised {len(recent)} times in 24 h, which is the budget ({config.per_day})", command=command
        )
    room, why, unknown = _headroom(watch, now, at)
    if unknown:
        return Keep(reason=unknown, command=command)
    after = min(wanted, revision.max_instances or DEFAULT_MAX, wanted if room is None else room)
    if after <= had:
        return Keep(reason=f"the database has no room for more instances: {why}", command=command)
    bounds = [f"cap {config.max_instances}"]
    if after == (revision.max_instances or DEFAULT_MAX):
        bounds.append(f"{watch.revision} itself allows {after}")
    if why:
        bounds.append(f"{why}: room for {room} instances")
    return Raise(before=had, after=after, room="; ".join(bounds), command=command)


def _binding(service: ServiceState, revision: RevisionState | None) -> int:
    """The maximum that binds now."""
    own = (revision.max_instances if revision else 0) or DEFAULT_MAX
    return min(service.max_instances, own) if service.max_instances else own


def _of_revision(service: ServiceState, revision: RevisionState | None) -> bool:
    """Whether it is the revision's maximum that binds, not the service's."""
    own = (revision.max_instances if revision else 0) or DEFAULT_MAX
    return not service.max_instances or own <= service.max_instances


def _instances(watch: Watch, at: float) -> float | None:
    """How many run, by the last reading that is not stale."""
    if not watch.instances or watch.instances[-1][0] < at - STALE_S:
        return None
    return watch.instances[-1][1]


def _headroom(watch: Watch, now: float, at: float) -> tuple[int | None, str, str]:
    """How many instances the database's connections allow; how that was reckoned; why it is not known.

    Every connection is taken to be an instance's of this service, so that what others hold only makes it too careful.
    None where no row knows of connections.
    """
    room: int | None = None
    why = ""
    for rule, state in zip(watch.rules.rules, watch.verdicts, strict=True):
        if rule.row.metric not in HEADROOM or not rule.is_ceiling or rule.threshold is None:
            continue
        if state.value is None or state.sampled_at is None or state.sampled_at < at - STALE_S:
            return None, "", f"the database's connections are not known ({rule.label} has no fresh reading)"
        most = floor(now * rule.threshold / state.value) if state.value > 0.0 else None
        if most is not None and (room is None or most < room):
            room = most
            limit = rule.row.condition.text if rule.row.condition else ""
            value = reading(rule.row.metric, state.value)
            why = f"{METRICS[rule.row.metric].title} {value} with {now:g} instances, limit {limit}"
    return room, why, ""
