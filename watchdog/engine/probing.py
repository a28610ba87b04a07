"""Sends the probes that a watch's plan asks for, on time, and says when a failure is our own.

One task an `Ask`: deadlines are `start + offset + k·interval` on the monotonic clock, missed slots are counted and
skipped, confirming attempts overlap when they hang.
"""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from hashlib import sha256

from watchdog.core.events import Probed
from watchdog.core.model import Missing
from watchdog.core.policy import JourneyConfig, Policy, ProbeConfig
from watchdog.core.probing import ProbeAnswer, Purpose, Role
from watchdog.core.schedule import Ask
from watchdog.engine.tools import Tools

OUR_FAULT = frozenset({"dns", "connect", "refused", "timeout"})
"""Reasons that our own dead network would give too."""
SPREAD_S = 1.0
"""Regular probes of one service start within this time, so they do not all fall on one instant."""

Emit = Callable[[Probed], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """Where an ask goes: the probe's or journey's configuration and the base URL of its role."""

    probe: ProbeConfig | JourneyConfig
    base_url: str
    revision: str


async def send(tools: Tools, route: Route, *, control_url: str, fresh: bool = True) -> ProbeAnswer:
    """One probe, judged missing when the fault is ours: our loop was late, or the control endpoint is gone too."""
    began = tools.clock.monotonic()
    answer = await _asked(tools, route, fresh=fresh)
    if not answer.failed:
        return answer
    if tools.lateness.since(began):
        return replace(answer, evidence=Missing("prober"), detail="our own loop was late")
    if answer.reason in OUR_FAULT and not await tools.prober.reachable(control_url, timeout_s=1.0):
        detail = f"{answer.detail or answer.reason}; the control endpoint cannot be reached either"
        return replace(answer, evidence=Missing("prober"), detail=detail[:200])
    return answer


async def _asked(tools: Tools, route: Route, *, fresh: bool) -> ProbeAnswer:
    check = route.probe
    if isinstance(check, ProbeConfig):
        return await tools.prober.probe(check, route.base_url, fresh=fresh)
    if tools.journeys is None:
        now = tools.clock.now()
        return ProbeAnswer(evidence=Missing("prober"), started_at=now, ended_at=now, detail="journeys are not run here")
    return await tools.journeys.run(check.journey, route.base_url, auth=check.auth, audience=check.audience or "")


def unable(tools: Tools, policy: Policy) -> dict[str, str]:
    """The journeys that cannot be run here, `journey.NAME`, and why."""
    found: dict[str, str] = {}
    for name, config in policy.journeys.items():
        if tools.journeys is None:
            found[name] = "journeys are not run here"
        elif absent := tools.journeys.missing_secrets(config.journey):
            found[name] = "not set: " + ", ".join(f"WATCHDOG_JOURNEY__{secret.upper()}" for secret in absent)
    return found


def offset(name: str, every_s: float) -> float:
    """A probe's own place in the interval: the same on every start, spread by its name."""
    fraction = int.from_bytes(sha256(name.encode()).digest()[:4], "big") / 2**32
    return fraction * min(SPREAD_S, every_s / 2)


class Prober:
    """Runs one ask until cancelled."""

    def __init__(
        self,
        tools: Tools,
        ask: Ask,
        route: Callable[[Ask], Route | None],
        emit: Emit,
        *,
        control_url: Callable[[], str],
        observe: Callable[[str, ProbeAnswer], None],
    ) -> None:
        self._tools = tools
        self._ask = ask
        self._route = route
        self._emit = emit
        self._control_url = control_url
        self._observe = observe

    async def run(self) -> None:
        """Send for ever."""
        if self._ask.purpose is Purpose.REGULAR:
            await self._regular()
        else:
            await self._overlapping()

    async def _regular(self) -> None:
        clock, every = self._tools.clock, self._ask.every_s
        due = clock.monotonic() + offset(self._ask.probe, every)
        while True:
            await clock.sleep(due - clock.monotonic())
            late = clock.monotonic() - due
            self._tools.metrics.scheduler_lateness_seconds.observe(max(0.0, late))
            scheduled = clock.now() - max(0.0, late)
            await self._once(scheduled, 0)
            due += every
            missed = int((clock.monotonic() - due) // every) + 1 if clock.monotonic() > due else 0
            if missed > 0:
                self._tools.metrics.scheduler_missed_slots_total.inc(missed)
                due += missed * every

    async def _overlapping(self) -> None:
        """Attempts are numbered without gaps and sent on `since + k·every`, or as soon as possible after it."""
        clock, ask = self._tools.clock, self._ask
        attempt = 0 if ask.role is Role.CONTROL or ask.purpose is not Purpose.CONFIRM else 1
        async with asyncio.TaskGroup() as group:
            while True:
                wait = ask.since + attempt * ask.every_s - clock.now()
                if attempt > 1 and wait < -ask.every_s:
                    wait = ask.every_s  # taken up again long after it began
                await clock.sleep(min(max(0.0, wait), ask.every_s))
                group.create_task(self._once(clock.now(), attempt), name=f"attempt/{ask.probe}/{attempt}")
                attempt += 1

    async def _once(self, scheduled: float, attempt: int) -> None:
        ask = self._ask
        route = self._route(ask)
        if route is None:
            return
        answer = await self._sent(route)
        if ask.purpose is Purpose.REGULAR:
            self._observe(ask.probe, answer)
        self._emit(
            Probed(
                at=self._tools.clock.now(),
                probe=ask.probe,
                role=ask.role,
                purpose=ask.purpose,
                scheduled_at=scheduled,
                answer=answer,
                attempt=attempt,
                slot_s=ask.every_s if ask.purpose is Purpose.REGULAR else 0.0,
                revision=route.revision,
            )
        )

    async def _sent(self, route: Route) -> ProbeAnswer:
        """The answer, or the worst of several that were asked for at a time: one that failed, else the slowest."""
        tools, fresh = self._tools, self._ask.purpose is not Purpose.WARM
        sent = [send(tools, route, control_url=self._control_url(), fresh=fresh) for _ in range(self._ask.at_once)]
        answers = await asyncio.gather(*sent)
        return max(answers, key=lambda a: (a.failed, not a.ok, a.ended_at - a.started_at))


async def watch_lateness(tools: Tools, *, every_s: float = 0.1) -> None:
    """Measure how late our own loop runs, for ever."""
    clock = tools.clock
    while True:
        before = clock.monotonic()
        await clock.sleep(every_s)
        now = clock.monotonic()
        tools.lateness.observe(now - before - every_s, now)


async def once_all(tools: Tools, routes: list[Route], *, control_url: str) -> dict[str, ProbeAnswer]:
    """Send one probe each at the same time; answers by probe name."""
    answers: list[Awaitable[ProbeAnswer]] = [send(tools, r, control_url=control_url) for r in routes]
    return dict(zip((r.probe.name for r in routes), await asyncio.gather(*answers), strict=True))
