"""Small values for store tests: what matters in a test is named there, the rest comes from here."""

from collections.abc import Sequence
from typing import Any

from watchdog.ports import Delivery, Lease, NewEvent, Record, Store, WatchRow

NOW = 1_790_000_000.25


def event(n: int = 0, **changes: Any) -> NewEvent:
    values: dict[str, Any] = {"at": NOW + n, "seen_at": NOW + n + 0.5, "kind": "sampled", "schema": 1, "body": {"n": n}}
    return NewEvent(**{**values, **changes})


def delivery(key: str, *, channel: str = "slack", thread: str = "w1", **changes: Any) -> Delivery:
    values: dict[str, Any] = {"kind": "decision", "created_at": NOW, "body": {"title": key}}
    return Delivery(key=key, channel=channel, thread=thread, **{**values, **changes})


def row(watch_id: str = "w1", **changes: Any) -> WatchRow:
    values: dict[str, Any] = {
        "project": "barq-fleet",
        "region": "us-central1",
        "service": "barq-fleet-api",
        "revision": "barq-fleet-api-00002-abc",
        "state": "watching",
        "outcome": None,
        "opened_at": NOW,
        "ended_at": None,
        "view": {"id": watch_id, "previous": {"barq-fleet-api-00001-xyz": 100}},
    }
    return WatchRow(id=watch_id, **{**values, **changes})


async def lease_of(store: Store, stream: str = "watch/w1", owner: str = "a", *, now: float = NOW) -> Lease:
    lease = await store.acquire(stream, owner, ttl_s=15.0, now=now)
    assert lease is not None
    return lease


async def read(store: Store, stream: str = "watch/w1", *, after_seq: int = 0) -> list[Record]:
    return [record async for record in store.read(stream, after_seq=after_seq)]


async def put(store: Store, *deliveries: Delivery, stream: str = "watch/w1") -> None:
    """Into the outbox, the only way there is: with an append."""
    await store.append(await lease_of(store, stream), [], deliveries=deliveries)


def keys(deliveries: Sequence[Delivery]) -> list[str]:
    return [d.key for d in deliveries]
