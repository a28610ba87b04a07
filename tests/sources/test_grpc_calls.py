"""`grpc_error_rate`: the line that an application logs of each call, since the request log says 200 of all of them."""

from typing import Any

import pytest
from google.cloud.logging_v2 import types

from tests.core.policies import build
from tests.emulator.cloud_world import until
from tests.sources.log_world import SERVICE, T0, World, at, world
from watchdog.core.model import Counts, Missing, Value
from watchdog.engine.baselines import LEAST
from watchdog.sources.grpc_calls import code_of, is_bad
from watchdog.sources.log_messages import tail_filter

BUILT = build(alert_thresholds=[{"metric": "grpc_error_rate", "warning": "> 3x before"}]).policy
assert BUILT is not None
READS = BUILT
CHECK = "grpc_error_rate"


async def stand(w: World) -> None:
    await w.ask(policy=READS)
    await until(lambda: w.tail.covers(SERVICE))
    await w.turn(1.0)


async def test_the_bucket_has_each_code() -> None:
    async with world() as w:
        await stand(w)
        await w.turn(6.0)
        for status, n in ((0, 5), (14, 2), (13, 1), (5, 3)):
            await w.serve(7.0, n=n, grpc_status=status, url="https://x/fleet.v1.Couriers/List", method="POST")
        await w.serve(7.0, n=9, grpc_status=14, url="https://x/grpc.health.v1.Health/Check", method="POST")
        await w.serve(7.0, n=4)
        await w.turn(30.0)
        samples = await w.ask(policy=READS)

    calls, errors = at(samples, CHECK), at(samples, "error_rate")
    assert errors[5.0] == Counts(0, 24), "a line is no request"
    assert calls[5.0] == Counts(3, 11, (("internal", 1.0), ("unavailable", 2.0)))


async def test_an_application_that_logs_no_calls_is_said_to() -> None:
    async with world() as w:
        await stand(w)
        await w.serve(7.0, n=50)
        await w.turn(30.0)
        calls = at(await w.ask(policy=READS), CHECK)

    assert set(calls.values()) == {Missing("no_grpc_log")}


async def test_the_lines_are_asked_for_only_where_a_row_reads_them() -> None:
    async with world() as w:
        await w.stand()
        assert "jsonPayload" not in w.server.filters[-1]
        assert not at(await w.ask(), CHECK)
        assert CHECK not in {f.check for f in await w.source.feeds(SERVICE, build().policy or READS)}
        feeds = {f.check for f in await w.source.feeds(SERVICE, READS)}
        await until(lambda: "jsonPayload" in w.server.filters[-1])
    assert CHECK in feeds
    assert "client_error_rate" not in feeds


async def test_the_hour_before_is_counted_minute_by_minute() -> None:
    async with world() as w:
        w.record(30.0, n=40, grpc_status=0)
        w.record(31.0, n=2, grpc_status=14)
        w.record(90.0, n=10, grpc_status=0)
        w.clock.at = T0 + 3600.0
        samples = await w.ask(past=True, policy=READS)

    assert at(samples, CHECK) == {0.0: Counts(2, 42), 60.0: Counts(0, 10)}
    assert sum(e.total for e in at(samples, CHECK).values() if isinstance(e, Counts)) >= LEAST
    assert not any(isinstance(s.evidence, Value) for s in samples)


@pytest.mark.parametrize(
    "payload, code, bad",
    [
        ({"grpc.code": "Unavailable"}, "unavailable", True),
        ({"grpc.code": "DEADLINE_EXCEEDED"}, "deadlineexceeded", True),
        ({"grpc_code": "OK"}, "ok", False),
        ({"grpc_code": 13.0}, "internal", True),
        ({"grpc_code": 5.0}, "other", False),
        ({"grpc.code": "NotFound"}, "notfound", False),
        ({"grpc.code": ""}, None, False),
        ({"grpc.code": "Unavailable", "grpc.service": "grpc.health.v1.Health"}, None, False),
        ({"message": "listening"}, None, False),
        ({}, None, False),
    ],
)
def test_codes_as_interceptors_write_them(payload: dict[str, Any], code: str | None, bad: bool) -> None:  # noqa: FBT001
    entry = types.LogEntry.pb()()
    if payload:
        entry.json_payload.update(payload)

    assert code_of(entry) == code
    assert code is None or is_bad(code) is bad


def test_the_filter_selects_requests_or_lines_with_a_code() -> None:
    text = tail_filter([SERVICE], calls=True)

    assert 'log_id("run.googleapis.com/requests") OR ((' in text
    assert 'jsonPayload."grpc.code":*' in text
