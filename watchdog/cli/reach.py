"""How a verb reaches what it asks: the daemon first, the store where none answers; and a refusal's exit code."""

from collections.abc import Callable
from typing import TypeVar

import click

from watchdog.cli.exits import REFUSED
from watchdog.cli.options import echo_json
from watchdog.client import Daemon, NoDaemonError, segment
from watchdog.errors import PermanentError, StoreUnavailableError
from watchdog.settings import Settings

T = TypeVar("T")

__all__ = ["answered", "daemon_of", "reach", "segment"]


def daemon_of(settings: Settings) -> Daemon:
    """The daemon that WATCHDOG_URL names."""
    token = settings.api_token
    return Daemon(url=settings.url, token=token.get_secret_value() if token else None)


def reach(settings: Settings, by_daemon: Callable[[], T], by_store: Callable[[], T], doing: str) -> T:
    """Ask the daemon; where none answers and there is a database, say so and ask that."""
    try:
        return by_daemon()
    except NoDaemonError as nobody:
        from watchdog.cli.common import log_as  # noqa: PLC0415 - only where the store is needed
        from watchdog.cli.local import has_store  # noqa: PLC0415

        if not has_store(settings):
            raise
        log_as(settings, quiet=True)
        click.echo(f"note: no daemon answers at {settings.url}: {doing} in the store (WATCHDOG_DATABASE_URL)", err=True)
        try:
            return by_store()
        except StoreUnavailableError as away:
            raise NoDaemonError(f"{nobody}; the store does not answer either: {away}") from away


def answered(act: Callable[[], int], *, as_json: bool) -> int:
    """Run a verb; what is refused is told, and has its own exit code."""
    try:
        return act()
    except PermanentError as error:
        if as_json:
            echo_json({"accepted": False, "status": error.status, "detail": str(error)})
        click.echo(f"error: {error}", err=True)
        return REFUSED
