"""Callers come and go in the middle of a transaction; the store stays whole."""

import asyncio
import random

import pytest

from tests.store.samples import NOW, delivery, event, keys, lease_of, read
from watchdog.errors import StoreUnavailableError
from watchdog.store import make_store


async def test_appends_cancelled_at_any_moment_and_offered_again_are_written_once(database_url: str) -> None:
    """Cancelled before, in or after the commit: nobody can tell, and the journal still has each event once."""
    store = make_store(database_url)
    await store.open()
    lease = await lease_of(store)
    dice = random.Random(7)
    cancelled = 0
    for n in range(40):
        while True:
            try:
                async with asyncio.timeout(dice.random() * 0.006):
                    await store.append(lease, [event(2 * n), event(2 * n + 1)], deliveries=[delivery(f"k{n}")])
            except TimeoutError:
                cancelled += 1
                if cancelled % 5 == 0:  # a busy machine may need longer than the dice give
                    await store.append(lease, [event(2 * n), event(2 * n + 1)], deliveries=[delivery(f"k{n}")])
                    break
            else:
                break

    assert cancelled > 5
    assert [record.body["n"] for record in await read(store)] == list(range(80))
    assert keys(await store.undelivered()) == [f"k{n}" for n in range(40)]
    await store.close()


async def test_closing_right_after_a_cancelled_call_leaves_nothing_open(database_url: str) -> None:
    store = make_store(database_url)
    await store.open()
    lease = await lease_of(store)
    task = asyncio.create_task(store.append(lease, [event()]))
    await asyncio.sleep(0)
    task.cancel()
    await asyncio.wait([task])
    await store.close()

    await store.open()
    assert len(await read(store)) <= 1
    await store.close()


async def test_lists_that_grow_after_their_append_was_given_up_do_not_grow_the_append(database_url: str) -> None:
    """Who gives up waiting keeps collecting; a letter may not be marked as folded in without its event."""
    store = make_store(database_url)
    await store.open()
    lease = await lease_of(store)
    await store.post("watch/w1", key="k", kind="signal", body={}, now=NOW)
    (letter,) = await store.letters(["watch/w1"])
    letters: list[int] = []
    task = asyncio.create_task(store.append(lease, [event()], letters_done=letters))
    await asyncio.sleep(0)
    task.cancel()
    await asyncio.wait([task])
    letters.append(letter.id)

    await store.close()
    await store.open()
    assert await store.letters(["watch/w1"]) == [letter]
    await store.close()


async def test_what_is_cancelled_inside_the_store_does_not_cancel_who_asked(database_url: str) -> None:
    """Else whoever was asking, a watch in the middle of its rollback, would end without a word."""
    store = make_store(database_url)
    await store.open()
    lease = await lease_of(store)
    asking = asyncio.create_task(store.append(lease, [event()]))
    for _ in range(2):  # asked, and begun
        await asyncio.sleep(0)
    (inside,) = (task for task in asyncio.all_tasks() if task.get_name() == "store")
    inside.cancel()

    with pytest.raises(StoreUnavailableError, match="before it answered"):
        await asking
    await store.append(lease, [event()])
    assert len(await read(store)) == 1
    await store.close()
