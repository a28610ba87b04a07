"""The inbox: anybody may write, a key counts once, the owner folds in what waits."""

import asyncio

from tests.store.samples import NOW, lease_of
from watchdog.ports import Letter, Store


async def test_letters_wait_for_their_owner_oldest_first(store: Store, twin: Store) -> None:
    assert await twin.post("watch/w1", key="k1", kind="signal", body={"signal": "x"}, now=NOW)
    assert await twin.post("watch/w1", key="k2", kind="operator", body={"verb": "hold"}, now=NOW + 1)

    first, second = await store.letters(["watch/w1"])

    assert first == Letter(id=first.id, stream="watch/w1", key="k1", kind="signal", body={"signal": "x"}, at=NOW)
    assert second.key == "k2"
    assert first.id < second.id


async def test_only_the_asked_streams_are_read(store: Store) -> None:
    await store.post("watch/w1", key="k1", kind="signal", body={}, now=NOW)
    await store.post("watch/w2", key="k2", kind="signal", body={}, now=NOW)
    await store.post("service/p/r/s", key="k3", kind="deploy", body={}, now=NOW)

    assert [letter.key for letter in await store.letters(["watch/w1", "service/p/r/s"])] == ["k1", "k3"]
    assert not await store.letters([])


async def test_a_key_posted_again_is_told_and_changes_nothing(store: Store, twin: Store) -> None:
    await store.post("watch/w1", key="k", kind="signal", body={"n": 1}, now=NOW)

    assert not await twin.post("watch/w1", key="k", kind="signal", body={"n": 2}, now=NOW + 5)

    assert [letter.body for letter in await store.letters(["watch/w1"])] == [{"n": 1}]


async def test_a_key_stays_used_after_its_letter_was_folded_in(store: Store) -> None:
    await store.post("watch/w1", key="k", kind="signal", body={}, now=NOW)
    (letter,) = await store.letters(["watch/w1"])
    await store.append(await lease_of(store), [], letters_done=[letter.id])

    assert not await store.letters(["watch/w1"])
    assert not await store.post("watch/w1", key="k", kind="signal", body={}, now=NOW)
    assert not await store.letters(["watch/w1"])


async def test_of_many_posts_with_one_key_one_is_new(store: Store, twin: Store) -> None:
    posts = [poster.post("watch/w1", key="k", kind="signal", body={}, now=NOW) for poster in (store, twin) * 5]

    assert sorted(await asyncio.gather(*posts)) == [False] * 9 + [True]
