"""What a drill is: a bad day as data and a script, and how it must end.

One file a drill in `demo/drills/`, which holds one `DRILL`; the file's place there is all the registration it needs.
"""

import importlib
import pkgutil
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from watchdog.demo import drills
from watchdog.errors import ConfigError

if TYPE_CHECKING:
    from watchdog.demo.stage import Stage

BASE: Final[Mapping[str, Any]] = {
    "version": 1,
    "service": {
        "project": "barq-fleet",
        "region": "us-central1",
        "name": "barq-fleet-api",
        "discover_every": "1s",
        "metrics_every": "5s",
    },
    "windows": {
        "immediate": {"until": "15m", "probe_every": "5s"},
        "short_term": {"until": "60m", "probe_every": "15s", "confirm": {"failures": 10}},
        "extended": {"until": "24h", "probe_every": "60s", "confirm": {"failures": 20}},
    },
    "confirm": {"failures": 5, "every": "1s"},
    "probes": {
        "health": {"path": "/health", "expect": {"status": 200, "json": {"status": "healthy"}}, "timeout": "3s"},
        "ready": {"path": "/api/v1/health/ready", "expect": {"json": {"status": "ready"}}, "timeout": "3s"},
    },
    "success_criteria": [
        {"metric": "error_rate", "target": "< 1%", "action": "rollback"},
        {"metric": "p95_latency", "target": "< 500ms", "action": "investigate"},
        {"metric": "health_check", "target": "100%", "action": "rollback"},
    ],
    "cold_start": {"errors": "10s", "latency": "15s"},
    "rollback": {
        "mode": "automatic",
        "immediately_if": ["error_rate > 5%", "health_check failing", {"signal": "database_corruption"}],
    },
}
"""The policy of every drill: the shipped one's timings, asked as often as the emulator samples."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Expect:
    """How a drill ends when the watchdog does its work. Revisions by their short names (`good`, `bad`)."""

    outcomes: Mapping[str, str]
    """Revision → outcome of its last watch; `open` where it goes on, `none` where none may have been opened."""
    serving: Mapping[str, int]
    """Revision → percent that Cloud Run serves at the end."""
    writes: int
    """Traffic writes of the watchdog that took effect."""
    pages: tuple[str, ...] = ()
    """Words of the PagerDuty triggers' titles: each of them is found, and no trigger has none of them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Cloud:
    """The emulated cloud: delays in seconds, those of Cloud Monitoring shortened from 60 and 180."""

    routing_delay_s: float = 0.5
    startup_s: float = 0.2
    sample_period_s: float = 5.0
    ingest_delay_s: float = 5.0
    log_delay_s: float = 2.0
    load_per_s: float = 0.0
    """Requests a second of users, from before the daemon's start."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Drill:
    """A named outage. `play` acts it out; everything it says is for people, so it is written for them."""

    name: str
    title: str
    """One line."""
    day: str
    """What happens, in a few sentences."""
    others: str
    """What other tools do on such a day."""
    ours: str
    """What we are expected to do."""
    expect: Expect
    play: Callable[["Stage"], Awaitable[None]]
    policy: Mapping[str, Any] = field(default_factory=dict)
    """Merged into `BASE`; None takes a key away."""
    cloud: Cloud = Cloud()
    tagged: bool = True
    """Whether the good revision has a tag, so that it can be asked and warmed."""
    set_up: Callable[["Stage"], Awaitable[None]] | None = None
    """What is done to the cloud before the daemon starts, once the good revision serves."""
    within_s: float = 120.0
    """From the daemon's start to the end."""


def drill_names() -> list[str]:
    """All drills, in the alphabet's order."""
    return sorted(found.name.replace("_", "-") for found in pkgutil.iter_modules(drills.__path__))


def load_drill(name: str) -> Drill:
    """The drill of this name. Raises `ConfigError` when there is none."""
    if name not in drill_names():
        raise ConfigError(f"no drill {name!r}; there are {', '.join(drill_names())}")
    module = importlib.import_module(f"{drills.__name__}.{name.replace('-', '_')}")
    drill = module.DRILL
    assert isinstance(drill, Drill)  # noqa: S101 - the file's promise
    return drill


def all_drills() -> list[Drill]:
    """Every drill."""
    return [load_drill(name) for name in drill_names()]
