"""The outbox's promises, in virtual time: at least once, in order within a thread, no channel behind another."""

import asyncio
import itertools
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import pytest
from structlog.testing import capture_logs

from watchdog.engine.outbox import Outbox, OutboxHooks, OutboxSettings
from watchdog.errors import PermanentError, StoreUnavailableError, TemporaryError
from watchdog.ports import Delivery, Lease, Receipt
from watchdog.store import MemoryStore

pytestmark = pytest.mark.looptime

START = 1_790_000_000.0
HOUR = 3600.0
PATIENT = OutboxSettings(poll_s=600.0, lease_ttl_s=2 * HOUR, measure_every_s=HOUR)
"""For tests that take a day: retries are due to the second all the same."""
Answer = BaseException | float | Receipt | Callable[[Delivery], Awaitable[Receipt]]


class LoopClock:
    """The event loop's time, which jumps to the next timer when nothing else is to be done."""

    def now(self) -> float:
        return START + self.monotonic()

    def monotonic(self) -> float:
        return asyncio.get_running_loop().time()

    async def sleep(self, delay_s: float) -> None:
        await asyncio.sleep(max(0.0, delay_s))


class Collector:
    """A channel that answers by script: per key a list of faults to raise, seconds to take, or receipts to give."""

    def __init__(self, channel: str = "slack", script: Mapping[str, Sequence[Answer]] | None = None) -> None:
        self.name = channel
        self.script = {key: list(answers) for key, answers in (script or {}).items()}
        self.attempts: list[tuple[float, str]] = []
        self.arrived: list[str] = []
        self.seen: dict[str, Delivery] = {}

    @property
    def channel(self) -> str:
        return self.name

    async def deliver(self, delivery: Delivery) -> Receipt:
        self.attempts.append((asyncio.get_running_loop().time(), delivery.key))
        self.seen[delivery.key] = delivery
        answers = self.script.get(delivery.key, [])
        answer = answers.pop(0) if answers else Receipt(provider_id=f"id-{delivery.key}")
        if isinstance(answer, BaseException):
            raise answer
        if isinstance(answer, float):
            await asyncio.sleep(answer)
            answer = Receipt()
        elif not isinstance(answer, Receipt):
            answer = await answer(delivery)
        self.arrived.append(delivery.key)
        return answer

    def times(self, key: str) -> list[float]:
        return [at for at, tried in self.attempts if tried == key]


class FlakyStore(MemoryStore):
    """Memory with a fuse: while it is blown, no call is answered."""

    def __init__(self) -> None:
        super().__init__()
        self.blown = False

    def _check(self) -> None:
        if self.blown:
            raise StoreUnavailableError("The store did not answer.")

    async def acquire(self, stream: str, owner: str, *, ttl_s: float, now: float) -> Lease | None:
        self._check()
        return await super().acquire(stream, owner, ttl_s=ttl_s, now=now)

    async def pending(self, channel: str, *, now: float, limit: int = 50) -> Sequence[Delivery]:
        self._check()
        return await super().pending(channel, now=now, limit=limit)

    async def delivered(self, key: str, channel: str, receipt: Receipt, *, now: float) -> None:
        self._check()
        await super().delivered(key, channel, receipt, now=now)

    async def undelivered(self, *, thread: str | None = None) -> Sequence[Delivery]:
        self._check()
        return await super().undelivered(thread=thread)


def message(key: str, *, channel: str = "slack", thread: str = "w1", **changes: Any) -> Delivery:
    values: dict[str, Any] = {"kind": "decision", "created_at": START, "body": {"title": key, "incident": None}}
    return Delivery(key=key, channel=channel, thread=thread, **{**values, **changes})


def resolve(key: str, **changes: Any) -> Delivery:
    return message(key, body={"title": key, "incident": {"action": "resolve", "dedup_key": "d"}}, **changes)


async def put(store: MemoryStore, *deliveries: Delivery) -> None:
    lease = await store.acquire("watch/w1", "test", ttl_s=15.0, now=START)
    assert lease is not None
    await store.append(lease, [], deliveries=deliveries)


def outbox_of(store: MemoryStore, *collectors: Collector, owner: str = "a", **changes: Any) -> Outbox:
    values: dict[str, Any] = {"owner": owner, "jitter": lambda: 0.0}
    return Outbox(store, collectors, LoopClock(), **{**values, **changes})


@asynccontextmanager
async def running(outbox: Outbox) -> AsyncIterator[asyncio.Task[None]]:
    task = asyncio.create_task(outbox.run(), name="outbox")
    yield task
    await stop(task)


async def stop(task: asyncio.Task[None]) -> None:
    task.cancel()
    await asyncio.wait([task])


# --- delivering ---


async def test_what_was_pending_before_the_start_is_delivered_at_once() -> None:
    store, slack = MemoryStore(), Collector()
    await put(store, message("a"), message("b"))
    outbox = outbox_of(store, slack)

    async with running(outbox):
        assert await outbox.drain("w1", 30.0) == []

    assert slack.arrived == ["a", "b"]
    assert slack.times("b") == [0.0]


async def test_a_wake_up_delivers_now_and_without_one_a_poll_does_within_a_second() -> None:
    store, slack = MemoryStore(), Collector()
    outbox = outbox_of(store, slack)

    async with running(outbox):
        await asyncio.sleep(10.25)
        await put(store, message("a"))
        outbox.wake()
        await asyncio.sleep(5.0)
        await put(store, message("b"))
        await asyncio.sleep(5.0)

    assert slack.times("a") == [10.25]
    assert slack.times("b") == [pytest.approx(15.25, abs=1.0)]


async def test_messages_of_a_thread_arrive_in_order_and_carry_what_the_channel_remembered() -> None:
    """Slack's root message is known to every message after it, whatever came in between."""
    slack = Collector(script={"a": [TemporaryError("503"), Receipt(remember={"ts": "1.1"})]})
    store = MemoryStore()
    await put(store, message("a"), message("b"), message("c"))
    outbox = outbox_of(store, slack)

    async with running(outbox):
        assert await outbox.drain("w1", 30.0) == []

    assert slack.arrived == ["a", "b", "c"]
    assert slack.seen["c"].remembered == {"ts": "1.1"}


async def test_a_delivered_message_is_not_sent_again_after_a_restart() -> None:
    store, slack = MemoryStore(), Collector()
    await put(store, message("a"))
    for _ in range(2):
        async with running(outbox_of(store, slack)):
            await asyncio.sleep(3.0)

    assert slack.arrived == ["a"]


async def test_a_message_that_a_killed_process_had_not_recorded_is_sent_again() -> None:
    """At least once: the next process takes over when the dead one's lease has run out."""
    store = MemoryStore()
    await put(store, message("a"))
    await store.acquire("outbox/slack", "dead", ttl_s=15.0, now=START)
    slack = Collector()

    async with running(outbox_of(store, slack, owner="next")):
        await asyncio.sleep(30.0)

    assert slack.arrived == ["a"]
    assert 15.0 <= slack.times("a")[0] <= 21.0


async def test_two_processes_on_one_store_send_once_and_the_second_takes_over_from_the_first() -> None:
    """A foreground watch beside a daemon does not page twice."""
    store, first, second = MemoryStore(), Collector(), Collector()
    a, b = outbox_of(store, first, owner="a"), outbox_of(store, second, owner="b")
    task = asyncio.create_task(a.run(), name="outbox a")
    await asyncio.sleep(0.1)

    async with running(b):
        await put(store, message("a"), message("b"))
        assert await b.drain("w1", 30.0) == []
        await stop(task)
        await put(store, message("c"))
        await asyncio.sleep(6.0)

    assert (first.arrived, second.arrived) == (["a", "b"], ["c"])


# --- slow, dead and broken channels ---


async def test_a_slow_channel_delays_no_other() -> None:
    slack, pagerduty = Collector("slack", {"a": [9.0], "b": [9.0]}), Collector("pagerduty")
    store = MemoryStore()
    for key in ("a", "b"):
        await put(store, message(key), message(key, channel="pagerduty"))
    outbox = outbox_of(store, slack, pagerduty)

    async with running(outbox):
        assert await outbox.drain("w1", 30.0) == []

    assert pagerduty.times("b") == [0.0]
    assert slack.times("b") == [9.0]


async def test_a_message_that_hangs_delays_no_other_watch_on_its_channel() -> None:
    slack = Collector(script={"a": [99.0]})
    store = MemoryStore()
    await put(store, message("a", thread="w1"), message("b", thread="w2"))
    outbox = outbox_of(store, slack)

    async with running(outbox):
        assert await outbox.drain("w2", 30.0) == []

    assert slack.times("b") == [0.0]


async def test_an_attempt_ends_after_ten_seconds_and_is_repeated() -> None:
    slack = Collector(script={"a": [99.0]})
    store = MemoryStore()
    await put(store, message("a"))
    outbox = outbox_of(store, slack)

    async with running(outbox):
        assert await outbox.drain("w1", 30.0) == []

    assert slack.times("a") == [0.0, 10.5]


async def test_retries_back_off_up_to_a_minute_with_jitter() -> None:
    slack = Collector(script={"a": [TemporaryError("503")] * 9})
    store = MemoryStore()
    await put(store, message("a"))
    outbox = outbox_of(store, slack, jitter=lambda: 0.5)

    async with running(outbox):
        assert await outbox.drain("w1", 600.0) == []

    times = slack.times("a")
    gaps = [later - earlier for earlier, later in itertools.pairwise(times)]
    assert gaps == pytest.approx([0.75, 1.5, 3.0, 6.0, 12.0, 24.0, 45.0, 45.0, 45.0], abs=0.01)


async def test_the_wish_of_the_provider_is_honoured_up_to_an_hour() -> None:
    faults = [TemporaryError("429", delay_s=120.0), TemporaryError("429", delay_s=9 * HOUR)]
    slack = Collector(script={"a": faults})
    store = MemoryStore()
    await put(store, message("a"))
    outbox = outbox_of(store, slack, settings=PATIENT)

    async with running(outbox):
        await asyncio.sleep(2 * HOUR)

    assert slack.times("a") == pytest.approx([0.0, 120.0, 120.0 + HOUR], abs=0.01)


async def test_attempts_made_before_a_restart_count() -> None:
    store = MemoryStore()
    await put(store, message("a"))
    for _ in range(5):
        await store.deferred("a", "slack", until=START, error="503")
    slack = Collector(script={"a": [TemporaryError("503")]})
    outbox = outbox_of(store, slack)

    async with running(outbox):
        assert await outbox.drain("w1", 60.0) == []

    assert slack.times("a") == pytest.approx([0.0, 16.0], abs=0.01)


async def test_a_bug_in_a_notifier_costs_a_retry_and_no_other_message() -> None:
    slack = Collector(script={"a": [KeyError("ts")]})
    store = MemoryStore()
    await put(store, message("a"), message("b", thread="w2"))
    outbox = outbox_of(store, slack)

    with capture_logs() as logs:
        async with running(outbox):
            assert await outbox.drain("w1", 30.0) == []

    assert sorted(slack.arrived) == ["a", "b"]
    assert [log["event"] for log in logs if log["log_level"] == "error"] == ["notifier_crashed"]


async def test_trouble_is_logged_when_it_begins_when_it_changes_and_when_it_ends() -> None:
    slack = Collector(script={"a": [*[TemporaryError("503")] * 5, *[TemporaryError("429")] * 3]})
    store = MemoryStore()
    await put(store, message("a"))
    outbox = outbox_of(store, slack)

    with capture_logs() as logs:
        async with running(outbox):
            assert await outbox.drain("w1", 600.0) == []

    said = [(log["event"], log.get("error")) for log in logs]
    assert said == [("channel_failing", "503"), ("channel_failing", "429"), ("channel_recovered", None)]


# --- dead letters ---


async def test_a_permanent_refusal_is_a_dead_letter_at_once_and_the_thread_goes_on() -> None:
    slack = Collector(script={"a": [PermanentError("400: invalid_blocks", status=400)]})
    store = MemoryStore()
    await put(store, message("a"), message("b"))
    buried: list[tuple[str, str]] = []
    counted: list[tuple[str, str, str]] = []
    hooks = OutboxHooks(
        buried=lambda delivery, error: buried.append((delivery.key, error)),
        counted=lambda *labels: counted.append(labels),
    )
    outbox = outbox_of(store, slack, hooks=hooks)

    with capture_logs() as logs:
        async with running(outbox):
            left = await outbox.drain("w1", 30.0)

    assert [delivery.key for delivery in left] == ["a"]
    assert slack.arrived == ["b"]
    assert buried == [("a", "400: invalid_blocks")]
    assert counted == [("slack", "decision", "dead"), ("slack", "decision", "delivered")]
    assert [log["event"] for log in logs if log["log_level"] == "error"] == ["notification_dead"]


async def test_a_message_is_tried_for_a_day_and_then_a_dead_letter() -> None:
    slack = Collector(script={"a": [TemporaryError("503")] * 10_000})
    store = MemoryStore()
    await put(store, message("a"))
    buried: list[str] = []
    outbox = outbox_of(
        store, slack, settings=PATIENT, hooks=OutboxHooks(buried=lambda _delivery, error: buried.append(error))
    )

    async with running(outbox):
        await asyncio.sleep(25 * HOUR)

    assert 24 * HOUR - 60.0 <= slack.times("a")[-1] < 24 * HOUR
    assert buried == ["not delivered within 24 h: 503"]
    assert not await store.undelivered()


async def test_news_of_yesterday_is_not_sent_after_a_long_downtime() -> None:
    store, slack = MemoryStore(), Collector()
    await put(store, message("a", created_at=START - 25 * HOUR), message("b", created_at=START - 23 * HOUR))
    outbox = outbox_of(store, slack)

    async with running(outbox):
        left = await outbox.drain("w1", 30.0)

    assert [delivery.key for delivery in left] == ["a"]
    assert slack.arrived == ["b"]


async def test_a_resolve_is_sent_however_old_it_is() -> None:
    """Its incident may be open since then: the trigger went out before the downtime."""
    store, slack = MemoryStore(), Collector()
    await put(store, resolve("a", created_at=START - 48 * HOUR))
    outbox = outbox_of(store, slack)

    async with running(outbox):
        assert await outbox.drain("w1", 30.0) == []

    assert slack.arrived == ["a"]


async def test_a_resolve_does_not_expire_before_the_trigger_that_it_follows() -> None:
    """The trigger is given up after its day; the resolve behind it still gets its attempts."""
    slack = Collector(script={"trigger": [TemporaryError("503")] * 10_000})
    store = MemoryStore()
    await put(store, message("trigger"), resolve("resolve", created_at=START + 1.0))
    outbox = outbox_of(store, slack, settings=PATIENT)

    async with running(outbox):
        await asyncio.sleep(25 * HOUR)

    assert slack.arrived == ["resolve"]
    assert slack.times("resolve")[0] >= slack.times("trigger")[-1]


async def test_an_old_resolve_that_fails_is_given_up_too() -> None:
    slack = Collector(script={"a": [TemporaryError("503")] * 9})
    store = MemoryStore()
    await put(store, resolve("a", created_at=START - 48 * HOUR))
    outbox = outbox_of(store, slack)

    async with running(outbox):
        left = await outbox.drain("w1", 30.0)

    assert [delivery.key for delivery in left] == ["a"]
    assert slack.times("a") == [0.0]


class StaleStore(MemoryStore):
    """Answers slowly, with what was pending when it was asked."""

    async def pending(self, channel: str, *, now: float, limit: int = 50) -> Sequence[Delivery]:
        found = await super().pending(channel, now=now, limit=limit)
        await asyncio.sleep(0.5)
        return found


async def test_what_arrives_while_the_store_answers_is_not_sent_again() -> None:
    store, slack = StaleStore(), Collector()
    keys = [f"{thread}{n}" for thread in "abc" for n in range(4)]
    slack.script = {key: [0.3] for key in keys}
    await put(store, *(message(key, thread=key[0]) for key in keys))
    async with running(outbox_of(store, slack)) as task:
        del task
        await asyncio.sleep(60.0)
    assert sorted(slack.arrived) == sorted(keys)


async def test_when_a_channel_works_again_nothing_waits_out_what_it_was_given_meanwhile() -> None:
    store, slack = MemoryStore(), Collector()
    for thread in "abcdefgh":
        slack.script[f"{thread}1"] = [TemporaryError("503")] * (6 if thread == "a" else 4 + ord(thread) % 2)
    await put(store, *(message(f"{thread}1", thread=thread) for thread in "abcdefgh"))
    outbox = outbox_of(store, slack, settings=OutboxSettings(concurrency=8))
    async with running(outbox):
        await asyncio.sleep(200.0)
    last = {thread: slack.times(f"{thread}1")[-1] for thread in "bcdefgh"}
    assert max(last.values()) - min(last.values()) <= 8.0
    assert len(slack.arrived) == 8


async def test_a_provider_that_asks_for_patience_gets_it() -> None:
    store, slack = MemoryStore(), Collector(script={"b": [TemporaryError("429", delay_s=50.0)]})
    slack.script["a"] = [TemporaryError("429", delay_s=5.0)]
    await put(store, message("a", thread="a"), message("b", thread="b"))
    async with running(outbox_of(store, slack)):
        await asyncio.sleep(100.0)
    assert slack.times("b")[-1] >= 50.0


# --- without the store ---


async def test_a_message_that_arrived_while_the_store_is_gone_is_recorded_later_and_not_sent_twice() -> None:
    store = FlakyStore()
    await put(store, message("a"), message("b"))

    async def blow(_delivery: Delivery) -> Receipt:
        store.blown = True
        return Receipt(remember={"ts": "1"})

    slack = Collector(script={"a": [blow]})
    outbox = outbox_of(store, slack)

    with capture_logs() as logs:
        async with running(outbox):
            await asyncio.sleep(60.0)
            assert slack.arrived == ["a"]
            store.blown = False
            assert await outbox.drain("w1", 30.0) == []

    assert slack.arrived == ["a", "b"]
    assert slack.seen["b"].remembered == {"ts": "1"}
    assert [log["event"] for log in logs] == ["outbox_without_store", "outbox_store_back"]


async def test_a_store_that_is_gone_at_the_start_is_waited_for() -> None:
    store, slack = FlakyStore(), Collector()
    await put(store, message("a"))
    store.blown = True
    outbox = outbox_of(store, slack)

    async with running(outbox):
        with pytest.raises(StoreUnavailableError):
            await outbox.drain("w1", 5.0)
        store.blown = False
        assert await outbox.drain("w1", 5.0) == []


# --- draining and stopping ---


async def test_draining_waits_as_long_as_asked_and_names_what_did_not_arrive() -> None:
    slack = Collector(script={"a": [TemporaryError("503")] * 999})
    store = MemoryStore()
    await put(store, message("a"), message("b"), message("c", thread="w2"))
    outbox = outbox_of(store, slack)

    async with running(outbox):
        left = await outbox.drain("w1", 30.0)
        waited_s = asyncio.get_running_loop().time()

    assert [delivery.key for delivery in left] == ["a", "b"]
    assert waited_s == pytest.approx(30.0, abs=0.01)


async def test_draining_an_empty_thread_takes_no_time() -> None:
    outbox = outbox_of(MemoryStore(), Collector())

    async with running(outbox):
        assert await outbox.drain("w1", 30.0) == []

    assert asyncio.get_running_loop().time() == 0.0


async def test_a_message_on_its_way_at_shutdown_may_arrive_and_is_recorded() -> None:
    store, slack = MemoryStore(), Collector(script={"a": [1.2]})
    await put(store, message("a"))
    task = asyncio.create_task(outbox_of(store, slack).run())
    await asyncio.sleep(0.1)

    await stop(task)

    assert asyncio.get_running_loop().time() == pytest.approx(1.2)
    assert not await store.undelivered()


async def test_shutdown_is_bounded_whatever_the_channels_do() -> None:
    """One hangs, one even ignores that it was cancelled."""
    released = asyncio.Event()

    async def stubborn(_delivery: Delivery) -> Receipt:
        while not released.is_set():
            try:
                await released.wait()
            except asyncio.CancelledError:
                continue
        return Receipt()

    store = MemoryStore()
    slack, pagerduty = Collector("slack", {"a": [stubborn]}), Collector("pagerduty", {"b": [9.0]})
    await put(store, message("a"), message("b", channel="pagerduty"))
    task = asyncio.create_task(outbox_of(store, slack, pagerduty).run())
    await asyncio.sleep(0.5)

    await stop(task)

    assert asyncio.get_running_loop().time() <= 0.5 + 1.5 + 1.0
    assert {delivery.key for delivery in await store.undelivered()} == {"a", "b"}
    released.set()
    await asyncio.sleep(0)


async def test_a_stopped_outbox_gives_its_channels_to_the_next_at_once() -> None:
    store = MemoryStore()
    async with running(outbox_of(store, Collector(), owner="a")):
        await asyncio.sleep(1.0)

    assert await store.acquire("outbox/slack", "b", ttl_s=15.0, now=START + 1.0) is not None


# --- what others see ---


async def test_the_age_of_the_oldest_message_is_told_per_channel() -> None:
    slack = Collector(script={"a": [TemporaryError("503")] * 999})
    store = MemoryStore()
    await put(store, message("a"))
    ages: dict[str, float] = {}
    hooks = OutboxHooks(oldest_pending=ages.__setitem__)

    async with running(outbox_of(store, slack, Collector("pagerduty"), hooks=hooks)):
        await asyncio.sleep(61.0)

    assert ages == {"slack": 60.0, "pagerduty": 0.0}


@pytest.mark.parametrize("seed", range(3))
async def test_whatever_fails_and_however_long_it_takes_each_thread_arrives_once_and_in_order(seed: int) -> None:
    """Without a crash and with a store that answers, at least once is exactly once."""
    dice = random.Random(seed)

    def trouble() -> list[Answer]:
        made: list[Answer] = [TemporaryError("503"), TemporaryError("429", delay_s=7.0), KeyError("x"), 30.0]
        return [*dice.choices(made, k=dice.randrange(3)), dice.random() * 5]

    store = MemoryStore()
    keys = [(f"w{n % 7}", f"w{n % 7}:{n:03}") for n in range(60)]
    slack = Collector(script={key: trouble() for _, key in keys})
    outbox = outbox_of(store, slack, jitter=dice.random, settings=OutboxSettings(concurrency=3))

    async with running(outbox):
        for thread, key in keys:
            await put(store, message(key, thread=thread))
            await asyncio.sleep(dice.random() * 2)
            if dice.random() < 0.5:
                outbox.wake()
        for thread in {thread for thread, _ in keys}:
            assert await outbox.drain(thread, HOUR) == []

    assert sorted(slack.arrived) == sorted(key for _, key in keys)
    for thread in {thread for thread, _ in keys}:
        mine = [key for key in slack.arrived if key.startswith(f"{thread}:")]
        assert mine == sorted(mine)


# --- without the store ---


async def late(store: MemoryStore, outbox: Outbox, *deliveries: Delivery) -> None:
    """The store is back: append as a journalist does."""
    told = [replace(d, sent=outbox.receipt(d)) for d in deliveries]
    await put(store, *told)
    outbox.stored(told)
    outbox.wake()


async def test_a_page_goes_out_while_the_store_is_away_and_is_recorded_when_it_is_back() -> None:
    store, slack = FlakyStore(), Collector(script={"a": [TemporaryError("503")]})
    slack.script["b"] = [Receipt(provider_id="b", remember={"ts": "1.0"})]
    outbox = outbox_of(store, slack)
    async with running(outbox):
        await asyncio.sleep(3.0)
        store.blown = True
        outbox.offer([message("a"), message("b"), message("c")])
        outbox.strand([message("a"), message("b"), message("c")])
        await asyncio.sleep(30.0)
        assert slack.arrived == ["a", "b", "c"], "in order, each tried until it arrives"
        assert slack.seen["c"].remembered == {"ts": "1.0"}
        store.blown = False
        await late(store, outbox, message("a"), message("b"), message("c"))
        await put(store, message("d"))
        outbox.wake()
        await asyncio.sleep(30.0)
    assert slack.arrived == ["a", "b", "c", "d"], "nothing twice"
    assert slack.seen["d"].remembered == {"ts": "1.0"}
    assert await store.undelivered() == []


async def test_a_page_goes_out_when_the_store_can_be_read_and_not_written() -> None:
    store, slack = MemoryStore(), Collector()
    outbox = outbox_of(store, slack)
    async with running(outbox):
        outbox.offer([message("a")])
        await asyncio.sleep(5.0)
        assert slack.arrived == [], "it is on its way into the store"
        outbox.strand([message("a")])
        await asyncio.sleep(2.0)
        assert slack.arrived == ["a"]
        await late(store, outbox, message("a"))
        await asyncio.sleep(5.0)
    assert slack.arrived == ["a"]


async def test_a_store_that_is_lost_after_the_message_was_sent_does_not_hold_up_the_next_one() -> None:
    store, slack = FlakyStore(), Collector()
    slack.script["a"] = [1.0]
    outbox = outbox_of(store, slack)
    async with running(outbox):
        outbox.offer([message("a")])
        await put(store, message("a"))
        outbox.stored([message("a")])
        outbox.wake()
        await asyncio.sleep(0.5)
        store.blown = True
        outbox.offer([message("b")])
        outbox.strand([message("b")])
        await asyncio.sleep(5.0)
        assert slack.arrived == ["a", "b"]
        store.blown = False
        await late(store, outbox, message("b"))
        await asyncio.sleep(5.0)
        assert await store.undelivered() == []
    assert slack.arrived == ["a", "b"]


async def test_where_another_process_carries_the_channel_it_is_given_time_to() -> None:
    store, first, second = FlakyStore(), Collector(), Collector()
    async with running(outbox_of(store, first)):
        await asyncio.sleep(1.0)
        standby = outbox_of(store, second, owner="b")
        async with running(standby):
            await asyncio.sleep(1.0)
            standby.offer([message("a")])
            await put(store, message("a"))
            standby.stored([message("a")])
            await asyncio.sleep(5.0)
            assert first.arrived == ["a"]
            store.blown = True
            await asyncio.sleep(8.0)
            assert second.arrived == []
            await asyncio.sleep(12.0)
            assert second.arrived == ["a"], "the store is away for long, and who knows whether the other had it"


async def test_what_another_process_sent_meanwhile_is_not_sent_again_when_the_store_is_back() -> None:
    """Else a trigger that comes after its own resolve would open a second incident."""
    store, first, second = FlakyStore(), Collector(), Collector()
    async with running(outbox_of(store, first)):
        await asyncio.sleep(1.0)
        standby = outbox_of(store, second, owner="b")
        async with running(standby):
            await asyncio.sleep(1.1)
            both = [message("a"), resolve("b")]
            standby.offer(both)
            await put(store, *both)
            standby.stored(both)
            store.blown = True
            await asyncio.sleep(20.0)
            assert (first.arrived, second.arrived) == ([], ["a", "b"])
            store.blown = False
            await asyncio.sleep(20.0)
            await put(store, message("c"))
            await asyncio.sleep(5.0)
    assert (first.arrived, second.arrived) == (["c"], ["a", "b"])


async def test_what_is_not_ours_any_more_is_not_sent() -> None:
    store, slack = FlakyStore(), Collector()
    outbox = outbox_of(store, slack)
    store.blown = True
    outbox.offer([message("a")])
    outbox.forget([message("a")])
    async with running(outbox):
        await asyncio.sleep(5.0)
    assert slack.attempts == []
