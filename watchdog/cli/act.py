"""The verbs that act: each becomes a letter to whoever runs the watch, by the daemon or straight into the store."""

import asyncio
import re
import uuid
from collections.abc import Mapping
from typing import Any

import click

from watchdog.cli.exits import OK, REFUSED
from watchdog.cli.options import by_option, duration, echo_json, json_option, reason_option

WATCH = "WATCH is a watch's id, or a service whose open watch is meant: NAME, REGION/NAME or PROJECT/REGION/NAME."
_WORD = re.compile(r"[a-z][a-z0-9_.-]{0,63}")

watch_argument = click.argument("watch", metavar="WATCH")


def _word(_ctx: click.Context, _param: click.Parameter, value: str) -> str:
    if _WORD.fullmatch(value) is None:
        raise click.BadParameter(f"{value!r} is not a word of lower-case letters, digits, _, . and -")
    return value


# --- verbs on a watch ---------------------------------------------------------------------------------------------


@click.command(epilog=WATCH)
@watch_argument
@click.argument("name", callback=_word)
@reason_option
@by_option
@json_option
def signal(watch: str, name: str, *, reason: str, by: str, as_json: bool) -> int:
    """Say that something is wrong which no metric shows.

    A NAME that the policy lists under immediately_if rolls back within 3 seconds: critical_functionality_broken,
    database_corruption, security_vulnerability. Any other one is recorded, and asks somebody to look.

    Example: watchdog signal barq-fleet-api database_corruption
    """
    letter = {"signal": name, "reason": reason, "by": by}
    return _order(watch, "signals", "signal", letter, said=f"The signal {name}", as_json=as_json)


@click.command(epilog=WATCH)
@watch_argument
@reason_option
@by_option
@json_option
def rollback(watch: str, *, reason: str, by: str, as_json: bool) -> int:
    """Put traffic back on the split that served before, now.

    Also answers a request for approval, and overrides a hold. The preflight still holds: a target that cannot serve is
    not written. `watchdog status WATCH` shows how it goes.

    Example: watchdog rollback barq-fleet-api --reason "checkout is broken"
    """
    letter = {"verb": "rollback", "reason": reason or "no reason given", "by": by}
    return _order(watch, "rollback", "operator", letter, said="The rollback", as_json=as_json)


def _operator(verb: str, help_text: str) -> click.Command:
    """A verb that takes nothing but a watch."""

    @click.command(verb, help=help_text, epilog=WATCH)
    @watch_argument
    @reason_option
    @by_option
    @json_option
    def command(watch: str, *, reason: str, by: str, as_json: bool) -> int:
        letter = {"verb": verb, "reason": reason, "by": by}
        return _order(watch, verb, "operator", letter, said=f"The {verb}", as_json=as_json)

    return command


ack = _operator("ack", "Say that you have it, so that nobody else is woken.\n\nActs on the watch's open incident.")
resolve = _operator(
    "resolve",
    "Say that the incident is over, so that nobody is paged or reminded any more.\n\nThe watch goes on, and pages "
    "again when something new is proven.",
)
hold = _operator(
    "hold",
    "Keep the new revision for now: no automatic rollback until `watchdog resume`.\n\nAlso answers a request for "
    "approval with no. Evidence goes on, and what is proven meanwhile is shown.",
)
pause = _operator(
    "pause",
    "Stop writes, not evidence, until `watchdog resume`.\n\nFor planned work on the service: a rollback that is proven "
    "meanwhile waits, and says so.",
)
resume = _operator("resume", "Let a held or paused watch act again.\n\nWhat was proven meanwhile is verified first.")
finish = _operator("finish", "End the watch now.\n\nIt is judged on what was seen so far.")


@click.command(epilog=WATCH)
@watch_argument
@click.argument("span", metavar="DURATION", callback=duration)
@reason_option
@by_option
@json_option
def extend(watch: str, span: tuple[str, float], *, reason: str, by: str, as_json: bool) -> int:
    """Watch for longer: DURATION (30m, 2h, 1h30m) is added to the watch's end.

    Example: watchdog extend barq-fleet-api 2h --reason "a migration tonight"
    """
    text, seconds = span
    letter = {"verb": "extend", "reason": reason, "by": by, "for_s": seconds}
    return _order(watch, "extend", "operator", letter, said=f"The extension by {text}", as_json=as_json)


@click.command(epilog=WATCH)
@watch_argument
@click.argument("name", callback=_word)
@reason_option
@by_option
@json_option
def signoff(watch: str, name: str, *, reason: str, by: str, as_json: bool) -> int:
    """Confirm an item of the checklist that only a person can confirm.

    Example: watchdog signoff barq-fleet-api user_feedback --reason "asked three"
    """
    letter = {"verb": "signoff", "reason": reason, "by": by, "name": name}
    return _order(watch, "signoffs", "operator", letter, said=f"The sign-off {name}", as_json=as_json)


def _order(watch: str, path: str, kind: str, letter: Mapping[str, Any], *, said: str, as_json: bool) -> int:
    """Send an order to the daemon; where none answers, into the inbox of the store that a foreground watch uses."""
    from watchdog.cli.common import settings_of_environment  # noqa: PLC0415 - after --help was asked for
    from watchdog.cli.reach import answered, daemon_of, reach, segment  # noqa: PLC0415
    from watchdog.core.conditions import format_duration  # noqa: PLC0415

    settings = settings_of_environment()
    body = {name: letter[name] for name in ("signal", "name", "reason", "by") if name in letter}
    if "for_s" in letter:
        body["for"] = format_duration(letter["for_s"])

    def by_daemon() -> Mapping[str, Any]:
        answer: Mapping[str, Any] = daemon_of(settings).post(
            f"/api/v1/watches/{segment(watch)}/{path}", body, key=uuid.uuid4().hex
        )
        return answer

    def by_store() -> Mapping[str, Any]:
        from watchdog.cli.local import Letter, post, validated  # noqa: PLC0415

        validated(path, body)
        return asyncio.run(post(settings, watch, Letter(kind, letter)))

    def act() -> int:
        answer = reach(settings, by_daemon, by_store, "posting into its inbox")
        if as_json:
            echo_json(answer)
            return OK
        twice = " already, where it counts once" if answer.get("repeated") else ""
        click.echo(
            f"{said} of watch {answer['watch']} is in the inbox{twice}: whoever runs the watch takes it up within half "
            f"a second. See `watchdog status {answer['watch']}`."
        )
        return OK

    return answered(act, as_json=as_json)


# --- verbs on a service -------------------------------------------------------------------------------------------


@click.command()
@click.argument("service")
@click.option("--on-next", is_flag=True, help="Wait until a revision newer than the bad one is ready.")
@reason_option
@by_option
@json_option
def release(service: str, *, on_next: bool, reason: str, by: str, as_json: bool) -> int:
    """Let traffic follow new deploys again after a rollback has pinned it.

    A rollback pins traffic, so every later deploy gets 0 % until this. Refused (exit 11) while the latest ready
    revision is the bad one; with --on-next it waits for a newer one. SERVICE is NAME, REGION/NAME or
    PROJECT/REGION/NAME. Needs a running daemon.

    Example: watchdog release barq-fleet-api --on-next
    """
    from watchdog.cli.common import settings_of_environment  # noqa: PLC0415 - after --help was asked for
    from watchdog.cli.reach import answered, daemon_of, segment  # noqa: PLC0415

    settings = settings_of_environment()

    def act() -> int:
        body = {"on_next": on_next, "reason": reason, "by": by}
        answer = daemon_of(settings).post(f"/api/v1/services/{segment(service)}/release", body, key=uuid.uuid4().hex)
        when = "as soon as a newer revision is ready" if on_next else "within a few seconds"
        if as_json:
            echo_json(answer)
        else:
            click.echo(
                f"The release of {answer['service']} is in the inbox: traffic follows the latest revision {when}."
            )
        return OK

    return answered(act, as_json=as_json)


@click.command()
@click.argument("service")
@click.option("--image", default="", metavar="REF", help="The image as it would be deployed: with its digest, best.")
@click.option("--promote", is_flag=True, help="Ask whether the rollout that is being watched may take its next step.")
@click.option(
    "--detect",
    default="",
    metavar="SHARE",
    help="With --promote: a fault in this share of the requests must have had time to show. Default: 10%.",
)
@click.option("--region", default="", help="Where, when the service runs in several regions.")
@click.option("--project", default="", help="Whose, when several projects have the service.")
@json_option
def gate(service: str, *, image: str, promote: bool, detect: str, region: str, project: str, as_json: bool) -> int:
    """May this image be deployed, may this rollout go on? For a step of a pipeline.

    --image: no, while it is known to be bad, that is, it was rolled back within the last 30 days. --promote: no, while
    anything speaks against the revision that is being watched, or too little was seen since its last step to know:
    coverage below the policy's floor, or so few requests that a fault in a tenth of them might not have shown. SERVICE
    is NAME, REGION/NAME or PROJECT/REGION/NAME. Needs a running daemon; where none answers the code is 1, so that a
    pipeline can choose to stop or to go on.

    \b
    Exit codes: 0 yes, 11 no.
    Examples:   watchdog gate barq-fleet-api --image gcr.io/barq-fleet/api:1.4.3
                until watchdog gate barq-fleet-api --promote; do sleep 30; done
    """  # noqa: D301 - click's mark for lines that it must not wrap
    if not image and not promote:
        raise click.UsageError("say --image REF or --promote: what is asked for?")
    if detect and not promote:
        raise click.UsageError("--detect has a meaning only with --promote.")
    from watchdog.cli.common import settings_of_environment  # noqa: PLC0415 - after --help was asked for
    from watchdog.cli.reach import answered, daemon_of  # noqa: PLC0415

    settings = settings_of_environment()
    query = {"service": service, "image": image, "region": region, "project": project, "detect": detect}
    query["promote"] = "true" if promote else ""

    def act() -> int:
        answer = daemon_of(settings).get("/api/v1/gate", **{name: value for name, value in query.items() if value})
        if as_json:
            echo_json(answer)
        else:
            click.echo(f"{'Allowed' if answer['allowed'] else 'Not allowed'}: {answer['reason']}")
        return OK if answer["allowed"] else REFUSED

    return answered(act, as_json=as_json)
