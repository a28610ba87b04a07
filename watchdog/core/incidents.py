"""When an incident is over: nothing that pages is broken any more and has not been for a while, the revision serves
nobody any more, or a person says so.

A rollback that was refused, failed or only observed leaves the incident to this: the watch stays failed, but whoever
was woken must learn that the service is well again, and a pager must not stay red for a service that is.
"""

from dataclasses import replace
from math import inf

from watchdog.core import messages, scaling
from watchdog.core.decide import SIGNAL, Step
from watchdog.core.model import Action, Severity, Table
from watchdog.core.state import FRESH_S, Watch
from watchdog.core.text import span

CALM_S = 300.0
"""How long everything must have been well before the incident is called over: a service that flaps pages once."""


def broken(watch: Watch) -> str | None:
    """What still is as it was when somebody was paged, in a few words; None when nothing is."""
    for rule, state in zip(watch.rules.rules, watch.verdicts, strict=True):
        pages = _pages(rule.row.action, rule.row.table, rule.row.severity) and not state.one_caller
        if state.alarmed_at is not None and pages:
            return rule.label
    if (unsolved := scaling.unsolved(watch)) is not None:
        return unsolved
    failing = next((n for n, c in watch.confirmations.items() if c.failures), None)
    failing = failing or next((n for n, p in watch.probes.items() if p.streak and watch.probe(n).critical), None)
    if failing is not None:
        return f"probe {failing}"
    said = watch.incident.criterion if watch.incident is not None else ""
    if said.startswith(SIGNAL):
        return said.removeprefix(SIGNAL).replace("_", " ")  # only who said it can take it back
    if watch.known_bad and watch.split.percent_of(watch.revision):
        return f"{watch.revision}, which is known to be bad and serves"
    return None


def _pages(action: Action, table: Table, severity: Severity) -> bool:
    return action is Action.ROLLBACK or (table is Table.ALERT and severity is Severity.CRITICAL)


def _busy(watch: Watch) -> bool:
    """Whether something else says how it goes on: a rollback under way, a hold with an end, an approval."""
    rollback = watch.rollback
    if rollback is not None and rollback.stage not in {"failed", "observed"}:
        return True
    waits = watch.hold is not None and watch.hold.kind != "refused"
    proving = watch.warming is not None or watch.versus is not None
    return waits or proving or watch.pending_trigger is not None


def _fresh(watch: Watch) -> bool:
    """Whether the probes have answered just now: after an absence, silence is not health."""
    critical = [p for n, p in watch.probes.items() if watch.probe(n).critical and p.last is not None]
    oldest = watch.at - 2 * watch.probing.probe_every_s - FRESH_S
    return all(p.last is not None and p.last.ok and p.last.ended_at >= oldest for p in critical)


def follow(step: Step) -> None:
    """Note since when all is calm; called after every event."""
    watch = step.watch
    incident = watch.incident
    if incident is None or not incident.open or not watch.open:
        return
    calm = not _busy(watch) and broken(watch) is None
    if calm and incident.calm_since is None:
        watch.incident = replace(incident, calm_since=watch.at)
    elif not calm and incident.calm_since is not None:
        watch.incident = replace(incident, calm_since=None)


def due(watch: Watch) -> float:
    """When the calm will have lasted long enough; `inf` while it has not begun."""
    incident = watch.incident
    if incident is None or not incident.open or incident.calm_since is None:
        return inf
    return incident.calm_since + CALM_S


def fire(step: Step) -> None:
    """The calm has lasted: the incident is over, unless nobody has looked lately."""
    watch = step.watch
    incident = watch.incident
    if incident is None or watch.at < due(watch):
        return
    if not _fresh(watch):
        watch.incident = replace(incident, calm_since=watch.at)
        return
    sentence = f"{messages.place(watch)} has been well for {span(CALM_S)}: {incident.title} is over."
    step.note("resolved", sentence)
    step.announce("incident_resolved", reason=sentence, by="")
    failed = " The watch stays failed, because it had to be rolled back and was not." if watch.outcome else ""
    step.notify(
        messages.body(
            watch,
            "recovered",
            severity="info",
            title=f"Well again: {messages.place(watch)}",
            happened=sentence,
            did=f"Traffic stayed as it was; the watch goes on.{failed}",
            over="Yes, for now.",
            todo=f"Find out what it was; {watch.revision} still serves.",
            incident=step.resolve_incident(),
        )
    )


def resolve(step: Step, who: str, said: str) -> None:
    """A person says that it is over."""
    watch = step.watch
    incident = watch.incident
    if incident is None or not incident.open:
        step.note("ignored", f"{who} resolved{said}, but no incident is open.")
        return
    sentence = f"{who} resolved: {incident.title}{said}."
    step.note("resolved", sentence)
    step.announce("incident_resolved", reason=sentence, by=who)
    left = broken(watch)
    step.notify(
        messages.body(
            watch,
            "note",
            severity="info",
            title=f"Resolved by {who}: {messages.place(watch)}",
            happened=sentence,
            did="The incident is closed; the watch goes on and pages again if something new is proven.",
            over="Yes, as they say." if left is None else f"They say so; {left} is still broken.",
            todo="Nothing.",
            incident=step.resolve_incident(by=who),
        )
    )


def at_the_end(step: Step) -> tuple[str | None, str]:
    """What the watch's last message does to its incident, and what it says of it. A service that is still broken keeps
    its incident: from now on only a person can know when it is over."""
    watch = step.watch
    incident = watch.incident
    if incident is None or not incident.open:
        return None, ""
    left = broken(watch) if watch.split.percent_of(watch.revision) else None
    if left is None:
        return step.resolve_incident(), ""
    return None, f"No: {left} was still broken when the watch ended. The incident stays open; resolve it yourself."
