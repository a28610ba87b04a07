"""Plays whole watches in virtual time: the engine's part is pretended, the world around it is what a test says."""

import heapq
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from itertools import count
from typing import Any

from tests.core.watches import NEW, OLD, POLICY, T0, fails, ok, opening, state_of
from watchdog.core import watch as folding
from watchdog.core.commands import Announce, Command, Notify, Restore
from watchdog.core.events import Event, Opened, Operated, Probed, Sampled, Signalled, Ticked, TrafficSeen, Written
from watchdog.core.model import Counts, Sample, Split
from watchdog.core.policy import Policy
from watchdog.core.probing import ProbeAnswer, Purpose, Role
from watchdog.core.schedule import Ask, plan
from watchdog.core.standing import RuleState
from watchdog.core.state import Watch
from watchdog.core.traffic import partial

Answers = Callable[[str, float], ProbeAnswer]
"""What a path answers to the probe of this name that is sent at this time."""
Traffic = Callable[[float], tuple[Any, ...]]
"""What `Counts` is made of: bad and total requests of the 5 s (or of the feed's period) that end at this time."""


def well(name: str, at: float) -> ProbeAnswer:
    """A path on which nothing is wrong."""
    return ok(at)


def down_from(start_s: float, reason: str = "status", until_s: float = 1e9) -> Answers:
    """A path that fails between two moments, in seconds since the cutover."""

    def answer(name: str, at: float) -> ProbeAnswer:
        return fails(at, reason) if T0 + start_s <= at < T0 + until_s else ok(at)

    return answer


def steady(total: float, bad: float = 0.0) -> Traffic:
    """The same counts in every interval."""
    return lambda at: (bad, total)


@dataclass(slots=True)
class World:
    """What surrounds a watch. `requests` is None where no feed answers."""

    public: Answers = well
    own: Answers = well
    control: Answers = well
    restored: Answers = well
    """The public path once traffic is back."""
    requests: Traffic | None = field(default_factory=lambda: steady(50.0))
    restored_requests: Traffic = field(default_factory=lambda: steady(50.0))
    control_requests: Traffic | None = None
    """The old revision's own, while both have traffic."""
    period_s: float = 5.0
    seen_after_s: float = 2.0
    source: str = "requests"
    asked_every_s: float = 0.0
    """A source that is asked, not tailed: samples are seen when it is asked next."""
    write: Callable[[Watch, float], Written] | None = None
    """How a traffic write ends; by default it succeeds after 0.3 s, whatever it is."""
    routed_after_s: float = 0.5


@dataclass(slots=True)
class Player:
    """Runs a watch as the engine would: on time, as planned, and without ever stopping."""

    world: World
    first: Opened
    watch: Watch = field(init=False)
    commands: list[Command] = field(default_factory=list)
    journal: list[Event] = field(default_factory=list)
    now: float = field(init=False)
    _queue: list[tuple[float, int, Callable[[], None]]] = field(default_factory=list)
    _order: Any = field(default_factory=count)
    _asks: dict[Ask, int] = field(default_factory=dict)
    _routed_at: float = float("inf")

    def __post_init__(self) -> None:
        self.watch, commands = folding.opened(self.first)
        self.commands += commands
        self.journal.append(self.first)
        self.now = self.first.at
        self._reconcile()
        if self.world.requests is not None:
            self._at((self.watch.cutover_at or self.now) + self.world.period_s, self._count)

    # --- what tests say

    def run(self, until_s: float = 86_401.0) -> "Player":
        """Let the world go on until so many seconds after the cutover, or until the watch has ended."""
        until = T0 + until_s
        while self.watch.open:
            due = self.watch.due
            if self._queue and self._queue[0][0] <= min(due, until):
                at, _, work = heapq.heappop(self._queue)
                self.now = max(self.now, at)
                work()
            elif due <= until:
                self.now = max(self.now, due)
                self.fold(Ticked(at=self.now))
            else:
                break
        self.now = max(self.now, min(until, T0 + 1e9))
        return self

    def fold(self, event: Event) -> None:
        """One event, journaled as the runner does: passing time only where something came of it."""
        self.watch, commands = folding.advance(self.watch, event)
        self.commands += commands
        if commands or not isinstance(event, Ticked):
            self.journal.append(event)
        for command in commands:
            if isinstance(command, Restore):
                self._restore()
        self._reconcile()

    def operate(self, verb: str, **more: Any) -> None:
        """A person acts now."""
        self.fold(Operated(at=self.now, verb=verb, by="alice", **more))

    def signal(self, name: str) -> None:
        """Somebody says something now."""
        self.fold(Signalled(at=self.now, signal=name, by="alice", reason="two shops report it"))

    def traffic(self, split: Mapping[str, int], **more: Any) -> None:
        """Cloud Run serves this now."""
        self.fold(TrafficSeen(at=self.now, split=Split.of(split), tags=self.watch.tags, **more))

    # --- what tests ask

    def announced(self, event: str) -> list[Announce]:
        """Announcements of a kind."""
        return [c for c in self.commands if isinstance(c, Announce) and c.event == event]

    def told(self, event: str) -> list[float]:
        """When it was announced, seconds since the cutover."""
        return [round(c.at - T0, 3) for c in self.announced(event)]

    def messages(self, kind: str) -> list[Mapping[str, Any]]:
        """Messages of a kind."""
        return [c.body for c in self.commands if isinstance(c, Notify) and c.kind == kind]

    @property
    def restores(self) -> int:
        """How many rollbacks were asked for."""
        return sum(isinstance(c, Restore) for c in self.commands)

    def row(self, row_id: str) -> RuleState:
        """What a row says now."""
        return state_of(self.watch, row_id)

    # --- the pretended engine

    def _at(self, at: float, work: Callable[[], None]) -> None:
        heapq.heappush(self._queue, (at, next(self._order), work))

    def _reconcile(self) -> None:
        wanted = plan(self.watch).asks
        for ask in set(self._asks) - wanted:
            del self._asks[ask]
        for ask in sorted(wanted - set(self._asks), key=str):
            self._asks[ask] = next(self._order)
            confirms = ask.purpose is Purpose.CONFIRM and ask.role is not Role.CONTROL
            self._ask(ask, self._asks[ask], 1 if confirms else 0, max(self.now, ask.since))

    def _ask(self, ask: Ask, mark: int, attempt: int, at: float) -> None:
        due = at if ask.purpose is Purpose.REGULAR else max(at, ask.since + attempt * ask.every_s)

        def send() -> None:
            if self._asks.get(ask) != mark:
                return
            answer = self._path(ask.role)(ask.probe, due)
            event = Probed(
                at=answer.ended_at,
                probe=ask.probe,
                role=ask.role,
                purpose=ask.purpose,
                scheduled_at=due,
                answer=answer,
                attempt=attempt,
                slot_s=ask.every_s if ask.purpose is Purpose.REGULAR else 0.0,
            )
            self._at(answer.ended_at, lambda: self._answered(ask, mark, event))
            self._ask(ask, mark, attempt + 1, due + ask.every_s)

        self._at(due, send)

    def _answered(self, ask: Ask, mark: int, event: Probed) -> None:
        if self._asks.get(ask) == mark:  # a cancelled probe's answer reaches nobody
            self.fold(event)

    def _path(self, role: Role) -> Answers:
        if role is Role.PUBLIC:
            return self.world.restored if self.now >= self._routed_at else self.world.public
        return self.world.own if role is Role.OWN else self.world.control

    def _count(self) -> None:
        end, world = self.now, self.world
        back = end - world.period_s >= self._routed_at
        if world.requests is not None and (back or end <= self._routed_at):
            self._counted(OLD if back else NEW, (world.restored_requests if back else world.requests)(end))
        control = plan(self.watch).control
        if control is not None and world.control_requests is not None:
            self._counted(control, world.control_requests(end))
        self._at(end + world.period_s, self._count)

    def _counted(self, revision: str, counts: tuple[Any, ...]) -> None:
        end, world = self.now, self.world
        sample = Sample(
            source=world.source,
            check="error_rate",
            revision=revision,
            start=end - world.period_s,
            end=end,
            seen=self._seen(end),
            evidence=Counts(*counts),
        )
        self._at(sample.seen, lambda: self.fold(Sampled(at=sample.seen, samples=(sample,))))

    def _seen(self, end: float) -> float:
        at = end + self.world.seen_after_s
        every = self.world.asked_every_s
        return at if not every else T0 + -(-(at - T0) // every) * every

    def _restore(self) -> None:
        def done() -> None:
            write = self.world.write or written
            event = write(self.watch, self.now)
            self.fold(event)
            if event.result in {"done", "trial", "put_back"}:
                routed_at = self.now + self.world.routed_after_s
                if event.result == "done":
                    self._routed_at = routed_at
                self._at(routed_at, lambda: self.traffic(event.after.percents()))

        self._at(self.now + 0.3, done)


def written(watch: Watch, at: float) -> Written:
    """A traffic write that succeeds."""
    goal, step = watch.target.split, watch.rollback.step if watch.rollback is not None else "whole"
    if step == "back" and watch.trial is not None:
        return Written(at=at, result="put_back", reason="", before=watch.split, after=watch.trial.before)
    part = partial(watch.split, goal, watch.revision, watch.rules.policy.rollback.trial or 0.0)
    if step == "trial" and part is not None:
        return Written(at=at, result="trial", reason="", before=watch.split, after=part)
    return Written(at=at, result="done", reason="", before=watch.split, after=goal)


def refused(reason: str, *, retry_at: float | None = None) -> Callable[[Watch, float], Written]:
    """A traffic write that is refused."""
    return lambda watch, at: Written(at=at, result="refused", reason=reason, before=watch.split, retry_at=retry_at)


def writer(kind: str) -> Callable[[Watch, float], Written]:
    """Traffic writes that end so: `refused`, `failed`, `over budget` at first, else well."""
    calls: list[float] = []

    def write(watch: Watch, at: float) -> Written:
        calls.append(at)
        if kind == "over budget" and len(calls) == 1:
            return refused("over budget", retry_at=at + 200.0)(watch, at)
        if kind in {"refused", "failed"}:
            return Written(at=at, result=kind, reason="no", before=watch.split)
        return written(watch, at)

    return write


def play(world: World | None = None, of: Policy = POLICY, **changes: Any) -> Player:
    """A player of a new watch."""
    return Player(world or World(), opening(of, **changes))
