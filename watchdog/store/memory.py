"""The store in memory, for virtual time (a database's thread does not follow a clock that jumps) and for `replay`.

It keeps the same contract as the databases, checked by the same tests. Bodies pass through JSON, so what a caller
changes afterwards, or what JSON changes (tuples), shows here too.
"""

from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from watchdog.errors import LeaseLostError
from watchdog.ports import Delivery, Lease, Letter, NewEvent, Receipt, Record, WatchRow
from watchdog.store.text import clean, from_json, to_json


@dataclass(slots=True)
class _Post:
    """A delivery and what became of it."""

    delivery: Delivery
    due_at: float
    attempts: int = 0
    state: str = "pending"
    settled_at: float | None = None
    error: str = ""
    provider_id: str = ""


@dataclass(slots=True)
class _Letter:
    letter: Letter
    done: bool = False


@dataclass(slots=True)
class _Tables:
    leases: dict[str, Lease] = field(default_factory=dict)
    journal: dict[str, list[Record]] = field(default_factory=dict)
    inbox: dict[str, _Letter] = field(default_factory=dict)
    outbox: dict[tuple[str, str], _Post] = field(default_factory=dict)
    memory: dict[tuple[str, str], dict[str, str]] = field(default_factory=dict)
    watches: dict[str, WatchRow] = field(default_factory=dict)
    letters_posted: int = 0


class MemoryStore:
    """`ports.Store` that ends with its process. No method suspends, so each is atomic."""

    def __init__(self) -> None:
        self._tables = _Tables()

    async def open(self) -> None:
        """Nothing to connect."""

    async def close(self) -> None:
        """Nothing to close; opened again, everything is still there."""

    async def ping(self) -> None:
        """Memory always answers."""

    # leases

    async def acquire(self, stream: str, owner: str, *, ttl_s: float, now: float) -> Lease | None:
        """Take the stream's lease when it is free, expired or already ours."""
        last = self._tables.leases.get(stream)
        held = last is not None and bool(last.owner) and last.expires_at > now
        if last is not None and held and last.owner != owner:
            return None
        epoch = 1 if last is None else last.epoch if held else last.epoch + 1
        lease = Lease(stream=stream, owner=owner, epoch=epoch, expires_at=now + ttl_s)
        self._tables.leases[stream] = lease
        return lease

    async def renew(self, lease: Lease, *, ttl_s: float, now: float) -> Lease:
        """Prolong, or raise `LeaseLostError`."""
        self._confirm(lease)
        renewed = replace(lease, expires_at=now + ttl_s)
        self._tables.leases[lease.stream] = renewed
        return renewed

    async def release(self, lease: Lease) -> None:
        """Give it up."""
        if self._holds(lease):
            self._tables.leases[lease.stream] = replace(lease, owner="", expires_at=0.0)

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
        """All of it, or nothing."""
        self._confirm(lease)
        journal = self._tables.journal.setdefault(lease.stream, [])
        first = journal[-1].seq + 1 if journal else 1
        # Everything that can fail (a body that is not JSON) happens before the first change.
        records = [
            Record(
                stream=lease.stream,
                seq=seq,
                epoch=lease.epoch,
                at=event.at,
                seen_at=event.seen_at,
                kind=event.kind,
                schema=event.schema,
                body=_copy(event.body),
                late=event.late,
            )
            for seq, event in enumerate(events, first)
        ]
        posts = [
            _Post(replace(delivery, body=_copy(delivery.body), remembered={}, attempts=0), due_at=delivery.created_at)
            for delivery in deliveries
        ]
        row = None if watch is None else replace(watch, view=_copy(watch.view))
        journal.extend(records)
        for post in posts:
            place = (post.delivery.key, post.delivery.channel)
            if place not in self._tables.outbox:
                self._tables.outbox[place] = post
                if (sent := post.delivery.sent) is not None:
                    self._deliver(post, sent, post.delivery.created_at)
        if row is not None:
            self._tables.watches[row.id] = row
        if letters_done:
            finished = set(letters_done)
            for kept in self._tables.inbox.values():
                kept.done = kept.done or kept.letter.id in finished
        return records

    async def read(self, stream: str, *, after_seq: int = 0) -> AsyncIterator[Record]:
        """The stream's records in order."""
        for record in list(self._tables.journal.get(stream, ())):
            if record.seq > after_seq:
                yield replace(record, body=_copy(record.body))

    # inbox

    async def post(self, stream: str, *, key: str, kind: str, body: Mapping[str, Any], now: float) -> bool:
        """Put a letter into the inbox. False when this key was posted before."""
        if key in self._tables.inbox:
            return False
        number = self._tables.letters_posted + 1
        letter = Letter(id=number, stream=stream, key=key, kind=kind, body=_copy(body), at=now)
        self._tables.letters_posted = number
        self._tables.inbox[key] = _Letter(letter)
        return True

    async def letters(self, streams: Sequence[str]) -> Sequence[Letter]:
        """Letters not yet folded in, oldest first."""
        wanted = set(streams)
        return [
            replace(kept.letter, body=_copy(kept.letter.body))
            for kept in self._tables.inbox.values()
            if not kept.done and kept.letter.stream in wanted
        ]

    # outbox

    async def pending(self, channel: str, *, now: float, limit: int = 50) -> Sequence[Delivery]:
        """Deliveries due, oldest first, at most one a thread."""
        heads: dict[str, _Post] = {}
        for post in self._pending():
            if post.delivery.channel == channel:
                heads.setdefault(post.delivery.thread, post)
        return [self._delivery(post) for post in heads.values() if post.due_at <= now][:limit]

    async def delivered(self, key: str, channel: str, receipt: Receipt, *, now: float) -> None:
        """Record success."""
        post = self._tables.outbox.get((key, channel))
        if post is not None:
            self._deliver(post, receipt, now)

    def _deliver(self, post: _Post, receipt: Receipt, now: float) -> None:
        channel = post.delivery.channel
        post.state, post.settled_at, post.error = "delivered", now, ""
        post.provider_id = clean(receipt.provider_id)
        remembered = self._tables.memory.setdefault((channel, post.delivery.thread), {})
        remembered.update({clean(name): clean(value) for name, value in receipt.remember.items()})

    async def deferred(self, key: str, channel: str, *, until: float, error: str) -> None:
        """Record a failed attempt."""
        post = self._tables.outbox.get((key, channel))
        if post is not None and post.state == "pending":
            post.attempts, post.due_at, post.error = post.attempts + 1, until, clean(error)

    async def hasten(self, channel: str, *, now: float) -> None:
        """No more waiting for the next try."""
        for post in self._pending():
            if post.delivery.channel == channel:
                post.due_at = min(post.due_at, now)

    async def dead(self, key: str, channel: str, *, error: str, now: float) -> None:
        """Move to the dead letters."""
        post = self._tables.outbox.get((key, channel))
        if post is not None and post.state == "pending":
            post.state, post.settled_at, post.error = "dead", now, clean(error)

    async def undelivered(self, *, thread: str | None = None) -> Sequence[Delivery]:
        """Everything neither delivered nor dead."""
        return [self._delivery(post) for post in self._pending() if thread in (None, post.delivery.thread)]

    # read model

    async def watches(
        self, *, open_only: bool = False, limit: int = 200, of: tuple[str, str] | None = None
    ) -> Sequence[WatchRow]:
        """Newest first."""
        rows = sorted(self._tables.watches.values(), key=lambda row: (row.opened_at, row.id), reverse=True)
        rows = [row for row in rows if of is None or (row.project, row.service) == of]
        kept = [row for row in rows if not open_only or row.ended_at is None][:limit]
        return [replace(row, view=_copy(row.view)) for row in kept]

    async def watch(self, watch_id: str) -> WatchRow | None:
        """One by its id."""
        row = self._tables.watches.get(watch_id)
        return None if row is None else replace(row, view=_copy(row.view))

    async def prune(self, *, ended_before: float) -> int:
        """Delete what ended before."""
        tables = self._tables
        ended = [row.id for row in tables.watches.values() if row.ended_at is not None and row.ended_at < ended_before]
        for watch_id in ended:
            stream = f"watch/{watch_id}"
            tables.journal.pop(stream, None)
            tables.leases.pop(stream, None)
            tables.watches.pop(watch_id)
            tables.inbox = {key: kept for key, kept in tables.inbox.items() if kept.letter.stream != stream}
            tables.outbox = {key: post for key, post in tables.outbox.items() if post.delivery.thread != watch_id}
            tables.memory = {key: names for key, names in tables.memory.items() if key[1] != watch_id}
        return len(ended)

    def _holds(self, lease: Lease) -> bool:
        last = self._tables.leases.get(lease.stream)
        return last is not None and (last.owner, last.epoch) == (lease.owner, lease.epoch)

    def _confirm(self, lease: Lease) -> None:
        if not self._holds(lease):
            raise LeaseLostError(
                f"{lease.owner} no longer holds the lease of {lease.stream} (epoch {lease.epoch}): "
                "another process owns it now."
            )

    def _pending(self) -> Iterable[_Post]:
        return (post for post in self._tables.outbox.values() if post.state == "pending")

    def _delivery(self, post: _Post) -> Delivery:
        remembered = self._tables.memory.get((post.delivery.channel, post.delivery.thread), {})
        return replace(
            post.delivery, body=_copy(post.delivery.body), remembered=dict(remembered), attempts=post.attempts
        )


def _copy(body: Mapping[str, Any]) -> dict[str, Any]:
    return from_json(to_json(body))
