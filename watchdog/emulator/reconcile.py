"""What becomes of a wish: containers start, conditions change, and traffic moves, all a while after the write.

A write is answered at once with Ready Unknown and the old `status.traffic`. Then the container starts (or is given up),
and after the routing delay the split is applied: `observedGeneration` catches up, `status.traffic` shows the new split
and the front uses it. A wish that can't be fulfilled ends with Ready False and leaves the last split serving.
"""

import asyncio
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any, Literal

from watchdog.emulator import clock
from watchdog.emulator.fleet import Fleet
from watchdog.emulator.splitter import Splitter
from watchdog.emulator.tasks import end_tasks
from watchdog.emulator.world import Condition, Json, Revision, Service, TrafficChange, World
from watchdog.emulator.writes import Change

NO_START = (
    "The user-provided container failed to start and listen on the port defined provided by the PORT=8080 environment"
    " variable within the allocated timeout. This can happen when the container port is misconfigured or if the timeout"
    " is too short. The health check timeout can be extended. Logs for this revision might contain more information."
)


@dataclass(slots=True, kw_only=True)
class Delays:
    """How long the emulated control plane takes, in seconds. The real one is slower: seconds to a minute."""

    routing_delay_s: float = 0.5
    """From an accepted write, or a started container, to the new split."""
    startup_s: float = 0.2
    """From a new revision to Ready."""
    startup_timeout_s: float = 1.0
    """From a new revision that never starts to Ready False; 240 s in reality."""
    propagation_s: float = 0.0
    """After `status.traffic` shows a split, requests move over to it during this long."""


class Unroutable(Exception):  # noqa: N818 -- a wish is unroutable; nothing went wrong in the emulator
    """A traffic target that can't be served, with the reason and message of the condition that says so."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason
        self.message = message


class Reconciler:
    """One task a service that settles its newest wish, and one a revision that starts its container."""

    def __init__(self, world: World, fleet: Fleet, splitter: Splitter, delays: Delays) -> None:
        self._world = world
        self._fleet = fleet
        self._splitter = splitter
        self.delays = delays
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self.on_crash: Callable[[BaseException], None] = lambda _error: None

    def observe(self, change: Change) -> None:
        """Take up what a write changed. Returns at once."""
        service = change.service
        if change.revision is not None:
            self._spawn(f"start {change.revision.name}", self._start(change.revision))
        if change.spec_changed:
            _set(service, "Ready", "Unknown")
            if change.revision is not None:
                _set(service, "ConfigurationsReady", "Unknown")
            _set(service, "RoutesReady", "Unknown")
            self._spawn(f"route {service.key}", self._route(service))

    def condemn(
        self, revision: Revision, *, reason: str = "HealthCheckContainerError", message: str = NO_START
    ) -> None:
        """Make a revision not Ready, as when its image or a secret has gone; it can't be given traffic any more."""
        revision.ready = Condition(status="False", reason=reason, message=message, changed_at=clock.now())
        revision.settled.set()

    async def stop(self) -> None:
        """End every task."""
        tasks, self._tasks = list(self._tasks.values()), {}
        await end_tasks(tasks)

    def _spawn(self, name: str, work: Coroutine[Any, Any, None]) -> None:
        old = self._tasks.get(name)
        if old is not None:
            old.cancel()
        task = asyncio.create_task(work, name=f"emulator {name}")
        self._tasks[name] = task
        task.add_done_callback(lambda done: self._forget(name, done))

    def _forget(self, name: str, task: asyncio.Task[None]) -> None:
        error = None if task.cancelled() else task.exception()
        if error is not None:
            self.on_crash(error)
        elif self._tasks.get(name) is task:
            del self._tasks[name]  # a crashed one stays, so that `stop` raises what ended it

    async def _start(self, revision: Revision) -> None:
        if revision.faults.never_ready:
            await asyncio.sleep(self.delays.startup_timeout_s)
            self.condemn(revision)
            return
        await self._fleet.start(revision)
        await asyncio.sleep(self.delays.startup_s)
        if self._world.revision(revision.key, revision.name) is not revision:  # deleted meanwhile
            await self._fleet.stop(revision)
            revision.settled.set()
            return
        revision.ready = Condition(status="True", changed_at=clock.now())
        service = self._world.services.get(revision.key)
        if service is not None:
            current = self._world.revision(service.key, service.latest_ready)
            if current is None or current.number < revision.number:
                service.latest_ready = revision.name
        revision.settled.set()

    async def _route(self, service: Service) -> None:
        for name in {service.latest_created, *(str(entry.get("revisionName", "")) for entry in service.traffic)}:
            revision = self._world.revision(service.key, name)
            if revision is not None:
                await revision.settled.wait()
        await asyncio.sleep(self.delays.routing_delay_s)
        if self._world.services.get(service.key) is not service:  # deleted meanwhile
            return
        try:
            status_traffic = self._resolve(service)
        except Unroutable as problem:
            _set(service, "RoutesReady", "False", problem.reason, problem.message)
        else:
            _set(service, "RoutesReady", "True")
            self._apply(service, status_traffic)
            await self._splitter.open_all()
        self._judge_configuration(service)
        self._judge(service)
        service.observed_generation = service.generation
        self._world.touch(service)
        service.routed.set()

    def _resolve(self, service: Service) -> list[Json]:
        """`spec.traffic` with names and URLs; tag-only entries come first, as they may in reality."""
        entries: list[Json] = []
        for wish in service.traffic:
            latest = bool(wish.get("latestRevision"))
            revision = self._world.revision(service.key, service.latest_ready if latest else wish["revisionName"])
            if revision is None and latest:
                created = self._world.revision(service.key, service.latest_created)
                raise Unroutable(created.ready.reason if created else "RevisionMissing", NO_START)
            if revision is None:
                raise Unroutable(
                    "RevisionMissing",
                    f"Revision '{wish['revisionName']}' does not exist or is deleted. Update all traffic to route to"
                    " currently available revisions.",
                )
            if not revision.is_ready:
                raise Unroutable(revision.ready.reason, _not_ready(revision))
            entry: Json = {"revisionName": revision.name}
            if latest:
                entry["latestRevision"] = True
            if wish.get("percent"):
                entry["percent"] = wish["percent"]
            if wish.get("tag"):
                entry["tag"] = wish["tag"]
                entry["url"] = self._splitter.tag_url(service.key, wish["tag"])
            entries.append(entry)
        return sorted(entries, key=lambda entry: "percent" in entry)

    def _apply(self, service: Service, status_traffic: list[Json]) -> None:
        before = (service.split(), service.tags())
        service.status_traffic = status_traffic
        split, tags = service.split(), service.tags()
        now = clock.now()
        for name in split:
            revision = self._world.revision(service.key, name)
            if revision is not None and revision.faults.first_traffic_at is None:
                revision.faults.first_traffic_at = now
                self._fleet.wake(revision)
        self._splitter.apply(service.key, split=split, tags=tags, propagation_s=self.delays.propagation_s)
        if before != (split, tags):
            self._world.traffic_history.append(
                TrafficChange(at=now, key=service.key, generation=service.generation, split=split, tags=tags)
            )

    def _judge_configuration(self, service: Service) -> None:
        revision = self._world.revision(service.key, service.latest_created)
        if revision is None or revision.is_ready:
            _set(service, "ConfigurationsReady", "True")
        else:
            _set(service, "ConfigurationsReady", "False", revision.ready.reason, _not_ready(revision))

    def _judge(self, service: Service) -> None:
        for kind in ("ConfigurationsReady", "RoutesReady"):
            condition = service.conditions[kind]
            if condition.status != "True":
                _set(service, "Ready", condition.status, condition.reason, condition.message)
                return
        _set(service, "Ready", "True")


def _not_ready(revision: Revision) -> str:
    return f"Revision '{revision.name}' is not ready and cannot serve traffic. {revision.ready.message}".strip()


def _set(
    service: Service, kind: str, status: Literal["True", "False", "Unknown"], reason: str = "", message: str = ""
) -> None:
    old = service.conditions.get(kind)
    if old is None or old.status != status or (old.reason, old.message) != (reason, message):
        changed_at = old.changed_at if old is not None and old.status == status else clock.now()
        service.conditions[kind] = Condition(status=status, reason=reason, message=message, changed_at=changed_at)
