"""A person's word about an ended watch: in its service's journal, shown with the watch, the last one counts."""

from pathlib import Path
from typing import Any

import pytest

from tests.engine.world import BAD, DOWN, House, emulated, eventually, kept, looked
from tests.web import views
from tests.web.views import T0, row
from watchdog.core import service as facts
from watchdog.core.marks import WORDS, Mark, had_to_go, marked, sentence, why_not
from watchdog.core.model import ServiceKey
from watchdog.engine import marking
from watchdog.errors import PermanentError
from watchdog.store.memory import MemoryStore

SERVICE = "service/barq-fleet/us-central1/barq-fleet-api"


def said(word: str, **more: Any) -> dict[str, Any]:
    return {"watch": "w9q1c4", "mark": word, "by": "alice", "reason": "", **more}


async def stored(*shown: dict[str, Any]) -> MemoryStore:
    store = MemoryStore()
    await store.open()
    for view in shown:
        lease = await store.acquire(f"watch/{view['id']}", "runner", ttl_s=15, now=T0)
        assert lease is not None
        await store.append(lease, (), watch=row(view))
        await store.release(lease)
    return store


async def facts_of(store: MemoryStore) -> list[tuple[str, Any]]:
    return [(r.kind, r.body) async for r in store.read(SERVICE)]


# --- into a store that nobody keeps -------------------------------------------------------------------------------


async def test_the_journal_keeps_every_mark_and_the_last_one_is_shown() -> None:
    view = views.rolled_back()
    store = await stored(view)
    for i, word in enumerate(("right", "wrong")):
        found = await store.watch(view["id"])
        assert found is not None
        body = said(word, watch=view["id"], reason=f"because {i}")
        assert await marking.write(store, found, body, owner="cli", now=T0 + i)
    shown = await store.watch(view["id"])
    assert shown is not None
    assert shown.view == {
        **view,
        "mark": {"mark": "wrong", "by": "alice", "reason": "because 1", "at": views.at(1)},
    }
    assert [(kind, body["mark"], body["outcome"]) for kind, body in await facts_of(store)] == [
        ("watch_marked", "right", "rolled_back"),
        ("watch_marked", "wrong", "rolled_back"),
    ]
    assert [r.kind async for r in store.read(f"watch/{view['id']}")] == []


async def test_whoever_keeps_the_service_is_not_written_over() -> None:
    view = views.rolled_back()
    store = await stored(view)
    keeper = await store.acquire(SERVICE, "daemon", ttl_s=15, now=T0)
    assert keeper is not None
    assert not await marking.write(store, row(view), said("right"), owner="cli", now=T0 + 1)
    assert await facts_of(store) == []


async def test_a_mark_leaves_the_service_free_for_the_next_keeper() -> None:
    view = views.passed()
    store = await stored(view)
    await marking.write(store, row(view), said("right"), owner="cli", now=T0)
    assert await store.acquire(SERVICE, "daemon", ttl_s=15, now=T0 + 0.1) is not None


def test_a_mark_changes_nothing_that_the_service_rests_on() -> None:
    key = ServiceKey(project="barq-fleet", region="us-central1", name="barq-fleet-api")
    before = facts.Service(key=key)
    new, _ = marking.carried_out(row(views.rolled_back()), said("wrong"), T0)
    assert facts.fold(before, new) == before


# --- what may be said ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "view, word, told",
    [
        (views.watching(), "right", "has not ended yet"),
        (views.passed(), "late", "nothing was done too late; `wrong` says that it missed a fault"),
        (views.passed(), "great", "is no mark; say right, wrong, late, unclear"),
    ],
)
def test_what_makes_no_sense_is_refused(view: dict[str, Any], word: str, told: str) -> None:
    with pytest.raises(PermanentError, match=told):
        marking.carried_out(row(view), said(word), T0)


def test_every_word_can_be_said_of_a_rollback() -> None:
    assert [why_not(views.rolled_back(), word) for word in WORDS] == [None] * len(WORDS)


@pytest.mark.parametrize(
    "view, word, had",
    [
        (views.rolled_back(), "right", True),
        (views.rolled_back(), "wrong", False),
        (views.rolled_back(), "late", True),
        (views.rolled_back(), "unclear", None),
        (views.passed(), "right", False),
        (views.passed(), "wrong", True),
    ],
)  # fmt: skip
def test_what_a_mark_says_of_the_release(view: dict[str, Any], word: str, *, had: bool | None) -> None:
    assert had_to_go(view) is None
    assert had_to_go(marked(view, Mark(at=T0, word=word))) is had


def test_a_mark_in_a_sentence() -> None:
    shown = marked(views.passed(), Mark(at=T0, word="wrong", by="alice", reason="shops called"))
    assert sentence(shown) == "wrong (alice, 2026-09-21 14:13 UTC: shops called)"
    assert sentence(views.passed()) == ""


# --- by the daemon ------------------------------------------------------------------------------------------------


async def test_the_keeper_takes_marks_from_its_inbox_and_refuses_open_watches(tmp_path: Path) -> None:
    async with emulated() as cloud, kept(cloud, tmp_path / "w.db") as house:
        await cloud.deploy(BAD)
        runner = await house.watching(BAD)
        await order(house, said("wrong", watch=runner.watch.id), "early")
        await eventually(lambda: no_letters(house), "the mark of an open watch was refused")
        cloud.afflict(BAD, DOWN)
        await house.ended(runner)
        for word in ("wrong", "right"):
            await order(house, said(word, watch=runner.watch.id), word)
        await order(house, said("right", watch="nonesuch"), "nonesuch")
        await eventually(lambda: no_letters(house), "the marks were taken")
        await looked(house)
        shown = await house.store.watch(runner.watch.id)
        assert shown is not None
        assert shown.view["mark"]["mark"] == "right"
        assert shown.view["outcome"] == "rolled_back"
        journal = [r.body["mark"] async for r in house.store.read(SERVICE) if r.kind == "watch_marked"]
        assert journal == ["wrong", "right"]


async def order(house: House, body: dict[str, Any], key: str) -> None:
    now = house.tools.clock.now()
    await house.store.post(SERVICE, key=key, kind=marking.KIND, body=body, now=now)


async def no_letters(house: House) -> bool:
    return not await house.store.letters([SERVICE])
