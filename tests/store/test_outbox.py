"""The outbox: each message once a channel, in order within a thread, with what the channel wants remembered."""

from dataclasses import replace

from tests.store.samples import NOW, delivery, keys, put
from watchdog.ports import Receipt, Store


async def test_a_delivery_comes_back_as_it_was_written(store: Store) -> None:
    written = delivery("w1:1:decision", body={"title": "Rolled back – é", "evidence": [["error_rate", "8.2 %"]]})
    await put(store, written)

    assert list(await store.pending("slack", now=NOW)) == [written]


async def test_a_key_counts_once_a_channel(store: Store) -> None:
    await put(store, delivery("k", body={"n": 1}), delivery("k", channel="pagerduty"))
    await put(store, delivery("k", body={"n": 2}))

    assert [(d.channel, d.body) for d in await store.undelivered()] == [
        ("slack", {"n": 1}),
        ("pagerduty", {"title": "k"}),
    ]


async def test_a_delivered_key_is_not_sent_again(store: Store) -> None:
    await put(store, delivery("k"))
    await store.delivered("k", "slack", Receipt(), now=NOW)
    await put(store, delivery("k"))

    assert not await store.pending("slack", now=NOW)


async def test_each_channel_sees_its_own(store: Store) -> None:
    await put(store, delivery("a"), delivery("b", channel="pagerduty"))

    assert keys(await store.pending("slack", now=NOW)) == ["a"]
    assert keys(await store.pending("pagerduty", now=NOW)) == ["b"]
    assert not await store.pending("email", now=NOW)


async def test_only_the_oldest_of_a_thread_is_due(store: Store) -> None:
    await put(store, delivery("a1", thread="a"), delivery("a2", thread="a"), delivery("b1", thread="b"))

    assert keys(await store.pending("slack", now=NOW)) == ["a1", "b1"]
    await store.delivered("a1", "slack", Receipt(), now=NOW)
    assert keys(await store.pending("slack", now=NOW)) == ["a2", "b1"]


async def test_oldest_means_written_first_whatever_its_clock_said(store: Store) -> None:
    await put(store, delivery("a1", thread="a", created_at=NOW - 1), delivery("a2", thread="a", created_at=NOW - 9))

    assert keys(await store.pending("slack", now=NOW)) == ["a1"]


async def test_a_deferred_message_holds_up_its_thread_and_no_other(store: Store) -> None:
    await put(store, delivery("a1", thread="a"), delivery("a2", thread="a"), delivery("b1", thread="b"))

    await store.deferred("a1", "slack", until=NOW + 30, error="503")

    assert keys(await store.pending("slack", now=NOW + 29.9)) == ["b1"]
    due = await store.pending("slack", now=NOW + 30)
    assert keys(due) == ["a1", "b1"]
    assert [d.attempts for d in due] == [1, 0]


async def test_a_dead_letter_frees_its_thread(store: Store) -> None:
    await put(store, delivery("a1"), delivery("a2"))

    await store.dead("a1", "slack", error="400", now=NOW)

    assert keys(await store.pending("slack", now=NOW)) == ["a2"]
    assert keys(await store.undelivered()) == ["a2"]


async def test_what_the_channel_remembers_comes_back_with_later_messages_of_the_thread(store: Store) -> None:
    await put(store, delivery("a1"), delivery("a2"), delivery("b1", thread="b"), delivery("p1", channel="pagerduty"))

    await store.delivered("a1", "slack", Receipt(provider_id="m1", remember={"ts": "1.1", "channel": "C1"}), now=NOW)

    due = {d.key: d.remembered for d in await store.pending("slack", now=NOW)}
    assert due == {"a2": {"ts": "1.1", "channel": "C1"}, "b1": {}}
    assert [d.remembered for d in await store.pending("pagerduty", now=NOW)] == [{}]


async def test_remembered_values_are_added_to_and_replaced_one_by_one(store: Store) -> None:
    await put(store, delivery("a1"), delivery("a2"), delivery("a3"))
    await store.delivered("a1", "slack", Receipt(remember={"ts": "1", "channel": "C"}), now=NOW)

    await store.delivered("a2", "slack", Receipt(remember={"ts": "2"}), now=NOW)

    (last,) = await store.pending("slack", now=NOW)
    assert last.remembered == {"ts": "2", "channel": "C"}


async def test_undelivered_is_of_one_thread_or_of_all(store: Store) -> None:
    await put(store, delivery("a1", thread="a"), delivery("a2", thread="a"), delivery("b1", thread="b"))
    await store.delivered("a1", "slack", Receipt(remember={"ts": "1"}), now=NOW)
    await store.deferred("a2", "slack", until=NOW + 99, error="503")

    assert keys(await store.undelivered()) == ["a2", "b1"]
    (mine,) = await store.undelivered(thread="a")
    assert mine == replace(delivery("a2", thread="a"), remembered={"ts": "1"}, attempts=1)


async def test_no_more_than_the_limit_and_the_oldest_first(store: Store) -> None:
    await put(store, *(delivery(f"k{n}", thread=f"t{n}") for n in range(5)))

    assert keys(await store.pending("slack", now=NOW, limit=3)) == ["k0", "k1", "k2"]


async def test_a_settled_message_stays_settled(store: Store) -> None:
    """A second worker that comes late (after a lease changed hands) brings nothing back to life."""
    await put(store, delivery("a"), delivery("b", thread="b"))
    await store.delivered("a", "slack", Receipt(), now=NOW)
    await store.dead("b", "slack", error="400", now=NOW)

    await store.deferred("a", "slack", until=NOW, error="x")
    await store.dead("a", "slack", error="x", now=NOW)
    await store.deferred("b", "slack", until=NOW, error="x")
    await store.delivered("b", "slack", Receipt(provider_id="m", remember={"ts": "1"}), now=NOW)

    assert not await store.undelivered()


async def test_what_a_provider_says_cannot_break_the_store(store: Store) -> None:
    """Error texts come from outside: zero bytes, half characters and megabytes included."""
    await put(store, delivery("a"))

    await store.deferred("a", "slack", until=NOW, error="\x00\ud800" + "x" * 10**6)

    assert keys(await store.pending("slack", now=NOW)) == ["a"]


async def test_settling_an_unknown_message_is_no_error(store: Store) -> None:
    """It was pruned in the meantime."""
    await store.delivered("none", "slack", Receipt(remember={"ts": "1"}), now=NOW)
    await store.deferred("none", "slack", until=NOW, error="x")
    await store.dead("none", "slack", error="x", now=NOW)


async def test_what_waits_for_its_next_try_is_due_when_its_channel_works_again(store: Store) -> None:
    await put(store, delivery("a", thread="a"), delivery("b", thread="b"), delivery("c", channel="email", thread="c"))
    for key, channel in (("a", "slack"), ("c", "email")):
        await store.deferred(key, channel, until=NOW + 60, error="503")
    assert keys(await store.pending("slack", now=NOW + 1)) == ["b"]
    await store.hasten("slack", now=NOW + 1)
    assert keys(await store.pending("slack", now=NOW + 1)) == ["a", "b"]
    assert keys(await store.pending("email", now=NOW + 1)) == []


async def test_what_was_sent_without_the_store_is_written_as_delivered(store: Store) -> None:
    receipt = Receipt(provider_id="C1/1.0", remember={"ts": "1.0"})
    await put(store, replace(delivery("a"), sent=receipt), delivery("b"))
    (left,) = await store.undelivered()
    assert (left.key, left.remembered) == ("b", {"ts": "1.0"})
