"""`watchdog silence`: say less about a service for a while, by whom and why, with an end."""

import uuid
from typing import Any

import click

from watchdog.cli.exits import OK
from watchdog.cli.options import by_option, echo_json, json_option, reason_option


@click.command()
@click.argument("service", default="")
@click.option("--criterion", default="", metavar="TEXT", help="A row's label; * and ? stand for anything.")
@click.option("--kind", default="", metavar="KIND", help="A kind of message: warning, held, blind, window, …")
@click.option("--severity", default="", metavar="WORD", help="critical, error, warning or info.")
@click.option("--for", "span", default="", metavar="DURATION", help="How long: 30m, 2h.")
@click.option("--end", default="", metavar="ID", help="End this silence now.")
@click.option("--list", "show", is_flag=True, help="Show what is silenced; of all services without SERVICE.")
@reason_option
@by_option
@json_option
def silence(
    service: str,
    *,
    criterion: str,
    kind: str,
    severity: str,
    span: str,
    end: str,
    show: bool,
    reason: str,
    by: str,
    as_json: bool,
) -> int:
    """Say less about a service for a while.

    A silence never mutes what moved traffic or should have, what a person did, nor the end of an incident, and it stops
    no rollback (that is `watchdog pause`). SERVICE is NAME, REGION/NAME or PROJECT/REGION/NAME. Needs a running daemon.

    \b
    Examples: watchdog silence api --criterion "p95_latency*" --for 2h --reason "load test"
              watchdog silence --list
              watchdog silence api --end k3f9x2ab
    """  # noqa: D301 - click's mark for lines that it must not wrap
    if not show and not service:
        raise click.UsageError("say which SERVICE, or --list.")
    if not show and not end:
        absent = [] if criterion or kind or severity else ["--criterion, --kind or --severity"]
        absent += [name for name, value in (("--for", span), ("--reason", reason)) if not value]
        if absent:
            raise click.UsageError(f"say {' and '.join(absent)}: a silence names what, until when and why.")
    from watchdog.cli.common import settings_of_environment  # noqa: PLC0415 - after --help was asked for
    from watchdog.cli.reach import answered, daemon_of  # noqa: PLC0415

    settings = settings_of_environment()

    def act() -> int:
        daemon = daemon_of(settings)
        if show:
            _print(daemon.get("/api/v1/silences", **({"service": service} if service else {})), as_json=as_json)
            return OK
        body: dict[str, Any] = {"service": service, "by": by, "reason": reason}
        told = {"criterion": criterion, "kind": kind, "severity": severity, "for": span, "end": end}
        body |= {name: value for name, value in told.items() if value}
        answer = daemon.post("/api/v1/silences", body, key=uuid.uuid4().hex)
        if as_json:
            echo_json(answer)
        else:
            said = "ends" if end else f"begins; end it with `watchdog silence {service} --end {answer['id']}`"
            click.echo(f"The silence {answer['id']} of {answer['service']} {said}.")
        return OK

    return answered(act, as_json=as_json)


def _print(answer: Any, *, as_json: bool) -> None:
    for one in answer["silences"]:
        if as_json:
            echo_json(one)
            continue
        what = ", ".join(one[name] for name in ("criterion", "kind", "severity") if one[name])
        click.echo(f"{one['id']}  {one['service']}  {what}  until {one['until']}  by {one['by']}: {one['reason']}")
    if not answer["silences"] and not as_json:
        click.echo("Nothing is silenced.")
