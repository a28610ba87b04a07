"""`watchdog explain`: why a watch rolled back, or why not."""

import asyncio
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from watchdog.cli.exits import OK
from watchdog.cli.options import echo_json, json_option

if TYPE_CHECKING:
    from watchdog.ports import Store
    from watchdog.settings import Settings

View = Mapping[str, Any]
WIDE = 120
"""Columns where the output is no terminal: a CI log, a file."""
PATIENCE_S = 60.0
"""A long journal is folded again before the daemon answers."""
LARGEST_BYTES = 512 * 1024 * 1024


@click.command()
@click.argument("watch", metavar="WATCH|FILE")
@json_option
def explain(watch: str, *, as_json: bool) -> int:
    """Tell why a watch rolled back, or why it did not.

    Folds the watch's journal again and shows, for every row of the policy, its
    evidence over time and the moment at which it became enough; where it never
    did, how near it came and which error rates this traffic would have shown.
    Also: holds and refusals with their reasons, failing probes that passed
    again, and evidence that was missing.

    WATCH is a watch's id, or a service whose open watch is meant. It is read
    from the daemon at WATCHDOG_URL; where none answers, from the database at
    WATCHDOG_DATABASE_URL. FILE is a journal as `watchdog replay` takes it, or a
    dash for standard input; its name has a dot or a leading slash.

    \b
    Examples: watchdog explain w7f3k2
              watchdog explain us-central1/barq-fleet-api --json
              watchdog report w7f3k2 --json | watchdog explain -
    """  # noqa: D301 - click's mark for lines that it must not wrap
    from watchdog.cli.common import settings_of_environment  # noqa: PLC0415 - after --help was asked for
    from watchdog.cli.reach import answered  # noqa: PLC0415

    def act() -> int:
        view = _of_file(watch) if _names_file(watch) else _of_watch(settings_of_environment(), watch)
        if as_json:
            echo_json(view)
        else:
            _print(view)
        return OK

    return answered(act, as_json=as_json)


def _names_file(name: str) -> bool:
    """Watch ids and services have no dots and begin with no slash; the binary of a service may well be called like it,
    so that a file is there is not enough."""
    return name == "-" or name.startswith(("/", "./", "../")) or "." in name.rsplit("/", 1)[-1]


def _of_watch(settings: "Settings", watch: str) -> View:
    from dataclasses import replace  # noqa: PLC0415

    from watchdog.cli.reach import daemon_of, reach, segment  # noqa: PLC0415

    def by_daemon() -> View:
        view: View = replace(daemon_of(settings), timeout_s=PATIENCE_S).get(f"/api/v1/watches/{segment(watch)}/explain")
        return view

    def by_store() -> View:
        from watchdog.cli.local import opened, watch_in  # noqa: PLC0415

        async def read() -> View:
            async with opened(settings.database_url.get_secret_value()) as store:
                return await explanation_in(store, (await watch_in(store, watch)).id)

        return asyncio.run(read())

    return reach(settings, by_daemon, by_store, "reading the journal")


async def explanation_in(store: "Store", watch_id: str) -> View:
    """The explanation of a watch in a store. Raises `JournalError` or `ConfigError` when its journal cannot be read."""
    from watchdog.core.explain import Explainer  # noqa: PLC0415
    from watchdog.core.explain_view import view  # noqa: PLC0415
    from watchdog.core.journal import decode  # noqa: PLC0415

    explainer = Explainer()
    async for record in store.read(f"watch/{watch_id}"):
        explainer.fold(decode(record.kind, record.schema, record.at, record.body))
    return view(explainer.explanation())


def _of_file(name: str) -> View:
    from watchdog.core.events import Ticked  # noqa: PLC0415
    from watchdog.core.explain import explain as explained  # noqa: PLC0415
    from watchdog.core.explain_view import view  # noqa: PLC0415
    from watchdog.engine.replay_journal import looks_like_json, read_journal  # noqa: PLC0415
    from watchdog.errors import ConfigError  # noqa: PLC0415

    text = _text_of(name)
    if not looks_like_json(text):
        raise ConfigError(f"{name}: is no journal (JSON); `watchdog replay` judges tables, and takes databases")
    journal = read_journal(text, name)
    last = journal.events[-1].at if journal.events else journal.opening.at
    # Times of a journal that came as text are cut to a millisecond: what was due at the last event is due here too.
    return view(explained([journal.opening, *journal.events, Ticked(at=last + 0.001)]))


def _text_of(name: str) -> str:
    from watchdog.errors import ConfigError  # noqa: PLC0415

    try:
        with click.open_file(str(Path(name)), "rb") as file:
            raw: bytes = file.read(LARGEST_BYTES + 1)
        if len(raw) > LARGEST_BYTES:
            raise ConfigError(f"{name}: is longer than {LARGEST_BYTES // 1024**2} MB; is this the right file?")
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise ConfigError(f"{name}: is no journal (JSON, in UTF-8); for a database set WATCHDOG_DATABASE_URL") from None
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise ConfigError(f"{name}: cannot be read: {reason}") from None


def _print(view: View) -> None:
    import sys  # noqa: PLC0415

    from rich.console import Console  # noqa: PLC0415 - only where a page is shown

    from watchdog.cli.explain_page import BLOCKS, NOTHING, page  # noqa: PLC0415

    console = Console(highlight=False, width=None if sys.stdout.isatty() else WIDE)
    with console.capture() as capture:
        console.print(page(view, blocks=_can_show(BLOCKS + NOTHING, sys.stdout.encoding)))
    for line in capture.get().splitlines():
        click.echo(line.rstrip())


def _can_show(text: str, encoding: str | None) -> bool:
    try:
        text.encode(encoding or "utf-8")
    except (UnicodeEncodeError, LookupError):
        return False
    return True
