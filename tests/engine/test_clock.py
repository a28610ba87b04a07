"""Waiting follows the clock that is given, and ends with the event."""

import asyncio

import pytest

from watchdog.engine.clock import SystemClock, wait_for_event
from watchdog.ports import Clock


class BrokenClock(SystemClock):
    async def sleep(self, delay_s: float) -> None:
        raise RuntimeError("no time left")


async def test_the_system_clock_tells_unix_seconds_and_never_goes_back() -> None:
    clock: Clock = SystemClock()

    assert clock.now() > 1_700_000_000
    before = clock.monotonic()
    await clock.sleep(0.01)
    assert clock.monotonic() - before >= 0.01
    await clock.sleep(-1.0)


async def test_an_event_ends_the_wait() -> None:
    event = asyncio.Event()
    asyncio.get_running_loop().call_soon(event.set)

    assert await wait_for_event(event, SystemClock(), 60.0)


async def test_an_event_that_is_set_already_is_not_waited_for() -> None:
    event = asyncio.Event()
    event.set()

    assert await wait_for_event(event, BrokenClock(), 60.0)


async def test_the_clock_ends_the_wait() -> None:
    assert not await wait_for_event(asyncio.Event(), SystemClock(), 0.01)


async def test_a_clock_that_fails_is_not_taken_for_one_that_is_fast() -> None:
    with pytest.raises(RuntimeError, match="no time left"):
        await wait_for_event(asyncio.Event(), BrokenClock(), 1.0)


async def test_a_cancelled_wait_leaves_no_task_behind() -> None:
    task = asyncio.create_task(wait_for_event(asyncio.Event(), SystemClock(), 60.0))
    await asyncio.sleep(0)
    task.cancel()

    with pytest.raises(asyncio.CancelledError):
        await task
