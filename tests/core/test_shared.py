"""An outage that both revisions shared is over when it is over: what it left in the counts rolls nothing back."""

from math import inf
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.core.player import Player, World, down_from, play, steady, well
from tests.core.test_versus import HOLDS, sick
from tests.core.watches import NEW, OLD, T0, TAGS, missing
from watchdog.core import watch as folding
from watchdog.core.events import Resumed
from watchdog.core.model import State, Verdict
from watchdog.core.sequential import ERRORS, Meter, fit
from watchdog.core.series import Series
from watchdog.core.track import Point

METERS = [Meter.start(p0=0.01, alpha=0.005, burstiness=2.0, ladder=fit(ERRORS, 5.0), watch_s=86_400.0)]
FEEDS: dict[str, dict[str, Any]] = {
    "request log": {"period_s": 5.0, "seen_after_s": 8.0},
    "monitoring": {"period_s": 60.0, "seen_after_s": 180.0, "asked_every_s": 60.0, "source": "cloud_run"},
}


def outage(begins: float, lasts: float, *, control: tuple[float, float], feed: str = "request log") -> World:
    """Both fail everything; the control from so many seconds earlier until so many later."""
    period = FEEDS[feed]["period_s"]
    end = begins + lasts
    down = down_from(begins, until_s=end)
    counts = sick(1.0, begins, -(-end // period) * period, a_slot=10.0 * period)
    return World(
        public=down,
        own=down,
        control=down_from(begins - control[0], until_s=end + control[1]),
        requests=counts,
        **FEEDS[feed],
    )


@given(
    begins=st.floats(60.0, 800.0),
    lasts=st.floats(20.0, 400.0),
    earlier=st.floats(0.0, 10.0),
    later=st.floats(-1.0, 10.0),
    feed=st.sampled_from(sorted(FEEDS)),
)
@settings(max_examples=30)
def test_nothing_that_both_failed_rolls_back(
    begins: float, lasts: float, earlier: float, later: float, feed: str
) -> None:
    player = play(outage(begins, lasts, control=(earlier, later), feed=feed), HOLDS).run(begins + lasts + 1200.0)

    assert player.restores == 0
    assert player.watch.hold is None
    assert player.watch.state is State.WATCHING
    assert player.row("success.error_rate").verdict is not Verdict.FAIL
    assert folding.replay(player.journal)[0] == player.watch


@pytest.mark.parametrize("feed", sorted(FEEDS))
def test_it_says_which_counts_it_leaves_out_and_why(feed: str) -> None:
    player = play(outage(300.0, 60.0, control=(2.0, 2.0), feed=feed), HOLDS).run(1200.0)

    said = [e.text for e in player.watch.timeline if e.kind == "shared"]
    assert len(said) == 1
    assert "is not held against" in said[0]
    assert "failed probe" in said[0]
    assert len(player.messages("held")) == len(player.messages("recovered")) == 1


@pytest.mark.parametrize("feed", sorted(FEEDS))
def test_a_release_that_is_bad_afterwards_goes_back(feed: str) -> None:
    world = outage(300.0, 60.0, control=(2.0, 2.0), feed=feed)
    both = world.requests
    assert both is not None
    world.requests = lambda at: both(at) if at <= T0 + 480.0 else (0.3 * both(at)[1], both(at)[1])
    player = play(world, HOLDS).run(2000.0)

    assert player.restores == 1
    decided = player.told("decision")[0]
    assert 480.0 < decided < 480.0 + (60.0 if feed == "request log" else 500.0)


def test_what_was_bad_before_the_outage_still_counts() -> None:
    alone = play(World(requests=sick(0.03, 100.0)), HOLDS).run(2000.0)
    need = alone.told("decision")[0] - 100.0
    world = outage(100.0 + need - 20.0, 40.0, control=(2.0, 2.0))
    both = world.requests
    assert both is not None
    world.requests = lambda at: both(at) if both(at)[0] else sick(0.03, 100.0)(at)
    player = play(world, HOLDS).run(3000.0)

    assert player.restores == 1
    assert player.told("decision")[0] < 100.0 + need + 40.0 + 120.0, "it does not begin from nothing"


def test_a_release_that_stays_down_when_the_control_recovers_goes_back() -> None:
    world = outage(300.0, 1e6, control=(2.0, 0.0))
    world.control = down_from(298.0, until_s=360.0)
    player = play(world, HOLDS).run(500.0)

    assert player.restores == 1
    assert player.told("decision")[0] <= 360.0 + 6.0


@pytest.mark.parametrize("control_share, goes_back", [(0.0, True), (0.5, False)])
def test_a_step_back_without_a_tag_leaves_nothing_held_for_ever(control_share: float, *, goes_back: bool) -> None:
    """Nobody asks the probes any more, so they can neither hold the rollback nor keep counts out: counts decide."""
    world = outage(300.0, 120.0, control=(2.0, 2.0))
    both = world.requests
    assert both is not None
    world.requests = lambda at: both(at) if at <= T0 + 480.0 else (25.0, 50.0)
    world.control_requests = lambda at: (50.0 * control_share, 50.0)
    player = play(world, HOLDS, tags=TAGS[:1]).run(350.0)
    assert player.watch.hold is not None
    player.traffic({NEW: 50, OLD: 50})

    assert player.watch.hold is None
    assert player.watch.state is State.WATCHING
    assert all(time.until < inf for time in player.watch.shared)
    player.run(900.0)
    assert player.restores == goes_back


def test_a_probe_that_was_given_up_in_between_still_ends_the_hold() -> None:
    """The watchdog was away, and was not let through for a while afterwards: no confirmation is left to be ended."""
    player = play(outage(300.0, 600.0, control=(2.0, 0.0)), HOLDS).run(350.0)
    assert player.watch.hold is not None
    player.world.public = player.world.own = player.world.control = lambda name, at: missing(at, "access")
    player.fold(Resumed(at=player.now, down_since=player.now - 5.0))
    player.run(500.0)
    assert not player.watch.confirmations
    player.world.public = player.world.own = player.world.control = well
    player.world.requests = steady(50.0)
    player.run(600.0)
    assert player.watch.hold is None
    assert all(time.until < inf for time in player.watch.shared)
    assert player.restores == 0


def test_a_well_control_leaves_everything_in() -> None:
    def played(*, control_is_well: bool) -> Player:
        world = outage(300.0, 20.0, control=(2.0, 2.0))
        if control_is_well:
            world.control = World().control
        return play(world, HOLDS).run(900.0)

    assert played(control_is_well=True).restores == 1
    assert played(control_is_well=False).restores == 0


@given(
    points=st.lists(st.tuples(st.integers(1, 60), st.integers(0, 10)), max_size=40, unique_by=lambda p: p[0]),
    since=st.integers(0, 300),
    lasts=st.integers(1, 200),
    judged=st.booleans(),
)
def test_blanked_is_as_if_it_had_come_empty(
    points: list[tuple[int, int]], since: int, lasts: int, *, judged: bool
) -> None:
    """Taking counts out afterwards gives the evidence that never having them would have given."""
    begin, end = float(since), float(since + lasts)
    later, never = (Series.start(origin=0.0, lag_s=0.0, meters=METERS) for _ in range(2))
    for slot, bad in sorted(points):
        p = Point(5.0 * slot, 5.0 * slot - 5.0, float(bad), 10.0)
        gone = p.start < end and p.end > begin
        later = later.add(p, 0.0)[0]
        never = never.add(p._replace(bad=0.0, total=0.0) if gone else p, 0.0)[0]
    if judged:
        later, never = later.judge(310.0)[0], never.judge(310.0)[0]
    blanked = later.blanked(begin, end)
    assert blanked.points == never.points
    assert (blanked.bad, blanked.total) == (never.bad, never.total)
    again, fresh = blanked.up_to(310.0), never.up_to(310.0)
    assert [t.after for t in again.tracks] == [t.after for t in fresh.tracks]
