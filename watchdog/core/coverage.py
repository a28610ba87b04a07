"""Was enough seen to say anything? Coverage of windows, blindness, and the verdict on a whole watch."""

from math import inf

from watchdog.core.cover import Cover
from watchdog.core.model import Action, Outcome, Verdict, Window
from watchdog.core.rules import Rule
from watchdog.core.state import Watch
from watchdog.core.text import listing, share

BLIND_DIRECT_S = 300.0
BLIND_LAGGED_S = 600.0
DIRECT_LAG_S = 30.0
"""Feeds that are at most this late are direct."""
NAMED = 4
"""Rows that a sentence names before it counts the rest."""
_NONE = Cover()


def lag(watch: Watch, check: str) -> float:
    """How far behind now the check's newest complete evidence may lie (seconds)."""
    known = watch.rules.behind.get(check)
    return watch.behind.get(check, 0.0) if known is None else known


def _of_check(watch: Watch, check: str, index: int, until: float) -> float | None:
    """The share of the window for which a check has evidence, by the reckoning of its best feed: a slower one is asked
    for less of the end, and is enough."""
    if watch.cutover_at is None or not watch.rules.policy.runs_in(check, watch.rules.policy.windows[index].window):
        return None
    start, end = watch.bounds()[index]
    warm = watch.cutover_at + watch.rules.cold_s(check)
    every = watch.rules.policy.service.metrics_every_s
    # Samples lie on their feed's own grid: the first whole one begins up to a period after the cold start, and the last
    # complete one is seen when the source is asked again.
    feeds = [(g.period_s, g.lag_s + g.period_s + min(g.period_s, every)) for g in watch.rules.feeds.get(check, ())]
    cover, found = watch.covers.get(check, _NONE), []
    for late, behind in feeds or [(0.0, lag(watch, check))]:
        first, last = max(start, warm + late), min(end, until - behind)
        if last > first:
            found.append(min(1.0, cover.seconds(index, (first, last)) / (last - first)))
    best = max(found, default=None)
    waits = len(found) < len(feeds)  # a slower feed is not due yet, and may still show what a faster one missed
    return None if best is not None and waits and best < watch.rules.policy.coverage_floor else best


def of_rule(watch: Watch, rule: Rule, index: int, until: float) -> float | None:
    """The share of the window's watched time with usable evidence for a rule; None when nothing is left to watch.

    A probe row is covered as its least covered probe; a latency row by whichever of its two checks has evidence.
    """
    if watch.rules.policy.windows[index].window not in rule.row.windows:
        return None
    if rule.row.until_s is not None:
        until = min(until, (watch.cutover_at or 0.0) + rule.row.until_s)
    found = [c for c in (_of_check(watch, check, index, until) for check in rule.checks) if c is not None]
    if not found:
        return None
    return min(found) if rule.family in {"probes", "journeys"} else max(found)


def watched_until(watch: Watch) -> float:
    """Up to when there is something to cover: now, the end, or the rollback that took the traffic away."""
    written = watch.rollback.written_at if watch.rollback else None
    return min(watch.at, watch.ends_at, written if written is not None else inf)


def of_window(watch: Watch, index: int, until: float) -> float | None:
    """The lowest coverage among the window's rollback rows; None when none has anything to watch."""
    found = [of_rule(watch, watch.rules.rules[i], index, until) for i in watch.rules.rollback]
    return min((c for c in found if c is not None), default=None)


def slowest_lag(watch: Watch) -> float:
    """The lag of the slowest source that feeds a rollback row."""
    checks = watch.rules.rollback_checks
    announced = (g.lag_s + g.period_s for c in checks for g in watch.rules.feeds.get(c, ()))
    return max((*announced, *(lag(watch, c) for c in checks)), default=0.0)


def open_alarms(watch: Watch) -> tuple[Rule, ...]:
    """Rollback rows that are failing now."""
    return tuple(
        rule
        for rule, state in zip(watch.rules.rules, watch.verdicts, strict=True)
        if rule.row.action is Action.ROLLBACK and state.verdict is Verdict.FAIL
    )


def conclude(watch: Watch) -> tuple[Outcome, str]:
    """How the watch ends when nothing ended it before: judged on the part it saw."""
    alarms = open_alarms(watch)
    held, waiting = watch.hold, watch.pending_trigger
    if held is not None and (held.kind != "person" or watch.proves(held.trigger)):
        return Outcome.FAILED, f"Ended while held: {held.trigger.sentence}, but {held.reason}."
    if waiting is not None and (watch.approve_until is not None or watch.proves(waiting)):
        why = "nobody had approved it yet" if watch.approve_until is not None else "the watch was paused or held"
        return Outcome.FAILED, f"Ended before anything was done about it: {waiting.sentence}, but {why}."
    if alarms:
        return Outcome.FAILED, f"Ended with {listing(r.label for r in alarms)} broken."
    floor = watch.rules.policy.coverage_floor
    lowest, seen = inf, False
    worst: Window | None = None
    for i, window in enumerate(watch.rules.policy.windows):
        if watch.bounds()[i][0] >= watch.ends_at:
            continue
        found = of_window(watch, i, watch.ends_at)
        if found is None:
            continue
        seen = seen or found > 0.0
        if found < lowest:
            lowest, worst = found, window.window
    if worst is not None and lowest < floor:
        return Outcome.UNVERIFIED, (
            f"Only {share(lowest)} of the {worst.value.replace('_', ' ')} window had usable evidence for its rollback "
            f"criteria; {share(floor)} is needed to say passed."
        )
    if not seen:
        return Outcome.UNVERIFIED, "No rollback criterion had any evidence, so nothing can be said."
    warned = [r.label for r, s in zip(watch.rules.rules, watch.verdicts, strict=True) if s.verdict in _BAD]
    unproven = [
        r.label for r, s in zip(watch.rules.rules, watch.verdicts, strict=True) if s.verdict is Verdict.INCONCLUSIVE
    ]
    reason = "Every rollback criterion held."
    if warned:
        reason = f"Every rollback criterion held; warnings: {listing(warned)}."
    if unproven:
        reason += f" Inconclusive, for lack of evidence: {_some(unproven)}."
    return Outcome.PASSED, reason


def _some(labels: list[str]) -> str:
    """The first few and how many more: the page lists them all."""
    shown = labels[:NAMED]
    return listing(shown if len(labels) <= NAMED else [*shown, f"{len(labels) - NAMED} more rows"])


_BAD = frozenset({Verdict.WARN, Verdict.FAIL})


def blind(watch: Watch) -> tuple[tuple[float, str], ...]:
    """For each check of a rollback row: when its silence must be paged, Unix seconds."""
    if watch.cutover_at is None:
        return ()
    out = []
    for check in watch.rules.rollback_checks:
        if _is_over(watch, check):
            continue
        if check in watch.blind_said or (check not in watch.rules.policy.probes and not _announced(watch, check)):
            continue
        behind = lag(watch, check)
        patience = BLIND_DIRECT_S if behind <= DIRECT_LAG_S else BLIND_LAGGED_S
        spans = watch.covers.get(check, _NONE).spans
        newest = spans[-1][1] if spans else watch.cutover_at + watch.rules.cold_s(check)
        out.append((newest + behind + patience, check))
    return tuple(out)


def _announced(watch: Watch, check: str) -> bool:
    return any(c == check for _, c in watch.rules.lags)


def _is_over(watch: Watch, check: str) -> bool:
    """Whether every row of the check counted for the first part of the watch only, and that is over."""
    ends = [watch.rules.rules[i].row.until_s for i in watch.rules.by_check.get(check, ())]
    return bool(ends) and all(end is not None and watch.at >= (watch.cutover_at or 0.0) + end for end in ends)
