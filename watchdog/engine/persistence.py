"""One write to Cloud Run, tried until it is settled: asks for the lease before each try, reads again after a failure.

What is written, and whether it still may be, the attempt judges afresh each time from what it has just read.
"""

from collections.abc import Awaitable, Callable
from typing import TypeVar

import structlog

from watchdog.engine.restore import BACKOFF_S, CONFLICTS
from watchdog.errors import ConflictError, PermanentError, TemporaryError
from watchdog.ports import Clock

T = TypeVar("T")
MOST_S = 10.0
"""Longer than this nobody is waited for, whatever they ask."""

_log = structlog.get_logger(__name__)


async def persistently(
    attempt: Callable[[], Awaitable[T]],
    *,
    what: str,
    clock: Clock,
    owns: Callable[[], Awaitable[bool]],
    failed: Callable[[str], T],
) -> T | None:
    """What the attempt says, or what `failed` makes of the reason why none succeeded; None when another process owns
    the watch now and will act itself. `what` names it in the log. Lost races are judged afresh, answers that may come
    later are waited for, about a minute in all."""
    tries = conflicts = 0
    while True:
        if not await owns():
            return None
        try:
            return await attempt()
        except ConflictError as error:
            conflicts += 1
            _log.info("write_conflict", what=what, error=str(error), tries=conflicts)
            if conflicts >= CONFLICTS:
                return failed(f"lost the race for the write {conflicts} times: {error}")
        except TemporaryError as error:
            if tries >= len(BACKOFF_S):
                return failed(f"{error} (tried {tries + 1} times)")
            wait = BACKOFF_S[tries] if error.delay_s is None else min(max(error.delay_s, 0.0), MOST_S)
            _log.warning("write_retry", what=what, error=str(error), wait_s=wait)
            tries += 1
            await clock.sleep(wait)
        except PermanentError as error:
            return failed(str(error))
