"""Preflights of the daemon's own and of others, and what a watch makes of them."""

from pathlib import Path

from tests.engine.world import BAD, DOWN, GOOD, KEY, NEXT, emulated, eventually, kept, policy
from watchdog.core import service as facts
from watchdog.engine.trust import KIND, Checked, could_write, judged, tell
from watchdog.errors import PermanentError, TemporaryError
from watchdog.ports import Right
from watchdog.store import MemoryStore


def right(permission: str, *, held: bool, writes: bool = False) -> Right:
    return Right(permission=permission, held=held, purpose="", remedy="", writes=writes)


class Answers:
    """Rights as somebody says them, or not."""

    untested = ""

    def __init__(self, answer: "list[Right] | Exception") -> None:
        self._answer = answer

    async def rights(self, _service: object) -> list[Right]:
        if isinstance(self._answer, Exception):
            raise self._answer
        return self._answer


async def test_only_a_permission_that_is_certainly_missing_fails() -> None:
    reads, writes = right("run.services.get", held=True), right("run.services.update", held=True, writes=True)
    assert (await could_write(Answers([reads, writes]), KEY)).passed is True
    denied = right("run.services.update", held=False, writes=True)
    assert await could_write(Answers([reads, denied]), KEY) == Checked(
        passed=False, problems=("run.services.update is not granted",)
    )
    assert (await could_write(Answers(TemporaryError("429")), KEY)).passed is None
    assert (await could_write(Answers(PermanentError("no such method", status=404)), KEY)).passed is True
    odd = judged([right("run.services.get", held=False), denied])
    assert odd.passed is True, "an answer that denies what we have just done tests nothing"


async def test_without_the_right_to_write_it_asks_and_with_it_it_acts(tmp_path: Path) -> None:
    async with emulated() as cloud, kept(cloud, tmp_path / "w.db") as house:
        await eventually(lambda: house.keeper.service.preflights.passed_at is not None, "its own preflight")
        cloud.emulator.gate.may_write = False
        await cloud.deploy(BAD, DOWN)
        runner = await house.watching(BAD)
        await house.at(runner, "awaiting_approval")
        assert "run.services.update is not granted" in runner.watch.doubt
        assert cloud.split == {BAD: 100}
        cloud.emulator.gate.may_write = True
        await house.order(KIND, passed=True, problems=[], by="ada")  # `watchdog preflight` says that it is mended
        await eventually(lambda: runner.watch.outcome == "rolled_back", "rolled back by itself")
        assert cloud.split == {GOOD: 100}
        kinds = [record.kind for record in await house.journal(runner.watch.id)]
        assert kinds.count("trusted") == 1


async def test_an_answer_that_does_not_come_changes_nothing(tmp_path: Path) -> None:
    async with emulated() as cloud, kept(cloud, tmp_path / "w.db") as house:
        await eventually(lambda: house.keeper.service.preflights.passed_at is not None, "its own preflight")
        broken = Answers(TemporaryError("503"))
        async with kept(cloud, tmp_path / "other.db", rights=broken) as other:
            await eventually(lambda: other.logged("preflight_unanswered"), "no answer")
            await cloud.deploy(NEXT)
            assert (await other.watching(NEXT)).watch.doubt == "no preflight has passed yet"
            assert (await house.watching(NEXT)).watch.doubt == ""


async def test_what_another_process_found_is_written_where_nobody_keeps_the_service() -> None:
    store = MemoryStore()
    await store.open()
    await tell(store, KEY, Checked(passed=None), by="ada", owner="cli", now=5.0)
    await tell(store, KEY, Checked(passed=False, problems=("no right",)), by="ada", owner="cli", now=10.0)
    found = [facts.Fact(at=r.at, kind=r.kind, body=r.body) async for r in store.read(facts.stream(KEY))]
    assert facts.fold_all(KEY, found).preflights.problems == ("no right",)
    held = await store.acquire(facts.stream(KEY), "daemon", ttl_s=15.0, now=20.0)
    assert held is not None
    await tell(store, KEY, Checked(passed=True), by="ada", owner="cli", now=30.0)
    (letter,) = await store.letters([facts.stream(KEY)])
    assert (letter.kind, letter.body["passed"], letter.at) == (KIND, True, 30.0)


async def test_a_second_identity_writes_and_the_watchdogs_own_cannot(tmp_path: Path) -> None:
    account = "writer@barq-fleet.iam.gserviceaccount.com"
    base = policy()
    mine = base.model_copy(update={"rollback": base.rollback.model_copy(update={"impersonate": account})})
    async with emulated() as cloud:
        cloud.emulator.gate.writers = frozenset({account})
        async with kept(cloud, tmp_path / "w.db", mine) as house:
            await eventually(lambda: house.keeper.service.preflights.passed_at is not None, "its own preflight")
            cloud.emulator.mint.clear()  # revoked since: the write asks for another one
            await cloud.deploy(BAD, DOWN)
            runner = await house.watching(BAD)
            assert runner.watch.doubt == ""
            await eventually(lambda: runner.watch.outcome == "rolled_back", "rolled back")
            assert {write.account for write in cloud.landed} == {account}


async def test_a_token_that_cannot_be_had_is_paged_when_traffic_has_to_move(tmp_path: Path) -> None:
    account = "writer@barq-fleet.iam.gserviceaccount.com"
    base = policy()
    mine = base.model_copy(update={"rollback": base.rollback.model_copy(update={"impersonate": account})})
    async with emulated() as cloud, kept(cloud, tmp_path / "w.db", mine) as house:
        await eventually(lambda: house.keeper.service.preflights.passed_at is not None, "its own preflight")
        await cloud.deploy(NEXT)
        runner = await house.watching(NEXT)
        cloud.emulator.mint.clear()
        cloud.emulator.gate.may_impersonate = False
        cloud.afflict(NEXT, DOWN)
        await eventually(lambda: runner.watch.outcome == "failed", "the write failed")
        assert "iam.serviceAccounts.getAccessToken" in runner.watch.reason
        assert cloud.split == {NEXT: 100}
