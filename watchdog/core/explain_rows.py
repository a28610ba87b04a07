"""What is kept of one rule, one check or one probe while a journal is folded again. Everything here is bounded."""

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import Final, Generic, TypeVar

from watchdog.core.acts import Hold
from watchdog.core.explanation import Change, Gap, Held, Peak, Proof, Repeated, Tally
from watchdog.core.model import Verdict
from watchdog.core.standing import Confirmation
from watchdog.core.state import Watch

STIRRED: Final = 0.1
"""Fullness from which evidence counts as growing: below it is what a healthy service's stray errors make."""
CURVE: Final = 60
CHANGES: Final = 60
PROOFS: Final = 20
MOMENTS: Final = 240
REPEATED: Final = 30
GAPS: Final = 200
OTHER: Final = "other reasons"

T = TypeVar("T")


@dataclass(slots=True)
class Ends(Generic[T]):
    """A sequence of which at most `most` are kept: the first and the last ones."""

    most: int
    first: list[T] = field(default_factory=list)
    last: list[T] = field(default_factory=list)
    left_out: int = 0

    def add(self, item: T) -> None:
        """One more."""
        if len(self.first) < self.most // 2:
            self.first.append(item)
            return
        self.last.append(item)
        if len(self.last) > self.most // 2:
            del self.last[0]
            self.left_out += 1

    def all(self) -> tuple[T, ...]:
        """What is kept, in order."""
        return (*self.first, *self.last)


@dataclass(slots=True)
class Curve:
    """Points in time, thinned to at most `CURVE` by leaving out every other one."""

    points: list[tuple[float, float]] = field(default_factory=list)
    stride: int = 1
    seen: int = 0

    def add(self, at: float, x: float) -> None:
        """One more."""
        if self.seen % self.stride == 0:
            self.points.append((at, x))
            if len(self.points) > CURVE:
                self.points = self.points[::2]
                self.stride *= 2
        self.seen += 1


@dataclass(slots=True)
class Row:
    """One rule while the journal is folded."""

    now: float = 0.0
    verdict: Verdict = Verdict.INCONCLUSIVE
    peak: Peak = field(default_factory=Peak)
    changes: Ends[Change] = field(default_factory=lambda: Ends(CHANGES))
    proofs: list[Proof] = field(default_factory=list)
    proofs_in_all: int = 0
    alarmed_at: float | None = None
    """When what is proven now was proven."""
    stirred_at: float | None = None
    curve: Curve = field(default_factory=Curve)

    def move(self, at: float, fullness: float) -> None:
        """The evidence has become this full."""
        self.now = fullness
        if fullness < STIRRED:
            self.stirred_at, self.curve = None, Curve()
        else:
            self.stirred_at = at if self.stirred_at is None else self.stirred_at
            self.curve.add(at, fullness)

    def turn(self, at: float, verdict: Verdict, reason: str) -> None:
        """The verdict has become another."""
        self.changes.add(Change(at, verdict, self.verdict, reason))
        self.verdict = verdict

    def prove(self, at: float, sentence: str, *, began_at: float | None) -> None:
        """The evidence has become enough."""
        began = min(at, at if began_at is None else began_at)
        self.alarmed_at = at
        approach = (*(p for p in self.curve.points if p[0] < at), (at, 1.0))
        self.proofs_in_all += 1
        if len(self.proofs) >= PROOFS:
            del self.proofs[PROOFS // 2]
        self.proofs.append(Proof(at=at, sentence=sentence, began_at=began, approach=approach))
        self.move(at, 1.0)

    def clear(self, at: float) -> None:
        """What was proven is no longer so."""
        self.alarmed_at = None
        self.proofs[-1] = replace(self.proofs[-1], cleared_at=at)


# --- missing evidence -------------------------------------------------------------------------------------------------


@dataclass(slots=True)
class Gaps:
    """Which checks had no usable evidence, for how long and why."""

    sums: dict[tuple[str, str], Gap] = field(default_factory=dict)
    going_on: dict[str, tuple[str, float]] = field(default_factory=dict)
    """By check: the reason, and since when."""

    def follow(self, before: Watch, watch: Watch) -> None:
        """Take over what has changed in `watch.missing`."""
        for check in before.missing:
            if watch.missing.get(check) != before.missing[check]:
                self._end(check, watch.at)
        for check, reason in watch.missing.items():
            self.going_on.setdefault(check, (reason, watch.at))

    def _end(self, check: str, at: float) -> None:
        found = self.going_on.pop(check, None)
        if found is None:
            return
        reason, since = found
        key = (check, reason)
        if key not in self.sums and len(self.sums) >= GAPS:
            key = (check, OTHER)
        self.sums[key] = _grown(self.sums.get(key), *key, since, at, goes_on=False)

    def all(self, at: float) -> tuple[Gap, ...]:
        """Every gap up to a moment, the longest first."""
        found = dict(self.sums)
        for check, (reason, since) in self.going_on.items():
            found[check, reason] = _grown(found.get((check, reason)), check, reason, since, at, goes_on=True)
        return tuple(sorted(found.values(), key=lambda g: (-g.seconds, g.check, g.reason)))


def _grown(gap: Gap | None, check: str, reason: str, since: float, until: float, *, goes_on: bool) -> Gap:
    if gap is None:
        gap = Gap(check=check, reason=reason, times=0, seconds=0.0, first_at=since, until=until, goes_on=False)
    seconds = gap.seconds + max(0.0, until - since)
    return replace(gap, times=gap.times + 1, seconds=seconds, until=until, goes_on=goes_on)


# --- confirmations ----------------------------------------------------------------------------------------------------


@dataclass(slots=True)
class Confirmations:
    """Failing probes that were repeated, and how each run ended."""

    kept: list[Repeated] = field(default_factory=list)
    going_on: dict[str, Repeated] = field(default_factory=dict)
    tallies: dict[str, Tally] = field(default_factory=dict)

    def follow(self, before: Watch, watch: Watch) -> None:
        """Take over what has changed in `watch.confirmations`."""
        for name, old in before.confirmations.items():
            new = watch.confirmations.get(name)
            if new is None:
                self._end(name, watch.at, "passed" if watch.open else "closed")
            elif new.started_at != old.started_at:
                self._end(name, watch.at, "away")
        for name, confirmation in watch.confirmations.items():
            if confirmation is not before.confirmations.get(name):
                self.going_on[name] = self._grown(name, confirmation, watch.at)

    def _grown(self, name: str, c: Confirmation, at: float) -> Repeated:
        known = self.going_on.get(name)
        if known is None:
            tally = self.tallies.get(name, Tally())
            self.tallies[name] = tally._replace(times=tally.times + 1)
            known = Repeated(
                probe=name, at=c.failed_at, failures=0, needed=c.rule.failures, detail="", until=at, ended="open"
            )
        said = (c.last.detail or c.last.reason) if c.last else known.detail
        ended = "proven" if c.complete else known.ended
        return replace(known, failures=max(known.failures, c.failures), detail=said, until=at, ended=ended)

    def _end(self, name: str, at: float, how: str) -> None:
        known = self.going_on.pop(name, None)
        if known is None:
            return
        if how == "passed" and known.ended != "proven":
            tally = self.tallies[name]
            self.tallies[name] = tally._replace(passed=tally.passed + 1)
        self.kept.append(replace(known, until=at, ended=known.ended if known.ended == "proven" else how))
        if len(self.kept) > 2 * REPEATED:
            self.kept = list(_longest(self.kept))

    def all(self) -> tuple[Repeated, ...]:
        """The longest runs, in order of time."""
        return _longest([*self.kept, *self.going_on.values()])


def _longest(runs: Iterable[Repeated]) -> tuple[Repeated, ...]:
    kept = sorted(runs, key=lambda r: (r.ended != "proven", -r.failures / r.needed, -r.at))[:REPEATED]
    return tuple(sorted(kept, key=lambda r: r.at))


# --- holds ------------------------------------------------------------------------------------------------------------


@dataclass(slots=True)
class Holds:
    """Proven rollbacks that were kept back."""

    kept: Ends[Held] = field(default_factory=lambda: Ends(REPEATED))
    going_on: Held | None = None

    def follow(self, before: Watch, watch: Watch) -> None:
        """Take over what has changed in `watch.hold`."""
        old, new = before.hold, watch.hold
        if old is new or (old is not None and new is not None and _same(old, new)):
            return
        if self.going_on is not None:
            ended = "changed" if new is not None else "rolled back" if watch.rollback is not None else "released"
            self.kept.add(replace(self.going_on, until=watch.at, ended=ended))
            self.going_on = None
        if new is not None:
            self.going_on = Held(
                at=new.since,
                kind=new.kind,
                criterion=new.trigger.criterion,
                proof=new.trigger.sentence,
                reason=new.reason,
            )

    def all(self, watch: Watch) -> tuple[Held, ...]:
        """Every hold, in order."""
        last = self.going_on
        if last is None:
            return self.kept.all()
        if not watch.open:
            last = replace(last, until=watch.ended_at, ended="watch ended")
        return (*self.kept.all(), last)


def _same(a: Hold, b: Hold) -> bool:
    return (a.kind, a.since, a.reason) == (b.kind, b.since, b.reason)
