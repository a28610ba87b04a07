"""Metrics are asked on time, handed on once, and their silence shows; a share of failing requests rolls back."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import pytest

from tests.engine.test_probing import LoopClock
from tests.engine.world import BAD, GOOD, KEY, emulated, eventually, kept, policy
from watchdog.core.events import Lag, Sampled
from watchdog.core.model import Counts, Evidence, Missing, Sample, Value
from watchdog.core.schedule import Plan
from watchdog.emulator.faults import Fault
from watchdog.emulator.load import LoadPlan
from watchdog.engine.baselines import Before, measure
from watchdog.engine.metering import AGAIN_S, NOMINAL, QUERY_S, Reader, announce
from watchdog.engine.tools import Tools
from watchdog.errors import TemporaryError, WatchdogError
from watchdog.ports import Feed, MetricQuery
from watchdog.telemetry import Metrics

LAG = Lag(source="fake", check="error_rate", period_s=60.0, lag_s=180.0)


@dataclass
class Source:
    """A metric source as the engine meets it."""

    clock: LoopClock
    name: str = "fake"
    takes_s: float = 0.0
    error: Exception | None = None
    evidence: dict[float, Evidence] = field(default_factory=dict)
    """End of a sample → what it says; Counts(0, 100) for all others."""
    queries: list[MetricQuery] = field(default_factory=list)

    async def feeds(self, _service: Any, _policy: Any) -> Sequence[Feed]:
        await self._answer()
        return [Feed(source="fake", check="error_rate", period_s=60.0, lag_s=180.0)]

    async def sample(self, query: MetricQuery, *, now: float) -> Sequence[Sample]:
        self.queries.append(query)
        await self._answer()
        first = int(query.start // 60 + 1) * 60
        ends = [float(end) for end in range(first + 60, int(query.end - 180) + 1, 60)]
        return [
            Sample(
                source="fake",
                check="error_rate",
                revision=query.revision,
                start=end - 60.0,
                end=end,
                seen=now,
                evidence=self.evidence.get(end, Counts(0, 100)),
            )
            for end in ends
        ]

    async def _answer(self) -> None:
        await asyncio.sleep(self.takes_s)
        if self.error is not None:
            raise self.error


@pytest.fixture
def source() -> Source:
    return Source(LoopClock())


@pytest.fixture
def tools(source: Source) -> Tools:
    return Tools(
        clock=source.clock,
        store=cast("Any", None),
        traffic=cast("Any", None),
        prober=cast("Any", None),
        metrics=Metrics(version="0", services=[], channels=[], sources=["fake"]),
        owner="me",
        new_id=lambda: "id",
        sources=[source],
    )


class Reading:
    """A reader at work, and what it has handed on."""

    def __init__(self, tools: Tools, source: Source) -> None:
        self.emitted: list[Sampled] = []
        self.plan = Plan(metrics="rev", metrics_since=source.clock.now())
        self.reader = Reader(
            tools=tools,
            source=source,
            service=KEY,
            lags=[LAG],
            every_s=60.0,
            plan=lambda: self.plan,
            emit=self.emitted.append,
        )

    async def run(self, for_s: float) -> None:
        task = asyncio.create_task(self.reader.run())
        await asyncio.sleep(for_s)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    @property
    def samples(self) -> list[Sample]:
        return [sample for event in self.emitted for sample in event.samples]


@pytest.mark.looptime
async def test_every_point_is_handed_on_once_and_once_more_when_it_was_revised(tools: Tools, source: Source) -> None:
    reading = Reading(tools, source)
    await reading.run(900.0)
    assert len({s.end for s in reading.samples}) == len(reading.samples) >= 8
    await reading.reader.ask()
    revised = reading.samples[-1].end
    source.evidence[revised] = Counts(7, 120)
    again = len(reading.samples)
    await reading.reader.ask()
    assert [(s.end, s.evidence) for s in reading.samples[again:]] == [(revised, Counts(7, 120))]


@pytest.mark.looptime
async def test_it_asks_from_after_the_cutover_and_a_little_back_so_that_revisions_are_seen(
    tools: Tools, source: Source
) -> None:
    reading = Reading(tools, source)
    await reading.run(1800.0)
    since = reading.plan.metrics_since
    assert all(q.start > since for q in source.queries), "the seconds of the cutover belong to nobody"
    last = source.queries[-1]
    assert last.end - last.start == pytest.approx(AGAIN_S + 240.0)
    assert all(b.end - a.end == pytest.approx(60.0) for a, b in zip(source.queries, source.queries[1:], strict=False))


@pytest.mark.looptime
async def test_a_failing_source_is_missing_evidence_and_never_takes_a_point_back(tools: Tools, source: Source) -> None:
    reading = Reading(tools, source)
    await reading.run(600.0)
    there = {s.end for s in reading.samples}
    source.error = TemporaryError("Cloud Monitoring answered 503")
    await reading.run(300.0)
    lost = [s for s in reading.samples if isinstance(s.evidence, Missing)]
    assert lost
    assert {s.evidence for s in lost} == {Missing("source_error")}
    assert not there & {s.end for s in lost}
    source.error = None
    await reading.run(120.0)
    assert isinstance(reading.samples[-1].evidence, Counts)


@pytest.mark.looptime
async def test_a_source_that_hangs_is_given_up_and_asked_again(tools: Tools, source: Source) -> None:
    reading = Reading(tools, source)
    source.takes_s = 3600.0
    await reading.run(400.0)
    assert len(source.queries) >= 6
    assert {s.evidence for s in reading.samples} == {Missing("source_error")}
    gaps = [b.end - a.end for a, b in zip(source.queries, source.queries[1:], strict=False)]
    assert max(gaps) <= 60.0 + QUERY_S


@pytest.mark.looptime
async def test_a_reading_that_is_no_number_is_handed_on_so_that_it_lowers_the_coverage(
    tools: Tools, source: Source
) -> None:
    reading = Reading(tools, source)
    await reading.run(600.0)
    await reading.reader.ask()
    end = reading.samples[-1].end
    source.evidence[end] = Value(float("nan"))
    again = len(reading.samples)
    await reading.reader.ask()
    assert len(reading.samples) == again + 1


@pytest.mark.looptime
async def test_a_source_that_cannot_be_announced_gets_the_nominal_lag_and_is_named(
    tools: Tools, source: Source
) -> None:
    source.error = TemporaryError("no permission")
    lags, notes = await announce(tools, KEY, policy(), 3.0)
    assert {(lag.period_s, lag.lag_s) for lag in lags} == {NOMINAL}
    assert "no permission" in notes[0]
    source.error, source.takes_s = None, 60.0
    began = source.clock.now()
    _, notes = await announce(tools, KEY, policy(), 3.0)
    assert source.clock.now() - began == pytest.approx(3.0)
    assert "no answer within 3 s" in notes[0]


@pytest.mark.looptime
async def test_what_was_before_is_unknown_rather_than_zero(tools: Tools, source: Source) -> None:
    relative = policy(criteria='  - {metric: error_rate, target: "< 1.5x before", action: investigate}')
    now = source.clock.now()
    found = await measure(tools, KEY, relative, revision="old", until=now, patience_s=3.0)
    assert found.values["error_rate"] == pytest.approx(3.0 / (len(source.evidence) + 5600.0), rel=0.2), "rule of three"
    source.error = WatchdogError("away")
    assert await measure(tools, KEY, relative, revision="old", until=now, patience_s=3.0) == Before()
    source.error = None
    assert await measure(tools, KEY, relative, revision="", until=now, patience_s=3.0) == Before()


# --- with the emulated Cloud Monitoring ---------------------------------------------------------------------------

ERRORS = """\
  - {metric: error_rate, target: "< 5%", action: rollback}
cold_start: {errors: 0s, latency: 0s}
"""


@pytest.mark.drill
@pytest.mark.timeout(150)
async def test_requests_that_fail_while_probes_are_green_are_rolled_back_with_proof(tmp_path: Path) -> None:
    counting = policy(criteria=ERRORS, every="1s", timeout="1s")
    async with emulated(sample_period_s=1.0, ingest_delay_s=1.0) as cloud:  # noqa: SIM117 - the second needs the first
        async with kept(cloud, tmp_path / "w.db", counting) as house:
            await cloud.emulator.set_load(cloud.service, LoadPlan(rate_per_s=30))
            await cloud.deploy(BAD, Fault(kind="status", status=500, users_only=True))
            runner = await house.watching(BAD)
            watch = await house.ended(runner, within_s=100.0)
            assert watch.outcome == "rolled_back", watch.reason
            assert cloud.split == {GOOD: 100}
            assert len(cloud.landed) == 1
            decision = watch.decisions[-1].reason
            assert "error_rate: 100 %" in decision
            assert "limit < 5%" in decision
            assert "immediate window" in decision
            assert GOOD in decision
            assert watch.probes["health"].failed == 0
            assert house.events("warming"), "the target was asked before traffic moved"
            await eventually(lambda: [p["event_action"] for p in cloud.pages()] == ["trigger", "resolve"], "paged")
