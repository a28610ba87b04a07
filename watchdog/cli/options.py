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
