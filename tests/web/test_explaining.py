"""`GET /api/v1/watches/{id}/explain`, and why in the report."""

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest

from tests.core.player import Player, World, play
from tests.core.test_explain import errors
from tests.web import views
from tests.web.world import Site
from watchdog.core import report
from watchdog.core.explain import explain
from watchdog.core.explain_view import view
from watchdog.core.journal import encode
from watchdog.core.model import Outcome
from watchdog.ports import NewEvent, Record
from watchdog.store.memory import MemoryStore
from watchdog.web import bodies, explaining
from watchdog.web.explaining import KEPT, Explaining


@pytest.fixture(scope="module")
def outage() -> Player:
    player = play(World(requests=errors(0.05, after_s=300))).run(900)
    assert player.watch.outcome is Outcome.ROLLED_BACK
    return player


def rows(player: Player) -> list[NewEvent]:
    out = []
    for event in player.journal:
        kind, schema, body = encode(event)
        out.append(NewEvent(at=event.at, seen_at=event.at, kind=kind, schema=schema, body=body))
    return out


class Counting(MemoryStore):
    """Counts the records that are read."""

    def __init__(self) -> None:
        super().__init__()
        self.records = 0

    async def read(self, stream: str, *, after_seq: int = 0) -> AsyncIterator[Record]:
        async for record in super().read(stream, after_seq=after_seq):
            self.records += 1
            yield record


async def filled(player: Player, events: list[NewEvent], *ids: str) -> Counting:
    store = Counting()
    for watch_id in ids:
        lease = await store.acquire(f"watch/{watch_id}", "test", ttl_s=60, now=1.0)
        assert lease is not None
        await store.append(lease, events, watch=views.row({**report.view(player.watch), "id": watch_id}))
    return store


async def test_the_answer_is_the_explanation_of_the_journal(site: Site, outage: Player) -> None:
    await site.put(report.view(outage.watch), rows(outage))
    found = await site.get("/api/v1/watches/w1/explain")

    assert found == json.loads(json.dumps(view(explain(outage.journal))))
    assert found["question"] == "Why was it rolled back?"
    bodies.Explanation.model_validate(found)


async def test_what_is_described_as_always_there_is_there(outage: Player) -> None:
    told: dict[str, Any] = view(explain(outage.journal))
    required = bodies.Explanation.model_json_schema()["required"]

    assert set(required) <= told.keys()


async def test_an_open_watch_is_explained_as_far_as_it_has_come_and_only_news_are_read_again(outage: Player) -> None:
    events = rows(outage)
    store, desk = await filled(outage, events[:100], "w1"), Explaining()
    early = await desk.of(store, "w1")
    lease = await store.acquire("watch/w1", "test", ttl_s=60, now=2.0)
    assert lease is not None
    await store.append(lease, events[100:])
    store.records = 0
    late = await desk.of(store, "w1")

    assert early["question"] == "Why has it not been rolled back so far?"
    assert late["question"] == "Why was it rolled back?"
    assert store.records == len(events) - 100
    assert late["decisions"] == view(explain(outage.journal))["decisions"]


async def test_only_the_last_few_are_kept_and_all_who_ask_at_once_get_one_answer(outage: Player) -> None:
    ids = [f"w{i}" for i in range(KEPT + 2)]
    store, desk = await filled(outage, rows(outage), *ids), Explaining()
    found = await asyncio.gather(*(desk.of(store, watch_id) for watch_id in [*ids, *ids]))

    assert {f["question"] for f in found} == {"Why was it rolled back?"}
    assert store.records == len(ids) * len(outage.journal)
    await asyncio.gather(*(desk.of(store, watch_id) for watch_id in ids[-KEPT:]))
    assert store.records == len(ids) * len(outage.journal)


async def test_a_client_that_leaves_does_not_end_it(outage: Player) -> None:
    store, desk = await filled(outage, rows(outage), "w1"), Explaining()
    leaving = asyncio.create_task(desk.of(store, "w1"))
    await asyncio.sleep(0)
    leaving.cancel()
    with pytest.raises(asyncio.CancelledError):
        await leaving

    assert (await desk.of(store, "w1"))["outcome"] == "rolled_back"
    assert store.records == len(outage.journal)


async def test_a_journal_that_cannot_be_read_is_a_problem_that_says_so(site: Site, outage: Player) -> None:
    events = rows(outage)
    await site.put(
        report.view(outage.watch), [events[0], NewEvent(at=1.0, seen_at=1.0, kind="later", schema=9, body={})]
    )
    async with site.http.get(f"{site.url}/api/v1/watches/w1/explain") as answer:
        problem = await answer.json(content_type=None)

    assert answer.status == 500
    assert problem["detail"].startswith("Watch w1 cannot be explained: unknown event kind 'later' in the journal")


async def test_the_report_says_why_of_every_row_that_can_roll_back(site: Site, outage: Player) -> None:
    await site.put(report.view(outage.watch), rows(outage))
    async with site.http.get(f"{site.url}/api/v1/watches/w1/report") as answer:
        text = await answer.text()
    section = text.split("## Why was it rolled back?")[1].split("## ")[0].strip().splitlines()

    assert len(section) == 5
    assert section[0].startswith("- **error_rate < 1%**: Enough at 22:19:10 UTC (+5 min 50 s)")
    assert any("**health_check failing**: No probe failed" in line for line in section)


async def test_a_report_is_told_without_why_where_that_cannot_be_had_in_time(
    site: Site, outage: Player, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(explaining, "PATIENCE_S", 0.0)
    await site.put(report.view(outage.watch), rows(outage))
    async with site.http.get(f"{site.url}/api/v1/watches/w1/report") as answer:
        text = await answer.text()

    assert answer.status == 200
    assert "## Evidence" in text
    assert "## Why" not in text
