"""Real processes on one store: they take turns, and a killed one leaves nothing torn."""

import asyncio
import sqlite3
import sys
from asyncio.subprocess import PIPE, Process
from collections import Counter
from pathlib import Path

from tests.store import postgres
from tests.store.samples import NOW, lease_of, read
from watchdog.store import make_store

WORKER = Path(__file__).with_name("worker.py")


async def start(*arguments: str) -> Process:
    return await asyncio.create_subprocess_exec(sys.executable, WORKER, *arguments, stdout=PIPE, stderr=PIPE)


async def finish(process: Process) -> str:
    """What it said and logged, when it ended well."""
    out, log = await process.communicate()
    assert process.returncode == 0, log.decode()
    return log.decode() + out.decode()


async def test_two_processes_take_turns_and_every_append_arrives_once(database_url: str) -> None:
    workers = [await start("contending", database_url, owner, "25") for owner in ("a", "b")]
    assert [await finish(worker) for worker in workers]

    store = make_store(database_url)
    await store.open()
    records = await read(store)
    await store.close()

    assert [record.seq for record in records] == list(range(1, 51))
    for owner in ("a", "b"):
        assert [r.body["n"] for r in records if r.body["owner"] == owner] == list(range(25))


async def test_processes_that_steal_from_each_other_never_write_with_a_stale_epoch(postgresql: postgres.Server) -> None:
    """Whatever the clocks say: epochs in the journal never go back, and one epoch has one writer."""
    database_url = postgresql.new_database()
    workers = [await start("stealing", database_url, owner, "25") for owner in ("a", "b")]
    said = [await finish(worker) for worker in workers]

    store = make_store(database_url)
    await store.open()
    records = await read(store)
    await store.close()

    epochs = [record.epoch for record in records]
    assert epochs == sorted(epochs)
    assert [record.seq for record in records] == list(range(1, len(records) + 1))
    assert all(record.body["epoch"] == record.epoch for record in records)
    writers = {(record.epoch, record.body["owner"]) for record in records}
    assert max(Counter(epoch for epoch, _ in writers).values()) == 1
    assert sum(text.count("appended") for text in said) == len(records)


async def test_a_process_killed_in_the_middle_of_appends_leaves_nothing_torn(database_url: str) -> None:
    """Three events and a message go in together or not at all, and what was answered is there."""
    for _ in range(2):
        worker = await start("endless", database_url)
        assert worker.stdout is not None
        last = 0
        for _line in range(25):
            last = int(await worker.stdout.readline())
        worker.kill()
        rest, _ = await worker.communicate()
        last = max([last, *(int(line) for line in rest.split(b"\n")[:-1])])

        store = make_store(database_url)
        await store.open()
        records = await read(store)
        messages = await store.undelivered()
        lease = await lease_of(store, owner="next", now=NOW + 1000)
        await store.release(lease)
        await store.close()

        assert len(records) >= last
        assert [record.seq for record in records] == list(range(1, len(records) + 1))
        assert len(records) % 3 == 0
        newest = [record.body["n"] for record in records if record.epoch == records[-1].epoch]
        assert newest == [n for n in range(1, len(newest) // 3 + 1) for _ in range(3)]
        assert len(messages) == max(record.body["n"] for record in records)
    if database_url.startswith("sqlite"):
        with sqlite3.connect(database_url.removeprefix("sqlite:///")) as file:
            assert file.execute("PRAGMA integrity_check").fetchall() == [("ok",)]


async def test_three_processes_that_start_at_once_on_nothing_all_open(database_url: str) -> None:
    workers = [await start("opening", database_url) for _ in range(3)]
    said = [await finish(worker) for worker in workers]

    assert all("opened" in text for text in said)
    assert sum(text.count("store_migrated") for text in said) == 1
