"""Whom a message concerns, and the ladder: who is paged when nobody acknowledges, and who is reminded.

A copy of the ladder is frozen into the incident when it opens. Its deadlines are the fold's, so they survive restarts;
after an absence only the highest level that is overdue is paged. An acknowledgement stops it; an incident that is
acknowledged and not resolved is brought to mind. Where the policy leaves the ladder to PagerDuty (`by: pagerduty`) it
is never climbed here: two that climb would page everybody twice.
"""

from collections.abc import Mapping
from dataclasses import replace
from math import inf
from typing import Any, Final

from watchdog.core import messages
from watchdog.core.acts import Incident
from watchdog.core.decide import Step
from watchdog.core.paging import REPEATS, Channel, Level
from watchdog.core.state import Watch
from watchdog.core.text import clock, span, when

PAGERS: Final = frozenset({"pagerduty"})
"""Channels that wake somebody: they get incidents and changes only."""
_QUIET: Final = frozenset({"opened", "window", "note", "promoted", "observed"})
"""Kinds that nobody has to know while they are good news."""
_ALWAYS: Final = frozenset({"rolled_back", "rollback_failed", "not_recovered", "escalation", "reminder", "test"})


def concerns(channel: str, body: Mapping[str, Any], channels: Mapping[str, Channel] | None = None) -> bool:
    """Whether the channel gets this message: by what the policy says of it, else chat gets all, pagers incidents and
    change events, the others what a person should know."""
    chosen = (channels or {}).get(channel)
    send = chosen.send if chosen is not None else _DEFAULTS.get(channel, "important")
    if send == "off":
        return False
    incident = body.get("incident")
    if channel in PAGERS:
        return incident is not None or bool(body.get("change"))
    if send == "all" or incident is not None or body.get("kind") in _ALWAYS:
        return True
    if send == "incidents":
        return bool(body.get("broadcast"))
    return body.get("severity") != "info" or body.get("kind") not in _QUIET


_DEFAULTS: Final = {"slack": "all", "webhook": "all", "pagerduty": "incidents"}


def _eligible(incident: Incident) -> list[tuple[int, Level]]:
    critical = incident.severity == "critical"
    return [(n, rung) for n, rung in enumerate(incident.ladder, 1) if critical or not rung.only_critical]


def _next(incident: Incident) -> tuple[float, int]:
    """When the next page is due, and at which level; the last one is paged again for a while."""
    for number, rung in _eligible(incident):
        if number > incident.level:
            return incident.climbs_from + rung.after_s, number
    if incident.repeats < REPEATS and incident.repeat_every_s:
        return incident.paged_at + incident.repeat_every_s, incident.level
    return inf, incident.level


def due(watch: Watch) -> float:
    """When somebody has to be paged or reminded next; `inf` while nobody has."""
    incident = watch.incident
    if incident is None or not incident.open:
        return inf
    if incident.acknowledged_at is not None:
        return incident.remind_at
    return _next(incident)[0] if incident.ladder else inf


def next_page(incident: Incident) -> tuple[float, str] | None:
    """When and who is paged next, for pages and the auditor; None when nobody is."""
    if not incident.open or not incident.ladder or incident.acknowledged_at is not None:
        return None
    at, number = _next(incident)
    return (at, incident.ladder[number - 1].name) if at < inf else None


def fire(step: Step) -> None:
    """Page the highest level that is overdue, or remind."""
    watch = step.watch
    incident = watch.incident
    if incident is None or watch.at < due(watch):
        return
    if incident.acknowledged_at is not None:
        _remind(step, incident)
        return
    # Several may be overdue after an absence: only the highest is paged, and the deadlines that passed do not count.
    overdue = [n for n, rung in _eligible(incident) if incident.climbs_from + rung.after_s <= step.now]
    number = max([n for n in overdue if n > incident.level], default=incident.level)
    _page(step, incident, number)


def _page(step: Step, incident: Incident, number: int) -> None:
    watch = step.watch
    rung = incident.ladder[number - 1]
    again = number == incident.level
    skipped = [incident.ladder[n - 1].name for n, _ in _eligible(incident) if incident.level < n < number]
    watch.incident = replace(
        incident, level=number, paged_at=step.now, repeats=incident.repeats + 1 if again else incident.repeats
    )
    waited = span(step.now - incident.opened_at)
    what = "again" if again else f"level {number}"
    did = f"Paged {rung.name} ({what}); {_before(incident)}."
    if skipped:
        did += f" The watchdog was away while {' and '.join(skipped)} should have been paged."
    sentence = f"Nobody has acknowledged for {waited}: {rung.name} is paged ({what})."
    step.note("escalated", sentence)
    step.announce("escalated", level=number, name=rung.name, reason=sentence)
    step.notify(
        messages.body(
            watch,
            "escalation",
            severity=incident.severity,
            title=f"Escalated to {rung.name}: {incident.title}",
            happened=f"Nobody has acknowledged this for {waited}: {incident.title}.",
            did=did,
            over="No.",
            todo=f"Acknowledge it (here, or `watchdog ack {watch.id}`), then see to it: {incident.todo}",
            evidence=[("proof", incident.proof)] if incident.proof else [],
            incident="trigger",
            level=number,
            broadcast=True,
            at=step.now,
        )
    )


def _before(incident: Incident) -> str:
    names = [rung.name for n, rung in _eligible(incident) if n <= incident.level]
    return f"before that {', '.join(names)}, first at {clock(incident.opened_at)}"


def _remind(step: Step, incident: Incident) -> None:
    watch = step.watch
    watch.incident = replace(incident, remind_at=step.now + incident.remind_every_s)
    since = when(incident.acknowledged_at or watch.at, watch.at)
    step.note("reminded", f"Acknowledged by {incident.acknowledged_by} at {since} and not over yet.")
    step.notify(
        messages.body(
            watch,
            "reminder",
            severity="warning",
            title=f"Still open: {incident.title}",
            happened=f"{incident.acknowledged_by} acknowledged this at {since}, and it is not over yet.",
            did="Nothing since: it waits for a person.",
            over="No.",
            todo=incident.todo or "See to it, or resolve it.",
            at=step.now,
            evidence=[("proof", incident.proof)] if incident.proof else [],
        )
    )


def acknowledged(incident: Incident, at: float, by: str) -> Incident:
    """The incident, acknowledged: the ladder stops, and it is brought to mind from now on."""
    return replace(incident, acknowledged_at=at, acknowledged_by=by, remind_at=at + (incident.remind_every_s or inf))


def unacknowledged(incident: Incident, at: float) -> Incident:
    """The incident, given back: the ladder goes on from the level that was paged last, with its full time."""
    stood = incident.ladder[incident.level - 1].after_s if incident.ladder and incident.level else 0.0
    return replace(
        incident,
        acknowledged_at=None,
        acknowledged_by="",
        remind_at=inf,
        climbs_from=at - stood,
        paged_at=at,
    )
