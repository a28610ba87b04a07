"""`ListLogEntries` of the emulated Cloud Logging, asked by Google's own client."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime

import pytest
from google.api_core.exceptions import InvalidArgument, PermissionDenied
from google.cloud.logging_v2 import types

from tests.emulator.logging_world import PROJECT, REQUESTS, World, emulated
from watchdog.emulator import clock


@pytest.fixture
async def world() -> AsyncIterator[World]:
    async with emulated() as world:
        yield world


async def listed(world: World, text: str = "", *, most: int = 0, token: str = "") -> types.ListLogEntriesResponse:
    request = types.ListLogEntriesRequest(
        resource_names=[f"projects/{PROJECT}"],
        filter=text,
        order_by="timestamp desc",
        page_size=most,
        page_token=token,
    )
    return (await world.client.list_log_entries(request))._response


def stamp(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).isoformat()


async def test_the_newest_come_first_a_page_at_a_time(world: World) -> None:
    now = clock.now()
    ids = [world.serve(ended_at=now - 60.0 + n)[0] for n in range(60)]

    first = await listed(world)
    rest = await listed(world, token=first.next_page_token)

    assert [e.insert_id for e in (*first.entries, *rest.entries)] == ids[::-1]
    assert (len(first.entries), rest.next_page_token) == (50, "")


async def test_a_filter_selects_by_time_status_and_client(world: World) -> None:
    now = clock.now()
    world.serve(ended_at=now - 600.0, status=500)
    (wanted,) = world.serve(ended_at=now - 30.0, status=503)
    world.serve(ended_at=now - 20.0, status=500, user_agent="deploy-watchdog/1")
    world.serve(ended_at=now - 10.0)
    text = (
        f'{REQUESTS} AND timestamp>="{stamp(now - 60)}" AND timestamp<"{stamp(now)}" '
        'AND httpRequest.status>=500 AND NOT httpRequest.userAgent:"deploy-watchdog/"'
    )

    assert [e.insert_id for e in (await listed(world, text)).entries] == [wanted]


@pytest.mark.parametrize("text", ['timestamp>="yesterday"', "nonsense ==="])
async def test_what_makes_no_sense_is_refused(world: World, text: str) -> None:
    with pytest.raises(InvalidArgument):
        await listed(world, text)


async def test_it_may_be_forbidden(world: World) -> None:
    world.server.set_fault("permission_denied")

    with pytest.raises(PermissionDenied):
        await listed(world)
