"""A watch as a value: everything that is known about one deploy at one moment.

It is made only by `watch.advance` from events, so a journal is enough to make it again.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from math import inf
from typing import Any

from watchdog.core.acts import Decision, Entry, Hold, Incident, Rollback, Trial, Trigger
from watchdog.core.beyond import JobRun, Scaling
from watchdog.core.compare import Arm
from watchdog.core.cover import Cover
from watchdog.core.events import FellElsewhere, Target
from watchdog.core.load import NO_LOAD, Load
from watchdog.core.model import Clue, Deploy, Outcome, Split, State, Tag, Window, tags_by_revision
from watchdog.core.origins import Past, Seen
from watchdog.core.policy import ConfirmConfig, JourneyConfig, ProbeConfig, WindowConfig
from watchdog.core.probing import OwnRequest, Role
from watchdog.core.rules import Rules
from watchdog.core.series import Series
from watchdog.core.standing import (
    Confirmation,
    ProbeState,
    RuleState,
    Shared,
    Signed,
    Stream,
    Versus,
    Warming,
)
from watchdog.core.trend import Trend

FRESH_S = 5.0
"""How much older than its schedule the newest answer may be before it no longer says how things are now."""


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
