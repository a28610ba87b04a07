"""Several feeds of one check: each asked at its own pace, never added up, and one that cannot be had is left out."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any, cast

import pytest

from tests.engine.test_probing import LoopClock
from tests.engine.world import KEY, policy
from watchdog.core.events import Lag
from watchdog.core.model import Counts, Sample, Value
from watchdog.core.schedule import Plan
from watchdog.engine.baselines import measure
from watchdog.engine.metering import Reader, announce
from watchdog.engine.tools import Tools
from watchdog.errors import PermanentError, WatchdogError
from watchdog.ports import Feed, MetricQuery
from watchdog.telemetry import Metrics

FAST = Lag(source="request_log", check="error_rate", period_s=5.0, lag_s=10.0)
RATE = Lag(source="request_log", check="request_rate", period_s=60.0, lag_s=10.0)
SLOW = Lag(source="cloud_run", check="error_rate", period_s=60.0, lag_s=180.0)
RELATIVE = '  - {metric: error_rate, target: "< 1.5x before", action: investigate}'


@dataclass
class Source:
    """A source that remembers when it was asked."""

    name: str
    clock: LoopClock
    lags: Sequence[Lag] = ()
    error: Exception | None = None
    error_on_sample: Exception | None = None
    counts: Counts = field(default_factory=lambda: Counts(0, 0))
    rate: float | None = None
    asked: list[float] = field(default_factory=list)
    queries: list[MetricQuery] = field(default_factory=list)

    async def feeds(self, _service: Any, _policy: Any) -> Sequence[Feed]:
        if self.error is not None:
            raise self.error
        return [Feed(source=g.source, check=g.check, period_s=g.period_s, lag_s=g.lag_s) for g in self.lags]

    async def sample(self, query: MetricQuery, *, now: float) -> Sequence[Sample]:
        self.asked.append(now)
        self.queries.append(query)
        if self.error_on_sample is not None:
            raise self.error_on_sample
        whole = {
            "source": self.name,
            "revision": query.revision,
            "start": query.end - 60.0,
            "end": query.end,
            "seen": now,
        }
        found = [Sample(check="error_rate", evidence=self.counts, **whole)]  # type: ignore[arg-type]
        if self.rate is not None:
            found.append(Sample(check="request_rate", evidence=Value(self.rate), **whole))  # type: ignore[arg-type]
        return found


@pytest.fixture
def clock() -> LoopClock:
    return LoopClock()


def tools(clock: LoopClock, *sources: Source) -> Tools:
    return Tools(
        clock=clock,
        store=cast("Any", None),
        traffic=cast("Any", None),
        prober=cast("Any", None),
        metrics=Metrics(version="0", services=[], channels=[], sources=["request_log", "cloud_run"]),
        owner="me",
        new_id=lambda: "id",
        sources=sources,
    )


async def read(
    source: Source,
    lags: Sequence[Lag],
    for_s: float,
    *,
    every_s: float = 60.0,
    control: str | None = None,
    **fields: Any,
) -> None:
    reader = Reader(
        tools=tools(source.clock, source),
        source=source,
        service=KEY,
        lags=lags,
        every_s=every_s,
        plan=lambda: Plan(metrics="rev", metrics_since=0.0, control=control),
        emit=lambda _: None,
        **fields,
    )
    task = asyncio.create_task(reader.run())
    await asyncio.sleep(for_s)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


@pytest.mark.looptime
async def test_a_fast_feed_is_asked_every_bucket_as_soon_as_it_is_complete(clock: LoopClock) -> None:
    source = Source("request_log", clock)
    await read(source, [FAST, RATE], 120.0)

    assert [b - a for a, b in pairwise(source.asked)] == pytest.approx([5.0] * (len(source.asked) - 1), abs=0.01)
    assert len(source.asked) >= 23
    assert all((at - 10.0) % 5.0 == pytest.approx(0.1, abs=0.02) for at in source.asked)


@pytest.mark.looptime
@pytest.mark.parametrize("every_s", [30.0, 60.0])
async def test_a_slow_feed_is_asked_as_often_as_the_policy_says(clock: LoopClock, every_s: float) -> None:
    source = Source("cloud_run", clock)
    await read(source, [SLOW], 310.0, every_s=every_s)

    assert [b - a for a, b in pairwise(source.asked)] == pytest.approx([every_s] * (len(source.asked) - 1), abs=0.01)


@pytest.mark.looptime
async def test_a_policy_that_asks_more_often_than_a_feed_has_samples_is_obeyed(clock: LoopClock) -> None:
    source = Source("request_log", clock)
    await read(source, [FAST], 60.0, every_s=2.0)

    assert [b - a for a, b in pairwise(source.asked)] == pytest.approx([2.0] * (len(source.asked) - 1), abs=0.01)


@pytest.mark.looptime
async def test_a_source_is_told_which_of_our_own_requests_the_revision_answered(clock: LoopClock) -> None:
    source = Source("request_log", clock)
    await read(source, [FAST], 20.0, answered=lambda revision: [1.0, 2.0] if revision == "rev" else [])

    assert {q.answered_at for q in source.queries} == {(1.0, 2.0)}


@pytest.mark.looptime
async def test_while_both_serve_the_revision_before_is_asked_for_beside_the_new_one(clock: LoopClock) -> None:
    source = Source("request_log", clock)
    await read(source, [FAST], 21.0, control="old")

    assert [q.revision for q in source.queries[:4]] == ["rev", "old", "rev", "old"]
    assert source.queries[0].end == pytest.approx(source.queries[1].end), "the same seconds"


async def test_a_feed_that_may_not_be_read_is_said_and_left_out(clock: LoopClock) -> None:
    """No row waits for it, and no alpha is spent on it."""
    refused = PermanentError("Cloud Logging refuses …: grant roles/logging.viewer")
    slow, fast = Source("cloud_run", clock, lags=[SLOW]), Source("request_log", clock, error=refused)

    lags, notes = await announce(tools(clock, slow, fast), KEY, policy(), 3.0)

    assert lags == [SLOW]
    assert notes == [f"Without request_log: {refused}"]


async def test_two_feeds_of_the_same_requests_are_never_added_up(clock: LoopClock) -> None:
    slow = Source("cloud_run", clock, counts=Counts(10, 1000), rate=3.0)
    fast = Source("request_log", clock, counts=Counts(2, 100), rate=9.0)

    made = policy(criteria=RELATIVE + '\n  - {metric: p95_latency, target: "< 500ms", action: investigate}')

    found = await measure(tools(clock, slow, fast), KEY, made, revision="old", until=clock.now(), patience_s=3.0)

    assert found.values["error_rate"] == pytest.approx(13.0 / 1000.0)
    assert found.values["request_rate"] == 3.0, "the authority's"
    assert found.counts["error_rate"] == (10.0, 1000.0)
    assert {q.latency_limits_s for q in slow.queries} == {(0.5,)}, "so that latency has a past too"


async def test_a_source_that_hangs_does_not_keep_the_others_from_being_heard(clock: LoopClock) -> None:
    away = Source("cloud_run", clock, error_on_sample=WatchdogError("away"))
    fast = Source("request_log", clock, counts=Counts(2, 100))

    found = await measure(tools(clock, away, fast), KEY, policy(), revision="old", until=clock.now(), patience_s=3.0)

    assert found.counts == {"error_rate": (2.0, 100.0)}
