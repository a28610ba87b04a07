"""Is one caller behind an alarm of counts, and not the release?

A broken client, a scanner or a poisoned message can raise an error row by itself, and going back would not help. But a
release that breaks one URL, one customer or one client software looks much the same, so leaving a name out of a row's
counts needs proof of its innocence (docs/decisions/0046-one-caller.md):

| named | behind more than 80 % of the bad requests, the others within the limit on enough requests, and … |
|---|---|
| caller (one address) | it failed before or fails on the control as well; or others use well what it fails on |
| subscription, URL, client software | it failed before the deploy or fails on the control as well |

Every fresh proof against the row is judged anew, on the counts of that proof, so what begins to hit the others as well
is acted on then. Where the request log says too little, nothing is left out.
"""

from collections.abc import Iterator
from math import log
from typing import NamedTuple

from watchdog.core import compare, messages, origins, quiet, verdicts, versus
from watchdog.core.before import broken, kept
from watchdog.core.catalogue import Family
from watchdog.core.decide import Step
from watchdog.core.model import Action, Counts, Sample
from watchdog.core.origins import ADDRESS, KNOWN, WORDS, Origin, Seen, Use
from watchdog.core.rules import Rule
from watchdog.core.standing import RuleState
from watchdog.core.state import Watch
from watchdog.core.text import share

MOST = 0.8
"""More than this share of the bad requests is one name's."""
LEAST_BAD = 10.0
"""Bad requests below which nobody is named."""
KEEP_S = 1200.0
"""How long buckets with bad requests are kept: the slowest feed's proofs reach back so far."""
AS_OFTEN = 0.5
"""What fails at least half as often elsewhere, or did before, is not this release's doing."""
LEAST_ELSEWHERE = 5.0
HALF = 0.5
COVERED = 0.8
"""Of the time of a proof so much must have been seen by the feed that names callers."""
SURE = log(100.0)
"""Bad requests that the others would have had, failed they half as often as all together: with this many expected, none
seen is a chance of one in a hundred."""
LEAST_OTHERS = 3
"""Callers who must fare well where the one fails: one more could be a robot of the same house."""
GATEWAY = 4
"""An address that speaks with so many kinds of client software is a proxy, an office or a mobile network."""
COINCIDES_S = 900.0
"""Who fared well before the deploy and fails from its first minutes on is the release's victim, not its noise."""
LEAST_KNOWN = 10.0
BEFORE_S = 3600.0
"""What `Rules.before` counts."""
STRAY = 2.0
"""Bad requests of the others that are no sign of anything, however few requests they are among."""


class Finding(NamedTuple):
    """One name behind an alarm. `why_innocent` is empty where nothing clears the release of it."""

    kind: str
    key: str
    part: float
    """Its share of the bad requests."""
    others_bad: float
    others_total: float
    why_innocent: str = ""

    @property
    def who(self) -> str:
        """As sentences name it."""
        return f"{WORDS[self.kind]} {self.key}"

    @property
    def sentence(self) -> str:
        """What is known, without a full stop."""
        others = f"{self.others_bad:g} of {self.others_total:g} requests"
        said = f"{self.who} is behind {share(self.part)} of the bad requests; of all others {others} were bad"
        return f"one caller: {said}, and {self.why_innocent}" if self.why_innocent else said


class _Span(NamedTuple):
    """The counts of `(since, until]` of the feed that names callers."""

    since: float
    until: float
    bad: float
    total: float
    covered_s: float
    named: dict[tuple[str, str], Origin]


# --- evidence -----------------------------------------------------------------------------------------------------


def remember(watch: Watch, sample: Sample) -> None:
    """Keep who was behind the bad requests of a bucket, of the watched revision or of the control."""
    evidence = sample.evidence
    if not isinstance(evidence, Counts) or not evidence.origins:
        return
    if sample.revision not in {watch.revision, watch.target.revision}:
        return
    key = (sample.source, sample.check, sample.revision)
    seen = Seen(sample.end, sample.start, evidence.origins)
    watch.origins = {**watch.origins, key: origins.added(watch.origins.get(key, ()), seen, KEEP_S)}


# --- judgement ----------------------------------------------------------------------------------------------------


def find(watch: Watch, index: int) -> Finding | None:
    """The name behind the present alarm of a row: one that is innocent if there is one, else whoever it is."""
    rule, state = watch.rules.rules[index], watch.verdicts[index]
    if rule.family is not Family.ERRORS:
        return None
    source = next((s for s, c, r in watch.origins if c == state.check and r == watch.revision), None)
    if source is None:
        return None
    proof = _span(watch, rule, state, source, since=state.quiet_from - state.proof_s)
    whole = _span(watch, rule, state, source, since=state.quiet_from - KEEP_S)
    if proof.bad < LEAST_BAD or not _tells_the_same(proof, state):
        return None
    found = None
    for origin in sorted(proof.named.values(), key=lambda o: (origins.KINDS.index(o.kind), -o.bad)):
        if origin.bad <= MOST * proof.bad or not _others_fine(rule, origin, proof, whole):
            continue
        why = next(_innocent(watch, rule, state, source, origin, proof), "")
        others = _without(origin, proof)
        mine = Finding(origin.kind, origin.key, min(1.0, origin.bad / proof.bad), *others, why)
        if why:
            return mine
        found = found or mine
    return found


def _span(watch: Watch, rule: Rule, state: RuleState, source: str, *, since: float) -> _Span:
    until = state.quiet_from
    stream = watch.streams.get((source, state.check, rule.scope))
    points = stream.series.points if stream else ()
    since = max(since, points[0].start) if points else since
    bad, total = compare.within(points, since, until)
    covered_s = sum(p.end - p.start for p in points if since < p.end <= until)
    named = origins.within(watch.origins.get((source, state.check, watch.revision), ()), since, until)
    return _Span(since, until, bad, total, covered_s, named)


def _tells_the_same(proof: _Span, state: RuleState) -> bool:
    """Whether the feed that names callers saw what raised the alarm: another feed may have, while this one was away."""
    span_s = proof.until - proof.since
    if span_s < HALF * state.proof_s or proof.covered_s < COVERED * span_s:
        return False
    return state.bad_share is None or proof.bad >= HALF * state.bad_share * proof.total


def _without(origin: Origin, span: _Span) -> tuple[float, float]:
    """Bad and total of all others."""
    mine = span.named.get((origin.kind, origin.key))
    bad, total = (mine.bad, mine.total) if mine is not None else (0.0, 0.0)
    return max(0.0, span.bad - bad), max(0.0, span.total - total)


def _others_fine(rule: Rule, origin: Origin, proof: _Span, whole: _Span) -> bool:
    """Whether the row would hold without this name, in the time of the proof and over all that is kept, on as many
    requests as would show it if the others failed half as often as all together.

    More is not asked for: what the others' counts leave open now, the row's next proof is judged on."""
    if broken(*_without(origin, proof), rule.p0):
        return False
    bad, total = _without(origin, whole)
    return bad <= max(STRAY, rule.p0 * total) and HALF * total * proof.bad / proof.total >= SURE


def _innocent(watch: Watch, rule: Rule, state: RuleState, source: str, origin: Origin, proof: _Span) -> Iterator[str]:
    """Why the release is not to blame for what this name suffers."""
    before, asked, span_s = _before(watch, state.check, origin)
    if before >= LEAST_ELSEWHERE and asked and before / asked >= AS_OFTEN * origin.bad / proof.total:
        yield f"it failed as often before the deploy ({before:g} times in {_minutes(span_s)})"
    control = versus.control(watch)
    if control is not None:
        beside = origins.within(watch.origins.get((source, state.check, control), ()), proof.since, proof.until)
        same = beside.get((origin.kind, origin.key))
        if same is not None and same.bad >= LEAST_ELSEWHERE and _rate(same) >= AS_OFTEN * _rate(origin):
            yield f"it fails on {control} as well ({same.bad:g} of {same.total:g})"
    if origin.kind == ADDRESS and origin.agents < GATEWAY and not _was_well(watch, state, origin, proof):
        well = [u for u in origin.uses if _others_use_it_well(u, rule.p0)]
        if sum(u.bad for u in well) > MOST * origin.bad:
            used = max(well, key=lambda u: u.bad)
            yield (
                f"others use {used.route} well ({used.others_bad:g} of {used.others_total:g} requests of "
                f"{len(used.well)} or more callers were bad)"
            )


def _before(watch: Watch, check: str, origin: Origin) -> tuple[float, float, float]:
    """Its bad requests before the deploy, all requests of the same time, and how long that was (seconds). Shares are
    compared, not numbers a second: of a busy project's log only a sample is read."""
    past = next((p for p in watch.past if p.check == check), None)
    if past is None or past.until <= past.since:
        return 0.0, 0.0, 0.0
    span_s = past.until - past.since
    bad = sum(o.bad for o in past.rows if (o.kind, o.key) == (origin.kind, origin.key))
    return bad, watch.rules.before.get(check, (0.0, 0.0))[1] * span_s / BEFORE_S, span_s


def _others_use_it_well(use: Use, p0: float) -> bool:
    others = (use.others_bad, use.others_total)
    as_sick = AS_OFTEN * use.bad / max(use.bad, use.total)
    return len(use.well) >= LEAST_OTHERS and not broken(*others, p0) and kept(*others, as_sick)


def _was_well(watch: Watch, state: RuleState, origin: Origin, proof: _Span) -> bool:
    """Whether the address was among the users before the deploy, fared well then, and fails from the deploy on; or may
    have been, where nobody could say who the users were."""
    since = watch.anchor if watch.cutover_at is None else watch.cutover_at
    if proof.since >= since + COINCIDES_S:
        return False
    past = next((p for p in watch.past if p.check == state.check), None)
    if past is None:
        return True
    known = [o for o in past.rows if o.kind == KNOWN and o.key == origin.key]
    return any(o.total >= LEAST_KNOWN and _rate(o) < AS_OFTEN * _rate(origin) for o in known)


def _rate(origin: Origin) -> float:
    return origin.bad / origin.total if origin.total else 0.0


def _minutes(span_s: float) -> str:
    return f"{max(1.0, span_s / 60.0):.0f} min"


# --- action -------------------------------------------------------------------------------------------------------


def judged(step: Step, index: int) -> str | None:
    """Before a row's action is taken: None when its alarm is one caller's, which is told and needs no action. Else what
    the request log adds to its sentence, mostly nothing."""
    finding = find(step.watch, index)
    if finding is None:
        return ""
    if not finding.why_innocent:
        return f"; {finding.sentence}"
    _demote(step, index, finding)
    return None


def _demote(step: Step, index: int, finding: Finding) -> None:
    """WARN "one caller": the row's counts are one name's, so nothing is rolled back for the present alarm."""
    watch = step.watch
    rule, state = watch.rules.rules[index], watch.verdicts[index]
    sentence = f"{state.reason}; {finding.sentence}"
    watch.verdicts = (
        *watch.verdicts[:index],
        state._replace(reason=sentence, one_caller=sentence, decided=True),
        *watch.verdicts[index + 1 :],
    )
    verdicts.say(watch, (index,))
    if watch.told_callers.get(finding.who, _LONG_AGO) > watch.at - quiet.REPEAT_S:
        return
    watch.told_callers = {**dict(list(watch.told_callers.items())[-MOST_TOLD:]), finding.who: watch.at}
    reason = f"One caller, not the release: {messages.place(watch)}: {sentence}. Nothing is rolled back for it."
    step.decide(Action.INVESTIGATE, rule.label, reason)
    step.notify(
        messages.body(
            watch,
            "warning",
            severity="warning",
            title=f"One caller: {messages.place(watch)}: {rule.label}",
            happened=reason,
            did="Nothing: traffic stays, and everybody else is watched on.",
            over="No.",
            todo=f"Talk to whoever runs {finding.who}, or block it. If it is the release after all: "
            f"`watchdog rollback {watch.id} --reason …`.",
            evidence=[(rule.label, sentence)],
            criterion=rule.label,
        )
    )


MOST_TOLD = 31
_LONG_AGO = float("-inf")
