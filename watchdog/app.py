"""The composition root: the only place that builds adapters and wires them to the engine."""

import asyncio
import os
import random
import secrets
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field

import structlog
from aiohttp import ClientSession, web
from pydantic import SecretStr

from watchdog import __version__, ports
from watchdog.actions import channels
from watchdog.actions.cloud_run import CloudRun
from watchdog.actions.heartbeat import Heartbeat
from watchdog.actions.slack_whisper import Whisperer
from watchdog.core import service as facts
from watchdog.core.model import ServiceKey
from watchdog.core.paging import Silence
from watchdog.core.policy import Policy
from watchdog.engine.clock import SystemClock
from watchdog.engine.outbox import Outbox, OutboxHooks, OutboxSettings
from watchdog.engine.supervisor import Supervisor
from watchdog.engine.tools import Follower, Tools, ignore
from watchdog.errors import ConfigError
from watchdog.settings import Settings
from watchdog.sources.backups import CloudSqlBackups
from watchdog.sources.certificates import default_context
from watchdog.sources.http_probe import HttpProber
from watchdog.sources.journey import HttpJourneys
from watchdog.store import make_store
from watchdog.telemetry import Metrics
from watchdog.transport import GoogleTokens, open_session
from watchdog.transport.impersonation import API as IAM_CREDENTIALS
from watchdog.transport.impersonation import Impersonated
from watchdog.web import Identify, WebServices, make_app

ALPHABET = "abcdefghjkmnpqrstuvwxyz23456789"
"""Letters and digits that nobody mistakes for one another when reading an id aloud."""

_log = structlog.get_logger(__name__)


def new_id() -> str:
    """A short, unique, URL-safe watch id: 40 bits of chance."""
    return "".join(secrets.choice(ALPHABET) for _ in range(8))


@dataclass(frozen=True, slots=True, kw_only=True)
class App:
    """One process's engine with its adapters."""

    settings: Settings
    tools: Tools
    rights: ports.Rights
    backups: ports.Backups
    store: ports.Store
    outbox: Outbox
    supervisor: Supervisor
    metrics: Metrics
    notifiers: Sequence[ports.Notifier]
    identify: Identify | None = None
    """Knows Google identities; None where the environment names none."""

    whisper: Callable[[str, str], Awaitable[None]] | None = None
    """Answers a click in Slack."""

    def slack_roles(self, key: ServiceKey) -> Mapping[str, str]:
        """Who may do what by Slack's buttons, as the policy says that this process was started with."""
        keeper = self.supervisor.keepers.get(key)
        slack = keeper.policy.channels.get("slack") if keeper is not None else None
        return slack.roles if slack is not None else {}

    async def silences(self, key: ServiceKey) -> Sequence[Silence]:
        """What is silenced of a service now: in its policy, and by people."""
        keeper, now = self.supervisor.keepers.get(key), self.tools.clock.now()
        policy = keeper.policy.silences if keeper is not None else ()
        return [s for s in (*policy, *(await self.facts(key)).silences) if s.until > now]

    def web(self) -> web.Application:
        """The API, the page and /metrics."""
        settings = self.settings
        return make_app(
            WebServices(
                store=self.store,
                clock=self.tools.clock,
                metrics=self.metrics,
                services=tuple(self.supervisor.keepers),
                ready=self.supervisor.ready,
                why_not_deploy=self.why_not_deploy,
                heartbeat_jobs=self.heartbeat_jobs,
                why_not_release=self.why_not_release,
                version=__version__,
                new_id=new_id,
                api_token=_revealed(settings.api_token),
                identify=self.identify,
                pagerduty_secret=_revealed(settings.pagerduty.webhook_secret),
                slack_secret=_revealed(settings.slack.signing_secret),
                silences=self.silences,
                slack_roles=self.slack_roles,
                whisper=self.whisper,
            )
        )

    async def facts(self, key: ServiceKey) -> facts.Service:
        """What is remembered of a service, read from its stream."""
        found = [facts.Fact(at=r.at, kind=r.kind, body=r.body) async for r in self.store.read(facts.stream(key))]
        return facts.fold_all(key, found)

    async def why_not_deploy(self, key: ServiceKey, image: str) -> str | None:
        """One sentence why the image must not be deployed; None when it may be."""
        allowed, reason = facts.gate(await self.facts(key), image, self.tools.clock.now())
        return None if allowed else reason

    def heartbeat_jobs(self, key: ServiceKey) -> frozenset[str]:
        """The jobs of the service's policy that ping."""
        keeper = self.supervisor.keepers.get(key)
        jobs = keeper.policy.jobs if keeper is not None else {}
        return frozenset(name for name, job in jobs.items() if job.heartbeat_s is not None)

    async def why_not_release(self, key: ServiceKey) -> str | None:
        """One sentence why traffic cannot be released now; None when it can."""
        known, now = await self.facts(key), self.tools.clock.now()
        state = await self.tools.traffic.read(key)
        revisions = await self.tools.traffic.revisions(key)
        latest = next((r for r in revisions if r.name == state.latest_ready), None)
        return facts.why_not_release(known, state.latest_ready, latest, now)


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """What is taken from the machine that this runs on. Worlds that are played in virtual time bring their own: a
    clock, what is put around every metric source, and who gives the probes' ID tokens."""

    clock: ports.Clock = field(default_factory=SystemClock)
    wrap_source: Callable[[ports.Source], ports.Source] = lambda source: source
    id_token: Callable[[str], Awaitable[str]] | None = None


@asynccontextmanager
async def build(
    settings: Settings,
    policies: Sequence[Policy],
    *,
    discover: bool = True,
    follow: Follower | None = None,
    page_url: str = "",
    machine: Machine | None = None,
    store: ports.Store | None = None,
) -> AsyncIterator[App]:
    """Everything wired up and the store open; closed in order at the end.

    `store` replaces the database that the settings name. Raises `StoreUnavailableError` when the store does not answer,
    `ConfigError` for what a person must mend.
    """
    _refuse_doubles(policies)
    machine = machine or Machine()
    clock = machine.clock
    async with AsyncExitStack() as stack:
        session = open_session()
        stack.push_async_callback(session.close)
        emulated = settings.cloud_run_emulator_host is not None
        tokens = GoogleTokens()
        stack.push_async_callback(tokens.close)
        store = store or make_store(settings.database_url.get_secret_value())
        await store.open()
        stack.push_async_callback(store.close)
        give = machine.id_token or tokens.id_token
        trusted = default_context(settings.ca_file)
        prober = HttpProber(
            clock,
            id_token=give,
            ssl_context=trusted,
            hosts=settings.hosts_file,
            variables=settings.probe_secrets,
        )
        stack.push_async_callback(prober.close)
        journeys = HttpJourneys(
            clock,
            secrets={name: value.get_secret_value() for name, value in settings.journey.items()},
            new_run=lambda: secrets.token_hex(6),
            id_token=give,
            ssl_context=default_context(settings.ca_file),
            hosts=settings.hosts_file,
        )
        stack.push_async_callback(journeys.close)
        given = await _sources(settings, stack, clock, session, tokens, emulated=emulated)
        sources = [machine.wrap_source(s) for s in given]
        notifiers = channels.load(session, clock, settings)
        keys = [key for policy in policies for key in policy.service.keys]
        metrics = Metrics(
            version=__version__,
            services=[key.name for key in keys],
            channels=[n.channel for n in notifiers],
            sources=[s.name for s in sources],
        )
        owner = f"{socket.gethostname()}/{os.getpid()}/{secrets.token_hex(4)}"
        outbox = Outbox(
            store,
            notifiers,
            clock,
            owner=owner,
            jitter=random.random,
            settings=OutboxSettings(lease_ttl_s=settings.lease_ttl_s),
            hooks=OutboxHooks(
                counted=lambda channel, kind, result: metrics.notifications_total.labels(channel, kind, result).inc(),
                oldest_pending=lambda channel, age: metrics.notification_oldest_pending_seconds.labels(channel).set(
                    age
                ),
            ),
        )
        writers = _writers(policies, settings, session, None if emulated else tokens, clock)
        for writer in writers.values():
            stack.push_async_callback(writer.close)
        cloud_run = CloudRun.from_settings(session, settings, tokens, writers=writers)
        tools = Tools(
            clock=clock,
            store=store,
            traffic=cloud_run,
            jobs=cloud_run,
            prober=prober,
            metrics=metrics,
            owner=owner,
            new_id=new_id,
            sources=sources,
            journeys=journeys,
            rights=cloud_run,
            channels=[n.channel for n in notifiers],
            lease_ttl_s=settings.lease_ttl_s,
            wake_outbox=outbox.wake,
            mail=outbox,
            page_url=page_url,
            follow=follow or ignore,
        )
        heartbeat = Heartbeat(session, settings.heartbeat.url).beat if settings.heartbeat.url is not None else None
        supervisor = Supervisor(tools=tools, policies=policies, discover=discover, beat=heartbeat)
        if discover:
            _warn_of_silence(policies, {n.channel for n in notifiers})
        yield App(
            settings=settings,
            tools=tools,
            rights=cloud_run,
            backups=CloudSqlBackups(session, tokens, base_url=_emulated(settings)),
            store=store,
            outbox=outbox,
            supervisor=supervisor,
            metrics=metrics,
            notifiers=notifiers,
            identify=_identities(session, clock, settings),
            whisper=Whisperer(session, api_url=settings.slack.api_url).whisper,
        )


@asynccontextmanager
async def survey(settings: Settings) -> AsyncIterator[tuple[CloudRun, HttpProber]]:
    """The two that `init` asks, without an engine and without a store."""
    async with open_session() as session, AsyncExitStack() as stack:
        tokens = GoogleTokens()
        stack.push_async_callback(tokens.close)
        prober = HttpProber(SystemClock())
        stack.push_async_callback(prober.close)
        yield CloudRun.from_settings(session, settings, tokens), prober


def _writers(
    policies: Sequence[Policy],
    settings: Settings,
    session: ClientSession,
    tokens: GoogleTokens | None,
    clock: ports.Clock,
) -> dict[ServiceKey, Impersonated]:
    """Who writes the traffic of the services whose policy names another identity; an account's tokens are shared."""
    emulator = settings.cloud_run_emulator_host
    url = IAM_CREDENTIALS if emulator is None else f"http://{emulator}"
    named = {policy.rollback.impersonate for policy in policies} - {None}
    accounts = {name: Impersonated(session, tokens, clock, account=name, api_url=url) for name in named if name}
    return {
        key: accounts[policy.rollback.impersonate]
        for policy in policies
        if policy.rollback.impersonate
        for key in policy.service.keys
    }


def _warn_of_silence(policies: Sequence[Policy], channels: set[str]) -> None:
    """Who would be paged and cannot be: better said at the start than found at night."""
    if not channels:
        _log.warning("no_channel", todo="set WATCHDOG_PAGERDUTY__ROUTING_KEY, WATCHDOG_SLACK__TOKEN or another channel")
        return
    for policy in policies:
        name, escalation = policy.service.name, policy.escalation
        if escalation.by == "pagerduty" and "pagerduty" not in channels:
            _log.warning(
                "nobody_escalates",
                service=name,
                todo="set WATCHDOG_PAGERDUTY__ROUTING_KEY, or escalation.by: watchdog in the policy",
            )
        if escalation.by == "watchdog" and "email" not in channels and any(r.email for r in escalation.ladder):
            _log.warning("ladder_without_mail", service=name, todo="set WATCHDOG_SMTP__URL, __FROM and __TO")


def _identities(session: ClientSession, clock: ports.Clock, settings: Settings) -> Identify | None:
    """Whom Google's ID tokens may name, if the environment names anybody."""
    oidc = settings.oidc
    if not oidc.audience or not oidc.emails:
        return None
    from watchdog.transport.identity import GoogleIdentities  # noqa: PLC0415 - google-auth is slow to load

    return GoogleIdentities(session, clock, audience=oidc.audience, emails=oidc.emails).verify


def _revealed(secret: SecretStr | None) -> str | None:
    return secret.get_secret_value() if secret is not None else None


async def _sources(
    settings: Settings,
    stack: AsyncExitStack,
    clock: ports.Clock,
    session: ClientSession,
    tokens: GoogleTokens,
    *,
    emulated: bool,
) -> list[ports.Source]:
    """The metric sources, the authority first: Cloud Monitoring and the request log, or their emulators. With an
    emulated Cloud Run and no emulator of theirs there are none: the real ones know nothing of an emulated service."""
    # Most verbs need no metrics, so nothing of this is loaded before here.
    from watchdog.sources.cloud_monitoring import CloudRunMetrics  # noqa: PLC0415
    from watchdog.sources.edge import Edge  # noqa: PLC0415
    from watchdog.sources.error_log import ErrorLog  # noqa: PLC0415
    from watchdog.sources.jobs import Jobs  # noqa: PLC0415
    from watchdog.sources.json_endpoint import JsonEndpoint  # noqa: PLC0415
    from watchdog.sources.logging_client import LoggingClient  # noqa: PLC0415
    from watchdog.sources.monitored import MonitoredGauges  # noqa: PLC0415
    from watchdog.sources.monitoring_client import MonitoringClient  # noqa: PLC0415
    from watchdog.sources.prometheus import Prometheus  # noqa: PLC0415
    from watchdog.sources.request_drop import RequestDrop  # noqa: PLC0415
    from watchdog.sources.request_log import RequestLog  # noqa: PLC0415
    from watchdog.sources.version import VersionEndpoint  # noqa: PLC0415

    found: list[ports.Source] = []
    monitoring, logs = settings.cloud_monitoring_emulator_host, settings.cloud_logging_emulator_host
    if monitoring or not emulated:
        client = MonitoringClient(emulator_host=str(monitoring) if monitoring else None)
        metrics = CloudRunMetrics(client, upper=True)
        stack.push_async_callback(metrics.close)
        found.append(metrics)
        found += [MonitoredGauges(name, client) for name in ("cloud_sql", "memorystore", "cloud_monitoring")]
        found.append(RequestDrop(client))
    if logs or not emulated:
        reader = LoggingClient(emulator_host=str(logs) if logs else None)
        log = RequestLog(reader, clock)
        stack.push_async_callback(log.close)
        found += [log, ErrorLog(reader)]
    if not found:
        _log.warning("no_metric_source", todo="set CLOUD_MONITORING_EMULATOR_HOST beside CLOUD_RUN_EMULATOR_HOST")
    found += [Prometheus(session, tokens), JsonEndpoint(session, tokens)]
    jobs = Jobs(session, tokens, base_url=_emulated(settings))
    return [*found, VersionEndpoint(session, tokens), Edge(session), jobs]


def _emulated(settings: Settings) -> str | None:
    """Where the emulator answers for Google's smaller APIs; None for the real ones."""
    host = settings.cloud_run_emulator_host
    return None if host is None else f"http://{host}"


def _refuse_doubles(policies: Sequence[Policy]) -> None:
    """Two policies for one service would fight over it."""
    seen: set[ServiceKey] = set()
    for policy in policies:
        for key in policy.service.keys:
            if key in seen:
                raise ConfigError(f"two policies are for {key}: remove one of them from --config or WATCHDOG_CONFIG")
            seen.add(key)


async def serve(app: App) -> None:
    """The daemon: supervisor, outbox and web server, until cancelled. `ConfigError` when the address is taken."""
    listen = app.settings.listen
    runner = web.AppRunner(app.web(), access_log=None, shutdown_timeout=1.0, handle_signals=False)
    await runner.setup()
    site = web.TCPSite(runner, listen.host, listen.port, reuse_address=True)
    try:
        await site.start()
    except OSError as error:
        await runner.cleanup()
        raise ConfigError(
            f"WATCHDOG_LISTEN: cannot listen on {listen} ({error.strerror or error}); choose another host:port"
        ) from error
    bound = runner.addresses[0]
    _log.info("listening", url=f"http://{bound[0]}:{bound[1]}", version=__version__)
    try:
        async with asyncio.TaskGroup() as group:
            group.create_task(app.outbox.run(), name="outbox")
            group.create_task(app.supervisor.run(), name="supervisor")
    finally:
        await runner.cleanup()
