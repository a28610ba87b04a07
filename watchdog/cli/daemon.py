"""`watchdog run`: the daemon."""

import asyncio
from pathlib import Path

import click
import structlog

from watchdog.cli.common import (
    config_option,
    json_option,
    log_as,
    policies_of,
    run_until_signal,
    settings_of_environment,
    unwrap,
)
from watchdog.cli.exits import OK
from watchdog.core.policy import Policy
from watchdog.errors import StoreUnavailableError, WatchdogError
from watchdog.settings import Settings

STORE_PATIENCE_S = 30.0
"""How long the daemon waits at its start for a store that does not answer yet."""

_log = structlog.get_logger(__name__)


@click.command()
@config_option
@json_option
def run(configs: tuple[Path, ...], *, as_json: bool) -> int:
    """Discover deploys, watch them, roll back, page; serve the API, the page and /metrics.

    Runs until SIGTERM or Ctrl-C, then exits 0 within 5 seconds. Logs go to standard error, as JSON unless it is a
    terminal.
    """
    del as_json  # logs are JSON already wherever nobody reads them directly
    settings = settings_of_environment()
    policies = [loaded.policy for loaded in policies_of(settings, configs, probing=True)]
    log_as(settings)
    return run_until_signal(lambda: _serve(settings, policies), on_signal=OK)


async def _serve(settings: Settings, policies: list[Policy]) -> int:
    from watchdog.app import build, serve  # noqa: PLC0415 - after the arguments are known to be good

    loop = asyncio.get_running_loop()
    give_up = loop.time() + STORE_PATIENCE_S
    page = settings.url if "url" in settings.model_fields_set else f"http://{settings.listen}"
    while True:
        try:
            async with build(settings, policies, page_url=page.rstrip("/")) as app:
                await serve(app)
        except StoreUnavailableError as error:
            if loop.time() > give_up:
                raise
            _log.warning("store_not_ready", error=str(error), todo="check WATCHDOG_DATABASE_URL")
            await asyncio.sleep(1.0)
        except BaseExceptionGroup as group:
            cause = unwrap(group)
            if isinstance(cause, WatchdogError | asyncio.CancelledError):
                raise cause from None
            raise
