"""`watchdog emulator` and `watchdog demo`: the embedded world, alone or with an incident played in it."""

import asyncio
from dataclasses import replace
from typing import Any

import click

from watchdog.cli.exits import INTERNAL, OK, UNVERIFIED
from watchdog.cli.options import echo_json, json_option

SECONDS = click.FloatRange(min=0.0)
PERIOD = click.FloatRange(min=0.0, min_open=True)


@click.command()
@click.option(
    "--listen", default="127.0.0.1:0", metavar="HOST:PORT", show_default=True, help="Port 0 takes a free one."
)
@click.option("--scenario", metavar="NAME", help="Start with this scenario's good revision, load and delays.")
@click.option("--empty", is_flag=True, help="Start without the default service.")
@click.option("--routing-delay", type=SECONDS, metavar="SECONDS", help="From a write to its split. Default: 0.5.")
@click.option("--startup", type=SECONDS, metavar="SECONDS", help="From a new revision to Ready. Default: 0.2.")
@click.option("--sample-period", type=PERIOD, metavar="SECONDS", help="Of Cloud Monitoring. Default: 60.")
@click.option("--ingest-delay", type=SECONDS, metavar="SECONDS", help="Of Cloud Monitoring. Default: 180.")
@click.option("--load", type=SECONDS, metavar="RATE", help="Requests a second on the service. Default: 0.")
@click.option("--seed", type=int, help="Of everything random. Default: 0.")
@json_option
def emulator(listen: str, scenario: str | None, *, as_json: bool, **given: Any) -> int:
    """Run Cloud Run, Cloud Monitoring, Slack, PagerDuty and a mailbox on this machine.

    Prints its endpoints as one JSON line, then serves until SIGTERM or Ctrl-C. In that line, "env" holds what makes a
    watchdog (and gcloud) use it instead of the real ones. A control API scripts deploys and faults.

    Example: watchdog emulator --listen 127.0.0.1:9090 --load 20
    """
    del as_json  # the endpoints are JSON in any case
    from watchdog.emulator.options import parse_address  # noqa: PLC0415 - after --help was asked for
    from watchdog.emulator.server import serve  # noqa: PLC0415

    try:
        parse_address(listen)
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint="--listen") from None
    options = _options(scenario, given)
    try:
        asyncio.run(serve(listen, options=options))
    except OSError as error:
        click.echo(f"error: cannot listen on {listen}: {error.strerror or error}; choose another address", err=True)
        return INTERNAL
    return OK


def _options(scenario: str | None, given: dict[str, Any]) -> Any:
    """A scenario's world or the default one, and on top what was said on the command line."""
    from watchdog.emulator.load import LoadPlan  # noqa: PLC0415
    from watchdog.emulator.options import Options  # noqa: PLC0415
    from watchdog.emulator.scenario import ScenarioError, load_scenario  # noqa: PLC0415

    try:
        options = Options() if scenario is None else load_scenario(scenario).options()
    except ScenarioError as error:
        raise click.BadParameter(str(error), param_hint="--scenario") from None
    names = {
        "routing_delay": "routing_delay_s",
        "startup": "startup_s",
        "sample_period": "sample_period_s",
        "ingest_delay": "ingest_delay_s",
        "seed": "seed",
    }
    changes = {names[name]: value for name, value in given.items() if name in names and value is not None}
    if given["load"] is not None:
        try:
            changes["load"] = LoadPlan(rate_per_s=given["load"])
        except ValueError as error:
            raise click.BadParameter(str(error), param_hint="--load") from None
    return replace(options, empty=given["empty"], **changes)


@click.command()
@click.option("--scenario", default="hard-down", metavar="NAME", show_default=True, help="Which incident.")
@click.option("--list", "listed", is_flag=True, help="List the scenarios and exit.")
@click.option("--keep", is_flag=True, help="Keep the demo's logs and database beside the report.")
@json_option
def demo(scenario: str, *, listed: bool, keep: bool, as_json: bool) -> int:
    """Play an incident on this machine: a real daemon against the emulated Cloud Run.

    A good revision serves under load, another one is deployed; the terminal shows what the watch sees, the decision,
    the rollback, the proof of recovery, the pages that were sent and where the report is. Ends by itself within two
    minutes, needs no network and no credentials.

    \b
    Exit codes: 0 it ended as its script says, 11 it did not, 13 interrupted.
    Example:    watchdog demo --scenario error-rate
    """  # noqa: D301 - click's mark for lines that it must not wrap
    from watchdog.demo.play import list_scenarios, play  # noqa: PLC0415 - after --help was asked for

    if listed:
        return _list(list_scenarios(), as_json=as_json)
    from watchdog.cli.common import run_until_signal  # noqa: PLC0415

    return run_until_signal(lambda: play(scenario, as_json=as_json, keep=keep), on_signal=UNVERIFIED)


def _list(scenarios: list[tuple[str, str]], *, as_json: bool) -> int:
    width = max(len(name) for name, _ in scenarios)
    for name, title in scenarios:
        if as_json:
            echo_json({"scenario": name, "title": title})
        else:
            click.echo(f"{name.ljust(width)}  {title}")
    return OK
