"""Options that several verbs share, and nothing that takes time to import: `--help` answers at once."""

import getpass
import json
from collections.abc import Callable
from typing import Any, TypeVar

import click

F = TypeVar("F", bound=Callable[..., Any])

json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON, one object a line.")


def os_user() -> str:
    """Whoever runs the verb; `cli` where the system has no name for them (a container's bare number)."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return "cli"


by_option = click.option("--by", default=os_user, metavar="NAME", help="Who says so. Default: your user name.")
reason_option = click.option("--reason", default="", metavar="TEXT", help="Why, for the report.")


def echo_json(value: object) -> None:
    """One JSON object on one line."""
    click.echo(json.dumps(value, ensure_ascii=False))


MARKS = ("right", "wrong", "late", "unclear")
"""The words of `core.marks.WORDS`, here without its imports."""


def marking_of(_ctx: click.Context, _param: click.Parameter, value: tuple[str, str] | None) -> tuple[str, str] | None:
    """The watch and its mark, in lower case."""
    if value is None:
        return None
    watch, word = value
    if word.lower() not in MARKS:
        raise click.BadParameter(f"{word!r} is no mark; write WATCH and one of {', '.join(MARKS)}")
    return watch, word.lower()


def duration(_ctx: click.Context, _param: click.Parameter, value: str) -> tuple[str, float]:
    """A length of time as it was written, and its seconds; never nothing."""
    from watchdog.core.conditions import parse_duration  # noqa: PLC0415 - after --help was asked for

    try:
        found = parse_duration(value)
    except ValueError as error:
        raise click.BadParameter(str(error)) from None
    if found <= 0.0:
        raise click.BadParameter("write a duration of more than nothing: 30m, 2h")
    return value, found
