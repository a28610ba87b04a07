"""A stream's writer: the store may be slow, gone or somebody else's, and neither events nor seconds are lost over."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, cast

import pytest

from tests.engine.world import GuardedStore, eventually
from watchdog import ports
from watchdog.engine.clock import SystemClock
from watchdog.engine.journalist import LAST_S, Journalist
from watchdog.engine.tools import Mail, Tools
from watchdog.errors import LeaseLostError
from watchdog.ports import Delivery, NewEvent, WatchRow
from watchdog.store import make_store
from watchdog.telemetry import Metrics

STREAM = "watch/w1"
PATIENCE_S = 0.3


class Post(Mail):
    """Whoever carries messages: notes what had to go without the store."""

    def __init__(self) -> None:
        self.stranded: list[str] = []

    def strand(self, deliveries: Sequence[ports.Delivery]) -> None:
        self.stranded += [d.key for d in deliveries]


class Desk:
    """A journalist with everything around it."""

    def __init__(self, store: GuardedStore, tools: Tools, journalist: Journalist, mail: Post) -> None:
        self.store, self.tools, self.journalist, self.mail = store, tools, journalist, mail
        self.woken = 0

    async def append(self, *numbers: int, **more: Any) -> bool:
        return await self.journalist.append([event(n) for n in numbers], **more)

    async def read(self) -> list[ports.Record]:
        return [record async for record in self.store.read(STREAM)]


@asynccontextmanager
async def desk(path: Path, *, ttl_s: float = 30.0) -> AsyncIterator[Desk]:
    real = make_store(f"sqlite:///{path}")
    await real.open()
    store, clock = GuardedStore(real), SystemClock()
    made: list[Desk] = []

    def wake() -> None:
        made[0].woken += 1

    tools = Tools(
        clock=clock,
        store=cast("ports.Store", store),
        traffic=cast("Any", None),
        prober=cast("Any", None),
        metrics=Metrics(version="0", services=[], channels=[], sources=[]),
        owner="me",
        new_id=lambda: "id",
        lease_ttl_s=ttl_s,
        store_patience_s=PATIENCE_S,
        wake_outbox=wake,
        mail=(mail := Post()),
    )
    lease = await real.acquire(STREAM, "me", ttl_s=ttl_s, now=clock.now())
    assert lease is not None
    journalist = Journalist(tools=tools, lease=lease)
    made.append(Desk(store, tools, journalist, mail))
    keeping = asyncio.create_task(journalist.keep(), name="keep")
    try:
        yield made[0]
    finally:
        keeping.cancel()
        await asyncio.gather(keeping, return_exceptions=True)
        await real.close()


def event(number: int) -> NewEvent:
    return NewEvent(at=float(number), seen_at=float(number), kind="ticked", schema=1, body={"n": number})


def numbers(records: list[ports.Record]) -> list[int]:
    return [record.body["n"] for record in records]


@pytest.mark.parametrize("how", ["hangs", "refuses"])
async def test_a_store_that_does_not_answer_is_waited_for_once_and_caught_up_later(how: str, tmp_path: Path) -> None:
    async with desk(tmp_path / "w.db") as d:
        assert await d.append(1)
        d.store.away = how
        loop = asyncio.get_running_loop()
        began = loop.time()
        assert not await d.append(2)
        assert not await d.append(3, 4)
        assert await d.journalist.owns(), "no answer is no reason to stand still"
        assert loop.time() - began < PATIENCE_S + 0.2, "patience is used up once"
        d.store.away = ""
        await eventually(lambda: d.journalist.backlog == 0, "caught up")
        assert await d.append(5)
        records = await d.read()
        assert numbers(records) == [1, 2, 3, 4, 5]
        assert [r.seq for r in records] == [1, 2, 3, 4, 5]
        assert [r.late for r in records] == [False, True, True, True, False]


async def test_messages_are_sent_without_the_store_and_appended_with_the_newest_view_later(tmp_path: Path) -> None:
    async with desk(tmp_path / "w.db") as d:
        d.store.away = "refuses"
        await d.append(1, deliveries=[delivery("a")], watch=row("watching"))
        await d.append(2, deliveries=[delivery("b")], watch=row("held"))
        await d.append(3)
        assert d.mail.stranded == ["a", "b"], "they are sent without the store"
        d.store.away = ""
        await eventually(lambda: d.journalist.backlog == 0, "caught up")
        assert [x.key for x in await d.store.undelivered()] == ["a", "b"]
        found = await d.store.watch("w1")
        assert found is not None
        assert found.state == "held"
        assert d.woken == 1


async def test_who_has_lost_the_stream_is_powerless(tmp_path: Path) -> None:
    async with desk(tmp_path / "w.db", ttl_s=0.3) as d:
        now = d.tools.clock.now()
        taken = await d.store.acquire(STREAM, "somebody", ttl_s=30.0, now=now + 60.0)
        assert taken is not None
        assert not await d.journalist.owns()
        with pytest.raises(LeaseLostError):
            await d.append(1)
        await eventually(d.journalist.lost.is_set, "known")
        assert not await d.read()


async def test_a_lost_stream_is_noticed_without_writing(tmp_path: Path) -> None:
    async with desk(tmp_path / "w.db", ttl_s=0.3) as d:
        await d.store.acquire(STREAM, "somebody", ttl_s=30.0, now=d.tools.clock.now() + 60.0)
        await eventually(d.journalist.lost.is_set, "noticed")


async def test_a_lease_is_renewed_for_as_long_as_it_is_kept(tmp_path: Path) -> None:
    async with desk(tmp_path / "w.db", ttl_s=0.3) as d:
        first = d.journalist.lease.expires_at
        await eventually(lambda: d.journalist.lease.expires_at > first + 0.5, "renewed")
        assert await d.store.acquire(STREAM, "somebody", ttl_s=1.0, now=d.tools.clock.now()) is None


async def test_stopping_never_waits_long_for_a_store_that_is_away(tmp_path: Path) -> None:
    async with desk(tmp_path / "w.db") as d:
        d.store.away = "hangs"
        await d.append(1)
        loop = asyncio.get_running_loop()
        began = loop.time()
        await d.journalist.release()
        assert loop.time() - began < LAST_S + 0.3


async def test_stopping_appends_what_still_waits_and_frees_the_stream(tmp_path: Path) -> None:
    async with desk(tmp_path / "w.db") as d:
        d.store.away = "refuses"
        await d.append(1)
        d.store.away = ""
        await d.journalist.release()
        assert numbers(await d.read()) == [1]
        assert await d.store.acquire(STREAM, "somebody", ttl_s=1.0, now=d.tools.clock.now()) is not None


def delivery(key: str) -> Delivery:
    return Delivery(key=key, channel="slack", thread="w1", kind="note", created_at=1.0, body={})


def row(state: str) -> WatchRow:
    return WatchRow(
        id="w1",
        project="p",
        region="r",
        service="s",
        revision="v",
        state=state,
        outcome=None,
        opened_at=1.0,
        ended_at=None,
        view={"state": state},
    )
