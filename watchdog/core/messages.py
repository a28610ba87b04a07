"""What is said to people: what happened, what we did, is it over, what must be done, and the evidence.

Written for someone who was just woken: the decision sentence first, full names, no jargon of ours.
"""

from collections.abc import Sequence
from typing import TypedDict

from watchdog.core import clues
from watchdog.core.acts import Incident
from watchdog.core.model import Split
from watchdog.core.state import Watch

_GRAVE = frozenset({"error", "critical"})
"""Severities of messages whose reader will look for the cause: they quote what is new in the log."""


class IncidentNote(TypedDict):
    """What the message does to the incident: `trigger`, `acknowledge` or `resolve`."""

    action: str
    dedup_key: str


class Body(TypedDict):
    """The shape of every message; JSON-able, without secrets."""

    kind: str
    severity: str
    at: float
    title: str
    happened: str
    did: str
    over: str
    todo: str
    evidence: list[list[str]]
    links: list[dict[str, str]]
    watch: str
    project: str
    region: str
    service: str
    revision: str
    split_before: dict[str, int]
    split_after: dict[str, int] | None
    status: str
    broadcast: bool
    incident: IncidentNote | None
    change: bool
    criterion: str
    """What it is about, for silences."""
    level: int
    """The level of the ladder that this pages; 0 when it is no escalation."""
    actions: list[str]
    """What a person may do about it by a button: `ack`, `rollback`, `hold`."""
    criteria: list[list[str]]
    """Every row and what it says now."""
    to: dict[str, list[str]]
    """Whom it concerns by name: email addresses, Slack ids."""


def body(  # noqa: PLR0913 - a message has this many parts, all named
    watch: Watch,
    kind: str,
    *,
    severity: str,
    title: str,
    happened: str,
    did: str = "",
    over: str = "",
    todo: str = "",
    evidence: Sequence[tuple[str, str]] = (),
    after: Split | None = None,
    incident: str | None = None,
    broadcast: bool = False,
    change: bool = False,
    criterion: str = "",
    level: int = 0,
    at: float | None = None,
) -> Body:
    """One message about a watch. `incident` is the action on its incident, if any; `level` the rung that it pages."""
    service = watch.deploy.service
    note: IncidentNote | None = None
    if incident is not None:
        note = {"action": incident, "dedup_key": dedup_key(watch, level or 1)}
    return {
        "kind": kind,
        "severity": severity,
        "at": watch.at if at is None else at,
        "title": title[:150],
        "happened": happened,
        "did": did,
        "over": over,
        "todo": todo,
        "evidence": [list(pair) for pair in (*evidence, *(clues.quotes(watch) if severity in _GRAVE else ()))],
        "links": [{"href": watch.link, "text": "Watch"}] if watch.link else [],
        "watch": watch.id,
        "project": service.project,
        "region": service.region,
        "service": service.name,
        "revision": watch.revision,
        "split_before": before(watch).percents(),
        "split_after": after.percents() if after is not None else None,
        "status": status(watch),
        "broadcast": broadcast,
        "incident": note,
        "change": change,
        "criterion": criterion or (watch.incident.criterion if note is not None and watch.incident else ""),
        "level": level,
        "actions": _actions(watch, note),
        "criteria": [
            [rule.label, state.verdict.value] for rule, state in zip(watch.rules.rules, watch.verdicts, strict=True)
        ],
        "to": _people(watch, level) if note is not None or kind == "reminder" else {},
    }


def _actions(watch: Watch, note: IncidentNote | None) -> list[str]:
    """Only what makes sense: nothing once the watch or its incident is over, no second rollback."""
    incident = watch.incident
    if not watch.open or incident is None or not incident.open or (note is not None and note["action"] == "resolve"):
        return []
    rollback = watch.rollback
    undone = rollback is None or (rollback.stage in {"observed", "failed"} and rollback.written_at is None)
    found = ["ack"] if incident.acknowledged_at is None else []
    if undone and watch.cutover_at is not None and watch.target.split.shares:
        found.append("rollback")
    if watch.on_trial is not None:
        return [*found, "rollback", "hold"]
    if rollback is None and (watch.hold is None or watch.hold.kind != "person"):
        found.append("hold")
    return found


def _people(watch: Watch, level: int) -> dict[str, list[str]]:
    """Everybody who was paged so far gets what follows; only the one who is paged now is mentioned in Slack."""
    incident = watch.incident
    if incident is None or not incident.ladder:
        return {}
    paged = incident.ladder[: incident.level]
    mention = incident.ladder[max(level, 1) - 1].slack
    return {"email": [address for rung in paged for address in rung.email], "slack": [mention] if mention else []}


def before(watch: Watch) -> Split:
    """The split that the watched deploy made: what a rollback moves away from."""
    return watch.rollback.before if watch.rollback and watch.rollback.before.shares else watch.split


def dedup_key(watch: Watch, level: int = 1) -> str:
    """One PagerDuty incident a watch and level: the same key for every retry and follow-up (DESIGN section 6)."""
    service = watch.deploy.service
    return f"watchdog/{service.region}/{service.name}/{watch.id}/{level}"


def status(watch: Watch) -> str:
    """One line that describes the watch now."""
    where = f"{watch.deploy.service.name} in {watch.deploy.service.region}"
    trouble = _trouble(watch)
    if watch.open and trouble:
        over = watch.incident is not None and not watch.incident.open
        return f"{where}: {trouble}" + ("; the incident is over" if over else "")
    if watch.open and watch.on_trial is not None:
        return f"{where}: on trial, {watch.split}"
    if watch.outcome is not None and not watch.open:
        return f"{where}: {watch.outcome.value.replace('_', ' ')} – {watch.revision}"
    window = watch.window
    phase = f", {window.value.replace('_', ' ')} window" if window else ""
    return f"{where}: {watch.state.value.replace('_', ' ')} {watch.revision}{phase}"


def _trouble(watch: Watch) -> str:
    """A rollback that is not what it should be, which a state cannot tell."""
    rollback, held = watch.rollback, watch.hold
    if rollback is not None and rollback.stage == "failed":
        return f"ROLLBACK FAILED, {_serving(watch)}"
    if rollback is not None and rollback.stage == "observed":
        return f"would have rolled back (nothing is written), {_serving(watch)}"
    if rollback is not None and rollback.said:
        if rollback.restored_at is None:
            return f"rollback to {rollback.after} written, NOT ROUTED, {_serving(watch)}"
        return f"rolled back to {rollback.after}, which DID NOT HELP"
    if held is not None and held.kind in {"refused", "retry"}:
        return f"ROLLBACK REFUSED, {_serving(watch)}"
    return ""


def _serving(watch: Watch) -> str:
    percent = watch.split.percent_of(watch.revision)
    return f"{watch.revision} still has {percent} % of the traffic" if percent else f"Cloud Run serves {watch.split}"


def by_hand(watch: Watch, split: Split | None = None) -> str:
    """The command that does the rollback without us, or moves traffic to a split, ready to be pasted."""
    service = watch.deploy.service
    wanted = split if split is not None else watch.target.split
    goal = ",".join(f"{r}={p}" for r, p in wanted.percents().items()) or "REVISION=100"
    return (
        f"`gcloud run services update-traffic {service.name} --project {service.project} --region {service.region} "
        f"--to-revisions {goal}`"
    )


def why_unwritten(watch: Watch) -> str:
    """Why a rollback of this watch is only said."""
    if watch.known_bad:
        return f"{watch.revision} was rolled back before and serves again; the watchdog does not fight whoever did it"
    return "this policy only observes (mode: observe)"


def place(watch: Watch) -> str:
    """The service as sentences name it."""
    return f"{watch.deploy.service.name} ({watch.deploy.service.region})"


def unpin(watch: Watch) -> str:
    """What a rollback leaves behind, and how to end it."""
    name = watch.deploy.service.name
    return (
        f"Traffic is pinned: later deploys of {name} get 0 % until you run `watchdog release {name} --on-next` "
        f"(or `watchdog release {name}` once a good revision is ready)."
    )


def opens(incident: Incident | None) -> bool:
    """Whether the next trigger opens the incident rather than following it up."""
    return incident is None


def faulty(watch: Watch, what: str) -> Body:
    """The watchdog itself is at fault: an event could not be judged."""
    return body(
        watch,
        "note",
        severity="critical",
        title=f"Watchdog fault while watching {place(watch)}",
        happened=f"An event could not be judged ({what}); it was left out and the watch goes on.",
        did="Nothing was moved because of it.",
        over="Unknown.",
        todo="Keep an eye on the service yourself and report the log line event_not_folded.",
        incident="trigger",
    )
