"""The sections of a policy file that say who is told: `channels`, `escalation` and `silences`."""

import re
from collections.abc import Mapping
from datetime import UTC, date, datetime
from typing import Annotated, Any, ClassVar

from pydantic import AfterValidator, BeforeValidator, Field, WithJsonSchema

from watchdog.core.conditions import format_duration, quoted
from watchdog.core.findings import Findings, Path
from watchdog.core.paging import Channel, Escalation, Level, Silence
from watchdog.core.policy_fields import Duration, Length, Note, choice, matching
from watchdog.core.policy_section import Section, listed, mapped
from watchdog.core.suggest import did_you_mean

CHANNELS = ("slack", "pagerduty", "email", "webhook", "google_chat", "teams")
"""The channels that a policy may speak of; which of them exist is the environment's affair."""
MOST_LEVELS = 4
"""PagerDuty's keys of an incident, and routing keys, go up to level 4."""


def _addresses(value: object) -> object:
    return [value] if isinstance(value, str) else value


def _address(value: str) -> str:
    if not re.fullmatch(r"[^@\s,;<>]+@[^@\s,;<>]+", value):
        raise ValueError(f"{quoted(value)} is not an email address")
    return value


def _moment(value: object) -> float:
    """YAML reads an unquoted time as a date; a text is ISO 8601."""
    if isinstance(value, str):
        try:
            value = datetime.fromisoformat(value.strip())
        except ValueError:
            raise ValueError(f"{quoted(value)} is not a time; write for example 2026-12-01T06:00:00Z") from None
    if isinstance(value, date) and not isinstance(value, datetime):
        value = datetime(value.year, value.month, value.day, tzinfo=UTC)
    if not isinstance(value, datetime):
        raise ValueError(f"{quoted(value)} is not a time; write for example 2026-12-01T06:00:00Z")  # noqa: TRY004
    return (value if value.tzinfo else value.replace(tzinfo=UTC)).timestamp()


_Email = Annotated[str, AfterValidator(_address)]
_Emails = Annotated[
    list[_Email],
    BeforeValidator(_addresses),
    WithJsonSchema({"anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}}]}),
]
_Name = Annotated[str, AfterValidator(str.strip), Field(min_length=1, max_length=100)]
_Moment = Annotated[
    float, BeforeValidator(_moment), WithJsonSchema({"type": "string", "examples": ["2026-12-01T06:00:00Z"]})
]
_SlackId = Annotated[
    str, *matching(r"[UWS][A-Z0-9]{2,20}", "a Slack id, such as U012AB3CD (in Slack: profile, Copy member ID)")
]


class ChannelFile(Section):
    """What one channel gets."""

    send: Annotated[str, *choice("all", "important", "incidents", "off")] | None = None
    """`all`, `important` (no digests), `incidents` (what somebody may have to act on), or `off`."""
    roles: dict[str, Annotated[str, *choice("responder", "operator")]] | None = None
    """Slack only: member id → what the buttons let them do."""


class ChannelsFile(Section):
    """Channel → what it gets."""

    slack: ChannelFile | None = None
    pagerduty: ChannelFile | None = None
    email: ChannelFile | None = None
    webhook: ChannelFile | None = None
    google_chat: ChannelFile | None = None
    teams: ChannelFile | None = None


class LevelFile(Section):
    """One rung of the ladder."""

    required: ClassVar = {"name": "Team lead", "after": "15m"}
    name: _Name | None = None
    """Who that is, as messages call them."""
    after: Duration | None = None
    """So long without an acknowledgement; the first level is 0s."""
    email: _Emails | None = None
    slack: _SlackId | None = None
    """Member or user group to mention."""
    only: Annotated[str, *choice("critical")] | None = None
    """`critical`: this level is paged for critical incidents only."""


class EscalationFile(Section):
    """The ladder of people."""

    by: Annotated[str, *choice("pagerduty", "watchdog")] | None = None
    """Who climbs it: PagerDuty's own escalation policy (default), or the watchdog; never both."""
    ladder: list[LevelFile] | None = None
    remind_every: Length | None = None
    """An acknowledged incident that is not resolved is brought to mind so often; 1h by default."""
    repeat_every: Length | None = None
    """The last level is paged again so often, 9 times at most; 30m by default."""


class SilenceFile(Section):
    """What is not said for a while."""

    required: ClassVar = {"until": "2026-12-01T06:00:00Z", "by": "Ada", "reason": "load test"}
    criterion: _Name | None = None
    """A row's label, `*` and `?` stand for anything."""
    kind: _Name | None = None
    """A kind of message, such as `warning`."""
    severity: Annotated[str, *choice("critical", "error", "warning", "info")] | None = None
    until: _Moment | None = None
    by: _Name | None = None
    reason: Note | None = None


def channels_of(value: object, findings: Findings) -> dict[str, Channel]:
    """What the file says of each channel."""
    path: Path = ("channels",)
    made: dict[str, Channel] = {}
    for name, item in mapped(value, path, findings).items():
        if name not in CHANNELS:
            findings.problem((*path, name), f"unknown channel{did_you_mean(name, CHANNELS)}")
            continue
        read = ChannelFile.read(item, (*path, name), findings)
        if read is None:
            continue
        if read.roles is not None and name != "slack":
            findings.problem((*path, name, "roles"), "has a meaning for slack only: only Slack has buttons")
        for member in read.roles or ():
            if not re.fullmatch(r"[UW][A-Z0-9]{2,20}", member):
                findings.problem((*path, name, "roles", member), "is no Slack member id, such as U012AB3CD")
        if name == "pagerduty" and read.send in {"all", "important"}:
            findings.problem((*path, name, "send"), "PagerDuty wakes people: it takes incidents, or off")
        made[name] = Channel.model_validate(
            {"send": read.send or default_send(name), "roles": dict(read.roles or {}) if name == "slack" else {}}
        )
    return made


def default_send(channel: str) -> str:
    """What a channel gets when the policy does not say."""
    return {"slack": "all", "webhook": "all", "pagerduty": "incidents"}.get(channel, "important")


def escalation_of(value: object, findings: Findings) -> Escalation:
    """The ladder, checked: it begins at once, and goes up."""
    path: Path = ("escalation",)
    if value is None:
        return Escalation()
    values = dict(value) if isinstance(value, Mapping) else value
    rungs: list[Level] = []
    if isinstance(values, dict) and "ladder" in values:
        rungs = _ladder(values.pop("ladder"), (*path, "ladder"), findings)
    read = EscalationFile.read(values, path, findings) or EscalationFile()
    if rungs and read.by == "pagerduty":
        findings.warning((*path, "ladder"), "is not climbed here: by: pagerduty leaves it to PagerDuty")
    given: dict[str, Any] = {"by": read.by, "remind_every_s": read.remind_every, "repeat_every_s": read.repeat_every}
    given = {key: found for key, found in given.items() if found is not None}
    return Escalation(**given, **({"ladder": tuple(rungs)} if rungs else {}))


def _ladder(value: object, path: Path, findings: Findings) -> list[Level]:
    items = listed(value, path, findings)
    made: list[Level] = []
    if not items:
        findings.problem(path, "has no level; leave it out for on-call, team lead, engineering manager and CTO")
    if len(items) > MOST_LEVELS:
        findings.problem(path, f"has {len(items)} levels; there can be {MOST_LEVELS}")
    before = -1.0
    for index, item in enumerate(items):
        place: Path = (*path, index)
        read = LevelFile.read(item, place, findings)
        if read is None or read.name is None or read.after is None:
            continue
        if index == 0 and read.after != 0:
            findings.problem((*place, "after"), "the first level is paged at once: write 0s")
        if read.after <= before:
            last = format_duration(before)
            findings.problem(
                (*place, "after"), f"comes no later than the level before it ({last}): nobody could answer"
            )
        before = max(before, read.after)
        made.append(
            Level(
                name=read.name,
                after_s=read.after,
                email=tuple(read.email or ()),
                slack=read.slack or "",
                only_critical=read.only == "critical",
            )
        )
    return made


def silences_of(value: object, findings: Findings) -> tuple[Silence, ...]:
    """What the file silences."""
    path: Path = ("silences",)
    made: list[Silence] = []
    for index, item in enumerate(listed(value, path, findings)):
        place: Path = (*path, index)
        read = SilenceFile.read(item, place, findings)
        if read is None:
            continue
        if not (read.criterion or read.kind or read.severity or read.spoilt):
            findings.problem(place, "names neither criterion, kind nor severity: it would silence everything")
        if read.until is None or not read.by or not read.reason:
            continue
        made.append(
            Silence(
                criterion=read.criterion or "",
                kind=read.kind or "",
                severity=read.severity or "",
                until=read.until,
                by=read.by,
                reason=read.reason,
                id=f"policy-{index + 1}",
            )
        )
    return tuple(made)
