"""What several verbs share: settings, policies, running an asynchronous verb, printing JSON."""

import asyncio
import json
import os
import signal
from collections.abc import Callable, Coroutine, Sequence
from pathlib import Path
from typing import Any

import click

from watchdog.errors import ConfigError
from watchdog.policy_file import LoadedPolicy, load_policy
from watchdog.settings import Settings, load_settings
from watchdog.telemetry import configure_logging

json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON, one object a line.")
config_option = click.option(
    "--config",
    "configs",
    multiple=True,
    type=click.Path(path_type=Path, dir_okay=False),
    help="Policy file; may be repeated. Default: WATCHDOG_CONFIG.",
)


def settings_of_environment() -> Settings:
    """The environment, checked; odd variables are said on standard error."""
    settings = load_settings(os.environ)
    for warning in settings.warnings:
        click.echo(f"warning: {warning}", err=True)
    return settings


def policies_of(settings: Settings, configs: Sequence[Path], *, probing: bool = False) -> list[LoadedPolicy]:
    """The policies named on the command line, else in the environment. All mistakes of all files at once; for verbs
    that send probes, secrets which those need and the environment does not have are mistakes."""
    paths = list(configs) or list(settings.config)
    if not paths:
        raise ConfigError("no policy: name one with --config FILE or in WATCHDOG_CONFIG")
    loaded: list[LoadedPolicy] = []
    problems: list[str] = []
    for path in paths:
        try:
            found = load_policy(path)
        except ConfigError as error:
            problems += error.problems
            continue
        loaded.append(found)
        problems += [said for name, said in found.wants.items() if probing and name not in settings.probe_secrets]
    if problems:
        raise ConfigError(*problems)
    for policy in loaded:
        for warning in policy.warnings:
            click.echo(f"warning: {warning}", err=True)
    return loaded


def log_as(settings: Settings, *, quiet: bool = False) -> None:
    """Set up logs on standard error: everything for the daemon, warnings only for verbs with a display of their own."""
    configure_logging(level=30 if quiet else 20, secrets=settings.secrets())


def run_until_signal(work: Callable[[], Coroutine[Any, Any, int]], *, on_signal: int) -> int:
    """Run a verb; SIGTERM and Ctrl-C cancel it, and then its exit code is `on_signal`."""

    async def supervised() -> int:
        loop = asyncio.get_running_loop()
        task = asyncio.create_task(work(), name="verb")
        asked = False

        def stop() -> None:
            nonlocal asked
            asked = True
            task.cancel()

        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, stop)
        try:
            return await task
        except asyncio.CancelledError:
            if asked:
                return on_signal
            raise

    return asyncio.run(supervised())


def unwrap(group: BaseExceptionGroup[BaseException]) -> BaseException:
    """The first real cause inside nested exception groups."""
    error: BaseException = group
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error


def echo_json(value: object) -> None:
    """One JSON object on one line, flushed."""
    click.echo(json.dumps(value, ensure_ascii=False, separators=(", ", ": ")))
