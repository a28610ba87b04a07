"""The two processes of a demo, and how they are talked to: the emulator's control API and the daemon's own API."""

import asyncio
import contextlib
import json
import os
import secrets
import signal
import socket
import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp

from watchdog.engine.clock import SystemClock
from watchdog.errors import WatchdogError
from watchdog.ports import Clock

START_S = 30.0
STOP_S = 6.0


class DemoError(WatchdogError):
    """The demo's own world broke: a process died or did not answer."""


@dataclass(slots=True, kw_only=True)
class World:
    """The running demo. Bases are URLs without a trailing slash; `daemon` is empty until one was started."""

    session: aiohttp.ClientSession
    control: str
    endpoints: Mapping[str, Any]
    folder: Path
    daemon: str = ""
    token: str = ""
    clock: Clock = field(default_factory=SystemClock)
    processes: dict[str, asyncio.subprocess.Process] = field(default_factory=dict)
    environment: dict[str, str] = field(default_factory=dict)
    """Of the daemon, the next time that it is started."""

    async def start_daemon(self, *policies: str) -> None:
        """Start the daemon with these policy files' texts, or again with those of the last time; wait until it is
        ready."""
        self.prepare(policies)
        self.processes["daemon"] = await _start("daemon", ["-m", "watchdog", "run"], self.folder, self.environment)
        await self.ready()

    def prepare(self, policies: Sequence[str]) -> None:
        """Write the policies, choose address and token, and note the daemon's environment."""
        if not policies:
            return
        paths = []
        for number, text in enumerate(policies):
            paths.append(self.folder / f"policy{number or ''}.yaml")
            paths[-1].write_text(text, encoding="utf-8")
        self.token, port = secrets.token_urlsafe(16), free_port()
        self.daemon = f"http://127.0.0.1:{port}"
        self.environment |= {
            **{k: v for k, v in os.environ.items() if not k.startswith("WATCHDOG_")},
            **self.endpoints["env"],
            "WATCHDOG_CONFIG": ",".join(str(path) for path in paths),
            "WATCHDOG_DATABASE_URL": f"sqlite:///{self.folder / 'watchdog.db'}",
            "WATCHDOG_LISTEN": f"127.0.0.1:{port}",
            "WATCHDOG_API_TOKEN": self.token,
        }

    async def kill_daemon(self) -> None:
        """As `kill -9`: it has no time to say goodbye."""
        process = self.processes.pop("daemon")
        process.kill()
        await process.wait()

    async def ready(self) -> None:
        """Until the daemon says that it is."""
        loop = asyncio.get_running_loop()
        give_up = loop.time() + START_S
        while True:
            try:
                await self.watchdog("GET", "/readyz")
            except DemoError:
                if loop.time() > give_up or any(p.returncode is not None for p in self.processes.values()):
                    raise
                await asyncio.sleep(0.1)
            else:
                return

    async def emulator(self, method: str, path: str, body: Any = None) -> Any:
        """Ask the emulator's control API."""
        return await self._json(method, f"{self.control}{path}", body, {})

    async def watchdog(self, method: str, path: str, body: Any = None) -> Any:
        """Ask the daemon's API."""
        return await self._json(method, f"{self.daemon}{path}", body, {"Authorization": f"Bearer {self.token}"})

    async def report(self, watch: str) -> str:
        """The incident report, Markdown."""
        async with self.session.get(f"{self.daemon}/api/v1/watches/{watch}/report") as reply:
            return await reply.text()

    async def _json(self, method: str, url: str, body: Any, headers: Mapping[str, str]) -> Any:
        for name, process in self.processes.items():
            if process.returncode is not None:
                raise DemoError(f"the {name} ended with code {process.returncode}; its log: {self.folder / name}.log")
        try:
            async with self.session.request(method, url, json=body, headers=headers) as reply:
                text = await reply.text()
                if reply.status >= 400:
                    raise DemoError(f"{method} {url} answered {reply.status}: {text[:300]}")
                return json.loads(text) if text else None
        except (aiohttp.ClientError, TimeoutError) as error:
            raise DemoError(f"{method} {url}: {error or 'no answer in time'}") from error


PORTS = range(20_000, 32_000)
"""Below what systems hand out by themselves (Linux from 32,768, others from 49,152): a port from there may be given to
any connection before the daemon has bound it."""


def free_port() -> int:
    """A loopback port that is free now, and that nobody gets by asking for any. `DemoError` where none is."""
    for _ in range(100):
        port = secrets.choice(PORTS)
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port
    raise DemoError(f"no free port between {PORTS.start} and {PORTS.stop}")


@contextlib.asynccontextmanager
async def open_world(arguments: Sequence[str], folder: Path) -> AsyncIterator[World]:
    """Start the emulator with these arguments; it and what was started beside it are stopped at the end, whatever
    happens."""
    processes: dict[str, asyncio.subprocess.Process] = {}
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=10)) as session:
        try:
            command = ["-m", "watchdog.emulator", "--listen", "127.0.0.1:0", *arguments]
            emulator = processes["emulator"] = await _start("emulator", command, folder, os.environ)
            endpoints = await _endpoints(emulator, folder)
            control = endpoints["control"]
            yield World(session=session, control=control, endpoints=endpoints, processes=processes, folder=folder)
        finally:
            await asyncio.gather(*(_stop(p) for p in reversed(processes.values())))


async def _start(name: str, arguments: list[str], folder: Path, env: Mapping[str, str]) -> asyncio.subprocess.Process:
    with (folder / f"{name}.log").open("ab") as log:
        return await asyncio.create_subprocess_exec(
            sys.executable,
            *arguments,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE if name == "emulator" else log,
            stderr=log,
            env=dict(env),
            start_new_session=True,  # Ctrl-C reaches the demo only, which then stops them in order
        )


async def _endpoints(emulator: asyncio.subprocess.Process, folder: Path) -> dict[str, Any]:
    assert emulator.stdout is not None  # noqa: S101 - asked for a pipe
    try:
        async with asyncio.timeout(START_S):
            text = await emulator.stdout.readline()
        found = json.loads(text)
    except (TimeoutError, ValueError) as error:
        raise DemoError(f"the emulator did not start; its log: {folder / 'emulator.log'}") from error
    return dict(found)


async def _stop(process: asyncio.subprocess.Process) -> None:
    if process.returncode is not None:
        return
    process.send_signal(signal.SIGTERM)
    try:
        async with asyncio.timeout(STOP_S):
            await process.wait()
    except TimeoutError:
        process.kill()
        await process.wait()
