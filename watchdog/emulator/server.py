"""The emulated world put together: Cloud Run, its data plane, Monitoring, Logging, and the places where pages arrive.

`Emulator` runs in the process of a test; `python -m watchdog.emulator --listen HOST:PORT` runs it by itself.
"""

import asyncio
import contextlib
import json
import resource
import signal
import sys
from collections.abc import Sequence
from dataclasses import replace
from types import TracebackType
from typing import Self

from aiohttp import web

from watchdog.emulator import clock
from watchdog.emulator.admin import Admin
from watchdog.emulator.admin_edge import Edge
from watchdog.emulator.cloud_sql import CloudSql, add_sql_routes
from watchdog.emulator.collectors import Collected, add_routes
from watchdog.emulator.control import Control
from watchdog.emulator.credentials import TokenMint
from watchdog.emulator.director import Director
from watchdog.emulator.endpoints import list_endpoints
from watchdog.emulator.entrance import Entrances
from watchdog.emulator.entrance_control import add_entrance_routes
from watchdog.emulator.fleet import Fleet
from watchdog.emulator.gate import Gate
from watchdog.emulator.jobs import Jobs, add_job_routes
from watchdog.emulator.ledger import Ledger
from watchdog.emulator.listener import Listener
from watchdog.emulator.load import LoadGenerator, LoadPlan
from watchdog.emulator.logging import LoggingServer
from watchdog.emulator.logging_control import add_logging_routes
from watchdog.emulator.mail import MailCollector
from watchdog.emulator.monitoring import MonitoringServer, add_control_routes
from watchdog.emulator.options import Options, parse_address, read_options
from watchdog.emulator.proxy import Proxy
from watchdog.emulator.reconcile import Delays, Reconciler
from watchdog.emulator.scaling import most_instances
from watchdog.emulator.scenario import ScenarioError, load_scenario
from watchdog.emulator.scheduler import Scheduler, add_scheduler_routes
from watchdog.emulator.splitter import Splitter
from watchdog.emulator.tasks import end_tasks
from watchdog.emulator.world import Json, Service, ServiceKey, World
from watchdog.emulator.writes import Change, Writer


class Emulator:
    """One emulated world. `start`, then use `director` or the control API, then `stop`."""

    def __init__(self, options: Options | None = None) -> None:
        self.options = options or Options()
        seed = self.options.seed
        self.ledger = Ledger()
        self.collected = Collected()
        self.gate = Gate()
        self.mint = TokenMint(self.gate)
        self.world = World(seed=seed, default_region=self.options.region)
        self.monitoring = MonitoringServer(
            ledger=self.ledger,
            sample_period_s=self.options.sample_period_s,
            ingest_delay_s=self.options.ingest_delay_s,
        )
        self.scheduler = Scheduler()
        self.jobs = Jobs()
        self.sql = CloudSql()
        self.logging = LoggingServer(ledger=self.ledger, delivery_delay_s=self.options.log_delay_s)
        self._mail = MailCollector(self.collected)
        self._mail_port = 0
        self._fleet = Fleet(seed=seed, lines=self.logging.lines)
        self._proxy = Proxy(self._fleet, self.ledger, seed=seed)
        self._splitter = Splitter(self._proxy, self.world.revision, host=self.options.host, seed=seed)
        self._entrances = Entrances(self._splitter.forward, host=self.options.host)
        self._reconciler = Reconciler(self.world, self._fleet, self._splitter, self._delays())
        self._reconciler.on_crash = self._crash
        self._writer = Writer(self.world, open_url=self._splitter.service_url, on_change=self._changed)
        self.director = Director(
            world=self.world,
            writer=self._writer,
            fleet=self._fleet,
            splitter=self._splitter,
            reconciler=self._reconciler,
            ledger=self.ledger,
        )
        self.crashed = asyncio.Event()
        """Set when a part of the emulator itself has failed; `stop` raises what it was."""
        self._load: dict[tuple[ServiceKey, str], LoadGenerator] = {}
        self._runners: list[web.AppRunner] = []
        self._listeners: dict[str, Listener] = {}
        self._reopening: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()

    async def start(self) -> None:
        """Listen everywhere, and deploy the default service; returns when it serves. `OSError`: a port is taken."""
        try:
            await self._proxy.start()
            await self._listen("control", self._make_app(with_control=True), self.options.port)
            await self._listen("cloud_run", self._make_app(with_control=False), 0)
            await self.monitoring.start(self.options.host, 0)
            await self.logging.start(self.options.host, 0)
            self._mail_port = await self._mail.start(self.options.host, 0)
            await self._populate()
        except BaseException:
            await self.stop()
            raise

    async def stop(self) -> None:
        """End everything and give the ports back; raises what has crashed, if anything has."""
        async with contextlib.AsyncExitStack() as stack:
            # Last in, first out; every step runs, whatever another one raises.
            stack.push_async_callback(self._fleet.stop_all)
            stack.push_async_callback(self._proxy.stop)
            stack.push_async_callback(self._splitter.close)
            stack.push_async_callback(self._entrances.close)
            stack.push_async_callback(self.monitoring.stop)
            stack.push_async_callback(self.logging.stop)
            stack.push_async_callback(self._mail.stop)
            for runner in self._runners:
                stack.push_async_callback(runner.cleanup)
            for listener in self._listeners.values():
                stack.push_async_callback(listener.release)
            for runner in self._runners:
                stack.push_async_callback(runner.shutdown)  # lets go of requests that hang on purpose
            stack.push_async_callback(self._reconciler.stop)
            stack.push_async_callback(self._stop_load)
            if self._reopening is not None:
                stack.push_async_callback(end_tasks, [self._reopening])

    async def reset(self) -> None:
        """As freshly started: state, faults, delays, load and everything received are forgotten; ports stay."""
        await self._stop_load()
        await self._reconciler.stop()
        self.world.clear()
        self._splitter.clear()
        await self._entrances.close()
        await self._fleet.stop_all()
        self.gate.clear()
        self.mint.clear()
        await self.apply_gate()
        self._reconciler.delays = self._delays()
        self.ledger.clear()
        self.monitoring.clear()
        self.monitoring.clear_faults()
        self.logging.clear()
        self.scheduler.clear()
        self.jobs.clear()
        self.sql.clear()
        self.logging.clear_faults()
        self.collected.clear()
        await self._populate()

    async def apply_gate(self) -> None:
        """Open or close the Admin API's port as the gate says, and see to it that it opens again in time."""
        if self._reopening is not None and self._reopening is not asyncio.current_task():
            await end_tasks([self._reopening])
        self._reopening = None
        until = self.gate.unreachable_until
        listener = self._listeners["cloud_run"]
        if until is None:
            await listener.open()
            return
        listener.close()
        if until != float("inf"):
            self._reopening = asyncio.create_task(self._reopen(until), name="emulator reopen Admin API")

    async def set_load(self, service: Service, plan: LoadPlan) -> None:
        """Replace the load of this name on a service; counts begin anew."""
        key = (service.key, plan.who)
        running = self._load.pop(key, None)
        if running is not None:
            await running.stop()
        generator = self._load[key] = LoadGenerator(service.url, plan, seed=self.options.seed)
        generator.start()

    def load_reports(self) -> list[Json]:
        """What the users of every service have seen."""
        return [{"service": key.name, "region": key.region, **load.report()} for (key, _), load in self._load.items()]

    def in_flight(self, revision: str) -> int:
        """Requests that a revision is working on. `ApiError` 404 when there is none of that name."""
        return self._proxy.in_flight(self.director.revision(revision))

    def endpoints(self) -> Json:
        """Where everything listens, and `env`: what makes the watchdog use it."""
        cloud_run, control = self._listeners["cloud_run"], self._listeners["control"]
        host = cloud_run.address.rpartition(":")[0]
        key = ServiceKey(self.options.project, self.options.region, self.options.service)
        return list_endpoints(
            cloud_run=cloud_run.address,
            control_url=control.url,
            service_url=None if self.options.empty else self._splitter.service_url(key),
            monitoring=f"{host}:{self.monitoring.port}",
            logging=f"{host}:{self.logging.port}",
            smtp=f"{host}:{self._mail_port}",
        )

    async def _populate(self) -> None:
        if self.options.empty:
            return
        named = {"service": self.options.service, "project": self.options.project, "region": self.options.region}
        revision = await self.director.deploy(self.options.first.model_copy(update=named))
        service = await self.director.settle(revision.key)
        if self.options.load.rate_per_s:
            await self.set_load(service, self.options.load)

    async def _listen(self, name: str, app: web.Application, port: int) -> None:
        runner = web.AppRunner(app, handle_signals=False, access_log=None)
        await runner.setup()
        self._runners.append(runner)
        if runner.server is None:
            raise RuntimeError(f"the {name} application has no server after its set-up")
        listener = self._listeners[name] = Listener(runner.server, host=self.options.host, port=port)
        await listener.open()

    def _make_app(self, *, with_control: bool) -> web.Application:
        app = web.Application(client_max_size=8 * 1024 * 1024)
        edge = Edge(self.world, self.gate, self.mint, race=self.director.race)
        self.mint.add_routes(app)
        Admin(self.world, self._writer, self._splitter, self._fleet, edge).add_routes(app)
        add_job_routes(app, self.jobs, edge, with_control=with_control)
        add_scheduler_routes(app, self.scheduler, with_control=with_control)
        add_sql_routes(app, self.sql, with_control=with_control)
        if with_control:
            Control(self).add_routes(app)
            add_control_routes(app, self.monitoring)
            add_logging_routes(app, self.logging)
            add_routes(app, self.collected)
            add_entrance_routes(app, self.director, self._entrances, self._splitter.invokers)
        return app

    def _delays(self) -> Delays:
        return Delays(
            routing_delay_s=self.options.routing_delay_s,
            startup_s=self.options.startup_s,
            startup_timeout_s=self.options.startup_timeout_s,
            propagation_s=self.options.propagation_s,
        )

    async def _stop_load(self) -> None:
        running = list(self._load.values())
        self._load.clear()
        for generator in running:
            await generator.stop()

    async def _reopen(self, until: float) -> None:
        await asyncio.sleep(max(0.0, until - clock.now()) + 0.001)
        await self.apply_gate()

    def _changed(self, change: Change) -> None:
        """A write was applied: it is settled by and by, and bounds the instances at once."""
        self._reconciler.observe(change)
        for revision in self.world.revisions_of(change.service.key):
            self.ledger.set_maximum(revision.name, most_instances(change.service, revision), at=clock.now())

    def _crash(self, _error: BaseException) -> None:
        self.crashed.set()


async def serve(listen: str, *, options: Options | None = None) -> None:
    """Run until SIGTERM or SIGINT; prints the endpoints as one JSON line first.

    `listen` replaces host and port of `options`. Raises `ValueError` for a bad address, `OSError` for a taken one.
    """
    host, port = parse_address(listen)
    _allow_many_connections()
    emulator = Emulator(replace(options or Options(), host=host, port=port))
    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopping.set)
    async with emulator:
        sys.stdout.write(json.dumps(emulator.endpoints()) + "\n")
        sys.stdout.flush()
        waits = [asyncio.create_task(event.wait()) for event in (stopping, emulator.crashed)]
        await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        await end_tasks(waits)


def _allow_many_connections() -> None:
    """Users of a service that hangs hold four descriptors each; the usual soft limit of 1024 is too low for that."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = 16_384 if hard == resource.RLIM_INFINITY else min(16_384, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def main(argv: Sequence[str] | None = None, *, prog: str = "python -m watchdog.emulator") -> int:
    """The emulator's command line; returns 0 after SIGTERM, 1 when the address is taken, 2 for bad usage."""
    given, options = read_options(argv, prog=prog)
    try:
        if given.scenario is not None:
            options = load_scenario(given.scenario).options()
        asyncio.run(serve(given.listen, options=options))
    except ScenarioError as error:
        sys.stderr.write(f"{error}\n")
        return 2
    except OSError as error:
        sys.stderr.write(f"cannot listen on {given.listen}: {error.strerror or error}; choose another address\n")
        return 1
    return 0
