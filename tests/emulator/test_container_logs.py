"""What the emulated containers log, listed by Google's own client beside their requests."""

from datetime import UTC, datetime
from typing import Any

import pytest
from google.api_core import exceptions
from google.cloud.logging_v2.types import ListLogEntriesRequest, LogEntry

from tests.emulator.cloud_world import running_cloud
from tests.emulator.logging_world import PROJECT, World, connected, emulated
from watchdog.emulator import clock

ERRORS = 'resource.type="cloud_run_revision" AND severity>=ERROR AND NOT log_id("run.googleapis.com/requests")'


def write(w: World, *texts: str, **more: Any) -> None:
    standard: dict[str, Any] = {"project": PROJECT, "region": "us-central1", "service": "api", "revision": "api-2"}
    for text in texts:
        w.server.lines.write(**(standard | more), text=text)


async def listed(client: Any, text: str = ERRORS, *, order: str = "timestamp asc", page: int = 2) -> list[LogEntry]:
    """All entries of all pages."""
    request = ListLogEntriesRequest(resource_names=[f"projects/{PROJECT}"], filter=text, order_by=order, page_size=page)
    return [entry async for entry in await client.list_log_entries(request, retry=None, timeout=5.0)]


async def test_lines_come_page_by_page_in_the_order_that_is_asked_for() -> None:
    async with emulated() as w:
        now = clock.now()
        for i in range(5):
            write(w, f"line {i}", at=now - 50.0 + i)
        write(w, "traced", trace="Traceback …", at=now - 10.0, severity="CRITICAL")
        found = await listed(w.client)
        newest = await listed(w.client, order="timestamp desc")
    assert [e.text_payload for e in found[:5]] == [f"line {i}" for i in range(5)]
    assert dict(found[5].json_payload) == {"message": "traced", "stack_trace": "Traceback …"}
    assert [e.insert_id for e in newest] == [e.insert_id for e in reversed(found)]
    assert {e.resource.labels["revision_name"] for e in found} == {"api-2"}
    first: Any = found[0].timestamp
    assert first.timestamp() == pytest.approx(now - 50.0, abs=0.001)


async def test_a_filter_selects_by_severity_log_time_and_revision() -> None:
    async with emulated() as w:
        now = clock.now()
        write(w, "info", severity="INFO")
        write(w, "old", at=now - 500.0)
        write(w, "other", revision="api-1")
        write(w, "mine")
        w.serve(2, status=500)
        since = 'timestamp>="2020-01-01T00:00:00Z"'
        assert len(await listed(w.client, f"{ERRORS} AND {since}")) == 3
        mine = await listed(w.client, f'{ERRORS} AND resource.labels.revision_name!="api-1"')
        requests = await listed(w.client, 'log_id("run.googleapis.com/requests") AND httpRequest.status>=500')
        recent = await listed(w.client, f'{ERRORS} AND timestamp>="{_stamp(now - 60.0)}"')
        before = await listed(w.client, f'{ERRORS} AND timestamp<"{_stamp(now - 60.0)}"')
    assert {e.text_payload for e in mine} == {"old", "mine"}
    assert [e.http_request.status for e in requests] == [500, 500]
    assert {e.text_payload for e in recent} == {"other", "mine"}
    assert [e.text_payload for e in before] == ["old"]


def _stamp(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).isoformat()


@pytest.mark.parametrize(
    "kind, error",
    [
        ("permission_denied", exceptions.PermissionDenied),
        ("resource_exhausted", exceptions.ResourceExhausted),
        ("unavailable", exceptions.ServiceUnavailable),
    ],
)
async def test_it_is_refused_as_a_session_is(kind: Any, error: type[Exception]) -> None:
    async with emulated() as w:
        w.server.set_fault(kind, sessions=1)
        with pytest.raises(error):
            await listed(w.client)
        assert await listed(w.client) == []


async def test_late_lines_come_later_excluded_ones_never_and_doubles_twice() -> None:
    async with emulated() as w:
        w.server.set_fault("late", late_s=60.0)
        write(w, "late")
        assert await listed(w.client) == []
        w.server.clear_faults()
        w.server.set_fault("exclude", filter='resource.labels.revision_name="api-1"')
        w.server.set_fault("duplicate")
        write(w, "excluded", revision="api-1")
        write(w, "double")
        assert [e.text_payload for e in await listed(w.client)] == ["double", "double"]


async def test_bad_requests_are_refused() -> None:
    async with emulated() as w:
        write(w, "a", "b", "c")
        for wrong in ({"order_by": "severity"}, {"filter": "severity >="}, {"page_token": "nonsense"}):
            with pytest.raises(exceptions.InvalidArgument):
                await w.client.list_log_entries(
                    ListLogEntriesRequest(resource_names=[f"projects/{PROJECT}"], **wrong), retry=None
                )
        with pytest.raises(exceptions.InvalidArgument):
            await w.client.list_log_entries(ListLogEntriesRequest(filter=ERRORS), retry=None)


async def test_the_workload_logs_what_fails_and_what_a_fault_says() -> None:
    async with running_cloud(log_delay_s=0.0) as cloud:
        status, _ = await cloud.get(cloud.url + "/api/v1/couriers")
        assert status == 200
        faults = [
            {"kind": "status", "status": 500, "paths": ["/api/v1/couriers"]},
            {"kind": "log", "message": "no shift for {id}", "paths": ["/api/v1/vehicles"]},
        ]
        await cloud.control("PUT", f"revisions/{cloud.service.latest_ready}/faults", {"faults": faults})
        assert (await cloud.get(cloud.url + "/api/v1/couriers/17"))[0] == 500
        assert (await cloud.get(cloud.url + "/api/v1/vehicles"))[0] == 200
        status, _ = await cloud.control(
            "POST", "logging/entries", {"revision": cloud.service.latest_ready, "text": "scripted", "count": 2}
        )
        assert status == 201
        async with connected(cloud.emulator.endpoints()["env"]["CLOUD_LOGGING_EMULATOR_HOST"]) as client:
            found = await listed(client)
    failed = dict(found[0].json_payload)
    assert failed["message"] == "GET /api/v1/couriers/17 failed"
    assert 'File "/srv/app/couriers.py"' in str(failed["stack_trace"])
    assert found[1].text_payload.startswith("no shift for ")
    assert [e.text_payload for e in found[2:]] == ["scripted", "scripted"]
