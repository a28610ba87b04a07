"""Which PagerDuty incident carries which of ours: one release in several regions wakes people once.

Every watch has keys of its own, one a level (DESIGN section 6). What is written down here, in the memory of the
thread that the regions share, is under which key each of them was really triggered: its own, or that of another region
whose incident was open already. A key that several regions lean on is resolved with the last of them. Messages of a
thread are delivered one after the other, by one process, so this needs no lock and knows no race. Pure.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Self

_LEVEL: Final = re.compile(r"/([1-9])$")
_PREFIX: Final = "pagerduty.key."
_OLD: Final = "pagerduty.level."
"""What earlier versions remembered: the key by level, of the thread's only watch."""


def level_of(key: str) -> int:
    """The level of the ladder that a key pages."""
    found = _LEVEL.search(key)
    return int(found[1]) if found else 1


def _watch_of(key: str) -> str:
    return _LEVEL.sub("", key)


@dataclass(frozen=True, slots=True)
class Book:
    """Our keys and the keys that carry them; an empty carrier says that it is over."""

    carriers: Mapping[str, str]

    @classmethod
    def remembered(cls, values: Mapping[str, str]) -> Self:
        """As the thread remembers it."""
        old = {key: key for name, key in values.items() if name.startswith(_OLD)}
        return cls({**old, **{n.removeprefix(_PREFIX): c for n, c in values.items() if n.startswith(_PREFIX)}})

    def to_remember(self, keys: Mapping[str, str]) -> dict[str, str]:
        """The entries as the thread has to remember them."""
        return {f"{_PREFIX}{key}": carrier for key, carrier in keys.items()}

    def trigger(self, key: str) -> str:
        """Under which key this one pages: where it does already, with another region that is open, or by itself."""
        if carrier := self.carriers.get(key):
            return carrier
        level, mine = level_of(key), _watch_of(key)
        others = (c for k, c in self.carriers.items() if c and level_of(k) == level and _watch_of(k) != mine)
        return next(others, key)

    def used(self, key: str) -> dict[str, str]:
        """Every key of the same watch that is open, with its carrier; the named one in any case."""
        mine = {k: c for k, c in self.carriers.items() if c and _watch_of(k) == _watch_of(key)}
        return {key: self.carriers.get(key) or key, **mine}

    def last_of(self, key: str, carrier: str) -> bool:
        """Whether nothing of another watch leans on this carrier."""
        return not any(c == carrier and _watch_of(k) != _watch_of(key) for k, c in self.carriers.items())
