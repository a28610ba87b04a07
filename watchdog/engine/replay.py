"""Judges a watch in virtual time: a day of evidence within a second, by the very fold that runs live.

The fold is told of every deadline when it is due, as the runner does, so a decision falls at the moment at which it
would have been taken. Rollbacks are supposed to succeed: nobody is asked, and what a good one would bring (the split
routed, passing probes, clean requests) is folded in after it.
"""

from bisect import insort
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from math import inf

from watchdog.core import watch as folding
from watchdog.core.acts import Trigger
from watchdog.core.commands import Announce, Command, Restore
from watchdog.core.events import Event, Opened, Probed, Sampled, Target, Ticked, TrafficSeen, Written
from watchdog.core.model import Counts, Deploy, Outcome, Passed, Sample, Split
from watchdog.core.policy import Policy
from watchdog.core.probing import ProbeAnswer, Purpose, Role
from watchdog.core.state import Watch

CANDIDATE = "candidate"
"""What the revision under judgement is called where a file does not say."""
PREVIOUS = Split.of({"previous": 100})
"""What served before it there."""
PROBED_EVERY_S = 1.0
"""How often the supposed probes prove a recovery, as live."""
PATIENCE_S = 120.0
"""A journal that ends within this time after a decision may end before its write."""
PROVING = 1e12
"""Clean requests that a supposed rollback is proven with: more than any row can ask for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """A decision, `at_s` seconds after the cutover."""

    at_s: float
    action: str
    criterion: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Turn:
    """The fold asked for a rollback, `at_s` seconds after the cutover.

    `how`: `automatic`; `person` (on somebody's word, `by`); `asked` (mode approve: a person has to say yes); `observed`
    (said only, nothing is written).
    """

    at_s: float
    how: str
    criterion: str
    proof: str
    by: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Judgement:
    """What a replay found. `outcome` is None when a journal ends before its watch does."""

    watch: Watch
    decisions: tuple[Told, ...]
    turns: tuple[Turn, ...] = ()
    """Rollbacks that the fold asked for, in order."""
    kept_back: tuple[Told, ...] = ()
    """Proven, and held or refused: what was said."""
    ended_s: float
    outcome: Outcome | None
    reason: str
    origin: float = 0.0
    """The cutover in the fold's own time, from which `…_s` are counted."""
    unasked: tuple[float, ...] = ()
    """Of a journal: traffic writes (seconds since the cutover) that this fold did not ask for."""
    unanswered: tuple[float, ...] = ()
    """Of a journal: rollbacks that this fold asks for, and that the journal goes on without."""
    left_out: int = 0
    """Of a journal: events that the fold could not take, left out as they were live (decision 18)."""


def opening_of(policy: Policy, *, ends_s: float | None) -> Opened:
    """A watch of a file's evidence: cutover at 0, so that every time of the fold is seconds since the cutover.

    No lags are announced, nothing was measured before, there is no control and no cold start (DESIGN section 8).
    `ends_s`: where the evidence ends; None when it reaches the policy's own end.
    """
    return Opened(
        at=0.0,
        watch="replay",
        deploy=Deploy(service=policy.service.keys[0], revision=CANDIDATE),
        policy=policy.canonical(),
        policy_hash=policy.hash,
        target=Target(split=PREVIOUS, source="caller"),
        split=Split.of({CANDIDATE: 100}),
        cutover_at=0.0,
        ends_at=ends_s,
        armed=None,
        unable=dict.fromkeys(policy.journeys, "a file of samples holds no journeys"),
        cold_start=False,
    )


def batches(samples: Iterable[Sample]) -> Iterator[Sampled]:
    """Samples as events, in the order in which they were seen; those seen together come together."""
    waiting: list[Sample] = []
    for sample in samples:
        if waiting and sample.seen != waiting[-1].seen:
            yield Sampled(at=waiting[-1].seen, samples=tuple(waiting))
            waiting = []
        waiting.append(sample)
    if waiting:
        yield Sampled(at=waiting[-1].seen, samples=tuple(waiting))


def judge(opening: Opened, events: Iterable[Event]) -> Judgement:
    """Fold the events in virtual time up to the end of the watch; rollbacks are supposed to succeed."""
    run = _Run(opening)
    for event in events:
        run.advance_to(event.at)
        if not run.watch.open:
            break
        run.fold(event)
    run.advance_to(inf)
    return run.judgement()


def refold(opening: Opened, events: Iterable[Event]) -> Judgement:
    """Fold a journal exactly as it was folded live: every event is there already, nothing is supposed."""
    run = _Run(opening, suppose=False)
    last = opening.at
    for event in events:
        run.fold(event)
        last = event.at
    # Times of a journal that came as text are cut to a millisecond: what was due at the last event is due here too.
    run.fold(Ticked(at=last + 0.001))
    run.forget_asked_after(last - PATIENCE_S)
    return run.judgement()


@dataclass(slots=True)
class _Run:
    """One replay under way."""

    opening: Opened
    suppose: bool = True
    watch: Watch = field(init=False)
    decisions: list[Told] = field(default_factory=list)
    turns: list[Turn] = field(default_factory=list)
    kept_back: list[Told] = field(default_factory=list)
    left_out: int = 0
    turned_at: float | None = None
    """When the last rollback was decided that is in `turns` (Unix seconds)."""
    supposed: list[Event] = field(default_factory=list)
    """What the rollback brings, in order, not folded in yet."""
    asked: list[float] = field(default_factory=list)
    """Rollbacks asked for and not answered yet, in the fold's time."""
    unasked: list[float] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.watch, commands = folding.opened(self.opening)
        self._take(commands)

    def advance_to(self, at: float) -> None:
        """Let time pass: fire deadlines at their moments, fold in what is supposed to happen."""
        while self.watch.open:
            due = self.watch.due
            if due <= self.watch.at:  # stays due by rounding: asked again a little later, as the fold itself does
                due = self.watch.at + folding.LEAST_STEP_S
            if self.supposed and self.supposed[0].at <= due:
                if self.supposed[0].at > at:
                    return
                self.fold(self.supposed.pop(0))
            elif due > at or due == inf:
                return
            else:
                self.fold(Ticked(at=due))

    def fold(self, event: Event) -> None:
        """One event. Of a journal, one that the fold cannot take is left out, as it was live."""
        before = self.watch
        try:
            self.watch, commands = folding.advance(before, event)
        except Exception:
            if self.suppose:
                raise
            self.left_out += 1
            return
        if commands:
            self._take(commands)
        if self.watch.approve_until is not None and before.approve_until is None and self.watch.pending_trigger:
            self._turn("asked", self.watch.pending_trigger)
        if isinstance(event, Written):
            if self.asked:
                self.asked.pop()
            else:
                self.unasked.append(event.at)

    def forget_asked_after(self, at: float) -> None:
        """What was asked for in the last moments of a journal has no answer in it yet."""
        self.asked = [t for t in self.asked if t <= at]

    def judgement(self) -> Judgement:
        """What was found."""
        watch = self.watch
        outcome, reason = watch.outcome, watch.reason
        if self.suppose and self.asked and not watch.open and not _only_observes(watch):
            # Decided at the evidence's very last moment, which left no time to suppose anything in.
            outcome, reason = Outcome.ROLLED_BACK, f"Rolled back to {watch.target.split} as the evidence ends."
        ended = watch.ended_at if watch.ended_at is not None else watch.at
        return Judgement(
            watch=watch,
            decisions=tuple(self.decisions),
            turns=tuple(self.turns),
            kept_back=tuple(self.kept_back),
            left_out=self.left_out,
            ended_s=ended - self._origin,
            outcome=outcome,
            reason=reason,
            origin=self._origin,
            unasked=tuple(at - self._origin for at in self.unasked),
            unanswered=() if self.suppose else tuple(at - self._origin for at in self.asked),
        )

    @property
    def _origin(self) -> float:
        cutover = self.watch.cutover_at
        return self.watch.opened_at if cutover is None else cutover

    def _take(self, commands: Sequence[Command]) -> None:
        for command in commands:
            if isinstance(command, Announce) and command.event in _TOLD:
                f = command.fields
                told = Told(
                    at_s=command.at - self._origin,
                    action=str(f.get("action", command.event)),
                    criterion=str(f["criterion"]),
                    reason=str(f["reason"]),
                )
                (self.decisions if command.event == "decision" else self.kept_back).append(told)
            elif isinstance(command, Restore):
                self.asked.append(self.watch.at)
                rollback = self.watch.rollback
                if rollback is not None and rollback.step != "back" and rollback.decided_at != self.turned_at:
                    self.turned_at = rollback.decided_at  # the rest after a trial is written on the same decision
                    how = "observed" if _only_observes(self.watch) else "person" if rollback.by else "automatic"
                    self._turn(how, rollback.trigger, at=rollback.decided_at, by=rollback.by)
                for event in _supposed(self.watch) if self.suppose else ():
                    insort(self.supposed, event, key=lambda e: e.at)

    def _turn(self, how: str, trigger: Trigger, *, at: float | None = None, by: str = "") -> None:
        at_s = (trigger.at if at is None else at) - self._origin
        self.turns.append(Turn(at_s=at_s, how=how, criterion=trigger.criterion, proof=trigger.sentence, by=by))


_TOLD = frozenset({"decision", "held", "rollback_refused"})


def _supposed(watch: Watch) -> Iterator[Event]:
    """What follows on a rollback that succeeds: written at once, routed soon, and everything is well again."""
    policy, at = watch.rules.policy, watch.at
    goal = watch.target.split
    if _only_observes(watch):
        reason = f"would have moved traffic from {watch.split} to {goal}"
        yield Written(at=at, result="observed", reason=reason, before=watch.split, after=goal)
        return
    yield Written(at=at, result="done", reason="", before=watch.split, after=goal)
    yield TrafficSeen(at=at, split=goal, tags=watch.tags)
    settled = at + policy.rollback.settle_s
    yield _clean_requests(watch, at, settled + PROBED_EVERY_S)
    critical = [name for name, probe in policy.probes.items() if probe.critical]
    for i in range(policy.rollback.verify_probes):
        for name in [*critical, *(watch.rules.journeys if i == 0 else ())]:
            yield _passing(name, settled + (i + 1) * PROBED_EVERY_S)


def _only_observes(watch: Watch) -> bool:
    by_person = watch.rollback is not None and bool(watch.rollback.by)
    return watch.rules.policy.rollback.mode == "observe" and not by_person


def _clean_requests(watch: Watch, start: float, end: float) -> Sampled:
    """Requests without fault to the restored revision, for every row that counts them."""
    samples = tuple(
        Sample(
            source="supposed",
            check=check,
            revision=watch.target.revision,
            start=start,
            end=end,
            seen=end,
            evidence=Counts(0.0, PROVING),
        )
        for check in watch.rules.by_check
    )
    return Sampled(at=end, samples=samples)


def _passing(name: str, at: float) -> Probed:
    answer = ProbeAnswer(evidence=Passed(), started_at=at, ended_at=at, status=200)
    return Probed(at=at, probe=name, role=Role.PUBLIC, purpose=Purpose.VERIFY, scheduled_at=at, answer=answer)
