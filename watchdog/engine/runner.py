"""Runs one watch: collects events, folds them in, writes the journal, carries out what the fold asks for.

Source → sample → event → `advance` → (journal and commands in one transaction) → action → outcome event → `advance`.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass, field
from math import inf
from typing import Any

import structlog

from watchdog.core import clues, redeploy
from watchdog.core import watch as folding
from watchdog.core.commands import Announce, Command, Notify, Restore, RunJob, Scale
from watchdog.core.escalation import concerns
from watchdog.core.events import Event, Opened, Operated, Probed, Sampled, Signalled, Ticked, Written
from watchdog.core.journal import encode
from watchdog.core.messages import faulty
from watchdog.core.model import Missing
from watchdog.core.paging import silenced
from watchdog.core.probing import ProbeAnswer, Role
from watchdog.core.report import view
from watchdog.core.schedule import Ask, Plan, plan
from watchdog.core.service import Service
from watchdog.core.state import Watch
from watchdog.core.text import iso
from watchdog.engine.beyond import Beyond
from watchdog.engine.clock import wait_for_event
from watchdog.engine.journalist import Journalist
from watchdog.engine.metering import Reader
from watchdog.engine.probing import Prober, Route
from watchdog.engine.restore import Restorer
from watchdog.engine.tools import Tools, ignore
from watchdog.errors import LeaseLostError
from watchdog.ports import About, Delivery, Letter, NewEvent, WatchRow
from watchdog.telemetry import rollback_trigger

IDLE_S = 15.0
"""The longest that the fold sleeps: its time goes on, and the read model with it, when nothing happens."""
VIEW_EVERY_S = 1.0
"""How often the read model is written at most while only numbers change."""

MISSING = "no evidence either way: it neither passes nor rolls back"

LOUD = frozenset({"rollback_failed", "rollback_refused", "not_routed", "not_recovered", "bad_revision_back"})
"""Announced when the watchdog could not mend it."""

_log = structlog.get_logger(__name__)


@dataclass(slots=True, kw_only=True)
class Hooks:
    """What the service's keeper gives a watch, and wants to know from it."""

    service: Callable[[], Service]
    service_url: Callable[[], str]
    on_written: Callable[[Watch, Written], Coroutine[Any, Any, None]]
    on_proven: Callable[[Watch], Awaitable[None]]


@dataclass(slots=True, kw_only=True)
class WatchRunner:
    """One watch, from its first event (or its journal) to its end."""

    tools: Tools
    watch: Watch
    journalist: Journalist
    hooks: Hooks
    first: Sequence[tuple[Event, tuple[Command, ...]]] = ()
    """Events folded in already but not journaled yet (the opening)."""
    flush_s: float = inf
    """How long its end may wait for a store that is away."""
    begun: asyncio.Event = field(default_factory=asyncio.Event)
    """Set once the opening is in the journal (or waits for a store that is away), or the watch has failed to begin."""
    changed: asyncio.Event = field(default_factory=asyncio.Event)
    """Set after every fold, for those who follow along."""
    _events: list[tuple[Event, int | None]] = field(default_factory=list)
    _woken: asyncio.Event = field(default_factory=asyncio.Event)
    _letters: set[int] = field(default_factory=set)
    _tasks: dict[object, asyncio.Task[None]] = field(default_factory=dict)
    _restoring: asyncio.Task[None] | None = None
    _remembering: asyncio.Task[None] | None = None
    _shown_at: float = float("-inf")
    _shown: tuple[object, ...] = ()
    _group: asyncio.TaskGroup | None = None
    _beyond: Beyond = field(init=False)
    _faulty: bool = False
    _blinded: dict[str, str] = field(default_factory=dict)
    """By probe: why its answers are missing now."""

    def __post_init__(self) -> None:
        self._beyond = Beyond(
            tools=self.tools,
            watch=lambda: self.watch,
            owns=self.journalist.owns,
            put=self.put,
            spawn=self._spawn,
        )

    @property
    def plan(self) -> Plan:
        """What goes on now."""
        return plan(self.watch)

    def put(self, event: Event, letter: int | None = None) -> None:
        """Hand over an event; it is folded in order of arrival. `letter` is the inbox letter it came in."""
        self._events.append((event, letter))
        self._woken.set()

    def receive(self, letter: Letter) -> None:
        """Fold in a letter from the inbox, once."""
        if letter.id in self._letters:
            return
        self._letters.add(letter.id)
        b, at = letter.body, self.tools.clock.now()
        if letter.kind == "signal":
            event: Event = Signalled(at=at, signal=b["signal"], by=b.get("by") or "", reason=b.get("reason") or "")
        else:
            event = Operated(
                at=at,
                verb=b["verb"],
                by=b.get("by") or "",
                reason=b.get("reason") or "",
                for_s=float(b.get("for_s") or 0.0),
                name=b.get("name") or "",
                said_at=float(b.get("said_at") or 0.0),
            )
        self.put(event, letter.id)

    async def run(self) -> None:
        """Until the watch has ended or another process owns it. Cancelled, it leaves the watch open."""
        structlog.contextvars.bind_contextvars(watch=self.watch.id, service=self.watch.deploy.service.name)
        try:
            async with asyncio.TaskGroup() as group:
                self._group = group
                keeper = group.create_task(self._keep_lease(), name=f"lease/{self.watch.id}")
                await self._begin()
                await self._loop()
                keeper.cancel()
                await self._stop_all()
        except* LeaseLostError:
            _log.warning("watch_taken_over", watch=self.watch.id)
        finally:
            self._group = None
            if not self.journalist.lost.is_set():
                await self.journalist.release()

    async def _keep_lease(self) -> None:
        await self.journalist.keep()
        self._woken.set()  # powerless from now on

    async def _begin(self) -> None:
        commands: list[Command] = []
        for event, more in self.first:
            await self._journal([event], more, [])
            commands += more
        self.begun.set()
        self._carry_out(commands)
        if self.watch.rollback is not None and self.watch.rollback.stage == "writing":
            self._start_restore(Restore(reason="taken up again"))
        self._beyond.take_up()
        self._reconcile()

    async def _loop(self) -> None:
        while self.watch.open and not self.journalist.lost.is_set():
            timeout = min(max(self.watch.due - self.tools.clock.now(), 0.0), IDLE_S)
            if not self._events:
                await wait_for_event(self._woken, self.tools.clock, timeout)
            self._woken.clear()
            if self.journalist.lost.is_set():
                break
            batch, self._events = self._events, []
            await self._fold(batch or [(Ticked(at=self.tools.clock.now()), None)])
        if self.journalist.lost.is_set():
            raise LeaseLostError(f"another process owns watch {self.watch.id}")
        give_up = self.tools.clock.monotonic() + self.flush_s
        while self.journalist.backlog and not self.journalist.lost.is_set():
            if self.tools.clock.monotonic() >= give_up:
                break  # `release` says what was lost
            await self.tools.clock.sleep(0.2)  # the end must reach the journal, however long the store is away

    async def _fold(self, batch: Sequence[tuple[Event, int | None]]) -> None:
        before = self.watch
        commands: list[Command] = []
        folded: list[Event] = []
        for event, _ in batch:
            more = self._advance(event)
            commands += more
            if not isinstance(event, Ticked) or more:
                folded.append(event)
        letters = [letter for _, letter in batch if letter is not None]
        await self._journal(folded, commands, letters)
        self._carry_out(commands)
        if self.watch.proven_at is not None and before.proven_at is None:
            await self.hooks.on_proven(self.watch)
        self._reconcile()
        self.changed.set()

    def _advance(self, event: Event) -> tuple[Command, ...]:
        """Fold one event in. One that the fold cannot take is a fault of ours: it must not end the watch, so it is left
        out, said loudly once, and the watch goes on from where it stood."""
        try:
            self.watch, commands = folding.advance(self.watch, event)
        except Exception as error:  # noqa: BLE001 - supervision: said, and the rest goes on
            _log.exception("event_not_folded", kind=type(event).__name__, at=event.at)
            if self._faulty:
                return ()
            self._faulty = True
            body = faulty(self.watch, f"{type(event).__name__}: {error}")
            key = f"{self.watch.id}:fault:{event.at:.3f}"
            return (Notify(key=key, kind=body["kind"], body=body),)
        return commands

    async def _journal(self, events: Sequence[Event], commands: Sequence[Command], letters: Sequence[int]) -> None:
        now = self.tools.clock.now()
        rows = []
        for event in events:
            kind, schema, body = encode(event)
            rows.append(NewEvent(at=event.at, seen_at=now, kind=kind, schema=schema, body=body))
        deliveries = [d for c in commands if isinstance(c, Notify) for d in self._deliveries(c, now)]
        row = self._row() if self._must_show(now, commands) else None
        await self.journalist.append(rows, deliveries=deliveries, watch=row, letters=letters)

    def _deliveries(self, command: Notify, now: float) -> list[Delivery]:
        policy = self.watch.rules.policy
        muted = silenced(command.body, (*policy.silences, *self.hooks.service().silences), now)
        if muted is not None:
            _log.info("message_silenced", kind=command.kind, by=muted.by, reason=muted.reason, until=iso(muted.until))
            return []
        return [
            Delivery(
                key=command.key,
                channel=channel,
                thread=self.watch.release,
                kind=command.kind,
                created_at=now,
                body=command.body,
            )
            for channel in self.tools.channels
            if concerns(channel, command.body, policy.channels)
        ]

    def _must_show(self, now: float, commands: Sequence[Command]) -> bool:
        shown = (self.watch.state, self.watch.outcome, self.watch.rollback and self.watch.rollback.stage)
        if shown == self._shown and not commands and now - self._shown_at < VIEW_EVERY_S:
            return False
        self._shown, self._shown_at = shown, now
        return True

    def _row(self) -> WatchRow:
        shown = view(self.watch)
        self.tools.metrics.set_watch(shown, evaluation_interval_s=max(IDLE_S, self.watch.probing.probe_every_s))
        service = self.watch.deploy.service
        return WatchRow(
            id=self.watch.id,
            project=service.project,
            region=service.region,
            service=service.name,
            revision=self.watch.revision,
            state=self.watch.state.value,
            outcome=self.watch.outcome.value if self.watch.outcome else None,
            opened_at=self.watch.opened_at,
            ended_at=self.watch.ended_at,
            view=shown,
        )

    # --- commands --------------------------------------------------------------------------------------------------

    def _carry_out(self, commands: Sequence[Command]) -> None:
        for command in commands:
            match command:
                case Announce(event=event, at=at, fields=fields):
                    said = {k: v for k, v in fields.items() if k not in {"watch", "event"}}
                    # Whoever follows along shows it already; a log beside that would say it twice.
                    level = _level(event, fields) if self.tools.follow is ignore else logging.INFO
                    _log.log(level, event, **said)
                    self.tools.follow(event, at, fields)
                    if event == "acknowledged":
                        self.tools.metrics.incident_ack_seconds.observe(fields["seconds"])
                case Restore():
                    self._start_restore(command)
                case Scale() | RunJob():
                    self._beyond.carry_out(command)
                case Notify():
                    pass  # in the outbox already, in the transaction of its event

    def _start_restore(self, command: Restore) -> None:
        if self._restoring is not None and not self._restoring.done():
            return
        _log.info("rollback_considered", reason=command.reason)
        self._restoring = self._spawn("restore", self._restore())

    async def _restore(self) -> None:
        restorer = Restorer(
            tools=self.tools, watch=self.watch, service=self.hooks.service, owns=self.journalist.owns, begun=self.put
        )
        try:
            written = await restorer.run()
        except Exception as error:  # noqa: BLE001 - supervision: said, and the rest goes on
            _log.exception("restore_crashed")
            written = restorer.crashed(error)
        if written is None:
            _log.warning("powerless", watch=self.watch.id)
            return
        trigger = self.watch.rollback.trigger.criterion if self.watch.rollback else "operator"
        unmoved = written.result == "put_back" or (written.result == "gone" and not redeploy.allowed(self.watch))
        result = "refused" if unmoved else written.result
        if result in {"done", "refused", "failed", "observed"}:
            name = self.watch.deploy.service.name
            self.tools.metrics.rollbacks_total.labels(name, rollback_trigger(trigger), result).inc()
        self.put(written)
        if written.result == "done":
            await self.hooks.on_written(self.watch, written)
        elif written.result == "put_back":  # on its own: what is remembered of it must not delay the next rollback
            self._remembering = self._spawn("put_back", self.hooks.on_written(self.watch, written))

    # --- activities ------------------------------------------------------------------------------------------------

    def _reconcile(self) -> None:
        """Start and stop tasks until they are what the plan says."""
        wanted = self.plan
        keys: set[object] = set(wanted.asks)
        if wanted.metrics is not None:
            announced = {source for source, _ in self.watch.rules.lags}
            keys |= {("metrics", s.name) for s in self.tools.sources if s.name in announced}
        for key in [k for k in self._tasks if k not in keys]:
            self._tasks.pop(key).cancel()
        for key in keys - set(self._tasks):
            if isinstance(key, Ask):
                self._tasks[key] = self._spawn(f"{key.purpose.value}/{key.probe}/{key.role.value}", self._ask(key))
            elif isinstance(key, tuple):
                self._tasks[key] = self._spawn(f"metrics/{key[1]}", self._read(str(key[1])))

    def _spawn(self, name: str, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        assert self._group is not None  # noqa: S101 - only called while running
        task = self._group.create_task(self._guard(name, work), name=f"{self.watch.id}/{name}")
        task.add_done_callback(lambda _task: work.close())  # one that is cancelled before its first step never began it
        return task

    async def _guard(self, name: str, work: Coroutine[Any, Any, None]) -> None:
        """A fault in one activity must not end the watch: say so; the plan starts it again."""
        try:
            await work
        except LeaseLostError:
            raise
        except Exception:  # noqa: BLE001 - supervision: said, and the rest goes on
            _log.exception("activity_crashed", activity=name)
            await self.tools.clock.sleep(1.0)
            for key in [k for k, t in self._tasks.items() if t is asyncio.current_task()]:
                del self._tasks[key]
            self._woken.set()

    async def _stop_all(self) -> None:
        tasks = [
            *self._tasks.values(),
            *self._beyond.tasks(),
            *(t for t in (self._restoring, self._remembering) if t is not None),
        ]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _ask(self, ask: Ask) -> None:
        prober = Prober(self.tools, ask, self._route, self._emit, control_url=self._control_url, observe=self._observe)
        await prober.run()

    async def _read(self, source: str) -> None:
        policy = self.watch.rules.policy
        found = next(s for s in self.tools.sources if s.name == source)
        reader = Reader(
            tools=self.tools,
            source=found,
            service=self.watch.deploy.service,
            lags=[lag for (name, _), lag in self.watch.rules.lags.items() if name == source],
            every_s=policy.service.metrics_every_s,
            plan=lambda: self.plan,
            emit=self._emit,
            answered=self._answered,
            policy=policy,
            about=self._about,
        )
        await reader.run()

    def _about(self) -> About:
        role, public = self.watch.judged_role, self.hooks.service_url()
        own = "" if role is None else public if role is Role.PUBLIC else self.watch.tag_url(role) or ""
        return About(
            base_url=own,
            public_url=public,
            version=self.watch.expected_version,
            heartbeats=self.hooks.service().heartbeats,
            since=self.watch.cutover_at or 0.0,
            revision=self.watch.revision,
            trouble_at=clues.trouble_at(self.watch),
        )

    def _answered(self, revision: str) -> Sequence[float]:
        """When the watched revision answered probes of ours without a server error; of others it isn't known."""
        if revision != self.watch.revision:
            return ()
        return [r.at for r in self.watch.own_requests if not r.bad]

    def _emit(self, event: Probed | Sampled) -> None:
        self.put(event)

    def _observe(self, name: str, answer: ProbeAnswer) -> None:
        self.tools.metrics.observe_probe(self.watch.id, name, answer)
        why = answer.evidence.reason if isinstance(answer.evidence, Missing) else ""
        if why == self._blinded.get(name, ""):
            return
        self._blinded[name] = why
        if why:
            _log.warning("probe_missing", probe=name, reason=why, detail=answer.detail, effect=MISSING)
        else:
            _log.info("probe_answers_again", probe=name)

    def _control_url(self) -> str:
        return self.watch.rules.policy.control_url or self.tools.traffic.endpoint

    def _route(self, ask: Ask) -> Route | None:
        base = self.hooks.service_url() if ask.role is Role.PUBLIC else self.watch.tag_url(ask.role)
        if base is None:
            return None
        revision = self.watch.target.revision if ask.role is Role.CONTROL else self.watch.revision
        return Route(probe=self.watch.probe_at(ask.probe, ask.role), base_url=base, revision=revision)


def _level(event: str, fields: Mapping[str, Any]) -> int:
    """Somebody who only reads warnings must find an incident, and who only reads errors what the watchdog could not
    mend."""
    if event in LOUD or fields.get("outcome") == "failed":
        return logging.ERROR
    rollback = event == "decision" and fields.get("action") == "rollback"
    return logging.WARNING if rollback or event in {"held", "blind"} else logging.INFO


def start(opening: Opened) -> tuple[Watch, tuple[tuple[Event, tuple[Command, ...]], ...]]:
    """The watch of an opening, and what has to be journaled first."""
    watch, commands = folding.opened(opening)
    return watch, ((opening, commands),)
