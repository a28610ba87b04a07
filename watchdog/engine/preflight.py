"""Could we roll back right now? Asked before the night on which we have to, without changing anything.

Every check asks the same parts that a watch and a rollback use, so that what passes here works there.
"""

import asyncio
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

from watchdog.core import multi_region, traffic
from watchdog.core.events import Lag
from watchdog.core.model import Missing, RevisionState, Sample, ServiceKey, ServiceState, Split, tags_by_revision
from watchdog.core.policy import Policy
from watchdog.core.schema import differs
from watchdog.core.service import Service, bad_fingerprints
from watchdog.core.text import listing
from watchdog.engine import metering
from watchdog.engine.backed_up import MOST_S, backed_up
from watchdog.engine.coldness import cold
from watchdog.engine.findings import Finding
from watchdog.engine.opening import Notice, find_target
from watchdog.engine.preflight_beyond import beyond
from watchdog.engine.probing import Route, once_all, unable
from watchdog.engine.steadiness import steady
from watchdog.engine.tools import Tools
from watchdog.engine.trust import Checked, judged
from watchdog.errors import TemporaryError, WatchdogError
from watchdog.ports import About, Backups, MetricQuery, Rights, Source

PATIENCE_S: Final = 10.0
"""How long a source may take to announce itself: nobody is waiting to be rolled back."""
RECENT_S: Final = 600.0
"""A metric without data for so long would not be there for a deploy either."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Preflight:
    """Every check of one service, and what of it is remembered: whether a rollback could be written."""

    findings: Sequence[Finding]
    checked: Checked


async def preflight(
    tools: Tools,
    rights: Rights,
    policy: Policy,
    service: Service,
    backups: Backups | None = None,
    *,
    backup_s: float = MOST_S,
) -> Preflight:
    """Every check of one service, in the order in which a rollback would need them. Writes nothing. `service` is what
    is remembered of it; without `backups` databases are not asked about, else their last backup may be `backup_s` old.
    What the outside answers badly is a finding, never an error."""
    key = service.key
    state, read = await _read(tools, key)
    allowed, checked = await _allowed(rights, policy, key)
    now = tools.clock.now()
    saved = [] if backups is None else await backed_up(backups, policy, most_s=backup_s, now=now)
    if state is None:  # whether we may write a service that we cannot even read, no answer can tell
        return Preflight(findings=[*read, *allowed, *_mode(policy, state), *saved], checked=Checked(passed=None))
    allowed = [*allowed, *_mode(policy, state, checked)]
    found = await _of_service(tools, policy, service, state, [*read, *allowed])
    return Preflight(findings=[*found, *saved], checked=checked)


async def _of_service(
    tools: Tools, policy: Policy, service: Service, state: ServiceState, read: Sequence[Finding]
) -> list[Finding]:
    try:
        revisions: Sequence[RevisionState] = await tools.traffic.revisions(service.key)
    except WatchdogError as error:
        return [*read, _refused("run.revisions.list", error), *await _answers(tools, policy, state)]
    listed = Finding(check="run.revisions.list", mark="ok", detail=f"{len(revisions)} revisions")
    watched = _serving(state, revisions)
    targets = list(_target(policy, service, state, revisions, watched, tools.clock.now()))
    probes, metrics = await asyncio.gather(_answers(tools, policy, state), _metrics(tools, policy, state, watched))
    stable = await steady(tools, policy, service, state, metrics.lags, metrics.samples)
    target = find_target(Notice(), state, service, revisions, watched, tools.clock.now()).revision
    chill = await cold(tools, policy, service.key, metrics.lags, watched=watched, target=target)
    more = await beyond(tools, policy, state, revisions, watched)
    return [*read, listed, *targets, *chill, *probes, *metrics.found, *stable, *more]


def _serving(state: ServiceState, revisions: Sequence[RevisionState]) -> str:
    """The newest revision that serves: what would be rolled back now."""
    serving = [r.name for r in revisions if state.split.percent_of(r.name) > 0]
    return serving[0] if serving else state.latest_ready or state.latest_created


# --- the Admin API ------------------------------------------------------------------------------------------------


async def _read(tools: Tools, key: ServiceKey) -> tuple[ServiceState | None, list[Finding]]:
    try:
        state = await tools.traffic.read(key)
    except WatchdogError as error:
        return None, [_refused("Admin API", error)]
    found = [Finding(check="Admin API", mark="ok", detail=f"readable: {state.split} serves at {state.url}")]
    try:
        await tools.traffic.list_services(key.project, key.region)
    except WatchdogError as error:
        found.append(_refused("run.services.list", error))
    else:
        found.append(Finding(check="run.services.list", mark="ok", detail="deploys can be discovered"))
    return state, found


def _refused(check: str, error: WatchdogError) -> Finding:
    todo = "Try again; if it stays so, look at the network and Google's status page."
    if not isinstance(error, TemporaryError):
        todo = "The sentence says which right or name is wrong; deploy/README.md has the commands."
    return Finding(check=check, mark="problem", detail=str(error), todo=todo)


async def _allowed(rights: Rights, policy: Policy, key: ServiceKey) -> tuple[list[Finding], Checked]:
    observe = policy.rollback.mode == "observe"
    try:
        held = await rights.rights(key)
    except WatchdogError as error:
        said = f"Write permission not tested: {error}"
        checked = Checked(passed=None if isinstance(error, TemporaryError) else True)
        return [Finding(check="permissions", mark="unknown", detail=said, todo=rights.untested)], checked
    found: list[Finding] = []
    for right in held:
        if right.held:
            found.append(Finding(check=right.permission, mark="ok", detail=f"granted: {right.purpose}"))
        elif right.writes and observe:
            detail = f"not granted, and not needed in observe mode: {right.purpose}"
            found.append(Finding(check=right.permission, mark="ok", detail=detail))
        else:
            detail = f"NOT granted: {right.purpose}"
            found.append(Finding(check=right.permission, mark="problem", detail=detail, todo=right.remedy))
    if not observe:
        detail = "Write permission not tested further: nothing is written here."
        found.append(Finding(check="write", mark="unknown", detail=detail, todo=rights.untested))
    return found, judged(held)


def _mode(policy: Policy, state: ServiceState | None, checked: Checked | None = None) -> Iterator[Finding]:
    refused = multi_region.why_not_automatic(policy, state) if state is not None else None
    if refused is not None:
        todo = "Set rollback.mode: approve, so that the policy says what happens; or deploy a service in each region."
        yield Finding(check="mode", mark="problem", detail=refused, todo=todo)
        return
    said = {
        "observe": "observe: it tells what it would do and moves nothing",
        "approve": "approve: a person is asked before traffic moves",
        "automatic": "automatic: it moves traffic by itself",
    }
    if policy.rollback.mode == "automatic" and checked is not None and checked.passed is False:
        detail = "automatic, but it acts as approve until a preflight passes: a person is asked before traffic moves"
        yield Finding(
            check="mode", mark="ok", detail=detail
        )  # what is missing is told, and counted, where it is tested
        return
    yield Finding(check="mode", mark="ok", detail=said[policy.rollback.mode])


# --- the target ---------------------------------------------------------------------------------------------------


def _target(
    policy: Policy,
    service: Service,
    state: ServiceState,
    revisions: Sequence[RevisionState],
    watched: str,
    now: float,
) -> Iterator[Finding]:
    target = find_target(Notice(), state, service, revisions, watched, now)
    if not target.split.shares:
        detail = f"nothing to go back to from {watched}: no other revision is Ready and not known to be bad"
        yield Finding(check="target", mark="problem", detail=detail, todo="Keep the revision before, or deploy again.")
        return
    bad = bad_fingerprints(service, now)
    verdict = traffic.preflight(state, revisions, watched=watched, target=target.split, known_bad=bad)
    ready = next((r for r in revisions if r.name == watched), None)
    if not isinstance(verdict, traffic.Go):
        yield Finding(check="target", mark="problem", detail=verdict.reason, todo="Name another with --previous.")
    elif ready is not None and not ready.rollback_safe:
        detail = f"{watched} carries the label that says a rollback is not safe: it would page instead"
        yield Finding(check="target", mark="problem", detail=detail, todo="Have the way back by hand ready.")
    elif changed := _schema_changed(policy, revisions, watched, verdict.split):
        detail = f"{changed}: a rollback would be refused, and page instead"
        yield Finding(check="target", mark="problem", detail=detail, todo="Have the migration's way back ready.")
    else:
        guess = "; a guess: what served before it was not seen" if target.source == "ready_revisions" else ""
        detail = f"{watched} would go back to {target.split}, Ready{guess}" + (
            f" ({verdict.note})" * bool(verdict.note)
        )
        yield Finding(check="target", mark="ok", detail=detail)
    previous = target.revision
    if previous in tags_by_revision(state.tags):
        yield Finding(check="tag", mark="ok", detail=f"{previous} has a URL of its own")
    else:
        command = f"gcloud run services update-traffic {state.name} --project {state.project} --region {state.region}"
        yield Finding(
            check="tag",
            mark="unknown",
            detail=f"{previous} has no tag: it cannot be warmed, nor asked whether going back would help",
            todo=f"{command} --update-tags previous={previous}",
        )


def _schema_changed(policy: Policy, revisions: Sequence[RevisionState], watched: str, target: Split) -> str:
    label = policy.rollback.schema_label
    declared = {r.name: r.labels[label] for r in revisions if r.labels.get(label)} if label is not None else {}
    return differs(label, declared, watched, target.revisions)


# --- evidence -----------------------------------------------------------------------------------------------------


async def _answers(tools: Tools, policy: Policy, state: ServiceState) -> list[Finding]:
    """Every probe once, where users ask. Journeys are not run: they write into the service."""
    base, revision = policy.service.url or state.url, state.split.sole or ""
    routes = [Route(probe=p, base_url=base, revision=revision) for p in policy.probes.values()]
    answers = await once_all(tools, routes, control_url=tools.traffic.endpoint)
    found: list[Finding] = []
    for name, answer in answers.items():
        check, took = f"probe {name}", answer.ended_at - answer.started_at
        if answer.ok:
            found.append(Finding(check=check, mark="ok", detail=f"answered {answer.status} in {took * 1000:.0f} ms"))
            continue
        said = answer.detail or answer.reason
        todo = "A probe that never passed cannot roll back: mend the probe or the service."
        if isinstance(answer.evidence, Missing) and answer.reason == "access":
            todo = "Set `auth: id_token` on the probe and grant roles/run.invoker on the service."
        elif isinstance(answer.evidence, Missing):
            found.append(Finding(check=check, mark="unknown", detail=said, todo="Look at our own network, try again."))
            continue
        found.append(Finding(check=check, mark="problem", detail=said, todo=todo))
    if not found:
        todo = "Add one to the policy: nothing else shows an outage within seconds."
        found.append(Finding(check="probes", mark="unknown", detail="the policy has no probe", todo=todo))
    for name, why in unable(tools, policy).items():
        found.append(
            Finding(check=name, mark="unknown", detail=f"would not be run: {why}", todo="Set what is missing.")
        )
    return found


class _Evidence(NamedTuple):
    """What the metric sources fed lately, and what was found of it."""

    found: Sequence[Finding]
    lags: Sequence[Lag]
    samples: Sequence[Sample]


async def _metrics(tools: Tools, policy: Policy, state: ServiceState, revision: str) -> _Evidence:
    key = ServiceKey(project=state.project, region=state.region, name=state.name)
    lags, notes = await metering.announce(tools, key, policy, PATIENCE_S)
    found = [
        Finding(
            check="evidence", mark="problem", detail=note, todo="Grant the role that is named, or drop the rows on it."
        )
        for note in notes
    ]
    base = (policy.service.url or state.url) if state.split.sole == revision else ""
    behind = {
        source.name: max(lag.lag_s + lag.period_s for lag in lags if lag.source == source.name)
        for source in tools.sources
        if any(lag.source == source.name for lag in lags)
        and not any(note.startswith((f"Without {source.name}:", f"{source.name} cannot")) for note in notes)
    }
    asked = [source for source in tools.sources if source.name in behind]
    now = tools.clock.now()

    def query(source: Source) -> MetricQuery:
        return MetricQuery(
            service=key,
            revision=revision,
            start=now - RECENT_S - behind[source.name],
            end=now,
            policy=policy,
            about=About(base_url=base, public_url=policy.service.url or state.url),
        )

    checks = {s.name: {lag.check for lag in lags if lag.source == s.name} for s in asked}
    tails = {s.name for s in asked if all(0.0 < lag.lag_s <= metering.PROMPT_S for lag in lags if lag.source == s.name)}
    recent = await asyncio.gather(
        *(_recent(tools, s, query(s), checks[s.name], is_tail=s.name in tails) for s in asked)
    )
    found += [finding for finding, _ in recent]
    if not asked and not notes:
        todo = "Name the metrics of the rows, or look at the log: probes and signals alone can prove anything."
        found.append(Finding(check="evidence", mark="unknown", detail="no metric source feeds this policy", todo=todo))
    return _Evidence(found, lags, [s for _, samples in recent for s in samples])


async def _recent(
    tools: Tools, source: Source, query: MetricQuery, checks: set[str], *, is_tail: bool
) -> tuple[Finding, Sequence[Sample]]:
    """Whether data came in the last ten minutes. A tail, which tells only of what happens from now on, proves itself
    by being opened."""
    name = f"metrics {source.name}"
    if is_tail:
        return Finding(check=name, mark="ok", detail="readable: the live feed was not refused"), ()
    try:
        async with asyncio.timeout(metering.QUERY_S):
            samples = await source.sample(query, now=tools.clock.now())
    except TimeoutError:
        detail = f"no answer within {metering.QUERY_S:.0f} s"
        todo = "Try again; look at the source and the network."
        return Finding(check=name, mark="problem", detail=detail, todo=todo), ()
    except WatchdogError as error:
        return _refused(name, error), ()
    with_data = {s.check for s in samples if not isinstance(s.evidence, Missing)} & checks
    if with_data:
        absent = sorted(checks - with_data)
        note = f"; nothing for {listing(absent)}" if absent else ""
        return Finding(check=name, mark="ok", detail=f"data in the last 10 minutes{note}"), samples
    reasons = sorted({s.evidence.reason for s in samples if isinstance(s.evidence, Missing)})
    detail = f"no data in the last 10 minutes ({', '.join(reasons) or 'no series'})"
    todo = "Right for a service without traffic; else check project, names and queries in the policy."
    return Finding(check=name, mark="unknown", detail=detail, todo=todo), samples
