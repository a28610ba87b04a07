"""When the store cannot do it, it says so in one sentence, soon, and goes on when the fault is gone."""

import asyncio
import os
import shutil
import sqlite3
import sys
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path

import pytest

from tests.store import postgres
from tests.store.proxy import Proxy
from tests.store.samples import NOW, event, lease_of, read, row
from tests.store.test_processes import WORKER, finish, start
from watchdog.errors import ConfigError, StoreUnavailableError
from watchdog.ports import Store
from watchdog.store import make_store


@pytest.fixture
async def proxy(postgresql: postgres.Server) -> AsyncIterator[Proxy]:
    proxy = Proxy(postgresql.port)
    await proxy.start()
    yield proxy
    await proxy.stop()


@pytest.fixture
def direct_url(postgresql: postgres.Server) -> str:
    return postgresql.new_database()


@pytest.fixture
async def distant(direct_url: str, postgresql: postgres.Server, proxy: Proxy) -> AsyncIterator[Store]:
    """A PostgreSQL store behind a network that can fail."""
    url = direct_url.replace(f":{postgresql.port}/", f":{proxy.port}/")
    store = make_store(url, answer_s=1.0)
    await store.open()
    yield store
    await store.close()


# --- addresses ---


@pytest.mark.parametrize(
    "url,said",
    [
        ("", "is empty"),
        ("watchdog.db", "is not a database URL"),
        ("mysql://u:secret@h/db", "names 'mysql', which is not supported"),
        ("sqlite://watchdog.db", "three slashes before a relative path"),
        ("sqlite:///x.db?mode=ro", "parameters (mode)"),
        ("postgresql://u:secret@h:port/db", "is not a database URL"),
        ("postgresql://u:secret@h", "names no database after the host"),
    ],
)
def test_a_broken_url_is_a_configuration_error_that_shows_no_password(url: str, said: str) -> None:
    with pytest.raises(ConfigError) as caught:
        make_store(url)

    assert said in str(caught.value)
    assert "WATCHDOG_DATABASE_URL" in str(caught.value)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("url", ["postgres://h/db", "postgresql://h/db", "postgresql+psycopg://h/db"])
def test_every_spelling_of_postgresql_is_taken(url: str) -> None:
    make_store(url)


async def test_a_folder_that_does_not_exist_is_a_configuration_error(tmp_path: Path) -> None:
    store = make_store(f"sqlite:///{tmp_path}/missing/watchdog.db")

    with pytest.raises(ConfigError, match=r"missing, which does not exist: create that folder"):
        await store.open()
    await store.close()


async def test_a_file_that_is_no_database_is_named(tmp_path: Path) -> None:
    file = tmp_path / "watchdog.db"
    file.write_text("this is a text file, and long enough to be taken for a database header " * 20)
    store = make_store(f"sqlite:///{file}")

    with pytest.raises(StoreUnavailableError, match="is not an SQLite database"):
        await store.open()
    await store.close()


async def test_a_folder_in_place_of_the_file_is_named(tmp_path: Path) -> None:
    store = make_store(f"sqlite:///{tmp_path}")

    with pytest.raises(StoreUnavailableError, match="cannot be opened"):
        await store.open()
    await store.close()


async def test_a_store_that_is_not_open_says_so(tmp_path: Path) -> None:
    with pytest.raises(StoreUnavailableError, match="is not open"):
        await make_store(f"sqlite:///{tmp_path}/watchdog.db").ping()


# --- SQLite ---


async def test_a_file_locked_by_another_process_is_told_in_time_and_read_all_the_while(tmp_path: Path) -> None:
    store = make_store(f"sqlite:///{tmp_path}/watchdog.db")
    await store.open()
    lease = await lease_of(store)
    other = sqlite3.connect(tmp_path / "watchdog.db", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")

    async with asyncio.timeout(2.0):  # what an owner grants its lease before it acts without
        with pytest.raises(StoreUnavailableError, match="is locked by another process"):
            await store.renew(lease, ttl_s=15.0, now=NOW)
    await store.ping()
    assert await read(store) == []
    other.execute("ROLLBACK")
    other.close()

    await store.append(lease, [event()])
    await store.close()


async def test_a_short_lock_is_waited_for(tmp_path: Path) -> None:
    store = make_store(f"sqlite:///{tmp_path}/watchdog.db")
    await store.open()
    other = sqlite3.connect(tmp_path / "watchdog.db", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    asyncio.get_running_loop().call_later(0.2, other.execute, "ROLLBACK")

    assert await store.post("watch/w1", key="k", kind="signal", body={}, now=NOW)
    await store.close()
    other.close()


async def test_a_caller_that_gives_up_while_the_file_is_locked_is_let_go_at_once(tmp_path: Path) -> None:
    store = make_store(f"sqlite:///{tmp_path}/watchdog.db")
    await store.open()
    lease = await lease_of(store)
    other = sqlite3.connect(tmp_path / "watchdog.db", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    loop = asyncio.get_running_loop()
    began = loop.time()

    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.2):
            await store.append(lease, [event()])

    assert loop.time() - began < 1.0
    other.execute("ROLLBACK")
    other.close()
    await store.append(lease, [event()])
    assert len(await read(store)) == 1
    await store.close()


async def test_a_full_file_is_told_and_written_again_when_there_is_room(tmp_path: Path) -> None:
    """A limit on the file's size: the kernel refuses the write with EFBIG."""
    worker = await start("filling", f"sqlite:///{tmp_path}/watchdog.db", "1000000")

    said = await finish(worker)

    assert "cannot be read or written, the disk reports an error or a limit" in said
    _assert_nothing_lost(said)


async def test_a_full_disk_is_told_and_written_again_when_there_is_room(tmp_path: Path) -> None:
    """A small disk of its own, in a mount namespace that ends with the process."""
    if shutil.which("unshare") is None:
        pytest.skip("a small disk: this machine has no unshare")
    command = ["unshare", "--mount", *(() if os.geteuid() == 0 else ("--map-root-user",)), "sh", "-ec"]
    url = f"sqlite:///{tmp_path}/watchdog.db"
    mount = 'mount -t tmpfs -o size=1m tmpfs "$0"; cd "$0"; head -c 100000 /dev/zero > ballast; '
    probe = await asyncio.create_subprocess_exec(*command, mount, str(tmp_path))
    if await probe.wait() != 0:
        pytest.skip("a small disk: this user may not mount one")
    worker = await asyncio.create_subprocess_exec(
        *command,
        mount + 'exec "$@"',
        *(str(tmp_path), sys.executable, str(WORKER), "filling", url, "0"),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )

    said = await finish(worker)

    assert "has no space left on its disk" in said
    _assert_nothing_lost(said)


def _assert_nothing_lost(said: str) -> None:
    """What was answered before the disk was full is there, what was refused is not."""
    words = said.strip().splitlines()[-1].split()
    wrote, then, count = int(words[1]), int(words[3]), int(words[5])
    assert wrote > 5
    assert then == count == wrote + 1


@pytest.fixture
def read_only_url() -> Iterator[str]:
    """A store that others may read, in a folder that they can reach (which pytest's own is not)."""
    with tempfile.TemporaryDirectory(prefix="watchdog-ro-") as name:
        folder, file = Path(name), Path(name) / "watchdog.db"
        asyncio.run(_open_once(f"sqlite:///{file}"))
        file.chmod(0o444)
        folder.chmod(0o555)
        yield f"sqlite:///{file}"
        folder.chmod(0o755)


async def _open_once(url: str) -> None:
    store = make_store(url)
    await store.open()
    await store.close()


async def test_a_read_only_file_is_told(read_only_url: str) -> None:
    said = await finish(await start("forbidden", read_only_url))

    assert "is read-only: give this user write access to the file and to its folder" in said


# --- PostgreSQL ---


async def test_a_server_that_is_not_there_is_named_without_its_password(unused_tcp_port: int) -> None:
    store = make_store(f"postgresql://watchdog:secret@127.0.0.1:{unused_tcp_port}/none", answer_s=1.0)

    with pytest.raises(StoreUnavailableError, match=f"none on 127.0.0.1:{unused_tcp_port}") as caught:
        await store.open()

    assert "secret" not in str(caught.value)
    await store.close()


async def test_a_database_that_is_not_there_is_named(postgresql: postgres.Server) -> None:
    store = make_store(postgresql.url("nowhere"))

    with pytest.raises(StoreUnavailableError, match="nowhere"):
        await store.open()
    await store.close()


async def test_a_server_that_went_silent_is_given_up_in_time_and_used_again_later(distant: Store, proxy: Proxy) -> None:
    lease = await lease_of(distant)
    proxy.freeze()
    loop = asyncio.get_running_loop()
    began = loop.time()

    with pytest.raises(StoreUnavailableError, match="did not answer within 1 s"):
        await distant.renew(lease, ttl_s=15.0, now=NOW)
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.2):
            await distant.ping()

    assert loop.time() - began < 2.0
    proxy.thaw()
    proxy.cut()
    await _eventually(distant.ping)
    await distant.append(lease, [event()])


async def test_connections_cut_by_the_network_are_replaced(distant: Store, proxy: Proxy) -> None:
    lease = await lease_of(distant)
    proxy.cut()

    await _eventually(distant.ping)
    await distant.append(lease, [event()])

    assert len(await read(distant)) == 1


async def test_an_append_whose_answer_was_lost_is_not_written_twice(distant: Store, proxy: Proxy) -> None:
    """The commit arrived, its answer did not: the same events offered again, later and under a new epoch because the
    lease had run out, stand in the journal once."""
    lease = await lease_of(distant)
    await distant.append(lease, [event(1)])
    proxy.freeze_answers_after(b"COMMIT")

    with pytest.raises(StoreUnavailableError):
        await distant.append(lease, [event(2), event(3)])
    proxy.thaw()
    proxy.cut()
    await _eventually(distant.ping)
    await distant.append(lease, [], watch=row())
    lease = await lease_of(distant, now=NOW + 60)
    records = await distant.append(lease, [event(2, late=True), event(3, late=True), event(4)])

    assert [record.seq for record in records] == [2, 3, 4]
    assert [record.body["n"] for record in await read(distant)] == [1, 2, 3, 4]


async def test_a_holder_that_hangs_in_an_append_does_not_hold_up_who_asks(
    direct_url: str, distant: Store, proxy: Proxy
) -> None:
    """Its row is locked; whoever else asks for the lease is told "not yours" instead of waiting with it."""
    await lease_of(distant)
    other = make_store(direct_url)
    await other.open()
    proxy.freeze_answers_after(b"INSERT INTO journal")
    with pytest.raises(StoreUnavailableError):
        await distant.append(await lease_of(distant), [event()])

    async with asyncio.timeout(1.0):
        assert await other.acquire("watch/w1", "b", ttl_s=15.0, now=NOW + 1000) is None
    proxy.thaw()
    proxy.cut()

    async def taken_over() -> None:
        if await other.acquire("watch/w1", "b", ttl_s=15.0, now=NOW + 1000) is None:
            raise StoreUnavailableError("not yet")

    await _eventually(taken_over)
    assert (await lease_of(other, owner="b", now=NOW + 1001)).epoch == 2
    await other.close()


async def _eventually(work: Callable[[], Awaitable[None]]) -> None:
    async with asyncio.timeout(10.0):
        while True:
            try:
                await work()
            except StoreUnavailableError:
                await asyncio.sleep(0.02)
            else:
                return
