"""The watches' read model, and retention."""

from dataclasses import replace

from tests.store.samples import NOW, delivery, event, lease_of, read, row
from watchdog.ports import Receipt, Store, WatchRow


async def _save(store: Store, *rows: WatchRow) -> None:
    for each in rows:
        await store.append(await lease_of(store, f"watch/{each.id}"), [event()], watch=each)


async def test_a_row_comes_back_as_it_was_written(store: Store, twin: Store) -> None:
    ended = row("w1", state="ended", outcome="rolled_back", ended_at=NOW + 60.5, view={"id": "w1", "split": {"r": 100}})
    await _save(store, ended)

    assert await twin.watch("w1") == ended
    assert list(await twin.watches()) == [ended]


async def test_an_unknown_watch_is_none(store: Store) -> None:
    assert await store.watch("none") is None
    assert not await store.watches()


async def test_the_last_row_wins(store: Store) -> None:
    await _save(store, row("w1"), row("w1", state="ended", outcome="passed", ended_at=NOW + 1))

    (only,) = await store.watches()
    assert (only.state, only.outcome, only.ended_at) == ("ended", "passed", NOW + 1)


async def test_watches_come_newest_first_and_no_more_than_asked(store: Store) -> None:
    await _save(store, *(row(f"w{n}", opened_at=NOW + n) for n in (2, 0, 3, 1)))

    assert [each.id for each in await store.watches()] == ["w3", "w2", "w1", "w0"]
    assert [each.id for each in await store.watches(limit=2)] == ["w3", "w2"]


async def test_only_open_ones_on_request(store: Store) -> None:
    await _save(store, row("w1"), row("w2", state="ended", outcome="passed", ended_at=NOW + 1))

    assert [each.id for each in await store.watches(open_only=True)] == ["w1"]


async def test_only_those_of_one_service_in_all_its_regions(store: Store) -> None:
    west, other = replace(row("w2"), region="us-west1"), replace(row("w3"), service="other")
    await _save(store, row("w1"), west, other, replace(row("w4"), project="elsewhere"))

    found = await store.watches(of=(west.project, west.service))
    assert {each.id for each in found} == {"w1", "w2"}
    assert len(await store.watches(of=(west.project, west.service), open_only=True, limit=1)) == 1


async def test_pruning_removes_ended_watches_and_all_that_hangs_on_them(store: Store) -> None:
    old, new = row("old", state="ended", outcome="passed", ended_at=NOW - 10), row("new", state="ended", ended_at=NOW)
    await _save(store, old, new, row("open", opened_at=NOW - 1000))
    for watch_id in ("old", "new", "open"):
        await store.post(f"watch/{watch_id}", key=f"k-{watch_id}", kind="signal", body={}, now=NOW)
        lease = await lease_of(store, f"watch/{watch_id}")
        messages = [delivery(f"{watch_id}:{n}", thread=watch_id) for n in (1, 2)]
        await store.append(lease, [], deliveries=messages)
        await store.delivered(f"{watch_id}:1", "slack", Receipt(remember={"ts": "1"}), now=NOW)

    assert await store.prune(ended_before=NOW) == 1

    assert {each.id for each in await store.watches()} == {"new", "open"}
    assert await read(store, "watch/old") == []
    assert len(await read(store, "watch/new")) == len(await read(store, "watch/open")) == 1
    assert {each.thread for each in await store.undelivered()} == {"new", "open"}
    letters = await store.letters(["watch/old", "watch/new", "watch/open"])
    assert {letter.key for letter in letters} == {"k-new", "k-open"}
    assert await store.prune(ended_before=NOW) == 0


async def test_pruning_takes_any_number(store: Store) -> None:
    lease = await lease_of(store, "service/p/r/s")
    for n in range(120):
        await store.append(lease, [], watch=row(f"w{n}", state="ended", ended_at=NOW - 1))

    assert await store.prune(ended_before=NOW) == 120
    assert not await store.watches()
