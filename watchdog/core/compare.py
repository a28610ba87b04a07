"""New against old: when both revisions serve the same users in the same seconds, an outage that they share is no reason
to roll back.

Over the same time, with `p` the new revision's bad share, `p_base` the share before the deploy, and the control's own
`n` events with `e` bad ones::

    lam = e·ln(p / p_base) − n·(p − p_base)

is the log likelihood ratio of "the control is as sick as the new one" over "the control is as it always was" (Poisson
counts). Above zero the control looks more like the new revision than like its own past. Asking only whether the control
is sick failed on partial outages (research/statistics.md section 5).
"""

from collections.abc import Sequence
from math import log
from typing import NamedTuple

from watchdog.core.track import Point

LOOK_BACK_S = 120.0
"""The least time before an alarm over which both are compared."""
SHOWN = 5.0
"""Bad events that the control would have shown by now, were it as sick: fewer prove nothing yet."""
PATIENCE_S = 60.0
"""How long an alarm waits for the control to have had that chance."""
LEAST_BASE = 1e-4
"""The smallest bad share taken as normal: a base of exactly zero would make one stray error look like sickness."""
KEEP_S = 900.0
"""How long an arm's counts are kept."""

Arm = tuple[Point, ...]
"""One revision's counts of one check from one source, by the ends of the samples."""


class Comparison(NamedTuple):
    """What the control's counts say: `sick`, `well`, or `early` while they are too few to tell."""

    says: str
    bad: float
    total: float

    @property
    def share(self) -> float:
        """The control's own bad share."""
        return self.bad / self.total if self.total else 0.0


def compare(*, bad: float, total: float, control_bad: float, control_total: float, base: float) -> Comparison:
    """Hold `bad` of `total` of the new revision against the control's counts over the same time. `base` is the share
    that was normal before the deploy."""
    if total <= 0.0 or control_total <= 0.0:
        return Comparison("early", control_bad, control_total)
    p = min(1.0, bad / total)
    p_base = max(base, LEAST_BASE)
    if p > p_base and control_bad * log(p / p_base) > control_total * (p - p_base):
        return Comparison("sick", control_bad, control_total)
    return Comparison("well" if control_total * p >= SHOWN else "early", control_bad, control_total)


def normal(bad: float, total: float, limit: float) -> float:
    """The bad share to take as normal after `bad` of `total` before the deploy. Few events prove little: what they
    leave open counts, up to what the row allows (`limit`), or to what was really seen."""
    if total <= 0.0:
        return limit
    return max(LEAST_BASE, min((bad + 1.0) / (total + 1.0), max(limit, bad / total)))


def added(arm: Arm, point: Point) -> Arm:
    """The arm with one more sample; the same interval again replaces the earlier one."""
    newest = max(point.end, arm[-1].end) if arm else point.end
    kept = [p for p in arm if p[:2] != point[:2] and p.end > newest - KEEP_S]
    if not kept or point.end >= kept[-1].end:
        return (*kept, point)
    return tuple(sorted((*kept, point)))


def within(arm: Sequence[Point], since: float, until: float) -> tuple[float, float]:
    """Bad and total of the samples that ended in `(since, until]`."""
    inside = [p for p in arm if since < p.end <= until]
    return sum(p.bad for p in inside), sum(p.total for p in inside)
