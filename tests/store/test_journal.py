"""The journal: append-only, numbered without gaps, all of an append or nothing of it."""

import asyncio
from typing import Any

import pytest

from tests.store.samples import NOW, delivery, event, keys, lease_of, read, row
from watchdog.errors import LeaseLostError
from watchdog.ports import Record, Store


async def test_records_come_back_as_they_were_written(store: Store) -> None:
    lease = await lease_of(store)
    body = {"text": "3 % slower – é😀\x00\ud800", "n": 1.5, "none": None, "deep": [{"a": [True, False]}], "big": 2**40}

    written = await store.append(lease, [event(at=NOW + 0.123456, kind="watch_opened", schema=3, body=body, late=True)])

    expected = Record(
        stream="watch/w1",
        seq=1,
        epoch=1,
        at=NOW + 0.123456,
        seen_at=NOW + 0.5,
        kind="watch_opened",
        schema=3,
        body=body,
        late=True,
    )
    assert list(written) == [expected]
    assert await read(store) == [expected]


async def test_each_stream_counts_from_one_without_gaps(store: Store) -> None:
    one, two = await lease_of(store, "watch/w1"), await lease_of(store, "watch/w2")
    await store.append(one, [event(1), event(2)])
    await store.append(two, [event(3)])
    last = await store.append(one, [event(4)])

    assert [record.seq for record in last] == [3]
    assert [(record.seq, record.body["n"]) for record in await read(store, "watch/w1")] == [(1, 1), (2, 2), (3, 4)]
    assert [record.seq for record in await read(store, "watch/w2")] == [1]


async def test_reading_starts_after_a_number(store: Store) -> None:
    await store.append(await lease_of(store), [event(n) for n in range(5)])

    assert [record.seq for record in await read(store, after_seq=3)] == [4, 5]


async def test_a_stream_that_nobody_wrote_is_empty(store: Store) -> None:
    assert await read(store, "watch/none") == []


async def test_a_long_journal_is_read_whole_and_in_order(store: Store) -> None:
    await store.append(await lease_of(store), [event(n) for n in range(2500)])

    assert [record.body["n"] for record in await read(store)] == list(range(2500))


async def test_what_is_appended_while_reading_does_not_disturb_the_reader(store: Store) -> None:
    lease = await lease_of(store)
    await store.append(lease, [event(n) for n in range(3)])
    seen = []
    async for record in store.read("watch/w1"):
        seen.append(record.seq)
        if record.seq == 1:
            await store.append(lease, [event(9)])

    assert seen[:3] == [1, 2, 3]


async def test_an_append_is_seen_by_others_at_once(store: Store, twin: Store) -> None:
    await store.append(await lease_of(store), [event(7)])

    assert [record.body["n"] for record in await read(twin)] == [7]


async def test_an_append_without_events_still_carries_the_rest(store: Store) -> None:
    lease = await lease_of(store)
    await store.post("watch/w1", key="k", kind="signal", body={}, now=NOW)
    (letter,) = await store.letters(["watch/w1"])

    assert not await store.append(lease, [], deliveries=[delivery("d")], watch=row(), letters_done=[letter.id])

    assert await read(store) == []
    assert keys(await store.undelivered()) == ["d"]
    assert await store.watch("w1") == row()
    assert not await store.letters(["watch/w1"])


async def test_a_refused_append_leaves_nothing_behind(store: Store, twin: Store) -> None:
    """Events, messages, read model and letters go together: a powerless process changes none of them."""
    stale = await lease_of(store)
    await lease_of(twin, owner="b", now=NOW + 20)
    await store.post("watch/w1", key="k", kind="signal", body={}, now=NOW)
    (letter,) = await store.letters(["watch/w1"])

    with pytest.raises(LeaseLostError):
        await store.append(stale, [event()], deliveries=[delivery("d")], watch=row(), letters_done=[letter.id])

    assert await read(store) == []
    assert not await store.undelivered()
    assert await store.watch("w1") is None
    assert await store.letters(["watch/w1"])


async def test_a_body_that_is_not_json_leaves_nothing_behind(store: Store) -> None:
    """A fault of ours is loud, and does not tear the append."""
    lease = await lease_of(store)
    unfit: Any = {"x": object()}

    with pytest.raises(TypeError):
        await store.append(lease, [event()], deliveries=[delivery("d")], watch=row(view=unfit))

    assert await read(store) == []
    assert not await store.undelivered()


async def test_a_body_changed_after_the_append_does_not_change_the_journal(store: Store) -> None:
    body = {"n": 1}
    await store.append(await lease_of(store), [event(body=body)])
    body["n"] = 2

    assert [record.body["n"] for record in await read(store)] == [1]


async def test_appends_from_two_streams_at_once_both_arrive(store: Store, twin: Store) -> None:
    one, two = await lease_of(store, "watch/w1", "a"), await lease_of(twin, "watch/w2", "b")

    await asyncio.gather(
        *(store.append(one, [event(n)]) for n in range(20)), *(twin.append(two, [event(n)]) for n in range(20))
    )

    for stream in ("watch/w1", "watch/w2"):
        assert [record.seq for record in await read(store, stream)] == list(range(1, 21))


async def test_a_store_closed_and_opened_again_has_everything(store: Store) -> None:
    lease = await lease_of(store)
    await store.append(lease, [event(1)])
    await store.close()
    await store.open()

    await store.append(lease, [event(2)])

    assert [record.body["n"] for record in await read(store)] == [1, 2]


async def test_a_ping_is_answered(store: Store) -> None:
    await store.ping()
