"""An emulator and a daemon, each in a process of its own, as the benchmarks of the whole loop need them.

Nothing is faked: the daemon is `python -m watchdog run` with a policy file and a SQLite file, the emulator is
`python -m watchdog.emulator`; both are spoken to over HTTP only, and times are compared on one machine's clock.
"""

import asyncio
import contextlib
import json
import os
import secrets
import shutil
import signal
import socket
import sys
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.resources import files
from pathlib import Path
from typing import Any, TypeVar

import aiohttp
import yaml

from watchdog.engine.clock import SystemClock

SERVICE = {"project": "barq-fleet", "region": "us-central1", "service": "barq-fleet-api"}
PATIENCE_S = 30.0
"""How long anything may take that is not being measured."""
LOOK_S = 0.1
UNWANTED = ("WATCHDOG_", "PYTHONDONTWRITEBYTECODE")
"""Environment that the daemon does not get: an installed one has its bytecode compiled."""

CLOCK = SystemClock()
T = TypeVar("T")


class LabError(Exception):
    """A process died, or something that must happen did not; the message says where the logs are."""


@dataclass(slots=True, kw_only=True)
class Process:
    """One of the two processes. `spawned_at` is Unix seconds, taken right before it was started."""

    name: str
    handle: asyncio.subprocess.Process
    spawned_at: float
    log: Path

    async def stop(self) -> tuple[float, int]:
        """SIGTERM; seconds until it was gone, and its exit code. Killed after `PATIENCE_S`."""
        began = CLOCK.monotonic()
        if self.handle.returncode is None:
            self.handle.send_signal(signal.SIGTERM)
            try:
                async with asyncio.timeout(PATIENCE_S):
                    await self.handle.wait()
            except TimeoutError:
                self.handle.kill()
                await self.handle.wait()
        return CLOCK.monotonic() - began, self.handle.returncode or 0


@dataclass(slots=True, kw_only=True)
class Lab:
    """The emulator runs from the start; `start_daemon` and `stop_daemon` as often as one likes."""

    folder: Path
    session: aiohttp.ClientSession
    emulator: Process
    endpoints: Mapping[str, Any]
    good: str = ""
    """The revision that serves from the start; it is tagged `stable`."""
    daemon: Process | None = None
    token: str = field(default_factory=lambda: secrets.token_urlsafe(16))
    address: str = ""

    # --- processes ----------------------------------------------------------------------------------------------------

    async def start_daemon(self, policy: Mapping[str, Any], *, database: str = "watchdog.db") -> Process:
        """The real daemon; returns at once, `wait_ready` waits."""
        path = self.folder / "policy.yaml"
        path.write_text(yaml.safe_dump(dict(policy), allow_unicode=True, sort_keys=False), encoding="utf-8")
        self.address = f"127.0.0.1:{_free_port()}"
        env = {name: value for name, value in os.environ.items() if not name.startswith(UNWANTED)}
        env |= {
            **self.endpoints["env"],
            "WATCHDOG_CONFIG": str(path),
            "WATCHDOG_DATABASE_URL": f"sqlite:///{self.folder / database}",
            "WATCHDOG_LISTEN": self.address,
            "WATCHDOG_API_TOKEN": self.token,
        }
        self.daemon = await _spawn("daemon", ["-m", "watchdog", "run"], self.folder, env)
        return self.daemon

    async def wait_ready(self) -> None:
        """Until the daemon says that it keeps its service."""

        async def ready() -> bool | None:
            try:
                async with self.session.get(f"http://{self.address}/readyz") as reply:
                    return reply.status == 200 or None
            except aiohttp.ClientError:
                return None

        await self.until("the daemon to be ready", ready)

    async def stop_daemon(self) -> tuple[float, int]:
        """SIGTERM; seconds until it was gone, and its exit code."""
        if self.daemon is None:
            raise LabError("no daemon runs")
        ended = await self.daemon.stop()
        self.daemon = None
        return ended

    # --- the emulator -------------------------------------------------------------------------------------------------

    async def ask_emulator(self, method: str, path: str, body: object = None) -> Any:
        """The emulator's control API, `path` below `/emulator`."""
        return await self._json(method, f"{self.endpoints['control']}/emulator{path}", body, {})

    async def deploy(self, image: str, *, run: str) -> str:
        """A new revision on 100 % of the traffic; `run` makes its configuration unlike any before. Returns its name."""
        body = {"service": SERVICE["service"], "image": image, "env": {"RUN": run}, "percent": 100, "wait": True}
        deployed = await self.ask_emulator("POST", "/deploy", body)
        return str(deployed["revision"])

    async def requests_since(self, index: int) -> tuple[list[dict[str, Any]], int]:
        """Requests that ended at a container, in the emulator's own record, and the next index."""
        answer = await self.ask_emulator("GET", f"/requests?since={index}")
        return answer["requests"], int(answer["next"])

    # --- the daemon ---------------------------------------------------------------------------------------------------

    async def ask_daemon(self, method: str, path: str, body: object = None) -> Any:
        """The daemon's API, `path` below `/api/v1`."""
        headers = {"Authorization": f"Bearer {self.token}"}
        return await self._json(method, f"http://{self.address}/api/v1{path}", body, headers)

    async def events(self, watch: str) -> list[dict[str, Any]]:
        """The whole journal of a watch."""
        found: list[dict[str, Any]] = []
        while True:
            after = found[-1]["seq"] if found else 0
            page = await self.ask_daemon("GET", f"/watches/{watch}/events?after={after}&limit=1000")
            if not page:
                return found
            found += page

    async def watch_of(self, revision: str) -> str:
        """Tell the daemon of a deploy, as a pipeline does; returns the watch once every probe has passed in it."""
        await self.ask_daemon("POST", "/deploys", {**SERVICE, "revision": revision, "deployer": "benchmark"})

        async def passed() -> str | None:
            listed = (await self.ask_daemon("GET", "/watches?open=true"))["watches"]
            watch = next((row["id"] for row in listed if row["revision"] == revision), None)
            if watch is None:
                return None
            view = await self.ask_daemon("GET", f"/watches/{watch}")
            return str(watch) if all(probe["passed"] for probe in view["probes"]) else None

        return await self.until(f"every probe to pass on {revision}", passed)

    # --- both ---------------------------------------------------------------------------------------------------------

    async def until(self, what: str, look: Callable[[], Awaitable[T | None]], *, within_s: float = PATIENCE_S) -> T:
        """Look until there is something. Raises `LabError` when there is nothing in time or a process has ended."""
        give_up = CLOCK.monotonic() + within_s
        while True:
            found = await look()
            if found is not None:
                return found
            for process in (self.emulator, self.daemon):
                if process is not None and process.handle.returncode is not None:
                    code = process.handle.returncode
                    raise LabError(f"the {process.name} ended with code {code}; its log: {process.log}")
            if CLOCK.monotonic() > give_up:
                raise LabError(f"waited {within_s:g} s in vain for {what}; logs: {self.folder}")
            await CLOCK.sleep(LOOK_S)

    async def _json(self, method: str, url: str, body: object, headers: Mapping[str, str]) -> Any:
        try:
            async with self.session.request(method, url, json=body, headers=headers) as reply:
                text = await reply.text()
        except (aiohttp.ClientError, TimeoutError) as error:
            raise LabError(f"{method} {url}: {error or 'no answer in time'}; logs: {self.folder}") from error
        if reply.status >= 400:
            raise LabError(f"{method} {url} answered {reply.status}: {text[:300]}; logs: {self.folder}")
        return json.loads(text) if text else None


@contextlib.asynccontextmanager
async def open_lab(*, rate_per_s: float, seed: int, options: Sequence[str] = ()) -> AsyncIterator[Lab]:
    """An emulator with one healthy, tagged service under load. Everything is stopped at the end, whatever happens.

    `options` go to `python -m watchdog.emulator`. The folder with the logs stays when something failed.
    """
    folder = Path(tempfile.mkdtemp(prefix="watchdog-bench-"))
    arguments = ["-m", "watchdog.emulator", "--listen", "127.0.0.1:0", "--load", f"{rate_per_s:g}", "--seed", str(seed)]
    emulator = await _spawn("emulator", [*arguments, *options], folder, os.environ)
    lab: Lab | None = None
    try:
        endpoints = await _endpoints(emulator)
        async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=20)) as session:
            lab = Lab(folder=folder, session=session, emulator=emulator, endpoints=endpoints)
            services = (await lab.ask_emulator("GET", "/services"))["services"]
            (lab.good,) = services[0]["split"]
            tagged = {**SERVICE, "traffic": {"LATEST": 100}, "tags": {"stable": lab.good}, "wait": True}
            await lab.ask_emulator("POST", "/traffic", tagged)
            yield lab
    finally:
        if lab is not None and lab.daemon is not None:
            await lab.daemon.stop()
        await emulator.stop()
    await asyncio.to_thread(shutil.rmtree, folder)


def barq_policy(lab: Lab) -> dict[str, Any]:
    """The BARQ policy as it is shipped, its URL pointed at the emulator."""
    text = (files("watchdog.data") / "barq-fleet.yaml").read_text(encoding="utf-8")
    policy: dict[str, Any] = yaml.safe_load(text)
    policy["service"]["url"] = lab.endpoints["service_url"]
    return policy


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


async def _spawn(name: str, arguments: Sequence[str], folder: Path, env: Mapping[str, str]) -> Process:
    path = folder / f"{name}.log"
    with path.open("ab") as log:
        spawned_at = CLOCK.now()
        handle = await asyncio.create_subprocess_exec(
            sys.executable,
            *arguments,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE if name == "emulator" else log,
            stderr=log,
            env=dict(env),
            start_new_session=True,  # Ctrl-C reaches the benchmark only, which then stops them in order
        )
    return Process(name=name, handle=handle, spawned_at=spawned_at, log=path)


async def _endpoints(emulator: Process) -> dict[str, Any]:
    """What the emulator prints once it serves."""
    if emulator.handle.stdout is None:
        raise LabError("the emulator has no standard output")
    try:
        async with asyncio.timeout(PATIENCE_S):
            return dict(json.loads(await emulator.handle.stdout.readline()))
    except (TimeoutError, ValueError) as error:
        raise LabError(f"the emulator did not start; its log: {emulator.log}") from error
