"""Carries out a decided rollback by the protocol of DESIGN section 5: read, preflight, compare and swap, read again.

One run is one write: the whole, a trial's share, or that share put back. Which one it is, the watch says.

Whether it may be written is judged by pure functions in `core.traffic` and `core.service`; this only asks and writes.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field, replace

import structlog

from watchdog.core import redeploy as redeploying
from watchdog.core import traffic, trial
from watchdog.core.events import Writing, Written
from watchdog.core.model import RevisionState, ServiceState, Split, TrialMark
from watchdog.core.service import Service, bad_fingerprints, budget
from watchdog.core.state import Watch
from watchdog.engine import redeploy
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
        watch = self.watch
        state, revisions = await asyncio.gather(self.tools.traffic.read(watch.deploy.service), self._revisions())
        gone = state.desired.percent_of(watch.revision) == 0 and state.desired.shares
        if state.rolled_back == watch.revision != watch.rolled_back_before and gone:
            return self._written("done", self._already(), after=state.desired)
        mark = state.trial_of(watch.revision)
        if self.step == "back":
            return await self._put_back(state, revisions or (), mark)
        if self.step == "redeploy":
            self.before = state.split
            result, reason = await redeploy.ready(self.tools, watch, state)
            after = redeploying.goal(watch) if result == "redeployed" else None
            return self._written(result, reason, after=after)
        if self.step == "trial" and mark is not None:
            self.before = mark.before
            return self._written("trial", self._already(), after=mark.after)
        return await self._move(state, revisions)

    async def _move(self, state: ServiceState, revisions: Sequence[RevisionState] | None) -> Written:
        """The whole, or a trial's share of it."""
        watch, now = self.watch, self.tools.clock.now()
        # What somebody has just written counts although it is not routed yet, else we would undo it.
        coming = replace(state, split=state.desired) if state.ready is None and state.desired.shares else state
        known_bad = bad_fingerprints(self.service(), now)
        verdict = traffic.preflight(
            coming, revisions, watched=watch.revision, target=watch.target.split, known_bad=known_bad
        )
        if isinstance(verdict, traffic.StandDown):
            if verdict.result == "done":
                return self._written("done", self._already(), after=state.split)
            return self._written(verdict.result, verdict.reason)
        if isinstance(verdict, traffic.Refuse):
            self.before = state.split
            if verdict.gone:
                return self._over_budget(now) or self._written("gone", verdict.reason)
            return self._written("refused", verdict.reason)
        self.before = state.split
        refused = self._over_budget(now)
        if refused is not None:
            return refused
        if watch.rules.policy.rollback.mode == "observe" and not self._by_person:
            return self._written(
                "observed", f"would have moved traffic from {state.split} to {verdict.split}", after=verdict.split
            )
        share = watch.rules.policy.rollback.trial if self.step == "trial" else None
        part = traffic.partial(coming.split, verdict.split, watch.revision, share) if share is not None else None
        self._tell(part if part is not None else verdict.split)
        if part is not None:
            self.before = coming.split
            begun = TrialMark(revision=watch.revision, at=now, before=coming.split, after=part)
            await self._write(state, part, rolled_back=None, mark=begun)
            return self._written("trial", verdict.note, after=part)
        await self._write(state, verdict.split, rolled_back=watch.revision)
        return self._written("done", verdict.note, after=verdict.split)

    @property
    def step(self) -> str:
        """What is to be written: `trial`, `whole`, `back` or `redeploy`."""
        return self.watch.rollback.step if self.watch.rollback is not None else "whole"

    @property
    def _by_person(self) -> bool:
        return self.watch.rollback is not None and bool(self.watch.rollback.by)

    def _tell(self, after: Split, *, trouble: str = "") -> None:
        """People learn of the rollback before the write is answered: the write may take a minute."""
        if (
            self.told
            or self.step == "back"
            or (self.watch.rules.policy.rollback.mode == "observe" and not self._by_person)
        ):
            return
        self.told = True
        _log.info("rollback_starts", watch=self.watch.id, split=str(after), step=self.step, trouble=trouble)
        self.begun(Writing(at=self.tools.clock.now(), after=after, trouble=trouble))

    def _over_budget(self, now: float) -> Written | None:
        watch = self.watch
        if self._by_person or trial.of_rollback(watch) is not None:  # trial and whole are one rollback in the budget
            return None
        if watch.known_bad:  # nothing is written in any case: a cooldown would be the wrong reason to give
            return None
        over = budget(self.service(), watch.rules.policy, target=watch.target.revision, at=now)
        return self._written("refused", over[0], retry_at=over[1]) if over is not None else None

    async def _put_back(
        self, state: ServiceState, revisions: Sequence[RevisionState], mark: TrialMark | None
    ) -> Written:
        """Put the trial's share back, unless somebody else has moved traffic since: theirs stands."""
        moved = traffic.who_moved(replace(state, split=state.desired), revisions, self.watch.revision)
        if moved is not None:
            return self._written(moved.result, moved.reason, after=state.desired)
        if mark is None:
            return self._written("put_back", "", after=state.desired)
        self.before = state.desired
        await self._write(state, mark.before, rolled_back=None)
        return self._written("put_back", "", after=mark.before)

    async def _write(
        self, state: ServiceState, split: Split, *, rolled_back: str | None, mark: TrialMark | None = None
    ) -> None:
        try:
            await self.tools.traffic.move(
                self.watch.deploy.service,
                split,
                resource_version=state.resource_version,
                rolled_back=rolled_back,
                trial=mark,
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
