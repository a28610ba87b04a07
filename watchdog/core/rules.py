"""Policy rows made ready to judge: thresholds in base units, the bad share p0, alpha, and which samples feed each row.

Compiled once when a watch opens, from the policy and what was measured on the revision before; fixed to its end.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from math import inf
from operator import ge, gt, le, lt

from watchdog.core.before import MOST, worse_than
from watchdog.core.catalogue import CHECK_PREFIX, JOURNEYS, REQUEST_DROP, Family, family, quantile
from watchdog.core.events import Lag
from watchdog.core.model import Action, Row, Severity, Window
from watchdog.core.policy import Policy, WindowConfig, p0_of
from watchdog.core.sequential import ERRORS, LATENCY, PROBES, Ladder, Meter, fit
from watchdog.core.text import share

UPPER = "_upper"
"""Ends the check that also counts the requests whose bucket straddles the limit: good enough for a warning, while a
rollback counts only what certainly was slower (research/statistics.md section 4)."""


BURSTY = 1.2
"""A burstiness from here on is worth a word: twenty slots tell less apart."""
PROBE_SOURCE = "probe"
"""The source of our own probes' samples."""


_COMPARE = {"<": lt, "<=": le, ">": gt, ">=": ge}


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """A row that can be judged, or the reason why it cannot."""

    row: Row
    family: Family
    checks: tuple[str, ...] = ()
    """The checks whose samples it reads; for `health_check` one a critical probe."""
    threshold: float | None = None
    """In base units, after the baseline is known."""
    p0: float = 0.0
    alpha: float = 0.0
    burstiness: float = 1.0
    why_not: str = ""
    inherited: bool = False
    """Whether it was broken before the deploy already; then p0 is what would be worse than that."""

    @property
    def is_meter(self) -> bool:
        """Whether the evidence meter judges it (`health_check failing` is judged by confirmation)."""
        counted = self.family not in {Family.GAUGE, Family.JOURNEYS, Family.CHECK}
        return counted and self.row.condition is not None

    @property
    def points(self) -> tuple[int, int]:
        """Of a gauge or a check: how many of the last points break it, and mend it."""
        return (self.row.failures, self.row.failures) if self.family is Family.CHECK else (4, 5)

    @property
    def by_confirmation(self) -> bool:
        """Whether so many failures in a row break it, and one pass mends it: `failing`, and whatever is said of
        journeys."""
        return self.family is Family.JOURNEYS or (self.family is Family.PROBES and self.row.condition is None)

    @property
    def is_ceiling(self) -> bool:
        """Whether a reading must stay below a limit that does not depend on what was before."""
        condition = self.row.condition
        if condition is None or self.threshold is None or condition.relative or self.family is Family.JOURNEYS:
            return False
        if self.row.metric == REQUEST_DROP:  # it leaps where traffic ends, and creeps with the time of day
            return False
        return condition.op in ({"<", "<="} if self.row.is_target else {">", ">="})

    @property
    def scope(self) -> str:
        """The name of the one window in which it counts, empty for a row of all windows."""
        return self.row.windows[0].value if len(self.row.windows) == 1 else ""

    @property
    def ladder(self) -> Ladder:
        """The severities it looks for."""
        return {Family.ERRORS: ERRORS, Family.LATENCY: LATENCY, Family.PROBES: PROBES}[self.family]

    def breached(self, x: float) -> bool:
        """Whether one reading breaks the row."""
        c = self.row.condition
        if c is None or self.threshold is None:
            return False
        return _COMPARE[c.op](x, self.threshold) is not self.row.is_target

    @property
    def label(self) -> str:
        """The criterion as a person reads it."""
        return self.row.label


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """All rows of a watch, and the index from a check to the rows it feeds."""

    policy: Policy
    rules: tuple[Rule, ...]
    by_check: Mapping[str, tuple[int, ...]]
    metered: Mapping[str, Mapping[str, tuple[int, ...]]] = field(default_factory=dict)
    """By check and scope, the rows that a meter judges. The scope is the window's name for rows of one window of
    several, else empty."""
    in_window: Mapping[tuple[str, Window], tuple[int, ...]] = field(default_factory=dict)
    """By check and window, the rows that it feeds then."""
    windows: Mapping[Window, WindowConfig] = field(default_factory=dict)
    """The policy's, by name."""
    lags: Mapping[tuple[str, str], Lag] = field(default_factory=dict)
    watch_s: float = 86_400.0
    cold: Mapping[str, float] = field(default_factory=dict)
    """By check: `cold_s`."""
    ceilings: Mapping[str, tuple[Rule, ...]] = field(default_factory=dict)
    """By check, the rows that a growing gauge would break, the highest limit first."""
    rollback: tuple[int, ...] = ()
    """The rows that can fail a watch and that some source feeds, by index."""
    rollback_checks: tuple[str, ...] = ()
    """The checks that feed them."""
    behind: Mapping[str, float] = field(default_factory=dict)
    """How far behind now the newest complete evidence of an announced check lies (seconds): its fastest feed's lag and
    one sample's width."""
    journeys: tuple[str, ...] = ()
    """The journeys that are run, `journey.NAME`: all that have what they need."""
    unable: Mapping[str, str] = field(default_factory=dict)
    """The others, and why they are not."""
    feeds: Mapping[str, tuple[Lag, ...]] = field(default_factory=dict)
    """By check, the lags of all its announced sources."""
    before: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    """By check, bad and total of the revision before in the hour before the deploy."""
    measured: Mapping[str, float] = field(default_factory=dict)
    """By check, the burstiness D that was measured on it."""

    def meter(self, rule: Rule, period_s: float) -> Meter:
        """An empty meter of the rule for a feed with `period_s` wide samples."""
        return Meter.start(
            p0=rule.p0,
            alpha=rule.alpha,
            burstiness=rule.burstiness,
            ladder=fit(rule.ladder, period_s),
            watch_s=self.watch_s,
        )

    def cold_s(self, check: str) -> float:
        """Seconds after the cutover in which the samples of a check that some row reads do not count."""
        return self.cold.get(check, 0.0)

    def lag_of(self, source: str, check: str, width_s: float) -> Lag:
        """The feed's announced lag; for a feed nobody announced (a replayed file), 10 s up to 10 s wide, else 180 s."""
        known = self.lags.get((source, check))
        if known is not None:
            return known
        if source == PROBE_SOURCE:  # seen before the interval it stands for has ended
            return Lag(source=source, check=check, period_s=0.0, lag_s=0.0)
        return Lag(source=source, check=check, period_s=width_s, lag_s=10.0 if width_s <= 10.0 else 180.0)


def limit_check(limit_s: float) -> str:
    """The check that counts requests slower than a limit: `slower_than_500ms`."""
    return f"slower_than_{limit_s * 1000:g}ms"


@cache
def limit_of(check: str) -> float:
    """The limit in seconds of a check that counts slower requests, exact or `_upper`."""
    return float(check.removeprefix("slower_than_").removesuffix(UPPER).removesuffix("ms")) / 1000.0


def latency_limits(rules: tuple[Rule, ...]) -> tuple[float, ...]:
    """Every limit (seconds) that some latency row asks for, in order."""
    found = {r.threshold for r in rules if r.family is Family.LATENCY and r.threshold is not None and not r.why_not}
    return tuple(sorted(found))


def compile_rules(
    policy: Policy,
    *,
    lags: tuple[Lag, ...] = (),
    baselines: Mapping[str, float] | None = None,
    burstiness: Mapping[str, float] | None = None,
    before: Mapping[str, tuple[float, float]] | None = None,
    unable: Mapping[str, str] | None = None,
    cold_start: bool = True,
) -> Rules:
    """Make the policy's rows ready to judge.

    `baselines`: value before the deploy by metric, base units, for relative rows. `burstiness`: measured D by check; 1
    where unknown. `before`: by check, bad and total of the revision before. `unable`: journeys that cannot be run in
    this watch, and why.
    """
    counted, left_out = before or {}, unable or {}
    rules = tuple(
        _journeys(row, policy, left_out)
        if family(row.metric) is Family.JOURNEYS
        else _compile(row, policy, lags, baselines or {}, burstiness or {}, counted)
        for row in policy.rows
    )
    by_check: dict[str, list[int]] = {}
    metered: dict[str, dict[str, tuple[int, ...]]] = {}
    for i, rule in enumerate(rules):
        for check in rule.checks:
            by_check.setdefault(check, []).append(i)
            if rule.is_meter:
                scopes = metered.setdefault(check, {})
                scopes[rule.scope] = (*scopes.get(rule.scope, ()), i)
    behind: dict[str, float] = {}
    feeds: dict[str, tuple[Lag, ...]] = {}
    for g in lags:
        behind[g.check] = min(g.lag_s + g.period_s, behind.get(g.check, inf))
        feeds[g.check] = (*feeds.get(g.check, ()), g)
    ceilings: dict[str, tuple[Rule, ...]] = {}
    for rule in sorted((r for r in rules if r.is_ceiling), key=lambda r: -(r.threshold or 0.0)):
        for check in rule.checks:
            ceilings[check] = (*ceilings.get(check, ()), rule)
    able = tuple(i for i, r in enumerate(rules) if r.row.action is Action.ROLLBACK and r.checks and not r.why_not)
    return Rules(
        policy=policy,
        rules=rules,
        by_check={c: tuple(i) for c, i in by_check.items()},
        metered=metered,
        in_window={
            (check, w.window): tuple(i for i in fed if w.window in rules[i].row.windows)
            for check, fed in by_check.items()
            for w in policy.windows
        },
        windows={w.window: w for w in policy.windows},
        lags={(g.source, g.check): g for g in lags},
        watch_s=policy.windows[-1].until_s,
        cold={check: _cold_s(policy, check) for check in by_check} if cold_start else {},
        ceilings=ceilings,
        rollback=able,
        rollback_checks=tuple(sorted({c for i in able for c in rules[i].checks})),
        behind=behind,
        feeds=feeds,
        before=counted,
        measured=burstiness or {},
        journeys=tuple(name for name in policy.journeys if name not in left_out),
        unable=left_out,
    )


def _cold_s(policy: Policy, check: str) -> float:
    if check in policy.probes or check in policy.journeys or check.startswith(CHECK_PREFIX):
        return 0.0
    slow = check.startswith(("slower_than_", "p50_", "p95_", "p99_"))
    return policy.cold_start.latency_s if slow else policy.cold_start.errors_s


def _journeys(row: Row, policy: Policy, unable: Mapping[str, str]) -> Rule:
    """A row of journeys: those that can be run. Without any it is inconclusive, and says why."""
    meant = [n for n, j in policy.journeys.items() if row.metric == n or (row.metric == JOURNEYS and j.critical)]
    checks = tuple(name for name in meant if name not in unable)
    why_not = "" if checks else next((unable[name] for name in meant), "no journey is critical")
    return Rule(row=row, family=Family.JOURNEYS, checks=checks, threshold=1.0, why_not=why_not)


def _compile(
    row: Row,
    policy: Policy,
    lags: tuple[Lag, ...],
    baselines: Mapping[str, float],
    measured: Mapping[str, float],
    counted: Mapping[str, tuple[float, float]],
) -> Rule:
    kind = family(row.metric)
    if row.pending:
        return Rule(row=row, family=kind, why_not="no source yet")
    threshold = row.condition.value if row.condition else None
    if row.condition is not None and row.condition.relative:
        before = baselines.get(row.metric)
        if before is None or before <= 0.0:
            return Rule(row=row, family=kind, why_not="nothing measured before the deploy to compare with")
        threshold = row.condition.value * before
    alpha = policy.alpha_of(row) or 0.0
    if kind is Family.PROBES:
        checks = _probe_checks(row.metric, policy)
        share = alpha / max(1, len(checks))
        return Rule(row=row, family=kind, checks=checks, threshold=threshold, p0=p0_of(row) or 0.0, alpha=share)
    if kind is Family.GAUGE or threshold is None:
        return Rule(row=row, family=kind, checks=(row.metric,), threshold=threshold)
    if kind is Family.ERRORS:
        checks, p0 = (row.metric,), min(MOST, threshold)  # three times of a half is more than everything
    else:
        slower = limit_check(threshold) + (UPPER if row.severity is Severity.WARNING else "")
        checks, p0 = (slower, row.metric), 1.0 - quantile(row.metric)
    worse = None if row.condition and row.condition.relative else worse_than(*counted.get(checks[0], (0.0, 0.0)), p0)
    return Rule(
        row=row,
        family=kind,
        checks=checks,
        threshold=threshold,
        p0=p0 if worse is None else worse,
        alpha=alpha / (len({g.source for g in lags if g.check in checks}) or 1),
        burstiness=measured.get(checks[0], 1.0),
        inherited=worse is not None,
    )


def _probe_checks(metric: str, policy: Policy) -> tuple[str, ...]:
    if metric == "health_check":
        return tuple(n for n, p in policy.probes.items() if p.critical)
    return (metric.removeprefix("probe."),)


def notes(rules: Rules) -> tuple[str, ...]:
    """What an opening says of rows that were broken before the deploy, and of how bursty their events were."""
    found: list[str] = []
    bursty: dict[str, float] = {}
    unknown: set[str] = set()
    for rule in rules.rules:
        if rule.family not in {Family.ERRORS, Family.LATENCY} or not rule.checks or rule.checks[0] not in rules.before:
            continue
        bad, total = rules.before[rule.checks[0]]
        if rule.inherited:
            found.append(
                f"{rule.label} was broken before this deploy already ({share(bad / total)} of {total:g} requests), "
                f"which going back would not mend: this row now asks for more than {share(rule.p0)}."
            )
        if rule.burstiness >= BURSTY:
            bursty[rule.row.metric] = max(rule.burstiness, bursty.get(rule.row.metric, 1.0))
        elif rule.checks[0] not in rules.measured and rule.row.action is Action.ROLLBACK:
            unknown.add(rule.row.metric)
    found += [
        f"Before this deploy the bad requests of {metric} came in bursts (D = {d:.1f}): a proof takes {d:.1f} times as "
        "many."
        for metric, d in sorted(bursty.items())
    ]
    if unknown:
        found.append(f"Too few bad requests before to say how bursty {', '.join(sorted(unknown))} is: taken as steady.")
    return tuple(found)
