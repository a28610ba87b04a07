"""`rollback.tag`: both revisions are tagged for the time of the watch, and only what is ours is taken away again."""

from pathlib import Path

from tests.engine.world import (
    BAD,
    DOWN,
    GOOD,
    NEXT,
    Cloud,
    all_at_once,
    emulated,
    eventually,
    kept,
    looked,
    policy_text,
)
from watchdog.core.policy import Policy
from watchdog.engine.opening import Notice
from watchdog.policy_file import parse_policy


def tagging(**changes: object) -> Policy:
    text = policy_text(**changes).replace("trial: off", "trial: off\n  tag: true")
    return parse_policy(text, Path("policy.yaml")).policy


def names(watch_id: str) -> dict[str, str]:
    return {f"wd-{watch_id}-n": NEXT, f"wd-{watch_id}-o": GOOD}


async def test_both_are_tagged_while_it_lasts_and_nobodys_share_or_tag_changes(tmp_path: Path) -> None:
    async with emulated(tagged=False) as cloud, kept(cloud, tmp_path / "w.db", tagging()) as house:
        await cloud.deploy(NEXT)
        runner = await house.watching(NEXT)
        watch = runner.watch
        await eventually(lambda: cloud.service.tags() == names(watch.id), "two tags")
        assert cloud.split == {NEXT: 100}
        assert any(e.get("latestRevision") and e["percent"] == 100 for e in cloud.service.traffic)
        await eventually(lambda: len(runner.watch.tags) == 2, "the watch knows them")
        assert any("tagged by the watchdog for the time of this watch" in note for note in watch.notes)
        await house.tell(runner, "operator", verb="finish")
        await house.ended(runner)
        await eventually(lambda: not cloud.service.tags(), "no tag is left")
        assert cloud.split == {NEXT: 100}
        assert len(cloud.landed) == 2


async def test_a_canary_is_judged_by_its_own_probes_and_the_target_is_asked(tmp_path: Path) -> None:
    """Without a tag a failing probe of a part of the traffic could not be told from the others'."""
    async with emulated(tagged=False) as cloud, kept(cloud, tmp_path / "w.db", tagging()) as house:
        await cloud.deploy(BAD, percent=20)
        runner = await house.watching(BAD)
        await eventually(lambda: len(runner.watch.tags) == 2, "the watch knows its tags")
        cloud.afflict(BAD, DOWN)
        watch = await house.ended(runner)
        assert watch.outcome == "rolled_back", watch.reason
        assert "health" in watch.controls_answered
        await eventually(lambda: not cloud.service.tags(), "no tag is left")
        assert cloud.split == {GOOD: 100}


async def _others(folder: Path) -> None:
    """What somebody has tagged himself is not tagged again, and stays."""
    async with emulated() as cloud, kept(cloud, folder / "others.db", tagging()) as house:
        await cloud.deploy(NEXT)
        runner = await house.watching(NEXT)
        wanted = {"stable": GOOD, f"wd-{runner.watch.id}-n": NEXT}
        await eventually(lambda: cloud.service.tags() == wanted, "one tag of ours")
        await cloud.emulator.director.move_traffic(
            cloud.service.key, {NEXT: 100}, tags={"wd-elsewhere-o": GOOD, "stable": GOOD}
        )
        await eventually(lambda: f"wd-{runner.watch.id}-n" in cloud.service.tags(), "given again")
        await house.tell(runner, "operator", verb="finish")
        await house.ended(runner)
        left = {"stable": GOOD, "wd-elsewhere-o": GOOD}
        await eventually(lambda: cloud.service.tags() == left, "another watchdog's stays")


async def _raced(folder: Path) -> None:
    """Somebody writes at the same moment: he wins, and the tag comes with the next look."""
    async with emulated(tagged=False) as cloud, kept(cloud, folder / "raced.db", tagging()) as house:
        await cloud.disturb(kind="race", on="writes", count=2)
        await cloud.deploy(NEXT)
        runner = await house.watching(NEXT)
        await eventually(lambda: cloud.service.tags() == names(runner.watch.id), "two tags")
        assert house.logged("tagging_raced")


async def _left(folder: Path) -> None:
    """A process that could not take its tags away leaves them to whoever keeps the service next."""
    database = folder / "left.db"
    async with emulated(tagged=False) as cloud:
        async with kept(cloud, database, tagging()) as house:
            await cloud.deploy(NEXT)
            runner = await house.watching(NEXT)
            await eventually(lambda: len(cloud.service.tags()) == 2, "two tags")
            cloud.emulator.gate.may_write = False
            await house.tell(runner, "operator", verb="finish")
            await house.ended(runner)
            assert house.logged("tagging_refused")
        assert len(cloud.service.tags()) == 2
        cloud.emulator.gate.may_write = True
        async with kept(cloud, database, tagging()):
            await eventually(lambda: not cloud.service.tags(), "the next process takes them away")


async def _observed(folder: Path) -> None:
    """Observe mode writes nothing, tags included."""
    async with emulated(tagged=False) as cloud, kept(cloud, folder / "observed.db", tagging(mode="observe")) as house:
        await cloud.deploy(NEXT)
        await house.watching(NEXT)
        await looked(house)
        assert not cloud.writes


async def _foreground(folder: Path) -> None:
    """A foreground watch has taken its tags away when it ends, for nobody comes after it."""
    async with (
        emulated(tagged=False) as cloud,
        kept(cloud, folder / "foreground.db", tagging(), discover=False, settle=False) as house,
    ):
        await eventually(lambda: house.keeper.owned, "kept")
        await cloud.deploy(NEXT)
        runner = await house.keeper.open(Notice(revision=NEXT, previous={GOOD: 100}, by_hand=True))
        await eventually(lambda: _tagged(cloud), "two tags")
        await house.tell(runner, "operator", verb="finish")
        await house.ended(runner)
        # Written before it ended; routing takes a moment more.
        assert not [entry for entry in cloud.service.traffic if entry.get("tag")]


def _tagged(cloud: Cloud) -> bool:
    return len(cloud.service.tags()) == 2


async def test_tags_are_fenced_left_to_their_owners_and_cleared_up(tmp_path: Path) -> None:
    cases = (_others, _raced, _left, _observed, _foreground)
    await all_at_once({case.__name__: case(tmp_path) for case in cases})
