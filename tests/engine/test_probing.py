"""Probes go out on time, hanging ones hold nobody up, and what is our own fault is never held against the service."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any, cast

import pytest

from tests.engine.world import BAD, DOWN, emulated, eventually, kept, policy
from watchdog.core.events import Probed
from watchdog.core.model import Failed, Missing, Passed
from watchdog.core.policy import ProbeConfig
from watchdog.core.probing import ProbeAnswer, Purpose, Role
from watchdog.core.schedule import Ask
from watchdog.engine.clock import SystemClock
from watchdog.engine.probing import Prober, Route, offset, once_all, send, watch_lateness
from watchdog.engine.tools import Tools
from watchdog.telemetry import Metrics

PROBE = ProbeConfig(name="health", path="/health")
ROUTE = Route(probe=PROBE, base_url="http://service", revision="rev")


class LoopClock:
    """The loop's own time, which looptime makes jump."""

    def now(self) -> float:
        return 1_000_000.0 + asyncio.get_running_loop().time()

    def monotonic(self) -> float:
        return asyncio.get_running_loop().time()

    async def sleep(self, delay_s: float) -> None:
        await asyncio.sleep(max(0.0, delay_s))


@dataclass
class Service:
    """A service as a prober meets it: each request takes so long and ends so."""

    clock: LoopClock
    takes_s: float = 0.01
    evidence: Passed | Failed = field(default_factory=Passed)
    reaches_control: bool = True
    sent: list[float] = field(default_factory=list)
    fresh: list[bool] = field(default_factory=list)
    asked_control: int = 0

    async def probe(self, _probe: ProbeConfig, _base_url: str, *, fresh: bool) -> ProbeAnswer:
        began = self.clock.now()
        self.sent.append(began)
        self.fresh.append(fresh)
        await asyncio.sleep(self.takes_s)
        return ProbeAnswer(evidence=self.evidence, started_at=began, ended_at=self.clock.now())

    async def reachable(self, _url: str, *, timeout_s: float = 1.0) -> bool:
        self.asked_control += 1
        return self.reaches_control


@pytest.fixture
def service() -> Service:
    return Service(LoopClock())


@pytest.fixture
def tools(service: Service) -> Tools:
    return Tools(
        clock=service.clock,
        store=cast("Any", None),
        traffic=cast("Any", None),
        prober=service,
        metrics=Metrics(version="0", services=[], channels=[], sources=[]),
        owner="me",
        new_id=lambda: "id",
    )


async def asked(tools: Tools, ask: Ask, for_s: float) -> Sequence[Probed]:
    """What one ask emits in this time."""
    emitted: list[Probed] = []
    prober = Prober(
        tools, ask, lambda _: ROUTE, emitted.append, control_url=lambda: "http://api", observe=lambda *_: None
    )
    task = asyncio.create_task(prober.run())
    await asyncio.sleep(for_s)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    return emitted


def ask(purpose: Purpose, every_s: float, *, since: float = 0.0, role: Role = Role.PUBLIC) -> Ask:
    return Ask(probe="health", role=role, purpose=purpose, every_s=every_s, since=since)


@pytest.mark.looptime
async def test_regular_probes_keep_their_grid_from_their_own_offset(tools: Tools, service: Service) -> None:
    begin = service.clock.now()
    emitted = await asked(tools, ask(Purpose.REGULAR, 5.0), 61.0)
    first = service.sent[0] - begin
    assert first == pytest.approx(offset("health", 5.0), abs=0.01)
    assert [b - a for a, b in pairwise(service.sent)] == pytest.approx([5.0] * (len(service.sent) - 1), abs=0.01)
    assert len(emitted) == 13 - (first > 1.0)
    assert {e.slot_s for e in emitted} == {5.0}
    assert all(e.scheduled_at == pytest.approx(t, abs=0.01) for e, t in zip(emitted, service.sent, strict=True))


@pytest.mark.looptime
async def test_slots_that_were_missed_are_skipped_and_counted(tools: Tools, service: Service) -> None:
    service.takes_s = 12.0
    await asked(tools, ask(Purpose.REGULAR, 5.0), 50.0)
    assert [b - a for a, b in pairwise(service.sent)] == pytest.approx([15.0] * (len(service.sent) - 1), abs=0.01)
    assert counter(tools, "watchdog_scheduler_missed_slots_total") == 2 * (len(service.sent) - 1)


@pytest.mark.looptime
async def test_confirming_attempts_overlap_when_they_hang_and_are_numbered_without_gaps(
    tools: Tools, service: Service
) -> None:
    service.takes_s, service.evidence = 3.0, Failed("timeout")
    since = service.clock.now()
    emitted = await asked(tools, ask(Purpose.CONFIRM, 1.0, since=since), 8.5)
    assert [t - since for t in service.sent] == pytest.approx([1, 2, 3, 4, 5, 6, 7, 8], abs=0.01)
    assert [e.attempt for e in emitted] == [1, 2, 3, 4, 5]
    assert all(service.fresh), "each on a connection of its own"


@pytest.mark.looptime
async def test_the_control_is_asked_from_the_first_failure_on(tools: Tools, service: Service) -> None:
    since = service.clock.now()
    emitted = await asked(tools, ask(Purpose.CONFIRM, 1.0, since=since, role=Role.CONTROL), 2.5)
    assert [e.attempt for e in emitted] == [0, 1, 2]
    assert service.sent[0] == pytest.approx(since, abs=0.01)


@pytest.mark.looptime
async def test_a_confirmation_taken_up_late_catches_up_with_no_burst(tools: Tools, service: Service) -> None:
    await asked(tools, ask(Purpose.CONFIRM, 1.0, since=service.clock.now() - 3600.0), 5.5)
    assert len(service.sent) <= 7


@pytest.mark.looptime
@pytest.mark.parametrize("reason", ["dns", "connect", "refused", "timeout"])
async def test_what_our_own_dead_network_would_say_too_is_missing_while_the_admin_api_is_out_of_reach(
    reason: str, tools: Tools, service: Service
) -> None:
    service.evidence, service.reaches_control = Failed(reason), False
    assert (await send(tools, ROUTE, control_url="http://api")).evidence == Missing("prober")
    service.reaches_control = True
    assert (await send(tools, ROUTE, control_url="http://api")).evidence == Failed(reason)


@pytest.mark.looptime
@pytest.mark.parametrize("reason", ["status", "json", "body", "tls", "protocol", "redirect"])
async def test_what_only_the_service_can_say_counts_whoever_else_is_away(
    reason: str, tools: Tools, service: Service
) -> None:
    service.evidence, service.reaches_control = Failed(reason), False
    assert (await send(tools, ROUTE, control_url="http://api")).evidence == Failed(reason)
    assert not service.asked_control


@pytest.mark.looptime
async def test_a_failure_while_our_own_loop_was_late_is_missing_and_a_pass_counts(
    tools: Tools, service: Service
) -> None:
    service.takes_s, service.evidence = 2.0, Failed("timeout")
    loop = asyncio.get_running_loop()
    loop.call_later(1.0, lambda: tools.lateness.observe(0.6, service.clock.monotonic()))
    assert (await send(tools, ROUTE, control_url="http://api")).evidence == Missing("prober")
    assert (await send(tools, ROUTE, control_url="http://api")).evidence == Failed("timeout"), "it is on time again"
    service.evidence = Passed()
    loop.call_later(1.0, lambda: tools.lateness.observe(0.6, service.clock.monotonic()))
    assert (await send(tools, ROUTE, control_url="http://api")).ok


async def test_a_loop_that_stalls_is_noticed() -> None:
    clock = SystemClock()
    tools = Tools(
        clock=clock,
        store=cast("Any", None),
        traffic=cast("Any", None),
        prober=cast("Any", None),
        metrics=Metrics(version="0", services=[], channels=[], sources=[]),
        owner="me",
        new_id=lambda: "id",
    )
    watching = asyncio.create_task(watch_lateness(tools, every_s=0.01))
    await asyncio.sleep(0.05)
    began = clock.monotonic()
    end = began + 0.55
    while clock.monotonic() < end:  # what a blocked loop does
        pass
    await eventually(lambda: tools.lateness.since(began), "noticed")
    watching.cancel()
    await asyncio.gather(watching, return_exceptions=True)


@pytest.mark.looptime
async def test_probes_between_watches_are_sent_at_the_same_time(tools: Tools, service: Service) -> None:
    service.takes_s = 3.0
    began = service.clock.now()
    routes = [Route(probe=ProbeConfig(name=n, path="/"), base_url="http://s", revision="") for n in ("a", "b", "c")]
    answers = await once_all(tools, routes, control_url="http://api")
    assert set(answers) == {"a", "b", "c"}
    assert service.clock.now() - began == pytest.approx(3.0, abs=0.01)


def test_probes_are_spread_over_a_second_and_stay_where_they_are() -> None:
    places = {offset(f"probe{i}", 5.0) for i in range(50)}
    assert len(places) == 50
    assert all(0.0 <= p < 1.0 for p in places)
    assert offset("health", 5.0) == offset("health", 5.0)
    assert all(offset(f"probe{i}", 0.5) < 0.25 for i in range(50))


def counter(tools: Tools, name: str) -> float:
    return tools.metrics.registry.get_sample_value(name) or 0.0


# --- with everything around it ------------------------------------------------------------------------------------


async def test_a_hanging_service_is_asked_again_before_it_has_answered(tmp_path: Path) -> None:
    """Attempts overlap, so a hang is confirmed as fast as a refusal, plus one timeout."""
    slow = policy(probe_every="1s", timeout="1s", every="200ms", failures=4)
    async with emulated() as cloud, kept(cloud, tmp_path / "w.db", slow) as house:
        await cloud.deploy(BAD)
        runner = await house.watching(BAD)
        await house.at(runner, "watching")
        cloud.afflict(BAD, DOWN.model_copy(update={"kind": "hang"}))
        watch = await house.ended(runner)
        assert watch.outcome == "rolled_back", watch.reason
        failed_at = next(at for event, at, _ in house.told if event == "probe_failed")
        assert cloud.landed[0].at - failed_at <= 3 * 0.2 + 1.0 + 2.0


async def test_our_own_sickness_moves_nothing_and_the_service_s_does_once_we_are_well(tmp_path: Path) -> None:
    """While the Admin API cannot be reached either, it is us; once it can, it is the service."""
    async with emulated() as cloud, kept(cloud, tmp_path / "w.db") as house:
        await cloud.deploy(BAD)
        runner = await house.watching(BAD)
        await house.at(runner, "watching")
        await cloud.disturb(kind="unreachable")
        cloud.front.close()
        await eventually(lambda: runner.watch.probes["health"].missing > 5, "many probes")
        assert runner.watch.probes["health"].last is not None
        assert runner.watch.probes["health"].last.evidence == Missing("prober")
        assert not runner.watch.confirmations
        assert not runner.watch.decisions
        await cloud.calm()
        await eventually(lambda: cloud.landed, "the service's own fault is found")
        assert cloud.landed[0].annotations["deploy-watchdog/rolled-back"] == BAD
