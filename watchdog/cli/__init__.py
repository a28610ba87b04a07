"""The command line: one module a group of verbs, loaded only when its verb is used.

Exit codes (DESIGN section 8): 0 passed, ready, allowed, done · 1 internal error · 2 usage or configuration · 10 rolled
back · 11 failed, refused, not ready, not allowed · 12 superseded or overridden · 13 unverified or interrupted.
"""

import sys
from importlib import import_module

import click

from watchdog import __version__
from watchdog.cli.exits import INTERNAL, USAGE
from watchdog.errors import ConfigError, WatchdogError

VERBS = {
    "run": "daemon",
    "watch": "foreground",
    "init": "init",
    "check": "policy",
    "preflight": "preflight",
    "status": "read",
    "history": "read",
    "report": "read",
    "explain": "explain",
    "replay": "replay",
    "backtest": "backtest",
    "signal": "act",
    "rollback": "act",
    "ack": "act",
    "hold": "act",
    "pause": "act",
    "resume": "act",
    "extend": "act",
    "finish": "act",
    "signoff": "act",
    "resolve": "act",
    "silence": "silence",
    "release": "act",
    "gate": "act",
    "journey": "journey",
    "notify": "notify",
    "emulator": "world",
    "demo": "world",
    "drill": "drill",
}
"""Verb → the module of this package that holds it."""


class _Verbs(click.Group):
    """Loads a verb's module when the verb is used, so that `watchdog check` does not import a web server."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        return list(VERBS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        module = VERBS.get(cmd_name)
        if module is None:
            return None
        command = getattr(import_module(f"watchdog.cli.{module}"), cmd_name)
        return command if isinstance(command, click.Command) else None


@click.group(cls=_Verbs, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="watchdog")
def cli() -> None:
    """The safety net under every Cloud Run deploy."""


def main(arguments: list[str] | None = None) -> None:
    """Run a verb and exit with its code; what a person must mend is said in sentences, never as a traceback."""
    try:
        code = cli.main(args=arguments, prog_name="watchdog", standalone_mode=False)
    except click.exceptions.Abort:
        sys.exit(USAGE)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except ConfigError as error:
        for problem in error.problems:
            click.echo(f"error: {problem}", err=True)
        sys.exit(USAGE)
    except WatchdogError as error:
        click.echo(f"error: {error}", err=True)
        sys.exit(INTERNAL)
    except BrokenPipeError:
        sys.stderr.close()  # nobody reads any more, and Python would say so at exit
        sys.exit(INTERNAL)
    sys.exit(code if isinstance(code, int) else 0)
