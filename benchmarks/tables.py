"""Figures as Markdown: quantiles, tables, and a sentence about the machine, so that a table can be pasted as it is."""

import os
import platform
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from pathlib import Path

from watchdog import __version__
from watchdog.engine.clock import SystemClock


def quantile(values: Iterable[float], q: float) -> float:
    """The smallest value that is at least as large as a share `q` of all of them (nearest rank; no interpolation).

    Raises `ValueError` for no values.
    """
    ordered = sorted(values)
    if not ordered:
        raise ValueError("no values")
    rank = max(1, -(-round(q * len(ordered) * 1e6) // 1_000_000))
    return ordered[min(rank, len(ordered)) - 1]


def table(header: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """A Markdown table; the first column is text, the others are figures."""
    lines = [list(header), ["---", *("--:" for _ in header[1:])]]
    lines += [[str(cell) for cell in row] for row in rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def held(value: float, target: float) -> str:
    """Whether a target was kept, for a table's last column."""
    return "yes" if value <= target else "**no**"


def conditions() -> str:
    """One sentence: the day, the machine, the versions, and how busy the machine is with other work."""
    day = datetime.fromtimestamp(SystemClock().now(), UTC).date().isoformat()
    load = os.getloadavg()[0]
    return (
        f"{day}, deploy-watchdog {__version__}, Python {platform.python_version()}, {_processor()}, "
        f"{len(os.sched_getaffinity(0))} cores, {platform.system()}; load average {load:.1f} when it ended."
    )


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.machine()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.machine())
