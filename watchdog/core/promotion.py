"""May a gradual rollout take its next step? Enough must have been seen since the last one, and nothing found.

`step` begins a step's counting, `evidence` says what was seen since, as part of the read model, and `may_promote`
answers the question from that, so that whoever asks needs no journal.
"""

from collections.abc import Mapping
from typing import Any

from watchdog.core import coverage, frontier
from watchdog.core.catalogue import Family
from watchdog.core.model import Action, State, Verdict
from watchdog.core.rules import PROBE_SOURCE, Rule
from watchdog.core.state import Watch
from watchdog.core.text import iso, listing, share, span

DETECT = 0.1
"""By default a fault in a tenth of the requests must have had time to show."""
STALE_S = 60.0
"""A watch that somebody runs is evaluated every 15 s at the latest."""


def step(watch: Watch) -> None:
    """The revision's share has grown (or has begun): count from here on."""
    watch.step_at = watch.at
    watch.step_totals = {key: s.series.total for key, s in watch.streams.items()}


def rate(watch: Watch, key: tuple[str, str, str]) -> float:
    """Events a second of a feed since the last step, as far as they can have arrived."""
    stream = watch.streams.get(key)
    if stream is None:
        return 0.0
    since = watch.step_at + (watch.rules.cold_s(key[1]) if watch.step_at == watch.cutover_at else 0.0)
    seen_s = watch.at - stream.series.lag_s - since
    return max(0.0, stream.series.total - watch.step_totals.get(key, 0.0)) / seen_s if seen_s > 0.0 else 0.0


def evidence(watch: Watch) -> dict[str, Any] | None:
    """What was seen since the last step, JSON-able; None before the first traffic."""
    if watch.cutover_at is None:
        return None
    requests, detectable, feed = _detectable(watch)
    return {
        "since": iso(watch.step_at),
        "share": watch.split.percent_of(watch.revision),
        "seconds": round(watch.at - watch.step_at, 3),
        "requests": requests,
        "detectable": round(detectable, 6) if detectable is not None else None,
        "feed": feed,
        "coverage": _covered(watch),
        "against": _against(watch),
        "warnings": [r.label for r, s in zip(watch.rules.rules, watch.verdicts, strict=True) if s.verdict in _DOUBT],
    }


_DOUBT = frozenset({Verdict.WARN})


def _covered(watch: Watch) -> float | None:
    """The coverage since the step: of each window that has begun, by its length."""
    until = coverage.watched_until(watch)
    seconds, covered = 0.0, 0.0
    for i, (start, end) in enumerate(watch.bounds()):
        found = coverage.of_window(watch, i, until)
        if found is not None:
            lasted = max(0.0, min(end, until) - start)
            seconds, covered = seconds + lasted, covered + found * lasted
    return round(covered / seconds, 4) if seconds else None


def _detectable(watch: Watch) -> tuple[float, float | None, str]:
    """Events counted since the step, the smallest bad share that they would have shown by now (19 times of 20), and
    the feed: requests where a row on errors rolls back, else our own probes."""
    best: tuple[float, float | None, str] = (0.0, None, "")
    judged = watch.rules.rules
    of_errors = [i for i in watch.rules.rollback if judged[i].family is Family.ERRORS]
    of_probes = [i for i in watch.rules.rollback if judged[i].family is Family.PROBES and judged[i].row.condition]
    for i in of_errors or of_probes:
        for key, stream in watch.streams.items():
            if i not in stream.rules:
                continue
            counted = stream.series.total - watch.step_totals.get(key, 0.0)
            found = _reach(watch, judged[i], key)
            better = best[1] is None or (found is not None and found < best[1])
            if (found is not None and better) or (best[1] is None and counted > best[0]):
                best = (counted, found, key[0] if key[0] != PROBE_SOURCE else f"probe {key[1]}")
    return best


def _reach(watch: Watch, rule: Rule, key: tuple[str, str, str]) -> float | None:
    stream, per_s = watch.streams[key], rate(watch, key)
    within_s = watch.at - watch.step_at
    lag = watch.rules.lag_of(key[0], key[1], 0.0)
    meter = stream.series.meters[stream.rules.index(watch.rules.rules.index(rule))]
    if per_s <= 0.0 or within_s <= 0.0:
        return None
    return frontier.reach(meter, per_s, within_s, lag_s=stream.series.lag_s + lag.period_s).bad_share


def _against(watch: Watch) -> str:
    """Why nothing may go up now, whatever was seen; empty when nothing speaks against it."""
    if watch.rollback is not None:
        observed = watch.rollback.stage == "observed"
        what = "it would have been rolled back (observe mode)" if observed else "it is rolled back"
        return f"{what}: {watch.rollback.trigger.sentence}"
    if watch.hold is not None:
        return f"a rollback is proven and held: {watch.hold.trigger.sentence}, but {watch.hold.reason}"
    if watch.pending_trigger is not None:
        return f"a rollback waits: {watch.pending_trigger.sentence}"
    broken = [
        f"{rule.label} ({state.reason or 'broken'})"
        for rule, state in zip(watch.rules.rules, watch.verdicts, strict=True)
        if rule.row.action is not Action.SCALE_UP
        and (state.verdict is Verdict.FAIL or (state.verdict is Verdict.WARN and rule.row.is_target))
    ]
    if broken:
        return f"broken now: {listing(broken)}"
    if watch.confirmations or watch.warming is not None:
        return "a failure is being confirmed at this moment"
    if watch.paused:
        return "the watch is paused, so nothing would be rolled back"
    return ""


# --- the answer ---------------------------------------------------------------------------------------------------


def may_promote(view: Mapping[str, Any], *, age_s: float, detect: float = DETECT) -> tuple[bool, str]:
    """May the share of the revision go up, by its watch's read model, evaluated `age_s` seconds ago? And why (not).

    `detect` is the bad share (0..1) that must have had time to show since the last step.
    """
    revision, state = view["revision"], view["state"]
    if state == State.ENDED.value:
        passed = view.get("outcome") == "passed"
        return passed, f"Watch {view['id']} of {revision} ended {view.get('outcome')}: {view.get('reason')}"
    seen = view.get("promotion")
    if seen is None:
        return False, f"{revision} has no traffic yet, so nothing was seen of it."
    if age_s > STALE_S:
        return False, f"Nobody runs watch {view['id']} of {revision}: it was evaluated last {span(age_s)} ago."
    if seen["against"]:
        return False, f"{revision} at {seen['share']} %: {seen['against']}."
    why_not = _too_little(seen, view.get("coverage_floor", 0.8), detect)
    told = f"{revision} has had {seen['share']} % for {span(seen['seconds'])}"
    if why_not:
        return False, f"{told}; {why_not}."
    found = f"above {share(seen['detectable'])} would have shown in {seen['requests']:.0f} events ({seen['feed']})"
    also = f"; warnings: {listing(seen['warnings'])}" if seen["warnings"] else ""
    return True, f"{told}: a fault {found}, none was found, coverage {share(seen['coverage'])}{also}."


def _too_little(seen: Mapping[str, Any], floor: float, detect: float) -> str:
    if seen["coverage"] is None:
        return "no evidence can have arrived yet"
    if seen["coverage"] < floor:
        return f"only {share(seen['coverage'])} of that time has evidence and {share(floor)} is needed"
    if seen["detectable"] is None:
        counted = f"{seen['requests']:.0f} events since then" if seen["requests"] else "nothing counted since then"
        return f"with {counted} not even a total failure is sure to have shown; wait"
    if seen["detectable"] > detect:
        found = share(seen["detectable"])
        return f"by now only a fault above {found} would have shown, and {share(detect)} is asked for; wait"
    return ""
