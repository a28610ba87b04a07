"""What must go on at this moment: which probes at which paths how often, which confirmations, which metrics.

The plan follows from the watch alone, so after a crash the engine takes up exactly what the journal says.
"""

from dataclasses import dataclass

from watchdog.core import recovery, versus, warming
from watchdog.core.model import State
from watchdog.core.probing import Purpose, Role
from watchdog.core.rules import latency_limits
from watchdog.core.state import Watch

TRAFFIC_EVERY_S = 1.0
"""How often traffic is read while a rollback settles."""


@dataclass(frozen=True, slots=True)
class Ask:
    """One probe to be sent again and again until it leaves the plan.

    `since` fixes the grid: attempt k is sent at `since + k·every_s`; for a regular probe the grid is the engine's own.
    """

    probe: str
    role: Role
    purpose: Purpose
    every_s: float
    since: float = 0.0
    at_once: int = 1
    """So many requests at a time, whose worst answer counts."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """Everything that goes on for a while."""

    asks: frozenset[Ask] = frozenset()
    metrics: str | None = None
    """The revision whose metrics are read."""
    metrics_since: float = 0.0
    control: str | None = None
    """The revision whose counts are read beside it: the one before, while both have traffic."""
    beside: tuple[str, ...] = ()
    """Revisions that a trial rollback gave traffic to, whose counts are read from `beside_since` on."""
    beside_since: float = 0.0
    traffic_every_s: float | None = None
    """How often the service's traffic is read."""
    latency_limits_s: tuple[float, ...] = ()


def plan(watch: Watch) -> Plan:
    """What must go on now."""
    if not watch.open:
        return Plan()
    policy = watch.rules.policy
    poll = policy.service.discover_every_s
    if watch.cutover_at is None:
        return Plan(traffic_every_s=min(poll, 2.0))
    asks: set[Ask] = set()
    rollback = watch.rollback
    moved = rollback is not None and rollback.written_at is not None
    if not moved:
        asks |= _regular(watch) | _confirming(watch) | _warming(watch)
    elif rollback is not None and rollback.stage == "verifying" and rollback.restored_at is not None:
        since = rollback.restored_at
        asks |= {
            Ask(n, Role.PUBLIC, Purpose.VERIFY, recovery.verify_every_s(watch, n), since)
            for n in recovery.must_pass(watch)
            if not recovery.verified(watch, n) or n in watch.rules.policy.probes
        }
    revision, since, tried = watch.revision, watch.cutover_at, watch.on_trial
    if moved and rollback is not None:
        revision, since = watch.target.revision, rollback.restored_at or watch.at
    return Plan(
        asks=frozenset(asks),
        metrics=revision,
        metrics_since=since,
        control=None if moved else versus.control(watch),
        beside=tried.targets if tried is not None else (),
        beside_since=tried.written_at if tried is not None else 0.0,
        traffic_every_s=TRAFFIC_EVERY_S if watch.state is State.VERIFYING or tried is not None else poll,
        latency_limits_s=latency_limits(watch.rules.rules),
    )


def _regular(watch: Watch) -> set[Ask]:
    role = watch.judged_role
    if role is None:
        return set()
    policy, window = watch.rules.policy, watch.probing.window
    # A probe with a URL of its own reaches whatever serves: while the split is mixed that proves nobody's guilt.
    names = [n for n, p in policy.probes.items() if role is Role.PUBLIC or p.url is None]
    names += [n for n in watch.rules.journeys if policy.runs_in(n, window)]
    return {Ask(n, role, Purpose.REGULAR, watch.every_s(n)) for n in names}


def _confirming(watch: Watch) -> set[Ask]:
    role = watch.judged_role
    asks: set[Ask] = set()
    if role is None or (watch.rollback is not None and watch.on_trial is None):
        return asks
    for name, c in watch.confirmations.items():
        roles = {role}
        if watch.probe(name).url is None:
            roles |= {r for r in (Role.OWN, Role.CONTROL) if watch.tag_url(r) is not None}
        # What is proven but may not act is asked on at leisure: only the control's pass would change that.
        idle = c.complete and not watch.armed(name)
        every = watch.every_s(name) if idle else c.rule.every_s
        asks |= {Ask(name, r, Purpose.CONFIRM, every, c.failed_at) for r in roles}
    return asks


def _warming(watch: Watch) -> set[Ask]:
    """With every probe while an alarm of counts waits for it; with one beside a confirmation, which waits not."""
    if watch.rollback is not None:
        return set()
    names, at_once = warming.names(watch), warming.size(watch)
    if watch.warming is not None:
        since = watch.warming.until - watch.rules.policy.rollback.warm_s
        return {Ask(n, Role.CONTROL, Purpose.WARM, 1.0, since, at_once if n == names[0] else 1) for n in names}
    proving = [c for c in watch.confirmations.values() if watch.armed(c.probe)]
    if at_once == 1 or not proving or not names or watch.tag_url(Role.CONTROL) is None:
        return set()
    return {Ask(names[0], Role.CONTROL, Purpose.WARM, 1.0, proving[0].failed_at, at_once)}
