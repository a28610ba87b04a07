"""Is production stable now? The last minutes go through the fold that judges a watch, so both mean the same.

What is broken before a deploy disarms its own row, and holds a rollback: so it is asked before.
"""

from collections.abc import Iterator, Sequence
from typing import Final

from watchdog.core import watch as folding
from watchdog.core.events import Lag, Opened, Sampled, Target, Ticked
from watchdog.core.model import Action, Deploy, Sample, ServiceKey, ServiceState, Severity, Table, Verdict
from watchdog.core.policy import Policy
from watchdog.core.service import Service
from watchdog.core.state import Watch
from watchdog.core.text import span
from watchdog.engine.findings import Finding
from watchdog.engine.tools import Tools
from watchdog.errors import WatchdogError

CHECK: Final = "production"
_LOUD: Final = {Verdict.FAIL, Verdict.WARN}


async def steady(
    tools: Tools, policy: Policy, service: Service, state: ServiceState, lags: Sequence[Lag], samples: Sequence[Sample]
) -> list[Finding]:
    """What speaks against a deploy now: Cloud Run itself, a watch with an open incident, rows that are broken."""
    found = [*_cloud_run(state), *await _watched(tools, service.key), *_pinned(service)]
    judged = judge(policy, service.key, lags, samples, now=tools.clock.now()) if samples else None
    return [*found, *_rows(judged, quiet=not any(f.mark == "problem" for f in found))]


def judge(policy: Policy, key: ServiceKey, lags: Sequence[Lag], samples: Sequence[Sample], *, now: float) -> Watch:
    """A watch that observes, of what these samples tell, as if the revision had begun to serve with the first one."""
    start = min(s.start for s in samples)
    only = policy.model_copy(update={"rollback": policy.rollback.model_copy(update={"mode": "observe"})})
    opening = Opened(
        at=start,
        watch="preflight",
        deploy=Deploy(service=key, revision=next((s.revision for s in samples if s.revision), "")),
        policy=only.canonical(),
        policy_hash=policy.hash,
        target=Target(),
        split=Target().split,
        cutover_at=start,
        lags=tuple(lags),
        cold_start=False,
    )
    watch, _ = folding.opened(opening)
    behind = {(lag.source, lag.check): lag.lag_s for lag in lags}
    seen: dict[float, list[Sample]] = {}
    for sample in samples:
        seen.setdefault(min(now, sample.end + behind.get((sample.source, sample.check), 0.0)), []).append(sample)
    for at in sorted(seen):
        watch, _ = folding.advance(watch, Sampled(at=at, samples=tuple(seen[at])))
    return folding.advance(watch, Ticked(at=now))[0]


def _rows(watch: Watch | None, *, quiet: bool) -> Iterator[Finding]:
    broken, proven = list[tuple[bool, str]](), 0
    for rule, verdict in zip(watch.rules.rules, watch.verdicts, strict=True) if watch is not None else ():
        loud = rule.row.action is Action.ROLLBACK or rule.row.severity is Severity.CRITICAL
        if verdict.verdict in _LOUD:
            broken.append((loud, f"{rule.row.label} is broken: {verdict.reason}"))
        # A check that passed says nothing of how the service fares.
        proven += verdict.verdict is Verdict.PASS and rule.row.table is not Table.CHECK
    todo = "Mend it first: what is broken before a deploy cannot be held against it, and keeps a rollback back."
    for loud, said in broken:
        yield Finding(check=CHECK, mark="problem" if loud else "unknown", detail=said, todo=todo)
    if broken or not quiet:
        return
    if watch is None or not proven:
        detail = "too little was seen in the last minutes to say whether it is stable"
        yield Finding(check=CHECK, mark="unknown", detail=detail, todo="Look at the dashboard before you deploy.")
        return
    passed = f"{proven} rows pass" if proven > 1 else "1 row passes"
    ago = span(watch.at - (watch.cutover_at or watch.at))
    yield Finding(check=CHECK, mark="ok", detail=f"no row is broken and {passed} on the last {ago}")


def _cloud_run(state: ServiceState) -> Iterator[Finding]:
    if state.ready is False:
        detail = f"Cloud Run says that the service is not Ready: {state.ready_message or 'no reason given'}"
        yield Finding(check=CHECK, mark="problem", detail=detail, todo="Mend or undo what was deployed last.")
    elif state.ready is None:
        detail = "Cloud Run is still at work on a change of this service"
        yield Finding(check=CHECK, mark="unknown", detail=detail, todo="Wait until it is done, then ask again.")


async def _watched(tools: Tools, key: ServiceKey) -> list[Finding]:
    try:
        rows = await tools.store.watches(open_only=True)
    except WatchdogError:
        return []  # the store has a line of its own
    found = []
    for row in rows:
        if (row.project, row.region, row.service) != (key.project, key.region, key.name):
            continue
        incident = row.view.get("incident") or {}
        if incident.get("opened_at") and not incident.get("resolved_at"):
            detail = f"watch {row.id} of {row.revision} has an open incident: {incident.get('title')}"
            todo = f"watchdog status {row.id}"
            found.append(Finding(check=CHECK, mark="problem", detail=detail, todo=todo))
        else:
            detail = f"watch {row.id} of {row.revision} still runs: {row.state.replace('_', ' ')}"
            todo = "A deploy now supersedes it; what it was to prove stays unproven."
            found.append(Finding(check="watch", mark="unknown", detail=detail, todo=todo))
    return found


def _pinned(service: Service) -> Iterator[Finding]:
    if service.pinned is not None and not service.release_on_next:
        detail = "traffic is pinned since a rollback: the next deploy gets 0 %"
        yield Finding(check="pin", mark="unknown", detail=detail, todo=f"watchdog release {service.key.name} --on-next")
