"""The heartbeat goes out only while all is well."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, cast

from structlog.testing import capture_logs

from watchdog.core.text import iso
from watchdog.engine.auditing import Auditor
from watchdog.engine.tools import Tools
from watchdog.errors import StoreUnavailableError, TemporaryError
from watchdog.ports import Delivery, WatchRow
from watchdog.telemetry import Metrics

NOW = 1_790_000_000.0


class Clock:
    def now(self) -> float:
        return NOW


@dataclass
class Shelf:
    """What the auditor reads of a store."""

    rows: list[WatchRow] = field(default_factory=list)
    waiting: list[Delivery] = field(default_factory=list)
    away: bool = False

    async def watches(self, *, open_only: bool = False) -> Sequence[WatchRow]:
        assert open_only
        if self.away:
            raise StoreUnavailableError("away")
        return self.rows

    async def undelivered(self) -> Sequence[Delivery]:
        return self.waiting


@dataclass
class World:
    shelf: Shelf = field(default_factory=Shelf)
    ready: bool = True
    beats: int = 0
    broken: bool = False

    async def beat(self) -> None:
        if self.broken:
            raise TemporaryError("no connection")
        self.beats += 1

    def auditor(self) -> Auditor:
        tools = Tools(
            clock=cast("Any", Clock()),
            store=cast("Any", self.shelf),
            traffic=cast("Any", None),
            prober=cast("Any", None),
            metrics=Metrics(version="0", services=[], channels=[], sources=[]),
            owner="me",
            new_id=lambda: "id",
        )
        return Auditor(tools=tools, keepers=[], ready=lambda: (self.ready, "still starting"), beat=self.beat)


def row(next_page_at: float | None) -> WatchRow:
    return WatchRow(
        id="w1",
        project="p",
        region="r",
        service="s",
        revision="s-1",
        state="watching",
        outcome=None,
        opened_at=NOW,
        ended_at=None,
        view={"incident": {"next_page_at": iso(next_page_at)}},
    )


async def test_it_beats_while_nothing_is_wrong_and_stops_when_something_is() -> None:
    world = World()
    auditor = world.auditor()
    await auditor.audit()
    assert world.beats == 1
    world.shelf.rows = [row(NOW - 299)]
    await auditor.audit()
    assert world.beats == 2, "a little late is not forgotten"
    with capture_logs() as logs:
        world.shelf.rows = [row(NOW - 301)]
        await auditor.audit()
        await auditor.audit()
    assert world.beats == 2
    assert [line["problem"] for line in logs] == ["the escalation of watch w1 is overdue"], "said once"
    world.shelf.rows = [row(None)]
    await auditor.audit()
    assert world.beats == 3


async def test_each_sickness_of_our_own_keeps_the_heartbeat_back() -> None:
    for sick in ("ready", "away", "stuck"):
        world = World()
        if sick == "ready":
            world.ready = False
        if sick == "away":
            world.shelf.away = True
        if sick == "stuck":
            old = Delivery(key="k", channel="slack", thread="t", kind="note", created_at=NOW - 601, body={})
            world.shelf.waiting = [old]
        await world.auditor().audit()
        assert world.beats == 0, sick


async def test_a_heartbeat_that_does_not_arrive_is_logged_once() -> None:
    world = World(broken=True)
    auditor = world.auditor()
    with capture_logs() as logs:
        await auditor.audit()
        await auditor.audit()
    assert [line["event"] for line in logs] == ["heartbeat_not_sent"]
