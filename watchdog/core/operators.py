"""What people may do to a watch: roll back, acknowledge, hold, pause, resume, extend, finish, sign off."""

from collections.abc import Callable
from dataclasses import replace
from math import inf

from watchdog.core import database, decide, escalation, incidents, messages, scaling, signoffs, trial
from watchdog.core.acts import Hold, Trigger
from watchdog.core.decide import Step
from watchdog.core.events import Operated
from watchdog.core.model import State
from watchdog.core.text import span, when

SKEW_S = 60.0
"""Clocks elsewhere may differ by this."""
UNDONE = frozenset({"observed", "failed"})
"""Rollbacks that moved no traffic: a person may ask for one all the same."""


def operate(step: Step, event: Operated) -> None:
    """Carry out a person's word and record who said it."""
    who = event.by or "somebody"
    said = f": {event.reason}" if event.reason else ""
    step.announce("operator", verb=event.verb, by=event.by, reason=event.reason)
    if (on_incident := _ON_INCIDENT.get(event.verb)) is not None:
        if not _came_late(step, event, who):
            on_incident(step, event, who, said)
        return
    match event.verb:
        case "rollback":
            _rollback(step, event, who, said)
        case "hold":
            _hold(step, who, said)
        case "pause":
            step.watch.paused = True
            if step.watch.state in {State.WATCHING, State.CONFIRMING}:
                step.watch.state = State.PAUSED
            step.note("paused", f"Paused by {who}{said}: evidence goes on, nothing is written.")
        case "resume":
            _resume(step, who, said)
        case "extend" if step.watch.ends_at == inf:
            step.note("ignored", f"{who} asked to extend it{said}; it has no end before its first traffic.")
        case "extend":
            step.watch.ends_at += event.for_s
            step.watch.ended_early = True
            step.note(
                "extended",
                f"Extended by {span(event.for_s)} by {who}{said}; ends at {when(step.watch.ends_at, step.watch.at)}.",
            )
        case "finish":
            step.watch.ends_at = min(step.watch.ends_at, step.watch.at)
            step.note("finished", f"Finished by {who}{said}: judged on what was seen.")
        case "signoff":
            _signoff(step, event, who, said)
        case _:
            step.note("ignored", f"{who} asked for {event.verb}, which this version does not know.")


def _signoff(step: Step, event: Operated, who: str, said: str) -> None:
    """An answer to a question, or the approval of what waits for one."""
    if not scaling.approved(step, event.name, who, said) and not database.approved(step, event.name, who, said):
        signoffs.sign(step, event.name, who, event.reason)
        step.note("signoff", f"{event.name or 'Signed off'} by {who}{said}.")


def _came_late(step: Step, event: Operated, who: str) -> bool:
    """Whether something newer was said of the incident elsewhere: webhooks overtake each other."""
    incident = step.watch.incident
    if incident is None or not event.said_at:
        return False
    if event.said_at < max(incident.said_at, incident.opened_at - SKEW_S):
        step.note("ignored", f"{who} said {event.verb}, but something newer was said before that arrived.")
        return True
    step.watch.incident = replace(incident, said_at=event.said_at)
    return False


def _rollback(step: Step, event: Operated, who: str, said: str) -> None:
    watch = step.watch
    if trial.hurry(step, Trigger(criterion="operator", sentence=f"{who} asked for it{said}", at=watch.at)):
        return
    if watch.rollback is not None and (watch.rollback.stage not in UNDONE or watch.rollback.written_at is not None):
        step.note("ignored", f"{who} asked for a rollback{said}; this watch has had its one already.")
        return
    if watch.cutover_at is None or not watch.target.split.shares:
        step.note("ignored", f"{who} asked for a rollback{said}; there is nothing to go back to.")
        return
    proven = watch.pending_trigger or (watch.hold.trigger if watch.hold else None)
    sentence = f"{who} asked for it{said}"
    if proven is not None:
        sentence += f" ({proven.sentence})"
    trigger = Trigger(
        criterion="operator" if proven is None else proven.criterion,
        sentence=sentence,
        rule=proven.rule if proven else None,
        at=watch.at,
        bad_share=proven.bad_share if proven else None,
    )
    watch.rollback = None
    watch.outcome, watch.reason = None, ""
    decide.begin(step, trigger, by=event.by or "a person")


def _acknowledge(step: Step, _event: Operated, who: str, _said: str) -> None:
    watch = step.watch
    incident = watch.incident
    if incident is None or not incident.open or incident.acknowledged_at is not None:
        step.note("ignored", f"{who} acknowledged, but no incident is open without an acknowledgement.")
        return
    watch.incident = escalation.acknowledged(incident, watch.at, who)
    step.note("acknowledged", f"Acknowledged by {who}.")
    step.announce("acknowledged", by=who, seconds=round(watch.at - incident.opened_at, 3))
    step.notify(
        messages.body(
            watch,
            "note",
            severity="info",
            title=f"Acknowledged: {messages.place(watch)}",
            happened=f"{who} acknowledged: {incident.title}.",
            did="The escalation stops here; they are reminded until it is resolved.",
            over="No.",
            todo=f"Nothing, unless you are {who}.",
            incident="acknowledge",
        )
    )


def _give_back(step: Step, _event: Operated, who: str, _said: str) -> None:
    """An acknowledgement is taken back: the ladder goes on."""
    watch = step.watch
    incident = watch.incident
    if incident is None or not incident.open or incident.acknowledged_at is None:
        step.note("ignored", f"{who} took back an acknowledgement, but there is none.")
        return
    watch.incident = escalation.unacknowledged(incident, watch.at)
    _say(step, "unacknowledged", f"{who} took the acknowledgement back: {incident.title}.")


def _assigned(step: Step, event: Operated, who: str, _said: str) -> None:
    """It is somebody else's now."""
    if step.watch.incident is None or not step.watch.incident.open:
        step.note("ignored", f"{who} reassigned, but no incident is open.")
        return
    _say(step, "assigned", f"{who} passed it on to {event.name or 'somebody else'}: {step.watch.incident.title}.")


def _resolve(step: Step, _event: Operated, who: str, said: str) -> None:
    incidents.resolve(step, who, said)


_ON_INCIDENT: dict[str, Callable[[Step, Operated, str, str], None]] = {
    "ack": _acknowledge,
    "unack": _give_back,
    "assign": _assigned,
    "resolve": _resolve,
}


def _say(step: Step, kind: str, sentence: str) -> None:
    watch = step.watch
    step.note(kind, sentence)
    step.announce(kind, reason=sentence)
    step.notify(
        messages.body(
            watch,
            "note",
            severity="info",
            title=f"{kind.capitalize()}: {messages.place(watch)}",
            happened=sentence,
            did="Noted.",
            over="No.",
            todo="See to it if it is yours.",
        )
    )


def _hold(step: Step, who: str, said: str) -> None:
    watch = step.watch
    if trial.stop(step, who, said):
        return
    if watch.rollback is not None and watch.rollback.stage != "observed":
        step.note("ignored", f"{who} asked to hold{said}; the rollback has begun already.")
        return
    trigger = watch.pending_trigger or (watch.hold.trigger if watch.hold else None)
    trigger = trigger or Trigger(criterion="operator", sentence=f"held by {who}", at=watch.at)
    watch.hold = Hold(reason=f"{who} holds it{said}", since=watch.at, trigger=trigger, kind="person")
    watch.pending_trigger, watch.approve_until, watch.warming, watch.versus = None, None, None, None
    watch.state = State.HELD
    step.note("held", f"Held by {who}{said}: no automatic rollback until `watchdog resume {watch.id}`.")


def _resume(step: Step, who: str, said: str) -> None:
    """Let it act again. What was proven meanwhile is verified again before anything is written."""
    watch = step.watch
    watch.paused = False
    if watch.approve_until is not None:
        step.note("resumed", f"Resumed by {who}{said}; it still waits for an approval.")
        return
    waiting = watch.pending_trigger
    if watch.hold is not None and watch.hold.kind == "person":
        waiting = waiting or watch.hold.trigger
        watch.hold = None
    watch.pending_trigger = None
    if watch.state in {State.PAUSED, State.HELD} and watch.hold is None:
        watch.state = State.CONFIRMING if watch.confirmations else State.WATCHING
    step.note("resumed", f"Resumed by {who}{said}.")
    if waiting is not None and watch.hold is None and watch.proves(waiting):
        decide.consider(step, waiting)
