"""A watch as a value: everything that is known about one deploy at one moment.

It is made only by `watch.advance` from events, so a journal is enough to make it again.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from math import inf
from typing import Any, NamedTuple

from watchdog.core.beyond import JobRun, Scaling
from watchdog.core.compare import Arm
from watchdog.core.cover import Cover
from watchdog.core.events import FellElsewhere, Target
from watchdog.core.load import NO_LOAD, Load
from watchdog.core.model import Action, Clue, Deploy, Outcome, Split, State, Tag, Verdict, Window, tags_by_revision
from watchdog.core.origins import Past, Seen
from watchdog.core.paging import Level
from watchdog.core.policy import ConfirmConfig, JourneyConfig, ProbeConfig, WindowConfig
from watchdog.core.probing import OwnRequest, ProbeAnswer, Role
from watchdog.core.rules import Rules
from watchdog.core.series import Series
from watchdog.core.trend import Trend
from watchdog.core.two_arms import Served

FRESH_S = 5.0
"""How much older than its schedule the newest answer may be before it no longer says how things are now."""


class RuleState(NamedTuple):
    """What one rule says now. `reason` is the sentence of the last alarm or of why nothing can be said."""

    verdict: Verdict = Verdict.INCONCLUSIVE
    since: float = 0.0
    reason: str = ""
    alarmed_at: float | None = None
    source: str = ""
    """The feed that raised the alarm."""
    check: str = ""
    """… and its check."""
    bad_share: float | None = None
    """What its counts showed."""
    at_alarm: float = 0.0
    """Total counted by that feed when it did, or when its meter was half full again last: an alarm clears after as many
    events, and as much time, as would have shown the fault again."""
    quiet_from: float = 0.0
    """Up to when that feed was judged then."""
    proof_s: float = 0.0
    """A slot more than the alarm took to prove."""
    last: tuple[tuple[float, bool], ...] = ()
    """Of a gauge: the last five points' ends, and whether each broke the row."""
    value: float | None = None
    """The last reading, base units."""
    sampled_at: float | None = None
    decided: bool = False
    """The row's action was taken for the present alarm, or is not wanted."""
    one_caller: str = ""
    """Why the present alarm is one caller's and not the release's; empty where it is not."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Shared:
    """A time in which the control failed the same probe; Unix seconds, `until` is `inf` while it lasts."""

    probe: str
    since: float
    until: float = inf


class Signed(NamedTuple):
    """Somebody confirmed what only a person can confirm."""

    at: float
    by: str
    reason: str


class Stream(NamedTuple):
    """One feed's series, and the rules its meters belong to (by index, in the meters' order)."""

    series: Series
    rules: tuple[int, ...]


class ProbeState(NamedTuple):
    """One probe's standing at the public path."""

    armed: bool = False
    passed: int = 0
    failed: int = 0
    missing: int = 0
    streak: int = 0
    """Failures in a row of regular probes."""
    own_passed: int = 0
    own_failed: int = 0
    """What the revision's own URL answered while the public one was failing."""
    last: ProbeAnswer | None = None
    denied: bool = False
    """Not let through since it passed last, and nor was the control, so far as it could be asked."""


class Revival(NamedTuple):
    """A path that was sick passes again."""

    at: float
    """When its first pass was sent."""
    failed: int = 0
    """Failures of the path under judgement that were sent since."""


class Flicker(NamedTuple):
    """What a path that was sick answered from its first pass on."""

    passed: int = 0
    asked: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Confirmation:
    """A failing probe being repeated. Attempt 0 is the regular probe that failed."""

    probe: str
    started_at: float
    """When attempt 0 was sent."""
    slot_s: float = 0.0
    """How long before that it had been asked last; 0 when nobody knows."""
    failed_at: float
    """When its answer came: the first failed answer."""
    rule: ConfirmConfig
    waiting: Mapping[int, ProbeAnswer] = field(default_factory=dict)
    """Answers that came before an earlier attempt's."""
    settled: int = 0
    """Attempts below this one are counted."""
    failures: int = 0
    """Failures in a row from attempt 0 on; missing answers neither count nor break the row."""
    reasons: tuple[str, ...] = ()
    """The typed reasons of the failures, each once."""
    unserved: int = 0
    """How many of the failures may only have found no instance free: refused by the front end, or a timeout in its
    queue."""
    turned_away: int = 0
    """How many were told that every instance is busy."""
    denied: int = 0
    """How many attempts in a row were not let through …"""
    vouched: bool = False
    """… which counts as failing because the control is, right now."""
    last: ProbeAnswer | None = None
    """The newest failure."""
    own: ProbeAnswer | None = None
    """The newest answer of the watched revision's own URL."""
    control: ProbeAnswer | None = None
    """The newest answer of the control."""
    control_since: float | None = None
    control_reasons: tuple[str, ...] = ()
    revivals: Mapping[str, "Revival"] = field(default_factory=dict)
    """Other paths (by role) that were sick and pass again."""
    flicker: Flicker = field(default_factory=Flicker)
    """Of the control."""

    @property
    def complete(self) -> bool:
        """Whether enough failed in a row."""
        return self.failures + (self.denied if self.vouched else 0) >= self.rule.failures


@dataclass(frozen=True, slots=True, kw_only=True)
class Warming:
    """A proven alarm of counts, while the target is warmed and asked whether it is well."""

    trigger: "Trigger"
    until: float
    answers: Mapping[str, tuple[ProbeAnswer, ...]] = field(default_factory=dict)
    """The target's answers by probe."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Versus:
    """A proven alarm of counts that waits for what the control's counts say."""

    trigger: "Trigger"
    key: tuple[str, str]
    """Source and check that are compared."""
    scope: str
    since: float
    """Counts from here on are compared, Unix seconds."""
    until: float
    """No longer waited for than this."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Hold:
    """A rollback that is proven but must wait. `until` is when the answer changes by itself, if it does."""

    reason: str
    since: float
    trigger: "Trigger"
    until: float | None = None
    kind: str = "shared"
    """`shared` (both revisions sick), `edge`, `capacity` (a peak), `person`, `retry` (budget, cooldown), `refused`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Trigger:
    """What proved the rollback."""

    criterion: str
    """The row's label, `health_check failing`, `signal:NAME` or `operator`."""
    sentence: str
    rule: int | None = None
    probe: str | None = None
    at: float = 0.0
    bad_share: float | None = None
    """What the counts showed: recovery is proven by as many requests as would show it again."""
    warm: bool = False
    """Whether the target has just answered its probes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """A share of the watched revision's traffic is with the target, to see whether going back helps.

    `verdict`, once there is one: a `two_arms.Finding`, or why it needed none: `cut_short` (a failing health check, a
    signal or a person waits for no trial), `undone` (somebody else took the target's share away).
    """

    trigger: Trigger
    written_at: float
    before: Split
    after: Split
    targets: tuple[str, ...]
    """The revisions that gained traffic."""
    source: str = ""
    check: str = ""
    """The feed that judges."""
    limit: float = 0.0
    """The share of bad requests that the row allows."""
    routed_at: float | None = None
    """When both arms were first seen to serve."""
    watched: Mapping[tuple[float, float], Served] = field(default_factory=dict)
    target: Mapping[tuple[float, float, str], Served] = field(default_factory=dict)
    """By start and end (Unix seconds), and the target's by revision."""
    verdict: str = ""
    decided_at: float | None = None
    put_back_at: float | None = None
    reason: str = ""
    """What the verdict says, in one sentence."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rollback:
    """The one rollback of this watch. `stage`: `writing trial settling verifying done failed refused observed`."""

    trigger: Trigger
    decided_at: float
    stage: str = "writing"
    step: str = "whole"
    """What is written: a `trial` share, the `whole`, the trial put `back`, or the target's image (`redeploy`)."""
    hurry: Trigger | None = None
    """What forbids waiting for the trial's counts any longer, while its first write is on its way."""
    before: Split = field(default_factory=Split)
    after: Split = field(default_factory=Split)
    written_at: float | None = None
    restored_at: float | None = None
    """When `status.traffic` first showed the target."""
    verified_at: float | None = None
    passes: Mapping[str, int] = field(default_factory=dict)
    """Verifying passes in a row by probe."""
    failing: bool = False
    """Whether some verifying probe failed last."""
    begun: bool = False
    """That traffic is being moved was paged."""
    said: bool = False
    """"Did not help" was paged."""
    reason: str = ""
    by: str = ""
    despite: str = ""
    """The kind of the hold that said that it would not help, and was overruled: by a person, or since it was asked
    about for long enough."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Incident:
    """Opened by a decision, paged, acknowledged, resolved."""

    key: str
    opened_at: float
    title: str
    severity: str
    criterion: str = ""
    """What raised it, as in `Trigger`."""
    acknowledged_at: float | None = None
    acknowledged_by: str = ""
    resolved_at: float | None = None
    resolved_by: str = ""
    """The person who resolved it; empty when the watch did."""
    ladder: tuple[Level, ...] = ()
    """The policy's, as it was when the incident opened; empty where PagerDuty climbs its own."""
    climbs_from: float = 0.0
    """What the ladder's times are counted from."""
    level: int = 1
    """The highest level that was paged."""
    paged_at: float = 0.0
    repeats: int = 0
    """How often the last level was paged again."""
    repeat_every_s: float = 0.0
    remind_every_s: float = 0.0
    remind_at: float = inf
    proof: str = ""
    """What proved it, from its newest page …"""
    todo: str = ""
    """… and what was to be done then."""
    said_at: float = 0.0
    """When the newest word from elsewhere about it was said: older ones come late and count no more."""
    calm_since: float | None = None
    """Since when nothing that pages is broken, while it is open and no rollback is under way."""

    @property
    def open(self) -> bool:
        """Whether it still waits for its end."""
        return self.resolved_at is None


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """An action and one sentence of reason."""

    at: float
    action: Action
    criterion: str
    reason: str


@dataclass(frozen=True, slots=True)
class Entry:
    """One line of the timeline."""

    at: float
    kind: str
    text: str


@dataclass(kw_only=True)
class Watch:
    """One deploy under observation.

    A value: `watch.advance` works on a shallow copy and never changes the watch it was given, nor any mapping in it. It
    is not frozen only because making one of its fifty fields anew for every change would cost most of a replay's time;
    it has no slots because its fields are then copied as one, not one by one.
    """

    id: str
    deploy: Deploy
    rules: Rules
    opened_at: float
    at: float
    """The newest event folded in."""
    state: State
    target: Target
    split: Split
    tags: tuple[Tag, ...] = ()
    cutover_at: float | None = None
    anchor: float = 0.0
    """Where the windows are counted from: the cutover, or the last increase of the revision's share."""
    step_at: float = 0.0
    """When the present share began: the cutover, or the last increase."""
    step_totals: Mapping[tuple[str, str, str], float] = field(default_factory=dict)
    """Per stream: what it had counted by then."""
    ends_at: float = inf
    policy_hash: str = ""
    release: str = ""
    """The watch that was the release's first in any region: whose thread carries what is said of all of them."""
    link: str = ""
    own_url: str = ""
    found_version: str = ""
    """What the revision itself tells of its version."""
    armed_by_hand: bool = False
    sick_before: tuple[str, ...] = ()
    images: Mapping[str, str] = field(default_factory=dict)
    """Revision → its image by digest."""
    snapshot: Mapping[str, Any] = field(default_factory=dict)
    """The target's template, where it may be deployed again."""
    schemas: Mapping[str, str] = field(default_factory=dict)
    """Revision → its declared schema."""
    known_bad: bool = False
    """Rolled back before and serving again: watched without writing."""
    doubt: str = ""
    """Why automatic mode asks a person first: no preflight has proven that it could write. Empty: it acts."""
    rolled_back_before: str = ""
    """What the rolled-back annotation named when the watch opened."""
    past: tuple[Past, ...] = ()
    origins: Mapping[tuple[str, str, str], tuple[Seen, ...]] = field(default_factory=dict)
    """By source, check and revision: who was behind the bad requests lately."""
    told_callers: Mapping[str, float] = field(default_factory=dict)
    """Who was named as the one caller, and when last."""
    elsewhere: FellElsewhere | None = None
    """That the release was rolled back in another region, where that counts here."""
    spread: bool = False
    """That was acted on."""
    streams: Mapping[tuple[str, str, str], Stream] = field(default_factory=dict)
    """By source, check and scope (a window's name for rows of `window_criteria`, else empty)."""
    slots_due: float = inf
    """When the next slot of any stream that holds a bad event can be judged."""
    ripe_at: float = inf
    """No stream has anything to judge before this."""
    counted: frozenset[int] = frozenset()
    """The rules that some stream feeds."""
    behind: Mapping[str, float] = field(default_factory=dict)
    """The lag of checks that nobody announced, as their samples show it."""
    settles_s: float = 0.0
    """How long after its end a window is settled: the lag of the slowest source of a rollback row."""
    covers: Mapping[str, Cover] = field(default_factory=dict)
    verdicts: tuple[RuleState, ...] = ()
    probes: Mapping[str, ProbeState] = field(default_factory=dict)
    load: Load = NO_LOAD
    own_requests: tuple[OwnRequest, ...] = ()
    """Our own probes that reached the revision lately: (ended_at, whether 5xx, latency in s), for subtraction."""
    confirmations: Mapping[str, Confirmation] = field(default_factory=dict)
    controls_answered: frozenset[str] = frozenset()
    """Probes that the control passed in this watch."""
    control: Mapping[tuple[str, str], Arm] = field(default_factory=dict)
    """By source and check, the last counts of the revision before, while both have traffic."""
    shared: tuple[Shared, ...] = ()
    """The times of the last hour in which the control failed the same probe."""
    versus: Versus | None = None
    warming: Warming | None = None
    hold: Hold | None = None
    paused: bool = False
    pending_trigger: Trigger | None = None
    """Proven while paused or waiting for approval."""
    approve_until: float | None = None
    rollback: Rollback | None = None
    trial: Trial | None = None
    """The last trial, running or over."""
    returning: Trial | None = None
    """A trial that was put back, until Cloud Run shows it."""
    recovery: Mapping[str, Series] = field(default_factory=dict)
    """By source: the trigger's meter restarted on the restored revision."""
    incident: Incident | None = None
    outcome: Outcome | None = None
    reason: str = ""
    ended_at: float | None = None
    proven_at: float | None = None
    missing: Mapping[str, str] = field(default_factory=dict)
    """By check: why the newest evidence is missing; absent while it is there."""
    blind_said: frozenset[str] = frozenset()
    trends: Mapping[str, Trend] = field(default_factory=dict)
    """By check: the gauge's quarter-hour means in the last window."""
    trends_said: frozenset[str] = frozenset()
    inhibited: frozenset[int] = frozenset()
    """Rows that ask for a person and broke beside a root cause: told when that has gone and they have not."""
    said: Mapping[int, float] = field(default_factory=dict)
    """By row: when a person was last asked."""
    muted: Mapping[str, int] = field(default_factory=dict)
    """By row's label: how often it broke again and was not told, for the next digest."""
    blind_at: float = inf
    """No check's silence has to be paged before this; it is looked at again then."""
    notes: tuple[str, ...] = ()
    instances_before: float = 0.0
    """How many instances served before the deploy; 0 where nobody could say."""
    expected_per_s: float | None = None
    """Requests a second before the deploy, with which the frontier was reckoned at the opening."""
    decisions: tuple[Decision, ...] = ()
    timeline: tuple[Entry, ...] = ()
    asked: Mapping[str, float] = field(default_factory=dict)
    """Sign-off → when people were asked for it."""
    signed: Mapping[str, Signed] = field(default_factory=dict)
    """Sign-off → who confirmed it."""
    instances: tuple[tuple[float, float], ...] = ()
    """The watched revision's instances: end (Unix seconds) and number of the last points."""
    scalings: tuple[Scaling, ...] = ()
    """Every attempt to scale up, the last one last."""
    job: JobRun | None = None
    """The last run of the job that undoes a migration."""
    clues: Mapping[str, Clue] = field(default_factory=dict)
    """By key, the new kinds of errors in the log (`core.clues`)."""
    log_looked_at: float | None = None
    """Until when the log has been looked at."""
    messages: int = 0
    """Messages made so far: numbers their keys."""
    due: float = inf
    """The next deadline, Unix seconds."""
    closed_windows: frozenset[Window] = frozenset()
    ended_early: bool = False

    def draft(self) -> "Watch":
        """A shallow copy to work on: one is made for every event."""
        twin = object.__new__(Watch)
        twin.__dict__ |= self.__dict__
        return twin

    # --- derived ---------------------------------------------------------------------------------------------------

    @property
    def revision(self) -> str:
        """The watched revision."""
        return self.deploy.revision

    @property
    def expected_version(self) -> str:
        """What the version endpoint should answer; empty when nobody said."""
        check = self.rules.policy.version_check
        said = self.deploy.version if check is None or check.expect == "deploy" else ""
        return said or self.found_version

    @property
    def open(self) -> bool:
        """Whether it still observes."""
        return self.state is not State.ENDED

    def window_config(self, at: float | None = None) -> WindowConfig | None:
        """The window at a moment (now by default); None before the cutover and after the end."""
        if self.cutover_at is None:
            return None
        return self.rules.policy.window_at((self.at if at is None else at) - self.anchor)

    @property
    def window(self) -> Window | None:
        """The name of the present window."""
        config = self.window_config()
        return config.window if config else None

    @property
    def probing(self) -> WindowConfig:
        """The window whose intervals and `confirm` count now, the nearest one outside the watch."""
        config = self.window_config()
        windows = self.rules.policy.windows
        return config or (windows[0] if self.cutover_at is None or self.at < self.anchor else windows[-1])

    def bounds(self) -> tuple[tuple[float, float], ...]:
        """Every window's `[start, end)` in Unix seconds, cut at the end of the watch."""
        return tuple(self.bound(w) for w in self.rules.policy.windows)

    def bound(self, window: WindowConfig) -> tuple[float, float]:
        """One window's `[start, end)`."""
        return min(self.anchor + window.start_s, self.ends_at), min(self.anchor + window.until_s, self.ends_at)

    @property
    def sole(self) -> bool:
        """Whether the watched revision has all traffic."""
        return self.split.sole == self.revision

    def tag_url(self, role: Role) -> str | None:
        """The URL that reaches a role's revision whatever users take; None where there is none.

        The watched revision's own one is its tag URL or, while it has all traffic, Cloud Run's own URL of the service.
        """
        urls = tags_by_revision(self.tags)
        if role is Role.OWN:
            return urls.get(self.revision) or (self.own_url or None if self.sole else None)
        return urls.get(self.target.revision) if role is Role.CONTROL else None

    @property
    def judged_role(self) -> Role | None:
        """The path whose probes judge the revision: the public URL while it has all traffic, else its own tag URL;
        None (disarmed) when the split is mixed and there is no tag."""
        if self.sole:
            return Role.PUBLIC
        return Role.OWN if self.tag_url(Role.OWN) else None

    def probe(self, name: str) -> ProbeConfig | JourneyConfig:
        """The probe's or the journey's configuration."""
        return self.rules.policy.check(name)

    def probe_at(self, name: str, role: Role) -> ProbeConfig | JourneyConfig:
        """The probe or journey as it is sent to a role's URL. Where users take a way of their own (a load balancer with
        Identity-Aware Proxy), `audience` is that way's; Cloud Run's own URLs always take their own."""
        check = self.probe(name)
        if role is Role.PUBLIC or check.audience is None or self.rules.policy.service.url is None:
            return check
        return check.model_copy(update={"audience": None})

    def confirm(self, name: str) -> ConfirmConfig:
        """How a failure of the probe or journey is confirmed now."""
        check = self.probe(name)
        return check.confirm if isinstance(check, JourneyConfig) else self.probing.confirm

    def every_s(self, name: str) -> float:
        """How often the probe or journey is sent now, when all is well."""
        check = self.probe(name)
        return check.every_s if isinstance(check, JourneyConfig) else self.probing.probe_every_s

    def armed(self, name: str) -> bool:
        """Whether the probe's failure may move traffic: it has passed as it is configured now, or nobody could try."""
        known = self.probes.get(name)
        return self.armed_by_hand or name in self.controls_answered or (known is not None and known.armed)

    @property
    def on_trial(self) -> Trial | None:
        """The trial that runs now: both arms serve, and nothing is decided yet."""
        return self.trial if self.rollback is not None and self.rollback.stage == "trial" else None

    def proves(self, trigger: Trigger) -> bool:
        """Whether what the trigger proved is still so; a probe must have gone on failing until just now."""
        if trigger.rule is not None:
            return self.verdicts[trigger.rule].alarmed_at is not None
        if trigger.probe is None:
            return trigger.criterion != "operator"
        c = self.confirmations.get(trigger.probe)
        if c is None or not c.complete or c.last is None:
            return False
        return self.at - c.last.ended_at <= c.rule.every_s + self.probe(trigger.probe).timeout_s + FRESH_S
