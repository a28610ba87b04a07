"""`request_drop` against the emulator's Cloud Monitoring: what came, against the hour, the day and the week before."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.core.policies import build, problems
from watchdog.core.model import Evidence, Missing, ServiceKey, Value
from watchdog.core.policy import Policy
from watchdog.emulator.ledger import Ledger, Request
from watchdog.emulator.monitoring import MonitoringServer
from watchdog.ports import About, MetricQuery
from watchdog.sources.monitoring_client import MonitoringClient
from watchdog.sources.request_drop import RequestDrop, missing_share

SERVICE = ServiceKey(project="barq-fleet", region="us-central1", name="barq-fleet-api")
T0 = 1_700_000_040.0
"""The cutover, a whole minute."""
DAY_S = 86_400.0
ROWS = [{"metric": "request_drop", "warning": "> 50%"}]


def policy(probes: int = 1) -> Policy:
    found = build(
        alert_thresholds=ROWS,
        windows={"immediate": {"until": "24h", "probe_every": "15s"}},
        probes={f"p{n}": {"path": f"/{n}"} for n in range(probes)},
    ).policy
    assert found is not None
    return found


class World:
    def __init__(self, ledger: Ledger, server: MonitoringServer, source: RequestDrop) -> None:
        self.ledger, self.server, self.source = ledger, server, source
        self.lines: list[Request] = []

    def serve(self, start_s: float, end_s: float, a_minute: float, revision: str = "api-1") -> None:
        """So many requests in each minute from `T0 + start_s` to `T0 + end_s`."""
        minute = start_s
        while minute < end_s:
            for n in range(round(a_minute)):
                at = T0 + minute + 60.0 * (n + 0.5) / a_minute
                self.lines.append(
                    Request(
                        revision=revision, service=SERVICE.name, project=SERVICE.project, region=SERVICE.region,
                        ended_at=at, latency_s=0.1, status=200, user_agent="load", method="GET", url="http://x/",
                        size_bytes=2, remote_ip="10.0.0.1", insert_id=str(len(self.lines)),
                    )
                )  # fmt: skip
            minute += 60.0

    async def ask(self, until_s: float, *, own: tuple[float, ...] = (), of: Policy | None = None) -> list[Evidence]:
        """Every minute since the cutover that is complete `until_s` later."""
        for line in sorted(self.lines, key=lambda r: r.ended_at):
            self.ledger.record(line)
        self.lines.clear()
        query = MetricQuery(
            service=SERVICE,
            revision="api-2",
            start=T0 + until_s - 180.0 - 300.0,
            end=T0 + until_s,
            answered_at=own,
            policy=of or policy(),
            about=About(since=T0),
        )
        return [s.evidence for s in await self.source.sample(query, now=T0 + until_s)]


@asynccontextmanager
async def world() -> AsyncIterator[World]:
    ledger = Ledger(keep_s=10 * 365 * DAY_S)
    server = MonitoringServer(ledger=ledger, sample_period_s=60.0, ingest_delay_s=180.0)
    await server.start("127.0.0.1", 0)
    client = MonitoringClient(emulator_host=f"127.0.0.1:{server.port}")
    try:
        yield World(ledger, server, RequestDrop(client))
    finally:
        await client.close()
        await server.stop()


def drops(found: list[Evidence]) -> list[float]:
    return [e.x for e in found if isinstance(e, Value)]


async def test_traffic_that_ends_is_a_drop_and_traffic_that_goes_on_is_none() -> None:
    async with world() as w:
        w.serve(-3600, 600, 60)
        w.serve(600, 1200, 3, "api-2")
        assert max(drops(await w.ask(780))) == 0.0
        assert min(drops(await w.ask(1080 + 180))[-3:]) > 0.8


async def test_traffic_that_moves_to_another_revision_is_no_drop() -> None:
    async with world() as w:
        w.serve(-3600, 0, 60)
        w.serve(0, 900, 60, "api-2")
        assert max(drops(await w.ask(1080))) == 0.0


@pytest.mark.parametrize("ago_s", [DAY_S, 7 * DAY_S], ids=["yesterday", "a week ago"])
async def test_what_was_low_at_this_hour_before_may_be_low_now(ago_s: float) -> None:
    async with world() as w:
        w.serve(-3600, 300, 60)
        w.serve(300, 1200, 3)
        w.serve(-ago_s - 3600, -ago_s + 300, 60)
        w.serve(-ago_s + 300, -ago_s + 1200, 3)
        found = await w.ask(1260)

    assert not drops(found), "three a minute are too few to tell"
    assert set(found) == {Missing("too_little_before")}


async def test_a_shop_that_closed_at_this_hour_yesterday_may_close_today() -> None:
    """Without a request Cloud Run writes no point at all."""
    async with world() as w:
        w.serve(-DAY_S - 3600, -DAY_S + 300, 60)
        w.serve(-3600, 300, 60)
        w.serve(300, 1200, 1)
        found = await w.ask(1260)

    assert set(found[-3:]) == {Missing("too_little_before")}


async def test_yesterday_still_tells_when_the_hour_before_the_deploy_is_long_ago() -> None:
    start = 6 * 3600.0
    async with world() as w:
        w.serve(start, start + 900, 2)
        assert set(await w.ask(start + 1080)) == {Missing("nothing_before")}
        w.ledger.clear()
        w.source._past.clear()
        w.serve(-DAY_S + start - 3600, -DAY_S + start + 1800, 60)
        w.serve(start, start + 900, 2)
        assert min(drops(await w.ask(start + 1080))) > 0.8


async def test_our_own_probes_are_neither_traffic_nor_expected() -> None:
    own = tuple(T0 + 15.0 * n for n in range(80))
    async with world() as w:
        w.serve(-3600, 600, 60)
        w.serve(600, 1200, 4, "api-2")
        assert drops(await w.ask(1380, own=own))[-1] > 0.95, "only our probes are left"
    async with world() as w:
        w.serve(-3600, 0, 8)
        w.serve(0, 1200, 8)
        found = await w.ask(1380, own=own, of=policy(2))
    assert set(found) == {Missing("too_little_before")}, "they may all have been another watch's probes"


async def test_a_silent_feed_is_no_drop() -> None:
    async with world() as w:
        w.serve(-3600, 0, 60)
        found = await w.ask(1080)

    assert set(found) == {Missing("no_series")}


async def test_it_is_asked_only_where_a_row_reads_it() -> None:
    unread = build().policy
    async with world() as w:
        assert unread is not None
        assert await w.source.feeds(SERVICE, unread) == ()
        assert await w.ask(600, of=unread) == []
        assert not w.server.calls
        (feed,) = await w.source.feeds(SERVICE, policy())
        assert (feed.source, feed.check, feed.period_s, feed.lag_s) == ("request_drop", "request_drop", 60.0, 180.0)


async def test_the_past_is_asked_for_once() -> None:
    async with world() as w:
        w.serve(-3600, 1200, 60)
        await w.ask(780)
        before = w.server.calls["ListTimeSeries"]
        await w.ask(840)
        assert w.server.calls["ListTimeSeries"] == before + 1


def test_a_row_of_it_is_relative_by_itself_and_asks_for_a_person() -> None:
    assert {row.action.value for row in policy().rows} == {"investigate"}
    ((where, what),) = problems(alert_thresholds=[{"metric": "request_drop", "warning": "> 2x before"}])
    assert where == "alert_thresholds.0.warning"
    assert "it says what is missing compared with before already" in what


@given(st.floats(0, 1e6), st.floats(0, 1e6))
def test_chance_is_no_drop(came: float, expected: float) -> None:
    found = missing_share(came, expected)

    assert found is None or 0.0 <= found <= 1.0
    if found:
        assert came < expected
        more = missing_share(came + 1.0, expected)
        assert more is not None
        assert more <= found
    assert missing_share(expected, expected) in {None, 0.0}
