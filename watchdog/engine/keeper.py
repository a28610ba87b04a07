"""Keeps one service: reads its traffic, opens watches when a revision begins to serve, and remembers what outlives a
watch. The inbox, the pin and probing between watches have modules of their own.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from math import inf
from typing import Any

import structlog

from watchdog.core import redeploy, traffic, trial
from watchdog.core import service as facts
from watchdog.core import watch as folding
from watchdog.core.events import Noticed, Opened, Resumed, TrafficSeen, Written
from watchdog.core.journal import decode
from watchdog.core.model import RevisionState, ServiceKey, ServiceState, Split, State
from watchdog.core.policy import Policy
from watchdog.core.service import Fact, Service
from watchdog.core.state import Watch
from watchdog.engine import runner as running
from watchdog.engine.clock import wait_for_event
from watchdog.engine.discovery import Discovery
from watchdog.engine.idle import IdleProbing
from watchdog.engine.journalist import Journalist
from watchdog.engine.letters import LETTERS_EVERY_S, Letters
from watchdog.engine.observing import Observing
from watchdog.engine.opening import Notice, author_of, open_watch, revisions_of
from watchdog.engine.pin import Pin
from watchdog.engine.regions import ASK_EVERY_S, Regions
from watchdog.engine.runner import Hooks, WatchRunner
from watchdog.engine.tagging import Tagger
from watchdog.engine.tools import Tools
from watchdog.engine.trust import Trust
from watchdog.errors import LeaseLostError, TemporaryError, WatchdogError
from watchdog.ports import Delivery, NewEvent, WatchRow

FLUSH_S = 30.0
"""How long a foreground `watch` waits at its end for a store that is away; a daemon has all the time there is."""

_log = structlog.get_logger(__name__)


@dataclass(slots=True, kw_only=True)
class Keeper:
    """One service of one policy. `discover` is off for a foreground `watch`, which knows its deploy."""

    tools: Tools
    policy: Policy
    key: ServiceKey
    discovery: Discovery
    discover: bool = True
    regions: Regions | None = None
    """The policy's regions, shared by their keepers; by itself where nobody shares them."""
    runners: dict[str, WatchRunner] = field(default_factory=dict)
    service: Service = field(init=False)
    tagger: Tagger = field(init=False)
    letters: Letters = field(init=False)
    pin: Pin = field(init=False)
    idle: IdleProbing = field(init=False)
    around: Regions = field(init=False)
    trust: Trust = field(init=False)
    observing: Observing = field(init=False)
    state: ServiceState | None = None
    standby: asyncio.Event = field(default_factory=asyncio.Event)
    """Set once it is known whether this process owns the service."""
    owned: bool = False
    revisions: Sequence[RevisionState] = ()
    """As listed last."""
    _read_at: float = -inf
    """When the newest read of the service began, monotonic seconds."""
    _journalist: Journalist | None = None
    _facts: asyncio.Lock = field(default_factory=asyncio.Lock)
    _opening: asyncio.Lock = field(default_factory=asyncio.Lock)
    _group: asyncio.TaskGroup | None = None
    _trouble: str = ""
    """Why the last look at the service failed, empty when it did not."""
    _unread: bool = False
    """Whether it was Cloud Run that could not be read."""
    _elsewhere: set[str] = field(default_factory=set)
    """Open watches that another process holds."""
    _unreadable: set[str] = field(default_factory=set)
    _tagging: asyncio.Task[None] | None = None
    _poll_now: asyncio.Event = field(default_factory=asyncio.Event)
    _hurry: bool = False
    """Whether the next look may not wait for a list."""

    def __post_init__(self) -> None:
        self.service = Service(key=self.key)
        self.tagger = Tagger(self.tools, self.key)
        self.letters = Letters(self)
        self.pin = Pin(self)
        self.idle = IdleProbing(self)
        self.around = self.regions or Regions(self.tools, self.policy)
        self.around.keepers.append(self)
        self.trust = Trust(self)
        self.observing = Observing(self)

    @property
    def stream(self) -> str:
        """The service's stream."""
        return facts.stream(self.key)

    async def run(self) -> None:
        """Wait for the lease, then keep the service until it is lost; for ever."""
        while True:
            lease = await self._acquire(self.stream)
            if lease is None:
                self.owned = False
                self.standby.set()
                await self.tools.clock.sleep(self.tools.lease_ttl_s / 3)
                continue
            try:
                await self._keep(Journalist(tools=self.tools, lease=lease))
            except* LeaseLostError:
                _log.warning("service_taken_over", service=str(self.key))
            self.owned = False

    async def _acquire(self, stream: str) -> Any:
        try:
            return await self.tools.store.acquire(
                stream, self.tools.owner, ttl_s=self.tools.lease_ttl_s, now=self.tools.clock.now()
            )
        except TemporaryError as error:
            _log.warning("lease_not_acquired", stream=stream, error=str(error))
            return None

    async def _keep(self, journalist: Journalist) -> None:
        self._journalist = journalist
        try:
            await self._load()
            async with asyncio.TaskGroup() as group:
                self._group = group
                group.create_task(journalist.keep(), name=f"lease/{self.key}")
                group.create_task(self._until_lost(journalist), name=f"lost/{self.key}")
                await self._resume()
                self.owned = True
                self.standby.set()
                self.tools.metrics.leader.set(1)
                # Again and again: a dead owner's lease of a watch may outlive its lease of the service, and a watch
                # that crashed must go on.
                resuming = self._forever(self._resume, self.tools.lease_ttl_s / 3)
                group.create_task(resuming, name=f"resume/{self.key}")
                group.create_task(self._forever(self.letters.hand_out, LETTERS_EVERY_S), name=f"letters/{self.key}")
                group.create_task(self._forever(self.letters.carry_out, LETTERS_EVERY_S), name=f"orders/{self.key}")
                group.create_task(self._poll(), name=f"traffic/{self.key}")
                if self.around.several:
                    group.create_task(self._forever(self._hear, ASK_EVERY_S), name=f"regions/{self.key}")
                group.create_task(self.trust.keep(), name=f"trust/{self.key}")
                if self.discover:
                    group.create_task(self.idle.arm(), name=f"arm/{self.key}")
        finally:
            self._group = None
            self._journalist = None
            await journalist.release()

    async def _until_lost(self, journalist: Journalist) -> None:
        await journalist.lost.wait()
        raise LeaseLostError(f"another process keeps {self.key}")

    async def _forever(self, work: Any, every_s: float) -> None:
        """A fault in one round must not end the service's keeping."""
        failing = ""
        while True:
            try:
                await work()
                failing = ""
            except LeaseLostError:
                raise
            except WatchdogError as error:
                if str(error) != failing:
                    _log.warning("keeper_failed", service=str(self.key), work=work.__name__, error=str(error))
                failing = str(error)
            except Exception:  # noqa: BLE001 - supervision: said, and the rest goes on
                _log.exception("keeper_crashed", service=str(self.key), work=work.__name__)
            await self.tools.clock.sleep(every_s)

    # --- what is remembered ----------------------------------------------------------------------------------------

    async def _load(self) -> None:
        service = Service(key=self.key)
        async for record in self.tools.store.read(self.stream):
            service = facts.fold(service, Fact(at=record.at, kind=record.kind, body=record.body))
        self.service = service

    async def remember(
        self,
        *new: Fact,
        letters: Sequence[int] = (),
        watch: WatchRow | None = None,
        deliveries: Sequence[Delivery] = (),
    ) -> None:
        """Fold facts in and journal them; `watch` is a read model that changes with them, `deliveries` tell of them."""
        async with self._facts:
            for fact in new:
                self.service = facts.fold(self.service, fact)
            if self._journalist is None:
                raise LeaseLostError(f"{self.key} is not kept by this process")
            now = self.tools.clock.now()
            rows = [NewEvent(at=f.at, seen_at=now, kind=f.kind, schema=facts.SCHEMA, body=f.body) for f in new]
            await self._journalist.append(rows, letters=letters, watch=watch, deliveries=deliveries)

    def refuse_if_behind(self, why: str) -> None:
        """Raise `TemporaryError` while facts wait for a store that is away."""
        if self._journalist is not None and self._journalist.backlog:
            raise TemporaryError(why)

    # --- watches ---------------------------------------------------------------------------------------------------

    async def _resume(self) -> None:
        """Take up the service's open watches where their journals end, as soon as their leases are free."""
        async with self._opening:
            for row in await self._open_rows():
                lease = await self._acquire(f"watch/{row.id}")
                if lease is None:
                    if row.id not in self._elsewhere:
                        _log.info("watch_elsewhere", watch=row.id)
                    self._elsewhere.add(row.id)
                    continue
                self._elsewhere.discard(row.id)
                await self._take_up(row.id, Journalist(tools=self.tools, lease=lease))

    async def _open_rows(self) -> list[WatchRow]:
        """The service's open watches that are not run here."""
        rows = await self.tools.store.watches(open_only=True)
        mine = (self.key.project, self.key.region, self.key.name)
        known = self._unreadable | set(self.runners)
        return [r for r in rows if (r.project, r.region, r.service) == mine and r.id not in known]

    async def _take_up(self, watch_id: str, journalist: Journalist) -> None:
        watch: Watch | None = None
        count = 0
        async for record in self.tools.store.read(f"watch/{watch_id}"):
            count += 1
            try:
                event = decode(record.kind, record.schema, record.at, record.body)
                if watch is not None:
                    watch, _ = folding.advance(watch, event)
                elif isinstance(event, Opened):
                    watch, _ = folding.opened(event)
            except Exception:  # noqa: BLE001 - supervision: said, and the rest goes on
                _log.exception("event_not_folded", watch=watch_id, seq=record.seq, kind=record.kind)
        if watch is None or not watch.open:
            _log.error("watch_not_resumed", watch=watch_id, events=count, why="its journal opens no watch")
            self._unreadable.add(watch_id)
            await journalist.release()
            return
        now = self.tools.clock.now()
        _log.info("watch_resumed", watch=watch_id, events=count, away_s=round(now - watch.at, 1))
        await self._remember_rollback(watch)
        runner = self._runner(watch, journalist, ())
        runner.put(Resumed(at=now, down_since=watch.at))
        self._start(runner)

    async def _remember_rollback(self, watch: Watch) -> None:
        """A process that was killed right after its write may not have come to this."""
        rollback = watch.rollback
        if rollback is None or rollback.written_at is None:
            return
        written = Written(
            at=rollback.written_at, result="done", reason="", before=rollback.before, after=rollback.after
        )
        await self._on_written(watch, written)

    async def _hear(self) -> None:
        """Tell the watches what has become of their release in other regions."""
        found = await self.around.ask([r.watch for r in self.runners.values()])
        for watch_id, event in found.items():
            if (runner := self.runners.get(watch_id)) is not None:
                runner.put(event)

    def _runner(self, watch: Watch, journalist: Journalist, first: Any) -> WatchRunner:
        hooks = Hooks(
            service=lambda: self.service,
            service_url=self.service_url,
            on_written=self._on_written,
            on_proven=self._on_proven,
        )
        return WatchRunner(
            tools=self.tools,
            watch=watch,
            journalist=journalist,
            hooks=hooks,
            first=first,
            flush_s=inf if self.discover else FLUSH_S,
        )

    def _start(self, runner: WatchRunner) -> None:
        self.runners[runner.watch.id] = runner
        if self._group is None:
            raise LeaseLostError(f"{self.key} is not kept by this process")
        self._group.create_task(self._run(runner), name=f"watch/{runner.watch.id}")

    async def _run(self, runner: WatchRunner) -> None:
        try:
            await runner.run()
            if not runner.watch.open and runner.watch.rules.policy.rollback.tag:
                await self.tagger.clear(runner.watch, self.owns)
            await self.observing.ended(runner.watch)
        except Exception:  # noqa: BLE001 - supervision: said, and the rest goes on
            _log.exception("watch_crashed", watch=runner.watch.id)
            runner.journalist.lost.set()  # its lease runs out; the next resume folds the journal afresh
        finally:
            self.runners.pop(runner.watch.id, None)
            runner.begun.set()
            runner.changed.set()
            self._poll_now.set()

    def open_runner(self, revision: str | None = None) -> WatchRunner | None:
        """The runner of the open watch (of a revision)."""
        for r in self.runners.values():
            if r.watch.open and revision in (None, r.watch.revision):
                return r
        return None

    async def open(self, notice: Notice, *, letters: Sequence[int] = ()) -> WatchRunner:
        """Open a watch, or converge on the one that is open for the revision already."""
        async with self._opening:
            # Which revision is the newest may have changed since the last look.
            state = self.state if self.state is not None and notice.revision else await self.read_now()
            revision = notice.revision or state.latest_created or state.latest_ready
            existing = self.open_runner(revision)
            if existing is not None:
                if letters or notice.by_hand:
                    existing.put(_told(notice, self.tools.clock.now()))
                await self.remember(letters=letters)
                return existing
            for row in await self._open_rows():
                if row.revision == revision:  # its owner died a moment ago, and its lease has yet to run out
                    raise TemporaryError(f"watch {row.id} of {revision} is still leased to another process")
            if self.state is not None:
                state = await self.read_now()
            opening = await open_watch(
                self.tools,
                self.policy,
                state,
                self.service,
                notice,
                armed=self.idle.armed(),
                sick=tuple(self.service.sick),
                doubt=self.trust.at_opening,
            )
            async with self.around.joining:
                opening = await self.around.joined(opening)
                watch, first = running.start(opening)
                lease = await self._acquire(f"watch/{watch.id}")
                if lease is None:
                    raise TemporaryError(f"the store gave no lease, so {watch.revision} is not watched yet")
                runner = self._runner(watch, Journalist(tools=self.tools, lease=lease), first)
                self._start(runner)
                # The arrival counts as seen only once its watch is in the journal: a process killed in between must
                # find one or the other at its next start.
                await runner.begun.wait()
            if watch.id not in self.runners:
                raise TemporaryError(f"the watch of {watch.revision} did not begin")
            await self.remember(*self._seen_with(watch.revision, opening.at, state), letters=letters)
            return runner

    def _seen_with(self, revision: str, at: float, state: ServiceState) -> tuple[Fact, ...]:
        """The split as seen, unless it holds another arrival that `look` has yet to open a watch for."""
        others = {a.revision for a in facts.arrivals(self.service, state, at)} - {revision}
        return () if others else (facts.seen(at, state.split),)

    async def _on_written(self, watch: Watch, written: Written) -> None:
        """The bad revision is remembered, the budget is charged, the pin is known: once, however often it is said."""
        now = written.at
        if written.result == "put_back":
            await self.remember(facts.tried(now, revision=watch.revision), facts.seen(now, written.after))
            self._poll_now.set()
            return
        decided = watch.rollback.decided_at if watch.rollback else now
        if watch.revision in self.service.bad_revisions and any(at >= decided for at, _ in self.service.rollbacks):
            return
        revisions = await revisions_of(self.tools, self.key)
        found = next((r for r in revisions if r.name == watch.revision), None)
        fingerprint = (found.fingerprint if found else "") or watch.deploy.fingerprint or f"revision:{watch.revision}"
        kinds = self._pin_kind(watch)
        await self.remember(
            facts.rolled_back(now, revision=watch.revision, target=watch.target.revision, before=kinds),
            facts.known_bad(
                now,
                revision=watch.revision,
                fingerprint=fingerprint,
                images=facts.guilty_images(found, [r for r in revisions if r.name in written.after.revisions]),
            ),
            facts.seen(now, written.after),
        )
        if watch.target.source == redeploy.SOURCE:  # what was proven is gone, and this is the same again
            await self.remember(facts.proven(now, written.after, f"watch {watch.id} deployed it again"))
        self._poll_now.set()

    def _pin_kind(self, watch: Watch) -> Split:
        return watch.rollback.before if watch.rollback and watch.rollback.before.shares else watch.split

    async def _on_proven(self, watch: Watch) -> None:
        if watch.split.percent_of(watch.revision):
            await self.remember(facts.proven(watch.proven_at or watch.at, watch.split, f"watch {watch.id}"))

    # --- traffic ---------------------------------------------------------------------------------------------------

    def service_url(self) -> str:
        """Where users reach the service."""
        return self.policy.service.url or (self.state.url if self.state else "")

    async def read_now(self) -> ServiceState:
        """The service as it is at this moment."""
        began = self.tools.clock.monotonic()
        self.state = await self.tools.traffic.read(self.key)
        self._read_at = began
        return self.state

    async def list_revisions(self) -> None:
        """Know which revisions there are now."""
        self.revisions = await revisions_of(self.tools, self.key)

    def look_soon(self) -> None:
        """The next look at the service waits for nothing."""
        self._poll_now.set()

    async def _read(self) -> ServiceState | None:
        """The service as discovery lists it; at once where something is under way. None when it was read meanwhile."""
        now, self._hurry = self._hurry, False
        if now or self._every() < self.policy.service.discover_every_s:
            return await self.read_now()
        state, began = await self.discovery.look(self.key, newer_than=self._read_at)
        if began < self._read_at:
            return None
        self.state, self._read_at = state, began
        return state

    def _every(self) -> float:
        """How often the service has to be read now, seconds."""
        urgent = (r.plan.traffic_every_s or inf for r in self.runners.values())
        return min([self.policy.service.discover_every_s, *urgent])

    async def _poll(self) -> None:
        while True:
            began = self.tools.clock.monotonic()
            self._hurry = self._poll_now.is_set()
            self._poll_now.clear()  # before the read: what is asked for during it may come too late for it
            try:
                await self.look()
                began = max(self._read_at, began - self._every())  # in step with those who share the list
                if self._trouble:
                    _log.info("service_readable", service=str(self.key))
                self._trouble = ""
            except LeaseLostError:
                raise
            except WatchdogError as error:
                if str(error) != self._trouble:
                    said = "service_unreadable" if self._unread else "discovery_failed"
                    _log.warning(said, service=str(self.key), error=str(error))
                self._trouble = str(error)
            except Exception:  # noqa: BLE001 - supervision: said, and the rest goes on
                _log.exception("discovery_crashed", service=str(self.key))
            wait = max(0.05, self._every() - (self.tools.clock.monotonic() - began))
            await _sleep_or(self._poll_now, self.tools, wait)

    async def look(self) -> None:
        """Read the service once: tell its watches, open new ones, notice a proven or released split."""
        self._unread = True
        state = await self._read()
        self._unread = False
        if state is None:
            return
        now = self.tools.clock.now()
        moved = not state.split.same_traffic(self.service.served)
        if self.runners and (moved or not self._knows(state)):
            await self.list_revisions()
        self._tell(state, now)
        if not self.service.known:
            await self._first_sight(state, now)
            return
        if self.discover:
            for arrival in facts.arrivals(self.service, state, now):
                if self.open_runner(arrival.revision) is None and not self._written_by_us(arrival.revision):
                    await self.open(Notice(revision=arrival.revision, observe=arrival.known_bad))
        if moved and state.split.shares:
            await self.remember(facts.seen(now, state.split))
        await self.pin.follow(state)
        self._tag(state)

    def _tag(self, state: ServiceState) -> None:
        """Give and take tags beside everything else: a write must not hold up the reading."""
        busy = self._tagging is not None and not self._tagging.done()
        watches = [r.watch for r in self.runners.values()]
        if self._group is not None and not busy and state.ready is not None and self.tagger.due(state, watches):
            self._tagging = self._group.create_task(self._tag_now(state, watches), name=f"tags/{self.key}")

    async def _tag_now(self, state: ServiceState, watches: Sequence[Watch]) -> None:
        try:
            if await self.tagger.reconcile(state, watches, self.owns):
                self._poll_now.set()
        except Exception:  # noqa: BLE001 - supervision: said, and the rest goes on
            _log.exception("tagging_crashed", service=str(self.key))

    async def owns(self) -> bool:
        """Whether the service is still kept here: asked before a write."""
        return self._journalist is not None and await self._journalist.owns()

    def _knows(self, state: ServiceState) -> bool:
        """Whether the revisions that serve or are watched are among those that were listed last."""
        return {*state.split.revisions, *(r.watch.revision for r in self.runners.values())} <= {
            r.name for r in self.revisions
        }

    def _written_by_us(self, revision: str) -> bool:
        """Whether a rollback of an open watch gave it traffic: proven or not, it is no deploy."""
        return any(_gave(r.watch, revision) for r in self.runners.values())

    async def _first_sight(self, state: ServiceState, now: float) -> None:
        """On the very first sight what serves is taken as known and proven; a foreground watch proves nothing by it."""
        if not state.split.shares:
            return
        new = [facts.seen(now, state.split)]
        mark = state.trial_of(state.trial.revision) if state.trial is not None else None
        if self.discover and mark is None:
            new.append(facts.proven(now, state.split, "served before the first watch"))
        await self.remember(*new)
        if self.discover and mark is not None and state.split.percent_of(mark.revision):
            # Whoever began this trial has lost its store, and us with it: what it found bad proves nothing.
            _log.warning("trial_found", service=str(self.key), revision=mark.revision, split=str(state.split))
            await self.open(Notice(revision=mark.revision))

    def _tell(self, state: ServiceState, now: float) -> None:
        for r in list(self.runners.values()):
            newer = traffic.newer_serves(state, self.revisions, r.watch.revision)
            settled = state.ready is True and state.observed_generation == state.generation
            event = TrafficSeen(
                at=now,
                split=state.split,
                tags=state.tags,
                newer=newer,
                rolled_back=state.rolled_back,
                settled=settled,
                message=state.ready_message,
                author=author_of(state),
            )
            changed = not state.split.same_traffic(r.watch.split) or state.tags != r.watch.tags
            waiting = r.watch.rollback is not None and r.watch.rollback.restored_at is None
            if changed or waiting or r.watch.state in {State.PENDING, State.VERIFYING}:
                r.put(event)


def _gave(watch: Watch, revision: str) -> bool:
    """Whether the watch's rollback has given the revision traffic, or is about to: a trial may be routed before we have
    folded in that it was written."""
    rollback = watch.rollback
    if rollback is None:
        return watch.returning is not None and revision in watch.returning.targets
    if rollback.written_at is not None:
        return rollback.after.percent_of(revision) > 0
    made = watch.target.source == redeploy.SOURCE
    tried = made or rollback.step in {"trial", "back"} or trial.of_rollback(watch) is not None
    return tried and revision in watch.target.split.revisions


def _told(notice: Notice, at: float) -> Noticed:
    return Noticed(
        at=at,
        version=notice.version,
        deployer=notice.deployer,
        notes=notice.notes,
        rollback_safe=notice.rollback_safe,
        previous=Split.of(notice.previous),
    )


async def _sleep_or(event: asyncio.Event, tools: Tools, seconds: float) -> None:
    await wait_for_event(event, tools.clock, seconds)
