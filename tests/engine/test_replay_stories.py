"""Whatever happened to a watch, its journal says it again: people, crashes, late and missing evidence, in any order."""

import json
from typing import Any
from zlib import crc32

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.core.player import Answers, Player, World, play, writer
from tests.core.watches import FAST, NEW, OLD, SLOW, T0, TAGS, fails, missing, ok, policy
from watchdog.core import watch as folding
from watchdog.core.events import Noticed, Resumed, Sampled
from watchdog.core.journal import encode
from watchdog.core.model import Counts, Evidence, Missing, Sample, Value
from watchdog.core.probing import ProbeAnswer
from watchdog.core.report import view
from watchdog.core.text import iso
from watchdog.engine import replay
from watchdog.engine.replay_journal import differences, read_journal

LASTS_S = 1100.0
VERBS = ("pause", "resume", "ack", "hold", "extend", "finish", "rollback", "signoff", "nonsense")
FATES = ("signal", "listed", "restart", "crash", "late", "too late", "gauge", "gap", "tags", "split", "notice", "newer")


class Story:
    """A watch that was lived. No dataclass: a failing test would print its whole journal."""

    def __init__(self, player: Player, deeds: list[tuple[float, str]]) -> None:
        self.player, self.deeds = player, deeds

    def __repr__(self) -> str:
        return f"Story({self.deeds})"


def do(player: Player, deed: str) -> None:
    """One thing that a person, a pipeline, a source or fate does now."""
    now = player.now
    match deed:
        case "signal" | "listed":
            player.signal("odd_smell" if deed == "signal" else "database_corruption")
        case "restart" | "crash":
            restart(player, away_s=0.4 if deed == "restart" else 21.0)
        case "late" | "too late":
            sampled(player, "error_rate", now - (130.0 if deed == "late" else 700.0), Counts(30.0, 60.0))
        case "gauge":
            sampled(player, "cpu_usage", now - 1.0, Value(0.93), source="cloud_run")
        case "gap":
            sampled(player, "error_rate", now - 1.0, Missing("no_series"))
        case "tags":
            player.traffic(player.watch.split.percents())
        case "split":
            player.traffic({NEW: 60, OLD: 40})
        case "notice":
            player.fold(Noticed(at=now, version="1.4.1", deployer="ci"))
        case "newer":
            player.traffic({"api-00003": 100}, newer=True)
        case _:
            player.operate(deed, for_s=45.0, reason="because", name="user_feedback")


def sampled(player: Player, check: str, end: float, evidence: Evidence, *, source: str = "requests") -> None:
    seen, width = player.now, 60.0 if source == "cloud_run" else 5.0
    interval: dict[str, Any] = {"start": end - width, "end": end, "seen": seen}
    sample = Sample(source=source, check=check, revision=NEW, evidence=evidence, **interval)
    player.fold(Sampled(at=seen, samples=(sample,)))


def restart(player: Player, *, away_s: float) -> None:
    """The process dies, and another one folds the journal afresh, as the keeper does."""
    watch, _ = folding.opened(player.first)
    for event in player.journal[1:]:
        watch, _ = folding.advance(watch, event)
    player.watch = watch
    player.now += away_s
    player.fold(Resumed(at=player.now, down_since=watch.at))


def path(kind: str, begins: float, ends: float, names: tuple[str, ...], salt: str) -> Answers:
    def answer(name: str, at: float) -> ProbeAnswer:
        if name not in names or not begins <= at - T0 < ends:
            return ok(at)
        if kind in {"status", "timeout"}:
            return fails(at, kind)
        if kind == "flicker":
            return fails(at) if crc32(f"{salt} {name} {at:.2f}".encode()) / 2**32 < 0.4 else ok(at)
        return missing(at) if kind == "ours" else ok(at)

    return answer


moments = st.sampled_from([0.0, 3.0, 60.0, 333.0, 880.0, 899.0, 905.0, 1e9])
kinds = st.sampled_from(["well", "well", "status", "timeout", "flicker", "ours"])
probes = st.sampled_from([("health",), ("health", "ready")])


@st.composite
def stories(draw: st.DrawFn) -> Story:
    def answers(salt: str) -> Answers:
        return path(draw(kinds), draw(moments), draw(moments), draw(probes), salt)

    bad, begins, ends = draw(st.sampled_from([0.0, 0.005, 0.02, 0.3])), draw(moments), draw(moments)
    world = World(
        public=answers("public"),
        own=answers("own"),
        control=answers("control"),
        restored=answers("restored"),
        requests=lambda at: (50.0 * bad if begins <= at - T0 < ends else 0.0, 50.0),
        write=writer(draw(st.sampled_from(["done", "refused", "over budget", "failed"]))),
    )
    mode = draw(st.sampled_from(["automatic", "automatic", "approve"]))
    player = play(
        world,
        policy(rollback={"mode": mode, "trial": draw(st.sampled_from(["off", "20%"]))}),
        at=T0 + draw(st.sampled_from([0.0, 0.12345678])),
        ends_at=draw(st.sampled_from([None, T0 + LASTS_S])),
        lags=(*FAST, *SLOW),
        tags=draw(st.sampled_from([TAGS, ()])),
    )
    timed = st.tuples(st.floats(1.0, LASTS_S - 1.0), st.sampled_from((*VERBS, *FATES)))
    deeds = sorted(draw(st.lists(timed, max_size=8)))
    for at, deed in deeds:
        player.run(at)
        if player.watch.open:
            do(player, deed)
    player.run(LASTS_S + 300.0)
    return Story(player, deeds)


def report(player: Player) -> str:
    """What `report --json` prints of the watch."""
    rows = []
    for seq, event in enumerate(player.journal, start=1):
        kind, schema, body = encode(event)
        at = {"at": iso(event.at), "at_unix_s": event.at}
        rows.append({"seq": seq, **at, "kind": kind, "schema": schema, "body": body})
    return json.dumps({"watch": view(player.watch), "events": rows})


@given(stories())
@settings(max_examples=40)
def test_a_journal_replayed_decides_the_same(story: Story) -> None:
    journal = read_journal(report(story.player), "journal")
    judged = replay.refold(journal.opening, journal.events)
    assert differences(journal, judged) == []
    if not story.player.watch.open:
        assert view(judged.watch) == view(story.player.watch)
