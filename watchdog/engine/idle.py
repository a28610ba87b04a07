"""Probes a service between its watches: a pass arms a probe for the next deploy, a failure is older than it."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from math import inf
from typing import TYPE_CHECKING

import structlog

from watchdog.core import service as facts
from watchdog.core.policy import JourneyConfig, ProbeConfig
from watchdog.core.probing import ProbeAnswer
from watchdog.engine.probing import Route, once_all, unable
from watchdog.errors import LeaseLostError, WatchdogError

if TYPE_CHECKING:
    from watchdog.engine.keeper import Keeper

IDLE_PROBES_EVERY_S = 60.0
IDLE_JOURNEYS_EVERY_S = 3600.0
IDLE_TRIES = 3
IDLE_AGAIN_S = 1.0
"""A probe between watches that does not pass is asked so often, this far apart, before the service counts as sick."""

_log = structlog.get_logger(__name__)


@dataclass(slots=True)
class IdleProbing:
    """One service's probes and journeys while nothing is watched."""

    keeper: "Keeper"
    _journeyed: dict[str, float] = field(default_factory=dict)
    """When each journey was run last between watches (monotonic)."""

    async def arm(self) -> None:
        """`probe`, its faults logged: called at the start and by the housekeeping every minute."""
        try:
            await self.probe()
        except LeaseLostError:
            return  # somebody else keeps the service now, and arms its probes
        except WatchdogError as error:
            _log.warning("probes_not_armed", service=str(self.keeper.key), error=str(error))

    async def probe(self) -> None:
        """Probe the service while no watch is open: passing arms, failing tells what was sick before a deploy."""
        keeper, policy = self.keeper, self.keeper.policy
        if keeper.open_runner() is not None or not (policy.probes or policy.journeys):
            return
        if keeper.state is None:
            await keeper.read_now()
        await self._ask(dict(policy.probes))
        if journeys := self._journeys_due():  # by themselves: they take their time, and the probes must be armed
            await self._ask(dict(journeys))

    def armed(self) -> tuple[str, ...]:
        """The checks that have passed as they are configured now."""
        policy, service = self.keeper.policy, self.keeper.service
        checks: dict[str, ProbeConfig | JourneyConfig] = {**policy.probes, **policy.journeys}
        return tuple(n for n, p in checks.items() if service.armed.get(n) == config_hash(p))

    async def _ask(self, checks: Mapping[str, ProbeConfig | JourneyConfig]) -> None:
        keeper, tools, policy = self.keeper, self.keeper.tools, self.keeper.policy
        control = policy.control_url or tools.traffic.endpoint
        answers: dict[str, ProbeAnswer] = {}
        for again in range(IDLE_TRIES):  # a blip is no sickness, and must not leave a probe unarmed for a minute
            left = [p for p in checks.values() if p.name not in answers or not answers[p.name].ok]
            if not left:
                break
            if again:
                await tools.clock.sleep(IDLE_AGAIN_S)
            routes = [Route(probe=p, base_url=keeper.service_url(), revision="") for p in left]
            answers |= await once_all(tools, routes, control_url=control)
        armed = dict(keeper.service.armed)
        for name, answer in answers.items():
            if answer.ok:
                armed[name] = config_hash(checks[name])
        sick = {name for name, answer in answers.items() if answer.failed}
        asked_elsewhere = {*policy.probes, *policy.journeys} - set(answers)
        sick |= asked_elsewhere & keeper.service.sick
        if (armed, sick) != (dict(keeper.service.armed), set(keeper.service.sick)):
            _log.info("probes_seen", service=str(keeper.key), armed=sorted(armed), sick=sorted(sick))
            await keeper.remember(facts.probes_seen(tools.clock.now(), armed=armed, sick=sick))

    def _journeys_due(self) -> dict[str, JourneyConfig]:
        """The journeys to be run between watches: each once an hour, since they leave traces; sooner while one is not
        armed, or was sick."""
        keeper = self.keeper
        now, left_out = keeper.tools.clock.monotonic(), unable(keeper.tools, keeper.policy)
        due = {
            name: journey
            for name, journey in keeper.policy.journeys.items()
            if name not in left_out
            and (
                keeper.service.armed.get(name) != config_hash(journey)
                or name in keeper.service.sick
                or now - self._journeyed.get(name, -inf) >= IDLE_JOURNEYS_EVERY_S
            )
        }
        self._journeyed |= dict.fromkeys(due, now)
        return due


def config_hash(check: ProbeConfig | JourneyConfig) -> str:
    """Changes whenever the probe (or a journey's content) is configured differently, so that it must be armed anew."""
    what = check.journey if isinstance(check, JourneyConfig) else check
    text = json.dumps(what.model_dump(mode="json"), sort_keys=True)
    return sha256(text.encode()).hexdigest()[:16]
