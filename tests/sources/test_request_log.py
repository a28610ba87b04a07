"""The `request_log` source: what it counts, what it says of silence, and how it gets over a stream that fails."""

import asyncio
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from tests.emulator.cloud_world import until
from tests.sources.log_world import OTHER, PROBE, SERVICE, T0, TurnedClock, at, total, world
from watchdog.core.model import Counts, Missing, ServiceKey, Value
from watchdog.emulator.logging_filter import sampled
from watchdog.errors import PermanentError
from watchdog.policy_file import load_policy
from watchdog.ports import MetricQuery
from watchdog.sources.log_messages import LONGEST_FILTER, tail_filter
from watchdog.sources.log_tail import IDLE_S, LASTING_RETRY_S, OVERLAP_S, RENEW_S
from watchdog.sources.logging_client import LoggingClient
from watchdog.sources.request_log import RequestLog

POLICY = load_policy(Path(__file__).parents[2] / "config" / "barq-fleet.yaml").policy

# --- what it says of itself ----------------------------------------------------------------------------------------


async def test_feeds_announce_buckets_of_5_s_that_are_complete_after_10() -> None:
    async with world() as w:
        feeds = {feed.check: feed for feed in await w.source.feeds(SERVICE, POLICY)}

    assert {(f.period_s, f.lag_s) for c, f in feeds.items() if c != "request_rate"} == {(5.0, 10.0)}
    assert (feeds["request_rate"].period_s, feeds["request_rate"].lag_s) == (60.0, 10.0)
    assert {"error_rate", "slower_than_500ms", "slower_than_300ms_upper"} <= set(feeds)
    assert not {"cpu_usage", "memory_usage", "p95_latency"} & set(feeds)
    assert {f.source for f in feeds.values()} == {"request_log"}


async def test_a_policy_that_takes_its_requests_from_elsewhere_opens_no_session() -> None:
    metrics = {n: m.model_copy(update={"source": "prometheus"}) for n, m in POLICY.metrics.items()}
    async with world() as w:
        assert await w.source.feeds(SERVICE, POLICY.model_copy(update={"metrics": metrics})) == ()

        assert w.server.calls["TailLogEntries"] == 0


async def test_importing_it_loads_nothing_of_google() -> None:
    code = (
        "import sys, watchdog.sources.request_log;"
        "print([m for m in sys.modules if m.startswith(('grpc', 'google.cloud', 'google.protobuf'))])"
    )
    done = await asyncio.to_thread(subprocess.run, [sys.executable, "-c", code], capture_output=True, text=True)

    assert (done.stdout.strip(), done.returncode) == ("[]", 0), done.stderr


# --- counts -------------------------------------------------------------------------------------------------------


async def test_errors_are_5xx_among_all_requests_of_the_revision_but_our_own() -> None:
    async with world() as w:
        await w.stand()
        await w.serve(6, n=17)
        await w.serve(7, n=2, status=500)
        await w.serve(8, n=1, status=404)
        await w.serve(9, n=40, status=503, user_agent=f"{PROBE} extra")
        for elsewhere in ({"revision": "api-1"}, {"service": OTHER}, {"region": "europe-west1"}, {"project": "other"}):
            await w.serve(7, n=30, status=500, **elsewhere)
        await w.serve(11, n=5)

        assert await w.counts(15) == {0.0: Counts(0, 0), 5.0: Counts(2, 20, (("500", 2.0),)), 10.0: Counts(0, 5)}
        assert await w.counts(15, revision="api-1") == {
            0.0: Counts(0, 0),
            5.0: Counts(30, 30, (("500", 30.0),)),
            10.0: Counts(0, 0),
        }


async def test_what_no_instance_took_is_counted_apart_and_only_where_there_was_some() -> None:
    async with world() as w:
        await w.stand()
        await w.serve(1, n=3)
        await w.serve(6, n=8)
        await w.serve(7, n=12, status=429, turned_away=True)
        await w.serve(8, n=4, status=500, turned_away=True)

        assert await w.counts(10) == {0.0: Counts(0, 3), 5.0: Counts(0, 8)}
        assert await w.counts(10, "refused") == {5.0: Counts(16, 24)}


async def test_latencies_are_counted_against_every_limit_exactly() -> None:
    async with world() as w:
        await w.stand()
        for latency_s in (0.1, 0.499, 0.5, 0.501, 1.5):
            await w.serve(6, latency_s=latency_s)
        await w.turn(20)
        samples = await w.ask(latency_limits_s=(0.5, 1.0))

    assert at(samples, "slower_than_500ms")[5.0] == Counts(2, 5)
    assert at(samples, "slower_than_1000ms")[5.0] == Counts(1, 5)
    for check in ("slower_than_500ms", "slower_than_1000ms"):
        assert at(samples, check) == at(samples, f"{check}_upper"), "the log leaves no bucket open"


async def test_a_request_counts_when_it_has_ended_as_in_cloud_monitoring() -> None:
    """The log stamps it with its arrival, 8 s before."""
    async with world() as w:
        await w.stand()
        await w.serve(12, latency_s=8.0)

        assert await w.counts(15) == {0.0: Counts(0, 0), 5.0: Counts(0, 0), 10.0: Counts(0, 1)}


async def test_the_rate_is_a_whole_minutes() -> None:
    async with world() as w:
        await w.stand()
        for second in range(120):
            await w.serve(second, n=1 + second // 60)
        await w.turn(130)
        samples = await w.ask()

    assert at(samples, "request_rate") == {0.0: Value(1.0), 60.0: Value(2.0)}
    assert {s.end - s.start for s in samples if s.check == "request_rate"} == {60.0}


async def test_a_bucket_is_shown_once_its_lag_is_over_and_changes_when_an_entry_comes_late() -> None:
    async with world() as w:
        await w.stand()
        await w.serve(1)
        assert await w.counts(4.9) == {}
        assert await w.counts(5) == {0.0: Counts(0, 1)}

        await w.serve(2, status=500)

        assert await w.counts(5) == {0.0: Counts(1, 2, (("500", 1.0),))}


async def test_only_what_the_query_names_is_answered() -> None:
    async with world() as w:
        await w.stand()
        await w.turn(75)
        named = {s.check for s in await w.ask(metrics=("request_rate",))}
        limits = {s.check for s in await w.ask(metrics=("p95_latency",), latency_limits_s=(0.5,))}

    assert named == {"request_rate"}
    assert limits == {"slower_than_500ms", "slower_than_500ms_upper"}


async def test_nothing_is_said_of_what_is_not_complete_yet() -> None:
    """A probe was answered a second ago: that its entry is not here yet is no doubt."""
    async with world() as w:
        await w.stand()
        await w.serve(3, n=3)
        await w.turn(9)
        with capture_logs() as logs:
            found = await w.ask(answered_at=(T0 + 3.0, T0 + 4.0, T0 + 6.0, T0 + 7.0))

    assert (found, logs) == ([], [])


async def test_entries_that_come_twice_count_once() -> None:
    async with world() as w:
        await w.stand()
        w.server.set_fault("duplicate")
        await w.serve(6, n=10)
        w.server.clear_faults()
        await w.arrive()

        assert (await w.counts(10))[5.0] == Counts(0, 10)


# --- silence and gaps ---------------------------------------------------------------------------------------------


async def test_no_traffic_is_no_traffic_while_the_stream_stands() -> None:
    async with world() as w:
        await w.stand()

        assert set((await w.counts(60)).values()) == {Counts(0, 0)}


async def test_a_stream_that_leaves_our_own_probes_out_is_broken_until_something_comes() -> None:
    """The API says nothing; but the revision has answered us, and a request that is not in the log is no silence."""
    async with world() as w:
        await w.stand()
        await w.serve(1, user_agent=PROBE)
        w.server.set_fault("silent")
        await w.serve(6, n=20, status=500)
        await w.serve(6, user_agent=PROBE)
        w.server.clear_faults()
        await w.serve(16, user_agent=PROBE)
        found = await w.counts(20, answered_at=(T0 + 1.01, T0 + 8.9, T0 + 16.01))

    assert found == {
        0.0: Counts(0, 0),
        5.0: Missing("silent_stream"),
        10.0: Missing("silent_stream"),
        15.0: Counts(0, 0),
    }


async def test_a_log_that_excludes_successes_to_save_money_is_not_believed_and_that_is_said_once() -> None:
    """Nine of ten successes dropped would make 1 % of errors look like 9 %."""
    async with world() as w:
        await w.stand()
        w.server.set_fault("exclude", filter='httpRequest.status<400 AND NOT httpRequest.userAgent:"fence"')
        with capture_logs() as logs:
            for second in range(1, 30, 5):
                await w.turn(second)
                await w.serve(second, user_agent=PROBE)
                await w.serve(second, n=9)
                await w.serve(second, status=500)
            answered = tuple(T0 + second for second in range(1, 30, 5))
            found = await w.counts(30, answered_at=answered)
            await w.counts(30, answered_at=answered)

    assert found[20.0] == found[25.0] == Missing("incomplete_log")
    assert total(found) == (1, 1), "one bucket, before it was known"
    assert [(e["event"], e["reason"]) for e in logs] == [("request_log_doubted", "incomplete_log")]


async def test_entries_that_the_api_left_out_make_their_buckets_missing() -> None:
    async with world() as w:
        await w.stand()
        for second in range(20):
            await w.turn(second)
            await w.serve(second, n=2)
        w.server.set_fault("suppress", entries=5)
        await w.turn(20)
        with capture_logs() as logs:
            await w.serve(20, n=6)
        for second in range(21, 60):
            await w.turn(second)
            await w.serve(second, n=2)
        found = await w.counts(60)

    lost = [start for start, evidence in found.items() if evidence == Missing("suppressed")]
    assert lost == [5.0, 10.0, 15.0], "whatever was on its way when the response before came"
    assert found[0.0] == Counts(0, 10)
    assert found[20.0] == Counts(0, 9)
    assert [entry["event"] for entry in logs] == ["request_log_suppressed"]


async def test_while_no_session_stands_everything_is_missing_and_it_is_said_once() -> None:
    async with world() as w:
        with capture_logs() as logs:
            await w.stand()
            await w.serve(6, n=10)
            await w.turn(30)
            w.server.set_fault("unavailable", sessions=3)
            w.server.set_fault("reset", sessions=1)
            await until(lambda: not w.tail.covers(SERVICE))
            for second, calls in ((31, 2), (33, 3), (37, 4)):
                await w.turn(second)
                await until(lambda calls=calls: w.server.calls["TailLogEntries"] == calls)  # type: ignore[misc]
                await until(lambda: not w.tail._sessions)
            await w.turn(45)
            await until(lambda: w.tail.covers(SERVICE))
            await w.serve(46, n=5)
            found = await w.counts(60)

    assert found[5.0] == Counts(0, 10)
    gone = [start for start, evidence in found.items() if evidence == Missing("stream_down")]
    assert gone == [20.0, 25.0, 30.0, 35.0, 40.0]
    assert found[45.0] == Counts(0, 5)
    assert [e["event"] for e in logs if e["event"] != "request_log_down"] == ["request_log_up", "request_log_up"]
    assert [e["again_s"] for e in logs if e["event"] == "request_log_down"] == [1.0, 2.0]


async def test_sessions_are_tried_again_after_fixed_growing_delays() -> None:
    async with world() as w:
        await w.stand()
        w.server.set_fault("unavailable")
        w.server.set_fault("reset", sessions=1)
        await until(lambda: not w.tail.covers(SERVICE))
        waits = []
        for _ in range(8):
            await until(lambda: not w.tail._sessions)
            due = w.tail._due - w.clock.monotonic()
            waits.append(due)
            calls = w.server.calls["TailLogEntries"]
            await w.turn(w.clock.monotonic() + due)
            await until(lambda calls=calls: w.server.calls["TailLogEntries"] > calls)  # type: ignore[misc]

    assert waits == [1.0, 2.0, 4.0, 8.0, 15.0, 30.0, 30.0, 30.0]


async def test_a_session_that_has_had_its_hour_is_followed_at_once() -> None:
    async with world() as w:
        await w.stand()
        with capture_logs() as logs:
            w.server.set_fault("expire", sessions=1)
            await until(lambda: w.server.calls["TailLogEntries"] == 2 and w.tail.covers(SERVICE))

    assert logs == []


async def test_before_its_hour_is_over_a_session_is_replaced_without_a_gap() -> None:
    async with world() as w:
        await w.stand()
        await w.turn(RENEW_S)
        await until(lambda: w.server.sessions == 2)
        await until(lambda: sum(s.up for s in w.tail._sessions) == 2)
        await w.serve(RENEW_S + 1, n=7)  # both deliver it
        await w.turn(RENEW_S + OVERLAP_S)
        await until(lambda: w.server.sessions == 1)
        await w.serve(RENEW_S + 6, n=3)
        found = await w.counts(RENEW_S + 20, since=RENEW_S - 100)

    assert Missing("stream_down") not in found.values()
    assert total(found) == (0, 10)


# --- one tail for all ---------------------------------------------------------------------------------------------


async def test_services_of_a_project_share_a_session_and_joining_leaves_no_gap() -> None:
    async with world() as w:
        await w.stand(SERVICE)
        await w.turn(5)
        await w.stand(SERVICE, OTHER)
        await until(lambda: w.server.sessions == 2)
        await w.serve(11, n=4)
        await w.serve(11, n=6, service=OTHER)
        await w.turn(5 + OVERLAP_S)
        await until(lambda: w.server.sessions == 1)
        await w.serve(16, n=1)
        mine = await w.counts(20)
        others = await w.counts(20, service=OTHER)

    assert OTHER.name in w.server.filters[-1] if w.server.filters else True
    assert mine == {0.0: Counts(0, 0), 5.0: Counts(0, 0), 10.0: Counts(0, 4), 15.0: Counts(0, 1)}
    assert others[0.0] == Missing("stream_down"), "nobody tailed it yet"
    assert others[10.0] == Counts(0, 6)


async def test_other_projects_have_their_own_session() -> None:
    elsewhere = ServiceKey(project="other", region="r", name="api")
    async with world() as w:
        await w.stand()
        query = MetricQuery(service=elsewhere, revision="x", start=T0, end=T0)
        await w.source.sample(query, now=T0)
        await until(lambda: w.server.sessions == 2)

        assert [OTHER.name in text for text in w.server.filters] == [False, False]


async def test_a_service_that_nobody_asks_for_is_tailed_no_longer_and_again_when_somebody_does() -> None:
    async with world() as w:
        await w.stand()
        await w.serve(1, n=5)
        await w.turn(IDLE_S + 1, wanted=False)
        await until(lambda: not w.tail.running and w.server.sessions == 0)

        await w.stand()

        assert set((await w.counts(IDLE_S + 60)).values()) == {Missing("stream_down"), Counts(0, 0)}


async def test_closing_ends_every_session() -> None:
    async with world() as w:
        await w.stand()
        await w.source.close()

        await until(lambda: w.server.sessions == 0)


# --- rights and limits --------------------------------------------------------------------------------------------


async def test_a_missing_role_is_told_at_the_opening_and_never_breaks_a_watch() -> None:
    async with world() as w:
        w.server.set_fault("permission_denied")
        with capture_logs() as logs:
            with pytest.raises(PermanentError, match=r"roles/logging\.viewer") as refused:
                await w.source.feeds(SERVICE, POLICY)
            await w.turn(60)
            found = await w.ask()
            w.server.clear_faults()
            await w.turn(LASTING_RETRY_S)
            await w.stand()
            await w.serve(LASTING_RETRY_S + 6, n=3)
            later = await w.counts(LASTING_RETRY_S + 10)

    assert refused.value.status == 403
    assert {s.evidence for s in found} == {Missing("stream_down")}
    assert total(later) == (0, 3)
    assert [e["event"] for e in logs] == ["request_log_down", "request_log_up"]


async def test_an_earlier_refusal_is_not_held_against_a_later_watch() -> None:
    async with world() as w:
        w.server.set_fault("permission_denied", sessions=1)
        with pytest.raises(PermanentError):
            await w.source.feeds(SERVICE, POLICY)
        await w.turn(IDLE_S + 1, wanted=False)
        await until(lambda: not w.tail.running)

        assert await w.source.feeds(SERVICE, POLICY)


async def test_too_many_sessions_in_the_project_are_waited_for() -> None:
    async with world() as w:
        w.server.set_fault("resource_exhausted", sessions=1)
        with capture_logs() as logs:
            await w.source.feeds(SERVICE, POLICY)

    assert [(e["event"], e["again_s"]) for e in logs] == [("request_log_down", 30.0)]


async def test_nobody_listening_delays_the_opening_of_a_watch_by_a_second_at_most() -> None:
    source = RequestLog(LoggingClient(emulator_host="127.0.0.1:1"), TurnedClock())
    try:
        async with asyncio.timeout(3):
            assert await source.feeds(SERVICE, POLICY)
            query = MetricQuery(service=SERVICE, revision="api-2", start=T0, end=T0 + 60)
            samples = await source.sample(query, now=T0 + 60)
    finally:
        await source.close()

    assert {s.evidence for s in samples} == {Missing("stream_down")}


async def test_without_credentials_the_error_says_what_to_do(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(tmp_path / "none.json"))
    source = RequestLog(LoggingClient(), TurnedClock())
    try:
        with pytest.raises(PermanentError, match=r"needs Google credentials.*roles/logging\.viewer"):
            await source.feeds(SERVICE, POLICY)
    finally:
        await source.close()


async def test_credentials_lead_to_google_over_tls(monkeypatch: pytest.MonkeyPatch) -> None:
    import google.auth  # noqa: PLC0415 - heavy, and only here
    from google.auth.credentials import AnonymousCredentials  # noqa: PLC0415

    anonymous: Any = AnonymousCredentials
    asked: list[tuple[str, ...]] = []

    def default(scopes: tuple[str, ...]) -> tuple[Any, str]:
        asked.append(scopes)
        return anonymous(), "barq-fleet"

    monkeypatch.setattr(google.auth, "default", default)
    client = LoggingClient()

    channel = await client._connected()

    assert channel._channel.target == b"logging.googleapis.com:443"
    assert asked == [("https://www.googleapis.com/auth/logging.read",)]
    await client.close()


async def test_above_500_requests_a_second_a_share_is_asked_for_and_counted_as_seen() -> None:
    async with world() as w:
        await w.stand()
        with capture_logs() as logs:
            await w.serve(1, n=6000)
            await w.turn(2)
            await until(lambda: any("sample(insertId, 0.5)" in text for text in w.server.filters))
            await until(lambda: sum(s.up for s in w.tail._sessions) == 2)
            await w.turn(2 + OVERLAP_S)
            await until(lambda: w.server.sessions == 1)
            first = w._ids + 1
            await w.serve(66, n=400, status=500)
            await w.serve(66, user_agent=PROBE)
            chosen = sum(sampled(str(i), 0.5) for i in range(first, first + 400))
            await w.turn(130)
            samples = await w.ask()

    assert at(samples, "error_rate")[65.0] == Counts(chosen, chosen, (("500", float(chosen)),))
    assert at(samples, "request_rate")[60.0] == Value(chosen * 2 / 60.0), "only the rate is scaled back"
    assert {e for start, e in at(samples, "error_rate").items() if start > 5} == {
        Counts(0, 0),
        Counts(chosen, chosen, (("500", float(chosen)),)),
    }
    assert [(e["event"], e["share"]) for e in logs] == [("request_log_sampled", 0.5)]


def test_a_filter_that_would_be_too_long_names_no_services() -> None:
    services = [ServiceKey(project="p", region="us-central1", name=f"service-{i:050}") for i in range(400)]

    assert len(tail_filter(services[:100])) <= LONGEST_FILTER
    assert "service_name" in tail_filter(services[:100])
    assert "service_name" not in tail_filter(services)
    assert 'location="us-central1"' in tail_filter(services)


async def test_names_cannot_break_out_of_the_filter() -> None:
    hostile = ServiceKey(project=SERVICE.project, region=SERVICE.region, name='x" OR severity>="DEFAULT')
    async with world() as w:
        await w.stand(hostile)
        await w.serve(6, n=3)
        await w.turn(20)

        assert total(at(await w.ask(service=hostile), "error_rate")) == (0, 0)
        assert w.server.delivered == 0
