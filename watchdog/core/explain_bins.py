"""Evidence over time in at most sixty bins, however long a watch goes on: when they are full, neighbours are joined.

Nothing here needs to know beforehand how long the watch will last, so a journal is read once, record by record.
"""

from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from watchdog.core.catalogue import Family
from watchdog.core.explanation import Bin, Counted
from watchdog.core.model import Verdict
from watchdog.core.state import Watch

MOST: Final = 60
WIDTHS_S: Final = (5.0, 10.0, 30.0, 60.0, 120.0, 360.0, 720.0, 1440.0, 2880.0, 8640.0, 43_200.0, 172_800.0, 864_000.0)
"""Each a multiple of the one before; a watch of 24 h ends with 60 bins of 24 minutes."""
_BADNESS: Final = (Verdict.PASS, Verdict.INCONCLUSIVE, Verdict.ERROR, Verdict.WARN, Verdict.FAIL)

Key = tuple[str, str, str]
"""Source, check and scope of a feed; a probe's own answers have the source ``""``."""


def worse(a: Verdict, b: Verdict) -> Verdict:
    """The worse of two verdicts."""
    return a if _BADNESS.index(a) >= _BADNESS.index(b) else b


def counts(watch: Watch) -> dict[Key, tuple[float, float]]:
    """Bad and total of every feed since the cutover, and of every probe's answers."""
    found: dict[Key, tuple[float, float]] = {k: (s.series.bad, s.series.total) for k, s in watch.streams.items()}
    for name, probe in watch.probes.items():
        found["", name, ""] = (probe.failed, probe.passed + probe.failed)
    return found


def feeds(watch: Watch, index: int) -> tuple[Key, ...]:
    """The feeds that a rule's counts are taken from: the one that counted most, or all of a probe row's together."""
    rule = watch.rules.rules[index]
    keys = [key for key, stream in watch.streams.items() if index in stream.rules]
    if rule.family is Family.PROBES:
        return tuple(keys) or tuple(("", check, "") for check in rule.checks if check in watch.probes)
    return (max(keys, key=lambda key: watch.streams[key].series.total),) if keys else ()


def counted(watch: Watch, index: int) -> Counted:
    """What the rule's evidence counts by now."""
    keys, known = feeds(watch, index), counts(watch)
    found = [known[key] for key in keys]
    source = keys[0][0] or "probe" if keys else ""
    return Counted(sum(f[0] for f in found), sum(f[1] for f in found), source)


@dataclass(slots=True)
class _Column:
    """All rules in one bin."""

    fullness: list[float]
    verdicts: list[Verdict]
    counts: Mapping[Key, tuple[float, float]] = field(default_factory=dict)
    """At the bin's end, since the cutover."""
    values: Sequence[float | None] = ()

    def joined(self, later: "_Column") -> "_Column":
        return _Column(
            [max(a, b) for a, b in zip(self.fullness, later.fullness, strict=True)],
            [worse(a, b) for a, b in zip(self.verdicts, later.verdicts, strict=True)],
            later.counts,
            later.values,
        )


@dataclass(slots=True)
class Bins:
    """The bins of all rules from `begins_at` (the cutover) on. `now` and `verdicts` hold each rule's present fullness
    and verdict; whoever changes them calls `touch`."""

    begins_at: float
    now: list[float]
    verdicts: list[Verdict]
    width_s: float = WIDTHS_S[0]
    _done: list[_Column] = field(default_factory=list)
    _open: _Column = field(init=False)

    def __post_init__(self) -> None:
        self._open = self._fresh()

    def _fresh(self) -> _Column:
        return _Column(list(self.now), list(self.verdicts))

    @property
    def _end(self) -> float:
        return self.begins_at + (len(self._done) + 1) * self.width_s

    def touch(self, index: int) -> None:
        """A rule's fullness or verdict has changed just now."""
        bin_ = self._open
        bin_.fullness[index] = max(bin_.fullness[index], self.now[index])
        bin_.verdicts[index] = worse(bin_.verdicts[index], self.verdicts[index])

    def pass_to(self, at: float, watch: Watch) -> bool:
        """Close every bin that ends before a moment, which itself is its last; `watch` is how things were until then.
        True when one did."""
        over = at > self._end
        if over:
            known, values = counts(watch), [state.value for state in watch.verdicts]
            while at > self._end:
                self._open.counts, self._open.values = known, values
                self._done.append(self._open)
                self._open = self._fresh()
                self._make_room(at)
        self._make_room(at)
        return over

    def _make_room(self, at: float) -> None:
        if len(self._done) >= MOST and at > self._end - self.width_s:
            self._widen()

    def _widen(self) -> None:
        wider = WIDTHS_S[bisect_right(WIDTHS_S, self.width_s)] if self.width_s < WIDTHS_S[-1] else 2 * self.width_s
        group = round(wider / self.width_s)
        joined: list[_Column] = []
        for i, column in enumerate(self._done):
            if i % group:
                joined[-1] = joined[-1].joined(column)
            else:
                joined.append(column)
        if len(self._done) % group:  # the last group goes on
            self._open = joined.pop().joined(self._open)
        self._done, self.width_s = joined, wider

    # --- what is read at the end ------------------------------------------------------------------------------------

    def ends(self, at: float) -> tuple[float, ...]:
        """The end of every bin, the last one being under way at a moment."""
        full = tuple(self.begins_at + (i + 1) * self.width_s for i in range(len(self._done)))
        return (*full, at) if not full or at > full[-1] else full

    def of_rule(self, index: int, watch: Watch, at: float) -> tuple[Bin, ...]:
        """One rule's bins up to a moment, as many as `ends` has; `watch` is how things are then."""
        keys, known, values = feeds(watch, index), counts(watch), [state.value for state in watch.verdicts]
        self._open.counts, self._open.values = known, values
        out: list[Bin] = []
        bad = total = 0.0
        for column in [*self._done, self._open][: len(self.ends(at))]:
            b = sum(column.counts.get(key, (0.0, 0.0))[0] for key in keys)
            n = sum(column.counts.get(key, (0.0, 0.0))[1] for key in keys)
            value, full = column.values[index], column.fullness[index]
            out.append(
                Bin(full, column.verdicts[index], b - bad, n - total, value, bool(n) or value is not None or full > 0.0)
            )
            bad, total = b, n
        return tuple(out)
