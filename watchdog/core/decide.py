"""Proof into action: whether a proven trigger rolls back now, waits, asks or is refused, and the sentence why."""

from dataclasses import dataclass, field, replace
from math import inf

from watchdog.core import doubt, messages, migration, schema, triable
from watchdog.core.acts import Decision, Entry, Hold, Incident, Rollback, Trigger
from watchdog.core.commands import Announce, Command, Notify, Restore, RunJob
from watchdog.core.messages import Body
from watchdog.core.model import Action, Outcome, State, Window
from watchdog.core.state import Watch
from watchdog.core.text import span, when

TIMELINE = 200
"""Lines of the timeline that a watch keeps."""
DECISIONS = 50
RETRY_S = 60.0
"""A refused rollback is not decided again sooner than this."""
FIRM = frozenset({"person", "retry", "refused", "migration", migration.HOLD})
"""Holds that no probe's answer may end or replace."""
NO_HELP = frozenset({"shared", "edge", "capacity", "trial", "migration"})
"""Holds because a rollback would not help."""
UNANSWERED = "nobody approved it in time"
"""Why a rollback that a person was asked about is refused."""
SIGNAL = "signal:"
"""Begins the criterion of a signal, which stays true until somebody acts on it."""
_GRAVITY = ("info", "warning", "error", "critical")
ASK_S = 120.0
"""How long sickness that both revisions share is asked about before the last change is undone (DESIGN 4, rule 3)."""


@dataclass(slots=True)
class Step:
    """One call of `advance`: the draft it works on and what it asks for."""

    watch: Watch
    now: float = -inf
    """When the event happened that is folded in: later than `watch.at` while deadlines before it are fired."""
    commands: list[Command] = field(default_factory=list)

    def announce(self, event: str, **fields: object) -> None:
        """Tell followers."""
        self.commands.append(Announce(event=event, at=self.watch.at, fields={"watch": self.watch.id, **fields}))

    def note(self, kind: str, text: str) -> None:
        """Add a line to the timeline."""
        entry = Entry(self.watch.at, kind, text)
        self.watch.timeline = (*self.watch.timeline[-TIMELINE + 1 :], entry)

    def notify(self, message: Body) -> None:
        """Send a message."""
        watch = self.watch
        watch.messages += 1
        note = message["incident"]
        if note is not None and note["action"] == "trigger" and watch.incident is not None and not message["level"]:
            proof = next((value for name, value in message["evidence"] if name == "proof"), message["happened"])
            watch.incident = replace(watch.incident, proof=proof, todo=message["todo"])
        kind = message["kind"]
        self.commands.append(Notify(key=f"{self.watch.id}:{self.watch.messages}:{kind}", kind=kind, body=message))

    def decide(self, action: Action, criterion: str, reason: str) -> None:
        """Record a decision and announce it."""
        watch = self.watch
        decision = Decision(at=watch.at, action=action, criterion=criterion, reason=reason)
        watch.decisions = (*watch.decisions[-DECISIONS + 1 :], decision)
        window = watch.window
        self.note("decision", reason)
        self.announce(
            "decision",
            action=action.value,
            criterion=criterion,
            reason=reason,
            window=window.value if window else None,
        )

    def open_incident(self, title: str, severity: str = "critical", *, criterion: str = "") -> None:
        """Open the watch's incident, or raise the one that is open already."""
        watch = self.watch
        incident = watch.incident
        if incident is None or not incident.open:
            escalation = watch.rules.policy.escalation
            watch.incident = Incident(
                key=messages.dedup_key(watch),
                opened_at=watch.at,
                title=title,
                severity=severity,
                criterion=criterion,
                ladder=escalation.ladder if escalation.by == "watchdog" else (),
                climbs_from=watch.at,
                paged_at=watch.at,
                repeat_every_s=escalation.repeat_every_s,
                remind_every_s=escalation.remind_every_s,
            )
            return
        graver = _GRAVITY.index(severity) > _GRAVITY.index(incident.severity)
        watch.incident = replace(
            incident,
            title=title,
            severity=severity if graver else incident.severity,
            criterion=criterion or incident.criterion,
            calm_since=None,
        )
        if graver and incident.acknowledged_at is not None:  # they said yes to something lesser
            watch.incident = replace(
                watch.incident, acknowledged_at=None, acknowledged_by="", remind_at=inf, climbs_from=watch.at, level=1
            )

    def resolve_incident(self, by: str = "") -> str | None:
        """Mark the incident as resolved; returns the action for the message, None when none is open."""
        incident = self.watch.incident
        if incident is None or not incident.open:
            return None
        self.watch.incident = replace(incident, resolved_at=self.watch.at, resolved_by=by)
        return "resolve"


def consider(step: Step, trigger: Trigger) -> None:
    """Act on a proven trigger, unless this watch has had its rollback or something says wait."""
    watch = step.watch
    if watch.rollback is not None or not watch.open or watch.cutover_at is None:
        return
    if watch.hold is not None and watch.hold.kind in FIRM:
        if trigger.criterion.startswith(SIGNAL):
            _wait(step, trigger, watch.hold.reason)
        return
    if watch.paused:
        _wait(step, trigger, "the watch is paused, so nothing is written")
        return
    if not watch.deploy.rollback_safe:
        refuse(
            step,
            trigger,
            f"{watch.revision} is marked as not safe to roll back (rollback_safe: false)",
            "Decide by hand: the old code may not work with what this deploy changed (schema, data). If it does: "
            f"{messages.by_hand(watch)}.",
        )
        return
    if not migration.undone(watch) and (differs := other_schema(watch)) is not None:
        if migration.runs_by_itself(watch):
            undo_migration(step, trigger, differs[0])
        else:
            refuse(step, trigger, differs[0], f"{differs[1]} {migration.hint(watch)}".strip())
        return
    if not watch.target.split.shares:
        refuse(
            step,
            trigger,
            "no revision is known that served before this deploy",
            f"Deploy a good revision, or move traffic to one by hand: {messages.by_hand(watch)}.",
        )
        return
    if doubt.mode(watch) == "approve":
        ask(step, trigger)
        return
    begin(step, trigger)


def other_schema(watch: Watch) -> tuple[str, str] | None:
    """Why the target's code must not meet the present schema, and what to do; None where the labels say the same, or
    one of the revisions declares none (which was said at the opening)."""
    label, targets = watch.rules.policy.rollback.schema_label, watch.target.split.revisions
    why = schema.differs(label, watch.schemas, watch.revision, targets)
    if not why:
        return None
    return why, (
        "Old code would meet a database that it does not know. Mend it forward; or undo the migration first, then "
        f"`watchdog rollback {watch.id} --reason …` (docs/runbook.md, Schema)."
    )


def undo_migration(step: Step, trigger: Trigger, why: str) -> None:
    """Let the policy's job undo the migration first; the rollback goes on when it has succeeded (`core.database`)."""
    watch = step.watch
    run = watch.job = migration.asked(watch)
    step.commands.append(RunJob())
    watch.hold = None
    reason = f"{why}; the job {run.job} undoes the migration first"
    todo = f"Wait for it: traffic follows when it has succeeded. `watchdog hold {watch.id}` keeps traffic where it is."
    hold(step, trigger, kind=migration.HOLD, reason=reason, todo=todo)


def begin(step: Step, trigger: Trigger, *, by: str = "") -> None:
    """Decide the rollback and ask the engine to write it. It is paged when nothing speaks against it any more
    (`recovery.writing`): a budget or a preflight that says no is then the only page."""
    watch = step.watch
    observe = watch.rules.policy.rollback.mode == "observe" and not by
    goal = str(watch.target.split)
    verb = "Would roll back" if observe else "Rolling back"
    window = watch.window
    during = f" in the {window.value.replace('_', ' ')} window" if window else ""
    who = f" on the word of {by}" if by else ""
    reason = f"{verb} {messages.place(watch)} from {watch.revision} to {goal}{who}: {trigger.sentence}{during}."
    tried = not by and triable.wanted(watch, trigger)
    watch.rollback = Rollback(
        trigger=trigger,
        decided_at=watch.at,
        step="trial" if tried else "whole",
        before=watch.split,
        by=by,
        despite=despite(watch, trigger),
    )
    watch.hold = None
    watch.warming = watch.versus = None
    watch.pending_trigger = None
    watch.approve_until = None
    watch.state = State.ROLLING_BACK
    step.decide(Action.ROLLBACK, trigger.criterion, reason)
    step.commands.append(Restore(reason=reason))


def despite(watch: Watch, trigger: Trigger) -> str:
    """Which hold says, as far as anybody knows, that a rollback for this would not help: its kind, mostly empty.

    A hold of a probe whose control passes again still stands when the rollback begins: it says nothing any more."""
    held = watch.hold
    if trigger.probe is not None:
        as_sick = any(time.probe == trigger.probe and time.until == inf for time in watch.shared)
        return "shared" if as_sick else ""
    same = held is not None and held.trigger.criterion == trigger.criterion
    return held.kind if held is not None and same and held.kind in NO_HELP else ""


def hold(step: Step, trigger: Trigger, *, kind: str, reason: str, todo: str, until: float | None = None) -> None:
    """Keep a proven rollback back, and page."""
    watch = step.watch
    held = watch.hold
    if held is not None and (held.kind in FIRM or held.kind == kind or until is None):
        return  # one hold at a time, so that two causes do not page in turns; one with an end replaces one without
    watch.hold = Hold(reason=reason, since=watch.at, trigger=trigger, until=until, kind=kind)
    watch.state = State.HELD
    sentence = f"Not rolling back {messages.place(watch)}: {trigger.sentence}, but {reason}."
    step.note("held", sentence)
    step.announce("held", criterion=trigger.criterion, reason=sentence, kind=kind)
    title = f"Held, not rolled back: {messages.place(watch)}: {trigger.criterion}"
    step.open_incident(title, criterion=trigger.criterion)
    later = f" Asked again every second until {when(until, watch.at)}, then rolled back." if until else ""
    step.notify(
        messages.body(
            watch,
            "held",
            severity="critical",
            title=title,
            happened=sentence,
            did=f"Traffic stays as it is.{later}",
            over="No.",
            todo=todo,
            evidence=[("proof", trigger.sentence), ("hold", reason)],
            incident="trigger",
            broadcast=True,
        )
    )


def shared(step: Step, trigger: Trigger, how: str, *, inherited: bool) -> None:
    """Both revisions are sick: hold, ask, or ask for a while and then undo the last change, as the policy says."""
    watch = step.watch
    reason = f"{watch.target.revision} {how} too, so a rollback would not help"
    if inherited:
        reason += "; it did so before this deploy already"
    policy = watch.rules.policy.shared_cause.get(watch.window or Window.EXTENDED, "hold")
    if policy != "ask_then_rollback" or inherited:
        todo = f"Look for a cause that both share. `watchdog rollback {watch.id} --reason …` overrides this."
        hold(step, trigger, kind="shared", reason=reason, todo=todo)
        return
    if watch.hold is not None and watch.hold.until is not None and watch.at >= watch.hold.until:
        consider(step, trigger)
        return
    todo = f"Say `watchdog hold {watch.id}` if the cause is elsewhere, or `watchdog rollback {watch.id}` now."
    hold(step, trigger, kind="shared", reason=reason, todo=todo, until=watch.at + ASK_S)


def release_hold(step: Step, why: str) -> None:
    """End a hold without a rollback: its cause has cleared."""
    watch = step.watch
    if watch.hold is None:
        return
    sentence = f"No longer held: {why}."
    step.note("released", sentence)
    step.announce("released", criterion=watch.hold.trigger.criterion, reason=sentence)
    if watch.hold.kind == "retry":  # refused once is failed, however it went on (DESIGN 5, how it ends)
        refused = watch.hold
        watch.outcome = Outcome.FAILED
        watch.reason = f"Not rolled back although {refused.trigger.sentence}: {refused.reason}. It cleared by itself."
    watch.hold = None
    watch.state = State.PAUSED if watch.paused else State.WATCHING
    step.notify(
        messages.body(
            watch,
            "recovered",
            severity="info",
            title=f"Recovered without a rollback: {messages.place(watch)}",
            happened=sentence,
            did="Traffic stayed as it was; the watch goes on.",
            over="Yes, for now.",
            todo="Find out what it was.",
            incident=step.resolve_incident(),
        )
    )


def refuse(step: Step, trigger: Trigger, reason: str, todo: str, *, retry_at: float | None = None) -> None:
    """A rollback that is proven but must not or cannot happen: page, keep watching, end `failed`.

    A refusal that ends by itself before the watch does is decided again at `retry_at`.
    """
    watch = step.watch
    if retry_at is not None:
        retry_at = max(retry_at, watch.at + RETRY_S)
    again = retry_at is not None and retry_at < watch.ends_at
    sentence = f"Not rolling back {messages.place(watch)} although {trigger.sentence}: {reason}."
    if watch.rollback is None:
        step.decide(Action.ROLLBACK, trigger.criterion, sentence)
    else:
        step.note("refused", sentence)
    watch.rollback = None
    watch.warming = watch.versus = None
    watch.hold = Hold(
        reason=reason,
        since=watch.at,
        trigger=trigger,
        until=retry_at if again else None,
        kind="retry" if again else "refused",
    )
    watch.state = State.HELD
    if not again:
        watch.outcome, watch.reason = Outcome.FAILED, sentence
    step.announce("rollback_refused", criterion=trigger.criterion, reason=sentence)
    title = f"Rollback refused: {messages.place(watch)}: {trigger.criterion}"
    step.open_incident(title, criterion=trigger.criterion)
    step.notify(
        messages.body(
            watch,
            "rollback_failed",
            severity="critical",
            title=title,
            happened=sentence,
            did="Traffic stays as it is."
            + (f" Decided again at {when(retry_at, watch.at)}." if again and retry_at else ""),
            over="No.",
            todo=todo,
            evidence=[("proof", trigger.sentence), ("refused", reason)],
            incident="trigger",
            broadcast=True,
        )
    )


def ask(step: Step, trigger: Trigger) -> None:
    """Approve mode: a person confirms the rollback; unanswered, it escalates and the watch fails."""
    watch = step.watch
    if watch.state is State.AWAITING_APPROVAL:
        return
    within = watch.rules.policy.rollback.approve_within_s
    watch.pending_trigger = trigger
    watch.approve_until = watch.at + within
    watch.state = State.AWAITING_APPROVAL
    watch.warming = watch.versus = None
    sentence = f"{messages.place(watch)} should go back to {watch.target.split}: {trigger.sentence}."
    step.decide(Action.ROLLBACK, trigger.criterion, f"Asking for approval: {sentence}")
    title = f"Approve the rollback of {messages.place(watch)}: {trigger.criterion}"
    step.open_incident(title, criterion=trigger.criterion)
    step.notify(
        messages.body(
            watch,
            "approval",
            severity="critical",
            title=title,
            happened=sentence,
            did=_asked_why(watch),
            over="No.",
            todo=f"Run `watchdog rollback {watch.id} --reason …` within {span(within)}, or `watchdog hold {watch.id}`.",
            evidence=[("proof", trigger.sentence)],
            incident="trigger",
            broadcast=True,
        )
    )


def _asked_why(watch: Watch) -> str:
    doubted = doubt.sentence(watch)
    if not doubted:
        return "Nothing yet: a person is asked first (mode: approve)."
    return f"Nothing yet. {doubted} Once a preflight passes, it acts by itself."


def _wait(step: Step, trigger: Trigger, why: str) -> None:
    watch = step.watch
    waiting = watch.pending_trigger
    if waiting is not None and (waiting.criterion.startswith(SIGNAL) or not trigger.criterion.startswith(SIGNAL)):
        return
    if watch.hold is not None and watch.hold.kind == "retry":
        watch.hold = replace(watch.hold, trigger=trigger)
    else:
        watch.pending_trigger = trigger
    sentence = f"{messages.place(watch)} should be rolled back ({trigger.sentence}), but {why}."
    step.decide(Action.ROLLBACK, trigger.criterion, sentence)
    title = f"Rollback waits: {messages.place(watch)}: {trigger.criterion}"
    step.open_incident(title, criterion=trigger.criterion)
    step.notify(
        messages.body(
            watch,
            "held",
            severity="critical",
            title=title,
            happened=sentence,
            did="Traffic stays as it is.",
            over="No.",
            todo=f"Run `watchdog resume {watch.id}` to let it act, or `watchdog rollback {watch.id}`.",
            evidence=[("proof", trigger.sentence)],
            incident="trigger",
            broadcast=True,
        )
    )
