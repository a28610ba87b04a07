"""`watchdog init`: the first policy of a service, the rights it needs, and what comes next."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from watchdog.cli.exits import OK, UNVERIFIED
from watchdog.cli.options import echo_json, json_option

if TYPE_CHECKING:
    from watchdog.actions.cloud_run import CloudRun
    from watchdog.core.first_policy import Described, FoundProbe
    from watchdog.core.first_rights import Block
    from watchdog.core.model import ServiceKey
    from watchdog.core.probing import ProbeAnswer
    from watchdog.settings import Settings
    from watchdog.sources.http_probe import HttpProber

_OFFLINE = "`--offline` writes a policy without asking anybody."


@dataclass(frozen=True, slots=True, kw_only=True)
class _Wanted:
    """The service as somebody typed it; what nobody said is empty."""

    project: str
    region: str
    name: str


@click.command()
@click.argument("service")
@click.option(
    "--project",
    envvar=["GOOGLE_CLOUD_PROJECT", "CLOUDSDK_CORE_PROJECT"],
    default="",
    help="Its project, where SERVICE does not say it. Default: GOOGLE_CLOUD_PROJECT.",
)
@click.option("--region", envvar="CLOUDSDK_RUN_REGION", default="", help="Its region. Default: where it is found.")
@click.option("--output", "-o", type=click.Path(path_type=Path, dir_okay=False), help="File. Default: NAME.yaml, here.")
@click.option(
    "--print", "to_stdout", is_flag=True, help="Print the policy (commands: on standard error) and write no file."
)
@click.option("--force", is_flag=True, help="Replace a file that is there.")
@click.option("--offline", is_flag=True, help="Ask nobody: write defaults, marked as such. Needs PROJECT/REGION/NAME.")
@click.option("--account", default="", metavar="EMAIL", help="What the watchdog will run as, for the commands.")
@json_option
def init(
    service: str,
    project: str,
    region: str,
    output: Path | None,
    account: str,
    *,
    to_stdout: bool,
    force: bool,
    offline: bool,
    as_json: bool,
) -> int:
    """Write a first policy for SERVICE, in observe mode, and print the IAM commands that it needs.

    SERVICE is NAME, REGION/NAME or PROJECT/REGION/NAME. Cloud Run is asked for its address, its probes, who may reach
    it and its databases; each probe is asked once. Nothing is changed there, and a file that exists is left alone.

    \b
    Exit codes: 0 written, 2 usage, no such service, or the file exists,
                1 Cloud Run does not answer.
    Examples:   watchdog init barq-fleet/us-central1/barq-fleet-api
                watchdog init barq-fleet-api --project barq-fleet --print
    """  # noqa: D301 - click's mark for lines that it must not wrap
    from watchdog.cli.common import log_as, run_until_signal, settings_of_environment  # noqa: PLC0415 - after --help

    wanted = _wanted(service, project, region)
    if output is not None and to_stdout:
        raise click.UsageError("--print writes no file: leave out --output.")
    _refuse_to_replace(output or Path(f"{wanted.name}.yaml"), to_stdout=to_stdout, force=force)
    settings = settings_of_environment()
    log_as(settings, quiet=True)

    async def work() -> int:
        described, probes = _blank(wanted) if offline else await _survey(settings, wanted)
        return _tell(described, probes, output, account, to_stdout=to_stdout, force=force, as_json=as_json)

    return run_until_signal(work, on_signal=UNVERIFIED)


def _wanted(service: str, project: str, region: str) -> _Wanted:
    parts = service.split("/")
    if not all(parts) or len(parts) > 3:
        raise click.BadParameter(
            f"{service!r} is no service; write NAME, REGION/NAME or PROJECT/REGION/NAME", param_hint="SERVICE"
        )
    said_region = parts[-2] if len(parts) > 1 else region
    said_project = parts[0] if len(parts) == 3 else project
    if not said_project:
        raise click.UsageError(
            f"Which project is {service} in? Write PROJECT/REGION/{parts[-1]}, or --project, "
            "or set GOOGLE_CLOUD_PROJECT."
        )
    return _Wanted(project=said_project, region=said_region, name=parts[-1])


def _refuse_to_replace(path: Path, *, to_stdout: bool, force: bool) -> None:
    from watchdog.errors import ConfigError  # noqa: PLC0415 - after --help was asked for

    if path.exists() and not force and not to_stdout:
        raise ConfigError(
            f"{path} exists and is left as it is; write elsewhere with --output, or replace it with --force"
        )


# --- asking -------------------------------------------------------------------------------------------------------


def _blank(wanted: _Wanted) -> "tuple[Described, Sequence[FoundProbe]]":
    from watchdog.core.first_policy import Described  # noqa: PLC0415
    from watchdog.core.model import ServiceKey  # noqa: PLC0415

    if not wanted.region:
        raise click.UsageError(f"--offline cannot look up the region: write {wanted.project}/REGION/{wanted.name}.")
    key = ServiceKey(project=wanted.project, region=wanted.region, name=wanted.name)
    return Described(key=key, asked=False), ()


async def _survey(settings: "Settings", wanted: _Wanted) -> "tuple[Described, Sequence[FoundProbe]]":
    """The service as it is, and the probes to write down."""
    from watchdog.app import survey  # noqa: PLC0415 - the adapters are heavy
    from watchdog.core.first_policy import kept  # noqa: PLC0415
    from watchdog.errors import ConfigError, PermanentError, TemporaryError, WatchdogError  # noqa: PLC0415

    async with survey(settings) as (cloud_run, prober):
        try:
            described = await _find(cloud_run, wanted)
        except TemporaryError as error:
            raise WatchdogError(f"{error}. {_OFFLINE}") from error
        except PermanentError as error:
            raise ConfigError(f"{error} {_OFFLINE}") from error
        asked = await _ask(prober, described)
    hidden = tuple(
        f"{p.origin} asks {p.path}, which Google answers itself ({p.said}): users never reach it."
        for p in asked
        if p.origin and p.answer == "hidden"
    )
    return replace(described, left_out=(*described.left_out, *hidden)), kept(asked)


async def _find(cloud_run: "CloudRun", wanted: _Wanted) -> "Described":
    from watchdog.core.model import ServiceKey  # noqa: PLC0415
    from watchdog.errors import ConfigError, PermanentError  # noqa: PLC0415

    if wanted.region:
        key = ServiceKey(project=wanted.project, region=wanted.region, name=wanted.name)
        try:
            return await cloud_run.describe(key)
        except PermanentError as error:
            if error.status != 404:
                raise
            raise ConfigError(f"{key}: there is no such service.{await _others(cloud_run, key)} {_OFFLINE}") from error
    found = await cloud_run.locate(wanted.project, wanted.name)
    if len(found) == 1:
        return found[0]
    if found:
        names = ", ".join(str(d.key) for d in found)
        raise ConfigError(f"{wanted.name} is in several regions: say which one: {names}")
    raise ConfigError(f"{wanted.project} has no service {wanted.name} in any region. {_OFFLINE}")


async def _others(cloud_run: "CloudRun", key: "ServiceKey") -> str:
    from watchdog.errors import WatchdogError  # noqa: PLC0415

    try:
        there = [s.name for s in await cloud_run.list_services(key.project, key.region)]
    except WatchdogError as error:
        return f" What there is could not be listed either: {error}"
    return f" There: {', '.join(sorted(there)[:20])}." if there else f" {key.project} has none in {key.region}."


async def _ask(prober: "HttpProber", described: "Described") -> "list[FoundProbe]":
    """Each probe once, without a token; where the service names none that arrives, paths that are usual."""
    from watchdog.core.first_policy import GUESSES, FoundProbe  # noqa: PLC0415
    from watchdog.core.policy import ProbeConfig  # noqa: PLC0415

    if not described.url:
        return list(described.probes)

    async def ask(probe: FoundProbe) -> FoundProbe:
        config = ProbeConfig(name=probe.name, path=probe.path)
        return _judged(probe, await prober.probe(config, described.url, fresh=True))

    asked = await asyncio.gather(*(ask(probe) for probe in described.probes))
    if all(probe.answer == "hidden" for probe in asked):
        usual = [FoundProbe(name="health", path=path, origin="") for path in GUESSES]
        asked += await asyncio.gather(*(ask(probe) for probe in usual))
    return asked


def _judged(probe: "FoundProbe", answer: "ProbeAnswer") -> "FoundProbe":
    said = answer.detail or answer.reason
    if answer.ok:
        return replace(probe, answer="ok", said=said)
    if answer.reason == "access":
        return replace(probe, answer="hidden" if answer.status == 404 else "private", said=said)
    return replace(probe, answer="failed" if answer.failed else "unasked", said=said)


# --- telling ------------------------------------------------------------------------------------------------------


def _tell(
    described: "Described",
    probes: "Sequence[FoundProbe]",
    output: Path | None,
    account: str,
    *,
    to_stdout: bool,
    force: bool,
    as_json: bool,
) -> int:
    from watchdog.core.first_policy import file_name, private, text  # noqa: PLC0415
    from watchdog.core.first_rights import blocks, default_account  # noqa: PLC0415
    from watchdog.policy_file import parse_policy  # noqa: PLC0415

    path = output or Path(file_name(described.key))
    policy = text(described, probes)
    warnings = parse_policy(policy, path).warnings  # what we write is what `check` takes, or we say so instead
    rights = blocks(
        described,
        account or default_account(described.key.project),
        needs_invoker=private(described, probes),
    )
    steps = _steps(path)
    if not to_stdout:
        _write(path, policy, force=force)
    if as_json:
        echo_json(
            {
                "service": str(described.key),
                "file": None if to_stdout else str(path),
                "mode": "observe",
                "policy": policy,
                "warnings": list(warnings),
                "rights": [{"title": b.title, "commands": list(b.commands)} for b in rights],
                "next": [{"step": step, "command": command} for step, command in steps.items()],
            }
        )
        return OK
    if to_stdout:
        click.echo(policy, nl=False)
    else:
        click.echo(f"{path} is written: {described.key} in observe mode. Read it; what is marked needs you.")
    _explain(rights, steps, err=to_stdout)
    return OK


def _explain(rights: "Sequence[Block]", steps: Mapping[str, str], *, err: bool) -> None:
    for block in rights:
        click.echo(f"\n# {block.title}", err=err)
        for command in block.commands:
            click.echo(command, err=err)
    click.echo("\nNext:", err=err)
    for step, command in steps.items():
        click.echo(f"  {step}\n    {command}", err=err)


def _steps(path: Path) -> dict[str, str]:
    """What to do next, and the command for it."""
    return {
        "Could it roll back, and does a message arrive?": f"watchdog preflight --config {path} --send-test",
        "Watch deploys, and write nothing:": f"watchdog run --config {path}",
        "After ten deploys: what would automatic have done, and was it right?": "watchdog history",
        "When it was: mode: approve, then mode: automatic in the policy, and": f"watchdog preflight --config {path}",
    }


def _write(path: Path, policy: str, *, force: bool) -> None:
    from watchdog.errors import ConfigError  # noqa: PLC0415

    try:
        with path.open("w" if force else "x", encoding="utf-8") as file:
            file.write(policy)
    except FileExistsError:
        raise ConfigError(
            f"{path} exists and is left as it is; write elsewhere with --output, or use --force"
        ) from None
    except OSError as error:
        raise ConfigError(f"{path}: cannot be written: {error.strerror or error}") from None
