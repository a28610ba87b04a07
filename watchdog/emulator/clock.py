"""The emulator's own clock: the only module in this room that reads the time of the machine.

It shares nothing with the watchdog's clock, so that an error in one can't hide in the other. Wall time is Unix seconds
(UTC) because Cloud Run and Cloud Monitoring stamp with it; spans are measured on the monotonic clock.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime

_wall: Callable[[], float] = time.time
_steady: Callable[[], float] = time.monotonic


def now() -> float:
    """Wall-clock time in Unix seconds, UTC."""
    return _wall()


def monotonic() -> float:
    """Seconds on a clock that never jumps; only differences mean anything."""
    return _steady()


def machine_now() -> float:
    """Unix seconds by the machine's own clock, for what libraries hold against it, such as a certificate's dates."""
    return time.time()


@contextmanager
def following(wall: Callable[[], float], steady: Callable[[], float]) -> Iterator[None]:
    """Meanwhile time is what these say: for a world that is played in virtual time, in one process."""
    global _wall, _steady
    before = _wall, _steady
    _wall, _steady = wall, steady
    try:
        yield
    finally:
        _wall, _steady = before


def iso(at: float) -> str:
    """`at` (Unix seconds) the way Google's JSON writes timestamps: `2026-01-31T12:00:00.123456Z`."""
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
