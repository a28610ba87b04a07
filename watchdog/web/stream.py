"""A watch, live, as server-sent events.

Two forms. The journal (default): every row, from the start or from after `Last-Event-ID`, so a client that reconnects
misses nothing. Changes (`?only=changes`): a bare nudge whenever the read model changed, for pages, which costs one
small read a second instead of the journal.
"""

import json
from collections.abc import AsyncIterator, Callable
from typing import Final

from aiohttp import web

from watchdog.core.model import State
from watchdog.errors import TemporaryError
from watchdog.ports import WatchRow
from watchdog.web.lookup import event, number, watch_of, watch_stream
from watchdog.web.problems import Problem
from watchdog.web.services import CLOSING, WebServices, services_of

POLL_S: Final = 0.5
HEARTBEAT_S: Final = 15.0
MOST_STREAMS: Final = 100
_OPEN = web.AppKey("open_streams", set)


def prepare(app: web.Application) -> None:
    """Make room for the count of open streams."""
    app[_OPEN] = set()


async def stream(request: web.Request) -> web.StreamResponse:
    """Send events until the watch has ended and all was told, the client leaves or the server stops."""
    services = services_of(request)
    changes = request.query.get("only") == "changes"
    after = _resume_after(request)
    row = await watch_of(request)
    open_streams = request.app[_OPEN]
    if len(open_streams) >= MOST_STREAMS:
        raise Problem(503, f"{MOST_STREAMS} streams are open already.", headers={"Retry-After": "10"})
    mark = object()
    open_streams.add(mark)
    try:
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream", "X-Accel-Buffering": "no"})
        await response.prepare(request)
        await response.write(b"retry: 2000\n\n")
        closing = request.app[CLOSING]

        def over() -> bool:
            return closing.is_set() or request.transport is None or request.transport.is_closing()

        messages = _changes(services, row, over) if changes else _journal(services, row, after, over)
        async for message in messages:
            await response.write(message)
        await response.write_eof()
    except ConnectionError:  # the client has left
        return response
    finally:
        open_streams.discard(mark)
    return response


def _resume_after(request: web.Request) -> int:
    last = request.headers.get("Last-Event-ID", "").strip()
    if last.isascii() and last.isdigit() and len(last) <= 18:
        return int(last)
    return number(request, "after", 0, most=2**53)


def _message(kind: str, data: object, seq: int | None = None) -> bytes:
    head = f"id: {seq}\n" if seq is not None else ""
    return f"{head}event: {kind}\ndata: {json.dumps(data, ensure_ascii=False)}\n\n".encode()


async def _journal(services: WebServices, row: WatchRow, after: int, over: Callable[[], bool]) -> AsyncIterator[bytes]:
    ended = False
    quiet_since = services.clock.monotonic()
    while not over():
        try:
            now = await services.store.watch(row.id)
            # Read before the journal: whatever was appended up to the end is then still to be sent.
            ended = now is None or now.state == State.ENDED
            async for record in services.store.read(watch_stream(row.id), after_seq=after):
                after = record.seq
                quiet_since = services.clock.monotonic()
                yield _message(record.kind, event(record), record.seq)
        except TemporaryError:
            ended = False  # the store is away; heartbeats go on, and the next look resumes
        if ended:
            yield _message("end", {"watch": row.id})
            return
        if services.clock.monotonic() - quiet_since >= HEARTBEAT_S:
            quiet_since = services.clock.monotonic()
            yield b": still here\n\n"
        await services.clock.sleep(POLL_S)


async def _changes(services: WebServices, row: WatchRow, over: Callable[[], bool]) -> AsyncIterator[bytes]:
    known = row
    quiet_since = services.clock.monotonic()
    while not over():
        try:
            now = await services.store.watch(row.id)
        except TemporaryError:
            now = known
        if now is None or (now.state == State.ENDED and now == known):
            yield _message("end", {"watch": row.id})
            return
        if now != known:
            known = now
            quiet_since = services.clock.monotonic()
            yield _message("change", {"watch": row.id, "state": now.state})
        elif services.clock.monotonic() - quiet_since >= HEARTBEAT_S:
            quiet_since = services.clock.monotonic()
            yield b": still here\n\n"
        await services.clock.sleep(2 * POLL_S)
