"""The verbs that read: what goes on, what was deployed, and the report of a watch."""

import asyncio
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from watchdog.cli.exits import OK
from watchdog.cli.options import by_option, echo_json, json_option, marking_of, reason_option

if TYPE_CHECKING:
    from watchdog.ports import Store
    from watchdog.settings import Settings

View = Mapping[str, Any]
WIDE = 120
"""Columns where the output is no terminal: a CI log, a file."""
COLUMNS = ("version", "date", "deployer", "status", "marked", "service", "region", "revision", "watch", "notes")
"""Of the deployment history."""
_WHERE = (
    "Reads from the daemon at WATCHDOG_URL; where none answers, from the database at WATCHDOG_DATABASE_URL, where a "
    "foreground `watchdog watch` leaves its watches."
)


# --- status -------------------------------------------------------------------------------------------------------


@click.command(epilog=_WHERE)
@click.argument("watch", required=False, metavar="[WATCH]")
@json_option
def status(watch: str | None, *, as_json: bool) -> int:
    """Show what is being watched, or where one WATCH stands.

    Without WATCH: every open watch, one a line. With it (a watch's id, or a service whose open watch is meant):
    windows, criteria with value, limit and evidence, probes, what was decided, and what to do next.

    \b
    Examples: watchdog status
              watchdog status us-central1/barq-fleet-api
    """  # noqa: D301 - click's mark for lines that it must not wrap
    from watchdog.cli.common import settings_of_environment  # noqa: PLC0415 - after --help was asked for
    from watchdog.cli.reach import answered  # noqa: PLC0415

    settings = settings_of_environment()
    if watch is not None:
        return answered(lambda: _show(_watch(settings, watch), as_json=as_json), as_json=as_json)
    return answered(lambda: _list(settings, as_json=as_json), as_json=as_json)


def _list(settings: "Settings", *, as_json: bool) -> int:
    rows = _watches(settings, only_open=True)
    observing = any(row.get("mode") == "observe" for row in rows)
    before = _watches(settings, only_open=False) if observing else ()
    if as_json:
        echo_json({"watches": rows, **_observed_json(before)})
        return OK
    if not rows:
        click.echo("No watch is open. `watchdog history` shows the deploys of the past.")
        return OK
    head = ("WATCH", "SERVICE", "REGION", "REVISION", "STATE", "WINDOW", "SINCE (UTC)", "UNTIL (UTC)", "MODE")
    _echo_table(
        head,
        [
            (
                row["id"],
                row["service"],
                row["region"],
                row["revision"],
                _words(row["state"]),
                _words(row.get("window")),
                _minute(row.get("cutover_at") or row.get("opened_at")),
                _minute(row.get("ends_at")),
                "automatic, acts as approve" if row.get("doubt") else "",
            )
            for row in rows
        ],
    )
    _echo_observed(before)
    return OK


def _observed_json(watches: Sequence[View]) -> dict[str, Any]:
    """By service: what automatic would have done in the watches that only observed, where there were enough."""
    from watchdog.core.observed import as_json, by_service  # noqa: PLC0415 - after --help was asked for

    found = {name: as_json(one) for name, one in by_service(watches).items()}
    return {"observed": found} if found else {}


def _echo_observed(watches: Sequence[View]) -> None:
    """The same for people."""
    from watchdog.core.observed import advice, by_service, lines, sentence  # noqa: PLC0415

    for service, found in by_service(watches).items():
        click.echo(f"\n{service}: {sentence(found)}")
        for watch, proof in lines(found):
            click.echo(f"  {watch}  {proof}")
        click.echo(f"  {advice(found)}")


def _show(view: View, *, as_json: bool) -> int:
    if as_json:
        echo_json(view)
        return OK
    import sys  # noqa: PLC0415

    from rich.console import Console  # noqa: PLC0415 - only where a panel is shown

    from watchdog.core.advice import next_steps  # noqa: PLC0415
    from watchdog.terminal import panel  # noqa: PLC0415

    console = Console(highlight=False, width=None if sys.stdout.isatty() else WIDE)
    console.print(panel(view))
    ending = f"{_words(view['outcome']).upper()}: " if view.get("outcome") else ""
    if ending or view.get("reason"):
        click.echo(f"\n{ending}{view.get('reason', '')}")
    if view.get("mark"):
        from watchdog.core.marks import sentence  # noqa: PLC0415

        click.echo(f"Marked {sentence(view)}")
    if view.get("doubt") and not view.get("ended_at"):
        click.echo(f"\n{view['doubt']} `watchdog preflight` says what is missing.")
    for decision in view.get("decisions") or ():
        click.echo(f"{str(decision['at'])[11:19]}  {_words(decision['action'])}: {decision['reason']}")
    click.echo("\nWhat to do:")
    for step in next_steps(view):
        click.echo(f"  {step.sentence}")
        if step.command:
            click.echo(f"    {step.command}")
    return OK


# --- history ------------------------------------------------------------------------------------------------------


@click.command(epilog=_WHERE)
@click.argument("service", required=False, metavar="[SERVICE]")
@click.option("--limit", type=click.IntRange(1, 1000), default=50, show_default=True, help="How many, newest first.")
@click.option(
    "--format",
    "form",
    type=click.Choice(["table", "markdown", "csv"]),
    default="table",
    show_default=True,
    help="For people, for the checklist, for a spreadsheet.",
)
@click.option(
    "--mark",
    nargs=2,
    metavar="WATCH WORD",
    callback=marking_of,
    help="Say whether an ended watch was right.",
)
@reason_option
@by_option
@json_option
def history(
    service: str | None,
    limit: int,
    form: str,
    mark: tuple[str, str] | None,
    *,
    reason: str,
    by: str,
    as_json: bool,
) -> int:
    """Show the deployment history: version, date, deployer, status, mark, notes.

    Every watch is a deploy. SERVICE (NAME, REGION/NAME or PROJECT/REGION/NAME) shows only its own.

    \b
    With --mark, record whether the outcome of an ended WATCH (its id, or a
    service whose last watch is meant) was right. WORD is one of
      right    the outcome was right
      wrong    it was not: a healthy release was rolled back, or a bad one was
               not
      late     it should have been rolled back sooner
      unclear  nobody can tell; takes back what was said before
    A watch may be marked again: the last word counts, the journal keeps all.

    After ten watches in observe mode it says what automatic would have done,
    and by the marks how often that was right.

    \b
    Examples: watchdog history barq-fleet-api
              watchdog history --mark w7f3k2 wrong --reason "the database"
    """  # noqa: D301 - click's mark for lines that it must not wrap
    from watchdog.cli.common import settings_of_environment  # noqa: PLC0415 - after --help was asked for
    from watchdog.cli.reach import answered  # noqa: PLC0415

    if mark is not None:
        from watchdog.cli.marking import record  # noqa: PLC0415

        if service is not None:
            raise click.UsageError(f"--mark names its watch itself; leave out {service}.")
        return record(mark[0], {"mark": mark[1], "reason": reason, "by": by}, as_json=as_json)
    if reason:
        raise click.UsageError("--reason is said with --mark only.")
    settings = settings_of_environment()

    def act() -> int:
        from watchdog.core.history import as_csv, as_markdown, deploy  # noqa: PLC0415

        watches = _watches(settings, only_open=False, service=service)
        rows = [deploy(row) for row in watches[:limit]]
        if as_json:
            echo_json({"deploys": rows, **_observed_json(watches)})
        elif form != "table":
            click.echo((as_csv if form == "csv" else as_markdown)(rows), nl=False)
        elif not rows:
            click.echo(f"No deploy{f' of {service}' if service else ''} has been watched yet.")
        else:
            head = ["DATE (UTC)" if column == "date" else column.upper() for column in COLUMNS]
            shown = [
                {**row, "date": _minute(row["date"]), "marked": (row["mark"] or {}).get("mark", "")} for row in rows
            ]
            _echo_table(head, [[str(row[column] or "") for column in COLUMNS] for row in shown])
            _echo_observed(watches)
        return OK

    return answered(act, as_json=as_json)


# --- report -------------------------------------------------------------------------------------------------------


@click.command(epilog=_WHERE)
@click.argument("watch", metavar="WATCH")
@click.option("--output", "-o", type=click.Path(path_type=Path, dir_okay=False), help="Write it into this file.")
@json_option
def report(watch: str, output: Path | None, *, as_json: bool) -> int:
    """Print the report of a watch, ended or open: Markdown, ready for the post-mortem.

    WATCH is a watch's id, or a service whose open watch is meant. With --json: what the report is written from, that is
    the watch with all its evidence and its whole journal, which `watchdog replay` takes.

    Example: watchdog report w7f3k2 --output incident.md
    """
    from watchdog.cli.common import settings_of_environment  # noqa: PLC0415 - after --help was asked for
    from watchdog.cli.reach import answered  # noqa: PLC0415

    settings = settings_of_environment()

    def act() -> int:
        text = _report(settings, watch, as_json=as_json)
        if output is None:
            click.echo(text, nl=not text.endswith("\n"))
            return OK
        _write(output, text if text.endswith("\n") else f"{text}\n")
        click.echo(f"The report is in {output}.", err=True)
        return OK

    return answered(act, as_json=as_json)


def _report(settings: "Settings", watch: str, *, as_json: bool) -> str:
    import json  # noqa: PLC0415

    from watchdog.cli.reach import daemon_of, reach, segment  # noqa: PLC0415

    def by_daemon() -> str:
        path = f"/api/v1/watches/{segment(watch)}/report"
        daemon = daemon_of(settings)
        return json.dumps(daemon.get(path, format="json"), ensure_ascii=False) if as_json else daemon.text(path)

    def by_store() -> str:
        from watchdog.cli.local import events_in, opened, watch_in  # noqa: PLC0415
        from watchdog.core.report_text import markdown  # noqa: PLC0415

        async def read() -> str:
            async with opened(settings.database_url.get_secret_value()) as store:
                row = await watch_in(store, watch)
                events = await events_in(store, row.id)
                if as_json:
                    return json.dumps({"watch": row.view, "events": events}, ensure_ascii=False)
                return markdown(row.view, events, await _explained(store, row.id))

        return asyncio.run(read())

    return reach(settings, by_daemon, by_store, "reading the report")


async def _explained(store: "Store", watch_id: str) -> View | None:
    """What the report says why from; None where the journal cannot be read: a report is told in any case."""
    from watchdog.cli.explain import explanation_in  # noqa: PLC0415
    from watchdog.core.journal import JournalError  # noqa: PLC0415
    from watchdog.errors import ConfigError  # noqa: PLC0415

    try:
        return await explanation_in(store, watch_id)
    except (JournalError, ConfigError):
        return None


def _write(path: Path, text: str) -> None:
    from watchdog.errors import ConfigError  # noqa: PLC0415

    try:
        path.write_text(text, encoding="utf-8")
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise ConfigError(f"--output {path}: cannot be written: {reason}") from None


# --- from the daemon or the store ---------------------------------------------------------------------------------


def _watches(settings: "Settings", *, only_open: bool, service: str | None = None) -> list[View]:
    """Watches, newest first."""
    from watchdog.cli.reach import daemon_of, reach  # noqa: PLC0415

    def by_daemon() -> list[View]:
        query = {
            "limit": "1000",
            **({"open": "true"} if only_open else {}),
            **({"service": service} if service else {}),
        }
        rows: list[View] = daemon_of(settings).get("/api/v1/watches", **query)["watches"]
        return rows

    def by_store() -> list[View]:
        from watchdog.cli.local import key_of, opened  # noqa: PLC0415

        async def read() -> list[View]:
            async with opened(settings.database_url.get_secret_value()) as store:
                rows = await store.watches(open_only=only_open, limit=1000)
                return [row.view for row in rows if service is None or key_of(row).matches(service)]

        return asyncio.run(read())

    return reach(settings, by_daemon, by_store, "reading")


def _watch(settings: "Settings", watch: str) -> View:
    """One watch with all its evidence."""
    from watchdog.cli.reach import daemon_of, reach, segment  # noqa: PLC0415

    def by_daemon() -> View:
        view: View = daemon_of(settings).get(f"/api/v1/watches/{segment(watch)}")
        return view

    def by_store() -> View:
        from watchdog.cli.local import opened, watch_in  # noqa: PLC0415

        async def read() -> View:
            async with opened(settings.database_url.get_secret_value()) as store:
                return (await watch_in(store, watch)).view

        return asyncio.run(read())

    return reach(settings, by_daemon, by_store, "reading")


# --- words --------------------------------------------------------------------------------------------------------


def _echo_table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Aligned columns; those that are empty everywhere are left out, and control characters cannot move the cursor."""
    cells = [["".join(c if c.isprintable() else " " for c in str(cell)) for cell in row] for row in rows]
    widths = [max(len(row[i]) for row in cells) for i in range(len(head))]
    for line in (head, *cells):
        wide = [(cell, max(width, len(title))) for cell, width, title in zip(line, widths, head, strict=True) if width]
        click.echo("  ".join(cell.ljust(width) for cell, width in wide).rstrip())


def _minute(at: str | None) -> str:
    return at.replace("T", " ")[:16] if at else ""


def _words(text: object) -> str:
    return str(text or "").replace("_", " ")
