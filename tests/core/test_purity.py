"""The fold is a function: of what happened and when, of nothing else, and it changes nothing that it was given."""

from collections.abc import Iterable, Sequence
from copy import copy
from dataclasses import fields
from typing import Any
from zlib import crc32

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.core.player import Answers, Player, World, down_from, play, steady, well
from tests.core.watches import T0, fails, fold_all, ok, opening, policy
from watchdog.core import watch as folding
from watchdog.core.commands import Announce, Command, Notify, Restore
from watchdog.core.events import Event, Probed, Resumed, Sampled, Ticked
from watchdog.core.journal import decode, encode
from watchdog.core.probing import ProbeAnswer
from watchdog.core.report import view
from watchdog.core.schedule import plan
from watchdog.core.state import Watch

DOWN = down_from(100.0)


def chance(name: str, at: float) -> float:
    """Between 0 and 1, always the same for the same probe."""
    return crc32(f"{name} {at:.2f}".encode()) / 2**32


def flicker(name: str, at: float) -> ProbeAnswer:
    """Fails about one time in four."""
    return fails(at) if chance(name, at) < 0.25 and at - T0 > 60.0 else ok(at)


def erring(share: float) -> World:
    return World(requests=lambda at: (50.0 * share, 50.0) if at > T0 + 100.0 else (0.0, 50.0))


def outage() -> Player:
    return play(World(public=DOWN, own=DOWN)).run()


def errors() -> Player:
    return play(erring(0.08)).run()


def shared() -> Player:
    """Both sick: held, asked, rolled back; it does not help."""
    return play(World(public=DOWN, own=DOWN, control=DOWN, restored=DOWN), ends_at=T0 + 360.0).run()


def edge() -> Player:
    return play(World(public=down_from(100.0, until_s=200.0), own=well), ends_at=T0 + 400.0).run()


def flaky() -> Player:
    return play(World(public=flicker, own=flicker, requests=steady(20.0, 0.1)), ends_at=T0 + 600.0).run()


def operated() -> Player:
    player = play(World(public=DOWN, own=DOWN), policy(rollback={"mode": "approve"}), ends_at=T0 + 900.0).run(50.0)
    player.operate("pause")
    player.run(150.0)
    player.operate("resume")
    player.run(200.0)
    player.signal("support_ticket")
    player.operate("extend", for_s=60.0)
    player.operate("rollback", reason="go")
    return player.run()


def late() -> Player:
    """A feed that is asked once a minute and three minutes late."""
    world = World(period_s=60.0, seen_after_s=190.0, asked_every_s=60.0, source="cloud_run")
    world.requests = lambda at: (60.0, 600.0) if at > T0 + 600.0 else (0.0, 600.0)
    return play(world, lags=(), ends_at=T0 + 2000.0).run()


_played: dict[Any, Player] = {}


def _once(incident: Any) -> Player:
    if incident not in _played:
        _played[incident] = incident()
    return _played[incident]


INCIDENTS = [outage, errors, shared, edge, flaky, operated, late]
incidents = pytest.mark.parametrize("incident", INCIDENTS, ids=lambda f: f.__name__)


def told(commands: Iterable[Command]) -> list[tuple[Any, ...]]:
    """What was asked for, as values."""
    out: list[tuple[Any, ...]] = []
    for c in commands:
        match c:
            case Announce():
                out.append((c.event, c.at, dict(c.fields)))
            case Notify():
                out.append((c.key, c.kind, dict(c.body)))
            case Restore():
                out.append((c.reason,))
    return out


def deep(watch: Watch) -> str:
    """Every value in a watch, spelt out; its rules are frozen and the same all along."""
    return repr([(f.name, getattr(watch, f.name)) for f in fields(watch) if f.name != "rules"])


# --- purity ------------------------------------------------------------------------------------------------------


@incidents
def test_no_event_changes_the_watch_that_it_was_folded_into(incident: Any) -> None:
    player: Player = _once(incident)
    watch, _ = folding.opened(player.first)
    for k, event in enumerate(player.journal[1:]):
        closely = k % 5 == 0 or not isinstance(event, Probed | Sampled)
        before = deep(watch) if closely else ""
        after, _ = folding.advance(watch, event)
        assert not closely or deep(watch) == before
        watch = after


@incidents
def test_the_same_journal_folds_into_the_same_watch_and_commands(incident: Any) -> None:
    player: Player = _once(incident)
    one, asked = fold_all(player.first, player.journal[1:])
    other, again = fold_all(player.first, player.journal[1:])
    assert deep(one) == deep(other)
    assert told(asked) == told(again)


@incidents
def test_the_journal_alone_gives_what_was_done_live(incident: Any) -> None:
    """Ticks of which nothing came are not in it."""
    player: Player = _once(incident)
    folded, commands = fold_all(player.first, player.journal[1:])
    assert told(commands) == told(player.commands)
    assert view(folded) == view(player.watch)
    assert plan(folded) == plan(player.watch)


@incidents
def test_written_down_and_read_again_it_is_the_same(incident: Any) -> None:
    player: Player = _once(incident)
    back = [decode(*encode(e)[:2], e.at, encode(e)[2]) for e in player.journal]
    assert back == player.journal
    direct, _ = fold_all(player.first, player.journal[1:])
    first = back[0]
    assert first == player.first
    read, _ = fold_all(player.first, back[1:])
    assert deep(direct) == deep(read)


# --- who looks, and when, does not matter ------------------------------------------------------------------------


def with_looks(journal: Sequence[Event], looks: Iterable[float]) -> list[Event]:
    """The journal with somebody looking now and then: at seconds since the cutover."""
    ticks: list[Event] = [Ticked(at=T0 + s) for s in looks]
    return sorted([*journal, *ticks], key=lambda e: e.at)


@incidents
@given(looks=st.lists(st.floats(0.0, 2000.0), max_size=30))
@settings(max_examples=5)
def test_looking_in_between_changes_no_decision(incident: Any, looks: list[float]) -> None:
    player: Player = _once(incident)
    quiet, commands = fold_all(player.first, player.journal[1:])
    looked, more = fold_all(player.first, with_looks(player.journal[1:], looks))
    assert told(more) == told(commands)
    assert looked.verdicts == quiet.verdicts
    assert looked.decisions == quiet.decisions


# --- crashes -----------------------------------------------------------------------------------------------------


@incidents
def test_a_crash_after_any_event_loses_no_decision(incident: Any) -> None:
    """Folded again from the journal and resumed, the watch stands where it stood: what was decided is decided, what
    was asked for goes on, and nothing is decided twice."""
    player: Player = _once(incident)
    watch, _ = folding.opened(player.first)
    for k, event in enumerate(player.journal[1:], 1):
        watch, _ = folding.advance(watch, event)
        if k % 25 and isinstance(event, Probed | Sampled):
            continue
        again, _ = fold_all(player.first, player.journal[1 : k + 1])
        resumed, commands = folding.advance(again, Resumed(at=watch.at + 0.5, down_since=watch.at))
        assert resumed.decisions[: len(watch.decisions)] == watch.decisions
        assert not [c for c in commands if isinstance(c, Restore)]
        if watch.rollback is not None:
            assert resumed.rollback is not None or not resumed.open
            assert resumed.outcome == watch.outcome
        if watch.hold is not None and resumed.hold is not None:
            assert resumed.hold.kind == watch.hold.kind
        if not watch.open:
            assert resumed is again


@pytest.mark.parametrize("crash_s", [60.0, 101.0, 103.5, 104.2, 104.7, 106.0, 111.0])
def test_a_killed_watch_goes_on_to_the_same_end(crash_s: float) -> None:
    world = World(public=DOWN, own=DOWN)
    killed = play(world).run(crash_s)
    watch, _ = fold_all(killed.first, killed.journal[1:])
    again = Player(world, killed.first)
    again.watch, again.now = watch, killed.now + 2.0
    again._routed_at = killed._routed_at
    again.fold(Resumed(at=again.now, down_since=killed.now))
    if watch.rollback is not None and watch.rollback.stage == "writing":
        again._restore()
    elif killed._routed_at < float("inf"):
        again.traffic({"api-00001": 100})
    again.run(1000.0)
    assert again.watch.outcome is not None
    assert again.watch.outcome.value == "rolled_back"
    assert again.restores + killed.restores == 1


# --- time --------------------------------------------------------------------------------------------------------


def test_deadlines_fire_in_order_and_at_their_own_time() -> None:
    """One look after a silent day tells the same story as looking all the time."""
    first = opening(ends_at=T0 + 4000.0)
    patient, _ = folding.opened(first)
    commands: list[Command] = []
    while patient.open:
        patient, more = folding.advance(patient, Ticked(at=patient.due))
        commands += more
    late_watch, _ = folding.opened(first)
    late_watch, at_once = folding.advance(late_watch, Ticked(at=T0 + 80_000.0))
    assert told(at_once) == told(commands)
    times = [c.at for c in at_once if isinstance(c, Announce)]
    assert times == sorted(times)
    assert late_watch.ended_at == T0 + 4000.0


@given(st.lists(st.floats(-500.0, 500.0), min_size=2, max_size=30))
@settings(max_examples=30)
def test_a_clock_that_steps_back_undoes_nothing(steps: list[float]) -> None:
    watch, _ = folding.opened(opening(ends_at=T0 + 3000.0))
    at = T0 + 100.0
    for step in steps:
        at += step
        before = watch.at
        watch, _ = folding.advance(watch, Ticked(at=at))
        assert watch.at >= before
        assert watch.due > watch.at or not watch.open


@incidents
def test_the_next_deadline_is_never_in_the_past_for_long(incident: Any) -> None:
    """The runner sleeps until it: a deadline that stays due would keep it awake for ever."""
    player: Player = _once(incident)
    watch, _ = folding.opened(player.first)
    for event in player.journal[1:]:
        watch, _ = folding.advance(watch, event)
        awake = watch
        for _ in range(6):
            if not awake.open or awake.due > awake.at:
                break
            awake, _ = folding.advance(awake, Ticked(at=awake.at + 0.05))
        assert not awake.open or awake.due > awake.at


# --- state -------------------------------------------------------------------------------------------------------


def test_state_does_not_grow_with_the_length_of_the_watch() -> None:
    """A noisy day: every probe flickers, the feed errs, gauges come and go."""
    rare: Answers = lambda name, at: fails(at) if chance(name, at) < 0.015 else ok(at)  # noqa: E731
    world = World(public=rare, own=rare, requests=steady(600.0, 1.0), period_s=60.0, seen_after_s=5.0)
    sizes = []
    player = play(world)
    for hours in (3, 6, 9, 12):
        player.run(hours * 3600.0)
        assert player.watch.open, player.watch.reason
        sizes.append(len(deep(player.watch)))
    assert max(sizes) < 1.3 * sizes[0]


def test_a_copy_of_a_watch_has_everything_in_it() -> None:
    watch: Watch = play().run(50.0).watch
    twin = copy(watch)
    assert twin is not watch
    assert all(getattr(twin, f.name) is getattr(watch, f.name) for f in fields(watch))
