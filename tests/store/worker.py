"""A process of its own on a store: started by tests as `python worker.py VERB URL [ARGUMENT …]`, speaks lines."""

import asyncio
import os
import resource
import sys
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

import structlog

from tests.store.samples import NOW, delivery, event
from watchdog.errors import LeaseLostError, StoreUnavailableError
from watchdog.ports import Lease, Store
from watchdog.store import make_store


def say(*words: object) -> None:
    print(*words, flush=True)  # noqa: T201 - the parent reads it


async def opening(store: Store) -> None:
    """Open and say so."""
    await store.open()
    say("opened")


async def contending(store: Store, owner: str, wanted: str) -> None:
    """Append `wanted` events, taking and giving up the lease as it comes."""
    written = 0
    while written < int(wanted):
        lease = await store.acquire("watch/w1", owner, ttl_s=15.0, now=NOW)
        if lease is None:
            await asyncio.sleep(0.002)
            continue
        for _ in range(min(5, int(wanted) - written)):
            await store.append(lease, [event(body={"owner": owner, "n": written})])
            written += 1
        await store.release(lease)
    say("done", written)


async def stealing(store: Store, owner: str, rounds: str) -> None:
    """Take the lease from whoever has it (its clock is far ahead), and say with which epoch each append went in."""
    for n in range(int(rounds)):
        lease = await store.acquire("watch/w1", owner, ttl_s=1.0, now=NOW + 1000.0 * n)
        if lease is None:
            continue
        for _ in range(3):
            try:
                (record,) = await store.append(lease, [event(body={"owner": owner, "epoch": lease.epoch})])
            except LeaseLostError:
                break
            say("appended", record.seq)
    say("done")


async def endless(store: Store) -> None:
    """Append three events and a message at a time until killed; say the last number after each."""
    lease = await store.acquire("watch/w1", "endless", ttl_s=15.0, now=NOW)
    assert lease is not None
    n = 0
    while True:
        n += 1
        records = await store.append(lease, [event(n) for _ in range(3)], deliveries=[delivery(f"k{n}")])
        say(records[-1].seq)


async def filling(store: Store, limit: str) -> None:
    """Append until the disk is full, at `limit` bytes a file (0: what the disk has); say what happened, make room,
    and append once more."""
    lease = await store.acquire("watch/w1", "filling", ttl_s=15.0, now=NOW)
    assert lease is not None
    if int(limit):
        resource.setrlimit(resource.RLIMIT_FSIZE, (int(limit), resource.RLIM_INFINITY))
    written = await _until_refused(store, lease)
    if int(limit):
        resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    else:
        (Path.cwd() / "ballast").unlink()
    last = await store.append(lease, [event(999)])
    say("wrote", written, "then", last[-1].seq, "read", len([r async for r in store.read("watch/w1")]))


async def _until_refused(store: Store, lease: Lease) -> int:
    for n in range(10_000):
        try:
            await store.append(lease, [event(body={"n": n, "ballast": "x" * 20_000})])
        except StoreUnavailableError as fault:
            say(fault)
            return n
    raise AssertionError("the disk was never full")


async def forbidden(store: Store) -> None:
    """Post as a user who may read the file and no more."""
    if os.geteuid() == 0:
        os.setuid(65534)
    try:
        await store.open()
        await store.post("watch/w1", key="k", kind="signal", body={}, now=NOW)
    except StoreUnavailableError as fault:
        say(fault)


async def main(verb: str, url: str, arguments: Sequence[str]) -> None:
    structlog.configure(logger_factory=structlog.PrintLoggerFactory(sys.stderr))
    store = make_store(url)
    if verb not in {"opening", "forbidden"}:
        await store.open()
    verbs: dict[str, Callable[..., Awaitable[None]]] = {
        work.__name__: work for work in (opening, forbidden, contending, stealing, endless, filling)
    }
    await verbs[verb](store, *arguments)
    await store.close()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], sys.argv[2], sys.argv[3:]))
