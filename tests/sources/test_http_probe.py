"""Whatever a service does, the prober says what it was, in time, with the phases that happened."""

import asyncio
import gzip
import json
import socket
import zlib
from collections.abc import Awaitable, Callable
from contextlib import suppress

import pytest
from aiohttp import web

from tests.engine.world import starved
from tests.sources.servers import HEALTHY, NOW, LoopClock, app, ask, config, hang, head, raw, reset, says
from watchdog.core.model import Failed, Missing, Passed
from watchdog.sources.http_probe import PROBE_USER_AGENT, PROBE_USER_AGENT_PREFIX, HttpProber

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 21\r\n\r\n" + b'{"status": "healthy"}'


def text(body: bytes, **headers: str) -> bytes:
    lines = [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return "\r\n".join(["HTTP/1.1 200 OK", f"Content-Length: {len(body)}", *lines, "", ""]).encode() + body


# --- health -------------------------------------------------------------------------------------------------------


async def test_a_healthy_answer_passes_with_its_phases_and_times() -> None:
    async with raw(says(OK)) as url:
        answer = await ask(url, expect=HEALTHY)

    assert (answer.evidence, answer.status, answer.detail) == (Passed(), 200, "")
    assert set(answer.phases_s) == {"connect", "first_byte", "transfer"}
    assert all(0.0 <= s < 1.0 for s in answer.phases_s.values())
    assert answer.started_at >= NOW
    assert answer.ended_at - answer.started_at >= sum(answer.phases_s.values()) - 1e-6
    assert answer.certificate_expires_at is None


async def test_a_name_has_a_dns_phase_and_an_address_has_none() -> None:
    async with raw(says(OK)) as url:
        answer = await ask(url.replace("127.0.0.1", "localhost"), expect=HEALTHY)

    assert answer.ok, answer
    assert set(answer.phases_s) == {"dns", "connect", "first_byte", "transfer"}


def loopbacks() -> list[str]:
    """The loopback addresses that this machine has; containers often lack IPv6."""
    found = ["127.0.0.1"]
    with suppress(OSError), socket.socket(socket.AF_INET6) as sock:
        sock.bind(("::1", 0))
        found.append("::1")
    return found


@pytest.mark.parametrize("host", loopbacks())
async def test_every_loopback_address_will_do(host: str) -> None:
    async with raw(says(OK), host=host) as url, HttpProber(LoopClock()) as prober:
        answer = await prober.probe(config(expect=HEALTHY), url, fresh=True)

        assert answer.ok, answer
        assert await prober.reachable(url)


async def test_kept_alive_probes_share_one_connection_and_fresh_ones_do_not() -> None:
    peers: list[object] = []

    async def handler(request: web.Request) -> web.Response:
        assert request.transport is not None
        peers.append(request.transport.get_extra_info("peername"))
        return web.json_response({"status": "healthy"})

    async with app(handler) as url, HttpProber(LoopClock()) as prober:
        kept = [await prober.probe(config(), url, fresh=False) for _ in range(3)]
        fresh = [await prober.probe(config(), url, fresh=True) for _ in range(3)]

    assert len(set(peers[:3])) == 1
    assert len(set(peers)) == 4
    assert ["connect" in a.phases_s for a in kept] == [True, False, False]
    assert all("connect" in a.phases_s for a in fresh)


async def test_a_kept_connection_that_the_service_closed_while_idle_is_not_a_failure() -> None:
    async with raw(says(OK)) as url, HttpProber(LoopClock()) as prober:  # promises keep-alive, then closes
        answers = [await prober.probe(config(), url, fresh=False) for _ in range(3)]

    assert [a.evidence for a in answers] == [Passed()] * 3


async def test_the_request_is_recognisable_and_carries_the_policys_headers() -> None:
    seen: list[web.Request] = []

    async def handler(request: web.Request) -> web.Response:
        seen.append(request)
        return web.json_response({})

    async with app(handler) as url:
        await ask(f"{url}/base/", path="/health?deep=1", headers={"X-Key": "k1", "Host": "api.example"})
        await ask(url, url=f"{url}/other", headers={"User-Agent": "allowed-by-waf/1"})

    assert [str(r.rel_url) for r in seen] == ["/base/health?deep=1", "/other"]
    assert seen[0].headers["User-Agent"] == PROBE_USER_AGENT
    assert (seen[0].headers["X-Key"], seen[0].headers["Host"]) == ("k1", "api.example")
    assert seen[1].headers["User-Agent"] == f"{PROBE_USER_AGENT} allowed-by-waf/1"
    assert PROBE_USER_AGENT.startswith(PROBE_USER_AGENT_PREFIX)


async def test_cookies_of_one_answer_do_not_travel_with_the_next_probe() -> None:
    cookies: list[str | None] = []

    async def handler(request: web.Request) -> web.Response:
        cookies.append(request.headers.get("Cookie"))
        return web.json_response({}, headers={"Set-Cookie": "stick=revision-1"})

    async with app(handler) as url, HttpProber(LoopClock()) as prober:
        for _ in range(2):
            await prober.probe(config(), url, fresh=False)

    assert cookies == [None, None]


@pytest.mark.parametrize("encoding", ["gzip", "deflate"])
async def test_a_compressed_body_is_read(encoding: str) -> None:
    plain = b'{"status": "healthy"}'
    body = gzip.compress(plain) if encoding == "gzip" else zlib.compress(plain)
    async with raw(says(text(body, Content_Encoding=encoding))) as url:
        answer = await ask(url, expect=HEALTHY)

    assert answer.ok, answer


async def test_a_body_that_ends_with_the_connection_is_complete() -> None:
    async with raw(says(b'HTTP/1.0 200 OK\r\n\r\n{"status": "healthy"}')) as url:
        answer = await ask(url, expect=HEALTHY)

    assert answer.ok, answer


async def test_any_of_several_statuses_will_do() -> None:
    async with raw(says(b"HTTP/1.1 204 No Content\r\n\r\n")) as url:
        answer = await ask(url, expect={"status": (200, 204)})

    assert answer.ok, answer


async def test_a_large_page_is_fine_when_nothing_is_asked_of_the_body() -> None:
    async with raw(says(text(b"x" * 300_000))) as url:
        answer = await ask(url)

    assert answer.ok, answer


async def test_a_redirect_that_is_expected_passes_and_is_not_followed() -> None:
    asked: list[str] = []

    async def handler(request: web.Request) -> web.Response:
        asked.append(request.path)
        return web.Response(status=302, headers={"Location": "/elsewhere"})

    async with app(handler) as url:
        answer = await ask(url, expect={"status": (302,)})

    assert answer.ok, answer
    assert asked == ["/health"]


# --- every way to fail --------------------------------------------------------------------------------------------


async def drip(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while True:
        writer.write(b" ")
        await writer.drain()
        await asyncio.sleep(0.02)


async def drip_from_the_start(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await head(reader)
    writer.write(b"HTTP/1.1 200 OK\r\nX-Slow: ")
    await drip(reader, writer)


async def half_close(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await head(reader)
    writer.write_eof()
    await hang(reader, writer)


LONG = b"Content-Length: 500\r\n\r\n"
JUNK = b"\x16\x03\x01 SSH-2.0-OpenSSH_9.2 this is no HTTP at all\r\n\r\n"
BOMB = gzip.compress(b"0" * 50_000_000, compresslevel=9)
FAILURES: dict[str, tuple[Callable[..., Awaitable[None]], str, str]] = {
    "hangs before the head": (says(b"", then=hang), "timeout", "waiting for the first byte"),
    "drips its head": (drip_from_the_start, "timeout", "waiting for the first byte"),
    "hangs in the body": (says(b"HTTP/1.1 200 OK\r\n" + LONG, then=hang), "timeout", "while the body arrived"),
    "drips its body": (says(b"HTTP/1.1 200 OK\r\n" + LONG, then=drip), "timeout", "while the body arrived"),
    "drips without an end": (says(b"HTTP/1.0 200 OK\r\n\r\n", then=drip), "timeout", "while the body arrived"),
    "resets before the head": (says(b"", then=reset), "reset", "reset"),
    "resets on connect": (reset, "reset", "reset"),
    "resets in the body": (says(b"HTTP/1.1 200 OK\r\n" + LONG + b"{", then=reset), "reset", "complete"),
    "closes without an answer": (says(b""), "reset", "without an answer"),
    "closes half and stays": (half_close, "reset", "without an answer"),
    "closes in the head": (says(b"HTTP/1.1 200 OK\r\nContent-"), "reset", "without an answer"),
    "closes in the body": (says(b"HTTP/1.1 200 OK\r\n" + LONG + b"{"), "reset", "before the body was complete"),
    "closes in a chunk": (
        says(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n{"), "reset", "before the body was complete"
    ),
    "talks nonsense": (says(JUNK), "protocol", "not valid HTTP"),
    "has a head without end": (says(b"HTTP/1.1 200 OK\r\nX: " + b"y" * 100_000), "protocol", "not valid HTTP"),
    "has countless headers": (
        says(b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 20_000 + b"\r\n"), "protocol", "not valid HTTP"
    ),
    "sends broken gzip": (says(text(b"no gzip at all", Content_Encoding="gzip")), "protocol", "decompressed"),
    "sends a gzip bomb": (says(text(BOMB, Content_Encoding="gzip")), "too_large", "larger than 64 KiB"),
    "sends too much": (says(text(b'"' + b"x" * 70_000 + b'"')), "too_large", "larger than 64 KiB"),
    "sends HTML": (says(text(b"<html>fine</html>")), "body", "not JSON"),
    "sends nothing": (says(text(b"")), "body", "empty"),
    "says it is sick": (says(text(b'{"status": "sick"}')), "json", 'status is "sick", expected "healthy"'),
    "answers 503": (says(b"HTTP/1.1 503 Nope\r\nContent-Length: 0\r\n\r\n"), "status", "answered 503, expected 200"),
    "answers 503 and hangs": (says(b"HTTP/1.1 503 Nope\r\n" + LONG, then=hang), "status", "answered 503, expected 200"),
    "answers 404 in HTML and hangs": (
        says(b"HTTP/1.1 404 Nope\r\nContent-Type: text/html\r\n" + LONG, then=hang), "status", "answered 404"
    ),
    "redirects": (
        says(b"HTTP/1.1 302 Found\r\nContent-Length: 0\r\nLocation: https://else.example/x?token=abcd\r\n\r\n"),
        "redirect",
        "redirected (302) to else.example/x, expected 200",
    ),
}  # fmt: skip


SLOW_S = 2.0
"""Long enough to have been connected, and to have read what came, on a busy machine."""
SLOW = {way for way, (_, reason, _) in FAILURES.items() if reason == "timeout" or "hangs" in way}


async def fails_as_said(way: str, *, fresh: bool, lost_s: Callable[[], float] = lambda: 0.0) -> None:
    talk, reason, clause = FAILURES[way]
    async with raw(talk) as url:
        answer = await ask(url, fresh=fresh, expect=HEALTHY, timeout_s=SLOW_S if way in SLOW else 10.0)

    assert answer.evidence == Failed(reason), (way, answer)
    assert clause in answer.detail or lost_s() > SLOW_S / 2  # a process without a turn gets no further
    assert len(answer.detail) <= 200
    assert answer.ended_at - answer.started_at < SLOW_S + 2.0 + lost_s()


@pytest.mark.parametrize("way", sorted(FAILURES.keys() - SLOW))
async def test_a_service_that_misbehaves_fails_for_its_typed_reason(way: str) -> None:
    for fresh in (True, False):
        await fails_as_said(way, fresh=fresh)


async def test_a_service_that_hangs_or_drips_fails_in_time() -> None:
    async with starved() as lost_s, asyncio.TaskGroup() as group:
        for way in SLOW:
            for fresh in (True, False):
                group.create_task(fails_as_said(way, fresh=fresh, lost_s=lost_s))


async def test_phases_that_did_not_happen_are_absent() -> None:
    async with raw(says(b"", then=hang)) as url:
        hung = await ask(url, timeout_s=0.2)
    async with raw(says(b"HTTP/1.1 503 Nope\r\nContent-Length: 0\r\n\r\n")) as url:
        refused = await ask(url)

    assert set(hung.phases_s) == {"connect"}
    assert hung.status is None
    assert set(refused.phases_s) == {"connect", "first_byte"}
    assert refused.status == 503


async def test_a_port_nobody_listens_on_is_refused() -> None:
    answer = await ask(f"http://127.0.0.1:{closed_port()}")

    assert answer.evidence == Failed("refused")
    assert answer.phases_s == {}


async def test_a_connection_that_nobody_accepts_times_out() -> None:
    with socket.socket() as full:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        port = full.getsockname()[1]
        queue = [socket.socket() for _ in range(4)]
        try:
            for waiting in queue:  # fill the backlog: the kernel drops further SYNs
                waiting.settimeout(0)
                waiting.connect_ex(("127.0.0.1", port))
            answer = await ask(f"http://127.0.0.1:{port}", timeout_s=0.3)
        finally:
            for waiting in queue:
                waiting.close()

    assert answer.evidence == Failed("timeout")
    assert "while the connection was made" in answer.detail


async def test_an_address_without_a_route_is_a_connect_failure() -> None:
    answer = await ask("http://255.255.255.255")  # broadcast: the kernel refuses TCP to it at once

    assert answer.evidence == Failed("connect")


async def test_a_name_that_cannot_exist_fails_as_dns() -> None:
    answer = await ask(f"http://{'x' * 64}.example")

    assert answer.evidence == Failed("dns"), answer


async def test_a_url_that_is_none_is_our_fault_not_the_services() -> None:
    for url in ("", "ftp://host/", "http://", "//host/x"):
        answer = await ask(url)

        assert answer.evidence == Missing("prober"), url


async def test_a_header_that_is_not_http_is_our_fault_not_the_services() -> None:
    async with raw(says(OK)) as url:
        answer = await ask(url, headers={"X-Key": "a\r\nb"})

    assert answer.evidence == Missing("prober")


async def test_running_out_of_files_is_our_fault_not_the_services(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_socket(*_: object, **__: object) -> socket.socket:
        raise OSError(24, "Too many open files")

    async with raw(says(OK)) as url, HttpProber(LoopClock()) as prober:
        monkeypatch.setattr(socket, "socket", no_socket)
        answer = await prober.probe(config(), url, fresh=True)
        monkeypatch.undo()

    assert answer.evidence == Missing("prober"), answer
    assert "too many open files" in answer.detail


async def test_cancelling_a_probe_is_not_an_answer() -> None:
    asked = asyncio.Event()

    async def note_and_hang(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await head(reader)
        asked.set()
        await hang(reader, writer)

    async with raw(note_and_hang) as url, HttpProber(LoopClock()) as prober:
        task = asyncio.create_task(prober.probe(config(timeout_s=5), url, fresh=True))
        await asked.wait()
        task.cancel()

        with pytest.raises(asyncio.CancelledError):
            await task


async def test_attempts_that_hang_overlap() -> None:
    async with raw(says(b"", then=hang)) as url, HttpProber(LoopClock()) as prober:
        began = asyncio.get_running_loop().time()
        answers = await asyncio.gather(*(prober.probe(config(timeout_s=0.3), url, fresh=True) for _ in range(150)))
        took = asyncio.get_running_loop().time() - began

    assert {a.reason for a in answers} == {"timeout"}
    assert took < 10  # one after the other would take 45 s


async def test_a_secret_header_never_shows_up_in_a_text() -> None:
    async def echo(request: web.Request) -> web.Response:
        return web.json_response(
            {"status": f"bad key {request.headers['X-Api-Key']} {request.headers['Authorization']}"}
        )

    async with app(echo) as url:
        headers = {"X-Api-Key": "k-12345", "Authorization": "Bearer t0ken"}
        answer = await ask(url, headers=headers, expect=HEALTHY)

    assert answer.evidence == Failed("json")
    assert "k-12345" not in answer.detail
    assert "t0ken" not in answer.detail
    assert "[redacted]" in answer.detail


@pytest.mark.parametrize("secret", ["k-1234567890-abcdefghij", 'quo"ted\\key', "schlüssel-ü", "x" * 300])
@pytest.mark.parametrize("before", ["", "y" * 20, "y" * 33, "y" * 39])
async def test_a_secret_that_is_cut_or_quoted_does_not_show_up_either(secret: str, before: str) -> None:
    async with raw(says(text(json.dumps({"status": before + secret}).encode()))) as url:
        quoted = await ask(url, headers={"X-Api-Key": secret}, expect=HEALTHY)
    async with raw(says(text(f"<p>{before}{secret}".encode()))) as url:
        excerpt = await ask(url, headers={"X-Api-Key": secret}, expect=HEALTHY)

    assert [quoted.reason, excerpt.reason] == ["json", "body"]
    assert secret[:4] not in quoted.detail + excerpt.detail


# --- reachable ----------------------------------------------------------------------------------------------------


async def test_reachable_says_whether_a_connection_opens() -> None:
    async with raw(hang) as url, HttpProber(LoopClock()) as prober:
        assert await prober.reachable(url)
        assert await prober.reachable(url.replace("127.0.0.1", "localhost"))
        assert not await prober.reachable(f"http://127.0.0.1:{closed_port()}")
        assert not await prober.reachable("not a url")
        assert not await prober.reachable(f"https://{'x' * 64}.example")


async def test_reachable_gives_up_in_time() -> None:
    with socket.socket() as full:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        queue = [socket.socket() for _ in range(4)]
        for waiting in queue:
            waiting.settimeout(0)
            waiting.connect_ex(full.getsockname())
        async with HttpProber(LoopClock()) as prober:
            began = asyncio.get_running_loop().time()
            opened = await prober.reachable(f"http://127.0.0.1:{full.getsockname()[1]}", timeout_s=0.2)
            took = asyncio.get_running_loop().time() - began
        for waiting in queue:
            waiting.close()

    assert not opened
    assert took < 1.5


def closed_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port: int = sock.getsockname()[1]
        return port
