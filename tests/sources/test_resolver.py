"""A name server that hangs holds up its own name only: not other names, not the default executor, not the exit."""

import asyncio
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.sources.servers import HEALTHY, LoopClock, config, raw, says
from watchdog.core.model import Failed, Missing, Passed
from watchdog.errors import ConfigError
from watchdog.sources.http_probe import HttpProber
from watchdog.sources.resolver import MAX_HANGING, ThreadResolver

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 21\r\n\r\n" + b'{"status": "healthy"}'


@contextmanager
def hanging_name_server(monkeypatch: pytest.MonkeyPatch, host: str) -> Iterator[threading.Event]:
    """The system's resolver, but `host` is looked up until the event is set."""
    release = threading.Event()
    real = socket.getaddrinfo

    def getaddrinfo(name: Any, *args: Any, **kwargs: Any) -> Any:
        if name == host:
            release.wait(20)
            raise socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")
        return real(name, *args, **kwargs)

    with monkeypatch.context() as patch:
        patch.setattr(socket, "getaddrinfo", getaddrinfo)
        try:
            yield release
        finally:
            release.set()


async def test_a_hanging_lookup_fails_as_dns_in_time_and_other_names_go_on(monkeypatch: pytest.MonkeyPatch) -> None:
    async with raw(says(OK)) as url, HttpProber(LoopClock()) as prober:
        with hanging_name_server(monkeypatch, "sick.example") as release:
            probe = config(expect=HEALTHY, timeout_s=0.2)
            hung = await asyncio.gather(
                *(prober.probe(probe, "http://sick.example", fresh=True) for _ in range(MAX_HANGING))
            )
            refused = await prober.probe(probe, "http://sick.example", fresh=True)
            threads = [t for t in threading.enumerate() if t.name == "probe-dns"]
            well = await prober.probe(config(expect=HEALTHY), url.replace("127.0.0.1", "localhost"), fresh=True)
            release.set()
            for thread in threads:
                await asyncio.to_thread(thread.join)

    assert {a.evidence for a in (*hung, refused)} == {Failed("dns")}
    assert hung[0].detail == "no complete answer within 0.2 s: stopped while the name was looked up"
    assert "still unanswered" in refused.detail
    assert all(a.phases_s == {} for a in hung)
    assert well.evidence == Passed()
    assert len(threads) <= MAX_HANGING
    assert all(t.daemon for t in threads)


async def test_lookups_are_counted_off_when_they_end(monkeypatch: pytest.MonkeyPatch) -> None:
    resolver = ThreadResolver()
    with hanging_name_server(monkeypatch, "sick.example") as release:
        release.set()
        for _ in range(3 * MAX_HANGING):
            with pytest.raises(socket.gaierror):
                await resolver.resolve("sick.example", 80)


async def test_addresses_come_numeric_with_the_port_asked_for() -> None:
    found = await ThreadResolver().resolve("localhost", 8080, socket.AF_INET)

    assert {(a["hostname"], a["host"], a["port"], a["family"]) for a in found} == {
        ("localhost", "127.0.0.1", 8080, socket.AF_INET)
    }


async def test_a_hosts_file_is_asked_first_and_read_anew(tmp_path: Path) -> None:
    hosts = tmp_path / "hosts"
    hosts.write_text("# ours\n127.0.0.7 api.internal  API2.internal # two names\n::1 api.internal\n\n")
    resolver = ThreadResolver(hosts)

    assert {a["host"] for a in await resolver.resolve("api.internal", 80)} == {"127.0.0.7", "::1"}
    assert [a["host"] for a in await resolver.resolve("api2.INTERNAL", 80, socket.AF_INET)] == ["127.0.0.7"]
    assert [a["host"] for a in await resolver.resolve("127.0.0.1", 80)] == ["127.0.0.1"]
    hosts.write_text("127.0.0.8 api.internal\n")
    assert [a["host"] for a in await resolver.resolve("api.internal", 80)] == ["127.0.0.8"]


async def test_nobody_is_asked_for_names_that_no_dns_may_know() -> None:
    with pytest.raises(socket.gaierror):
        await ThreadResolver().resolve("api.invalid", 80)


async def test_a_hosts_file_that_is_gone_is_our_trouble(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"WATCHDOG_HOSTS_FILE: .*none is no file"):
        ThreadResolver(tmp_path / "none")
    hosts = tmp_path / "hosts"
    hosts.write_text("127.0.0.1 api.internal\n")
    async with HttpProber(LoopClock(), hosts=hosts) as prober:
        hosts.unlink()
        answer = await prober.probe(config(), "http://api.internal:1", fresh=True)

    assert answer.evidence == Missing("prober")
    assert "hosts file can't be read" in answer.detail
