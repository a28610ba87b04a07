"""The rollback's protocol against a Cloud Run that races, refuses, loses answers and lies still."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.engine.world import (
    BAD,
    DOWN,
    GOOD,
    NEXT,
    Cloud,
    House,
    all_at_once,
    emulated,
    eventually,
    kept,
    looked,
    policy,
)
from watchdog import ports
from watchdog.core.state import Watch


async def play(cloud: Cloud, house: House, *, at_decision: Callable[[], None] | None = None) -> Watch:
    """A bad deploy, up to the end of its watch."""
    if at_decision:
        house.when["decision"] = at_decision
    await cloud.deploy(BAD, DOWN)
    return await house.ended(await house.watching(BAD))


async def test_a_rollback_is_one_write_that_keeps_tags_and_template_and_names_what_it_undid(tmp_path: Path) -> None:
    async with emulated() as cloud, kept(cloud, tmp_path / "w.db") as house:
        await cloud.deploy(BAD, DOWN)
        template = cloud.service.template
        revisions = len(cloud.emulator.world.revisions_of(cloud.service.key))
        watch = await house.ended(await house.watching(BAD))
        assert watch.outcome == "rolled_back"
        assert len(cloud.writes) == 1
        (write,) = cloud.landed
        assert write.annotations["deploy-watchdog/rolled-back"] == BAD
        assert not write.new_revision
        assert cloud.split == {GOOD: 100}
        assert cloud.service.tags() == {"stable": GOOD}
        assert cloud.service.template == template
        assert len(cloud.emulator.world.revisions_of(cloud.service.key)) == revisions


FAULTS: dict[str, dict[str, Any]] = {
    "unreachable": {"kind": "unreachable", "for_s": 5.0},
    "raced once": {"kind": "race", "on": "writes", "count": 1},
    "raced four times": {"kind": "race", "on": "writes", "count": 4},
    "quota": {"kind": "status", "status": 429, "on": "writes", "count": 1, "retry_after_s": 1},
    "internal error": {"kind": "status", "status": 500, "on": "writes", "count": 2},
    "unavailable": {"kind": "status", "status": 503, "on": "all", "count": 3},
    "write lost": {"kind": "drop", "on": "writes", "count": 1},
    "answer lost": {"kind": "drop", "on": "writes", "after": True, "count": 1},
    "landed and said 503": {"kind": "status", "status": 503, "on": "writes", "after": True, "count": 1},
}


async def test_whatever_the_api_does_exactly_one_write_lands(tmp_path: Path) -> None:
    async def disturbed(name: str, fault: Mapping[str, Any]) -> None:
        async with emulated() as cloud, kept(cloud, tmp_path / f"{name}.db") as house:
            await cloud.deploy(BAD, DOWN)
            runner = await house.watching(BAD)
            await cloud.disturb(**fault)
            watch = await house.ended(runner)
            assert watch.outcome == "rolled_back", watch.reason
            assert len(cloud.landed) == 1
            assert cloud.split == {GOOD: 100}
            assert BAD in house.keeper.service.bad_revisions
            assert len(house.keeper.service.rollbacks) == 1

    await all_at_once({name: disturbed(name, fault) for name, fault in FAULTS.items()})


async def test_somebody_who_moves_traffic_just_before_the_write_is_not_fought(tmp_path: Path) -> None:
    """The new split is asked for but not routed yet, so what serves still looks like the bad revision."""
    async with emulated() as cloud:
        await cloud.deploy(NEXT, traffic=False)
        async with kept(cloud, tmp_path / "w.db") as house:
            await cloud.deploy(BAD, DOWN, percent=100)
            cloud.emulator.director.reconciler.delays.routing_delay_s = 1.0
            house.when["decision"] = lambda: cloud.meanwhile(next=100)
            watch = await house.ended(await house.watching(BAD))
            assert watch.outcome == "overridden", watch.reason
            assert not cloud.writes
            await eventually(lambda: cloud.split == {NEXT: 100}, "what the person wanted")


async def test_a_race_that_takes_the_revision_away_ends_in_standing_down(tmp_path: Path) -> None:
    async with emulated() as cloud:
        await cloud.deploy(NEXT, traffic=False)
        async with kept(cloud, tmp_path / "w.db") as house:
            await cloud.disturb(kind="race", on="writes", count=1, traffic={NEXT: 100})
            await cloud.deploy(BAD, DOWN, percent=100)
            watch = await house.ended(await house.watching(BAD))
            assert watch.outcome == "overridden", watch.reason
            assert not cloud.landed
            await eventually(lambda: cloud.split == {NEXT: 100}, "what the person wanted")


async def test_half_a_step_that_is_not_routed_yet_keeps_its_own_share(tmp_path: Path) -> None:
    """A rollback takes away its own revision's share only, also from a split that is on its way."""
    async with emulated() as cloud:
        await cloud.deploy(NEXT, traffic=False)
        async with kept(cloud, tmp_path / "w.db") as house:
            await cloud.deploy(BAD, DOWN, percent=100)
            cloud.emulator.director.reconciler.delays.routing_delay_s = 1.0
            house.when["decision"] = lambda: cloud.meanwhile(bad=60, next=40)
            watch = await house.ended(await house.watching(BAD))
            assert watch.outcome == "rolled_back", watch.reason
            assert cloud.split == {GOOD: 60, NEXT: 40}


async def test_a_canary_is_judged_by_its_own_url_and_loses_its_own_share_only(tmp_path: Path) -> None:
    async with emulated() as cloud, kept(cloud, tmp_path / "w.db") as house:
        await cloud.deploy(BAD, DOWN, percent=20, tag="canary")
        watch = await house.ended(await house.watching(BAD))
        assert watch.outcome == "rolled_back", watch.reason
        assert cloud.split == {GOOD: 100}
        assert cloud.service.tags() == {"stable": GOOD, "canary": BAD}


async def test_a_canary_without_a_tag_is_never_blamed_for_what_the_public_url_says(tmp_path: Path) -> None:
    async with emulated() as cloud, kept(cloud, tmp_path / "w.db") as house:
        await cloud.deploy(BAD, DOWN, percent=50)
        runner = await house.watching(BAD)
        asked = len(cloud.emulator.ledger.since(0)[0])
        await looked(house)
        assert runner.watch.judged_role is None
        assert not runner.plan.asks
        assert len(cloud.emulator.ledger.since(0)[0]) == asked


@pytest.mark.parametrize("which", ["write", "read"])
async def test_a_forbidden_rollback_fails_at_once_and_pages_with_the_remedy(which: str, tmp_path: Path) -> None:
    async with emulated() as cloud, kept(cloud, tmp_path / "w.db") as house:
        house.when["decision"] = lambda: setattr(cloud.emulator.gate, f"may_{which}", False)
        await cloud.deploy(BAD, DOWN)
        runner = await house.watching(BAD)
        await eventually(lambda: runner.watch.outcome == "failed", "the failure")
        assert not cloud.landed
        page = await eventually(lambda: next((p for p in cloud.pages() if "FAILED" in text(p)), None), "the page")
        assert page["event_action"] == "trigger"
        assert page["payload"]["severity"] == "critical"
        assert "run.services.update" in str(page), "says what to grant"
        assert runner.watch.open, "the daemon goes on observing"


async def test_a_race_that_never_ends_is_given_up_and_paged(tmp_path: Path) -> None:
    async with emulated() as cloud, kept(cloud, tmp_path / "w.db") as house:
        await cloud.disturb(kind="race", on="writes")
        await cloud.deploy(BAD, DOWN)
        runner = await house.watching(BAD)
        await eventually(lambda: runner.watch.outcome == "failed", "the failure")
        assert not cloud.landed
        await eventually(lambda: any("FAILED" in text(p) for p in cloud.pages()), "the page")


async def test_a_target_that_is_gone_is_not_written(tmp_path: Path) -> None:
    async with emulated() as cloud, kept(cloud, tmp_path / "w.db") as house:
        await cloud.deploy(BAD)
        runner = await house.watching(BAD)
        cloud.emulator.director.reconciler.condemn(cloud.emulator.director.revision(GOOD))
        cloud.afflict(BAD, DOWN)
        await eventually(lambda: runner.watch.outcome == "failed", "the refusal")
        assert not cloud.writes
        assert "cannot serve" in runner.watch.reason
        page = await eventually(lambda: next((p for p in cloud.pages() if "refused" in text(p)), None), "the page")
        assert "is not ready" in str(page)


async def test_over_the_daily_budget_it_pages_and_moves_nothing(tmp_path: Path) -> None:
    async with emulated() as cloud, kept(cloud, tmp_path / "w.db", policy(per_day=1)) as house:
        await play(cloud, house)
        await cloud.deploy(NEXT, DOWN, percent=100)
        runner = await house.watching(NEXT)
        await eventually(lambda: runner.watch.state == "held", "the refusal")
        assert "daily budget" in runner.watch.hold.reason if runner.watch.hold else False
        assert len(cloud.landed) == 1
        await eventually(lambda: any("refused" in text(p) for p in cloud.pages()), "the page")


async def test_within_the_cooldown_it_waits_and_says_until_when(tmp_path: Path) -> None:
    """That it is decided again then is proven in virtual time (tests/core/test_incidents.py)."""
    async with emulated() as cloud, kept(cloud, tmp_path / "w.db", policy(cooldown="10m")) as house:
        await play(cloud, house)
        await cloud.deploy(NEXT, DOWN, percent=100)
        runner = await house.watching(NEXT)
        held = await eventually(lambda: runner.watch.hold, "the refusal")
        assert held.kind == "retry"
        assert held.until is not None
        assert abs(held.until - cloud.landed[0].at - 600.0) < 1.0
        assert runner.watch.outcome is None
        assert len(cloud.landed) == 1


async def test_observing_says_what_it_would_do_and_writes_nothing(tmp_path: Path) -> None:
    async with emulated() as cloud, kept(cloud, tmp_path / "w.db", policy(mode="observe")) as house:
        await cloud.deploy(BAD, DOWN)
        runner = await house.watching(BAD)
        await eventually(lambda: runner.watch.outcome == "failed", "the outcome")
        assert f"from {BAD} 100 % to {GOOD} 100 %" in runner.watch.reason
        assert not cloud.writes


async def test_a_fault_of_our_own_in_the_rollback_is_paged_as_its_failure(tmp_path: Path) -> None:
    """Nobody may go on waiting for a result that never comes."""
    async with emulated() as cloud, kept(cloud, tmp_path / "w.db", traffic_control=Broken) as house:
        await cloud.deploy(BAD, DOWN)
        runner = await house.watching(BAD)
        await eventually(lambda: runner.watch.outcome == "failed", "the failure")
        await eventually(lambda: any("FAILED" in text(p) for p in cloud.pages()), "the page")


def text(page: dict[str, Any]) -> str:
    return str(page.get("payload", {}).get("summary", ""))


class Broken:
    """A traffic control that reads, and whose writes end in a bug."""

    def __init__(self, real: ports.TrafficControl) -> None:
        self._real = real

    def __getattr__(self, name: str) -> Any:
        return getattr(self._real, name)

    async def move(self, *_args: Any, **_kwargs: Any) -> Any:
        raise KeyError("traffic")
