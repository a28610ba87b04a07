"""Hard down: a probe that fails is repeated until enough failures in a row prove it, or one pass ends it.

Beside it the same probe asks the watched revision's own URL (an edge fault?) and the previous revision (would a
rollback help?), so that the answer is there when the proof is.
"""

from bisect import bisect_left
from dataclasses import replace
from math import inf

from watchdog.core import capacity, decide, denied, evaluate, messages, revival, shared, trial
from watchdog.core.acts import Trigger
from watchdog.core.catalogue import check_words
from watchdog.core.decide import Step
from watchdog.core.events import Probed
from watchdog.core.model import Action, Failed, Missing, Passed, Sample, Severity, State, Verdict
from watchdog.core.policy import JourneyConfig
from watchdog.core.probing import OwnRequest, ProbeAnswer, Role
from watchdog.core.rules import PROBE_SOURCE, Rule
from watchdog.core.standing import Confirmation, ProbeState
from watchdog.core.starting import may_be_starting
from watchdog.core.state import Watch
from watchdog.core.text import share, span

FAILING = "health_check failing"
TOO_MANY = 429
ENDED_BY_A_PASS = frozenset({"shared", "edge", capacity.KIND})
"""Holds that rest on a probe which fails."""
OWN_ANSWERS = 3
"""As many passes at the revision's own URL, and no failure, tell a flickering edge from a flickering revision."""
COLD_CONTROL_S = 30.0
"""A control that only times out counts as sick after this long: it may be starting cold."""


def regular(step: Step, event: Probed) -> list[evaluate.Alarm]:
    """A regular probe's answer: metered, and the beginning of a confirmation when it failed."""
    watch = step.watch
    answer = denied.effective(watch, event.probe, event.answer)
    _remember(watch, event)
    if event.role is not watch.judged_role:
        return []
    _count(step, event.probe, answer)
    if answer.ok and (event.probe in watch.confirmations or rests_on(watch, event.probe)):
        _passed(step, event.probe)  # not in a row
    alarms = evaluate.fold(
        watch,
        Sample(
            source=PROBE_SOURCE,
            check=event.probe,
            revision=watch.revision,
            start=event.scheduled_at,
            end=event.scheduled_at + event.slot_s,
            seen=event.at,
            evidence=Missing("starting") if may_be_starting(watch, event, answer) else answer.evidence,
        ),
    )
    asks = answer.failed or denied.asks(watch, event.probe, answer)
    if asks and _confirms(watch) and event.probe not in watch.confirmations:
        _begin(step, event, answer)
    return alarms


def _remember(watch: Watch, event: Probed) -> None:
    """Keep our own requests that reached the revision, so that they can be taken out of its counts."""
    answer = event.answer
    reached = event.role is Role.OWN or (event.role is Role.PUBLIC and watch.sole)
    taken = answer.status is not None and not answer.refused
    if not reached or not (taken or any(s.status is not None for s in answer.steps)):
        return
    own = watch.own_requests
    requests = [(answer.ended_at, answer.status, answer.ended_at - answer.started_at)]
    if answer.steps:
        requests = [(s.ended_at, s.status, s.ended_at - s.started_at) for s in answer.steps]
    if own and own[0][0] < event.at - 2 * evaluate.KEEP_OWN_S:
        own = own[bisect_left(own, (event.at - evaluate.KEEP_OWN_S,)) :]
    sent = [OwnRequest(at, s >= 500, took, 400 <= s < 500) for at, s, took in requests if s is not None]
    in_order = not own or own[-1].at <= sent[0].at
    watch.own_requests = (*own, *sent) if in_order else tuple(sorted((*own, *sent)))


def _count(step: Step, name: str, answer: ProbeAnswer) -> None:
    watch = step.watch
    state = watch.probes.get(name, ProbeState())
    match answer.evidence:
        case Passed():
            state = state._replace(passed=state.passed + 1, streak=0, armed=True, last=answer, denied=False)
        case Failed():
            if state.streak == 0:
                said = check_words(name)
                step.note("probe", f"{said[0].upper()}{said[1:]} failed: {answer.detail or answer.reason}.")
                step.announce("probe_failed", probe=name, reason=answer.reason, detail=answer.detail)
            state = state._replace(failed=state.failed + 1, streak=state.streak + 1, last=answer)
        case Missing():
            state = state._replace(missing=state.missing + 1, last=answer)
    watch.probes = {**watch.probes, name: state}


def _confirms(watch: Watch) -> bool:
    undecided = watch.rollback is None or watch.on_trial is not None
    return undecided and watch.cutover_at is not None and watch.open


def _begin(step: Step, event: Probed, answer: ProbeAnswer) -> None:
    watch = step.watch
    rule = watch.confirm(event.probe)
    confirmation = Confirmation(
        probe=event.probe, started_at=event.scheduled_at, slot_s=event.slot_s, failed_at=answer.ended_at, rule=rule
    )
    confirmation = _answered(confirmation, 0, answer)
    watch.confirmations = {**watch.confirmations, event.probe: confirmation}
    if watch.state is State.WATCHING:
        watch.state = State.CONFIRMING
    step.announce("confirming", probe=event.probe, reason=answer.reason, needed=rule.failures)
    _judge(step, event.probe)


def _answered(c: Confirmation, attempt: int, answer: ProbeAnswer) -> Confirmation:
    if attempt < c.settled:  # counted from one again, after a restart of the asking
        return replace(c, last=answer) if answer.failed else c
    waiting = {**c.waiting, attempt: answer}
    settled, failures, reasons, last = c.settled, c.failures, c.reasons, c.last
    unserved, turned_away, refused = c.unserved, c.turned_away, c.denied
    while settled in waiting:
        counted = waiting.pop(settled)
        settled += 1
        refused += denied.is_denied(counted)
        failures += counted.failed
        if counted.failed or denied.is_denied(counted):
            last = counted
            reasons = reasons if counted.reason in reasons else (*reasons, counted.reason)
            unserved += counted.refused or counted.reason == "timeout"
            turned_away += counted.refused and counted.status == TOO_MANY
    return replace(
        c,
        waiting=waiting,
        settled=settled,
        failures=failures,
        reasons=reasons,
        last=last,
        unserved=unserved,
        turned_away=turned_away,
        denied=refused,
    )


def confirming(step: Step, event: Probed) -> None:
    """An answer of a confirmation: of the path under judgement, of the revision's own URL, or of the control."""
    watch = step.watch
    _remember(watch, event)
    if event.role is Role.CONTROL and event.answer.ok and event.probe not in watch.controls_answered:
        watch.controls_answered |= {event.probe}
        state = watch.probes.get(event.probe, ProbeState())
        watch.probes = {**watch.probes, event.probe: state._replace(armed=True)}
    current = watch.confirmations.get(event.probe)
    if current is None:
        return
    answer = event.answer
    if event.role is watch.judged_role:
        if answer.ok:
            _passed(step, event.probe)
            return
        current = revival.failed_beside(_answered(current, event.attempt, answer), answer)
        if denied.in_vain(current):
            denied.give_up(step, event.probe)
            return
    elif denied.is_denied(answer):
        current = replace(current, own=answer) if event.role is Role.OWN else replace(current, control=answer)
    elif isinstance(answer.evidence, Missing):
        return  # says nothing about whose fault it is, and ends no hold
    elif event.role is Role.OWN:
        sick = current.own is not None and current.own.failed
        current = replace(revival.revived(current, Role.OWN, answer, was_sick=sick), own=answer)
        _own(step, event.probe, passed=answer.ok)
    elif event.role is Role.CONTROL:
        reasons = current.control_reasons
        if answer.failed and answer.reason not in reasons:
            reasons = (*reasons, answer.reason)
        since = answer.started_at if current.control_since is None else current.control_since
        was_sick = _sick(watch, current)
        current = revival.control(current, answer, was_sick=was_sick)
        current = replace(current, control=answer, control_since=since, control_reasons=() if answer.ok else reasons)
    current = replace(current, vouched=denied.vouches(watch, current))
    watch.confirmations = {**watch.confirmations, event.probe: current}
    _judge(step, event.probe)


def _own(step: Step, name: str, *, passed: bool) -> None:
    """Count what the revision's own URL answers while the public one fails; a failure there ends an edge fault."""
    watch = step.watch
    state = watch.probes.get(name, ProbeState())
    asked = state._replace(own_passed=state.own_passed + passed, own_failed=state.own_failed + (not passed))
    watch.probes = {**watch.probes, name: asked}
    held = watch.hold
    if held is not None and held.kind == "edge" and held.trigger.rule is not None and not passed:
        watch.hold, watch.state = None, State.CONFIRMING


def at_the_edge(watch: Watch, name: str) -> bool:
    """Whether the revision always answered at its own URL when the public path failed this probe now and then."""
    state = watch.probes.get(name, ProbeState())
    return watch.judged_role is Role.PUBLIC and state.own_failed == 0 and state.own_passed >= OWN_ANSWERS


def taken_up(step: Step) -> None:
    """After an absence nothing is in a row any more: what was failing is asked afresh, at once."""
    watch = step.watch
    at = watch.at
    watch.confirmations = {
        name: Confirmation(probe=name, started_at=at, failed_at=at, rule=c.rule, settled=1)
        for name, c in watch.confirmations.items()
    }


def rests_on(watch: Watch, probe: str) -> bool:
    """Whether a hold, or that counts are left out, rests on this probe."""
    held = watch.hold
    holds = held is not None and held.kind in ENDED_BY_A_PASS and held.trigger.probe == probe
    return holds or any(time.probe == probe and time.until == inf for time in watch.shared)


def _passed(step: Step, probe: str) -> None:
    """One pass ends a confirmation, and a hold that rested on it."""
    watch = step.watch
    shared.ended(step, probe)
    watch.confirmations = {p: c for p, c in watch.confirmations.items() if p != probe}
    set_failing(step, probe, failing=False, sentence="")
    held = watch.hold
    if held is not None and held.trigger.probe == probe and held.kind in ENDED_BY_A_PASS and not capacity.lasts(watch):
        evaluate.excuse_probes(watch)
        decide.release_hold(step, f"{check_words(probe)} passes again")
    elif not watch.confirmations and watch.state is State.CONFIRMING and watch.warming is None:
        watch.state = State.WATCHING
    step.announce("probe_passed", probe=probe)


def _judge(step: Step, name: str) -> None:
    """Enough failures in a row? Then decide whose fault it is."""
    watch = step.watch
    c = watch.confirmations[name]
    if not c.complete or not _confirms(watch) or c.last is None:
        return
    probe = watch.probe(name)
    lasted = c.last.ended_at - c.started_at
    if probe.startup_s and c.reasons == ("timeout",) and lasted < probe.startup_s:
        return
    failing = FAILING if name in watch.rules.policy.probes else f"{name} failing"
    sentence = (
        f"{failing}: {check_words(name)} failed {c.failures + c.denied} times in a row over {span(lasted)} "
        f"({c.last.detail or c.last.reason}; needed {c.rule.failures})"
    )
    set_failing(step, name, failing=True, sentence=sentence)
    rule = _row(watch, name)
    if rule is None or not watch.armed(name):
        warn_once(step, name, sentence)
        return
    trigger = Trigger(criterion=rule.label, sentence=sentence, probe=name, at=watch.at)
    if watch.on_trial is not None:
        if not _sick(watch, c):
            trial.hurry(step, trigger)
        return
    if watch.judged_role is Role.PUBLIC and c.own is not None and c.own.ok:
        if not revival.unsure(c, Role.OWN):
            hold_edge(step, trigger)
        return
    if _sick(watch, c):
        _shared(step, trigger, c)
        return
    if revival.unsure(c, Role.CONTROL):
        return
    shared.ended(step, name)
    if not capacity.explains(step, trigger, c):
        decide.consider(step, trigger)


def hold_edge(step: Step, trigger: Trigger) -> None:
    """Users are failed by what stands before the revision."""
    what = "journey" if trigger.probe in step.watch.rules.policy.journeys else "probe"
    decide.hold(
        step,
        trigger,
        kind="edge",
        reason=(
            f"{step.watch.revision} answers this {what} at its own URL, so the fault is at the edge "
            "(DNS, certificate, load balancer or firewall) and a rollback would not help"
        ),
        todo="Check DNS, the certificate, the load balancer and the firewall in front of the service.",
    )


def _row(watch: Watch, name: str, action: Action = Action.ROLLBACK) -> Rule | None:
    """The row that asks for this when a probe or journey is confirmed failing: `health_check failing`, its own, or any
    of the journeys' that counts in this window."""
    window = watch.probing.window
    for rule in watch.rules.rules:
        if rule.by_confirmation and rule.row.action is action and name in rule.checks and window in rule.row.windows:
            return rule
    return None


def warn_once(step: Step, name: str, sentence: str) -> None:
    """Page about a proven failure that must not move traffic, and say why it must not."""
    watch = step.watch
    check, words = watch.probe(name), check_words(name)
    journey = isinstance(check, JourneyConfig)
    what = "journey" if journey else "probe"
    if not watch.armed(name):
        why = f"{words} has never passed as it is configured now, so its path, token or expectation may be wrong"
    elif journey and _row(watch, name, Action.INVESTIGATE) is not None:
        why = "its row in the policy asks for a person"
    elif not check.critical:
        why = f"this {what} is not critical"
    else:
        why = f"the policy has no `{'journeys' if journey else 'health_check'} failing` row"
    reason = f"Investigate {messages.place(watch)}: {sentence}. It does not roll back: {why}."
    criterion = f"{name} failing" if journey else f"probe.{name} failing"
    if any(d.criterion == criterion for d in watch.decisions):
        return
    pages = check.critical and not journey
    step.decide(Action.INVESTIGATE, criterion, reason)
    if pages:
        step.open_incident(f"{name} failing")
    todo = "Check the probe's path, expectation and credentials in the policy, then the service."
    if isinstance(check, JourneyConfig):
        todo = f"Try it by hand: `watchdog journey {check.file} --url URL` shows each step and what it answered."
    step.notify(
        messages.body(
            watch,
            "warning",
            severity="critical" if pages else "warning",
            title=f"{words[0].upper()}{words[1:]} of {messages.place(watch)} fails",
            happened=sentence + ".",
            did=f"Nothing: {why}.",
            over="No.",
            todo=todo,
            evidence=[(what, sentence)],
            incident="trigger" if pages else None,
        )
    )


def _sick(watch: Watch, c: Confirmation) -> bool:
    """Whether the control fails too: for the same typed reason each time, and not merely starting cold."""
    if (
        revival.flickers(c)
        or c.control is None
        or not c.control.failed
        or len(c.control_reasons) != 1
        or c.control_since is None
    ):
        return False
    if c.control_reasons == ("timeout",):
        return c.probe in watch.controls_answered or watch.at - c.control_since >= COLD_CONTROL_S
    return True


def _shared(step: Step, trigger: Trigger, c: Confirmation) -> None:
    detail = c.control.detail or c.control.reason if c.control else ""
    what = "journey" if c.probe in step.watch.rules.policy.journeys else "probe"
    shared.began(step, c.probe, c.started_at - c.slot_s)
    decide.shared(step, trigger, f"fails the same {what} ({detail})", inherited=c.probe in step.watch.sick_before)


def set_failing(step: Step, name: str, *, failing: bool, sentence: str) -> None:
    """Bring the `health_check failing` and `probe.NAME failing` rows up to date."""
    watch = step.watch
    for i, rule in enumerate(watch.rules.rules):
        counts = not failing or watch.probing.window in rule.row.windows
        if not rule.by_confirmation or name not in rule.checks or not counts:
            continue
        state = watch.verdicts[i]
        if not failing and (state.alarmed_at is None or _another_fails(watch, rule, name)):
            continue
        broken = Verdict.WARN if rule.row.severity is Severity.WARNING else Verdict.FAIL
        verdict = broken if failing else Verdict.INCONCLUSIVE
        changed = state._replace(
            verdict=verdict,
            reason=sentence or "passes again; not judged yet",
            since=watch.at if state.verdict is not verdict else state.since,
            alarmed_at=(state.alarmed_at or watch.at) if failing else None,
            source=PROBE_SOURCE,
        )
        watch.verdicts = (*watch.verdicts[:i], changed, *watch.verdicts[i + 1 :])


def _another_fails(watch: Watch, rule: Rule, name: str) -> bool:
    """Whether the row stays broken by another one of its checks."""
    return any(c in watch.confirmations and watch.confirmations[c].complete for c in rule.checks if c != name)


def probe_share(watch: Watch, name: str) -> str:
    """The exact share of regular probes that passed, for the report."""
    state = watch.probes.get(name, ProbeState())
    asked = state.passed + state.failed
    return share(state.passed / asked) if asked else "never asked"
