"""New kinds of errors in the log: collected beside the evidence and quoted to people, whatever the row says of them.

With them what the request log tells of the requests that failed: where somebody who looks for a cause begins.
"""

from collections.abc import Iterable
from typing import Any, Final

from watchdog.core import origins
from watchdog.core.model import Clue, Missing, Sample
from watchdog.core.state import Watch
from watchdog.core.text import iso

MOST: Final = 50
"""Kinds of errors that a watch keeps: the most frequent ones."""
TOP: Final = 3
"""How many a message quotes."""
ERRORS: Final = "error_rate"


def collect(watch: Watch, sample: Sample) -> None:
    """Keep a look at the log. A count only grows: a source that starts again counts from the beginning."""
    if not isinstance(sample.evidence, Missing):
        watch.log_looked_at = max(sample.end, watch.log_looked_at or 0.0)
    if not sample.clues:
        return
    found = dict(watch.clues)
    for clue in sample.clues:
        before = found.get(clue.key)
        if not clue.times:
            found.pop(clue.key, None)
        elif before is None:
            found[clue.key] = clue
        else:
            at = min(before.at, clue.at) if before.at and clue.at else before.at or clue.at
            found[clue.key] = clue._replace(times=max(before.times, clue.times), at=at)
    watch.clues = {clue.key: clue for clue in _sorted(found.values())[:MOST]}


def _sorted(clues: Iterable[Clue]) -> list[Clue]:
    return sorted(clues, key=lambda c: (-c.times, c.at, c.key))


def top(watch: Watch, most: int = TOP) -> list[Clue]:
    """The most frequent ones."""
    return _sorted(watch.clues.values())[:most]


def quotes(watch: Watch) -> list[tuple[str, str]]:
    """The top ones as a message's evidence."""
    return [("new in the log", sentence(clue)) for clue in top(watch)]


def sentence(clue: Clue) -> str:
    """One kind of error as a person reads it: `12 times: "KeyError: 'plate'" (couriers.py in create)`."""
    often = "once" if clue.times == 1 else f"{clue.times:,} times"
    return f'{often}: "{clue.text}"' + (f" ({clue.where})" if clue.where else "")


def trouble_at(watch: Watch) -> float | None:
    """When somebody has to find a cause: since the first incident, or the decision to roll back."""
    moments = [watch.incident.opened_at] if watch.incident is not None else []
    moments += [watch.rollback.decided_at] if watch.rollback is not None else []
    return min(moments, default=None)


def view(watch: Watch) -> dict[str, Any]:
    """New errors, and of the requests that failed lately the routes and the callers, each the most frequent first;
    JSON-able. Counts of requests are lower bounds, callers are pseudonyms."""
    return {
        "errors": [
            {"text": c.text, "where": c.where, "count": c.times, "first_at": iso(c.at) if c.at else None}
            for c in top(watch, MOST)
        ],
        "looked_at": iso(watch.log_looked_at),
        "endpoints": _behind(watch, origins.ROUTE),
        "callers": _behind(watch, origins.ADDRESS),
    }


def _behind(watch: Watch, kind: str) -> list[dict[str, Any]]:
    """Who or what is behind the failed requests, by the feed that knows most of them."""
    best: list[tuple[str, int]] = []
    for (_, check, revision), history in watch.origins.items():
        if check != ERRORS or revision != watch.revision:
            continue
        rows = origins.within(history, float("-inf"), watch.at).values()
        mine = sorted(
            ((r.key, round(r.bad)) for r in rows if r.kind == kind and r.bad >= 1.0), key=lambda r: (-r[1], r)
        )
        best = max(best, mine, key=lambda found: sum(n for _, n in found))
    return [{"text": key, "count": count} for key, count in best[:10]]
