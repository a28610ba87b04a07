"""After the write: has routing settled, did it help, and what is said when it did not."""

from dataclasses import replace
from math import inf

from watchdog.core import author, decide, messages, migration, noise, redeploy, scaling, spread, trial
from watchdog.core.acts import Rollback
from watchdog.core.catalogue import Family, check_words
from watchdog.core.decide import Step
from watchdog.core.events import Probed, TrafficSeen, Writing, Written
from watchdog.core.model import Counts, Missing, Outcome, Sample, Split, State, Value
from watchdog.core.series import Series
from watchdog.core.standing import ProbeState
from watchdog.core.state import Watch
from watchdog.core.text import share, span, when
from watchdog.core.track import Point

NO_HELP_AFTER_S = 90.0
"""Routing is asynchronous and caches linger: "did not help" is said no sooner than this after it (DESIGN 5.6)."""
VERIFY_EVERY_S = 1.0
"""How often a probe is sent while recovery is to be proven."""
ROUTING_PATIENCE_S = 60.0
"""A write whose target is not served after this long has failed to route."""


def writing(step: Step, event: Writing) -> None:
    """Nothing speaks against the rollback, and it is being written: now it is paged, once."""
    watch = step.watch
    if watch.rollback is not None and watch.rollback.stage == "writing":
        _page_begun(step, event.after, event.trouble)


def _page_begun(step: Step, after: Split, trouble: str) -> None:
    watch = step.watch
    rollback = watch.rollback
    if rollback is None or rollback.begun:
        return
    watch.rollback = replace(rollback, begun=True)
    goal = after if after.shares else watch.target.split
    trigger = rollback.trigger
    by = f" on the word of {rollback.by}" if rollback.by else ""
    title = f"Rolling back {messages.place(watch)}: {trigger.criterion}"
    if trouble:
        did = f"Trying to move traffic to {goal}; Cloud Run does not take it yet ({trouble}). Tried for about a minute."
        todo = f"If no result follows in two minutes: {messages.by_hand(watch)}."
    elif rollback.step == "trial":
        part, to = share(watch.rules.policy.rollback.trial or 0.0), watch.target.split
        did = f"Moving {part} of its traffic to {to} first, to see within a minute or so whether going back helps."
        todo = "Wait for the result. `watchdog rollback` moves all of it now, `watchdog hold` puts it back."
    else:
        did, todo = f"Moving traffic to {goal} now.", "Wait for the result, which follows within seconds."
    did += spread.follow(watch)
    step.open_incident(title, criterion=trigger.criterion)
    step.notify(
        messages.body(
            watch,
            "decision",
            severity="critical",
            title=title,
            happened=f"{watch.revision} is being rolled back{by}: {trigger.sentence}.",
            did=did,
            over="No.",
            todo=todo,
            evidence=[("proof", trigger.sentence)],
            after=goal,
            incident="trigger",
            broadcast=True,
        )
    )


def written(step: Step, event: Written) -> None:
    """The traffic write ended."""
    watch = step.watch
    rollback = watch.rollback
    if rollback is None:
        return
    match event.result:
        case "trial":
            _page_begun(step, event.after, "")
            trial.begun(step, event)
        case "put_back":
            trial.put_back(step, event)
        case "redeployed":
            redeploy.done(step, event)
        case "done":
            kept = trial.of_rollback(watch) is not None or watch.target.source == redeploy.SOURCE
            before = rollback.before if kept else event.before
            watch.rollback = replace(rollback, stage="settling", written_at=event.at, before=before, after=event.after)
            watch.state = State.VERIFYING
            _page_begun(step, event.after, "")
            step.note("rollback", f"Traffic written: {event.after}. {event.reason}".strip())
            step.announce("traffic_written", split=event.after.percents(), reason=event.reason)
        case "superseded" | "overridden":
            end(step, Outcome(event.result), event.reason)
        case "observed":
            watch.rollback = replace(rollback, stage="observed", reason=event.reason)
            sentence = f"Would have rolled back {messages.place(watch)}: {rollback.trigger.sentence}; {event.reason}."
            watch.outcome, watch.reason = Outcome.FAILED, sentence
            watch.state = State.PAUSED if watch.paused else State.WATCHING
            step.note("observed", sentence)
            step.announce("rollback_observed", reason=sentence)
            why = messages.why_unwritten(watch)
            todo = f"Roll back if you agree: `watchdog rollback {watch.id} --reason …`, or {messages.by_hand(watch)}."
            _failed(step, "Would have rolled back", sentence, todo, did=f"Nothing was moved: {why}.")
        case "refused" | "gone" if trial.cannot_finish(step, event.reason):
            pass
        case "gone":
            redeploy.gone(step, event)
        case "refused":
            todo = f"Move traffic by hand if you must: {messages.by_hand(watch)}."
            decide.refuse(step, rollback.trigger, event.reason, todo, retry_at=event.retry_at)
        case _ if rollback.step == "back":
            _not_put_back(step, event, rollback)
        case _:
            watch.rollback = replace(rollback, stage="failed", reason=event.reason)
            sentence = f"The rollback of {messages.place(watch)} failed: {event.reason}."
            watch.outcome, watch.reason = Outcome.FAILED, sentence
            watch.state = State.PAUSED if watch.paused else State.WATCHING
            step.note("failed", sentence)
            step.announce("rollback_failed", reason=sentence)
            _failed(
                step,
                "Rollback FAILED",
                sentence,
                (redeploy.failed(watch) or f"Move it to {watch.target.split} by hand now: {messages.by_hand(watch)}.")
                + f" Or try again: `watchdog rollback {watch.id} --reason …`.",
                did=f"Traffic was not moved: it is still {event.before if event.before.shares else watch.split}.",
            )


def _not_put_back(step: Step, event: Written, rollback: Rollback) -> None:
    """The trial was no success, and its share is still with a target that fails users."""
    watch = step.watch
    watch.rollback = replace(rollback, stage="failed", reason=event.reason)
    found = watch.trial.reason if watch.trial is not None else ""
    sentence = f"The trial's share of {messages.place(watch)} could not be put back: {event.reason}. {found}".strip()
    watch.outcome, watch.reason = Outcome.FAILED, sentence
    watch.state = State.PAUSED if watch.paused else State.WATCHING
    step.note("failed", sentence)
    step.announce("rollback_failed", reason=sentence)
    _failed(
        step,
        "Trial not put back",
        sentence,
        f"Put it back by hand now: {messages.by_hand(watch, rollback.before)}.",
        did=f"Traffic is still {event.before if event.before.shares else watch.split}.",
    )


def _failed(step: Step, title: str, sentence: str, todo: str, *, did: str) -> None:
    watch = step.watch
    title = f"{title}: {messages.place(watch)}"
    trigger = watch.rollback.trigger if watch.rollback else None
    step.open_incident(title, criterion=trigger.criterion if trigger else "")
    step.notify(
        messages.body(
            watch,
            "rollback_failed",
            severity="critical",
            title=title,
            happened=sentence,
            did=did,
            over="No.",
            todo=todo,
            evidence=[("proof", trigger.sentence)] if trigger else [],
            incident="trigger",
            broadcast=True,
        )
    )


def traffic(step: Step, event: TrafficSeen) -> None:
    """Traffic seen while a rollback settles."""
    watch = step.watch
    rollback = watch.rollback
    if rollback is None or rollback.written_at is None:
        return
    if rollback.restored_at is None and event.split.same_traffic(rollback.after) and event.settled:
        watch.rollback = replace(rollback, restored_at=event.at)
        took = event.at - rollback.decided_at
        step.note("restored", f"Cloud Run serves {event.split} again, {span(took)} after the decision.")
        step.announce("restored", split=event.split.percents(), seconds=round(took, 3))
        return
    left = rollback.after.percent_of(watch.revision)
    if rollback.restored_at is not None and event.split.percent_of(watch.revision) > left and not rollback.said:
        _back_again(step, event)


def _back_again(step: Step, event: TrafficSeen) -> None:
    watch = step.watch
    assert watch.rollback is not None  # noqa: S101 - the caller checked
    watch.rollback = replace(watch.rollback, said=True, stage="failed")
    who = author.who(event.author)
    sentence = f"{watch.revision} serves again ({event.split}) after it was rolled back: {who} put it back."
    watch.outcome, watch.reason = Outcome.FAILED, sentence
    step.note("failed", sentence)
    step.announce("bad_revision_back", reason=sentence)
    todo = f"{author.advice(event.author)} To move traffic away again: {messages.by_hand(watch)}."
    _failed(step, "Bad revision is back", sentence, todo, did="Nothing: the watchdog does not fight it.")


def settled(step: Step) -> None:
    """Routing has had time to settle: verification begins."""
    watch = step.watch
    rollback = watch.rollback
    if rollback is None or rollback.stage != "settling" or rollback.restored_at is None:
        return
    watch.rollback = replace(rollback, stage="verifying")
    step.announce("verifying", split=rollback.after.percents())
    _conclude(step)


def probed(step: Step, event: Probed) -> None:
    """A verifying probe answered."""
    watch = step.watch
    rollback = watch.rollback
    if rollback is None or rollback.stage != "verifying" or isinstance(event.answer.evidence, Missing):
        return
    streak = rollback.passes.get(event.probe, 0) + 1 if event.answer.ok else 0
    passes = {**rollback.passes, event.probe: streak}
    failing = any(passes[name] == 0 for name in passes if name in must_pass(watch))
    reason = (
        rollback.reason
        if event.answer.ok
        else f"{check_words(event.probe)} fails ({event.answer.detail or event.answer.reason})"
    )
    watch.rollback = replace(rollback, passes=passes, failing=failing, reason=reason if failing else "")
    state = watch.probes.get(event.probe, ProbeState())
    streak = 0 if event.answer.ok else state.streak + 1
    watch.probes = {**watch.probes, event.probe: state._replace(streak=streak, last=event.answer)}
    _conclude(step)


def must_pass(watch: Watch) -> tuple[str, ...]:
    """The probes and journeys that prove recovery: critical ones, without those that have never passed anywhere."""
    names = (*watch.rules.policy.probes, *watch.rules.journeys)
    return tuple(n for n in names if watch.probe(n).critical and watch.armed(n))


def verified(watch: Watch, name: str) -> bool:
    """Whether a probe or journey has passed as often as proves that it is well again; a journey once, since each of its
    steps says as much as a probe."""
    rollback = watch.rollback
    needed = 1 if name in watch.rules.policy.journeys else watch.rules.policy.rollback.verify_probes
    return rollback is not None and rollback.passes.get(name, 0) >= needed


def verify_every_s(watch: Watch, name: str) -> float:
    """How often it is sent while recovery is to be proven."""
    return watch.confirm(name).every_s if name in watch.rules.policy.journeys else VERIFY_EVERY_S


def sampled(step: Step, sample: Sample) -> None:
    """Counts of the restored revision for the trigger's own row."""
    watch = step.watch
    rollback = watch.rollback
    if rollback is None or rollback.restored_at is None or rollback.trigger.rule is None:
        return
    rule = watch.rules.rules[rollback.trigger.rule]
    if sample.check not in rule.checks or rule.family is Family.PROBES or not rule.is_meter:
        return
    if isinstance(sample.evidence, Missing | Value) or sample.start < rollback.restored_at:
        return
    evidence = sample.evidence
    bad, total = (0.0, 1.0)
    if isinstance(evidence, Counts):
        bad, total = noise.after_rollback(watch, rule, sample, evidence)
    lag = watch.rules.lag_of(sample.source, sample.check, sample.end - sample.start)
    series = watch.recovery.get(sample.source) or Series.start(
        origin=rollback.restored_at, lag_s=lag.lag_s, meters=[watch.rules.meter(rule, lag.period_s)]
    )
    series, _ = series.add(Point(sample.end, sample.start, bad, total), watch.at)
    watch.recovery = {**watch.recovery, sample.source: series}
    _conclude(step)


def judge(step: Step) -> None:
    """Judge the restored revision's slots that are complete now."""
    watch = step.watch
    for source, series in watch.recovery.items():
        judged, _ = series.judge(watch.at)
        if judged is not series:
            watch.recovery = {**watch.recovery, source: judged}
    if watch.recovery:
        _conclude(step)


def counts_needed(watch: Watch) -> tuple[float, float]:
    """Requests counted on the restored revision, and how many prove that the fault is gone: as many as would have
    raised the alarm again, had the bad share stayed what it was."""
    rollback = watch.rollback
    if rollback is None or rollback.trigger.rule is None:
        return 0.0, 0.0
    rule = watch.rules.rules[rollback.trigger.rule]
    if rule.family is Family.PROBES or not rule.is_meter:
        return 0.0, 0.0
    seen = max((s.total for s in watch.recovery.values()), default=0.0)
    meters = [s.meters[0] for s in watch.recovery.values()]
    share = rollback.trigger.bad_share
    return seen, min((m.enough if share is None else m.enough_at(share) for m in meters), default=inf)


def _counts_are_clean(watch: Watch) -> bool:
    """Whether what was counted on the restored revision is within the limit: at high traffic enough requests come long
    before an alarm could."""
    rollback = watch.rollback
    if rollback is None or rollback.trigger.rule is None:
        return True
    p0 = watch.rules.rules[rollback.trigger.rule].p0
    return all(s.bad <= p0 * s.total for s in watch.recovery.values())


def _alarm_returned(watch: Watch) -> bool:
    return any(s.up_to(watch.at).alarming(0) for s in watch.recovery.values())


def _conclude(step: Step) -> None:
    """Recovered, not helped, or too early to say."""
    watch = step.watch
    rollback = watch.rollback
    if rollback is None or rollback.stage != "verifying" or rollback.restored_at is None:
        return
    policy = watch.rules.policy
    probes_fine = all(verified(watch, n) for n in must_pass(watch))
    seen, needed = counts_needed(watch)
    waited = watch.at - rollback.restored_at
    sick = rollback.failing or _alarm_returned(watch)
    if sick and waited >= NO_HELP_AFTER_S and not rollback.said:
        _no_help(step, rollback)
        return
    if probes_fine and seen >= needed and _counts_are_clean(watch) and not sick:
        _recovered(step, rollback, proven=True)
    elif probes_fine and not sick and waited >= policy.rollback.verify_for_s:
        _recovered(step, rollback, proven=False)


def due(watch: Watch) -> float:
    """The next moment at which recovery must be judged again."""
    rollback = watch.rollback
    if rollback is None or watch.state is not State.VERIFYING:
        return inf
    if rollback.restored_at is None:
        at = (rollback.written_at or rollback.decided_at) + ROUTING_PATIENCE_S
        return at if not rollback.said else inf
    if rollback.stage == "settling":
        return rollback.restored_at + watch.rules.policy.rollback.settle_s
    moments = [
        rollback.restored_at + NO_HELP_AFTER_S,
        rollback.restored_at + watch.rules.policy.rollback.verify_for_s,
        *(s.due for s in watch.recovery.values()),
    ]
    return min((m for m in moments if m > watch.at), default=inf)


def fire(step: Step) -> None:
    """A recovery deadline has come."""
    watch = step.watch
    rollback = watch.rollback
    if rollback is None or watch.state is not State.VERIFYING:
        return
    if rollback.restored_at is None:
        if watch.at >= (rollback.written_at or rollback.decided_at) + ROUTING_PATIENCE_S and not rollback.said:
            _not_routed(step, rollback)
        return
    if rollback.stage == "settling" and watch.at >= rollback.restored_at + watch.rules.policy.rollback.settle_s:
        settled(step)
        return
    judge(step)
    _conclude(step)


def _not_routed(step: Step, rollback: Rollback) -> None:
    watch = step.watch
    watch.rollback = replace(rollback, said=True)
    sentence = (
        f"Cloud Run accepted the write at {when(rollback.written_at or watch.at, watch.at)} but does not serve "
        f"{rollback.after} after {span(ROUTING_PATIENCE_S)}; it serves {watch.split}."
    )
    step.note("failed", sentence)
    step.announce("not_routed", reason=sentence)
    watch.outcome, watch.reason = Outcome.FAILED, sentence
    todo = f"Check the service's Ready condition; move traffic by hand: {messages.by_hand(watch)}."
    _failed(step, "Rollback not routed", sentence, todo, did=f"Wrote {rollback.after}, which is not served yet.")


def _no_help(step: Step, rollback: Rollback) -> None:
    watch = step.watch
    watch.rollback = replace(rollback, said=True)
    returned = f"{rollback.trigger.criterion} is broken on it too" if _alarm_returned(watch) else ""
    still = rollback.reason or returned or rollback.trigger.sentence
    sentence = f"The rollback of {messages.place(watch)} to {rollback.after} did not help: {still}."
    watch.outcome, watch.reason = Outcome.FAILED, sentence
    step.note("failed", sentence)
    step.announce("not_recovered", reason=sentence)
    title = f"Rollback did not help: {messages.place(watch)}"
    step.open_incident(title, criterion=rollback.trigger.criterion)
    step.notify(
        messages.body(
            watch,
            "not_recovered",
            severity="critical",
            title=title,
            happened=sentence,
            did=f"Traffic stays on {rollback.after}; it is not moved again.",
            over="No.",
            todo="The cause is elsewhere (dependency, data, configuration). " + messages.unpin(watch),
            evidence=[("proof", rollback.trigger.sentence)],
            after=rollback.after,
            incident="trigger",
            broadcast=True,
            change=True,
        )
    )


def _recovered(step: Step, rollback: Rollback, *, proven: bool) -> None:
    watch = step.watch
    watch.rollback = replace(rollback, stage="done", verified_at=watch.at)
    late = watch.outcome is Outcome.FAILED
    took = watch.at - rollback.decided_at
    criterion = rollback.trigger.criterion
    if proven:
        sentence = (
            f"Rolled back {messages.place(watch)} from {watch.revision} to {rollback.after}; recovered "
            f"{span(took)} after the decision. Cause: {rollback.trigger.sentence}."
        )
    else:
        sentence = (
            f"Rolled back {messages.place(watch)} from {watch.revision} to {rollback.after}; recovery of {criterion} "
            f"not proven: too few requests since. Cause: {rollback.trigger.sentence}."
        )
    step.note("recovered", sentence)
    step.announce("recovered", proven=proven, seconds=round(took, 3), reason=sentence)
    over = "Yes: every probe passes again." if proven else "Probably: probes pass, but too few requests prove the rest."
    end(step, Outcome.FAILED if late else Outcome.ROLLED_BACK, watch.reason if late else sentence)
    step.notify(
        messages.body(
            watch,
            "rolled_back",
            severity="error",
            title=f"Rolled back {messages.place(watch)}: {criterion}",
            happened=sentence,
            did=f"Traffic is on {rollback.after} since {when(rollback.restored_at or watch.at, watch.at)}.",
            over=over,
            todo=f"Find the cause in {watch.revision}. {messages.unpin(watch)} {migration.hint(watch)}".strip(),
            evidence=[("proof", rollback.trigger.sentence), *trial.evidence(watch), *scaling.leftover(watch)],
            after=rollback.after,
            incident=step.resolve_incident(),
            broadcast=True,
            change=True,
        )
    )


def end(step: Step, outcome: Outcome, reason: str) -> None:
    """End the watch for good."""
    watch = step.watch
    watch.outcome = outcome
    watch.reason = reason
    watch.state = State.ENDED
    watch.ended_at = watch.at
    watch.confirmations = {}
    watch.warming = watch.versus = None
    said = bool(watch.timeline) and watch.timeline[-1].text == reason
    step.note("ended", f"The watch has ended: {outcome.value.replace('_', ' ')}." if said else reason)
    step.announce("watch_ended", outcome=outcome.value, reason=reason)
