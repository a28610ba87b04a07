"""Whatever the world does, some promises hold: no page storm, one rollback, an end, and the guilty found."""

from dataclasses import dataclass
from zlib import crc32

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.core.player import Answers, Player, World, play, writer
from tests.core.watches import T0, TAGS, fails, missing, ok, policy
from watchdog.core.commands import Notify
from watchdog.core.events import Resumed
from watchdog.core.model import Outcome
from watchdog.core.probing import ProbeAnswer

LASTS_S = 1500.0
KINDS = ("well", "status", "timeout", "flicker", "ours", "access", "blips")


@dataclass(frozen=True, kw_only=True)
class Path:
    """How a path answers between two moments; well before and after."""

    kind: str
    begins: float
    ends: float
    probes: tuple[str, ...]

    def answers(self, salt: str) -> Answers:
        def answer(name: str, at: float) -> ProbeAnswer:
            if name not in self.probes or not self.begins <= at - T0 < self.ends:
                return ok(at)
            chance = crc32(f"{salt} {name} {at:.2f}".encode()) / 2**32
            match self.kind:
                case "status" | "timeout":
                    return fails(at, self.kind)
                case "flicker":
                    return fails(at) if chance < 0.4 else ok(at)
                case "blips":
                    return fails(at) if (at - T0) % 90.0 < 3.0 else ok(at)
                case "ours":
                    return missing(at)
                case "access":
                    return missing(at, "access")
                case _:
                    return ok(at)

        return answer


moments = st.sampled_from([0.0, 3.0, 60.0, 100.0, 333.0, 880.0, 899.0, 905.0, 1200.0, 1e9])
paths = st.builds(
    Path,
    kind=st.sampled_from(KINDS),
    begins=moments,
    ends=moments,
    probes=st.sampled_from([("health",), ("ready",), ("health", "ready")]),
)
deeds = st.lists(
    st.tuples(
        st.floats(1.0, LASTS_S - 1.0),
        st.sampled_from(["hold", "resume", "pause", "ack", "rollback", "signal", "crash", "extend", "tags"]),
    ),
    max_size=5,
)
writes = st.sampled_from(["done", "refused", "over budget", "failed", "late"])


@st.composite
def players(draw: st.DrawFn) -> tuple[Player, str]:
    """A watch of 25 minutes in a world that may fail in many ways at once, with people and crashes."""
    bad = draw(st.sampled_from([0.0, 0.0, 0.002, 0.02, 0.3]))
    begins, ends = draw(moments), draw(moments)
    world = World(
        public=draw(paths).answers("public"),
        own=draw(paths).answers("own"),
        control=draw(paths).answers("control"),
        restored=draw(paths).answers("restored"),
        requests=lambda at: (50.0 * bad if begins <= at - T0 < ends else 0.0, 50.0),
    )
    kind = draw(writes)
    world.write = writer(kind)
    world.routed_after_s = 100.0 if kind == "late" else 0.5
    made = policy(rollback={"mode": draw(st.sampled_from(["automatic", "automatic", "approve"]))})
    armed = draw(st.sampled_from([("health", "ready"), ("health",), (), None]))
    tags = draw(st.sampled_from([TAGS, TAGS[:1], ()]))
    player = play(world, made, ends_at=T0 + LASTS_S, armed=armed, tags=tags)
    for at, deed in sorted(draw(deeds)):
        player.run(at)
        if player.watch.open:
            _do(player, deed)
    player.run(1e6)
    return player, kind


def _do(player: Player, deed: str) -> None:
    if deed == "signal":
        player.signal("database_corruption")
    elif deed == "crash":
        player.fold(Resumed(at=player.now, down_since=player.now - 1.0))
    elif deed == "tags":
        player.traffic(player.watch.split.percents())
    elif deed == "extend":
        player.operate("extend", for_s=30.0)
    else:
        player.operate(deed)


@given(players())
@settings(max_examples=40)
def test_it_ends_pages_little_and_moves_traffic_once(played: tuple[Player, str]) -> None:
    player, kind = played
    assert not player.watch.open
    assert player.watch.outcome is not None
    assert player.watch.reason
    messages = [c for c in player.commands if isinstance(c, Notify)]
    assert len({m.key for m in messages}) == len(messages)
    assert len(messages) <= 15, [(m.kind, round(m.body["at"] - T0, 1), m.body["happened"][:90]) for m in messages]
    done = player.told("traffic_written")
    assert len(done) <= 1
    if kind in {"done", "late"}:
        assert player.restores <= 1
    if player.watch.outcome is Outcome.PASSED:
        assert player.restores == 0


@given(players())
@settings(max_examples=20)
def test_every_decision_says_what_it_rests_on(played: tuple[Player, str]) -> None:
    player, _ = played
    for decision in player.watch.decisions:
        assert decision.criterion in decision.reason or ":" in decision.reason
        assert "barq-fleet-api" in decision.reason
    for entry in player.watch.timeline:
        assert entry.text


innocent = st.builds(
    Path,
    kind=st.sampled_from(["well", "ours", "access"]),
    begins=moments,
    ends=moments,
    probes=st.sampled_from([("health",), ("ready",), ("health", "ready")]),
)


@given(public=innocent, own=innocent, control=paths, bad=st.sampled_from([0.0, 0.001, 0.004]), people=deeds)
@settings(max_examples=30)
def test_a_healthy_release_is_never_rolled_back(
    public: Path, own: Path, control: Path, bad: float, people: list[tuple[float, str]]
) -> None:
    """However sick the old one is, whatever we cannot see, and whoever pauses, holds or kills the watchdog."""
    world = World(
        public=public.answers("public"),
        own=own.answers("own"),
        control=control.answers("control"),
        requests=lambda at: (50.0 * bad, 50.0),
    )
    player = play(world, ends_at=T0 + LASTS_S)
    for at, deed in sorted(people):
        player.run(at)
        if player.watch.open and deed not in {"rollback", "signal"}:
            _do(player, deed)
    player.run(1e6)
    assert player.restores == 0
    assert player.watch.outcome in {Outcome.PASSED, Outcome.UNVERIFIED}, player.watch.reason


@given(
    begins=st.floats(1.0, 880.0),
    kind=st.sampled_from(["status", "timeout"]),
    control=st.builds(Path, kind=st.sampled_from(KINDS), begins=moments, ends=moments, probes=st.just(("ready",))),
    crash=st.floats(0.0, 30.0),
)
@settings(max_examples=30)
def test_a_release_that_is_down_is_rolled_back(begins: float, kind: str, control: Path, crash: float) -> None:
    """Within 25 s where the old one is well, and 2 min more where it seems as sick; a crash costs what it costs."""
    down = Path(kind=kind, begins=begins, ends=1e9, probes=("health",))
    answers = down.answers("new")
    player = play(World(public=answers, own=answers, control=control.answers("old")))
    player.run(begins + crash)
    if player.watch.rollback is None:
        player.fold(Resumed(at=player.now, down_since=player.now))
    player.run(begins + crash + 25.0)
    assert player.restores == 1
