"""Synthetic days of traffic: what happens in them, and the counts of requests and errors that a feed would show.

Requests are Poisson with a diurnal rate; each is an error with the share that the scenario has at that moment. A fault
that does not begin at a slot's edge counts in that slot for the part that it covers, which for a Poisson process is
exact. Many days are drawn at once: arrays are (slots, watches).
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import Final
from zlib import crc32

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int32]

DAY_S: Final = 86_400.0
SLOT_S: Final = 5.0
"""The width of the finest feed; every other one is made of its counts."""
SLOTS: Final = int(DAY_S / SLOT_S)
RATES: Final = (0.1, 1.0, 10.0, 100.0, 1000.0)
"""Requests a second, daily mean."""
DIURNAL: Final = 0.5
COLD_S: Final = 30.0
"""`cold_start.errors` of the policy: evidence of the first seconds counts for nobody."""
LATE_S: Final = (2 * 3600.0, 12 * 3600.0)
"""A late fault begins at a random moment between these."""
NORMAL_ABOVE: Final = 30.0
"""Good answers expected in a slot, above which their number is drawn from a normal approximation: it is faster."""


class Onset(StrEnum):
    """When a fault begins."""

    NEVER = "never"
    DEPLOY = "at deploy"
    LATE = "late"


@dataclass(frozen=True, slots=True, kw_only=True)
class Scenario:
    """What happens in a day. Shares are of requests (0..1), times are seconds."""

    name: str
    base: float = 0.001
    """The share of errors of a healthy service."""
    onset: Onset = Onset.NEVER
    after: float = 0.0
    """The share from the onset on."""
    ramp_s: float = 0.0
    """The share climbs in a straight line for so long before it reaches `after`."""
    flap_s: float = 0.0
    flap_every_s: float = 0.0
    """The fault shows for `flap_s` in every `flap_every_s` only."""
    blip_s: float = 0.0
    blip_every_s: float = 4 * 3600.0
    blip_share: float = 1.0
    """Short outages, so far apart in the mean; gaps vary by half."""
    cluster: float = 1.0
    """Errors come in clusters of geometric size with this mean, as retries do."""
    surge: float = 1.0
    surge_s: float = 30.0
    surge_every_s: float = 3600.0
    """Bursts of traffic: so many times the usual rate; gaps vary by half."""
    shared_s: float = 0.0
    shared_share: float = 0.0
    """One outage, at a random late moment, that hits the control as well."""
    diurnal: float = DIURNAL
    span_s: float = DAY_S
    """How much of the watch is played."""
    late_s: tuple[float, float] = LATE_S
    rates: tuple[float, ...] = RATES
    """Requests a second of the new revision."""
    control_scale: float = 1.0
    """The control's traffic over the new revision's."""

    @property
    def slots(self) -> int:
        """Finest slots in what is played."""
        return round(self.span_s / SLOT_S)

    @property
    def is_null(self) -> bool:
        """Whether a rollback in it is false whenever it comes."""
        return self.onset is Onset.NEVER


@dataclass(frozen=True, slots=True, kw_only=True)
class Days:
    """The counts of many watches; `bad` and `total` are (slots, watches)."""

    scenario: Scenario
    rps: Floats
    phase: Floats
    """Of the diurnal curve, radians."""
    offset: Floats
    """How far the cutover lies before the first whole period of a feed, in periods (0..1): nobody deploys on the
    minute."""
    onset: Floats
    """When the share of errors exceeds the policy's 1 %, seconds since the cutover; inf when it never does."""
    bad: Ints
    total: Ints
    control: tuple[Ints, Ints] | None = None
    """The counts of a concurrent revision, for the first watches of each rate."""
    before: tuple[Ints, Ints] | None = None
    """The last hour of the revision before, on which burstiness is measured."""

    @property
    def watches(self) -> int:
        """How many."""
        return len(self.rps)


def generator(seed: int, name: str, part: int) -> np.random.Generator:
    """The random numbers of one part of one scenario: the same whatever else is drawn."""
    return np.random.Generator(np.random.SFC64(np.random.SeedSequence((seed, crc32(name.encode()), part))))


def draw(
    scenario: Scenario,
    rng: np.random.Generator,
    *,
    each: int,
    controls: int = 0,
    threshold: float = 0.01,
) -> Days:
    """`each` watches at every rate, the first `controls` of each rate with a control."""
    rps = np.repeat(np.array(scenario.rates), each)
    watches = len(rps)
    phase, offset = rng.uniform(0.0, 2 * np.pi, watches), rng.uniform(0.0, 1.0, watches)
    slots = scenario.slots
    lam = _traffic(scenario, rng, rps, phase, slots)
    start = _onset(scenario, rng, watches)
    shared = _shared(scenario, rng, watches)
    share = _share(scenario, rng, start, shared, slots)
    bad, total = _counts(scenario, rng, lam, share)
    cold = int(COLD_S / SLOT_S)
    bad[:cold], total[:cold] = 0, 0
    control = None
    if controls:
        picked = np.flatnonzero(np.arange(watches) % each < controls)
        healthy = np.full((slots, len(picked)), scenario.base)
        if shared is not None:
            healthy += (scenario.shared_share - scenario.base) * shared[:, picked]
        control = _counts(scenario, rng, scenario.control_scale * lam[:, picked], healthy)
    before = None
    if scenario.cluster > 1.0 or scenario.blip_share < 1.0:
        hour = int(3600 / SLOT_S)
        usual = _share(scenario, rng, np.full(watches, np.inf), None, hour)
        before = _counts(scenario, rng, _traffic(scenario, rng, rps, phase, hour), usual)
    return Days(
        scenario=scenario,
        rps=rps,
        phase=phase,
        offset=offset,
        onset=_crossing(scenario, start, threshold),
        bad=bad,
        total=total,
        control=control,
        before=before,
    )


def coarser(counts: NDArray[np.int32], slots: int) -> Ints:
    """Counts of slots that are `slots` times as long."""
    if slots == 1:
        return counts
    whole = len(counts) // slots
    summed: Ints = counts[: whole * slots].reshape(whole, slots, -1).sum(axis=1, dtype=np.int32)
    return summed


def covered(begin: Floats, end: Floats, slots: int) -> Floats:
    """(slots, watches): which part of each slot lies between `begin` and `end`, seconds, one pair a watch."""
    edges = np.arange(slots)[:, None] * SLOT_S
    inside: Floats = (np.minimum(edges + SLOT_S, end) - np.maximum(edges, begin)) / SLOT_S
    return np.clip(inside, 0.0, 1.0)


def _traffic(scenario: Scenario, rng: np.random.Generator, rps: Floats, phase: Floats, slots: int) -> Floats:
    """Requests expected in each slot."""
    angle = (np.arange(slots)[:, None] + 0.5) * SLOT_S * (2 * np.pi / DAY_S)
    wave = np.sin(angle) * np.cos(phase) + np.cos(angle) * np.sin(phase)  # of angle + phase, an outer product cheaper
    lam: Floats = rps * SLOT_S * (1.0 + scenario.diurnal * wave)
    if scenario.surge > 1.0:
        lam *= 1.0 + (scenario.surge - 1.0) * _episodes(rng, len(rps), slots, scenario.surge_s, scenario.surge_every_s)
    return lam


def _onset(scenario: Scenario, rng: np.random.Generator, watches: int) -> Floats:
    match scenario.onset:
        case Onset.NEVER:
            return np.full(watches, np.inf)
        case Onset.DEPLOY:
            return np.zeros(watches)
        case Onset.LATE:
            return rng.uniform(*scenario.late_s, watches)


def _crossing(scenario: Scenario, start: Floats, threshold: float) -> Floats:
    """When the share leaves what the policy allows: later than the onset on a ramp."""
    if scenario.ramp_s <= 0.0:
        return start
    crossing: Floats = start + scenario.ramp_s * (threshold - scenario.base) / (scenario.after - scenario.base)
    return crossing


def _shared(scenario: Scenario, rng: np.random.Generator, watches: int) -> Floats | None:
    if scenario.shared_s <= 0.0:
        return None
    begin = rng.uniform(*scenario.late_s, watches)
    return covered(begin, begin + scenario.shared_s, scenario.slots)


def _share(scenario: Scenario, rng: np.random.Generator, start: Floats, shared: Floats | None, slots: int) -> Floats:
    """The share of errors in each slot."""
    watches = len(start)
    share = np.full((slots, watches), scenario.base)
    if scenario.onset is not Onset.NEVER and np.isfinite(start).all():
        present = covered(start, np.full(watches, np.inf), slots)
        if scenario.ramp_s > 0.0:
            middle = (np.arange(slots)[:, None] + 0.5) * SLOT_S
            present *= np.clip((middle - start) / scenario.ramp_s, 0.0, 1.0)
        if scenario.flap_every_s > 0.0:
            present *= _flapping(scenario, start, slots)
        share += (scenario.after - scenario.base) * present
    if scenario.blip_s > 0.0:
        blips = _episodes(rng, watches, slots, scenario.blip_s, scenario.blip_every_s)
        share += (scenario.blip_share - share) * blips
    if shared is not None:
        share += (scenario.shared_share - share) * shared
    return share


def _flapping(scenario: Scenario, start: Floats, slots: int) -> Floats:
    """Which part of each slot lies in the bad part of its period, periods counted from the onset."""
    edges = np.arange(slots + 1)[:, None] * SLOT_S - start
    whole = np.floor(edges / scenario.flap_every_s)
    rest = edges - whole * scenario.flap_every_s
    badness = whole * scenario.flap_s + np.minimum(rest, scenario.flap_s)
    flapping: Floats = np.diff(badness, axis=0) / SLOT_S
    return flapping


def _episodes(rng: np.random.Generator, watches: int, slots: int, long_s: float, every_s: float) -> Floats:
    """Which part of each slot lies in an episode: `long_s` long, `every_s` after the last one, give or take a half."""
    span_s = slots * SLOT_S
    number = int(span_s / (every_s / 2)) + 2
    begins = np.cumsum(rng.uniform(0.5 * every_s, 1.5 * every_s, (number, watches)), axis=0)
    begins -= rng.uniform(0.5 * every_s, 1.5 * every_s, watches)
    inside = np.zeros((slots, watches))
    columns = np.arange(watches)
    for begin in begins:
        first = np.floor(begin / SLOT_S)
        for offset in range(int(long_s // SLOT_S) + 2):
            edge = (first + offset) * SLOT_S
            part = np.clip((np.minimum(edge + SLOT_S, begin + long_s) - np.maximum(edge, begin)) / SLOT_S, 0.0, 1.0)
            there = (edge >= 0.0) & (edge < span_s)
            inside[(first[there] + offset).astype(np.intp), columns[there]] += part[there]
    return np.minimum(inside, 1.0)


def _counts(scenario: Scenario, rng: np.random.Generator, lam: Floats, share: Floats) -> tuple[Ints, Ints]:
    """Bad and total requests of each slot."""
    if scenario.cluster > 1.0:
        clusters = rng.poisson(lam * share / scenario.cluster)
        bad = clusters.astype(np.int32)
        some = clusters > 0
        bad[some] += rng.negative_binomial(clusters[some], 1.0 / scenario.cluster).astype(np.int32)
    else:
        bad = rng.poisson(lam * share).astype(np.int32)
    expected = lam * (1.0 - share)
    total = bad.copy()
    for columns, many in _by_size(expected):
        part = expected[:, columns]
        drawn = part + np.sqrt(part) * rng.standard_normal(part.shape) if many else rng.poisson(part)
        total[:, columns] += np.maximum(np.rint(drawn), 0.0).astype(np.int32)
    return bad, total


def _by_size(expected: Floats) -> list[tuple[NDArray[np.intp], bool]]:
    """The watches with few requests and those with many."""
    many = expected.mean(axis=0) > NORMAL_ABOVE
    return [(columns, size) for size in (False, True) if len(columns := np.flatnonzero(many == size))]
