"""One live tail of a project's request logs, shared by every watch of this process that asks for one of its services.

It runs while somebody asks. A session ends after an hour, and its filter can't be changed: the next one is opened
beside it and the old one closed once both have overlapped for a lag, so nothing is lost and doubles are dropped. A
project has 10 sessions for everybody; this uses one, and two for a few seconds.
"""

import asyncio
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any, Final

import structlog

from watchdog.core.model import ServiceKey
from watchdog.errors import PermanentError, TemporaryError, WatchdogError
from watchdog.ports import Clock
from watchdog.sources.log_messages import read_entry, suppressed_count, tail_filter
from watchdog.sources.log_rate import LogRate
from watchdog.sources.logging_client import LoggingClient
from watchdog.sources.request_tally import KEEP_S, LAG_S, ServiceLog

TICK_S: Final = 1.0
IDLE_S: Final = 120.0
"""A service that nobody asked for so long is not tailed any more."""
RENEW_S: Final = 3300.0
"""Before a session's hour is over."""
OVERLAP_S: Final = LAG_S
RETRY_S: Final = (1.0, 2.0, 4.0, 8.0, 15.0, 30.0)
"""Before the next session, by how many ended in a row; fixed, since one process tails a project once."""
HEALTHY_S: Final = 60.0
"""A session that stood so long ends the row."""
LASTING_RETRY_S: Final = 60.0
"""After a refusal that lasts until somebody grants a role: a watch takes 24 h, and somebody may."""
DOUBLES_S: Final = 30.0
"""For how long doubles are known at least."""
AHEAD_S: Final = 300.0
"""An entry from further in the future is nobody's."""

log = structlog.get_logger(__name__)


@dataclass(slots=True, eq=False)
class Session:
    """One live tail from its opening to its end."""

    services: frozenset[ServiceKey]
    share: float
    opened: float
    """On the monotonic clock."""
    calls: bool = False
    """Whether it also delivers what applications log of their gRPC calls."""
    task: "asyncio.Task[None] | None" = None
    up_at: float | None = None
    """Unix seconds; None while it is being opened."""
    heard_at: float = 0.0
    """When the last response came."""
    ended_at: float | None = None
    error: WatchdogError | None = None
    retired: bool = False
    """Another session has taken over."""

    @property
    def up(self) -> bool:
        """Whether it stands."""
        return self.up_at is not None and self.ended_at is None


class Tail:
    """One project's tail. `want` starts it and keeps it running; it ends by itself when nobody wants anything."""

    def __init__(self, project: str, client: LoggingClient, clock: Clock) -> None:
        self.logs: dict[ServiceKey, ServiceLog] = {}
        """What is known of every service that is wanted."""
        self.refusal: PermanentError | None = None
        """Why no session can be had, when trying again cannot help by itself."""
        self._project = project
        self._client = client
        self._clock = clock
        self._rate = LogRate()
        self._asked: dict[ServiceKey, float] = {}
        self._calls: set[ServiceKey] = set()
        self._sessions: list[Session] = []
        self._task: asyncio.Task[None] | None = None
        self._woken = asyncio.Event()
        self._news = asyncio.Event()
        self._failures = 0
        self._due = float("-inf")
        self._said: str | None = None
        self._said_share = 1.0
        self._suppressed_at = float("-inf")
        self._seen: set[int] = set()
        self._seen_before: set[int] = set()
        self._turned_at = 0.0

    @property
    def running(self) -> bool:
        """Whether it tails, or tries to."""
        return self._task is not None and not self._task.done()

    def want(self, service: ServiceKey, *, calls: bool = False) -> ServiceLog:
        """Somebody asks for `service`: tail it for another while, with its gRPC calls where they are wanted."""
        self._asked[service] = self._clock.monotonic()
        if calls and service not in self._calls:
            self._calls.add(service)
            self._woken.set()
        found = self.logs.get(service)
        if found is None:
            found = self.logs[service] = ServiceLog()
            if self.covers(service):
                found.up.begin(self._clock.now())
            self._woken.set()
        if not self.running:
            self.refusal, self._due = None, float("-inf")
            self._task = asyncio.create_task(self._keep(), name=f"request log of {self._project}")
        return found

    def covers(self, service: ServiceKey) -> bool:
        """Whether a session stands that delivers the entries of `service`."""
        return any(s.up and service in s.services for s in self._sessions)

    async def settled(self, service: ServiceKey, timeout_s: float) -> None:
        """Wait until `service` is covered or refused, `timeout_s` at most."""
        try:
            async with asyncio.timeout(timeout_s):
                while not self.covers(service) and self.refusal is None:
                    self._news.clear()
                    await self._news.wait()
        except TimeoutError:
            return

    async def close(self) -> None:
        """End it now."""
        self._asked.clear()
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def _keep(self) -> None:
        try:
            while self._asked:
                self._woken.clear()
                self._step(self._clock.now(), self._clock.monotonic())
                try:
                    async with asyncio.timeout(TICK_S):
                        await self._woken.wait()
                except TimeoutError:
                    continue
        except Exception:
            log.exception("request_log_crashed", project=self._project)  # the next question starts it again
        finally:
            sessions, self._sessions = self._sessions, []
            for session in sessions:
                self._end(session)
            await asyncio.gather(*(s.task for s in sessions if s.task is not None), return_exceptions=True)
            self.logs.clear()

    def _step(self, now: float, monotonic: float) -> None:
        """Whatever is due."""
        self._forget(now, monotonic)
        for session in [s for s in self._sessions if s.ended_at is not None]:
            self._sessions.remove(session)
            if not session.retired:
                self._failed(session, monotonic)
        live = [s for s in self._sessions if not s.retired]
        newest = live[-1] if live else None
        if newest is not None and newest.up_at is not None and now >= newest.up_at + OVERLAP_S:
            for session in live[:-1]:
                self._end(session)
            live = [newest]
        share = self._rate.choose(now)
        if self._asked and len(live) < 2 and monotonic >= self._due and self._outdated(newest, share, monotonic):
            self._open(share, monotonic)

    def _outdated(self, newest: Session | None, share: float, monotonic: float) -> bool:
        """Whether another session is needed."""
        if newest is None:
            return True
        if newest.up_at is None:
            return False
        changed = newest.services != set(self._asked) or newest.calls != bool(self._calls)
        return changed or newest.share != share or monotonic - newest.opened >= RENEW_S

    def _open(self, share: float, monotonic: float) -> None:
        session = Session(frozenset(self._asked), share, monotonic, bool(self._calls))
        session.task = asyncio.create_task(self._attend(session), name=f"log session of {self._project}")
        self._sessions.append(session)

    def _end(self, session: Session) -> None:
        session.retired = True
        if session.task is not None:
            session.task.cancel()

    async def _attend(self, session: Session) -> None:
        """Read one session until it ends."""
        try:
            text = tail_filter(session.services, session.share, calls=session.calls)
            async with aclosing(self._client.tail(self._project, text)) as stream:
                async for message in stream:
                    if message is None:
                        self._stands(session)
                    else:
                        self._take(session, message)
        except WatchdogError as error:
            session.error = error
        except Exception as error:
            log.exception("log_session_crashed", project=self._project)
            session.error = TemporaryError(f"{type(error).__name__}: {error}")
        finally:
            session.ended_at = self._clock.now()
            for service in session.services:
                if service in self.logs and not self.covers(service):
                    self.logs[service].up.end(session.ended_at)
            self._woken.set()

    def _stands(self, session: Session) -> None:
        session.up_at = session.heard_at = self._clock.now()
        for service in session.services & self.logs.keys():
            self.logs[service].up.begin(session.up_at)
        self.refusal = None
        if self._said != "":
            log.info("request_log_up", project=self._project, services=len(session.services))
            self._said = ""
        if self._said_share != session.share:
            self._said_share = session.share
            log.info("request_log_sampled", project=self._project, share=session.share)
        self._woken.set()
        self._news.set()

    def _failed(self, session: Session, monotonic: float) -> None:
        """A session has ended that should not have: when to try again, and what to say."""
        error = session.error or TemporaryError("the session ended")
        if session.up_at is not None and monotonic - session.opened >= HEALTHY_S:
            self._failures = 0
        alone = not any(s.up for s in self._sessions)
        if isinstance(error, PermanentError):
            wait_s = LASTING_RETRY_S
            self.refusal = error if alone else None
        else:
            wanted = error.delay_s if isinstance(error, TemporaryError) else None
            wait_s = RETRY_S[min(self._failures, len(RETRY_S) - 1)] if wanted is None else wanted
            self._failures += wanted is None
        self._due = monotonic + wait_s
        self._news.set()
        if wait_s and alone and self._said != str(error):
            self._said = str(error)
            log.warning("request_log_down", project=self._project, error=self._said, again_s=wait_s)

    def _take(self, session: Session, message: Any) -> None:
        """Count a response's entries."""
        now = self._clock.now()
        # Sessions that overlap deliver together what the one with the larger share would have delivered alone.
        weight = 1.0 / max(s.share for s in self._sessions if s.up)
        fresh = 0
        for raw in message.entries:
            read = read_entry(raw, self._project)
            if read is None or read[0] in self._seen or read[0] in self._seen_before:
                continue
            self._seen.add(read[0])
            fresh += 1
            entry = read[1]
            found = self.logs.get(entry.service)
            if found is not None and now - KEEP_S < entry.ended_at < now + AHEAD_S:
                found.add(entry, weight)
        lost = suppressed_count(message)
        if lost:
            if now - self._suppressed_at > HEALTHY_S:
                log.warning("request_log_suppressed", project=self._project, entries=lost)
            self._suppressed_at = now
            for service in session.services & self.logs.keys():
                # Which ones were left out is not said: any that was on its way since the last response.
                self.logs[service].suppressed.add(session.heard_at, now)
        session.heard_at = now
        self._rate.count((fresh + lost) * weight, now)

    def _forget(self, now: float, monotonic: float) -> None:
        """Drop services that nobody asks for, old buckets, and doubles that cannot come any more."""
        for service in [s for s, asked in self._asked.items() if monotonic - asked > IDLE_S]:
            del self._asked[service], self.logs[service]
            self._calls.discard(service)
        for found in self.logs.values():
            found.forget(now - KEEP_S)
        if monotonic - self._turned_at >= DOUBLES_S:
            self._seen, self._seen_before, self._turned_at = set(), self._seen, monotonic
