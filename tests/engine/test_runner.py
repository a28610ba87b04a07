"""One watch: what reaches it, what it survives, and how long anything may take."""

import asyncio
from itertools import pairwise
from pathlib import Path

from tests.engine.world import BAD, DOWN, GOOD, NEXT, House, all_at_once, emulated, eventually, kept, policy, starved
from watchdog.core import coverage
from watchdog.core.state import Watch
from watchdog.emulator.faults import Fault
from watchdog.engine.keeper import FLUSH_S
from watchdog.engine.opening import Notice

EVERY_S = 0.3
FAILURES = 3
BOUND_S = (FAILURES - 1) * EVERY_S + EVERY_S + 2.0
"""First failed answer to traffic write (DESIGN section 5): (failures − 1) × every + timeout + 2 s."""
STORE_S = 2.0
"""What losing the store may add to it (section 7)."""
SIGNAL_S = 3.0
STOP_S = 5.0


def first_failure(house: House) -> float:
    return next(at for event, at, _ in house.told if event == "probe_failed")


FAULTS = {
    "down": DOWN,
    "hang": Fault(kind="hang"),
    "reset": Fault(kind="reset"),
    "status": Fault(kind="status", status=500),
    "degraded": Fault(kind="wrong_body"),
    "html": Fault(kind="wrong_body", body="<html>Maintenance</html>"),
    "slow": Fault(kind="slow", delay_ms=2000),
}


async def test_every_way_to_be_down_is_rolled_back_within_the_bound(tmp_path: Path) -> None:
    async def down(name: str, fault: Fault) -> None:
        async with emulated() as cloud, kept(cloud, tmp_path / f"{name}.db") as house:
            await cloud.deploy(BAD)
            runner = await house.watching(BAD)
            await house.at(runner, "watching")
            async with starved() as lost_s:
                cloud.afflict(BAD, fault)
                watch = await house.ended(runner)
            assert watch.outcome == "rolled_back", watch.reason
            assert len(cloud.landed) == 1
            assert cloud.landed[0].at - first_failure(house) <= BOUND_S + lost_s()
            assert cloud.split == {GOOD: 100}

    await all_at_once({name: down(name, fault) for name, fault in FAULTS.items()})


async def test_what_goes_wrong_is_journaled_without_gaps_and_paged_under_one_key(tmp_path: Path) -> None:
    async with emulated() as cloud, kept(cloud, tmp_path / "w.db") as house:
        await cloud.deploy(BAD, DOWN)
        runner = await house.watching(BAD)
        await house.ended(runner)
        records = await house.journal(runner.watch.id)
        assert [r.seq for r in records] == list(range(1, len(records) + 1))
        assert records[0].kind == "watch_opened"
        assert [r.kind for r in records].count("traffic_written") == 1
        await eventually(lambda: [p["event_action"] for p in cloud.pages()][-1:] == ["resolve"], "resolved")
        assert {p["dedup_key"] for p in cloud.pages()} == {
            f"watchdog/us-central1/barq-fleet-api/{runner.watch.id}/1",
        }
        assert cloud.pages()[0]["event_action"] == "trigger"


async def test_a_blip_that_passes_again_is_a_note_and_not_a_rollback(tmp_path: Path) -> None:
    async with emulated() as cloud, kept(cloud, tmp_path / "w.db", policy(failures=5)) as house:
        await cloud.deploy(BAD)
        runner = await house.watching(BAD)
        await house.at(runner, "watching")
        cloud.afflict(BAD, DOWN)
        await house.at(runner, "confirming")
        cloud.cure(BAD)
        await house.at(runner, "watching")
        assert not cloud.writes
        assert not cloud.pages()


# --- the store goes away ------------------------------------------------------------------------------------------


async def test_losing_the_store_delays_a_rollback_by_two_seconds_at_most(tmp_path: Path) -> None:
    cases = {f"{how} when {when}": (how, when) for how in ("hangs", "refuses") for when in ("confirming", "decision")}
    await all_at_once({name: lose_the_store(*case, tmp_path / f"{name}.db") for name, case in cases.items()})


async def lose_the_store(how: str, when: str, database: Path) -> None:
    async with emulated() as cloud, kept(cloud, database) as house:
        house.when[when] = lambda: setattr(house.store, "away", how)
        async with starved() as lost_s:
            await cloud.deploy(BAD, DOWN)
            runner = await house.watching(BAD)
            await eventually(lambda: cloud.landed, "the write")
        assert cloud.landed[0].at - first_failure(house) <= BOUND_S + STORE_S + lost_s()
        await house.at(runner, "ended")
        assert runner.watch.outcome == "rolled_back"
        actions = ["trigger", "resolve"]
        await eventually(lambda: [p["event_action"] for p in cloud.pages()] == actions, "paged without the store")
        house.store.away = ""
        await house.ended(runner)
        records = await house.journal(runner.watch.id)
        assert [r.seq for r in records] == list(range(1, len(records) + 1))
        late = [r.kind for r in records if r.late]
        assert "traffic_written" in late
        assert all(a.at <= b.at for a, b in pairwise(records)), "in the order in which it happened"
        stored = await house.store.watch(runner.watch.id)
        assert stored is not None
        assert stored.outcome == "rolled_back"
        assert [p["event_action"] for p in cloud.pages()] == actions, "and not once more when it was back"
        assert len(cloud.landed) == 1
        await eventually(lambda: house.keeper.service.bad_revisions, "remembered")


async def test_a_restart_after_the_store_was_away_folds_what_came_late(tmp_path: Path) -> None:
    async with emulated() as cloud:
        async with kept(cloud, tmp_path / "w.db", policy(settle="30s")) as house:
            house.when["decision"] = lambda: setattr(house.store, "away", "refuses")
            await cloud.deploy(BAD, DOWN)
            runner = await house.watching(BAD)
            await house.at(runner, "verifying")
            house.store.away = ""
            await eventually(lambda: runner.journalist.backlog == 0, "caught up")
            live = runner.watch
        async with kept(cloud, tmp_path / "w.db", settle=False) as house:
            resumed = (await house.watching(BAD)).watch
            assert resumed.rollback is not None
            assert live.rollback is not None
            assert resumed.rollback.written_at == live.rollback.written_at
            assert len(cloud.landed) == 1


async def test_a_command_in_the_foreground_does_not_wait_for_ever_for_a_dead_store(tmp_path: Path) -> None:
    async with (
        emulated() as cloud,
        kept(cloud, tmp_path / "w.db", discover=False, settle=False) as house,
    ):
        await cloud.deploy(BAD)
        await eventually(house.keeper.standby.is_set, "it keeps the service")
        runner = await house.keeper.open(Notice(revision=BAD, previous={GOOD: 100}))
        assert runner.flush_s == FLUSH_S
        runner.flush_s = 0.5
        await house.at(runner, "watching")
        house.store.away = "refuses"
        cloud.afflict(BAD, DOWN)
        watch = await house.ended(runner)
        assert watch.outcome == "rolled_back", watch.reason
        assert house.logged("journal_left_behind")


# --- what people and other programs say ---------------------------------------------------------------------------


async def test_a_signal_moves_traffic_within_three_seconds_whatever_else_is_slow(tmp_path: Path) -> None:
    """Monitoring hangs, so the notice about another revision takes seconds to open its watch."""
    async with emulated() as cloud, kept(cloud, tmp_path / "w.db") as house:
        await cloud.deploy(NEXT, traffic=False)
        await cloud.deploy(BAD, percent=100)
        runner = await house.watching(BAD)
        await house.at(runner, "watching")
        cloud.emulator.monitoring.set_fault("deadline", methods=())
        await house.announce(revision=NEXT)
        await asyncio.sleep(0)
        sent = house.tools.clock.now()
        await house.tell(runner, "signal", signal="database_corruption", by="support", reason="ticket 7")
        async with starved() as lost_s:
            await eventually(lambda: cloud.landed, "the write")
        assert cloud.landed[0].at - sent <= SIGNAL_S + lost_s()
        watch = await house.ended(runner)
        assert watch.outcome == "rolled_back"
        assert "support says database corruption: ticket 7" in watch.reason


async def test_a_signal_that_the_policy_does_not_list_only_informs(tmp_path: Path) -> None:
    async with emulated() as cloud, kept(cloud, tmp_path / "w.db") as house:
        await cloud.deploy(BAD)
        runner = await house.watching(BAD)
        await house.tell(runner, "signal", signal="support_tickets", by="support")
        await eventually(lambda: runner.watch.decisions, "the decision")
        assert runner.watch.decisions[0].action == "investigate"
        assert not cloud.writes


async def test_a_person_holds_and_resumes(tmp_path: Path) -> None:
    async with emulated() as cloud, kept(cloud, tmp_path / "w.db") as house:
        await cloud.deploy(BAD)
        runner = await house.watching(BAD)
        await house.tell(runner, "operator", verb="hold", by="ann", reason="known")
        await house.at(runner, "held")
        cloud.afflict(BAD, DOWN)
        await eventually(lambda: complete(runner.watch), "the failure is confirmed")
        assert not cloud.writes
        await house.tell(runner, "operator", verb="resume", by="ann")
        watch = await house.ended(runner)
        assert watch.outcome == "rolled_back", watch.reason


async def test_a_person_rolls_back_a_healthy_revision_and_is_named(tmp_path: Path) -> None:
    async with emulated() as cloud, kept(cloud, tmp_path / "w.db", policy(mode="observe", per_day=1)) as house:
        await cloud.deploy(BAD)
        runner = await house.watching(BAD)
        await house.at(runner, "watching")
        await house.tell(runner, "operator", verb="rollback", by="ann", reason="wrong prices")
        watch = await house.ended(runner)
        assert watch.outcome == "rolled_back", watch.reason
        assert "ann asked for it: wrong prices" in watch.reason
        assert cloud.split == {GOOD: 100}


async def test_finish_judges_what_was_seen(tmp_path: Path) -> None:
    async with emulated() as cloud, kept(cloud, tmp_path / "w.db") as house:
        await cloud.deploy(NEXT)
        runner = await house.watching(NEXT)
        await eventually(lambda: covered(runner.watch) > 0.9, "some evidence")
        await house.tell(runner, "operator", verb="finish", by="ann")
        assert (await house.ended(runner)).outcome == "passed"
        assert cloud.split == {NEXT: 100}


# --- stopping -----------------------------------------------------------------------------------------------------


async def test_it_stops_within_five_seconds_in_every_state(tmp_path: Path) -> None:
    async def stop(state: str, away: str) -> None:
        slow = policy(failures=20 if state == "confirming" else 3, settle="30s")
        async with emulated() as cloud, kept(cloud, tmp_path / f"{state}-{away}.db", slow) as house:
            await cloud.deploy(BAD)
            runner = await house.watching(BAD)
            await house.at(runner, "watching")
            if state == "rolling_back":
                await cloud.disturb(kind="status", status=503, on="writes")
            if state != "watching":
                cloud.afflict(BAD, DOWN)
            await house.at(runner, state)
            house.store.away = away
            loop = asyncio.get_running_loop()
            began = loop.time()
            async with starved() as lost_s:
                await house.stop()
            assert loop.time() - began <= STOP_S + lost_s()
            assert runner.watch.open

    states = ("watching", "confirming", "rolling_back", "verifying")
    await all_at_once({f"{state} {away}": stop(state, away) for state in states for away in ("", "hangs")})


def covered(watch: Watch) -> float:
    """How much of the first window was seen; little, where our own loop came late and so nothing was believed."""
    return coverage.of_window(watch, 0, watch.at) or 0.0


def complete(watch: Watch) -> bool:
    found = watch.confirmations.get("health")
    return found is not None and found.complete
