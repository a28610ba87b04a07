"""One writer a stream, and a stale one is powerless."""

import asyncio

import pytest

from tests.store.samples import NOW, event, lease_of, read
from watchdog.errors import LeaseLostError
from watchdog.ports import Store


async def test_a_free_stream_is_taken_with_the_first_epoch(store: Store) -> None:
    lease = await store.acquire("watch/w1", "a", ttl_s=15.0, now=NOW)

    assert lease is not None
    assert (lease.stream, lease.owner, lease.epoch, lease.expires_at) == ("watch/w1", "a", 1, NOW + 15.0)


async def test_a_held_stream_is_refused_to_others_until_it_expires(store: Store, twin: Store) -> None:
    await lease_of(store, owner="a")

    assert await twin.acquire("watch/w1", "b", ttl_s=15.0, now=NOW + 14.9) is None
    taken = await twin.acquire("watch/w1", "b", ttl_s=15.0, now=NOW + 15.0)
    assert taken is not None
    assert taken.epoch == 2


async def test_streams_do_not_share_a_lease(store: Store) -> None:
    await lease_of(store, "watch/w1", "a")

    assert (await lease_of(store, "watch/w2", "b")).epoch == 1


async def test_acquired_again_by_its_owner_it_is_renewed_with_the_same_epoch(store: Store) -> None:
    await lease_of(store)

    again = await store.acquire("watch/w1", "a", ttl_s=15.0, now=NOW + 10)

    assert again is not None
    assert (again.epoch, again.expires_at) == (1, NOW + 25)


async def test_acquired_again_after_it_expired_the_epoch_grows_even_for_the_same_owner(store: Store) -> None:
    await lease_of(store)

    again = await store.acquire("watch/w1", "a", ttl_s=15.0, now=NOW + 15)

    assert again is not None
    assert again.epoch == 2


async def test_renewed_it_lasts_longer(store: Store, twin: Store) -> None:
    lease = await lease_of(store)

    renewed = await store.renew(lease, ttl_s=15.0, now=NOW + 10)

    assert (renewed.epoch, renewed.expires_at) == (1, NOW + 25)
    assert await twin.acquire("watch/w1", "b", ttl_s=15.0, now=NOW + 20) is None


async def test_renewing_what_another_took_over_fails(store: Store, twin: Store) -> None:
    lease = await lease_of(store)
    await lease_of(twin, owner="b", now=NOW + 20)

    with pytest.raises(LeaseLostError, match=r"a no longer holds the lease of watch/w1 \(epoch 1\)"):
        await store.renew(lease, ttl_s=15.0, now=NOW + 21)


async def test_renewing_an_expired_lease_that_nobody_took_keeps_it(store: Store) -> None:
    """A pause of our own process is no reason to give up what nobody else wanted."""
    lease = await lease_of(store)

    assert (await store.renew(lease, ttl_s=15.0, now=NOW + 60)).epoch == 1


async def test_renewing_an_older_epoch_of_our_own_fails(store: Store) -> None:
    old = await lease_of(store)
    await lease_of(store, now=NOW + 20)

    with pytest.raises(LeaseLostError):
        await store.renew(old, ttl_s=15.0, now=NOW + 21)


async def test_released_it_is_free_at_once_and_the_epoch_still_grows(store: Store, twin: Store) -> None:
    lease = await lease_of(store)
    await store.release(lease)

    assert (await lease_of(twin, owner="b")).epoch == 2
    with pytest.raises(LeaseLostError):
        await store.append(lease, [event()])


async def test_releasing_a_lost_lease_changes_nothing(store: Store, twin: Store) -> None:
    lease = await lease_of(store)
    taken = await lease_of(twin, owner="b", now=NOW + 20)

    await store.release(lease)

    await twin.append(taken, [event()])


async def test_a_stale_epoch_cannot_append_anything(store: Store, twin: Store) -> None:
    stale = await lease_of(store)
    fresh = await lease_of(twin, owner="b", now=NOW + 20)
    await twin.append(fresh, [event(1)])

    with pytest.raises(LeaseLostError):
        await store.append(stale, [event(2)])

    assert [record.epoch for record in await read(store)] == [2]


async def test_an_expired_lease_that_nobody_took_may_still_append(store: Store) -> None:
    """The fence is the epoch, not the clock: clocks differ between machines."""
    lease = await lease_of(store)

    await store.append(lease, [event(1000)])

    assert len(await read(store)) == 1


async def test_a_lease_that_was_never_given_cannot_append(store: Store) -> None:
    lease = await lease_of(store, "watch/w1")
    invented = type(lease)(stream="watch/w2", owner="a", epoch=1, expires_at=NOW + 15)

    with pytest.raises(LeaseLostError):
        await store.append(invented, [event()])


async def test_of_many_who_ask_at_once_one_gets_it(store: Store, twin: Store) -> None:
    asked = [asker.acquire("watch/w1", f"{n}", ttl_s=15.0, now=NOW) for n, asker in enumerate((store, twin) * 6)]

    given = [lease for lease in await asyncio.gather(*asked) if lease is not None]

    assert [lease.epoch for lease in given] == [1]
