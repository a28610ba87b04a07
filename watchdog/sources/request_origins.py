"""Who is behind the bad requests of a bucket, counted in bounded memory.

Space-Saving (Metwally, Agrawal and El Abbadi, "Efficient computation of frequent and top-k elements in data streams",
2005): `k` counters; a key without one takes over the smallest, and inherits its count as its possible error. For `n`
bad requests every key's `count − error ≤ true count ≤ count`, and `error ≤ n/k`. What is handed on is `count − error`,
so nobody is ever blamed for more than he did; whoever made more than 1/k of them has a counter for certain.

Requests that were answered well cost nothing until their bucket has a bad one; from then on those of counted keys are
added to their totals. So the others' good requests are never overcounted either.
"""

import ipaddress
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import lru_cache
from hashlib import blake2b
from typing import Final
from urllib.parse import parse_qs, urlsplit

from watchdog.core.origins import ADDRESS, AGENT, KNOWN, MOST_WELL, ROUTE, SUBSCRIPTION, Origin, Use

COUNTERS: Final = 16
"""k: the error of a count is at most 1/16 of the bucket's bad requests."""
HALF: Final = 0.5
"""Of a bucket only names behind at least so much of its bad requests are handed on: whoever is behind 80 % of all of
them is behind half of most buckets'."""
TENTH: Final = 0.1
"""… but addresses, which are needed also where somebody else is behind most."""
MOST_NAMES: Final = 3
"""Of each kind."""
MOST_USES: Final = 3
MOST_AGENTS: Final = 4
PUSHERS: Final = ("APIs-Google", "CloudPubSub-Google", "Google-Cloud-Tasks", "Google-Cloud-Scheduler")
"""User agents of Google's own deliveries. Cloud Run's request log shows neither the subscription nor the caller's
identity: where it pushes to is what tells one from another. They come from many addresses, which say nothing."""
LINK_LOCAL: Final = ("169.254.", "fe80:")
"""What callers from within Google's own network may show: everybody's address is nobody's."""
TOPIC: Final = "__GCP_CloudEventsMode"
"""The query parameter in which Eventarc names the topic; of all others none is looked at, since some hold secrets."""
_WORD: Final = re.compile(r"[A-Za-z_.~-]{1,40}|v\d{1,2}")
"""A part of a path that is no id: no digit, no `@`, no escape, and not endless."""
MOST_PARTS: Final = 6
MOST_CHARACTERS: Final = 100


@dataclass(frozen=True, slots=True)
class Caller:
    """What a request tells of who asks and what for; names are made only where they are needed."""

    address: str = ""
    agent: str = ""
    method: str = ""
    url: str = ""

    def names(self) -> dict[str, str]:
        """Kind → key."""
        found = {ROUTE: route(self.method, self.url), AGENT: software(self.agent)}
        if (pusher := next((p for p in PUSHERS if p in self.agent), None)) is not None:
            found[SUBSCRIPTION] = subscription(pusher, found[ROUTE], self.url)
        elif self.address and not self.address.startswith(LINK_LOCAL):
            found[ADDRESS] = masked(self.address)
        return found


NOBODY: Final = Caller()


@lru_cache(maxsize=4096)
def masked(address: str) -> str:
    """One source under a name: what is left of its address, and a short hash that tells it from its neighbours."""
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return f"unknown ({_short(address)})"
    if isinstance(parsed, ipaddress.IPv6Address):
        if parsed.ipv4_mapped is not None:
            return masked(str(parsed.ipv4_mapped))
        network = ipaddress.ip_network((parsed, 64), strict=False).network_address
        start = ":".join(network.exploded.split(":")[:3])
        return f"{start}:… ({_short(str(network))})"
    return f"{address.rpartition('.')[0]}.x ({_short(address)})"


@lru_cache(maxsize=1024)
def software(agent: str) -> str:
    """A client software: its first word, and a hash of the rest."""
    word = agent.split(" ", 1)[0][:40] or "no user agent"
    return f"{word} ({_short(agent)})"


@lru_cache(maxsize=4096)
def route(method: str, url: str) -> str:
    """`GET /api/v1/couriers/*`: ids and whatever may be personal replaced, no query."""
    parts = [p for p in urlsplit(url).path.split("/") if p]
    shown = [p if _WORD.fullmatch(p) else "*" for p in parts[:MOST_PARTS]]
    more = "/…" if len(parts) > MOST_PARTS else ""
    return f"{method or 'GET'} /{'/'.join(shown)}{more}"[:MOST_CHARACTERS]


def subscription(pusher: str, pattern: str, url: str) -> str:
    """Who pushes, where to, and for which topic if that is said."""
    mode = parse_qs(urlsplit(url).query).get(TOPIC, [""])[0]
    topic = mode.rpartition("/")[2] if "/topics/" in mode else ""
    return f"{pusher} to {pattern}" + (f", topic {topic}"[:MOST_CHARACTERS] if topic else "")


def _short(text: str) -> str:
    return blake2b(text.encode(), digest_size=3).hexdigest()


@dataclass(slots=True)
class _Counter:
    bad: int = 0
    error: int = 0
    total: int = 0
    agents: set[str] = field(default_factory=set)
    well: set[str] = field(default_factory=set)


class Sketch:
    """Space-Saving over keys."""

    def __init__(self, most: int = COUNTERS) -> None:
        self.most = most
        self.counters: dict[object, _Counter] = {}

    def bad(self, key: object) -> _Counter:
        """One more bad request of `key`."""
        counter = self.counters.get(key)
        if counter is None:
            error = 0
            if len(self.counters) >= self.most:
                gone = min(self.counters, key=lambda k: self.counters[k].bad)
                error = self.counters.pop(gone).bad
            counter = self.counters[key] = _Counter(bad=error, error=error)
        counter.bad += 1
        counter.total += 1
        return counter

    def good(self, key: object) -> _Counter | None:
        """One more good request of `key`; None when nothing is known of it."""
        counter = self.counters.get(key)
        if counter is not None:
            counter.total += 1
        return counter


class Origins:
    """Who is behind the bad requests of one bucket."""

    def __init__(self) -> None:
        self._kinds: dict[str, Sketch] = {}
        self._pairs = Sketch()

    def bad(self, caller: Caller) -> None:
        """A bad request."""
        names = caller.names()
        for kind, key in names.items():
            counter = self._kinds.setdefault(kind, Sketch()).bad(key)
            if kind == ADDRESS and len(counter.agents) < MOST_AGENTS:
                counter.agents.add(names[AGENT])
        if ADDRESS in names:
            self._pairs.bad((names[ADDRESS], names[ROUTE]))

    def good(self, caller: Caller) -> None:
        """A request that was answered well, after a bad one in the same bucket."""
        names = caller.names()
        for kind, key in names.items():
            counter = self._kinds[kind].good(key) if kind in self._kinds else None
            if counter is None:
                continue
            if kind == ADDRESS and len(counter.agents) < MOST_AGENTS:
                counter.agents.add(names[AGENT])
            if kind == ROUTE and ADDRESS in names and len(counter.well) < MOST_WELL:
                counter.well.add(names[ADDRESS])
        if ADDRESS in names:
            self._pairs.good((names[ADDRESS], names[ROUTE]))

    def rows(self, bad: int) -> tuple[Origin, ...]:
        """Of every kind the name that is behind at least half of `bad`, if one is, and addresses behind a tenth."""
        found = []
        for kind, sketch in sorted(self._kinds.items()):
            least = max(1.0, (TENTH if kind == ADDRESS else HALF) * bad)
            surely = {key: c.bad - c.error for key, c in sketch.counters.items() if c.bad - c.error >= least}
            for nth, key in enumerate(sorted(surely, key=lambda k: -surely[k])[:MOST_NAMES]):
                counter, n = sketch.counters[key], float(surely[key])
                agents = len(counter.agents) if kind == ADDRESS else 1
                uses = self._uses(str(key)) if kind == ADDRESS and not nth else ()
                found.append(Origin(kind, str(key), n, max(n, float(counter.total)), agents, uses))
        return tuple(found)

    def _uses(self, address: str) -> tuple[Use, ...]:
        """What the address asked for most of all, and how others fare with that."""
        found = []
        for pair, mine in self._pairs.counters.items():
            if not isinstance(pair, tuple) or pair[0] != address:
                continue
            everybody = self._kinds[ROUTE].counters.get(pair[1])
            surely = mine.bad - mine.error
            if everybody is None or surely <= 0:
                continue
            others_bad = max(0, everybody.bad - surely)
            others_total = max(others_bad, everybody.total - mine.total)
            well = tuple(sorted(everybody.well - {address}))
            found.append(Use(pair[1], float(surely), float(mine.total), float(others_bad), float(others_total), well))
        return tuple(sorted(found, key=lambda u: -u.bad)[:MOST_USES])


def known(callers: Iterable[tuple[Caller, bool]], *, most: int = 50) -> tuple[Origin, ...]:
    """The addresses among these requests (and whether each was bad), the busiest ones first."""
    counts: dict[str, tuple[int, int]] = {}
    for caller, is_bad in callers:
        name = caller.names().get(ADDRESS)
        if name is not None:
            bad, total = counts.get(name, (0, 0))
            counts[name] = (bad + is_bad, total + 1)
    busiest = sorted(counts.items(), key=lambda c: -c[1][1])[:most]
    return tuple(Origin(KNOWN, key, float(bad), float(total)) for key, (bad, total) in busiest)
