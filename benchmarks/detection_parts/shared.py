"""Old and new sick together: would the control's counts keep a rollback from happening that cannot help?

The rule is the design's: at an alarm, over the time from T before it until now, with `p` the new revision's share of
errors, `p_base` the share before the deploy, and `n_o` requests of the control with `e_o` errors,
``lam = e_o·ln(p / p_base) − n_o·(p − p_base)`` says how much likelier the control's counts are under the new share than
under its own past. Above zero: hold. Otherwise roll back, once the control has had the chance to show five errors
or a minute has gone. A held watch goes on with an empty meter, and asks again at its next alarm.

The comparison is the core's own (`core.compare`); `ask` plays its waiting, as `core.versus` does.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from math import inf
from typing import Final

import numpy as np

from benchmarks.detection_parts.cases import CONTROLS
from benchmarks.detection_parts.rivals import RIVALS
from benchmarks.detection_parts.streams import SLOT_S, Days, Floats, Ints, Scenario, draw, generator
from benchmarks.detection_parts.twin import DIRECT, Judged, binding, error_meters, judge
from watchdog.core.compare import LOOK_BACK_S, PATIENCE_S, compare
from watchdog.core.sequential import Meter

OURS_ALONE: Final = "ours alone"
OURS_ASKING: Final = "ours, control asked"
ROUNDS: Final = 50
"""More alarms than this in one day are taken as one that never ends."""
PART: Final = 60


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """One scenario; every tuple has an entry for each rate of the control."""

    scenario: Scenario
    controls: tuple[float, ...]
    watches: int
    """A cell."""
    rolled_back: Mapping[str, tuple[float, ...]]
    """Per rule, the share of watches."""
    held: tuple[float, ...]
    """The share of watches whose first alarm was held."""
    waits_s: tuple[float, ...]
    """The mean time between a watch's first alarm and its rollback, of those rolled back."""
    counts: tuple[int, ...]
    """Watches that ours, with the control asked, rolled back."""


def play_shared(scenario: Scenario, *, seed: int, each: int) -> Outcome:
    """`each` watches at every rate of the control, on the direct feed."""
    alarms: dict[str, list[Floats]] = {name: [] for name in (OURS_ASKING, OURS_ALONE, *RIVALS)}
    rates: list[Floats] = []
    for part, first in enumerate(range(0, each, PART)):
        size = min(PART, each - first)
        days = draw(scenario, generator(seed, scenario.name, part), each=size, controls=size)
        asked, alone = _asking(days)
        alarms[OURS_ASKING].append(asked)
        alarms[OURS_ALONE].append(alone)
        for name, rule in RIVALS.items():
            alarms[name].append(rule(days, DIRECT))
        rates.append(days.rps)
    rps, joined = np.concatenate(rates), {name: np.concatenate(some) for name, some in alarms.items()}
    asked, alone = joined[OURS_ASKING], joined[OURS_ALONE]
    cells = [rps == rate for rate in scenario.rates]
    waited = asked - np.where(np.isfinite(alone), alone, 0.0)
    waits = [waited[at & np.isfinite(asked)] for at in cells]
    return Outcome(
        scenario=scenario,
        controls=CONTROLS,
        watches=each,
        rolled_back={name: tuple(float(np.isfinite(a[at]).mean()) for at in cells) for name, a in joined.items()},
        held=tuple(float((np.isfinite(alone[at]) & (waited[at] > PATIENCE_S)).mean()) for at in cells),
        waits_s=tuple(float(some.mean()) if len(some) else 0.0 for some in waits),
        counts=tuple(int(np.isfinite(asked[at]).sum()) for at in cells),
    )


def _asking(days: Days) -> tuple[Floats, Floats]:
    """When each watch is rolled back with the control asked, and when its first alarm was."""
    meters, bad, total = binding(error_meters(DIRECT)), days.bad.copy(), days.total.copy()
    rolled_back, first = np.full(days.watches, inf), np.full(days.watches, inf)
    open_ = np.arange(days.watches)
    for _ in range(ROUNDS):
        alarm_at, floor = _alarms(meters, bad[:, open_], total[:, open_])
        alarmed = np.isfinite(alarm_at)
        open_, alarm_at, floor = open_[alarmed], alarm_at[alarmed], floor[alarmed]
        if not len(open_):
            break
        first[open_] = np.minimum(first[open_], alarm_at)
        still = []
        for watch, at, least in zip(open_.tolist(), alarm_at.tolist(), floor.tolist(), strict=True):
            held, when = ask(days, watch, at, max(LOOK_BACK_S, least))
            if held:
                empty = round(when / SLOT_S)
                bad[:empty, watch], total[:empty, watch] = 0, 0
                still.append(watch)
            else:
                rolled_back[watch] = when
        open_ = np.array(still, dtype=np.intp)
        if not still:
            break
    return rolled_back, first


def _alarms(meters: tuple[Meter, ...], bad: Ints, total: Ints) -> tuple[Floats, Floats]:
    """The first alarm of each watch, and the persistence floor of the rung that raised it."""
    judged: list[Judged] = [judge(m, bad, total) for m in meters]
    floors = [np.array([r.slot_s * r.cap_slots for r in m.ladder])[j.rung] for m, j in zip(meters, judged, strict=True)]
    earliest = np.argmin([j.alarm_at for j in judged], axis=0)
    columns = np.arange(bad.shape[1])
    return np.array([j.alarm_at for j in judged])[earliest, columns], np.array(floors)[earliest, columns]


def ask(days: Days, watch: int, alarm_at: float, back_s: float) -> tuple[bool, float]:
    """Whether the control makes one hold, and when that is known (seconds, as `alarm_at`)."""
    if days.control is None:
        raise ValueError("the scenario was drawn without controls")
    begin = max(0, round((alarm_at - back_s) / SLOT_S))
    now = alarm_at
    while True:
        window = slice(begin, round(now / SLOT_S))
        bad, total, e, n = (float(c[window, watch].sum()) for c in (days.bad, days.total, *days.control))
        found = compare(bad=bad, total=total, control_bad=e, control_total=n, base=days.scenario.base)
        if found.says == "sick":
            return True, now
        if found.says == "well" or now - alarm_at >= PATIENCE_S:
            return False, now
        now += SLOT_S
