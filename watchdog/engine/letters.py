"""Reads the inbox for one service: what belongs to its watches is handed to them, the rest is carried out here.

Anybody may write a letter (the API, a hook, another process); only who keeps the service folds it in.
"""

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import structlog

from watchdog.core import service as facts
from watchdog.core.paging import Silence
from watchdog.core.service import Fact
from watchdog.engine import marking, trust
from watchdog.engine.opening import Notice
from watchdog.errors import PermanentError
from watchdog.ports import Letter

if TYPE_CHECKING:
    from watchdog.engine.keeper import Keeper

LETTERS_EVERY_S = 0.25
"""Letters are folded in within half a second (DESIGN section 7)."""
HEARTBEAT_EVERY_S = 10.0
"""A job's heartbeats are journaled no more often."""

_log = structlog.get_logger(__name__)


@dataclass(slots=True)
class Letters:
    """The letters to one service and to its watches."""

    keeper: "Keeper"
    _seen: set[int] = field(default_factory=set)

    async def hand_out(self) -> None:
        """Hand letters to their watches: never kept waiting by what a letter to the service needs from elsewhere."""
        runners = self.keeper.runners
        for letter in await self.keeper.tools.store.letters([f"watch/{i}" for i in runners]):
            if (runner := runners.get(letter.stream.removeprefix("watch/"))) is not None:
                runner.receive(letter)

    async def carry_out(self) -> None:
        """Carry out letters to the service: deploy notices, releases, and hints to look at it now."""
        for letter in await self.keeper.tools.store.letters([self.keeper.stream]):
            if letter.id not in self._seen:
                await self._obey(letter)

    async def _obey(self, letter: Letter) -> None:
        keeper = self.keeper
        match letter.kind:
            case "deploy":
                await self._deploy(letter)
            case "release":
                await self._release(letter)
            case "silence":
                await keeper.remember(self._silence(letter), letters=[letter.id])
            case "heartbeat":
                await keeper.remember(*self._heartbeat(letter), letters=[letter.id])
            case "look":
                keeper.look_soon()
                await keeper.remember(letters=[letter.id])
            case trust.KIND:
                b = letter.body
                heard = keeper.trust.heard(letter.at, passed=b["passed"], problems=b["problems"], by=b["by"])
                await keeper.remember(heard, letters=[letter.id])
            case marking.KIND:
                await self._mark(letter)
            case _:
                _log.warning("letter_unknown", kind=letter.kind, stream=letter.stream)
                await keeper.remember(letters=[letter.id])
        self._seen.add(letter.id)

    async def _deploy(self, letter: Letter) -> None:
        b = letter.body
        try:
            await self.keeper.open(
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
            _log.warning("deploy_notice_refused", service=str(self.keeper.key), error=str(error))
            await self.keeper.remember(letters=[letter.id])

    def _heartbeat(self, letter: Letter) -> tuple[Fact, ...]:
        """A job has run. Pings in quick succession say no more than one, and are not journaled."""
        job = str(letter.body.get("job"))
        last = self.keeper.service.heartbeats.get(job)
        if last is not None and letter.at - last < HEARTBEAT_EVERY_S:
            return ()
        return (Fact(at=letter.at, kind="heartbeat", body={"job": job}),)

    async def _mark(self, letter: Letter) -> None:
        """A person says whether an ended watch was right."""
        keeper = self.keeper
        keeper.refuse_if_behind("the store is away, so the mark waits in the inbox")  # it keeps one row at a time
        try:
            row = await keeper.tools.store.watch(str(letter.body.get("watch")))
            new, shown = marking.carried_out(row, letter.body, keeper.tools.clock.now())
        except PermanentError as error:
            _log.warning("mark_refused", service=str(keeper.key), error=str(error))
            await keeper.remember(letters=[letter.id])
            return
        _log.info("watch_marked", **new.body)
        await keeper.remember(new, letters=[letter.id], watch=shown)

    def _silence(self, letter: Letter) -> Fact:
        """A silence begins, or ends before its time."""
        now, b, service = self.keeper.tools.clock.now(), letter.body, str(self.keeper.key)
        if b.get("end"):
            _log.info("silence_ended", service=service, silence=b["id"], by=b.get("by") or "")
            return facts.unsilenced(now, b["id"], b.get("by") or "")
        silence = Silence.model_validate({k: v for k, v in b.items() if k in Silence.model_fields})
        _log.info("silence_begins", service=service, **silence.model_dump())
        return facts.silenced(now, silence)

    async def _release(self, letter: Letter) -> None:
        keeper = self.keeper
        if letter.body.get("on_next"):
            body = {"on_next": True, "by": letter.body.get("by") or ""}
            wanted = Fact(at=keeper.tools.clock.now(), kind="release_requested", body=body)
            await keeper.remember(wanted, letters=[letter.id])
            return
        try:
            await keeper.pin.release()
        except PermanentError as error:
            _log.warning("release_refused", service=str(keeper.key), error=str(error))
        await keeper.remember(letters=[letter.id])
