"""`watchdog journey FILE`: does the service do what people need it for, right now?"""

import asyncio
import secrets
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from watchdog.cli.exits import OK, REFUSED
from watchdog.cli.options import echo_json, json_option

if TYPE_CHECKING:
    from watchdog.core.probing import ProbeAnswer, StepAnswer
    from watchdog.journey_file import LoadedJourney
    from watchdog.settings import Settings

_GLYPHS = {"passed": "ok  ", "failed": "FAIL", "missing": "?   ", "skipped": "-   "}


@click.command()
@click.argument("files", metavar="FILE...", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--url", default="", metavar="URL", help="Where the service is. Default: service.url of the policy.")
@click.option(
    "--config",
    "configs",
    multiple=True,
    type=click.Path(path_type=Path, dir_okay=False),
    help="The policy whose service.url is asked. Default: WATCHDOG_CONFIG.",
)
@click.option("--auth", type=click.Choice(["none", "id_token"]), default="none", help="For a private service.")
@json_option
def journey(files: tuple[Path, ...], url: str, configs: tuple[Path, ...], auth: str, *, as_json: bool) -> int:
    """Run a journey once and show each step. Needs no daemon.

    Secrets (${secret.NAME} in the file) come from WATCHDOG_JOURNEY__NAME, or from a file of that name in
    WATCHDOG_SECRETS_DIR. A journey that comes with Watchdog may be named as in a policy: journeys/login.yaml.

    \b
    Exit codes: 0 every step passed, 11 one did not (or could not be judged), 2 the file or the environment is wrong.
    Example:    watchdog journey config/journeys/courier.yaml --url https://api.barqfleet.com
    """  # noqa: D301 - click's mark for lines that it must not wrap
    from watchdog.cli.common import log_as, settings_of_environment  # noqa: PLC0415 - after --help was asked for
    from watchdog.errors import ConfigError  # noqa: PLC0415
    from watchdog.journey_file import find_journey, load_journey  # noqa: PLC0415

    settings = settings_of_environment()
    log_as(settings, quiet=True)
    loaded, problems = [], list[str]()
    for file in files:
        try:
            loaded.append(load_journey(find_journey(str(file), Path())))
        except ConfigError as error:
            problems += error.problems
    if problems:
        raise ConfigError(*problems)
    absent = sorted({name for one in loaded for name in one.journey.secrets if name not in settings.journey})
    if absent:
        raise ConfigError(
            *(
                f"WATCHDOG_JOURNEY__{name.upper()}: is not set, and a journey needs ${{secret.{name}}}; set it, or "
                "mount a file of that name in WATCHDOG_SECRETS_DIR"
                for name in absent
            )
        )
    base = _base_url(settings, url, configs)
    answers = asyncio.run(_run(settings, loaded, base, auth))
    for one, answer in zip(loaded, answers, strict=True):
        if as_json:
            echo_json(_as_json(one, base, answer))
        else:
            _show(one, base, answer)
    return OK if all(answer.ok for answer in answers) else REFUSED


def _base_url(settings: "Settings", url: str, configs: Sequence[Path]) -> str:
    from watchdog.cli.common import policies_of  # noqa: PLC0415
    from watchdog.errors import ConfigError  # noqa: PLC0415

    if url:
        if not url.startswith(("http://", "https://")):
            raise ConfigError(f"--url {url}: is not an address; write for example https://api.example.com")
        return url
    if not configs and not settings.config:
        raise ConfigError("no address: say --url https://…, or name a policy that has service.url with --config")
    found = [p.policy.service.url for p in policies_of(settings, configs) if p.policy.service.url]
    if len(found) != 1:
        raise ConfigError(
            "no address: the policy has no service.url; say --url https://…"
            if not found
            else "several policies have a service.url: say with --url which one is meant"
        )
    return found[0]


async def _run(
    settings: "Settings", loaded: "Sequence[LoadedJourney]", base_url: str, auth: str
) -> "Sequence[ProbeAnswer]":
    """One after the other: a journey that logs out must not end another one's session."""
    from watchdog.engine.clock import SystemClock  # noqa: PLC0415 - the adapters are heavy
    from watchdog.sources.journey import HttpJourneys  # noqa: PLC0415
    from watchdog.transport import GoogleTokens  # noqa: PLC0415

    tokens = GoogleTokens()
    try:
        async with HttpJourneys(
            SystemClock(),
            secrets={name: value.get_secret_value() for name, value in settings.journey.items()},
            new_run=lambda: secrets.token_hex(6),
            id_token=tokens.id_token,
        ) as journeys:
            return [await journeys.run(one.journey, base_url, auth=auth) for one in loaded]
    finally:
        await tokens.close()


def _as_json(loaded: "LoadedJourney", base_url: str, answer: "ProbeAnswer") -> dict[str, Any]:
    from watchdog.core.text import iso  # noqa: PLC0415

    return {
        "journey": str(loaded.path),
        "title": loaded.journey.title,
        "url": base_url,
        "result": "passed" if answer.ok else "failed" if answer.failed else "missing",
        "reason": answer.reason,
        "detail": answer.detail,
        "started_at": iso(answer.started_at),
        "seconds": round(answer.ended_at - answer.started_at, 4),
        "steps": [
            {
                "name": s.name,
                "result": s.result,
                "status": s.status,
                "reason": s.reason,
                "detail": s.detail,
                "seconds": round(s.ended_at - s.started_at, 4),
                "cleanup": s.cleanup,
            }
            for s in answer.steps
        ],
    }


def _show(loaded: "LoadedJourney", base_url: str, answer: "ProbeAnswer") -> None:
    from watchdog.core.text import span  # noqa: PLC0415

    click.echo(f"{loaded.journey.title or loaded.path.stem} at {base_url}")
    for step in answer.steps:
        click.echo(_line(step, span(step.ended_at - step.started_at)))
    took = span(answer.ended_at - answer.started_at)
    if answer.ok:
        click.echo(f"{loaded.path}: passed in {took}" + (f"; {answer.detail}" if answer.detail else ""))
    else:
        said = "failed" if answer.failed else "no evidence"
        click.echo(f"{loaded.path}: {said} after {took}: {answer.detail}")


def _line(step: "StepAnswer", took: str) -> str:
    name = f"{step.name} (cleanup)" if step.cleanup else step.name
    status = str(step.status or "")
    text = (
        f"  {_GLYPHS[step.result]} {name:<36} {status:<4} {took if step.result != 'skipped' else '':<8} {step.detail}"
    )
    return text.rstrip()
