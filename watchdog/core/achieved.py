"""What a watch could have found with the traffic and the coverage it really had, beside what was expected of it.

The frontier that is said at the opening rests on the traffic before the deploy. Whether "nothing was found" means much
is known only with what really came, so it is reckoned again: for every row of counts that rolls back.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from watchdog.core import coverage, frontier
from watchdog.core.catalogue import Family
from watchdog.core.frontier import Reach
from watchdog.core.report_text import span_text
from watchdog.core.rules import Rule
from watchdog.core.sequential import Meter
from watchdog.core.state import Watch
from watchdog.core.text import share

COUNTED = frozenset({Family.ERRORS, Family.LATENCY})


@dataclass(frozen=True, slots=True, kw_only=True)
class Achieved:
    """What a feed of requests could have found for one row."""

    source: str
    rate_per_s: float
    """Requests that were counted, over the watched time: what was not covered makes it less."""
    requests: float
    covered: float | None
    """The share of the watched time with evidence, 0..1; None before any could be there."""
    reaches: tuple[Reach, ...]
    """Within 5 min and 1 h, where it was watched for longer, and all of the watched time."""
    expected_per_s: float | None = None
    """The traffic before the deploy; None where it was not measured."""
    expected: tuple[Reach, ...] = ()
    """What was said at the opening: the same with that traffic, up to the planned end."""


def of_row(watch: Watch, index: int) -> tuple[Achieved, ...]:
    """What each feed of a row could have found since the share of the traffic last grew, the keenest first.

    Probes have no such frontier: how often they are sent depends on the window, and confirmations outrun their meter.
    """
    rule = watch.rules.rules[index]
    if rule.family not in COUNTED or not rule.is_meter or watch.cutover_at is None:
        return ()
    found: dict[str, Achieved] = {}
    for key, stream in watch.streams.items():
        if index not in stream.rules:
            continue
        source, check, _ = key
        lag = watch.rules.lag_of(source, check, 0.0)
        late = stream.series.lag_s + lag.period_s
        seconds, covered = _watched(watch, rule, check, stream.series.lag_s)
        counted = stream.series.total - watch.step_totals.get(key, 0.0)
        if counted <= 0.0 or seconds <= 0.0:
            continue
        meter = stream.series.meters[stream.rules.index(index)]
        found[source] = Achieved(
            source=source,
            rate_per_s=counted / seconds,
            requests=counted,
            covered=covered,
            reaches=_reaches(meter, counted / seconds, seconds, late),
            expected_per_s=watch.expected_per_s,
            expected=_reaches(meter, watch.expected_per_s, _planned_s(watch, rule), late)
            if watch.expected_per_s
            else (),
        )
    return tuple(sorted(found.values(), key=lambda a: [2.0 if r.bad_share is None else r.bad_share for r in a.reaches]))


def _watched(watch: Watch, rule: Rule, check: str, lag_s: float) -> tuple[float, float | None]:
    """Seconds of the row's windows from which evidence can have arrived, and the share of them that has any."""
    cutover = watch.anchor if watch.cutover_at is None else watch.cutover_at
    until, warm = coverage.watched_until(watch), cutover + watch.rules.cold_s(check)
    seconds = known_s = covered_s = 0.0
    for i, (window, (start, end)) in enumerate(zip(watch.rules.policy.windows, watch.bounds(), strict=True)):
        lasted = min(end, until - lag_s) - max(start, warm)
        if window.window not in rule.row.windows or lasted <= 0.0:
            continue
        seconds += lasted
        covered = coverage.of_rule(watch, rule, i, until)
        if covered is not None:
            known_s, covered_s = known_s + lasted, covered_s + covered * lasted
    return seconds, covered_s / known_s if known_s else None


def _planned_s(watch: Watch, rule: Rule) -> float:
    return sum(w.until_s - w.start_s for w in watch.rules.policy.windows if w.window in rule.row.windows)


def _reaches(meter: Meter, per_s: float, whole_s: float, late_s: float) -> tuple[Reach, ...]:
    spans = [*(s for s in frontier.SPANS_S if s < whole_s), whole_s]  # nothing could be found after the end
    return tuple(frontier.reach(meter, per_s, s, lag_s=late_s) for s in spans)


# --- said -------------------------------------------------------------------------------------------------------------


def sentence(rule: Rule, a: Achieved) -> str:
    """What would have been found, and what had been expected at the opening."""
    least = "more than {} of requests slower than {}" if rule.family is Family.LATENCY else "{1} above {0}"
    limit = rule.row.condition.text.lstrip("<>= ") if rule.row.condition else ""
    named = limit if rule.family is Family.LATENCY else rule.row.metric
    found = _within(rule, a.reaches)
    said = f"At the {a.rate_per_s:.3g} requests/s that came ({a.source}), "
    if found:
        (share_of, within), *more = found
        said += f"{least.format(share_of, named)} would have been found {within}{_also(rule, more)}"
    else:
        said += f"nothing could have been found within {span_text(max(r.within_s for r in a.reaches))}"
    if a.covered is not None:
        said += f" ({share(a.covered)} covered)"
    if a.expected_per_s:
        hoped = _also(rule, _within(rule, a.expected)).removeprefix(", ") or "nothing"
        said += f"; expected at the opening, with {a.expected_per_s:.3g} requests/s: {hoped}"
    return said + "."


def _within(rule: Rule, reaches: Iterable[Reach]) -> list[tuple[str, str]]:
    whole = "over its window" if rule.scope else "over the watch"
    return [
        (share(r.bad_share), f"within {span_text(r.within_s)}" if r.within_s in frontier.SPANS_S else whole)
        for r in reaches
        if r.bad_share is not None
    ]


def _also(rule: Rule, found: Iterable[tuple[str, str]]) -> str:
    word = "more than" if rule.family is Family.LATENCY else "above"
    return "".join(f", {word} {least} {within}" for least, within in found)


# --- as JSON ----------------------------------------------------------------------------------------------------------


def view(watch: Watch) -> list[dict[str, Any]]:
    """Every row of counts that rolls back, in the policy's order, JSON-able: its keenest feed, or that none came."""
    if watch.cutover_at is None:
        return []
    out: list[dict[str, Any]] = []
    for i in watch.rules.rollback:
        rule = watch.rules.rules[i]
        if rule.family not in COUNTED:
            continue
        best = next(iter(of_row(watch, i)), None)
        said = sentence(rule, best) if best is not None else _nothing(watch)
        out.append({"id": rule.row.id, "label": rule.label, "text": said, **(as_json(best) if best else _NONE)})
    return out


def _nothing(watch: Watch) -> str:
    expected = f" ({watch.expected_per_s:.3g}/s were expected at the opening)" if watch.expected_per_s else ""
    return f"No request was seen{expected}, so nothing could have been found."


def as_json(a: Achieved) -> dict[str, Any]:
    """One feed's frontier."""
    return {
        "source": a.source,
        "rate_per_s": round(a.rate_per_s, 4),
        "requests": a.requests,
        "covered": None if a.covered is None else round(a.covered, 4),
        "reaches": _listed(a.reaches),
        "expected_per_s": None if a.expected_per_s is None else round(a.expected_per_s, 4),
        "expected": _listed(a.expected),
    }


def _listed(reaches: Iterable[Reach]) -> list[dict[str, Any]]:
    return [
        {"within_s": round(r.within_s, 3), "bad_share": None if r.bad_share is None else round(r.bad_share, 6)}
        for r in reaches
    ]


_NONE: dict[str, Any] = {
    "source": "", "rate_per_s": 0.0, "requests": 0.0, "covered": None, "reaches": [],
    "expected_per_s": None, "expected": [],
}  # fmt: skip
