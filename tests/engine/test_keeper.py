"""What opens a watch and what does not, what outlives one, and who owns it when processes come and go."""

from pathlib import Path

from tests.engine.world import (
    BAD,
    DOWN,
    GOOD,
    KEY,
    NEXT,
    House,
    emulated,
    eventually,
    kept,
    looked,
    policy,
)
from watchdog.core.events import Signalled
from watchdog.emulator.faults import Fault

# --- what opens a watch --------------------------------------------------------------------------------------------


async def test_the_first_start_takes_what_serves_as_proven_even_when_it_is_sick(tmp_path: Path) -> None:
    async with emulated() as cloud:
        await cloud.deploy(BAD, DOWN)
        async with kept(cloud, tmp_path / "w.db", settle=False) as house:
            await eventually(lambda: house.keeper.service.known, "the first sight")
            await looked(house)
            assert not house.runners
            assert house.keeper.service.target.percents() == {BAD: 100}


async def test_what_gets_no_traffic_opens_nothing_until_it_does(tmp_path: Path) -> None:
    async with emulated() as cloud, kept(cloud, tmp_path / "w.db") as house:
        await cloud.deploy(NEXT, traffic=False, tag="next")
        await cloud.deploy(BAD, ready=False)
        await looked(house)
        assert not house.runners
        await cloud.move(next=10, good=90)
        runner = await house.watching(NEXT)
        assert runner.watch.target.split.percents() == {GOOD: 100}
        assert len(house.runners) == 1


async def test_a_return_to_a_proven_split_ends_the_watch_and_opens_none(tmp_path: Path) -> None:
    async with emulated() as cloud, kept(cloud, tmp_path / "w.db") as house:
        await cloud.deploy(NEXT)
        runner = await house.watching(NEXT)
        await cloud.move(good=100)
        watch = await house.ended(runner)
        assert watch.outcome == "overridden"
        await looked(house)
        assert not house.runners


async def test_our_own_write_opens_no_watch_not_even_to_a_split_that_nobody_proved(tmp_path: Path) -> None:
    """The caller may name any split as the one before; routing takes long enough to be looked at."""
    async with emulated(routing_delay_s=0.5) as cloud, kept(cloud, tmp_path / "w.db") as house:
        await cloud.deploy(NEXT, traffic=False)
        await cloud.deploy(BAD, traffic=False)
        await house.announce(revision=BAD, previous={NEXT: 100})
        runner = await house.watching(BAD)
        cloud.afflict(BAD, DOWN)
        await cloud.move(bad=100)
        watch = await house.ended(runner)
        assert watch.outcome == "rolled_back", watch.reason
        assert cloud.split == {NEXT: 100}
        await looked(house)
        assert not house.runners
        assert len(house.events("watch_opened")) == 1


async def test_a_notice_and_discovery_meet_in_one_watch_under_the_notices_id(tmp_path: Path) -> None:
    async with emulated() as cloud, kept(cloud, tmp_path / "w.db") as house:
        await cloud.deploy(NEXT, traffic=False)
        await house.announce(revision=NEXT, watch_id="chosen1", version="2.0")
        runner = await house.watching(NEXT)
        assert (runner.watch.id, runner.watch.state, runner.watch.deploy.version) == ("chosen1", "pending", "2.0")
        await cloud.move(next=100)
        await house.at(runner, "watching")
        await house.announce(revision=NEXT)
        await looked(house)
        await eventually(lambda: no_letters(house), "the second notice was taken")
        assert [r.watch.id for r in house.runners] == ["chosen1"]
        assert runner.watch.cutover_at is not None


async def test_a_notice_does_not_hide_another_revision_that_came_unseen(tmp_path: Path) -> None:
    slow = policy(discover="30s")
    async with emulated() as cloud, kept(cloud, tmp_path / "w.db", slow) as house:
        await cloud.deploy(NEXT)
        await cloud.deploy(BAD, traffic=False)
        await house.announce(revision=BAD)
        await house.watching(BAD)
        house.keeper._poll_now.set()
        await house.watching(NEXT)


async def test_a_notice_without_a_revision_means_the_one_just_created(tmp_path: Path) -> None:
    """A pipeline speaks right after its deploy, long before the next look at the service."""
    async with emulated() as cloud, kept(cloud, tmp_path / "w.db", policy(discover="30s")) as house:
        await cloud.deploy(NEXT)
        await house.announce(version="2.0")
        runner = await house.watching(NEXT)
        assert runner.watch.deploy.version == "2.0"
        assert len(house.runners) == 1


async def test_a_notice_that_comes_after_discovery_still_marks_the_deploy_as_unsafe(tmp_path: Path) -> None:
    async with emulated() as cloud, kept(cloud, tmp_path / "w.db") as house:
        await cloud.deploy(BAD)
        runner = await house.watching(BAD)
        await house.announce(revision=BAD, rollback_safe=False)
        await eventually(lambda: not runner.watch.deploy.rollback_safe, "marked")
        cloud.afflict(BAD, DOWN)
        await eventually(lambda: runner.watch.outcome == "failed", "the refusal")
        assert not cloud.writes


async def test_the_named_split_is_the_target_without_the_deploy_itself_and_without_what_is_not_there(
    tmp_path: Path,
) -> None:
    async with emulated() as cloud, kept(cloud, tmp_path / "w.db") as house:
        await cloud.deploy(NEXT, traffic=False)
        await cloud.deploy(BAD, traffic=False)
        await house.announce(revision=BAD, previous={NEXT: 60, GOOD: 20, BAD: 20})
        promoted = await house.watching(BAD)
        assert promoted.watch.target.split.percents() == {NEXT: 75, GOOD: 25}
        await house.announce(revision=NEXT, previous={f"{KEY.name}-typo": 100})
        mistaken = await house.watching(NEXT)
        assert mistaken.watch.target.split.percents() == {GOOD: 100}, "the last proven one instead"
        assert any("holds nothing to go back to" in note for note in mistaken.watch.notes)


async def test_a_deploy_over_an_unproven_one_goes_back_to_the_last_proven_split(tmp_path: Path) -> None:
    async with emulated() as cloud, kept(cloud, tmp_path / "w.db") as house:
        await cloud.deploy(NEXT)
        first = await house.watching(NEXT)
        await cloud.deploy(BAD, DOWN)
        second = await house.watching(BAD)
        assert (await house.ended(first)).outcome == "superseded"
        assert second.watch.target.split.percents() == {GOOD: 100}
        assert (await house.ended(second)).outcome == "rolled_back"
        assert cloud.split == {GOOD: 100}


async def test_while_both_serve_the_newer_ones_watch_opens_beside_the_older_ones(tmp_path: Path) -> None:
    async with emulated() as cloud, kept(cloud, tmp_path / "w.db") as house:
        await cloud.deploy(NEXT, percent=50, tag="next")
        first = await house.watching(NEXT)
        await cloud.deploy(BAD, DOWN, percent=30, tag="bad")
        second = await house.watching(BAD)
        watch = await house.ended(second)
        assert watch.outcome == "rolled_back", watch.reason
        assert cloud.split[NEXT] == 35, "nobody else's share was touched"
        assert first.watch.open


async def test_a_promotion_while_a_failure_is_confirmed_keeps_watch_and_target(tmp_path: Path) -> None:
    async with emulated() as cloud, kept(cloud, tmp_path / "w.db", policy(failures=6)) as house:
        await cloud.deploy(BAD, percent=20, tag="bad")
        runner = await house.watching(BAD)
        cloud.afflict(BAD, DOWN)
        await house.at(runner, "confirming")
        await cloud.move(bad=60, good=40)
        watch = await house.ended(runner)
        assert [e["split"] for e in house.events("promoted")] == [{BAD: 60, GOOD: 40}]
        assert watch.outcome == "rolled_back", watch.reason
        assert cloud.split == {GOOD: 100}
        assert len(cloud.landed) == 1


async def test_a_bad_revision_that_serves_again_is_watched_without_writing(tmp_path: Path) -> None:
    async with emulated() as cloud, kept(cloud, tmp_path / "w.db") as house:
        await cloud.deploy(BAD, DOWN)
        await house.ended(await house.watching(BAD))
        await cloud.move(bad=100)
        again = await house.watching(BAD)
        await eventually(lambda: again.watch.outcome == "failed", "the judgement")
        assert len(cloud.landed) == 1
        assert cloud.split == {BAD: 100}


# --- release ------------------------------------------------------------------------------------------------------


async def test_release_is_refused_while_the_latest_is_bad_and_then_follows_the_latest_again(tmp_path: Path) -> None:
    async with emulated() as cloud, kept(cloud, tmp_path / "w.db") as house:
        await cloud.deploy(BAD, DOWN)
        await house.ended(await house.watching(BAD))
        assert await house.app.why_not_release(KEY), "the API answers 412"
        await house.order("release", on_next=False, by="me")
        await eventually(lambda: house.logged("release_refused"), "the refusal")
        assert cloud.split == {GOOD: 100}
        await cloud.deploy(NEXT)
        assert cloud.split == {GOOD: 100}, "pinned"
        assert await house.app.why_not_release(KEY) is None
        await cloud.disturb(kind="race", on="writes", count=1)
        await house.order("release", on_next=False, by="me")
        runner = await house.watching(NEXT)
        assert runner.watch.split.shares[0].latest
        assert "deploy-watchdog/rolled-back" not in cloud.service.annotations
        assert cloud.service.tags() == {"stable": GOOD}
        assert house.keeper.service.pinned is None


async def test_release_on_next_waits_for_a_newer_ready_revision_and_watches_it(tmp_path: Path) -> None:
    async with emulated() as cloud, kept(cloud, tmp_path / "w.db") as house:
        await cloud.deploy(BAD, DOWN)
        await house.ended(await house.watching(BAD))
        await house.order("release", on_next=True, by="me")
        await eventually(lambda: house.keeper.service.release_on_next, "the order")
        await looked(house)
        assert cloud.split == {GOOD: 100}, "the bad one is still the latest"
        await cloud.deploy(NEXT)
        runner = await house.watching(NEXT)
        assert runner.watch.target.split.percents() == {GOOD: 100}
        assert cloud.split == {NEXT: 100}
        assert not house.keeper.service.release_on_next


async def test_a_pin_that_somebody_else_has_undone_is_forgotten_with_what_was_ordered_for_it(tmp_path: Path) -> None:
    """Else the next rollback's pin would be undone by an order that was given for this one."""
    async with emulated() as cloud, kept(cloud, tmp_path / "w.db") as house:
        await cloud.deploy(BAD, DOWN)
        await house.ended(await house.watching(BAD))
        assert house.keeper.service.pinned is not None
        await house.order("release", on_next=True, by="me")
        await eventually(lambda: house.keeper.service.release_on_next, "the order")
        await cloud.deploy(NEXT, settle=False)
        await cloud.move(LATEST=100)
        await house.watching(NEXT)
        await eventually(lambda: house.keeper.service.pinned is None, "forgotten")
        assert not house.keeper.service.release_on_next


# --- processes come and go ----------------------------------------------------------------------------------------


async def test_a_watch_whose_lease_outlives_its_dead_owner_is_taken_up_when_it_ends(tmp_path: Path) -> None:
    """A killed process leaves two leases, renewed at different moments: the watch's may end long after the other."""
    async with emulated() as cloud:
        async with kept(cloud, tmp_path / "w.db") as house:
            await cloud.deploy(NEXT)
            watch_id = (await house.at(await house.watching(NEXT), "watching")).id
            await eventually(lambda: house.events("cutover"), "journaled")
        async with kept(cloud, tmp_path / "w.db", settle=False) as house:
            await eventually(lambda: house.runners, "resumed at once")
        async with kept(cloud, tmp_path / "w.db", settle=False) as house:
            store = house.app.store
            now = house.tools.clock.now()
            dead = await eventually(
                lambda: store.acquire(f"watch/{watch_id}", "the dead one", ttl_s=2.5, now=now), "the dead owner's lease"
            )
            await eventually(lambda: house.keeper.owned, "the service")
            assert not house.runners
            runner = await eventually(lambda: next(iter(house.runners), None), "resumed later")
            assert runner.watch.id == watch_id
            assert house.tools.clock.now() >= dead.expires_at
            await house.at(runner, "watching")


async def test_a_process_that_ends_right_after_an_arrival_leaves_it_to_the_next(tmp_path: Path) -> None:
    """Either the watch is in the journal or the arrival is still news: a deploy that nobody watches must not be."""
    async with emulated() as cloud:
        async with kept(cloud, tmp_path / "w.db") as house:
            await cloud.deploy(NEXT)
            await house.watching(NEXT)
            await house.stop()
        async with kept(cloud, tmp_path / "w.db", settle=False) as house:
            await house.watching(NEXT)
            await looked(house)
            assert len(house.runners) == 1


async def test_an_arrival_that_was_not_remembered_opens_no_second_watch(tmp_path: Path) -> None:
    async with emulated() as cloud:
        async with kept(cloud, tmp_path / "w.db") as house:
            house.store.refuses_appends_to = house.keeper.stream
            house.store.for_good = True
            await cloud.deploy(NEXT)
            watch_id = (await house.watching(NEXT)).watch.id
            await eventually(lambda: house.events("watch_opened"), "journaled")
        async with kept(cloud, tmp_path / "w.db", settle=False) as house:
            runner = await house.watching(NEXT)
            await looked(house)
            assert [r.watch.id for r in house.runners] == [runner.watch.id] == [watch_id]


async def test_a_lone_failure_between_watches_is_asked_again_before_it_counts(tmp_path: Path) -> None:
    async with emulated() as cloud:
        cloud.afflict(GOOD, Fault(kind="status", for_s=0.8, at=cloud.emulator.collected.now()))
        async with kept(cloud, tmp_path / "w.db") as house:
            assert not house.keeper.service.sick
            assert set(house.keeper.service.armed) == {"health"}


async def test_a_watch_that_crashed_is_taken_up_again(tmp_path: Path) -> None:
    async with emulated() as cloud, kept(cloud, tmp_path / "w.db") as house:
        await cloud.deploy(BAD)
        runner = await house.watching(BAD)
        await house.at(runner, "watching")
        runner.journalist.tools = None  # type: ignore[assignment] # a bug of ours, anywhere in the loop
        await eventually(lambda: house.logged("watch_crashed"), "the crash")
        again = await house.watching(BAD)
        assert again is not runner
        cloud.afflict(BAD, DOWN)
        assert (await house.ended(again)).outcome == "rolled_back"
        assert len(cloud.landed) == 1


async def test_an_event_that_cannot_be_folded_is_paged_and_does_not_survive_as_a_crash_at_the_next_start(
    tmp_path: Path,
) -> None:
    async with emulated() as cloud:
        async with kept(cloud, tmp_path / "w.db") as house:
            await cloud.deploy(BAD)
            runner = await house.watching(BAD)
            await house.at(runner, "watching")
            runner.put(Signalled(at=house.tools.clock.now(), signal=None))  # type: ignore[arg-type] # raises when folded
            await eventually(lambda: any("fault" in str(p).lower() for p in cloud.pages()), "the page")
            assert runner.watch.open
        async with kept(cloud, tmp_path / "w.db", settle=False) as house:
            runner = await house.watching(BAD)
            cloud.afflict(BAD, DOWN)
            assert (await house.ended(runner)).outcome == "rolled_back"


async def test_what_a_killed_process_had_no_time_to_remember_is_remembered_by_the_next(tmp_path: Path) -> None:
    """It was killed between the journal entry of its write and the facts about the service."""
    async with emulated() as cloud:
        async with kept(cloud, tmp_path / "w.db", policy(settle="30s")) as house:
            await cloud.deploy(BAD, DOWN)
            runner = await house.watching(BAD)
            house.store.refuses_appends_to = house.keeper.stream
            await house.at(runner, "verifying")
            await eventually(lambda: runner.watch.rollback and runner.watch.rollback.restored_at, "journaled")
            house.store.for_good = True
        async with kept(cloud, tmp_path / "w.db", settle=False) as house:
            await eventually(lambda: house.runners, "resumed")
            assert BAD in house.keeper.service.bad_revisions
            assert house.keeper.service.pinned is not None
            assert len(house.keeper.service.rollbacks) == 1
        async with kept(cloud, tmp_path / "w.db", settle=False) as house:
            await eventually(lambda: house.runners, "resumed again")
            assert len(house.keeper.service.rollbacks) == 1, "counted once"


async def test_of_two_watchdogs_on_one_store_one_acts_and_the_other_follows_when_it_stops(tmp_path: Path) -> None:
    async with emulated() as cloud, kept(cloud, tmp_path / "w.db") as one:  # noqa: SIM117 - the second joins the first's world
        async with kept(cloud, tmp_path / "w.db", settle=False) as two:
            await eventually(two.keeper.standby.is_set, "standing by")
            await cloud.deploy(BAD)
            await one.watching(BAD)
            assert not two.runners
            await one.stop()
            runner = await two.watching(BAD)
            cloud.afflict(BAD, DOWN)
            assert (await two.ended(runner)).outcome == "rolled_back"
            assert len(cloud.landed) == 1


async def test_a_service_that_cannot_be_read_is_said_once_and_again_when_it_can(tmp_path: Path) -> None:
    async with emulated() as cloud, kept(cloud, tmp_path / "w.db") as house:
        await cloud.disturb(kind="status", status=503, on="reads")
        await eventually(lambda: house.logged("service_unreadable"), "the warning")
        reads = cloud.emulator.world.reads
        await eventually(lambda: cloud.emulator.world.reads >= reads + 3, "more tries")
        assert len(house.logged("service_unreadable")) == 1
        await cloud.calm()
        await eventually(lambda: house.logged("service_readable"), "the good news")


async def no_letters(house: House) -> bool:
    return not await house.store.letters([house.keeper.stream])
