"""What kind of error a log entry is: two entries are of one kind when they differ only in numbers, ids and values.

A stack trace is told apart by what was thrown and by its innermost own calls; any other entry by its first line with
numbers, ids, hex, times, addresses, quoted values and the variable parts of paths taken out.
"""

import hashlib
import re
from typing import Final, NamedTuple

from watchdog.sources import stack_trace

MOST_CHARS: Final = 8_000
"""Of an entry, which may have 256 KB."""
LINE_CHARS: Final = 400
_STEADY: Final = re.compile(r"v\d{1,2}|[A-Za-z_.~-]{1,32}")
"""A part of a path that names something, rather than one of many."""
_RULES: Final = (
    (re.compile(r"\x1b\[[0-9;]*m"), ""),
    (re.compile(r"[\w.+-]{1,64}@[\w-]{1,64}(?:\.[\w-]{1,64})+"), "<email>"),
    (re.compile(r"\b[0-9a-fA-F]{8}-(?:[0-9a-fA-F]{4}-){3}[0-9a-fA-F]{12}\b"), "<n>"),
    (re.compile(r"\b\d{4}[-/]\d\d[-/]\d\d(?:[T ]\d\d:\d\d(?::\d\d(?:[.,]\d+)?)?(?: ?Z| ?[+-]\d\d:?\d\d)?)?"), "<time>"),
    (re.compile(r"\b\d\d:\d\d:\d\d(?:[.,]\d+)?"), "<time>"),
    (re.compile(r"\b\d{1,3}(?:\.\d{1,3}){3}(?::\d{1,5})?\b"), "<ip>"),
    (re.compile(r'"[^"\n]{0,300}"|`[^`\n]{0,300}`|(?<!\w)\'[^\'\n]{0,300}\'(?!\w)'), "<…>"),
)
_PATH: Final = re.compile(r"(?<![\w<>])(https?://[\w.:-]{1,200})?((?:/[\w.@%+~:-]{1,200}){1,40}/?)(\?[^\s]{0,300})?")
_TAIL_RULES: Final = (
    (re.compile(r"\b0[xX][0-9a-fA-F]+\b"), "<n>"),
    (re.compile(r"\b(?=[a-fA-F]*\d)[0-9a-fA-F]{8,}\b"), "<n>"),
    (re.compile(r"\b(?=[A-Za-z_-]*\d)(?=[\d_-]*[A-Za-z])[A-Za-z0-9_-]{8,}\b"), "<n>"),
    (re.compile(r"\d+(?:[.,:]\d+)*"), "<n>"),
    (re.compile(r"(<[\w…]+>)(?:[,;| ]{1,3}\1)+"), r"\1"),
    (re.compile(r"\s+"), " "),
)


class Kind(NamedTuple):
    """What kind of error: its key (the same for one kind), its text as it was said, and where in the team's code."""

    key: str
    text: str
    where: str


def kind_of(message: str, trace: str = "") -> Kind:
    """The kind of an entry with this message, and this stack trace where it has one apart. The text may hold secrets:
    redact it before anybody sees it."""
    message, trace = message[:MOST_CHARS], trace[:MOST_CHARS]
    found = stack_trace.read(trace or message)
    said = _first_line(message)
    if found is None:
        return Kind(_key(normal(said)), said, "")
    frames = " < ".join(str(f) for f in found.frames)
    thrown = found.kind or normal(found.header or said)
    # One helper that fails under several callers is several kinds: without the caller they would look the same.
    where = ", called from ".join(str(f) for f in found.frames[:2])
    return Kind(_key(f"{thrown} at {frames}"), found.header or said, where)


def normal(line: str) -> str:
    """The line without what tells one occurrence from another."""
    line = line[:LINE_CHARS]
    for pattern, instead in _RULES:
        line = pattern.sub(instead, line)
    line = _PATH.sub(lambda m: (m[1] or "") + path(m[2]), line)
    for pattern, instead in _TAIL_RULES:
        line = pattern.sub(instead, line)
    return line.strip()


def path(text: str) -> str:
    """A path without the parts that are one of many: `/couriers/17/shifts` is `/couriers/<n>/shifts`."""
    parts = text.partition("?")[0].split("/")
    return "/".join(part if not part or _STEADY.fullmatch(part) else "<n>" for part in parts)


def _first_line(text: str) -> str:
    return next((line.strip() for line in text.splitlines() if line.strip()), "")[:LINE_CHARS]


def _key(text: str) -> str:
    return hashlib.blake2b(text.encode("utf-8", "replace"), digest_size=6).hexdigest()
