"""Numbers, spans and times as a person reads them at 3 a.m.: few digits, a unit, no surprises."""

from collections.abc import Iterable
from datetime import UTC, datetime

from watchdog.core.catalogue import UNITS, Dimension, known_metric


def share(x: float) -> str:
    """A ratio as percent: `8.2 %`, `0.04 %`, `99.98 %`, and `100 %` only for all of it."""
    percent = 100.0 * x
    if 99.0 < percent < 100.0:
        return f"{min(percent, 99.99):.2f}".rstrip("0").rstrip(".") + " %"
    for digits, least in ((0, 99.95), (1, 1.0), (2, 0.1), (3, 0.0)):
        if abs(percent) >= least:
            return f"{percent:.{digits}f}".rstrip("0").rstrip(".") + " %" if digits else f"{percent:.0f} %"
    return f"{percent:g} %"


def span(seconds: float) -> str:
    """A duration: `850 ms`, `4.2 s`, `3 min`, `2 h 5 min`."""
    if seconds < 1.0:
        return f"{seconds * 1000:.0f} ms"
    if seconds < 100.0:
        return f"{seconds:.1f}".removesuffix(".0") + " s"
    minutes = round(seconds / 60.0)
    if minutes < 100:
        return f"{minutes} min"
    return f"{minutes // 60} h" + (f" {minutes % 60} min" if minutes % 60 else "")


def reading(metric: str, x: float, unit: str = "") -> str:
    """A metric's value in a unit that suits it; `unit` tells what a metric of the team's own is measured in."""
    known = known_metric(metric)
    own = UNITS[unit][0] if unit in UNITS else Dimension.COUNT
    match known.dimension if known else own:
        case Dimension.RATIO:
            return share(x)
        case Dimension.TIME:
            return span(x)
        case Dimension.RATE:
            return f"{x:.3g}/s"
        case Dimension.BYTES:
            return f"{x / 1e6:.4g} MB"
        case Dimension.BANDWIDTH:
            return f"{x / 1e6:.3g} MB/s"
        case _:
            return f"{x:.4g}"


def iso(at: float | None) -> str | None:
    """Unix seconds as ISO 8601 in UTC with milliseconds; None stays None."""
    if at is None:
        return None
    return datetime.fromtimestamp(at, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def clock(at: float) -> str:
    """The time of day in UTC, for sentences."""
    return datetime.fromtimestamp(at, UTC).strftime("%H:%M:%S UTC")


def when(at: float, now: float) -> str:
    """A moment for sentences: the time of day, with the date where it is not the day of `now` (both Unix seconds)."""
    moment, today = datetime.fromtimestamp(at, UTC), datetime.fromtimestamp(now, UTC)
    if moment.date() == today.date():
        return clock(at)
    return f"{moment.day} {moment.strftime('%b %H:%M:%S UTC')}"


def listing(words: Iterable[str]) -> str:
    """`a`, `a and b`, `a, b and c`."""
    items = list(words)
    return items[0] if len(items) == 1 else ", ".join(items[:-1]) + " and " + items[-1] if items else ""
