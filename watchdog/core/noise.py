"""A caller who fails on both revisions, beside a release that fails for the others as well.

Such a caller says nothing about whether going back helps, but he makes the old revision look as sick: a trial would put
a bad release back, and a rollback that helped would be told as one that did not. So he is left out of both revisions'
counts; but only while the others alone still prove the row broken, since else he is what the rollback is about.
"""

from collections.abc import Iterable, Mapping

from watchdog.core import origins
from watchdog.core.acts import Trial
from watchdog.core.before import broken
from watchdog.core.model import Counts, Sample
from watchdog.core.origins import ADDRESS, Origin
from watchdog.core.rules import Rule
from watchdog.core.state import Watch
from watchdog.core.two_arms import Served

LEAST = 5.0
"""Bad requests of his on each revision."""
HALF = 0.5
"""He is behind as much of what fails on the old revision at least."""


def addresses(evidence: Counts) -> tuple[Origin, ...]:
    """The addresses behind a bucket's bad requests, as far as they are told."""
    return tuple(o for o in evidence.origins if o.kind == ADDRESS)


def on_trial(trial: Trial, p0: float) -> str:
    """The address to leave out of a trial's counts; empty without one."""
    watched, target = list(trial.watched.values()), list(trial.target.values())
    mine, there = _by_address(watched), _by_address(target)
    for key, (bad, _) in there.items():
        failed, asked = mine.get(key, (0.0, 0.0))
        others = (sum(s.bad for s in watched) - failed, sum(s.total for s in watched) - asked)
        if min(bad, failed) < LEAST or bad < HALF * sum(s.bad for s in target):
            continue
        if broken(*others, p0):
            return key
    return ""


def without(arm: Served, address: str) -> Served:
    """An arm's counts without the address's."""
    mine = next((o for o in arm.addresses if o.key == address), None)
    if mine is None:
        return arm
    return Served(max(0.0, arm.bad - mine.bad), max(0.0, arm.total - mine.total), arm.kinds)


def _by_address(arms: Iterable[Served]) -> Mapping[str, tuple[float, float]]:
    found: dict[str, tuple[float, float]] = {}
    for arm in arms:
        for mine in arm.addresses:
            bad, total = found.get(mine.key, (0.0, 0.0))
            found[mine.key] = (bad + mine.bad, total + mine.total)
    return found


def after_rollback(watch: Watch, rule: Rule, sample: Sample, evidence: Counts) -> tuple[float, float]:
    """Bad and total of the restored revision, without the address that failed on the one before as well."""
    address = next((o for o in addresses(evidence) if o.bad >= HALF * evidence.bad), None)
    if address is None:
        return evidence.bad, evidence.total
    key = (sample.source, sample.check, watch.revision)
    stream = watch.streams.get((sample.source, sample.check, rule.scope))
    points = stream.series.points if stream is not None else ()
    since = points[0].start if points else watch.at  # what came before, at a cold start, is not among the points
    mine = origins.within(watch.origins.get(key, ()), since, watch.at).get((ADDRESS, address.key))
    if mine is None or mine.bad < LEAST:
        return evidence.bad, evidence.total
    bad, total = sum(p.bad for p in points), sum(p.total for p in points)
    if not broken(max(0.0, bad - mine.bad), max(0.0, total - mine.total), rule.p0):
        return evidence.bad, evidence.total
    return max(0.0, evidence.bad - address.bad), max(0.0, evidence.total - address.total)
