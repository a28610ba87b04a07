"""What a region learns of the others: from the store that all processes share, and without it from its own process."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from types import SimpleNamespace
from typing import Any, cast

from structlog.testing import capture_logs

from tests.core.drive import T0, Drive, opening
from tests.core.test_spread import DEPLOY, FELL, THERE, here, policy
from watchdog.core.report import view
from watchdog.engine.regions import EACH, Regions
from watchdog.engine.tools import Tools
from watchdog.errors import StoreUnavailableError
from watchdog.ports import WatchRow
from watchdog.telemetry import Metrics


@dataclass
class Shelf:
    """What is read of a store."""

    views: list[dict[str, Any]] = field(default_factory=list)
    away: bool = False
    reads: int = 0

    async def watches(self, *, of: tuple[str, str], limit: int) -> Sequence[WatchRow]:
        self.reads += 1
        assert of == ("acme", "api")
        assert limit == 2 * EACH
        if self.away:
            raise StoreUnavailableError("away")
        return [
            WatchRow(
                id=v["id"], project="acme", region=v["region"], service="api", revision=v["revision"],
                state=v["state"], outcome=v["outcome"], opened_at=T0, ended_at=None, view=v,
            )
            for v in self.views
        ]  # fmt: skip


def regions(shelf: Shelf, *, scope: str = "all") -> Regions:
    tools = Tools(
        clock=cast("Any", SimpleNamespace(now=lambda: T0 + 30)),
        store=cast("Any", shelf),
        traffic=cast("Any", None),
        prober=cast("Any", None),
        metrics=Metrics(version="0", services=[], channels=[], sources=[]),
        owner="a",
        new_id=lambda: "w9",
    )
    return Regions(tools, policy(scope=scope))


async def test_another_process_is_heard_through_the_store() -> None:
    told = await regions(Shelf([FELL])).ask([here().watch])
    assert {i: e.region for i, e in told.items()} == {"w1": THERE}


async def test_without_the_store_those_of_this_process_are_heard_all_the_same() -> None:
    around = regions(Shelf(away=True))
    fallen = here(watch="w0", deploy=replace(DEPLOY, service=replace(DEPLOY.service, region=THERE)))
    fallen.healthy(0, 10)
    fallen.hard_down(10)
    fallen.restored(16)
    keeper = SimpleNamespace(runners={"w0": SimpleNamespace(watch=fallen.watch)})
    around.keepers.append(cast("Any", keeper))
    with capture_logs() as logs:
        for _ in range(2):
            assert set(await around.ask([here().watch])) == {"w1"}
    assert [entry["event"] for entry in logs] == ["regions_unknown"], "said once"


async def test_nothing_is_asked_where_nothing_could_come_of_it() -> None:
    shelf = Shelf([FELL])
    assert not await regions(shelf).ask([here(scope="region").watch])
    assert shelf.reads == 0


async def test_a_watch_joins_and_says_what_the_scope_is() -> None:
    first = view(here(watch="w0", deploy=replace(DEPLOY, service=replace(DEPLOY.service, region=THERE))).watch)
    shelf = Shelf([first])
    event = opening(deploy=DEPLOY)
    joined = await regions(shelf).joined(event)
    assert joined.release == "w0"
    assert any("Proof in one region rolls the same release back" in note for note in joined.notes)

    other = await regions(shelf).joined(replace(event, deploy=replace(DEPLOY, fingerprint="f2")))
    assert any("not configured as in us-east1" in note for note in other.notes)
    alone = await regions(shelf, scope="region").joined(
        replace(event, deploy=replace(DEPLOY, image="r@sha256:bb", fingerprint="f3"))
    )
    assert alone.release == ""
    assert any("only its own region's traffic" in note for note in alone.notes)


async def test_a_store_that_is_away_costs_the_common_thread_not_the_watch() -> None:
    joined = await regions(Shelf(away=True)).joined(opening(deploy=DEPLOY))
    assert joined.release == ""
    assert Drive(joined).watch.release == "w1"
