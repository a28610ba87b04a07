"""A feed of counts to the evidence meter, in virtual time."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from watchdog.core.sequential import ERRORS, Ladder, Meter, fit
from watchdog.core.series import Series
from watchdog.core.track import Point, Proof

DAY_S = 86_400.0
ORIGIN = 1_700_000_000.0
ALPHA = 0.005


def meter(p0: float = 0.01, *, ladder: Ladder = ERRORS, alpha: float = ALPHA, d: float = 1.0) -> Meter:
    return Meter.start(p0=p0, alpha=alpha, burstiness=d, ladder=ladder, watch_s=DAY_S)


@dataclass(slots=True)
class Feed:
    """A series to which samples arrive in time, judged whenever a slot is due, as the fold does it."""

    lag_s: float = 10.0
    period_s: float = 5.0
    meters: Sequence[Meter] = field(default_factory=lambda: [meter()])
    series: Series = field(init=False)
    now_s: float = 0.0
    alarms: list[tuple[float, Proof]] = field(default_factory=list)
    """When (seconds since the origin), and what."""

    def __post_init__(self) -> None:
        fitted = [
            Meter.start(
                p0=m.p0,
                alpha=m.alpha,
                burstiness=m.burstiness,
                ladder=fit(m.ladder, self.period_s),
                watch_s=DAY_S,
            )
            for m in self.meters
        ]
        self.series = Series.start(origin=ORIGIN, lag_s=self.lag_s, meters=fitted)

    def _take(self, at: float, series: Series, alarms: Iterable[Proof]) -> None:
        for alarm in alarms:
            self.alarms.append((at - ORIGIN, alarm))
            series = series.restarted(alarm.meter)
        self.series = series

    def pass_to(self, at_s: float) -> None:
        """Let time pass."""
        at = ORIGIN + at_s
        self.now_s = max(self.now_s, at_s)
        while self.series.due <= at:
            due = self.series.due
            self._take(due, *self.series.judge(due))
            assert self.series.due > due
        self._take(at, *self.series.judge(at))

    def arrive(self, seen_s: float, end_s: float, bad: float, total: float) -> None:
        """One sample is seen."""
        self.pass_to(seen_s)
        end = ORIGIN + end_s
        self._take(ORIGIN + seen_s, *self.series.add(Point(end, end - self.period_s, bad, total), ORIGIN + seen_s))

    def in_order(
        self, counts: Iterable[tuple[float, float]], *, from_s: float = 0.0, seen_after_s: float = 2.0
    ) -> float:
        """Samples one after the other; returns the end of the last one."""
        end = from_s
        for bad, total in counts:
            end += self.period_s
            self.arrive(end + seen_after_s, end, bad, total)
        return end

    def wealth(self) -> list[float]:
        """The wealth of every meter now."""
        return [self.settled.wealth(m) for m in range(len(self.series.meters))]

    @property
    def settled(self) -> Series:
        """The series with all that is complete by now judged."""
        return self.series.up_to(ORIGIN + self.now_s)
