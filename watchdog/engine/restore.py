"""Carries out a decided rollback by the protocol of DESIGN section 5: read, preflight, compare and swap, read again.

Whether it may be written is judged by pure functions in `core.traffic` and `core.service`; this only asks and writes.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field, replace

import structlog

from watchdog.core import traffic
from watchdog.core.events import Writing, Written
from watchdog.core.model import RevisionState, ServiceState, Split
from watchdog.core.service import Service, bad_fingerprints, budget
from watchdog.core.state import Watch
from watchdog.engine.tools import Tools
from watchdog.errors import ConflictError, PermanentError, TemporaryError

BACKOFF_S = (0.2, 0.5, 1.0, 2.0, 4.0, 8.0, 8.0, 8.0, 8.0, 8.0, 8.0, 8.0)
"""Waits between tries: about a minute in all before the rollback is said to have failed."""
CONFLICTS = 20
"""Lost races before giving up: each one is judged afresh."""

_log = structlog.get_logger(__name__)


@dataclass(slots=True)
class Restorer:
    """One rollback. `service` gives the present facts, `owns` asks whether the watch's lease is still ours, `begun` is
    told once when nothing speaks against the write, or when it cannot be told because Cloud Run does not answer."""

    tools: Tools
    watch: Watch
    service: Callable[[], Service]
    owns: Callable[[], Awaitable[bool]]
    begun: Callable[[Writing], None] = lambda _event: None
    before: Split = field(default_factory=Split)
    unsure: bool = False
    """A write's answer was lost: it may have landed."""
    told: bool = False
    """`begun` was called."""
    unlisted: bool = False
    """The revisions could not be read, which was said."""

    async def run(self) -> Written | None:
        """The outcome; None when another process owns the watch now and will act itself."""
        tries, conflicts = 0, 0
        self.before = self.watch.split
        while True:
            if not await self.owns():
                return None
            try:
                return await self._attempt()
            except ConflictError as error:
                conflicts += 1
                _log.info("rollback_conflict", watch=self.watch.id, error=str(error), tries=conflicts)
                if conflicts >= CONFLICTS:
                    return self._written("failed", f"lost the race for the write {conflicts} times: {error}")
            except TemporaryError as error:
                if tries >= len(BACKOFF_S):
                    return self._written("failed", f"{error} (tried {tries + 1} times)")
                wait = BACKOFF_S[tries] if error.delay_s is None else min(max(error.delay_s, 0.0), 10.0)
                _log.warning("rollback_retry", watch=self.watch.id, error=str(error), wait_s=wait)
                self._tell(self.watch.target.split, trouble=str(error))
                tries += 1
                await self.tools.clock.sleep(wait)
            except PermanentError as error:
                return self._written("failed", str(error))

    def crashed(self, error: Exception) -> Written:
        """The outcome when a fault of our own ended it: people must know that nobody is at it any more."""
        return self._written("failed", f"a fault of the watchdog itself ended it ({type(error).__name__}: {error})")

    async def _attempt(self) -> Written:
        watch, tools = self.watch, self.tools
        key = watch.deploy.service
        state, revisions = await asyncio.gather(tools.traffic.read(key), self._revisions())
        facts, now = self.service(), tools.clock.now()
        by_person = self._by_person
        if (
            state.rolled_back == watch.revision != watch.rolled_back_before
            and state.desired.percent_of(watch.revision) == 0
            and state.desired.shares
        ):
            return self._written("done", self._already(), after=state.desired)
        # What somebody has just written counts although it is not routed yet, else we would undo it.
        coming = replace(state, split=state.desired) if state.ready is None and state.desired.shares else state
        verdict = traffic.preflight(
            coming, revisions, watched=watch.revision, target=watch.target.split, known_bad=bad_fingerprints(facts, now)
        )
        if isinstance(verdict, traffic.StandDown):
            if verdict.result == "done":
                return self._written("done", self._already(), after=state.split)
            return self._written(verdict.result, verdict.reason)
        if isinstance(verdict, traffic.Refuse):
            return self._written("refused", verdict.reason)
        self.before = state.split
        over = budget(facts, watch.rules.policy, target=watch.target.revision, at=now)
        if over is not None and not by_person:
            return self._written("refused", over[0], retry_at=over[1])
        if watch.rules.policy.rollback.mode == "observe" and not by_person:
            return self._written(
                "observed", f"would have moved traffic from {state.split} to {verdict.split}", after=verdict.split
            )
        self._tell(verdict.split)
        await self._write(state, verdict.split)
        return self._written("done", verdict.note, after=verdict.split)

    @property
    def _by_person(self) -> bool:
        return self.watch.rollback is not None and bool(self.watch.rollback.by)

    def _tell(self, after: Split, *, trouble: str = "") -> None:
        """People learn of the rollback before the write is answered: the write may take a minute."""
        if self.told or (self.watch.rules.policy.rollback.mode == "observe" and not self._by_person):
            return
        self.told = True
        _log.info("rollback_starts", watch=self.watch.id, split=str(after), trouble=trouble)
        self.begun(Writing(at=self.tools.clock.now(), after=after, trouble=trouble))

    async def _write(self, state: ServiceState, split: Split) -> None:
        try:
            await self.tools.traffic.move(
                self.watch.deploy.service,
                split,
                resource_version=state.resource_version,
                rolled_back=self.watch.revision,
            )
        except TemporaryError as error:
            self.unsure = self.unsure or not isinstance(error, ConflictError)
            raise

    async def _revisions(self) -> Sequence[RevisionState] | None:
        """All revisions; None when they cannot be read: the write itself is then the check, since Cloud Run refuses
        a revision that cannot serve."""
        try:
            return await self.tools.traffic.revisions(self.watch.deploy.service)
        except (TemporaryError, PermanentError) as error:
            if not self.unlisted:
                _log.warning("revisions_unreadable", watch=self.watch.id, error=str(error))
            self.unlisted = True
            return None

    def _already(self) -> str:
        """The write is on the service already: ours, whose answer was lost, or another watchdog's."""
        return (
            "The answer to the write was lost, but it had landed."
            if self.unsure
            else "A watchdog had already written it."
        )

    def _written(
        self, result: str, reason: str, *, after: Split | None = None, retry_at: float | None = None
    ) -> Written:
        return Written(
            at=self.tools.clock.now(),
            result=result,
            reason=reason,
            before=self.before,
            after=after if after is not None else Split(),
            retry_at=retry_at,
        )
