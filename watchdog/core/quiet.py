"""What is not said: consequences of something that was said already, and the same thing over and over.

Nothing is lost by it: every alarm is in the timeline and in the window's digest, and what is still so when its root
cause has gone is said then. A resolve is never kept back.
"""

from watchdog.core.state import Watch

REPEAT_S = 4 * 3600.0
"""A row that clears and breaks again is not told again sooner than this; the digest counts it."""
DOWN = 2
"""A probe that failed so often in a row is the root of whatever else breaks meanwhile."""
_UNWRITTEN = frozenset({"observed", "failed"})
_LASTING = frozenset({"person", "refused"})
"""Holds that may outlast what led to them."""


def root_cause(watch: Watch) -> bool:
    """Whether something is known to be wrong that explains the rest: a rollback, what may become one, a service that is
    down."""
    if any(x is not None for x in (watch.warming, watch.versus, watch.pending_trigger)):
        return True
    if any(c.failures >= DOWN for c in watch.confirmations.values()):
        return True
    rollback, held, incident = watch.rollback, watch.hold, watch.incident
    if held is not None and held.kind not in _LASTING:
        return True
    if rollback is not None and rollback.stage not in _UNWRITTEN:
        return True
    # A refused or unwritten rollback stays so for a day; it explains the rest only while the service is not well.
    proven = rollback is not None or (held is not None and held.kind == "refused")
    return proven and incident is not None and incident.open and incident.calm_since is None


def repeats(watch: Watch, rule: int, *, pages: bool) -> bool:
    """Whether this row was told lately. A critical one is told again once its incident was resolved."""
    last = watch.said.get(rule)
    if last is None or watch.at - last >= REPEAT_S:
        return False
    return not pages or (watch.incident is not None and watch.incident.open)
