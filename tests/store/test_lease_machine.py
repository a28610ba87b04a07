"""Any order of asking, renewing, giving up, waiting, appending: never two writers of an epoch, never a stale one."""

import asyncio
import itertools
from collections.abc import Coroutine
from pathlib import Path
from typing import Any, ClassVar, TypeVar

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from tests.store.samples import NOW, event, read
from watchdog.errors import LeaseLostError
from watchdog.ports import Lease, Store
from watchdog.store import make_store

_T = TypeVar("_T")
_OWNERS = st.sampled_from(["a", "b", "c"])
_TTL_S = 15.0


class LeaseMachine(RuleBasedStateMachine):
    """The store against a model of one lease in five lines."""

    where: ClassVar[str] = "memory:"
    numbers: ClassVar[Any] = itertools.count()

    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.store: Store = make_store(self.where)
        self.run(self.store.open())
        self.stream = f"watch/{next(self.numbers)}"
        self.now = NOW
        self.holder: tuple[str, int] | None = None
        self.expires_at = 0.0
        self.highest = 0
        self.handed_out: dict[str, list[Lease]] = {"a": [], "b": [], "c": []}
        self.written: list[int] = []

    def run(self, work: Coroutine[Any, Any, _T]) -> _T:
        return self.runner.run(work)

    @rule(seconds=st.sampled_from([0.0, 1.0, 14.0, 15.0, 40.0]))
    def wait(self, seconds: float) -> None:
        self.now += seconds

    @rule(owner=_OWNERS)
    def acquire(self, owner: str) -> None:
        lease = self.run(self.store.acquire(self.stream, owner, ttl_s=_TTL_S, now=self.now))

        held = self.holder is not None and self.expires_at > self.now
        if held and self.holder is not None and self.holder[0] != owner:
            assert lease is None
            return
        assert lease is not None
        assert lease.epoch == (self.highest if held else self.highest + 1)
        self.holder, self.highest, self.expires_at = (owner, lease.epoch), lease.epoch, self.now + _TTL_S
        self.handed_out[owner].append(lease)

    @rule(owner=_OWNERS, back=st.integers(0, 3))
    def renew(self, owner: str, back: int) -> None:
        for lease in self.handed_out[owner][-1 - back :][:1]:
            try:
                self.run(self.store.renew(lease, ttl_s=_TTL_S, now=self.now))
            except LeaseLostError:
                assert self.holder != (owner, lease.epoch)
            else:
                assert self.holder == (owner, lease.epoch)
                self.expires_at = self.now + _TTL_S

    @rule(owner=_OWNERS, back=st.integers(0, 3))
    def release(self, owner: str, back: int) -> None:
        for lease in self.handed_out[owner][-1 - back :][:1]:
            self.run(self.store.release(lease))
            if self.holder == (owner, lease.epoch):
                self.holder = None

    @rule(owner=_OWNERS, back=st.integers(0, 3), count=st.integers(1, 3))
    def append(self, owner: str, back: int, count: int) -> None:
        for lease in self.handed_out[owner][-1 - back :][:1]:
            try:
                self.run(self.store.append(lease, [event()] * count))
            except LeaseLostError:
                assert self.holder != (owner, lease.epoch)
            else:
                assert self.holder == (owner, lease.epoch)
                self.written += [lease.epoch] * count

    @invariant()
    def the_journal_holds_what_was_written_and_epochs_never_go_back(self) -> None:
        records = self.run(read(self.store, self.stream))
        assert [record.epoch for record in records] == self.written == sorted(self.written)
        assert [record.seq for record in records] == list(range(1, len(records) + 1))

    def teardown(self) -> None:
        self.run(self.store.close())
        self.runner.close()


TestLeasesInMemory = LeaseMachine.TestCase
TestLeasesInMemory.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)


def test_leases_on_sqlite(tmp_path: Path) -> None:
    """The same machine, each example on a stream of its own in one file."""

    class OnSqlite(LeaseMachine):
        where = f"sqlite:///{tmp_path}/watchdog.db"

    test: Any = OnSqlite.TestCase
    test.settings = settings(
        max_examples=12, stateful_step_count=20, deadline=None, suppress_health_check=[HealthCheck.too_slow]
    )
    test("runTest").runTest()
