"""`watchdog check`: is this policy understood, and as what?"""

from pathlib import Path

import click

from watchdog.cli.exits import OK, USAGE
from watchdog.cli.options import echo_json, json_option


@click.command()
@click.argument("files", metavar="FILE...", nargs=-1, required=True, type=click.Path(path_type=Path))
@json_option
def check(files: tuple[Path, ...], *, as_json: bool) -> int:
    """Validate a policy and print its tables as understood.

    Says of each row when it is really broken, and how likely a false alarm is. Every mistake is told at once, with
    file, line, key and a suggestion. Needs no daemon, no network and no credentials.

    \b
    Exit codes: 0 the policy is valid (warnings are told), 2 it is not.
    Example:    watchdog check config/barq-fleet.yaml
    """  # noqa: D301 - click's mark for lines that it must not wrap
    from watchdog.core.policy_text import describe, describe_json  # noqa: PLC0415 - after --help was asked for
    from watchdog.errors import ConfigError  # noqa: PLC0415
    from watchdog.policy_file import load_policy  # noqa: PLC0415

    code = OK
    for file in files:
        try:
            loaded = load_policy(file)
        except ConfigError as error:
            code = USAGE
            if as_json:
                echo_json({"file": str(file), "valid": False, "problems": list(error.problems)})
            for problem in error.problems:
                click.echo(f"error: {problem}", err=True)
            continue
        if as_json:
            policy = describe_json(loaded.policy, loaded.warnings)
            echo_json({"file": str(file), "valid": True, "problems": [], **policy})
        else:
            click.echo(describe(loaded.policy, loaded.warnings))
            said = f", {len(loaded.warnings)} warnings" if loaded.warnings else ""
            click.echo(f"{file}: valid{said}")
    return code
