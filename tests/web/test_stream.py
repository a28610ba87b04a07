"""Following a watch by server-sent events."""

import asyncio
import json
from typing import Any

from aiohttp import ClientResponse

from tests.web import views
from tests.web.world import Site, event
from watchdog.errors import StoreUnavailableError
from watchdog.web import stream

WATCH = "/api/v1/watches/w7f3k2/stream"


class Message(dict[str, str]):
    """The fields of one event."""

    @property
    def data(self) -> Any:
        return json.loads(self["data"])


async def message(answer: ClientResponse) -> Message:
    """The next event; heartbeats and `retry` come as events of their own."""
    lines: list[str] = []
    async with asyncio.timeout(10):
        while True:
            line = (await answer.content.readline()).decode()
            if not line:
                raise EOFError
            if line == "\n":
                fields = dict(part.partition(": ")[::2] for part in lines)
                return Message(fields)
            lines.append(line.rstrip("\n"))


async def rest(answer: ClientResponse) -> list[Message]:
    """All events until the server ends the stream."""
    found = []
    try:
        while True:
            found.append(await message(answer))
    except EOFError:
        return found


async def test_the_journal_is_sent_in_order_then_live_then_the_end(site: Site) -> None:
    await site.put(views.watching(), [event("watch_opened"), event("ticked", 1)])

    async with site.http.get(site.url + WATCH) as answer:
        assert answer.content_type == "text/event-stream"
        assert "retry" in await message(answer)
        first = [await message(answer) for _ in range(2)]
        await site.put(views.watching(), [event("signalled", 2, signal="x")])
        live = await message(answer)
        await site.put(views.watching(state="ended", outcome="passed"), [event("ticked", 3)])
        last = await rest(answer)

    assert [(m["id"], m["event"]) for m in [*first, live, *last[:-1]]] == [
        ("1", "watch_opened"), ("2", "ticked"), ("3", "signalled"), ("4", "ticked"),
    ]  # fmt: skip
    assert live.data["body"] == {"signal": "x"}
    assert (last[-1]["event"], last[-1].data) == ("end", {"watch": "w7f3k2"})


async def test_a_client_that_reconnects_misses_nothing_and_gets_nothing_twice(site: Site) -> None:
    await site.put(views.rolled_back(id="w7f3k2"), [event("ticked", i) for i in range(5)])

    async with site.http.get(site.url + WATCH, headers={"Last-Event-ID": "3"}) as answer:
        resumed = await rest(answer)
    async with site.http.get(f"{site.url}{WATCH}?after=4") as answer:
        asked = await rest(answer)

    assert [m.get("id") for m in resumed[1:]] == ["4", "5", None]
    assert [m.get("id") for m in asked[1:]] == ["5", None]


async def test_a_quiet_stream_is_kept_alive(site: Site) -> None:
    """Proxies cut connections on which nothing is said."""
    await site.put(views.watching())

    async with site.http.get(site.url + WATCH) as answer:
        await message(answer)
        assert dict(await message(answer)) == {"": "still here"}


async def test_changes_are_bare_nudges_without_the_journal(site: Site) -> None:
    await site.put(views.watching(), [event("ticked", i) for i in range(50)])

    async with site.http.get(f"{site.url}{WATCH}?only=changes") as answer:
        await message(answer)
        await site.put(views.watching(state="confirming"))
        change = await message(answer)
        await site.put(views.watching(state="ended", outcome="passed"))
        last = await rest(answer)

    assert (change["event"], change.data) == ("change", {"watch": "w7f3k2", "state": "confirming"})
    assert [m["event"] for m in last] == ["change", "end"]


async def test_a_store_that_is_away_for_a_while_does_not_end_the_stream(site: Site) -> None:
    await site.put(views.watching(), [event("watch_opened")])
    there = site.store.watch
    asked = asyncio.Event()

    async def away(watch_id: str) -> None:
        asked.set()
        raise StoreUnavailableError("away")

    async with site.http.get(site.url + WATCH) as answer:
        await message(answer)
        await message(answer)
        site.store.watch = away  # type: ignore[method-assign]
        await asked.wait()
        site.store.watch = there  # type: ignore[method-assign]
        await site.put(views.watching(), [event("ticked")])
        assert (await message(answer))["event"] == "ticked"


async def test_open_streams_end_when_the_server_stops_so_that_it_drains_in_time(site: Site) -> None:
    await site.put(views.watching())

    async with site.http.get(site.url + WATCH) as answer:
        await message(answer)
        await site.app.shutdown()
        assert await rest(answer) == []


async def test_streams_are_limited_and_a_client_that_leaves_frees_its_place(site: Site) -> None:
    await site.put(views.watching())
    answers = [await site.http.get(site.url + WATCH) for _ in range(stream.MOST_STREAMS)]

    async with site.http.get(site.url + WATCH) as answer:
        assert answer.status == 503
        assert answer.headers["Retry-After"]
    for answer in answers:
        answer.close()
    async with asyncio.timeout(10):
        while True:
            async with site.http.get(site.url + WATCH) as again:
                if again.status == 200:
                    return


async def test_a_stream_of_no_watch_is_a_problem_document(site: Site) -> None:
    async with site.http.get(f"{site.url}/api/v1/watches/none/stream") as answer:
        assert answer.status == 404
        assert answer.content_type == "application/problem+json"
