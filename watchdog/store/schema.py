"""The tables, as the newest migration leaves them (a test compares the two on SQLite and PostgreSQL).

Bodies are JSON as text: the store never looks inside them, and text is the same on both databases. Times are Unix
seconds as double precision.
"""

from typing import Final

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Double,
    Index,
    Integer,
    MetaData,
    PrimaryKeyConstraint,
    Table,
    Text,
    UniqueConstraint,
)

HEAD: Final = "0001"
"""The newest revision under `migrations/versions`. Kept here so that a start at head never imports Alembic."""

PENDING: Final = "pending"
DELIVERED: Final = "delivered"
DEAD: Final = "dead"

metadata = MetaData()

# SQLite numbers rows by itself only in a column of type INTEGER.
_RowId = BigInteger().with_variant(Integer(), "sqlite")

leases = Table(
    "leases",
    metadata,
    Column("stream", Text, nullable=False),
    Column("owner", Text, nullable=False),  # empty: given up
    Column("epoch", BigInteger, nullable=False),
    Column("expires_at", Double, nullable=False),
    PrimaryKeyConstraint("stream", name="leases_pkey"),
)

journal = Table(
    "journal",
    metadata,
    Column("stream", Text, nullable=False),
    Column("seq", BigInteger, nullable=False),
    Column("epoch", BigInteger, nullable=False),
    Column("at", Double, nullable=False),
    Column("seen_at", Double, nullable=False),
    Column("kind", Text, nullable=False),
    Column("schema", Integer, nullable=False),
    Column("late", Boolean, nullable=False),
    Column("body", Text, nullable=False),
    PrimaryKeyConstraint("stream", "seq", name="journal_pkey"),
)

inbox = Table(
    "inbox",
    metadata,
    Column("id", _RowId, autoincrement=True, nullable=False),
    Column("stream", Text, nullable=False),
    Column("key", Text, nullable=False),
    Column("kind", Text, nullable=False),
    Column("body", Text, nullable=False),
    Column("at", Double, nullable=False),
    Column("done", Boolean, nullable=False),
    PrimaryKeyConstraint("id", name="inbox_pkey"),
    UniqueConstraint("key", name="inbox_key_key"),
    Index("inbox_waiting", "done", "stream", "id"),
    sqlite_autoincrement=True,  # a number is never given twice, also after a prune
)

outbox = Table(
    "outbox",
    metadata,
    Column("id", _RowId, autoincrement=True, nullable=False),
    Column("key", Text, nullable=False),
    Column("channel", Text, nullable=False),
    Column("thread", Text, nullable=False),
    Column("kind", Text, nullable=False),
    Column("created_at", Double, nullable=False),
    Column("body", Text, nullable=False),
    Column("state", Text, nullable=False),
    Column("attempts", Integer, nullable=False),
    Column("due_at", Double, nullable=False),
    Column("settled_at", Double, nullable=True),
    Column("error", Text, nullable=False),
    Column("provider_id", Text, nullable=False),
    PrimaryKeyConstraint("id", name="outbox_pkey"),
    UniqueConstraint("key", "channel", name="outbox_key_channel_key"),
    Index("outbox_waiting", "state", "channel", "thread", "id"),
    sqlite_autoincrement=True,
)

thread_memory = Table(
    "thread_memory",
    metadata,
    Column("channel", Text, nullable=False),
    Column("thread", Text, nullable=False),
    Column("name", Text, nullable=False),
    Column("value", Text, nullable=False),
    PrimaryKeyConstraint("channel", "thread", "name", name="thread_memory_pkey"),
)

watches = Table(
    "watches",
    metadata,
    Column("id", Text, nullable=False),
    Column("project", Text, nullable=False),
    Column("region", Text, nullable=False),
    Column("service", Text, nullable=False),
    Column("revision", Text, nullable=False),
    Column("state", Text, nullable=False),
    Column("outcome", Text, nullable=True),
    Column("opened_at", Double, nullable=False),
    Column("ended_at", Double, nullable=True),
    Column("view", Text, nullable=False),
    PrimaryKeyConstraint("id", name="watches_pkey"),
    Index("watches_by_age", "opened_at", "id"),
    Index("watches_by_end", "ended_at", "opened_at"),
)
