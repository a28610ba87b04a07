"""New errors in the log, against the emulator's Cloud Logging over real gRPC."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from watchdog.core.model import Evidence, Failed, Missing, Passed, Sample, ServiceKey
from watchdog.core.policy import Policy
from watchdog.emulator import clock
from watchdog.emulator.app_log import trace_of
from watchdog.emulator.ledger import Ledger, Request
from watchdog.emulator.logging import LoggingServer
from watchdog.policy_file import parse_policy
from watchdog.ports import About, MetricQuery
from watchdog.sources import error_log
from watchdog.sources.error_log import ErrorLog
from watchdog.sources.logging_client import PAGE, LoggingClient

KEY = ServiceKey(project="barq-fleet", region="us-central1", name="barq-fleet-api")
OLD, NEW = "api-1", "api-2"
HEAD = "version: 1\nservice: {project: barq-fleet, region: us-central1, name: barq-fleet-api}\n"


def policy(logs: str = "true") -> Policy:
    return parse_policy(f"{HEAD}probes: {{live: {{path: /live}}}}\nlogs: {logs}\n", Path("p.yaml")).policy


@dataclass
class World:
    """The cutover was `age_s` ago; looks are made at moments counted from it."""

    server: LoggingServer
    source: ErrorLog
    ledger: Ledger
    since: float
    policy: Policy = field(default_factory=policy)

    def write(self, text: str, at: float, *, revision: str = NEW, times: int = 1, **more: Any) -> None:
        """So many lines at the cutover + `at`."""
        for _ in range(times):
            self.server.lines.write(
                project=KEY.project, region=KEY.region, service=KEY.name, revision=revision, text=text,
                at=self.since + at, **more,
            )  # fmt: skip

    def fail(self, at: float, *, times: int) -> None:
        """Requests that the new revision answered with 500."""
        for i in range(times):
            self.ledger.record(
                Request(
                    revision=NEW, service=KEY.name, project=KEY.project, region=KEY.region, ended_at=self.since + at,
                    latency_s=0.1, status=500, user_agent="test", method="POST", url="http://api.test/couriers",
                    size_bytes=2, remote_ip="10.0.0.9", insert_id=f"{at}/{i}",
                )
            )  # fmt: skip

    async def samples(self, at: float, *, moved: bool = False, trouble: float | None = None) -> list[Sample]:
        """A look at the cutover + `at`; `moved`: traffic is with the revision before again."""
        about = About(revision=NEW, since=self.since, trouble_at=None if trouble is None else self.since + trouble)
        query = MetricQuery(
            service=KEY, revision=OLD if moved else NEW, start=self.since, end=self.since + at, policy=self.policy,
            about=about,
        )  # fmt: skip
        return list(await self.source.sample(query, now=self.since + at))

    async def look(self, at: float, **options: Any) -> tuple[Evidence, str]:
        """What the look says."""
        (sample,) = await self.samples(at, **options)
        return sample.evidence, sample.note


@asynccontextmanager
async def world(logs: str = "true", **options: Any) -> AsyncIterator[World]:
    ledger = Ledger()
    server = LoggingServer(ledger=ledger, delivery_delay_s=0.0, **options)
    port = await server.start("127.0.0.1", 0)
    client = LoggingClient(emulator_host=f"127.0.0.1:{port}")
    try:
        yield World(server, ErrorLog(client), ledger, clock.now() - 7200.0, policy(logs))
    finally:
        await client.close()
        await server.stop()


async def test_only_what_the_revision_before_did_not_log_is_new_and_it_is_said_redacted() -> None:
    async with world() as w:
        w.write("cannot reach 10.0.0.7: timeout after 3s", -1800.0, revision=OLD)
        w.write("no row for courier 4", -3700.0, revision=OLD)  # too long ago
        assert await w.look(1.0) == (Passed(), "")
        w.write("cannot reach 10.0.0.9: timeout after 12s", 5.0, times=40)
        assert await w.look(15.0) == (Passed(), "")
        w.write("no row for courier 17, password=hunter2, asked by ada@example.com", 20.0, times=3)
        w.write("cannot connect to postgres://app:sw0rdfish@db/fleet", 20.0, times=2)
        w.write("shift closed twice", 21.0)
        evidence, note = await w.look(30.0)
    assert evidence == Failed("new_errors")
    assert note.startswith('3 new kinds of errors: 3 times: "no row for courier 17, password=')
    assert 'once: "shift closed twice"' in note
    assert "hunter2" not in note
    assert "sw0rdfish" not in note
    assert "ada@" not in note


async def test_what_the_old_revision_logs_at_the_same_time_is_not_new() -> None:
    async with world() as w:
        w.write("redis is away (3)", 5.0)
        (sample,) = await w.samples(15.0)
        assert sample.evidence == Failed("new_errors")
        w.write("redis is away (9)", 20.0, revision=OLD)
        (sample,) = await w.samples(30.0)
    assert sample.evidence == Passed(), "both have it, so it came with something else"
    assert [c.times for c in sample.clues] == [0], "taken back"


async def test_requests_below_error_and_other_services_are_not_its_business() -> None:
    async with world() as w:
        w.write("slow", 1.0, severity="WARNING")
        w.fail(2.0, times=5)
        w.server.lines.write(
            project=KEY.project, region=KEY.region, service="other", revision="other-1", text="boom", at=w.since + 2.0
        )
        assert await w.look(15.0) == (Passed(), "")


async def test_late_ones_count_doubles_do_not_and_once_broken_it_stays_so() -> None:
    async with world() as w:
        await w.look(1.0)
        w.server.set_fault("duplicate")
        w.write("boom 1", 10.0, times=2)
        (first,) = await w.samples(15.0)
        w.write("boom 2", 5.0)  # comes late
        (second,) = await w.samples(30.0)
        (third,) = await w.samples(45.0)
    assert [c.times for s in (first, second) for c in s.clues] == [2, 3]
    assert (third.evidence, third.clues) == (Failed("new_errors"), ()), "nothing takes back what was logged"
    assert (second.start, second.end) == (first.end, second.seen), "each look stands for the time since the last"


async def test_after_its_time_nothing_is_judged_but_the_log_is_still_read_and_sooner_in_trouble() -> None:
    async with world() as w:
        for at in (1.0, 15.0, 290.0, 305.0, 320.0):
            await w.samples(at)
        calls = w.server.calls["ListLogEntries"]
        assert [await w.samples(at) for at in (345.0, 360.0)] == [[], []]
        assert w.server.calls["ListLogEntries"] == calls, "not yet"
        w.write("late trouble", 3500.0)
        (sample,) = await w.samples(3600.0)
        assert [c.text for c in sample.clues] == ["late trouble"]
        assert sample.start >= w.since + 300.0, "no verdict comes of it"
        w.write("more trouble", 3605.0)
        (sample,) = await w.samples(3615.0, moved=True, trouble=3601.0)
    assert [c.text for c in sample.clues] == ["more trouble"]
    assert sample.revision == NEW, "it is about the watched revision, whoever serves"


async def test_a_stack_trace_tells_where_in_the_teams_own_code() -> None:
    async with world() as w:
        w.write("POST /couriers/17 failed", 20.0, trace=trace_of("POST", "/api/v1/couriers/17", "r-1"))
        w.write("POST /couriers/9 failed", 21.0, trace=trace_of("POST", "/api/v1/couriers/9", "r-2"))
        (sample,) = await w.samples(30.0)
    ((_, times, text, where, at),) = sample.clues
    assert (times, where, round(at - w.since)) == (
        2,
        "app/database.py in fetch, called from app/couriers.py in create",
        20,
    )
    assert text.startswith("app.database.StorageError: no answer for")


@pytest.mark.parametrize(
    "fault, reason",
    [
        ("permission_denied", "access"),
        ("resource_exhausted", "rate_limited"),
        ("unavailable", "source_error"),
        ("internal", "source_error"),
    ],
)
async def test_a_log_that_cannot_be_read_is_missing_and_says_why(fault: Any, reason: str) -> None:
    async with world() as w:
        w.server.set_fault(fault)
        assert await w.look(1.0) == (Missing(reason), "")
        waits = await w.samples(15.0)
        assert waits == [] if reason == "rate_limited" else waits[0].evidence == Missing(reason)
        w.server.clear_faults()
        w.write("boom", 10.0)
        assert (await w.look(45.0))[0] == Failed("new_errors"), "nothing was lost meanwhile"


async def test_what_could_not_be_read_in_its_time_is_judged_when_it_can_and_never_again_asked_in_haste() -> None:
    async with world() as w:
        await w.look(1.0)
        w.server.set_fault("permission_denied")
        w.write("boom", 100.0)
        assert await w.look(290.0) == (Missing("access"), "")
        assert [await w.samples(t) for t in (400.0, 410.0, 600.0)] == [[], [], []], "it was said, and once is enough"
        calls = w.server.calls["ListLogEntries"]
        await w.samples(610.0)
        assert w.server.calls["ListLogEntries"] == calls
        w.server.clear_faults()
        (sample,) = await w.samples(900.0)
    assert sample.evidence == Failed("new_errors")
    assert sample.start - w.since == pytest.approx(1.0), "it stands for the time that nobody could look at"


async def test_a_kind_counts_once_it_was_seen_often_enough_and_some_are_known() -> None:
    async with world('{at_least: 3, until: 10m, ignore: ["^known trouble"]}') as w:
        w.write("known trouble 1", 1.0, times=9)
        w.write("boom", 2.0, times=2)
        assert await w.look(15.0) == (Passed(), "")
        w.write("boom", 400.0)
        evidence, note = await w.look(405.0)
    assert (evidence, note) == (Failed("new_errors"), 'a new kind of error: 3 times: "boom"')


async def test_memory_is_bounded_and_of_a_flood_the_newest_are_read() -> None:
    async with world() as w:
        await w.look(1.0)
        for i in range(1500):
            w.write(f"kind {chr(97 + i % 26)}{chr(97 + i // 26 % 26)}{chr(97 + i // 676)} broke", 5.0 + i * 0.005)
        (sample,) = await w.samples(15.0)
        (log,) = w.source._logs.values()
    assert len(log.kinds) == error_log.MOST_KINDS
    assert len(sample.clues) == error_log.TOLD
    assert len(log.seen) <= PAGE
    assert sample.note.startswith("200 new kinds of errors: ")
    assert sample.note.endswith("; and 197 more")


async def test_after_a_restart_the_log_is_read_again_and_no_count_goes_back() -> None:
    async with world() as w:
        w.write("boom", 10.0, times=4)
        (before,) = await w.samples(15.0)
        w.source._logs.clear()
        w.write("boom", 20.0)
        (after,) = await w.samples(30.0)
    assert [c.times for s in (before, after) for c in s.clues] == [4, 5]
    assert before.clues[0].key == after.clues[0].key


async def test_what_it_logged_while_it_started_is_its_own() -> None:
    async with world() as w:
        w.write("cannot load plugin", -20.0)
        assert (await w.look(1.0))[0] == Failed("new_errors")


async def test_a_policy_without_logs_reads_none() -> None:
    plain = parse_policy(f"{HEAD}probes: {{live: {{path: /live}}}}\n", Path("p.yaml")).policy
    async with world() as w:
        assert await w.source.feeds(KEY, plain) == []
        w.policy = plain
        assert await w.samples(1.0) == []
        assert not w.server.calls
