"""The trial rollback: a share of the traffic goes back first, and counts say whether going back helps.

Both revisions then serve the same users in the same seconds, so what both suffer tells nothing against the release, and
old code that cannot serve any more is found out on a fifth of the users. The statistics are `two_arms`'.
"""

from dataclasses import replace
from math import inf

from watchdog.core import messages, migration, noise, two_arms
from watchdog.core.acts import Hold, Rollback, Trial, Trigger
from watchdog.core.catalogue import Family
from watchdog.core.commands import Restore
from watchdog.core.decide import Step
from watchdog.core.events import Opened, TrafficSeen, Written
from watchdog.core.model import Counts, Outcome, Sample, Split, State
from watchdog.core.state import Watch
from watchdog.core.text import clock, share, span
from watchdog.core.triable import feed
from watchdog.core.two_arms import Block, Finding, Known, Served

LONGEST_S = 60.0
"""A trial that proves nothing in this time is completed."""
PATIENCE_S = 60.0
"""So long Cloud Run may take to serve the split that was written."""
SETTLE_S = 5.0
COLD_S = 20.0
"""Failures of the target count against it no sooner than this after it got traffic: SETTLE_S when it has just answered
its probes, COLD_S when it may be starting."""
FOUND = "a trial rollback was found under way"


# --- it begins ----------------------------------------------------------------------------------------------------


def begun(step: Step, event: Written) -> None:
    """The first write has landed."""
    watch = step.watch
    rollback = watch.rollback
    if rollback is None or rollback.stage != "writing" or rollback.step != "trial":
        return
    _start(watch, rollback, at=event.at, before=event.before, after=event.after)
    trial = watch.trial
    assert trial is not None  # noqa: S101 - just made
    moved = trial.before.percent_of(watch.revision) - trial.after.percent_of(watch.revision)
    note = f" {event.reason}" if event.reason else ""
    step.note(
        "trial",
        f"Trial: {moved} % of the traffic went from {watch.revision} to {', '.join(trial.targets)}, "
        f"to see whether going back helps.{note}",
    )
    step.announce("trial_begun", split=event.after.percents(), criterion=rollback.trigger.criterion)
    if rollback.hurry is not None:
        complete(step, "cut_short", f"{rollback.hurry.criterion} waits for no trial")


def _start(watch: Watch, rollback: Rollback, *, at: float, before: Split, after: Split) -> None:
    had = before.percents()
    source, check = (None if rollback.trigger.rule is None else feed(watch, rollback.trigger.rule)) or ("", "")
    watch.trial = Trial(
        trigger=rollback.trigger,
        written_at=at,
        before=before,
        after=after,
        targets=tuple(r for r, p in after.percents().items() if p > had.get(r, 0)),
        source=source,
        check=check,
        limit=0.0 if rollback.trigger.rule is None else watch.rules.rules[rollback.trigger.rule].p0,
    )
    watch.rollback = replace(rollback, stage="trial", before=before, hurry=None)
    watch.state = State.ROLLING_BACK


def found(step: Step, event: Opened) -> None:
    """A trial is under way on the service that this watch knows nothing of: go on with it."""
    watch, mark = step.watch, event.trial
    if mark is None:
        return
    able = [i for i in watch.rules.rollback if feed(watch, i) is not None]
    errors = [i for i in able if watch.rules.rules[i].family is Family.ERRORS]
    rule = next(iter(errors or able), None)
    trigger = Trigger(
        criterion=watch.rules.rules[rule].label if rule is not None else "trial",
        sentence=f"{FOUND}, begun at {clock(mark.at)} by a watchdog that was lost with its store",
        rule=rule,
        at=mark.at,
    )
    rollback = Rollback(trigger=trigger, decided_at=mark.at, step="trial", before=mark.before)
    _start(watch, rollback, at=mark.at, before=mark.before, after=mark.after)
    step.open_incident(f"Rolling back {messages.place(watch)}: {trigger.criterion}", criterion=trigger.criterion)
    step.note("trial", f"{FOUND[:1].upper()}{FOUND[1:]} ({mark.after}); going on with it.")
    step.announce("trial_begun", split=mark.after.percents(), criterion=trigger.criterion)
    if rule is None:
        complete(step, Finding.UNDECIDED, "no feed is prompt enough to judge it")
    elif event.split.same_traffic(mark.after):
        _routed(step)


# --- evidence -----------------------------------------------------------------------------------------------------


def sampled(step: Step, sample: Sample) -> None:
    """Counts of either arm, while both serve."""
    watch = step.watch
    trial, evidence = watch.on_trial, sample.evidence
    if trial is None or (sample.source, sample.check) != (trial.source, trial.check):
        return
    if not isinstance(evidence, Counts) or sample.start < trial.written_at:
        return
    arm = Served(min(evidence.bad, evidence.total), evidence.total, evidence.kinds, noise.addresses(evidence))
    if sample.revision == watch.revision:
        trial = replace(trial, watched={**trial.watched, (sample.start, sample.end): arm})
    elif sample.revision in trial.targets:
        trial = replace(trial, target={**trial.target, (sample.start, sample.end, sample.revision): arm})
    else:
        return
    watch.trial = trial
    _judge(step, trial)


def blocks(trial: Trial) -> tuple[Block, ...]:
    """The seconds in which every arm was counted, in order, without a caller who fails on both."""
    left_out = noise.on_trial(trial, trial.limit)
    grace = SETTLE_S if trial.trigger.warm else COLD_S
    fair = inf if trial.routed_at is None else trial.routed_at + grace
    found = []
    for (start, end), watched in sorted(trial.watched.items()):
        arms = [trial.target.get((start, end, r)) for r in trial.targets]
        if any(a is None for a in arms):
            continue
        target = Served()
        for arm in arms:
            target = target.plus(noise.without(arm or Served(), left_out))
        found.append(Block(end, noise.without(watched, left_out), target, settled=start >= fair))
    return tuple(found)


def arms(trial: Trial) -> tuple[Served, Served]:
    """What was counted of both in the seconds that were compared: the watched revision, the target."""
    watched, target = Served(), Served()
    for block in blocks(trial):
        watched, target = watched.plus(block.watched), target.plus(block.target)
    return watched, target


def _judge(step: Step, trial: Trial) -> None:
    watch = step.watch
    rule = watch.rules.rules[trial.trigger.rule] if trial.trigger.rule is not None else None
    if rule is None:
        return
    share_before = trial.trigger.bad_share if trial.trigger.bad_share is not None else min(0.5, 5.0 * rule.p0)
    finding, _ = two_arms.weigh(blocks(trial), Known(share=share_before, limit=rule.p0, burstiness=rule.burstiness))
    if finding is Finding.HELPS:
        complete(step, finding, "going back helps")
    elif finding is not Finding.UNDECIDED:
        _refuse(step, finding)


def counted(watch: Watch, trial: Trial) -> str:
    """Both arms' counts as a person reads them."""
    watched, target = arms(trial)
    if not watched.total and not target.total:
        return "nothing was counted on both"
    return f"{watch.revision} {_said(watched)}, {', '.join(trial.targets)} {_said(target)} in the same seconds"


def _said(arm: Served) -> str:
    if not arm.total:
        return "answered no request"
    kinds = ", ".join(f"{n:g} × {k}" for k, n in sorted(arm.kinds, key=lambda x: (-x[1], x[0]))[:3])
    return f"failed {arm.bad:g} of {arm.total:g} ({share(arm.bad / arm.total)}{f': {kinds}' if kinds else ''})"


# --- it ends ------------------------------------------------------------------------------------------------------


def complete(step: Step, verdict: str, why: str) -> None:
    """The second write: the rest goes back, too."""
    watch = step.watch
    rollback, trial = watch.rollback, watch.trial
    if rollback is None or trial is None or rollback.stage != "trial":
        return
    sentence = f"Trial after {span(watch.at - trial.written_at)}: {why} ({counted(watch, trial)}); all of it goes back."
    watch.trial = replace(trial, verdict=str(verdict), decided_at=watch.at, reason=sentence)
    watch.rollback = replace(rollback, stage="writing", step="whole")
    step.note("trial", sentence)
    step.announce("trial_decided", verdict=str(verdict), reason=sentence)
    step.commands.append(Restore(reason=sentence))


def hurry(step: Step, trigger: Trigger) -> bool:
    """A failing health check, a signal or a person: no waiting for counts. False when no trial is under way."""
    watch = step.watch
    rollback = watch.rollback
    if rollback is None or trigger.rule is not None:
        return False
    if rollback.stage == "trial":
        step.note("proof", f"{trigger.sentence}.")
        complete(step, "cut_short", f"{trigger.criterion} waits for no trial")
        return True
    if rollback.stage == "writing" and rollback.step == "trial":
        step.note("proof", f"{trigger.sentence}.")
        watch.rollback = replace(rollback, hurry=trigger)
        return True
    return False


def stop(step: Step, who: str, said: str) -> bool:
    """A person holds the rollback while it is on trial: the share is put back. False when it is not on trial."""
    watch = step.watch
    if watch.on_trial is None:
        return False
    _put_back(step, "held", f"{who} holds it{said}")
    return True


def _refuse(step: Step, finding: Finding) -> None:
    why = "a rollback would not help" if finding is Finding.AS_SICK else "the old code cannot serve: migration?"
    _put_back(step, finding, why)


def _put_back(step: Step, verdict: str, why: str) -> None:
    watch = step.watch
    rollback, trial = watch.rollback, watch.trial
    if rollback is None or trial is None:
        return
    sentence = f"Trial after {span(watch.at - trial.written_at)}: {why} ({counted(watch, trial)})"
    watch.trial = replace(trial, verdict=str(verdict), decided_at=watch.at, reason=f"{sentence}.")
    watch.rollback = replace(rollback, stage="writing", step="back")
    step.note("trial", f"{sentence}; putting it back.")
    step.announce("trial_decided", verdict=str(verdict), reason=sentence)
    step.commands.append(Restore(reason=sentence))


def of_rollback(watch: Watch) -> Trial | None:
    """The trial that the present rollback began with."""
    trial, rollback = watch.trial, watch.rollback
    return trial if trial is not None and rollback is not None and trial.written_at >= rollback.decided_at else None


def evidence(watch: Watch) -> list[tuple[str, str]]:
    """What the rollback's trial showed, for a message; nothing where there was none."""
    trial = of_rollback(watch)
    return [("trial", trial.reason)] if trial is not None and trial.reason else []


def cannot_finish(step: Step, reason: str) -> bool:
    """The whole must not be written after the trial was: the target dropped out meanwhile. False without a trial."""
    rollback = step.watch.rollback
    if rollback is None or rollback.step != "whole" or of_rollback(step.watch) is None:
        return False
    _put_back(step, "refused", reason)
    return True


def put_back(step: Step, event: Written) -> None:
    """The share is where it was: hold, and page."""
    watch = step.watch
    rollback, trial = watch.rollback, watch.trial
    if rollback is None or trial is None:
        return
    watch.trial = replace(trial, put_back_at=event.at)
    watch.rollback = None
    as_it_was = event.after.same_traffic(trial.before)
    watch.split = event.after
    watch.returning = watch.trial if as_it_was else None
    did = f"Traffic is on {event.after} again." if as_it_was else f"Somebody moved traffic meanwhile: {event.after}."
    step.note("put_back", f"{did} {event.reason}".strip())
    step.announce("trial_put_back", split=event.after.percents(), verdict=trial.verdict)
    _hold(step, watch.trial, did)


def _hold(step: Step, trial: Trial, did: str) -> None:
    watch = step.watch
    target = ", ".join(trial.targets)
    why = (trial.reason[:1].lower() + trial.reason[1:]).rstrip(".")
    anyway = f"`watchdog rollback {watch.id} --reason …` goes back all the same."
    kind, reason, todo = {
        Finding.AS_SICK: (
            "trial",
            f"a trial has shown that a rollback would not help: {counted(watch, trial)}",
            f"Look for a cause that both share (dependency, database, network). {anyway}",
        ),
        Finding.SICK_OTHERWISE: (
            "migration",
            f"a trial has shown that the old code cannot serve: {counted(watch, trial)}",
            f"A migration of this deploy may keep {target} from working: fix forward, or undo it first. "
            f"{migration.hint(watch)} {anyway}".lstrip(),
        ),
        "refused": ("refused", why, "Move traffic by hand, or deploy a good revision."),
    }.get(trial.verdict, ("person", why, f"`watchdog resume {watch.id}` lets it act again."))
    title = {
        "trial": "Rollback would not help",
        "migration": "Old code cannot serve: migration?",
        "refused": "Rollback refused",
        "person": "Held, not rolled back",
    }[kind]
    sentence = f"Not rolling back {messages.place(watch)}: {trial.trigger.sentence}, but {reason}."
    step.note("held", sentence)
    step.announce("held", criterion=trial.trigger.criterion, reason=sentence, kind=kind)
    watch.hold = Hold(reason=reason, since=watch.at, trigger=trial.trigger, kind=kind)
    watch.state = State.HELD
    if kind == "refused":
        watch.outcome, watch.reason = Outcome.FAILED, sentence
    title = f"{title}: {messages.place(watch)}"
    step.open_incident(title, criterion=trial.trigger.criterion)
    step.notify(
        messages.body(
            watch,
            "held",
            severity="critical",
            title=title,
            happened=sentence,
            did=did,
            over="No.",
            todo=todo,
            evidence=[("proof", trial.trigger.sentence), ("trial", trial.reason)],
            after=watch.split,
            incident="trigger",
            broadcast=True,
        )
    )


# --- traffic and time ---------------------------------------------------------------------------------------------


def traffic(step: Step, event: TrafficSeen) -> None:
    """Traffic as it is seen while the trial runs, the watched revision still in it."""
    watch = step.watch
    trial = watch.on_trial
    if trial is None:
        return
    if event.split.same_traffic(trial.after):
        if trial.routed_at is None and event.settled:
            _routed(step)
        return
    if trial.routed_at is None and event.split.same_traffic(trial.before):
        return  # not routed yet
    gained = [r for r in trial.targets if event.split.percent_of(r) > trial.before.percent_of(r)]
    if gained:
        if trial.routed_at is None:
            _routed(step)
        return  # somebody changed the shares; both still serve the same users, so both can be compared
    sentence = f"Somebody moved traffic during the trial, which is not fought: Cloud Run serves {event.split}."
    watch.trial = replace(trial, verdict="undone", decided_at=watch.at, reason=sentence)
    watch.rollback = None
    step.announce("trial_decided", verdict="undone", reason=sentence)
    _hold(step, watch.trial, "Nothing: traffic stays as it is now.")


def _routed(step: Step) -> None:
    watch = step.watch
    if watch.trial is not None:
        watch.trial = replace(watch.trial, routed_at=watch.at)


def returned(watch: Watch, event: TrafficSeen) -> bool:
    """Whether the event only shows how a trial that was put back goes away: no promotion by anybody."""
    back = watch.returning
    if back is None:
        return False
    patient = watch.at < (back.put_back_at or watch.at) + PATIENCE_S
    if event.split.same_traffic(back.after) and patient:
        return True
    watch.returning = None
    return False


def due(watch: Watch) -> float:
    """When the trial is completed although nothing was proven; `inf` without one."""
    trial = watch.on_trial
    if trial is None:
        return inf
    if trial.routed_at is None:
        return trial.written_at + PATIENCE_S
    return trial.routed_at + LONGEST_S


def fire(step: Step) -> None:
    """The trial's time is over."""
    watch = step.watch
    if watch.on_trial is not None and watch.at >= due(watch):
        complete(step, Finding.UNDECIDED, f"nothing was proven in {span(LONGEST_S)}")
