"""A caller that fails by itself rolls nothing back; a release that breaks something for others does, whoever shouts."""

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.core.player import Player, World, play, steady
from tests.core.watches import NEW, OLD, T0, policy, state_of
from watchdog.core import origins
from watchdog.core.events import Lag, Sampled
from watchdog.core.journal import decode, encode
from watchdog.core.model import Counts, Sample, Split, Verdict
from watchdog.core.origins import Origin, Past, Use
from watchdog.core.watch import replay
from watchdog.sources.request_origins import Caller, Origins, known

ROUTES = ("/api/v1/orders", "/api/v1/couriers/17", "/api/v1/vehicles", "/api/v1/login")
AGENTS = ("Mozilla/5.0 (X11)", "okhttp/4.9", "Courier/3.1 iOS")
CLIENT = Caller("198.51.100.7", "acme-sync/2.0", "POST", "https://api.example" + ROUTES[0])
POLICY = policy()
LIMIT = "success.error_rate"
NOBODY = (Past("error_rate", T0 - 3600.0, T0, ()),)
"""Who was there before the deploy is known: the client was not."""
BEFORE = {"error_rate": (30.0, 72_000.0)}
"""Twenty requests a second for an hour; its bad ones would make the row inherit them, so they are kept few."""


@dataclass
class Crowd:
    """Users, and one client that fails by itself. Shares of requests; seconds since the cutover."""

    seed: int = 0
    per_s: float = 20.0
    stray: float = 0.001
    client_per_s: float = 0.0
    client: Caller = CLIENT
    client_fails: float = 1.0
    begins: float = 120.0
    breaks: Callable[[Caller], float] = lambda _caller: 0.0
    """How often the release fails a user's request, from `broken_from` on."""
    broken_from: float = 0.0

    def __post_init__(self) -> None:
        self.chance = random.Random(self.seed)

    def __call__(self, end: float) -> tuple[Any, ...]:
        at = end - T0
        asked = [(c, self.stray if at < self.broken_from else max(self.stray, self.breaks(c))) for c in self.users()]
        if at > self.begins:
            asked += [(self.client, self.client_fails)] * self.often(self.client_per_s)
        self.chance.shuffle(asked)
        found, bad = Origins(), 0
        for caller, fails in asked:
            if self.chance.random() < fails:
                bad += 1
                found.bad(caller)
            elif bad:
                found.good(caller)
        return bad, len(asked), (), found.rows(bad)

    def users(self) -> Iterator[Caller]:
        for _ in range(self.often(self.per_s)):
            n = self.chance.randrange(200)
            yield Caller(f"203.0.113.{n}", AGENTS[n % 3], "POST", "https://api.example" + self.chance.choice(ROUTES))

    def often(self, per_s: float) -> int:
        mean = 5.0 * per_s
        return max(0, round(self.chance.gauss(mean, mean**0.5))) if mean else 0


def broken_route(share: float) -> Callable[[Caller], float]:
    return lambda caller: share if caller.url.endswith(ROUTES[0]) else 0.0


def broken_software(caller: Caller) -> float:
    return 0.9 if caller.agent == AGENTS[2] else 0.0


def watched(crowd: Crowd, until_s: float = 400.0, **more: Any) -> Player:
    return play(World(requests=crowd), POLICY, **{"past": NOBODY, **more}).run(until_s)


# --- nothing but a client -----------------------------------------------------------------------------------------


def test_one_caller_is_a_warning_that_is_told_once() -> None:
    player = watched(Crowd(client_per_s=5.0))

    assert player.restores == 0
    state = player.row(LIMIT)
    assert state.verdict is Verdict.WARN
    assert "one caller: caller 198.51.100.x (" in state.reason
    assert "others use POST /api/v1/orders well" in state.reason
    (message,) = [m for m in player.messages("warning") if m["title"].startswith("One caller")]
    assert message["did"].startswith("Nothing")
    assert player.watch.incident is None
    assert CLIENT.address not in str(player.commands)
    assert {d.action.value for d in player.watch.decisions} == {"investigate"}


def test_it_clears_like_any_other_alarm() -> None:
    crowd = Crowd(client_per_s=5.0)
    player = play(World(requests=crowd), POLICY, past=NOBODY).run(300.0)
    crowd.client_per_s = 0.0
    player.run(500.0)

    assert player.row(LIMIT).alarmed_at is None
    assert not player.row(LIMIT).one_caller


def test_a_journal_of_it_is_judged_the_same() -> None:
    player = watched(Crowd(client_per_s=5.0))
    stored = [(kind, schema, e.at, body) for e in player.journal for kind, schema, body in [encode(e)]]
    again, _ = replay(decode(*parts) for parts in stored)

    assert again is not None
    assert again.decisions == player.watch.decisions
    assert state_of(again, LIMIT).one_caller == player.row(LIMIT).one_caller != ""


@settings(max_examples=6, deadline=None)
@given(
    st.integers(0, 10_000),
    st.floats(10.0, 40.0),
    st.floats(2.0, 30.0),
    st.floats(0.6, 1.0),
    st.floats(60.0, 300.0),
)
def test_no_broken_client_rolls_a_healthy_release_back(
    seed: int, per_s: float, client_per_s: float, fails: float, begins: float
) -> None:
    crowd = Crowd(seed, per_s, client_per_s=client_per_s, client_fails=fails, begins=begins)
    player = watched(crowd, begins + 200.0)

    assert player.restores == 0
    assert player.row(LIMIT).one_caller


# --- a bad release ------------------------------------------------------------------------------------------------


@settings(max_examples=8, deadline=None)
@given(
    st.integers(0, 10_000),
    st.floats(10.0, 40.0),
    st.sampled_from([lambda _c: 0.08, lambda _c: 0.5, broken_route(0.3), broken_route(1.0), broken_software]),
    st.floats(0.0, 120.0),
    st.sampled_from([0.0, 3.0, 10.0, 40.0]),
)
def test_no_client_hides_a_bad_release(
    seed: int, per_s: float, breaks: Callable[[Caller], float], broken_from: float, client_per_s: float
) -> None:
    """The client storms from the second minute on, whatever else is wrong."""
    crowd = Crowd(seed, per_s, client_per_s=client_per_s, breaks=breaks, broken_from=broken_from)
    player = watched(crowd, 600.0)

    assert player.restores == 1


def test_a_route_that_the_release_broke_rolls_back_and_is_named() -> None:
    player = watched(Crowd(breaks=broken_route(1.0), broken_from=60.0))

    assert player.restores == 1
    assert "; URL POST /api/v1/orders is behind " in player.watch.decisions[-1].reason


def test_a_route_that_failed_before_as_often_rolls_nothing_back() -> None:
    rows = (Origin(origins.ROUTE, "POST /api/v1/orders", 15_000.0, 15_000.0),)
    past = (Past("error_rate", T0 - 3600.0, T0, rows),)
    player = watched(Crowd(breaks=broken_route(1.0), broken_from=60.0), past=past, before=BEFORE)

    assert player.restores == 0
    assert "it failed as often before the deploy (15000 times in 60 min)" in player.row(LIMIT).reason


def test_a_route_that_failed_far_less_before_rolls_back() -> None:
    rows = (Origin(origins.ROUTE, "POST /api/v1/orders", 300.0, 300.0),)
    past = (Past("error_rate", T0 - 3600.0, T0, rows),)

    assert watched(Crowd(breaks=broken_route(1.0), broken_from=60.0), past=past, before=BEFORE).restores == 1


def test_a_full_page_of_old_errors_is_weighed_by_the_time_it_covers() -> None:
    rows = (Origin(origins.ROUTE, "POST /api/v1/orders", 1000.0, 1000.0),)
    some = Crowd(breaks=broken_route(1.0), broken_from=60.0)

    assert watched(some, past=(Past("error_rate", T0 - 200.0, T0, rows),), before=BEFORE).restores == 0
    again = Crowd(breaks=broken_route(1.0), broken_from=60.0)
    assert watched(again, past=(Past("error_rate", T0 - 3600.0, T0, rows),), before=BEFORE).restores == 1


def test_a_client_that_fared_well_until_the_deploy_is_its_victim() -> None:
    told = known([(CLIENT, False)] * 40)
    past = (Past("error_rate", T0 - 3600.0, T0, told),)

    assert watched(Crowd(client_per_s=5.0, begins=0.0), past=past).restores == 1
    late = Crowd(per_s=10.0, client_per_s=5.0, begins=960.0)
    assert watched(late, 1100.0, past=past).restores == 0, "it fared well on this release for a quarter of an hour"


def test_where_nobody_knows_who_the_users_were_an_early_victim_is_not_taken_for_a_newcomer() -> None:
    """The log could not be listed in time: the trial finds out whether it fails on the old revision as well."""
    assert watched(Crowd(client_per_s=5.0, begins=0.0), past=()).restores == 1
    assert watched(Crowd(per_s=10.0, client_per_s=5.0, begins=960.0), 1100.0, past=()).restores == 0


def test_an_address_with_many_kinds_of_software_is_no_one_caller() -> None:
    crowd = Crowd(client_per_s=5.0)
    software = (f"app/{n}" for n in range(10**6))
    often = crowd.often
    asked = crowd.users

    def users() -> Iterator[Caller]:
        yield from asked()
        if crowd.chance.random() < 1.0:
            for _ in range(often(3.0)):
                yield Caller(CLIENT.address, next(software), "POST", CLIENT.url)

    crowd.users = users  # type: ignore[method-assign]
    assert watched(crowd).restores == 1


@pytest.mark.parametrize(
    "client",
    [
        Caller("66.249.1.1", "APIs-Google; (+https://developers.google.com)", "POST", "https://x/push"),
        Caller("198.51.100.7", "acme-sync/2.0", "POST", "https://x/only/mine"),
    ],
    ids=["a subscription", "an address alone on its route"],
)
def test_who_alone_uses_a_route_proves_nothing(client: Caller) -> None:
    assert watched(Crowd(client_per_s=5.0, client=client)).restores == 1


def test_who_fails_on_the_old_revision_as_well_rolls_nothing_back() -> None:
    client = Caller("66.249.1.1", "CloudPubSub-Google", "POST", "https://x/push")
    split = Split.of({NEW: 50, OLD: 50})
    both = World(
        requests=Crowd(1, client_per_s=5.0, client=client),
        control_requests=Crowd(2, client_per_s=5.0, client=client),
    )
    player = play(both, POLICY, split=split).run(400.0)

    assert player.restores == 0
    assert f"it fails on {OLD} as well" in player.row(LIMIT).reason


# --- a bad release and a client at once, on trial -----------------------------------------------------------------


def tried(users_fail: float, client_per_s: float, old_fails: float = 0.001) -> Player:
    """Both revisions under the same client; `users_fail` of the others' requests fail on the new one."""

    def crowd(seed: int, per_s: float, share: float, clients: float) -> Crowd:
        return Crowd(seed, per_s, client_per_s=clients, begins=0.0, breaks=lambda _caller: share)

    world = World(
        requests=crowd(1, 40.0, users_fail, client_per_s),
        control_requests=crowd(2, 10.0, old_fails, client_per_s / 4.0),
        restored_requests=crowd(3, 50.0, old_fails, client_per_s),
    )
    return play(world, policy(rollback={"trial": "20%", "verify_for": "5m"})).run(600.0)


def test_a_client_who_fails_on_both_does_not_make_the_old_revision_look_as_sick() -> None:
    player = tried(0.08, 8.0)

    assert player.restores == 2
    assert player.watch.trial is not None
    assert player.watch.trial.verdict == "helps"
    assert player.watch.outcome is not None
    assert player.watch.outcome.value == "rolled_back"
    assert not [m for m in player.messages("rollback_failed") if "did not help" in str(m)]


def test_an_outage_that_both_share_is_still_found_beside_a_client() -> None:
    player = tried(0.3, 8.0, old_fails=0.3)

    assert player.watch.trial is not None
    assert player.watch.trial.verdict == "as_sick"


# --- the slow feed ------------------------------------------------------------------------------------------------


def slow(player: Player, end: float, counts: Counts) -> None:
    """A minute of Cloud Monitoring, three minutes late."""
    sample = Sample(
        source="cloud_run",
        check="error_rate",
        revision=NEW,
        start=end - 60.0,
        end=end,
        seen=end + 180.0,
        evidence=counts,
    )
    player.fold(Sampled(at=max(player.now, sample.seen), samples=(sample,)))


@pytest.mark.parametrize("log, restores", [("stands", 0), ("saw nothing", 1)])
def test_the_slow_feeds_alarm_is_the_same_callers_where_the_log_saw_it(log: str, restores: int) -> None:
    lags = (
        Lag(source="requests", check="error_rate", period_s=5.0, lag_s=10.0),
        Lag(source="cloud_run", check="error_rate", period_s=60.0, lag_s=180.0),
    )
    crowd = Crowd(client_per_s=5.0)
    world = World(requests=crowd if log == "stands" else steady(100.0))
    player = play(world, POLICY, lags=lags, past=NOBODY)
    for minute in range(3, 10):
        player.run(60.0 * minute + 180.0)
        slow(player, T0 + 60.0 * minute, Counts(300.0, 1500.0))

    assert player.restores == restores


# --- arithmetic ---------------------------------------------------------------------------------------------------

name = st.sampled_from("abcdef")
row = st.builds(
    Origin,
    st.sampled_from(origins.KINDS),
    name,
    st.floats(0, 1e6),
    st.floats(0, 1e6),
    st.integers(0, 4),
    st.lists(
        st.builds(Use, name, *([st.floats(0, 1e6)] * 4), st.lists(name, max_size=3).map(tuple)),
        max_size=3,
        unique_by=lambda u: u.route,
    ).map(tuple),
)


@settings(max_examples=30)
@given(st.lists(row, max_size=5).map(tuple))
def test_rows_come_back_from_the_journal(rows: tuple[Origin, ...]) -> None:
    assert origins.decode(origins.encode(rows)) == rows


@settings(max_examples=30)
@given(st.lists(st.tuples(st.integers(0, 90), row), max_size=20))
def test_buckets_are_added_up_once(seen: list[tuple[int, Origin]]) -> None:
    history: tuple[origins.Seen, ...] = ()
    for end, found in seen:
        history = origins.added(history, origins.Seen(float(end), end - 5.0, (found,)), 100.0)

    assert [s.end for s in history] == sorted({float(end) for end, _ in seen})
    total = sum(o.bad for o in origins.within(history, -1.0, 1e9).values())
    assert total == pytest.approx(sum(found.bad for found in dict(seen).values()))
    assert not origins.added(history, origins.Seen(1000.0, 995.0, ()), 100.0)[:-1], "old ones go"
