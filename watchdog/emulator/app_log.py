"""What the containers of the emulated world write into their logs: the errors of the workload, and what a script says.

A request that a fault answers with a server error is logged as an application does it: a structured entry with a
message and the stack trace of whatever raised, in `app/` of the container.
"""

from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import count
from typing import Literal

from watchdog.emulator import clock

KEEP: int = 20_000
Severity = Literal["DEFAULT", "DEBUG", "INFO", "NOTICE", "WARNING", "ERROR", "CRITICAL", "ALERT", "EMERGENCY"]

TRACE = """Traceback (most recent call last):
  File "/usr/local/lib/python3.11/site-packages/starlette/routing.py", line 715, in __call__
    await self.middleware_stack(scope, receive, send)
  File "/srv/app/{module}.py", line {line}, in {function}
    return await self.rows.fetch(key)
  File "/srv/app/database.py", line 88, in fetch
    raise StorageError(f"no answer for {{key}}")
app.database.StorageError: no answer for {key}"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One entry of a container's log."""

    project: str
    region: str
    service: str
    revision: str
    at: float
    """Unix seconds."""
    visible_at: float
    """From then on it can be read."""
    severity: Severity
    text: str
    trace: str
    """With a stack trace the entry is structured, else plain text."""
    log_id: str
    insert_id: str


class AppLog:
    """All containers' lines, oldest first, with bounded memory."""

    def __init__(self) -> None:
        self._lines: deque[Line] = deque(maxlen=KEEP)
        self._serial = count(1)
        self.delay_s: Callable[[float], float] = lambda _now: 0.0
        """How much later than written a line can be read."""

    def write(  # noqa: PLR0913 - an entry has this many parts, all named
        self,
        *,
        project: str,
        region: str,
        service: str,
        revision: str,
        text: str,
        severity: Severity = "ERROR",
        trace: str = "",
        at: float | None = None,
        log_id: str = "run.googleapis.com/stderr",
    ) -> None:
        """One entry, by default of now."""
        now = clock.now()
        written = now if at is None else at
        self._lines.append(
            Line(
                project=project,
                region=region,
                service=service,
                revision=revision,
                at=written,
                visible_at=written + self.delay_s(now),
                severity=severity,
                text=text,
                trace=trace,
                log_id=log_id,
                insert_id=f"line-{next(self._serial)}",
            )
        )

    def lines(self, now: float) -> Iterator[Line]:
        """What can be read by now."""
        return (line for line in self._lines if line.visible_at <= now)

    def clear(self) -> None:
        """Forget them all."""
        self._lines.clear()


def trace_of(method: str, path: str, request_id: str) -> str:
    """The stack trace of a request that failed: its module is named after the resource, its key varies."""
    parts = [part for part in path.strip("/").split("/") if part.isalpha() and part != "api"]
    module = parts[0] if parts else "main"
    function = {"GET": "read", "POST": "create", "PUT": "update", "PATCH": "update", "DELETE": "remove"}.get(
        method, "handle"
    )
    return TRACE.format(module=module, function=function, line=40 + len(path), key=request_id)
