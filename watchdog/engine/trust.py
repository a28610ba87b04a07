"""Keeps the answer to "could a rollback be written?" fresh, so that automatic mode is automatic where all is well.

The daemon asks by itself: at its start, every 12 hours, and whenever a watch opens, beside everything else that is
looked up then. What somebody else found (`watchdog preflight`) is remembered too, but a daemon's own definite answer
comes later and so counts more: it is the one that has to write.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

import structlog

from watchdog.core import doubt
from watchdog.core import service as facts
from watchdog.core.events import Trusted
from watchdog.core.model import ServiceKey
from watchdog.core.service import Fact
from watchdog.engine.clock import wait_for_event
from watchdog.errors import PermanentError, WatchdogError
from watchdog.ports import NewEvent, Right, Rights, Store

if TYPE_CHECKING:
    from watchdog.engine.keeper import Keeper

KIND: Final = "preflight"
"""The kind of the letter with which another process tells of its own; its body is `{"passed", "problems", "by"}`."""
EVERY_S: Final = doubt.FRESH_S / 2
AGAIN_S: Final = 600.0
"""After a definite failure: whoever mends it need not restart anything."""
DOUBTED_S: Final = 30.0
"""The same while a watch is open that would act by itself."""
UNANSWERED_S: Final = (5.0, 5.0, 10.0, 20.0, 40.0, 80.0, 160.0, 300.0)
"""After no answer: soon, then less and less often."""
PATIENCE_S: Final = 3.0
"""How long a watch waits for it to open, beside what it waits for anyway."""
TRIES: Final = 3
TRY_AGAIN_S: Final = 0.5
"""One 503 in that time need not leave a watch in doubt."""
SPACING_S: Final = 1.0
"""Between two services' turns: hundreds of them must not spend the read quota at the start."""
READS: Final = "run.services.get"
"""Whoever reads the service holds this; an answer that denies it tests nothing."""
_LENT_S: Final = 15.0

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Checked:
    """One preflight: `passed` is None where it could not be asked. `problems` are clauses."""

    passed: bool | None
    problems: tuple[str, ...] = ()


async def could_write(rights: Rights, key: ServiceKey) -> Checked:
    """Ask whether a rollback of the service could be written, without writing.

    It fails for a permission that is certainly missing. What cannot be tested here (no such method, not allowed to ask)
    does not fail it, as in `watchdog preflight`: unknown is no problem. What did not answer is not an answer.
    """
    try:
        held = await rights.rights(key)
    except PermanentError as error:
        _log.info("rights_not_testable", service=str(key), error=str(error))
        return Checked(passed=True)
    except WatchdogError as error:
        return Checked(passed=None, problems=(str(error),))
    return judged(held)


def judged(held: Sequence[Right]) -> Checked:
    """What the permissions say, of a service that we can read."""
    missing = [right for right in held if not right.held]
    if any(right.permission == READS for right in missing):
        return Checked(passed=True)
    problems = tuple(f"{right.permission} is not granted" for right in missing if right.writes)
    return Checked(passed=not problems, problems=problems)


@dataclass(slots=True)
class Trust:
    """One service's preflights."""

    keeper: "Keeper"
    _unanswered: int = 0
    """So many in a row."""
    _now: asyncio.Event = field(default_factory=asyncio.Event)
    _opening: bool = False
    """Whether a watch is being opened in doubt: it may not be among the runners yet."""

    @property
    def needed(self) -> bool:
        """Whether anything rests on it: the other modes ask a person, or write nothing."""
        return self.keeper.policy.rollback.mode == "automatic" and self.keeper.tools.rights is not None

    async def keep(self) -> None:
        """For ever: ask when it is time, or when somebody says that something has changed."""
        tools = self.keeper.tools
        while self.needed:
            async with tools.turns:
                self._now.clear()
                await self._ask_safely()
                await tools.clock.sleep(SPACING_S)
            await wait_for_event(self._now, tools.clock, self._pause_s())

    def soon(self) -> None:
        """Ask now: somebody else's preflight has just passed, or failed."""
        self._now.set()

    async def at_opening(self) -> str:
        """Why a watch that opens now may not act by itself, as a clause; empty when it may."""
        if not self.needed:
            return ""
        await self._ask_safely(within_s=PATIENCE_S)
        why = doubt.why(self.keeper.service.preflights, self.keeper.tools.clock.now())
        if why:  # from now on somebody waits for it: no pause of before may hold it up
            self._opening = True
            self.soon()
        return why

    def heard(self, at: float, *, passed: bool, problems: Sequence[str], by: str) -> Fact:
        """What another process found, as a fact."""
        self.soon()
        return facts.preflighted(at, passed=passed, problems=problems, by=by)

    def _pause_s(self) -> float:
        if self._unanswered:
            return UNANSWERED_S[min(self._unanswered, len(UNANSWERED_S)) - 1]
        if self.keeper.service.preflights.failed_at is None:
            return EVERY_S
        doubted = self._opening or any(r.watch.open and r.watch.doubt for r in self.keeper.runners.values())
        self._opening = False
        return DOUBTED_S if doubted else AGAIN_S

    async def _asked(self) -> Checked:
        """One preflight; what does not answer is asked again, a few times."""
        tools, key = self.keeper.tools, self.keeper.key
        assert tools.rights is not None  # noqa: S101 - `needed` says so
        checked = await could_write(tools.rights, key)
        for _ in range(TRIES - 1):
            if checked.passed is not None:
                break
            await tools.clock.sleep(TRY_AGAIN_S)
            checked = await could_write(tools.rights, key)
        return checked

    async def _ask_safely(self, *, within_s: float = 60.0) -> None:
        """A fault of ours in here must keep no watch from opening, and end no keeping."""
        key = self.keeper.key
        try:
            async with asyncio.timeout(within_s):
                checked = await self._asked()
        except TimeoutError:
            checked = Checked(passed=None, problems=(f"no answer within {within_s:g} s",))
        except Exception:  # noqa: BLE001 - supervision: said, and the rest goes on
            _log.exception("preflight_crashed", service=str(key))
            checked = Checked(passed=None)
        if checked.passed is None:
            self._unanswered += 1
            if self._unanswered == 1:
                _log.warning("preflight_unanswered", service=str(key), problems=list(checked.problems))
            return
        self._unanswered = 0
        await self._note(checked)

    async def _note(self, checked: Checked) -> None:
        keeper, passed = self.keeper, bool(checked.passed)
        now, before = keeper.tools.clock.now(), keeper.service.preflights
        known = before.failed_at is None and before.passed_at is not None and now - before.passed_at < AGAIN_S
        if not passed and before.problems != checked.problems:
            _log.warning(
                "preflight_failed", service=str(keeper.key), problems=list(checked.problems), acts_as="approve"
            )
        elif passed and before.failed_at is not None:
            _log.info("preflight_passed", service=str(keeper.key))
        if not (passed and known):  # the journal need not hold each of many in a row
            await keeper.remember(facts.preflighted(now, passed=passed, problems=checked.problems, by="watchdog"))
        if passed:
            for runner in keeper.runners.values():
                if runner.watch.open and runner.watch.doubt:
                    runner.put(Trusted(at=now))


async def tell(store: Store, key: ServiceKey, checked: Checked, *, by: str, owner: str, now: float) -> None:
    """Remember a preflight that another process made: by letter where somebody keeps the service, else in its journal.

    Nothing is remembered of one that had no answer."""
    if checked.passed is None:
        return
    stream = facts.stream(key)
    fact = facts.preflighted(now, passed=checked.passed, problems=checked.problems, by=by)
    lease = await store.acquire(stream, owner, ttl_s=_LENT_S, now=now)
    if lease is None:
        await store.post(stream, key=f"{stream}:{KIND}:{owner}", kind=KIND, body=fact.body, now=now)
        return
    try:
        event = NewEvent(at=fact.at, seen_at=now, kind=fact.kind, schema=facts.SCHEMA, body=fact.body)
        await store.append(lease, [event])
    finally:
        await store.release(lease)
