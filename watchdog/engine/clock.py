"""The machine's clock behind the port, and waiting that follows whatever clock is given.

The only module that may read the time or sleep; everything else asks `ports.Clock`, so tests and replays can jump.
"""

import asyncio
import time

from watchdog.ports import Clock


class SystemClock:
    """`ports.Clock` on this machine."""

    def now(self) -> float:
        """Unix seconds, UTC."""
        return time.time()

    def monotonic(self) -> float:
        """Seconds that never go back."""
        return time.monotonic()

    async def sleep(self, delay_s: float) -> None:
        """Wait at least `delay_s` seconds (0 or less: yield once)."""
        await asyncio.sleep(max(0.0, delay_s))


async def wait_for_event(event: asyncio.Event, clock: Clock, timeout_s: float) -> bool:
    """Wait until the event is set, `timeout_s` of the clock's seconds at most; whether it is set."""
    if event.is_set():
        return True
    woken = asyncio.ensure_future(event.wait())
    slept = asyncio.ensure_future(clock.sleep(timeout_s))
    try:
        await asyncio.wait((woken, slept), return_when=asyncio.FIRST_COMPLETED)
        if slept.done():
            slept.result()  # a clock that fails must not look like a clock that is fast
    finally:
        for task in (woken, slept):
            task.cancel()
        await asyncio.gather(woken, slept, return_exceptions=True)
    return event.is_set()
