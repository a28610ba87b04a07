"""`watchdog drill`: a named outage against the real loop."""

import click

from watchdog.cli.common import echo_json, json_option, run_until_signal
from watchdog.cli.exits import UNVERIFIED


@click.command()
@click.argument("name", required=False)
@click.option("--list", "listed", is_flag=True, help="List the drills and exit.")
@click.option("--virtual", is_flag=True, help="Play it in virtual time, in one process: the same script in seconds.")
@click.option("--seed", type=click.IntRange(min=0), default=0, help="Vary it by chance; only with --virtual.")
@click.option("--keep", is_flag=True, help="Keep the drill's logs, policy and database.")
@json_option
def drill(name: str | None, *, listed: bool, virtual: bool, seed: int, keep: bool, as_json: bool) -> int:
    """Play a named outage on this machine: a real daemon against the emulated Cloud Run.

    Says what happens that day, what others do and what we are expected to do; plays it, and holds the outcome, the
    traffic writes and the pages against the script. Needs no network and no credentials. docs/drills.md has them all.

    \b
    Exit codes: 0 it ended as its script says, 11 it did not, 13 interrupted.
    Example:    watchdog drill hard-down
    """  # noqa: D301 - click's mark for lines that it must not wrap
    from watchdog.demo.rehearse import play, play_virtually  # noqa: PLC0415 - after --help was asked for

    if listed:
        return _list(as_json=as_json)
    if name is None:
        raise click.UsageError("which drill? `watchdog drill --list` names them")
    if seed and not virtual:
        raise click.UsageError("--seed varies a drill in virtual time only: add --virtual")
    if virtual:
        return play_virtually(name, as_json=as_json, keep=keep, seed=seed)
    return run_until_signal(lambda: play(name, as_json=as_json, keep=keep), on_signal=UNVERIFIED)


def _list(*, as_json: bool) -> int:
    from watchdog.demo.drill import all_drills  # noqa: PLC0415

    drills = all_drills()
    width = max(len(found.name) for found in drills)
    for found in drills:
        if as_json:
            echo_json({"drill": found.name, "title": found.title, "day": found.day, "ours": found.ours})
        else:
            click.echo(f"{found.name.ljust(width)}  {found.title}")
    return 0
