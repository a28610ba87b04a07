"""How an emulator is started, and how that is said on a command line."""

import argparse
from collections.abc import Sequence
from dataclasses import dataclass

from watchdog.emulator.director import Release
from watchdog.emulator.load import LoadPlan

FIRST = Release(image="us-docker.pkg.dev/barq-fleet/api/api:1.0.0")
NO_LOAD = LoadPlan()


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """Settings of one emulated world. Delays are in seconds; Cloud Monitoring's defaults are the real ones."""

    host: str = "127.0.0.1"
    port: int = 0
    """Of the control API, the collectors and a copy of the Admin API; 0 takes a free one."""
    empty: bool = False
    """Without the default service."""
    project: str = "barq-fleet"
    region: str = "us-central1"
    service: str = "barq-fleet-api"
    first: Release = FIRST
    """The first revision of the default service."""
    load: LoadPlan = NO_LOAD
    """Load on the default service from the start."""
    routing_delay_s: float = 0.5
    startup_s: float = 0.2
    startup_timeout_s: float = 1.0
    propagation_s: float = 0.0
    sample_period_s: float = 60.0
    ingest_delay_s: float = 180.0
    log_delay_s: float = 2.0
    """From the end of a request until Cloud Logging delivers it, before a session's buffer window."""
    seed: int = 0


def parse_address(listen: str) -> tuple[str, int]:
    """`HOST:PORT` in two parts; `ValueError` with a sentence when it isn't one."""
    host, colon, port = listen.rpartition(":")
    if not colon or not port.isdecimal() or int(port) > 65535:
        raise ValueError(f"'{listen}' is not HOST:PORT, for example 127.0.0.1:9090 (port 0 takes a free one)")
    return host.strip("[]") or "127.0.0.1", int(port)


def make_parser(prog: str) -> argparse.ArgumentParser:
    """The command line of the emulator."""
    parser = argparse.ArgumentParser(
        prog=prog,
        description="Cloud Run, Cloud Monitoring and Logging, Slack, PagerDuty and a mailbox on loopback. Prints its"
        " endpoints as one JSON line, then serves until SIGTERM.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    standard = Options()
    parser.add_argument("--listen", default="127.0.0.1:0", metavar="HOST:PORT", help="control API, collectors")
    parser.add_argument("--scenario", default=None, metavar="NAME", help="start with this scenario's good revision")
    parser.add_argument("--empty", action="store_true", help="without the default service")
    for name, default, text in (
        ("--routing-delay", standard.routing_delay_s, "from a write to its split"),
        ("--startup", standard.startup_s, "from a new revision to Ready"),
        ("--sample-period", standard.sample_period_s, "of Cloud Monitoring"),
        ("--ingest-delay", standard.ingest_delay_s, "of Cloud Monitoring"),
        ("--log-delay", standard.log_delay_s, "of Cloud Logging"),
    ):
        parser.add_argument(name, type=float, default=default, metavar="SECONDS", help=text)
    parser.add_argument("--load", type=float, default=0.0, metavar="RATE", help="requests a second on the service")
    parser.add_argument("--seed", type=int, default=0, help="of everything random")
    return parser


def read_options(argv: Sequence[str] | None, *, prog: str) -> tuple[argparse.Namespace, Options]:
    """The command line and what it asks for; a bad one ends the process with usage and exit code 2."""
    parser = make_parser(prog)
    given = parser.parse_args(argv)
    for name, value in vars(given).items():
        if given.scenario is not None and name not in {"listen", "scenario"} and value != parser.get_default(name):
            parser.error(f"--{name.replace('_', '-')}: a scenario brings its own; leave it out")
    try:
        host, port = parse_address(given.listen)
        load = LoadPlan(rate_per_s=given.load)
    except ValueError as error:
        parser.error(str(error))
    options = Options(
        host=host,
        port=port,
        empty=given.empty,
        load=load,
        routing_delay_s=given.routing_delay,
        startup_s=given.startup,
        sample_period_s=given.sample_period,
        ingest_delay_s=given.ingest_delay,
        log_delay_s=given.log_delay,
        seed=given.seed,
    )
    return given, options
