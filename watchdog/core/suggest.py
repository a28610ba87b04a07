"""Suggestions for words that nobody knows: a typo in a policy should cost a second, not a search through the manual."""

from collections.abc import Iterable
from difflib import get_close_matches

LISTED = 12
"""At most this many known words are listed when none is close."""


def closest(word: str, known: Iterable[str], *, cutoff: float = 0.6) -> str | None:
    """The known word that was probably meant. `latency_p95` also finds `p95_latency`."""
    names = list(known)
    plain = _plain(word)
    for name in names:
        if _plain(name) == plain:
            return name
    by_text = {name.lower(): name for name in reversed(names)}
    found = get_close_matches(word.lower()[:80], by_text, n=1, cutoff=cutoff)
    return by_text[found[0]] if found else None


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """A clause to append to a message: the closest word, or the known ones when none is close, or nothing."""
    names = list(known)
    best = closest(word, names)
    if best is not None:
        return f'; did you mean "{best}"?'
    if not names:
        return ""
    more = ", …" if len(names) > LISTED else ""
    return f"; known: {', '.join(names[:LISTED])}{more}"


def _plain(word: str) -> tuple[str, ...]:
    """The word's parts in any order, without case and separators."""
    return tuple(sorted(word.lower().replace("-", "_").replace(" ", "_").replace(".", "_").split("_")))
