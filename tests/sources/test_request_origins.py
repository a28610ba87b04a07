"""Who is behind bad requests: bounded counts with a known error, names without personal data, never our own probes."""

from collections import Counter
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.core.policies import build
from tests.sources.log_world import PROBE, world
from watchdog.core.model import Counts, Sample
from watchdog.core.origins import ADDRESS, AGENT, KNOWN, ROUTE, SUBSCRIPTION, Origin
from watchdog.sources.request_origins import COUNTERS, Caller, Origins, Sketch, known, masked, route

READS = build(alert_thresholds=[{"metric": "client_error_rate", "warning": "> 3x before"}]).policy
BOT: dict[str, Any] = {
    "remote_ip": "203.0.113.77",
    "user_agent": "bot/1",
    "method": "POST",
    "url": "https://x/api/v1/orders/8812?t=s3",
}


def counts(samples: list[Sample], check: str) -> list[Counts]:
    return [s.evidence for s in samples if s.check == check and isinstance(s.evidence, Counts) and s.evidence.total]


def by_kind(rows: tuple[Origin, ...]) -> dict[str, Origin]:
    """The first of each kind, which is behind the most."""
    return {row.kind: row for row in reversed(rows)}


async def test_the_log_tells_who_was_behind_the_errors_and_who_fared_well() -> None:
    async with world() as w:
        await w.stand()
        await w.turn(1.0)
        await w.serve(2.0, n=9, status=500, **BOT)
        await w.serve(2.5, n=1, status=500)
        for n in range(5):
            await w.serve(3.0, **{**BOT, "remote_ip": f"198.51.100.{n}", "user_agent": "app/2"})
        await w.serve(3.5, status=200, **BOT)
        await w.turn(20.0)
        (found,) = counts(await w.ask(), "error_rate")

    rows = by_kind(found.origins)
    assert (found.bad, found.total) == (10, 16)
    address = rows[ADDRESS]
    assert (address.key, address.bad, address.total, address.agents) == (masked("203.0.113.77"), 9.0, 10.0, 1)
    (use,) = address.uses
    assert (use.route, use.bad, use.total, use.others_bad, use.others_total) == ("POST /api/v1/orders/*", 9, 10, 0, 5)
    assert len(use.well) == 5
    assert set(rows) == {ADDRESS, AGENT, ROUTE}
    assert not any(hidden in str(found) for hidden in ("203.0.113.77", "8812", "s3"))


async def test_4xx_are_counted_only_where_a_row_reads_them() -> None:
    async with world() as w:
        await w.stand()
        await w.turn(1.0)
        await w.serve(2.0, n=3, status=404, **BOT)
        await w.serve(3.0, n=7)
        await w.turn(20.0)
        unread = counts(await w.ask(), "client_error_rate")
        (read,) = counts(await w.ask(policy=READS), "client_error_rate")
        (errors,) = counts(await w.ask(policy=READS), "error_rate")

    assert unread == []
    assert (read.bad, read.total) == (3, 10)
    assert by_kind(read.origins)[ROUTE].key == "POST /api/v1/orders/*"
    assert (errors.bad, errors.total, errors.origins) == (0, 10, ())


async def test_our_own_probes_are_nobodys_errors() -> None:
    async with world() as w:
        await w.stand()
        await w.turn(1.0)
        for status in (500, 503, 401, 404, 200):
            await w.serve(2.0, n=4, status=status, user_agent=PROBE)
        await w.serve(2.0, n=2, status=500)
        await w.turn(20.0)
        samples = await w.ask(policy=READS)

    (errors,) = counts(samples, "error_rate")
    (client,) = counts(samples, "client_error_rate")
    assert (errors.bad, errors.total) == (2, 2)
    assert (client.bad, client.total, client.origins) == (0, 2, ())
    assert {row.bad for row in errors.origins} == {2.0}


# --- names --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "method, url, pattern",
    [
        ("GET", "https://x/api/v1/couriers/17", "GET /api/v1/couriers/*"),
        ("POST", "https://x/", "POST /"),
        ("GET", "https://x/users/ann@example.com/cart?token=abc", "GET /users/*/cart"),
        ("PUT", "https://x/f/5d41402abc4b2a76b9719d911017c592", "PUT /f/*"),
        ("GET", "https://x/a/b/c/d/e/f/g/h", "GET /a/b/c/d/e/f/…"),
        ("GET", "https://x/%E2%82%AC/tel", "GET /*/tel"),
        ("", "", "GET /"),
    ],
)
def test_a_route_is_a_pattern(method: str, url: str, pattern: str) -> None:
    assert route(method, url) == pattern


def test_an_address_is_one_source_under_a_pseudonym() -> None:
    assert masked("203.0.113.7").startswith("203.0.113.x (")
    assert masked("203.0.113.7") != masked("203.0.113.8")
    assert masked("::ffff:203.0.113.7") == masked("203.0.113.7")
    assert masked("2001:db8:1:2:3:4:5:6") == masked("2001:db8:1:2:ffff::1"), "one network of 64 bits"
    assert masked("2001:db8:1:2::1") != masked("2001:db8:1:3::1")
    assert masked("not an address").startswith("unknown (")


def test_what_google_pushes_is_known_by_where_it_goes() -> None:
    url = "https://x/?__GCP_CloudEventsMode=CUSTOM_PUBSUB_projects%2Facme%2Ftopics%2Forders&token=s3"
    names = Caller("66.249.1.1", "APIs-Google; (+https://developers.google.com/)", "POST", url).names()

    assert names[SUBSCRIPTION] == "APIs-Google to POST /, topic orders"
    assert ADDRESS not in names, "it comes from many"
    assert "s3" not in str(names)


def test_an_address_that_everybody_inside_shares_is_nobodys() -> None:
    assert ADDRESS not in Caller("169.254.1.1", "app/1", "GET", "https://x/").names()


def test_who_was_there_before() -> None:
    ann, bob = Caller("203.0.113.1"), Caller("203.0.113.2")
    push = Caller("66.249.1.1", "CloudPubSub-Google")

    assert known([(ann, True), (ann, False), (bob, False), (push, True)]) == (
        Origin(KNOWN, masked("203.0.113.1"), 1.0, 2.0),
        Origin(KNOWN, masked("203.0.113.2"), 0.0, 1.0),
    )


# --- counts -------------------------------------------------------------------------------------------------------


@settings(max_examples=40)
@given(st.lists(st.integers(0, 60), max_size=200), st.integers(1, 12))
def test_space_saving_keeps_its_bound(keys: list[int], most: int) -> None:
    sketch, true = Sketch(most), Counter[object](keys)
    for key in keys:
        sketch.bad(key)

    assert len(sketch.counters) <= most
    for counted, counter in sketch.counters.items():
        assert counter.bad - counter.error <= true[counted] <= counter.bad
        assert counter.error <= len(keys) / most
    assert all(one in sketch.counters for one, n in true.items() if n > len(keys) / most)


@settings(max_examples=40)
@given(st.lists(st.tuples(st.integers(0, 40), st.integers(0, 5), st.booleans()), max_size=150))
def test_nobody_is_blamed_for_more_than_he_did(asked: list[tuple[int, int, bool]]) -> None:
    origins, bad = Origins(), Counter[str]()
    for address, path, failed in asked:
        caller = Caller(f"203.0.113.{address}", "app/1", "GET", f"https://x/{'abcdef'[path]}")
        if failed:
            origins.bad(caller)
            bad[masked(caller.address)] += 1
        elif bad:
            origins.good(caller)
    total = sum(bad.values())
    rows = origins.rows(total) if total else ()

    for row in rows:
        assert row.bad <= total
        if row.kind == ADDRESS:
            assert total / 10 <= row.bad <= bad[row.key]
        else:
            assert total / 2 <= row.bad
    if bad and max(bad.values()) - total / COUNTERS > total / 2:
        assert any(row.kind == ADDRESS for row in rows), "half of them and its error: certainly named"
