"""Brings a database to the newest schema, once, however many processes start at the same moment."""

import asyncio
from typing import TYPE_CHECKING, Final

import structlog
from sqlalchemy import Column, Connection, MetaData, PrimaryKeyConstraint, String, Table, insert, inspect, text

from watchdog.errors import ConfigError
from watchdog.store import schema
from watchdog.store.database import Database

if TYPE_CHECKING:
    from alembic.script import ScriptDirectory

_log = structlog.get_logger(__name__)

SHIPPED: Final = "watchdog.store:migrations"

_version = Table(
    "alembic_version",
    MetaData(),
    Column("version_num", String(32), nullable=False),
    PrimaryKeyConstraint("version_num", name="alembic_version_pkc"),
)
"""As Alembic makes it, so that it finds its place when the first script after today's tables comes."""


async def migrate(database: Database, location: str = SHIPPED) -> None:
    """Do nothing at head; else take the migration lock, look again, and bring the schema to head in one transaction.

    An empty database gets today's tables as they are. The scripts run where an older version's tables are, and only
    then Alembic is loaded: it costs 0.2 s, and 7 MB for the life of the process.

    Raises `ConfigError` when a newer Watchdog wrote the schema: an older one must not touch what it does not know.
    """
    async with database.reading() as connection:
        found = await connection.run_sync(revision)
    if found == schema.HEAD:
        return
    empty = found is None and location == SHIPPED
    directory = None if empty else await asyncio.to_thread(scripts, location)
    async with database.migrating() as connection:
        found = await connection.run_sync(revision)
        if found == schema.HEAD:
            return
        if empty and found is None:
            await connection.run_sync(create)
        else:
            if directory is None:  # an older version was quicker than we
                directory = await asyncio.to_thread(scripts, location)
            await connection.run_sync(upgrade, directory, found, database.address.label)
    _log.info("store_migrated", store=database.address.label, before=found, after=schema.HEAD)


def revision(connection: Connection) -> str | None:
    """The schema's revision, None for an empty database."""
    if not inspect(connection).has_table("alembic_version"):
        return None
    return connection.execute(text("SELECT version_num FROM alembic_version")).scalar_one_or_none()


def create(connection: Connection) -> None:
    """Make today's tables in an empty database, and say that they are at head."""
    schema.metadata.create_all(connection, checkfirst=False)
    _version.create(connection, checkfirst=True)
    connection.execute(insert(_version).values(version_num=schema.HEAD))


def scripts(location: str = SHIPPED) -> "ScriptDirectory":
    """The migrations at `location`, loaded. Reads files."""
    import alembic.op  # noqa: F401, PLC0415 - the scripts import it
    from alembic.config import Config  # noqa: PLC0415
    from alembic.script import ScriptDirectory  # noqa: PLC0415

    settings = Config()
    settings.set_main_option("script_location", location)
    settings.set_main_option("path_separator", "os")
    directory = ScriptDirectory.from_config(settings)
    list(directory.walk_revisions())
    return directory


def upgrade(connection: Connection, directory: "ScriptDirectory", found: str | None, label: str) -> None:
    """Run every script after `found` inside the connection's transaction."""
    from alembic.operations import Operations  # noqa: PLC0415
    from alembic.runtime.migration import MigrationContext  # noqa: PLC0415

    if found is not None and found not in {script.revision for script in directory.walk_revisions()}:
        raise ConfigError(
            f"The store {label} has schema {found}, which this version of Watchdog (schema {schema.HEAD}) does not "
            "know: a newer version wrote it. Upgrade this one, or point WATCHDOG_DATABASE_URL to another database."
        )
    context = MigrationContext.configure(connection)
    with Operations.context(context):
        for script in reversed(list(directory.iterate_revisions("head", found or "base"))):
            script.module.upgrade()
    context.stamp(directory, "head")
