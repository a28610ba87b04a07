"""Every rule on the same days: the work is cut into parts that processes can share, and put together again."""

from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from typing import Final

import numpy as np

from benchmarks.detection_parts.rivals import RIVALS
from benchmarks.detection_parts.streams import Days, Floats, Onset, Scenario, draw, generator
from benchmarks.detection_parts.twin import ALIGNED, DIRECT, FEEDS, Feed, as_fed, core_alarm, error_meters, first_alarm

OURS: Final = "ours"
MEASURED: Final = "ours, D measured"
RULES: Final = (OURS, *RIVALS)
TICK_S: Final = 1e-6
"""Times closer than this are the same: an offset of the cutover does not add up exactly."""
PART: Final = 80
"""Watches of each rate in one part: about 0.5 GB while it is worked on."""


class TwinError(Exception):
    """The vectorised meter and the core disagree about a watch: no figure can be trusted."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """One part of one scenario."""

    scenario: Scenario
    seed: int
    part: int
    each: int
    controls: int
    replayed: int
    """How many watches are judged by the core too."""
    replay_s: float
    """How much of their day."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Played:
    """What every rule did in a scenario: per feed and rule, the end of the slot in which it rolled back (seconds since
    the feed's first whole period; inf never; NaN not asked)."""

    scenario: Scenario
    rps: Floats
    phase: Floats
    offset: Floats
    onset: Floats
    alarms: Mapping[tuple[str, str], Floats]
    replayed: int

    def of(self, feed: Feed, rule: str) -> Floats:
        """The alarms of one rule on one feed."""
        return self.alarms[feed.name, rule]

    def began(self, feed: Feed) -> Floats:
        """When errors exceeded what the policy allows, in the same seconds: at deploy that is the cutover."""
        if self.scenario.onset is Onset.DEPLOY:
            return -self.offset * feed.period_s
        return self.onset


def plan(
    scenarios: Iterable[Scenario], *, seed: int, each: int, control_share: float, replayed: int, replay_s: float
) -> list[Task]:
    """`each` watches a rate of every scenario, in parts of at most `PART`."""
    tasks: list[Task] = []
    for scenario in scenarios:
        for part, first in enumerate(range(0, each, PART)):
            size = min(PART, each - first)
            tasks.append(
                Task(
                    scenario=scenario,
                    seed=seed,
                    part=part,
                    each=size,
                    controls=max(1, round(size * control_share)),
                    replayed=replayed if part == 0 else 0,
                    replay_s=replay_s,
                )
            )
    return tasks


def play(task: Task) -> Played:
    """One part. Raises `TwinError` when the core judges one of its watches differently."""
    rng = generator(task.seed, task.scenario.name, task.part)
    days = draw(task.scenario, rng, each=task.each, controls=task.controls)
    alarms: dict[tuple[str, str], Floats] = {}
    for feed in FEEDS:
        alarms[feed.name, OURS] = first_alarm(error_meters(feed), days, feed)
        if days.before is not None:
            alarms[feed.name, MEASURED] = first_alarm(error_meters(feed), days, feed, measured=True)
        for name, rule in RIVALS.items():
            alarms[feed.name, name] = rule(days, feed)
    for watch in rng.choice(days.watches, min(task.replayed, days.watches), replace=False).tolist():
        for feed in FEEDS:
            _replay(task, days, feed, watch, float(alarms[feed.name, OURS][watch]))
    return Played(
        scenario=task.scenario,
        rps=days.rps,
        phase=days.phase,
        offset=days.offset,
        onset=days.onset,
        alarms=alarms,
        replayed=min(task.replayed, days.watches),
    )


def _replay(task: Task, days: Days, feed: Feed, watch: int, twin: float) -> None:
    bad, total = as_fed(days, feed, aligned=True)
    until = task.replay_s if feed is DIRECT else np.inf
    core = core_alarm(
        error_meters(feed),
        list(zip(bad[:, watch].tolist(), total[:, watch].tolist(), strict=True)),
        period_s=feed.period_s,
        lag_s=feed.lag_s,
        offset_s=0.0 if ALIGNED else float(days.offset[watch]) * feed.period_s,
        until_s=float(until),
    )
    if abs(core - twin) > TICK_S and min(core, twin) < until - feed.period_s:
        raise TwinError(
            f"{task.scenario.name}, part {task.part}, watch {watch}, {feed.name}: the core alarms at {core:g} s, "
            f"its twin at {twin:g} s; mend benchmarks/detection_parts/twin.py"
        )


def play_all(tasks: Sequence[Task], *, jobs: int) -> list[Played]:
    """All parts, put together by scenario, in the order of the tasks."""
    if jobs > 1:
        with ProcessPoolExecutor(jobs) as pool:
            parts = list(pool.map(play, tasks))
    else:
        parts = [play(task) for task in tasks]
    by_name: dict[str, list[Played]] = {}
    for played in parts:
        by_name.setdefault(played.scenario.name, []).append(played)
    return [_joined(some) for some in by_name.values()]


def _joined(parts: Sequence[Played]) -> Played:
    return Played(
        scenario=parts[0].scenario,
        rps=np.concatenate([p.rps for p in parts]),
        phase=np.concatenate([p.phase for p in parts]),
        offset=np.concatenate([p.offset for p in parts]),
        onset=np.concatenate([p.onset for p in parts]),
        alarms={key: np.concatenate([p.alarms[key] for p in parts]) for key in parts[0].alarms},
        replayed=sum(p.replayed for p in parts),
    )
