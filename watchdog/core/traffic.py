"""Judgements about traffic: which split is a rollback's target, may it be written now, and who moved it meanwhile."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from watchdog.core.model import RevisionState, ServiceState, Share, Split
from watchdog.core.text import listing

WHOLE = 100
HALF = 50


@dataclass(frozen=True, slots=True)
class Go:
    """The rollback may be written: this split. `note` says what was left out."""

    split: Split
    note: str = ""


@dataclass(frozen=True, slots=True)
class StandDown:
    """Somebody else moved traffic first: `superseded`, `overridden`, or `done` when a watchdog wrote the rollback
    already."""

    result: str
    reason: str


@dataclass(frozen=True, slots=True)
class Refuse:
    """The rollback must not be written, and why. `gone`: because nothing of the target is Ready any more."""

    reason: str
    gone: bool = False


def newer_serves(service: ServiceState, revisions: Sequence[RevisionState], watched: str) -> bool:
    """Whether a revision created after the watched one serves."""
    created = {r.name: r.created_at for r in revisions}
    born = created.get(watched)
    for revision in service.split.revisions - {watched}:
        if born is not None and revision in created:
            if created[revision] > born:
                return True
        elif revision == service.latest_created and revision != watched:
            return True
    return False


def preflight(
    service: ServiceState,
    revisions: Sequence[RevisionState] | None,
    *,
    watched: str,
    target: Split,
    known_bad: frozenset[str] = frozenset(),
) -> Go | StandDown | Refuse:
    """May the rollback be written onto what the Admin API says now? `revisions` is None when they could not be read.

    Only the watched revision's own share is taken away: while others serve beside it, theirs stays and the target gets
    the rest. Revisions of the target that are gone, not Ready or known to be bad drop out, and the rest is renormalised
    while at least half remains.
    """
    moved = who_moved(service, revisions or (), watched)
    if moved is not None:
        return moved
    usable, note = _usable(target, revisions, known_bad, watched)
    if isinstance(usable, Refuse):
        return usable
    mine = service.split.percent_of(watched)
    others = Split(tuple(s for s in service.split.shares if s.revision != watched))
    return Go(_give(others, usable, mine), note)


def partial(before: Split, goal: Split, watched: str, part: float) -> Split | None:
    """The split of a trial: this part of the watched revision's traffic, in whole percents, goes where `goal` puts all
    of it. None when its share cannot be divided."""
    mine = before.percent_of(watched)
    had, wanted = before.percents(), goal.percents()
    gains = {r: p - had.get(r, 0) for r, p in wanted.items() if r != watched and p > had.get(r, 0)}
    moved = min(max(1, round(mine * part)), mine - 1)
    if moved < 1 or not gains:
        return None
    parts = largest_remainder(list(gains.values()), sum(gains.values()), moved)
    shares = {**had, watched: mine - moved}
    for revision, percent in zip(gains, parts, strict=True):
        shares[revision] = shares.get(revision, 0) + percent
    return Split.of(shares)


def who_moved(service: ServiceState, revisions: Sequence[RevisionState], watched: str) -> StandDown | None:
    """None while the watched revision still serves; else who took it away."""
    if service.split.percent_of(watched):
        return None
    if service.rolled_back == watched:
        return StandDown("done", f"a watchdog had already rolled {watched} back")
    if newer_serves(service, revisions, watched):
        return StandDown("superseded", f"A newer revision took over: Cloud Run serves {service.split}.")
    return StandDown("overridden", f"Somebody moved traffic away from {watched}: Cloud Run serves {service.split}.")


def _usable(
    target: Split, revisions: Sequence[RevisionState] | None, known_bad: frozenset[str], watched: str
) -> tuple[Split | Refuse, str]:
    known = {r.name: r for r in revisions or ()}
    left: list[Share] = []
    lost: list[str] = []
    gone = 0
    for entry in target.shares:
        revision = known.get(entry.revision)
        if entry.revision == watched:
            lost.append(f"{watched} is what is rolled back")
        elif revisions is None:
            left.append(entry)
        elif revision is None:
            lost.append(f"{entry.revision} is gone")
            gone += 1
        elif not revision.ready:
            gone += 1
            lost.append(f"{entry.revision} is not ready" + (f" ({revision.reason})" if revision.reason else ""))
        elif revision.fingerprint and revision.fingerprint in known_bad:
            lost.append(f"{entry.revision} is known to be bad")
        else:
            left.append(entry)
    remaining = sum(s.percent for s in left)
    if remaining * 2 < sum(s.percent for s in target.shares) or not left:
        nothing = 0 < gone == len(target.shares)
        return Refuse(f"the target {target} cannot serve: {listing(lost)}", gone=nothing), ""
    if revisions is None:
        lost.append("its revisions could not be read, so Cloud Run itself decides whether they can serve")
    return Split(tuple(left)), listing(lost)


def _give(others: Split, target: Split, percent: int) -> Split:
    """`percent` of the traffic to the target in its own proportions, the rest as it is; whole percents, 100 in all."""
    total = sum(s.percent for s in target.shares)
    shares: dict[str, int] = others.percents()
    parts = largest_remainder([s.percent for s in target.shares], total, percent)
    for entry, part in zip(target.shares, parts, strict=True):
        shares[entry.revision] = shares.get(entry.revision, 0) + part
    return Split.of(shares)


def largest_remainder(weights: Sequence[int], total: int, whole: int) -> list[int]:
    """Whole numbers in the proportions of `weights` that sum to `whole`."""
    exact = [w * whole / total for w in weights]
    parts = [int(e) for e in exact]
    order = sorted(range(len(weights)), key=lambda i: parts[i] - exact[i])
    for i in order[: whole - sum(parts)]:
        parts[i] += 1
    return parts


def released(service: ServiceState, kind: Split | None) -> Split:
    """The split after `release`: the latest Ready revision, followed (the kind that the snapshot had), or the pinned
    split it was."""
    if kind is not None and kind.shares and not any(s.latest for s in kind.shares):
        return kind
    return Split((Share(revision=service.latest_ready, percent=WHOLE, latest=True),))


def from_ready(revisions: Sequence[RevisionState], watched: str) -> Split:
    """The last resort for a target: the newest Ready revision older than the watched one."""
    born = next((r.created_at for r in revisions if r.name == watched), None)
    older = [r for r in revisions if r.name != watched and r.ready and (born is None or r.created_at <= born)]
    older.sort(key=lambda r: r.created_at, reverse=True)
    return Split.of({older[0].name: WHOLE}) if older else Split()


def percents(split: Mapping[str, int]) -> Split:
    """A split as somebody typed it. Raises `ValueError` unless whole percents sum to 100."""
    if not split or any(p <= 0 for p in split.values()) or sum(split.values()) != WHOLE:
        raise ValueError("the percents of a split must be positive and sum to 100")
    return Split.of(split)
