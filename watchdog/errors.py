"""The error tree: what adapters may raise, and what each one asks of the caller.

::

    WatchdogError                   anything we raise on purpose
    ├── ConfigError                 a person must mend a file, a flag or the environment      (exit code 2)
    ├── TemporaryError              try again after `delay_s`: 429, 5xx, connection lost
    │   ├── ConflictError           somebody else wrote in between (409): read again, ask who moved
    │   └── StoreUnavailableError   the store did not answer
    ├── PermanentError              trying again cannot help: 400, 401, 403, 404
    └── LeaseLostError              another process owns this stream now; we are powerless

Adapters raise only these. `asyncio.CancelledError` always passes through.
"""

from collections.abc import Sequence


class WatchdogError(Exception):
    """Anything that Watchdog raises on purpose. The text is one sentence for a person."""


class ConfigError(WatchdogError):
    """A file, flag or environment variable that a person has to mend.

    `problems` holds every mistake found, each a full sentence with its place, so all are shown at once.
    """

    def __init__(self, *problems: str) -> None:
        super().__init__("\n".join(problems))
        self.problems: Sequence[str] = problems


class TemporaryError(WatchdogError):
    """The same call may succeed later; `delay_s` is the other side's wish (Retry-After) or None."""

    def __init__(self, message: str, *, delay_s: float | None = None) -> None:
        super().__init__(message)
        self.delay_s = delay_s


class ConflictError(TemporaryError):
    """A compare-and-swap lost (HTTP 409): read again before anything else."""


class StoreUnavailableError(TemporaryError):
    """The store did not answer in time."""


class PermanentError(WatchdogError):
    """The same call will fail again; `status` is the HTTP status where there was one."""

    def __init__(self, message: str, *, status: int | None = None) -> None:
        super().__init__(message)
        self.status = status


class LeaseLostError(WatchdogError):
    """Another process holds this stream's lease, so this one may neither write nor act."""
