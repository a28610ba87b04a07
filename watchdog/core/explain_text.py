"""An explanation in sentences: why it was rolled back or not, and each row's own story."""

from collections.abc import Sequence
from typing import Final

from watchdog.core import achieved, redeploy
from watchdog.core.catalogue import Family
from watchdog.core.explanation import QUIET, Criterion, Explanation, Gap, Held, Repeated
from watchdog.core.model import Outcome, State
from watchdog.core.report_text import offset_text, span_text
from watchdog.core.state import Watch
from watchdog.core.text import clock, listing, reading, share

NEAREST: Final = 3
"""Rows that an answer names before it leaves the rest to the list."""
WORTH_TELLING_S: Final = 1.0
_JOB: Final = {
    "starting": "was asked to run",
    "running": "runs",
    "succeeded": "succeeded",
    "failed": "failed",
}


def question(e: Explanation) -> str:
    """What is answered."""
    w = e.watch
    if w.outcome is Outcome.ROLLED_BACK:
        return "Why was it rolled back?"
    if _moved(w):
        return "Why was traffic moved back?" if not w.open else "Why is it being rolled back?"
    return "Why has it not been rolled back so far?" if w.open else "Why was it not rolled back?"


def answer(e: Explanation) -> tuple[str, ...]:
    """The answer, most important sentence first."""
    w = e.watch
    if w.cutover_at is None:
        said = [w.reason or f"{w.revision} has no traffic yet, so there is nothing to judge."]
    elif _moved(w):
        said = _rolled_back(e)
    elif w.outcome is Outcome.ROLLED_BACK:
        said = [w.reason]
    else:
        said = _kept(e)
    said += [_sentence(s.reason or s.sentence) for s in w.scalings]
    if w.job is not None:
        why = f": {w.job.reason}" if w.job.reason else ""
        said.append(_sentence(f"The job {w.job.job}, which undoes the migration, {_JOB[w.job.stage]}{why}"))
    if e.away_s >= WORTH_TELLING_S:
        said.append(f"The watchdog itself was away for {span_text(e.away_s)}; that time counts as not seen.")
    if e.not_folded:
        events = "1 event" if e.not_folded == 1 else f"{e.not_folded} events"
        said.append(f"Left out, because this version could not judge it: {events}.")
    return tuple(said)


def _moved(w: Watch) -> bool:
    """Whether this watch moves, or has moved, traffic by itself."""
    return w.rollback is not None and w.rollback.stage not in {"observed", "failed", "refused"}


# --- it was -----------------------------------------------------------------------------------------------------------


def _rolled_back(e: Explanation) -> list[str]:
    w, rollback = e.watch, e.watch.rollback
    assert rollback is not None  # noqa: S101 - the caller checked
    trigger = rollback.trigger
    proven = [p for c in e.criteria for p in c.proofs if c.rule.label == trigger.criterion]
    proof = next((p for p in reversed(proven) if p.at <= rollback.decided_at), None)
    named = trigger.sentence if trigger.rule is None else f"{trigger.criterion} was broken: {trigger.sentence}"
    told = [_sentence(named[:1].upper() + named[1:] if trigger.criterion == "operator" else named)]
    if proof is not None and proof.began_at < proof.at:
        first = "The first failed answer came" if trigger.probe else "The evidence began to grow"
        later = span_text(proof.at - proof.began_at)
        told.append(f"{first} at {_when(e, proof.began_at)}; it was enough {later} later, at {_when(e, proof.at)}.")
    elif proof is not None:
        told.append(f"The evidence was enough at {_when(e, proof.at)}.")
    told += [_hold(h) for h in e.holds if h.at <= rollback.decided_at]
    waited = rollback.decided_at - proof.at if proof is not None else 0.0
    after = f", {span_text(waited)} after the proof" if waited >= WORTH_TELLING_S else ""
    by = f" on the word of {rollback.by}" if rollback.by else ""
    told.append(f"The rollback was decided at {_when(e, rollback.decided_at)}{after}{by}.")
    if w.trial is not None and w.trial.written_at >= rollback.decided_at:
        told.append(w.trial.reason or f"A share went to {', '.join(w.trial.targets)} first; nothing is decided yet.")
    if w.target.source == redeploy.SOURCE:
        told.append(
            f"No ready revision of what served before was left, so its image was deployed again: {w.target.split}."
        )
    if rollback.restored_at is not None:
        told.append(f"{rollback.after} served again at {_when(e, rollback.restored_at)}.")
    if w.outcome not in {None, Outcome.ROLLED_BACK} and w.reason:
        told.append(_sentence(w.reason))
    return told


def _hold(h: Held) -> str:
    until = f"until {clock(h.until)}" if h.until is not None else "and still is"
    return f"It was held from {clock(h.at)} {until}: {_sentence(h.reason)}"


# --- it was not -------------------------------------------------------------------------------------------------------


def _kept(e: Explanation) -> list[str]:
    w = e.watch
    told = [_sentence(w.reason)] if w.reason else []
    if w.trial is not None and w.trial.put_back_at is not None:
        told.append(w.trial.reason)
    standing = w.hold if w.hold is not None and w.open else None
    if standing is not None:
        told.append(
            f"Held since {_when(e, standing.since)}: {standing.trigger.sentence}, but {_sentence(standing.reason)}"
        )
    elif w.state is State.AWAITING_APPROVAL and w.approve_until is not None:
        told.append(f"It waits for an approval until {clock(w.approve_until)}.")
    elif w.paused:
        told.append("It is paused: evidence is gathered, nothing is written.")
    rows = [c for c in e.criteria if c.can_roll_back]
    proven = [c for c in rows if c.proofs]
    if standing is None:
        told += [f"{c.rule.label}: {row(c, e)}" for c in proven]
    if not rows:
        return [*told, "No row of the policy rolls back."]
    if not proven:
        near = sorted((c for c in rows if not c.silent), key=lambda c: -_closeness(c))[:NEAREST]
        none = near and not _closeness(near[0])
        far = f", and none came nearer than {share(QUIET)} of it" if none else ""
        told.append(f"No rollback row ever had enough evidence{far}.")
        first = "" if none else "Nearest: "
        told += [f"{first if c is near[0] else ''}{c.rule.label}: {row(c, e)}" for c in near]
    blind = [c for c in rows if c.silent]
    if blind:
        told.append(f"Nothing was ever seen of {listing(c.rule.label for c in blind)}.")
    return told


def _closeness(c: Criterion) -> float:
    return c.peak.fullness if c.peak.fullness > QUIET else 0.0


# --- one row ----------------------------------------------------------------------------------------------------------


def row(c: Criterion, e: Explanation) -> str:
    """One row's story in a few sentences, without its label."""
    parts = _proven(c, e) if c.proofs else _not_proven(c, e)
    lost: dict[str, float] = {}
    for gap in c.gaps:
        lost[gap.check] = lost.get(gap.check, 0.0) + gap.seconds
    if max(lost.values(), default=0.0) >= WORTH_TELLING_S:
        parts.append(f"Evidence was missing for {span_text(max(lost.values()))} ({_reasons(c.gaps)}).")
    return " ".join(parts)


def _proven(c: Criterion, e: Explanation) -> list[str]:
    first = c.proofs[0]
    grew = f", {span_text(first.at - first.began_at)} after it began to grow" if first.began_at < first.at else ""
    parts = [f"Enough at {_when(e, first.at)}{grew}: {_sentence(first.sentence)}"]
    if first.acted_at is None and first.led_to:
        parts.append(first.led_to)
    elif not c.can_roll_back:
        parts.append(f"It asked to {c.rule.row.action.replace('_', ' ')}.")
    elif first.acted_at is not None and first.acted_at - first.at >= WORTH_TELLING_S:
        parts.append(f"Decided {span_text(first.acted_at - first.at)} later.")
    if c.proofs_in_all > 1:
        parts.append(f"Broken {c.proofs_in_all} times in all.")
    elif first.cleared_at is not None:
        parts.append(f"It cleared at {_when(e, first.cleared_at)}.")
    return parts


def _not_proven(c: Criterion, e: Explanation) -> list[str]:
    if c.rule.why_not:
        return [f"Could not be judged: {c.rule.why_not}."]
    if c.rule.by_confirmation:
        return _never_confirmed(c, e)
    if c.silent:
        return [f"Never judged: {c.state.reason or 'no evidence yet'}."]
    if c.rule.family is Family.CHECK:
        passed = bool(c.state.last) and not c.state.last[-1][1]
        return [
            "Passed when it was last made." if passed else "Failed when it was last made, not often enough in a row."
        ]
    if c.rule.family is Family.GAUGE or not c.counted.total:
        return _gauge(c, e)
    bad, total, _ = c.counted
    if not bad:
        parts = [f"Nothing bad in {total:,.0f} {_events(c)} ({_limit(c)})."]
    else:
        parts = [f"In all {bad:,.0f} of {total:,.0f} {_nouns(c)} ({share(bad / total)}; {_limit(c)})."]
        parts.insert(0, _nearness(c, e))
    if c.state.verdict == "INCONCLUSIVE" and c.state.reason:
        parts.append(_sentence(c.state.reason[:1].upper() + c.state.reason[1:]))
    return parts + [achieved.sentence(c.rule, a) for a in c.achieved[:1]]


def _nearness(c: Criterion, e: Explanation) -> str:
    if c.peak.at is None or c.peak.fullness <= QUIET:
        return f"Its evidence never reached more than {share(QUIET)} of the proof."
    by = f"{c.peak.bad:,.0f} of {c.peak.total:,.0f} by then"
    return f"Reached {share(round(c.peak.fullness, 2))} of the proof at {_when(e, c.peak.at)} ({by})."


def _never_confirmed(c: Criterion, e: Explanation) -> list[str]:
    mine = [r for r in e.confirmations if r.probe in c.rule.checks]
    times = sum(e.tallies[n].times for n in c.rule.checks if n in e.tallies)
    if not times:
        asked = c.counted.total
        return [f"No probe failed among {asked:,.0f}." if asked else "No probe was answered."]
    longest = max(mine, key=lambda r: r.failures / r.needed)
    ended = {
        "passed": "then it passed",
        "away": "then the watchdog was away, and the count began anew",
        "closed": "then the watch ended",
        "open": "it is still being repeated",
        "proven": "which is proof, but of a probe that must not roll back",
    }[longest.ended]
    often = "once" if times == 1 else f"{times} times"
    return [
        f"A failing probe was repeated {often} and never failed often enough in a row.",
        f"At most {run(longest)} at {_when(e, longest.at)}, {ended}.",
    ]


def run(r: Repeated) -> str:
    """A run of failures: `health failed 3 of 5 times in a row (answered 503)`."""
    said = f" ({r.detail})" if r.detail else ""
    return f"{r.probe} failed {r.failures} of the {r.needed} times in a row that prove it{said}"


def _gauge(c: Criterion, e: Explanation) -> list[str]:
    value = c.state.value
    last = f"Last reading {reading(c.rule.row.metric, value)} ({_limit(c)})." if value is not None else ""
    if c.peak.at is None or not c.peak.fullness:
        return [f"No reading broke it. {last}".strip()]
    points = round(4 * min(1.0, c.peak.fullness))
    when = _when(e, c.peak.at)
    return [f"At most {points} of the last 5 points broke it, at {when}; 4 are enough. {last}".strip()]


# --- words ------------------------------------------------------------------------------------------------------------


def _nouns(c: Criterion) -> str:
    match c.rule.family:
        case Family.LATENCY:
            return "requests slower than the limit"
        case Family.PROBES:
            return "probes failed"
        case _:
            return "requests failed"


def _events(c: Criterion) -> str:
    return "probes" if c.rule.family is Family.PROBES else "requests"


def _limit(c: Criterion) -> str:
    condition = c.rule.row.condition
    return f"limit {condition.text}" if condition else "limit: failing"


def _reasons(gaps: Sequence[Gap]) -> str:
    return listing(dict.fromkeys(g.reason.replace("_", " ") for g in gaps))


def _when(e: Explanation, at: float) -> str:
    return f"{clock(at)} ({offset_text(at, e.watch.cutover_at)})"


def _sentence(text: str) -> str:
    return text if text.endswith((".", "!", "?")) else text + "."
