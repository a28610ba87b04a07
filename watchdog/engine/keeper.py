"""Keeps one service: reads its traffic, opens watches when a revision begins to serve, arms probes between watches, and
remembers what outlives a watch.
"""

import asyncio
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from math import inf
from typing import Any

import structlog

from watchdog.core import service as facts
from watchdog.core import traffic, trial
from watchdog.core import watch as folding
from watchdog.core.events import Noticed, Opened, Resumed, TrafficSeen, Written
from watchdog.core.journal import decode
from watchdog.core.model import RevisionState, ServiceKey, ServiceState, Split, State
from watchdog.core.paging import Silence
from watchdog.core.policy import JourneyConfig, Policy, ProbeConfig
from watchdog.core.probing import ProbeAnswer
from watchdog.core.service import Fact, Service
from watchdog.core.state import Watch
from watchdog.engine import marking
from watchdog.engine import runner as running
from watchdog.engine.clock import wait_for_event
from watchdog.engine.discovery import Discovery
from watchdog.engine.journalist import Journalist
from watchdog.engine.opening import Notice, open_watch, revisions_of
from watchdog.engine.probing import Route, once_all, unable
from watchdog.engine.runner import Hooks, WatchRunner
from watchdog.engine.tagging import Tagger
from watchdog.engine.tools import Tools
from watchdog.errors import LeaseLostError, PermanentError, TemporaryError, WatchdogError
from watchdog.ports import Letter, NewEvent, WatchRow

LETTERS_EVERY_S = 0.25
"""Letters are folded in within half a second (DESIGN section 7)."""
HEARTBEAT_EVERY_S = 10.0
"""A job's heartbeats are journaled no more often."""
IDLE_PROBES_EVERY_S = 60.0
IDLE_JOURNEYS_EVERY_S = 3600.0
IDLE_TRIES = 3
IDLE_AGAIN_S = 1.0
"""A probe between watches that does not pass is asked so often, this far apart, before the service counts as sick."""
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
    runners: dict[str, WatchRunner] = field(default_factory=dict)
    service: Service = field(init=False)
    tagger: Tagger = field(init=False)
    state: ServiceState | None = None
    standby: asyncio.Event = field(default_factory=asyncio.Event)
    """Set once it is known whether this process owns the service."""
    owned: bool = False
    _revisions: Sequence[RevisionState] = ()
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
    _letters: set[int] = field(default_factory=set)
    _elsewhere: set[str] = field(default_factory=set)
    """Open watches that another process holds."""
    _unreadable: set[str] = field(default_factory=set)
    _tagging: asyncio.Task[None] | None = None
    _poll_now: asyncio.Event = field(default_factory=asyncio.Event)
    _journeyed: dict[str, float] = field(default_factory=dict)
    """When each journey was run last between watches (monotonic)."""
    _hurry: bool = False
    """Whether the next look may not wait for a list."""

    def __post_init__(self) -> None:
        self.service = Service(key=self.key)
        self.tagger = Tagger(self.tools, self.key)

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
                group.create_task(self._forever(self._read_letters, LETTERS_EVERY_S), name=f"letters/{self.key}")
                group.create_task(self._forever(self._read_orders, LETTERS_EVERY_S), name=f"orders/{self.key}")
                group.create_task(self._poll(), name=f"traffic/{self.key}")
                if self.discover:
                    group.create_task(self.arm(), name=f"arm/{self.key}")
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

    async def remember(self, *new: Fact, letters: Sequence[int] = (), watch: WatchRow | None = None) -> None:
        """Fold facts in and journal them; `watch` is a read model that changes with them."""
        async with self._facts:
            for fact in new:
                self.service = facts.fold(self.service, fact)
            if self._journalist is None:
                raise LeaseLostError(f"{self.key} is not kept by this process")
            now = self.tools.clock.now()
            rows = [NewEvent(at=f.at, seen_at=now, kind=f.kind, schema=facts.SCHEMA, body=f.body) for f in new]
            await self._journalist.append(rows, letters=letters, watch=watch)

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
            state = self.state if self.state is not None and notice.revision else await self._read_now()
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
                state = await self._read_now()
            opening = await open_watch(
                self.tools,
                self.policy,
                state,
                self.service,
                notice,
                armed=self._armed(),
                sick=tuple(self.service.sick),
            )
            watch, first = running.start(opening)
            lease = await self._acquire(f"watch/{watch.id}")
            if lease is None:
                raise TemporaryError(f"the store gave no lease, so {watch.revision} is not watched yet")
            runner = self._runner(watch, Journalist(tools=self.tools, lease=lease), first)
            self._start(runner)
            # The arrival counts as seen only once its watch is in the journal: a process killed in between must find
            # one or the other at its next start.
            await runner.begun.wait()
            if watch.id not in self.runners:
                raise TemporaryError(f"the watch of {watch.revision} did not begin")
            await self.remember(*self._seen_with(watch.revision, opening.at, state), letters=letters)
            return runner

    def _seen_with(self, revision: str, at: float, state: ServiceState) -> tuple[Fact, ...]:
        """The split as seen, unless it holds another arrival that `look` has yet to open a watch for."""
        others = {a.revision for a in facts.arrivals(self.service, state, at)} - {revision}
        return () if others else (facts.seen(at, state.split),)

    def _armed(self) -> tuple[str, ...]:
        checks: dict[str, ProbeConfig | JourneyConfig] = {**self.policy.probes, **self.policy.journeys}
        return tuple(n for n, p in checks.items() if self.service.armed.get(n) == config_hash(p))

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

    async def _read_now(self) -> ServiceState:
        """The service as it is at this moment."""
        began = self.tools.clock.monotonic()
        self.state = await self.tools.traffic.read(self.key)
        self._read_at = began
        return self.state

    async def _read(self) -> ServiceState | None:
        """The service as discovery lists it; at once where something is under way. None when it was read meanwhile."""
        now, self._hurry = self._hurry, False
        if now or self._every() < self.policy.service.discover_every_s:
            return await self._read_now()
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
            self._revisions = await revisions_of(self.tools, self.key)
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
        if self.service.pinned is not None and self._unpinned(state):
            _log.info("unpinned", service=str(self.key), split=str(state.split))
            await self.remember(Fact(at=now, kind="released", body={}))
        if self.service.release_on_next:
            await self._release_if_newer(state)
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
            r.name for r in self._revisions
        }

    def _unpinned(self, state: ServiceState) -> bool:
        """Whether somebody else made traffic follow the latest revision again: the pin, and what was ordered for it,
        are history. While a rollback of ours is under way, what was read may be from before its write."""
        busy = any(r.watch.rollback is not None for r in self.runners.values())
        return not busy and all(any(s.latest for s in split.shares) for split in (state.split, state.desired))

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
            newer = traffic.newer_serves(state, self._revisions, r.watch.revision)
            settled = state.ready is True and state.observed_generation == state.generation
            event = TrafficSeen(
                at=now,
                split=state.split,
                tags=state.tags,
                newer=newer,
                rolled_back=state.rolled_back,
                settled=settled,
                message=state.ready_message,
            )
            changed = not state.split.same_traffic(r.watch.split) or state.tags != r.watch.tags
            waiting = r.watch.rollback is not None and r.watch.rollback.restored_at is None
            if changed or waiting or r.watch.state in {State.PENDING, State.VERIFYING}:
                r.put(event)

    # --- letters ---------------------------------------------------------------------------------------------------

    async def _read_letters(self) -> None:
        """Hand letters to their watches: never kept waiting by what a letter to the service needs from elsewhere."""
        for letter in await self.tools.store.letters([f"watch/{i}" for i in self.runners]):
            if (runner := self.runners.get(letter.stream.removeprefix("watch/"))) is not None:
                runner.receive(letter)

    async def _read_orders(self) -> None:
        """Carry out letters to the service: deploy notices, releases, and hints to look at it now."""
        for letter in await self.tools.store.letters([self.stream]):
            if letter.id not in self._letters:
                await self._service_letter(letter)

    async def _service_letter(self, letter: Letter) -> None:
        if letter.kind == "deploy":
            b = letter.body
            try:
                await self.open(
                    Notice(
                        revision=b.get("revision") or "",
                        version=b.get("version") or "",
                        deployer=b.get("deployer") or "",
                        notes=b.get("notes") or "",
                        previous=b.get("previous") or {},
                        rollback_safe=b.get("rollback_safe", True),
                        watch_id=b.get("watch_id") or "",
                    ),
                    letters=[letter.id],
                )
            except PermanentError as error:
                _log.warning("deploy_notice_refused", service=str(self.key), error=str(error))
                await self.remember(letters=[letter.id])
        elif letter.kind == "release":
            await self._release(letter)
        elif letter.kind == "silence":
            await self.remember(self._silence(letter), letters=[letter.id])
        elif letter.kind == "heartbeat":
            await self.remember(*self._heartbeat(letter), letters=[letter.id])
        elif letter.kind == "look":
            self._poll_now.set()
            await self.remember(letters=[letter.id])
        elif letter.kind == marking.KIND:
            await self._mark(letter)
        else:
            _log.warning("letter_unknown", kind=letter.kind, stream=letter.stream)
            await self.remember(letters=[letter.id])
        self._letters.add(letter.id)

    def _heartbeat(self, letter: Letter) -> tuple[Fact, ...]:
        """A job has run. Pings in quick succession say no more than one, and are not journaled."""
        job = str(letter.body.get("job"))
        last = self.service.heartbeats.get(job)
        if last is not None and letter.at - last < HEARTBEAT_EVERY_S:
            return ()
        return (Fact(at=letter.at, kind="heartbeat", body={"job": job}),)

    async def _mark(self, letter: Letter) -> None:
        """A person says whether an ended watch was right."""
        if self._journalist is not None and self._journalist.backlog:
            raise TemporaryError("the store is away, so the mark waits in the inbox")  # it keeps one row at a time
        try:
            row = await self.tools.store.watch(str(letter.body.get("watch")))
            new, shown = marking.carried_out(row, letter.body, self.tools.clock.now())
        except PermanentError as error:
            _log.warning("mark_refused", service=str(self.key), error=str(error))
            await self.remember(letters=[letter.id])
            return
        _log.info("watch_marked", **new.body)
        await self.remember(new, letters=[letter.id], watch=shown)

    def _silence(self, letter: Letter) -> Fact:
        """A silence begins, or ends before its time."""
        now, b = self.tools.clock.now(), letter.body
        if b.get("end"):
            _log.info("silence_ended", service=str(self.key), silence=b["id"], by=b.get("by") or "")
            return facts.unsilenced(now, b["id"], b.get("by") or "")
        silence = Silence.model_validate({k: v for k, v in b.items() if k in Silence.model_fields})
        _log.info("silence_begins", service=str(self.key), **silence.model_dump())
        return facts.silenced(now, silence)

    async def _release(self, letter: Letter) -> None:
        now = self.tools.clock.now()
        if letter.body.get("on_next"):
            wanted = Fact(at=now, kind="release_requested", body={"on_next": True, "by": letter.body.get("by") or ""})
            await self.remember(wanted, letters=[letter.id])
            return
        try:
            await self.release()
        except PermanentError as error:
            _log.warning("release_refused", service=str(self.key), error=str(error))
        await self.remember(letters=[letter.id])

    async def release(self) -> None:
        """Undo the pin: traffic follows the latest revision again, as it did before the rollback."""
        state = await self._read_now()
        self._revisions = await revisions_of(self.tools, self.key)
        refused = self.why_not_release(state)
        if refused is not None:
            raise PermanentError(refused, status=412)
        split = traffic.released(state, self._kind_before())
        await self.tools.traffic.move(self.key, split, resource_version=state.resource_version, rolled_back="")
        _log.info("released", service=str(self.key), split=str(split))
        await self.remember(Fact(at=self.tools.clock.now(), kind="released", body={}))
        self._poll_now.set()

    def _kind_before(self) -> Split | None:
        """Whether traffic followed the latest revision before it was pinned."""
        pinned = self.service.pinned
        if pinned is not None and not any(s.latest for s in pinned.shares):
            state = self.state
            return Split.of({state.latest_ready: traffic.WHOLE}) if state else None
        return None

    def why_not_release(self, state: ServiceState) -> str | None:
        """None when traffic may follow the latest Ready revision; else why not."""
        latest = next((r for r in self._revisions if r.name == state.latest_ready), None)
        return facts.why_not_release(self.service, state.latest_ready, latest, self.tools.clock.now())

    async def _release_if_newer(self, state: ServiceState) -> None:
        """`release --on-next`: unpin once a newer revision than the bad one is Ready."""
        if self.service.pinned is None:
            await self.remember(Fact(at=self.tools.clock.now(), kind="released", body={}))
            return
        self._revisions = await revisions_of(self.tools, self.key)
        if state.split.revisions != {state.latest_ready} and self.why_not_release(state) is None:
            await self.release()

    # --- between watches -------------------------------------------------------------------------------------------

    async def arm(self) -> None:
        """`probe_between`, its faults logged: called at the start and by the housekeeping every minute."""
        try:
            await self.probe_between()
        except LeaseLostError:
            return  # somebody else keeps the service now, and arms its probes
        except WatchdogError as error:
            _log.warning("probes_not_armed", service=str(self.key), error=str(error))

    async def probe_between(self) -> None:
        """Probe the service while no watch is open: passing arms, failing tells what was sick before a deploy."""
        if self.open_runner() is not None or not (self.policy.probes or self.policy.journeys):
            return
        if self.state is None:
            await self._read_now()
        await self._ask_between(dict(self.policy.probes))
        if journeys := self._journeys_due():  # by themselves: they take their time, and the probes must be armed
            await self._ask_between(dict(journeys))

    async def _ask_between(self, checks: Mapping[str, ProbeConfig | JourneyConfig]) -> None:
        control = self.policy.control_url or self.tools.traffic.endpoint
        answers: dict[str, ProbeAnswer] = {}
        for again in range(IDLE_TRIES):  # a blip is no sickness, and must not leave a probe unarmed for a minute
            left = [p for p in checks.values() if p.name not in answers or not answers[p.name].ok]
            if not left:
                break
            if again:
                await self.tools.clock.sleep(IDLE_AGAIN_S)
            routes = [Route(probe=p, base_url=self.service_url(), revision="") for p in left]
            answers |= await once_all(self.tools, routes, control_url=control)
        armed = dict(self.service.armed)
        for name, answer in answers.items():
            if answer.ok:
                armed[name] = config_hash(checks[name])
        sick = {name for name, answer in answers.items() if answer.failed}
        asked_elsewhere = {*self.policy.probes, *self.policy.journeys} - set(answers)
        sick |= asked_elsewhere & self.service.sick
        if (armed, sick) != (dict(self.service.armed), set(self.service.sick)):
            _log.info("probes_seen", service=str(self.key), armed=sorted(armed), sick=sorted(sick))
            await self.remember(facts.probes_seen(self.tools.clock.now(), armed=armed, sick=sick))

    def _journeys_due(self) -> dict[str, JourneyConfig]:
        """The journeys to be run between watches: each once an hour, since they leave traces; sooner while one is not
        armed, or was sick."""
        now, left_out = self.tools.clock.monotonic(), unable(self.tools, self.policy)
        due = {
            name: journey
            for name, journey in self.policy.journeys.items()
            if name not in left_out
            and (
                self.service.armed.get(name) != config_hash(journey)
                or name in self.service.sick
                or now - self._journeyed.get(name, -inf) >= IDLE_JOURNEYS_EVERY_S
            )
        }
        self._journeyed |= dict.fromkeys(due, now)
        return due


def _gave(watch: Watch, revision: str) -> bool:
    """Whether the watch's rollback has given the revision traffic, or is about to: a trial may be routed before we have
    folded in that it was written."""
    rollback = watch.rollback
    if rollback is None:
        return watch.returning is not None and revision in watch.returning.targets
    if rollback.written_at is not None:
        return rollback.after.percent_of(revision) > 0
    tried = rollback.step in {"trial", "back"} or trial.of_rollback(watch) is not None
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


def config_hash(check: ProbeConfig | JourneyConfig) -> str:
    """Changes whenever the probe (or a journey's content) is configured differently, so that it must be armed anew."""
    what = check.journey if isinstance(check, JourneyConfig) else check
    text = json.dumps(what.model_dump(mode="json"), sort_keys=True)
    return sha256(text.encode()).hexdigest()[:16]


async def _sleep_or(event: asyncio.Event, tools: Tools, seconds: float) -> None:
    await wait_for_event(event, tools.clock, seconds)
