"""The store on SQLite or PostgreSQL: each method is one transaction, bounded in time."""

from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any, Final

from sqlalchemy import text

from watchdog.ports import Delivery, Lease, Letter, NewEvent, Receipt, Record, WatchRow
from watchdog.store import inbox, journal, leases, outbox, watches
from watchdog.store.address import Address
from watchdog.store.database import Database
from watchdog.store.migrate import migrate

_OPEN_S: Final = 60.0
_PRUNE_S: Final = 60.0


class SqlStore:
    """`ports.Store` on a database. Two processes on one SQLite file are as safe as replicas on PostgreSQL."""

    def __init__(self, address: Address, *, answer_s: float) -> None:
        self._db = Database(address, answer_s=answer_s)
        self._answered: dict[str, int] = {}
        """Stream → the last number that a caller of ours knows of. What stands behind it was committed without an
        answer, and may be offered again."""

    async def open(self) -> None:
        """Connect and migrate. May be called again after it failed."""

        async def work() -> None:
            await self._db.connect()
            await migrate(self._db)

        await self._db.answer(work(), within_s=_OPEN_S)

    async def close(self) -> None:
        """Close every connection."""
        await self._db.close()

    async def ping(self) -> None:
        """One cheap read that proves the store answers."""

        async def work() -> None:
            async with self._db.reading() as connection:
                await connection.execute(text("SELECT 1 FROM leases LIMIT 1"))

        await self._db.answer(work())

    # leases

    async def acquire(self, stream: str, owner: str, *, ttl_s: float, now: float) -> Lease | None:
        """Take the stream's lease when it is free, expired or already ours."""

        async def work() -> Lease | None:
            async with self._db.writing() as connection:
                return await leases.acquire(self._db, connection, stream, owner, ttl_s=ttl_s, now=now)

        return await self._db.answer(work())

    async def renew(self, lease: Lease, *, ttl_s: float, now: float) -> Lease:
        """Prolong, or raise `LeaseLostError`."""

        async def work() -> Lease:
            async with self._db.writing() as connection:
                return await leases.renew(connection, lease, ttl_s=ttl_s, now=now)

        return await self._db.answer(work())

    async def release(self, lease: Lease) -> None:
        """Give it up."""

        async def work() -> None:
            async with self._db.writing() as connection:
                await leases.release(connection, lease)

        await self._db.answer(work())
        self._answered.pop(lease.stream, None)

    # journal

    async def append(
        self,
        lease: Lease,
        events: Sequence[NewEvent],
        *,
        deliveries: Sequence[Delivery] = (),
        watch: WatchRow | None = None,
        letters_done: Sequence[int] = (),
    ) -> Sequence[Record]:
        """All of it in one transaction, or nothing. Events offered again after a missing answer are written once."""
        # Copies: who gives up waiting may go on filling its lists while the transaction is still under way.
        offered, messages, letters = tuple(events), tuple(deliveries), tuple(letters_done)

        async def work() -> Sequence[Record]:
            async with self._db.writing() as connection:
                await leases.confirm(connection, lease)
                last_seq = await journal.last_seq(connection, lease.stream)
                known = self._answered.get(lease.stream, last_seq)
                landed = [] if known == last_seq else await journal.landed(connection, lease.stream, known, offered)
                # Nothing may come between these two: whoever offers the events again must know where to look.
                self._db.insist()
                self._answered.setdefault(lease.stream, last_seq)
                written = await journal.write(connection, lease, offered[len(landed) :], last_seq=last_seq)
                await outbox.put(self._db, connection, messages)
                if watch is not None:
                    await watches.upsert(self._db, connection, watch)
                await inbox.finish(connection, letters)
                return [*landed, *written]

        records = await self._db.answer(work())
        if records:
            self._answered[lease.stream] = max(self._answered.get(lease.stream, 0), records[-1].seq)
        return records

    async def read(self, stream: str, *, after_seq: int = 0) -> AsyncIterator[Record]:
        """The stream's records in order, page by page: no transaction stays open between them."""

        async def work(after: int) -> Sequence[Record]:
            async with self._db.reading() as connection:
                return await journal.page(connection, stream, after)

        while page := await self._db.answer(work(after_seq)):
            for record in page:
                yield record
            if len(page) < journal.PAGE:
                return
            after_seq = page[-1].seq

    # inbox

    async def post(self, stream: str, *, key: str, kind: str, body: Mapping[str, Any], now: float) -> bool:
        """Put a letter into the inbox. False when this key was posted before."""

        async def work() -> bool:
            async with self._db.writing() as connection:
                return await inbox.post(self._db, connection, stream, key=key, kind=kind, body=body, at=now)

        return await self._db.answer(work())

    async def letters(self, streams: Sequence[str]) -> Sequence[Letter]:
        """Letters not yet folded in, oldest first."""

        async def work() -> Sequence[Letter]:
            async with self._db.reading() as connection:
                return await inbox.waiting(connection, streams)

        return await self._db.answer(work()) if streams else ()

    # outbox

    async def pending(self, channel: str, *, now: float, limit: int = 50) -> Sequence[Delivery]:
        """Deliveries due, oldest first, at most one a thread."""

        async def work() -> Sequence[Delivery]:
            async with self._db.reading() as connection:
                return await outbox.due(connection, channel, now=now, limit=limit)

        return await self._db.answer(work())

    async def delivered(self, key: str, channel: str, receipt: Receipt, *, now: float) -> None:
        """Record success."""

        async def work() -> None:
            async with self._db.writing() as connection:
                await outbox.delivered(self._db, connection, key, channel, receipt, now=now)

        await self._db.answer(work())

    async def deferred(self, key: str, channel: str, *, until: float, error: str) -> None:
        """Record a failed attempt."""

        async def work() -> None:
            async with self._db.writing() as connection:
                await outbox.deferred(connection, key, channel, until=until, error=error)

        await self._db.answer(work())

    async def hasten(self, channel: str, *, now: float) -> None:
        """Whatever waits for its next try is due now."""

        async def work() -> None:
            async with self._db.writing() as connection:
                await outbox.hasten(connection, channel, now=now)

        await self._db.answer(work())

    async def dead(self, key: str, channel: str, *, error: str, now: float) -> None:
        """Move to the dead letters."""

        async def work() -> None:
            async with self._db.writing() as connection:
                await outbox.dead(connection, key, channel, error=error, now=now)

        await self._db.answer(work())

    async def undelivered(self, *, thread: str | None = None) -> Sequence[Delivery]:
        """Everything neither delivered nor dead."""

        async def work() -> Sequence[Delivery]:
            async with self._db.reading() as connection:
                return await outbox.undelivered(connection, thread)

        return await self._db.answer(work())

    # read model

    async def watches(
        self, *, open_only: bool = False, limit: int = 200, of: tuple[str, str] | None = None
    ) -> Sequence[WatchRow]:
        """Newest first."""

        async def work() -> Sequence[WatchRow]:
            async with self._db.reading() as connection:
                return await watches.newest(connection, open_only=open_only, limit=limit, of=of)

        return await self._db.answer(work())

    async def watch(self, watch_id: str) -> WatchRow | None:
        """One by its id."""

        async def work() -> WatchRow | None:
            async with self._db.reading() as connection:
                return await watches.one(connection, watch_id)

        return await self._db.answer(work())

    async def prune(self, *, ended_before: float) -> int:
        """Delete what ended before, in batches."""

        async def work() -> int:
            async with self._db.writing() as connection:
                return await watches.prune(connection, ended_before=ended_before)

        pruned = 0
        while found := await self._db.answer(work(), within_s=_PRUNE_S):
            pruned += found
        return pruned
