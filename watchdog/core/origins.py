"""Who and what is behind the bad requests of some seconds: values that a source fills and the fold adds up.

Every count is a lower bound of what was really seen, so adding them up never makes anybody look more concentrated than
they are. Names are pseudonyms (`203.0.113.x (3fa2b1)`), never a whole address, a query string or an id from a path.
"""

from collections.abc import Iterable, Mapping
from typing import Any, Final, NamedTuple

ADDRESS: Final = "address"
"""One source: an IPv4 address, or an IPv6 network of 64 bits."""
SUBSCRIPTION: Final = "subscription"
"""What Google delivers by push: a Pub/Sub subscription, a task queue, a scheduler job, known by where it pushes to."""
ROUTE: Final = "route"
"""A method and the pattern of a path."""
AGENT: Final = "agent"
"""One client software: it may stand for very many people."""
KINDS: Final = (ADDRESS, SUBSCRIPTION, ROUTE, AGENT)
KNOWN: Final = "known"
"""Of the time before the deploy only: an address that was among the users then, whether its requests failed or not."""
PAST: Final = "origins."
"""Begins the check of a sample that tells who was behind a check's bad requests before the deploy."""
WORDS: Final[Mapping[str, str]] = {
    ADDRESS: "caller",
    SUBSCRIPTION: "subscription",
    ROUTE: "URL",
    AGENT: "client software",
}


class Use(NamedTuple):
    """How one address fares on a route, and how the others do there."""

    route: str
    bad: float
    total: float
    others_bad: float
    """An upper bound."""
    others_total: float
    well: tuple[str, ...] = ()
    """Some of the others who were answered well."""


class Origin(NamedTuple):
    """One name's part of the bad requests of a bucket. `agents`: how many kinds of client software it spoke with, of an
    address; `uses`: its routes, of an address."""

    kind: str
    key: str
    bad: float
    total: float
    agents: int = 1
    uses: tuple[Use, ...] = ()


class Past(NamedTuple):
    """Who was behind the bad requests of a check before the deploy, `[since, until)` in Unix seconds."""

    check: str
    since: float
    until: float
    rows: tuple[Origin, ...]


class Seen(NamedTuple):
    """One bucket with bad requests."""

    end: float
    start: float
    rows: tuple[Origin, ...]


def added(history: tuple[Seen, ...], seen: Seen, keep_s: float) -> tuple[Seen, ...]:
    """The buckets with one more; of the same interval the new one counts, and old ones go."""
    newest = max(seen.end, history[-1].end) if history else seen.end
    kept = [s for s in history if s[:2] != seen[:2] and s.end > newest - keep_s]
    if not kept or seen.end >= kept[-1].end:
        return (*kept, seen)
    return tuple(sorted((*kept, seen)))


def within(history: Iterable[Seen], since: float, until: float) -> dict[tuple[str, str], Origin]:
    """By kind and key, the buckets that ended in `(since, until]` added up."""
    found: dict[tuple[str, str], Origin] = {}
    for seen in history:
        if since < seen.end <= until:
            for row in seen.rows:
                before = found.get((row.kind, row.key))
                found[row.kind, row.key] = row if before is None else _sum(before, row)
    return found


def _sum(a: Origin, b: Origin) -> Origin:
    uses = {use.route: use for use in a.uses}
    for use in b.uses:
        old = uses.get(use.route)
        uses[use.route] = use if old is None else _both(old, use)
    return Origin(a.kind, a.key, a.bad + b.bad, a.total + b.total, max(a.agents, b.agents), tuple(uses.values()))


def _both(a: Use, b: Use) -> Use:
    well = tuple(dict.fromkeys((*a.well, *b.well)))[:MOST_WELL]
    return Use(
        a.route,
        a.bad + b.bad,
        a.total + b.total,
        a.others_bad + b.others_bad,
        a.others_total + b.others_total,
        well,
    )


MOST_WELL: Final = 8
"""Of the others who fare well so many are kept by name."""


# --- as JSON ------------------------------------------------------------------------------------------------------


def encode(rows: Iterable[Origin]) -> list[Any]:
    """Rows as JSON values."""
    return [[r.kind, r.key, r.bad, r.total, r.agents, [[*u[:5], list(u.well)] for u in r.uses]] for r in rows]


def decode(values: Iterable[Any]) -> tuple[Origin, ...]:
    """The inverse of `encode`."""
    return tuple(
        Origin(
            str(kind),
            str(key),
            float(bad),
            float(total),
            int(agents),
            tuple(_use(*u) for u in uses),
        )
        for kind, key, bad, total, agents, uses in values
    )


def _use(route: str, bad: float, total: float, others_bad: float, others_total: float, well: list[str]) -> Use:
    return Use(str(route), float(bad), float(total), float(others_bad), float(others_total), tuple(map(str, well)))
