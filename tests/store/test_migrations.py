"""The schema: from nothing to head, again without effect, and never past what this version knows."""

import shutil
import sqlite3
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from alembic.autogenerate import compare_metadata
from alembic.operations import Operations
from alembic.runtime.migration import MigrationContext
from sqlalchemy import Connection, text

from tests.store.samples import event, lease_of, read
from watchdog.errors import ConfigError, StoreUnavailableError
from watchdog.store import make_store, migrate, migrations, schema
from watchdog.store.address import parse_url
from watchdog.store.database import Database


def test_head_is_the_newest_script() -> None:
    assert migrate.scripts().get_current_head() == schema.HEAD


@pytest.mark.parametrize("way", ["scripts", "at once"])
async def test_scripts_and_first_start_make_exactly_the_tables_that_the_code_uses(database_url: str, way: str) -> None:
    database = Database(parse_url(database_url), answer_s=5.0)
    await database.connect()
    if way == "scripts":
        async with database.migrating() as connection:
            await connection.run_sync(migrate.upgrade, migrate.scripts(), None, "a test")
    else:
        await migrate.migrate(database)

    def differences(connection: Connection) -> list[Any]:
        return list(compare_metadata(MigrationContext.configure(connection), schema.metadata))

    async with database.reading() as connection:
        found = await connection.run_sync(differences)
        at = await connection.run_sync(lambda c: MigrationContext.configure(c).get_current_revision())
    await database.close()

    assert found == []
    assert at == schema.HEAD


async def test_opening_again_changes_nothing(database_url: str) -> None:
    for n in range(3):
        store = make_store(database_url)
        await store.open()
        lease = await lease_of(store)
        await store.append(lease, [event(n)])
        await store.close()

    store = make_store(database_url)
    await store.open()
    assert [record.body["n"] for record in await read(store)] == [0, 1, 2]
    await store.close()


async def test_every_script_can_be_undone(database_url: str) -> None:
    """So that a failed upgrade can be taken back by hand."""
    database = Database(parse_url(database_url), answer_s=5.0)
    await database.connect()
    await migrate.migrate(database)

    def undo(connection: Connection) -> None:
        context = MigrationContext.configure(connection)
        with Operations.context(context):
            for script in migrate.scripts().walk_revisions():
                script.module.downgrade()
        context.stamp(migrate.scripts(), "base")

    async with database.migrating() as connection:
        await connection.run_sync(undo)
    async with database.reading() as connection:
        assert await connection.run_sync(migrate.revision) is None
    await migrate.migrate(database)
    await database.close()


async def test_a_schema_of_a_newer_version_is_left_alone(database_url: str) -> None:
    database = Database(parse_url(database_url), answer_s=5.0)
    await database.connect()
    await migrate.migrate(database)
    async with database.writing() as connection:
        await connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    await database.close()
    store = make_store(database_url)

    with pytest.raises(ConfigError, match=r"has schema 9999, which this version of Watchdog \(schema 0001\)"):
        await store.open()
    await store.close()


async def test_a_migration_that_fails_leaves_the_database_as_it_was(database_url: str, tmp_path: Path) -> None:
    """All scripts run in one transaction, on SQLite too."""
    versions = tmp_path / "migrations" / "versions"
    shutil.copytree(Path(migrations.__path__[0]) / "versions", versions, ignore=shutil.ignore_patterns("__pycache__"))
    (versions / "9999_broken.py").write_text(
        f"from alembic import op\nrevision = '9999'\ndown_revision = '{schema.HEAD}'\n"
        "def upgrade():\n    op.drop_table('watches')\n    op.drop_table('nothing_like_it')\n"
    )
    database = Database(parse_url(database_url), answer_s=5.0)
    await database.connect()

    with pytest.raises(StoreUnavailableError, match="nothing_like_it"):
        await migrate.migrate(database, str(versions.parent))

    async with database.reading() as connection:
        assert await connection.run_sync(migrate.revision) is None
    await migrate.migrate(database)
    await database.close()


async def test_the_file_keeps_a_write_ahead_log(tmp_path: Path) -> None:
    store = make_store(f"sqlite:///{tmp_path}/watchdog.db")
    await store.open()
    await store.close()

    with sqlite3.connect(tmp_path / "watchdog.db") as file:
        assert file.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    file.close()


def test_no_start_imports_migrations_unless_an_older_version_was_here(tmp_path: Path) -> None:
    """They cost a fifth of a second, of which a start has two, and 7 MB until the end."""
    script = (
        "import asyncio, sys; from watchdog.store import make_store\n"
        "async def main():\n"
        f"    s = make_store('sqlite:///{tmp_path}/watchdog.db'); await s.open(); await s.close()\n"
        "    print('alembic' in sys.modules)\n"
        "asyncio.run(main())"
    )
    said = [
        subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, text=True).stdout.split()[-1]
        for _ in range(2)
    ]

    assert said == ["False", "False"]


def test_a_memory_store_needs_no_sqlalchemy() -> None:
    script = (
        "import sys; from watchdog.store import make_store; make_store('memory:'); print('sqlalchemy' in sys.modules)"
    )
    said = subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, text=True).stdout

    assert said.strip() == "False"
