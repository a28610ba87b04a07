"""What a revision was asked for lately and what it served: whether a peak of traffic is too much for it.

From the request log alone, the only feed that tells of requests which no instance took.
"""

from dataclasses import dataclass
from typing import Final, NamedTuple

from watchdog.core.model import Counts, Sample

SOURCE: Final = "request_log"
SERVED: Final = "error_rate"
"""The check whose counts are what instances answered."""
REFUSED: Final = "refused"
"""The check of what no instance took: so many among all that were asked for."""
KEEP_S: Final = 60.0
LOOK_S: Final = 15.0
"""How much of the newest evidence says how things are now: three slots of the request log."""
BEST_S: Final = 30.0
"""The most that was ever served is a mean over so long."""


class Slot(NamedTuple):
    """A few seconds; `start` and `end` are Unix seconds, the others numbers of requests."""

    start: float
    end: float
    well: float = 0.0
    bad: float = 0.0
    refused: float = 0.0

    def told(self, check: str, counts: Counts) -> "Slot":
        """With what a check counted in it."""
        if check == SERVED:
            return Slot(self.start, self.end, counts.total - counts.bad, counts.bad, self.refused)
        return Slot(self.start, self.end, self.well, self.bad, counts.bad)


class Rates(NamedTuple):
    """What was asked for in `[start, end)`: numbers of requests answered well, answered badly, taken by no instance."""

    start: float
    end: float
    well: float
    bad: float
    refused: float
    refusing: bool
    """Whether somebody was turned away in the newest slot."""
    full: float
    """The most that was answered well a second in any slot in which somebody was turned away."""
    full_well: float
    """How many were answered well in all such slots of the whole minute that is kept, …"""
    full_s: float
    """… which took so long together."""

    @property
    def took_s(self) -> float:
        """Seconds."""
        return self.end - self.start

    @property
    def asked(self) -> float:
        """What users asked for."""
        return self.well + self.bad + self.refused


@dataclass(frozen=True, slots=True)
class Load:
    """The last minute of one revision, and the most that it ever answered well in the watch (requests a second)."""

    slots: tuple[Slot, ...] = ()
    best: float = 0.0

    def plus(self, sample: Sample) -> "Load":
        """With one more sample; one of the same seconds again replaces what was said of them."""
        found = sample.evidence
        if sample.source != SOURCE or sample.check not in (SERVED, REFUSED) or not isinstance(found, Counts):
            return self
        slots = self.slots
        if not slots or sample.start > slots[-1].start:
            slots = (*slots, Slot(sample.start, sample.end).told(sample.check, found))
        else:
            slot = next((s for s in slots if s.start == sample.start), Slot(sample.start, sample.end))
            others = (s for s in slots if s.start != sample.start)
            slots = tuple(sorted((*others, slot.told(sample.check, found))))
        newest = slots[-1].end
        if slots[0].end <= newest - KEEP_S:
            slots = tuple(s for s in slots if s.end > newest - KEEP_S)
        last = _newest(slots, BEST_S)
        best = sum([s.well for s in last]) / (newest - last[0].start) if last else 0.0
        return Load(slots, max(self.best, best))

    @property
    def newest(self) -> float:
        """When what it knows ends, Unix seconds; 0 while it knows nothing."""
        return self.slots[-1].end if self.slots else 0.0

    def now(self, since: float = 0.0) -> Rates | None:
        """The newest `LOOK_S`, all of it after `since`; None while so much is not there."""
        return _over(tuple(s for s in self.slots if s.start >= since), LOOK_S)


NO_LOAD: Final = Load()


def _newest(slots: tuple[Slot, ...], length_s: float) -> list[Slot]:
    """The slots of the newest `length_s`; none where they hold less, or have gaps."""
    since = slots[-1].end - length_s - 1e-6 if slots else 0.0
    found = [s for s in slots if s.start >= since]
    return found if sum([s.end - s.start for s in found]) >= length_s - 1e-6 else []


def _over(slots: tuple[Slot, ...], length_s: float) -> Rates | None:
    """The newest `length_s`; None where the slots hold less, or have gaps."""
    found = _newest(slots, length_s)
    if not found:
        return None
    return Rates(
        start=found[0].start,
        end=found[-1].end,
        well=sum(s.well for s in found),
        bad=sum(s.bad for s in found),
        refused=sum(s.refused for s in found),
        refusing=found[-1].refused > 0.0,
        full=max((s.well / (s.end - s.start) for s in found if s.refused), default=0.0),
        full_well=sum(s.well for s in slots if s.refused),
        full_s=sum(s.end - s.start for s in slots if s.refused),
    )
