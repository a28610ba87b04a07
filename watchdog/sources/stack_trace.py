"""Stack traces of Python, Java, JavaScript, Go, .NET, Ruby and PHP: what was thrown, and where in the team's own code.

Line numbers move with every deploy, so none is kept: what was there before must not look new.
"""

import re
from collections.abc import Callable, Sequence
from typing import Final, NamedTuple

MOST_LINES: Final = 400
_FOREIGN: Final = re.compile(
    r"site-packages|dist-packages|/lib/python|<frozen |node_modules|^node:|^internal/|/usr/local/go/|/usr/lib/"
    r"|/pkg/mod/|/vendor/|/gems/|^(?:java|javax|jdk|sun|com\.sun|kotlin|kotlinx|scala|reactor|System|Microsoft)\.|^runtime\."
    r"|^org\.(?:springframework|apache|hibernate|eclipse|jboss)\.|^io\.(?:netty|grpc|micrometer)\."
)
"""Code of a language or a library, not the team's."""
_PYTHON: Final = re.compile(r'^\s*File "([^"]{1,300})", line \d+, in (.{1,120})$')
_JAVA: Final = re.compile(r"^\s*at ([\w.$<>/]{1,200})\([^()]{0,120}\)")
_NODE: Final = re.compile(r"^\s*at (?:async )?(?:([^()]{1,120}) \()?(?:file://)?([^()\s]{1,300}?):\d+(?::\d+)?\)?$")
_NET: Final = re.compile(r"^\s*at ([^()]{1,200})\([^)]{0,200}\) in (.{1,300}):line \d+")
_GO: Final = re.compile(r"^\s+(/\S{1,300}\.go):\d+")
_RUBY: Final = re.compile(r"^\s*(?:from )?(\S{1,300}\.rb):\d+:in [`'](.{1,120})'")
_PHP: Final = re.compile(r"^#\d+ (\S{1,300}\.php)\(\d+\): ([^(]{1,120})")
_THROWN: Final = re.compile(
    r"^(?:Caused by: |panic: |(?:PHP Fatal error: +)?Uncaught |Unhandled )?([\w.$:\\]{2,120})(?::|$)"
)


class Frame(NamedTuple):
    """One call: the file (or class) and the function, as far as the trace tells."""

    place: str
    function: str

    def __str__(self) -> str:
        """`app/couriers.py in create`."""
        return f"{self.place} in {self.function}" if self.function else self.place


class Trace(NamedTuple):
    """What was thrown, its header line, and the innermost calls of the team's own code, innermost first (of a library,
    where none is the team's)."""

    kind: str
    header: str
    frames: tuple[Frame, ...]


def read(text: str, *, most: int = 3) -> Trace | None:
    """The trace in a text, or None. Of several that caused each other the first cause counts."""
    lines = text.splitlines()[:MOST_LINES]
    for block in _causes(lines):
        found = _frames(block)
        if found:
            own = [f for f, foreign in found if not foreign]
            header = _header(block)
            thrown = _THROWN.match(header)
            return Trace(thrown[1] if thrown else "", header, tuple((own or [f for f, _ in found])[:most]))
    return None


def _causes(lines: Sequence[str]) -> list[Sequence[str]]:
    """The blocks of a chain, the first cause first; last the whole, should no block say anything."""
    starts = [i for i, line in enumerate(lines) if line.lstrip().startswith("Caused by:")]
    if starts:  # Java: what caused it comes last
        return [lines[starts[-1] :], lines[: starts[0]], lines]
    starts = [i for i, line in enumerate(lines) if line.lstrip().startswith("Traceback (most recent call last)")]
    direct = any("direct cause of the following" in line for line in lines)
    if len(starts) > 1:  # Python: the first cause comes first; what happened "during handling" is what was raised
        first = lines[starts[0] : starts[1]]
        return [first, lines[starts[-1] :]] if direct else [lines[starts[-1] :], first]
    return [lines]


def _frames(lines: Sequence[str]) -> list[tuple[Frame, bool]]:
    """(call, whether it is foreign), innermost first."""
    found = list[tuple[Frame, bool]]()
    for i, line in enumerate(lines):
        for reads in _READERS:
            call = reads(line, lines[i - 1] if i else "")
            if call is not None:
                found.append(call)
                break
    python = any(_PYTHON.match(line) for line in lines)
    return found[::-1] if python else found


def _call(file: str, function: str) -> tuple[Frame, bool]:
    foreign = _FOREIGN.search(file) is not None or _FOREIGN.search(function) is not None
    short = "/".join(file.replace("\\", "/").split("/")[-2:])
    return Frame(short, re.sub(r"\d+", "", function).strip()), foreign


def _python(line: str, _before: str) -> tuple[Frame, bool] | None:
    found = _PYTHON.match(line)
    return _call(found[1], found[2]) if found else None


def _java(line: str, _before: str) -> tuple[Frame, bool] | None:
    found = _JAVA.match(line)
    if found is None or "." not in found[1]:
        return None
    place, _, function = found[1].rpartition(".")
    foreign = _FOREIGN.search(found[1]) is not None
    return Frame(re.sub(r"\d+", "", place), re.sub(r"\d+", "", function)), foreign


def _node(line: str, _before: str) -> tuple[Frame, bool] | None:
    found = _NODE.match(line)
    return _call(found[2], found[1] or "") if found else None


def _net(line: str, _before: str) -> tuple[Frame, bool] | None:
    found = _NET.match(line)
    return _call(found[2], found[1]) if found else None


def _go(line: str, before: str) -> tuple[Frame, bool] | None:
    found = _GO.match(line)
    return _call(found[1], before.strip().partition("(")[0]) if found else None


def _ruby(line: str, _before: str) -> tuple[Frame, bool] | None:
    found = _RUBY.match(line)
    return _call(found[1], found[2]) if found else None


def _php(line: str, _before: str) -> tuple[Frame, bool] | None:
    found = _PHP.match(line)
    return _call(found[1], found[2]) if found else None


_READERS: Final[tuple[Callable[[str, str], tuple[Frame, bool] | None], ...]] = (
    *(_python, _net, _java, _node, _go, _ruby, _php),
)


def _header(lines: Sequence[str]) -> str:
    """What was thrown and what it says: before the calls, or after them where the language has it so (Python)."""
    if any(_PYTHON.match(line) for line in lines):
        after = max(i for i, line in enumerate(lines) if _PYTHON.match(line))
        said = [line for line in lines[after + 1 :] if line.strip() and not line.startswith((" ", "\t"))]
    else:
        said = [line.strip() for line in lines if line.strip() and not line.startswith(("\t", "    ", "goroutine"))]
    return said[0].strip() if said else ""
