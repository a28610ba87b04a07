"""`watchdog preflight`: could we roll back right now?"""

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING

import click

from watchdog.cli.exits import OK, REFUSED
from watchdog.cli.options import by_option, duration, echo_json, json_option

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from watchdog.app import App
    from watchdog.core.model import ServiceKey
    from watchdog.core.policy import Policy
    from watchdog.engine.findings import Finding
    from watchdog.engine.preflight import Preflight
    from watchdog.settings import Settings

_GLYPHS = {"ok": "ok     ", "problem": "PROBLEM", "unknown": "unknown"}


@click.command()
@click.option(
    "--config",
    "configs",
    multiple=True,
    type=click.Path(path_type=Path, dir_okay=False),
    help="Policy file; may be repeated. Default: WATCHDOG_CONFIG.",
)
@click.option("--send-test", is_flag=True, help="Send the test message of `notify --test` too.")
@click.option(
    "--max-backup-age",
    "backup_age",
    default="1h",
    show_default=True,
    metavar="DURATION",
    callback=duration,
    help="How old the last backup of a Cloud SQL instance that the policy names may be.",
)
@by_option
@json_option
def preflight(
    configs: tuple[Path, ...], by: str, *, send_test: bool, backup_age: tuple[str, float], as_json: bool
) -> int:
    """Check whether a rollback would work right now.

    Permissions, the revision to go back to, probes, metrics, whether production is stable, the last database backup,
    channels and the store, a line each, with what to do. Needs no daemon and moves no traffic. Opening the store brings
    its schema up to date. Unknown is what cannot be tested without writing, or leaves less proof; it does not fail.
    Whether traffic could be written is remembered for 24 hours: without it, automatic mode asks a person first.

    \b
    Exit codes: 0 ready, 11 not ready, 2 policy or environment is wrong.
    Example:    watchdog preflight --config barq-fleet.yaml
    """  # noqa: D301 - click's mark for lines that it must not wrap
    from watchdog.cli.common import (  # noqa: PLC0415 - after --help was asked for
        log_as,
        policies_of,
        run_until_signal,
        settings_of_environment,
    )
    from watchdog.cli.exits import UNVERIFIED  # noqa: PLC0415

    settings = settings_of_environment()
    policies = [loaded.policy for loaded in policies_of(settings, configs, probing=True)]
    log_as(settings, quiet=True)

    async def work() -> int:
        found = await _all(settings, policies, by, backup_age[1], send=send_test)
        return _tell(found, as_json=as_json)

    return run_until_signal(work, on_signal=UNVERIFIED)


async def _all(
    settings: "Settings", policies: "Sequence[Policy]", by: str, backup_s: float, *, send: bool
) -> "list[tuple[str, Sequence[Finding]]]":
    """The findings of each service; those of this process itself come last, under no service."""
    from watchdog.app import build  # noqa: PLC0415 - the adapters are heavy
    from watchdog.engine.preflight import preflight as look  # noqa: PLC0415
    from watchdog.store import make_store  # noqa: PLC0415

    store = await _store(settings)
    # Where the database cannot be opened, the rest is checked with nothing remembered.
    stand_in = None if store.mark != "problem" else make_store("memory:")
    async with build(settings, policies, discover=False, store=stand_in) as app:
        keys = [(key, policy) for policy in policies for key in policy.service.keys]
        known = [await app.facts(key) for key, _ in keys]
        alone = [_for(policy, key.region) for key, policy in keys]
        found = await asyncio.gather(
            *(
                look(app.tools, app.rights, p, s, app.backups, backup_s=backup_s)
                for p, s in zip(alone, known, strict=True)
            )
        )
        channels = [n.channel for n in app.notifiers]
        if stand_in is None:
            store = await _remember(app, {k: f for (k, _), f in zip(keys, found, strict=True)}, by) or store
    told: list[tuple[str, Sequence[Finding]]] = [
        (str(key), f.findings) for (key, _), f in zip(keys, found, strict=True)
    ]
    return [*told, ("", [store, *await _channels(settings, channels, by if send else None)])]


async def _remember(app: "App", found: "Mapping[ServiceKey, Preflight]", by: str) -> "Finding | None":
    """Leave what was found with whoever keeps the services; what went wrong with that."""
    from watchdog.engine.findings import Finding  # noqa: PLC0415
    from watchdog.engine.trust import tell  # noqa: PLC0415
    from watchdog.errors import WatchdogError  # noqa: PLC0415

    now = app.tools.clock.now()
    try:
        for key, result in found.items():
            await tell(app.store, key, result.checked, by=by, owner=app.tools.owner, now=now)
    except WatchdogError as error:
        todo = "The result is not remembered; check the database that WATCHDOG_DATABASE_URL names."
        return Finding(check="store", mark="problem", detail=str(error), todo=todo)
    return None


def _for(policy: "Policy", region: str) -> "Policy":
    """The policy as it is for one of its regions."""
    return policy.model_copy(update={"service": policy.service.model_copy(update={"regions": (region,)})})


async def _store(settings: "Settings") -> "Finding":
    from watchdog.cli.local import opened  # noqa: PLC0415
    from watchdog.engine.findings import Finding  # noqa: PLC0415
    from watchdog.errors import WatchdogError  # noqa: PLC0415

    url = settings.database_url.get_secret_value()
    try:
        async with opened(url) as store:
            await store.ping()
    except WatchdogError as error:
        todo = "Check WATCHDOG_DATABASE_URL and that the database runs."
        return Finding(check="store", mark="problem", detail=str(error), todo=todo)
    if url.startswith("memory:"):
        todo = "Name a file or a PostgreSQL in WATCHDOG_DATABASE_URL: a restart forgets everything."
        return Finding(check="store", mark="problem", detail="in memory only", todo=todo)
    return Finding(check="store", mark="ok", detail="answers, and its schema is the newest")


async def _channels(settings: "Settings", channels: "Sequence[str]", by: str | None) -> "list[Finding]":
    from watchdog.cli.notify import send_test  # noqa: PLC0415
    from watchdog.engine.findings import Finding  # noqa: PLC0415

    if not channels:
        todo = "Set WATCHDOG_SLACK__WEBHOOK_URL, WATCHDOG_PAGERDUTY__ROUTING_KEY or another channel."
        return [Finding(check="channels", mark="problem", detail="none is set: nobody would be told", todo=todo)]
    if by is None:
        detail = f"{', '.join(channels)} configured; delivery not tested (--send-test)"
        return [Finding(check="channels", mark="ok", detail=detail)]
    return [
        Finding(check=f"channel {r.channel}", mark="ok", detail=f"test message delivered: {r.detail}")
        if r.delivered
        else Finding(
            check=f"channel {r.channel}",
            mark="problem",
            detail=f"test message NOT delivered: {r.detail}",
            todo="Mend the channel's variables, then `watchdog notify --test`.",
        )
        for r in await send_test(settings, by)
    ]


def _tell(found: "Sequence[tuple[str, Sequence[Finding]]]", *, as_json: bool) -> int:
    for service, findings in found:
        if not as_json:
            click.echo(service or "this watchdog")
        for one in findings:
            if as_json:
                echo_json(
                    {"service": service, "check": one.check, "state": one.mark, "detail": one.detail, "todo": one.todo}
                )
                continue
            click.echo(f"  {_GLYPHS[one.mark]}  {one.check}: {one.detail}")
            if one.mark != "ok" and one.todo:
                click.echo(f"           {one.todo}")
    marks = [one.mark for _, findings in found for one in findings]
    problems, unknown = marks.count("problem"), marks.count("unknown")
    if as_json:
        echo_json({"ready": not problems, "problems": problems, "unknown": unknown})
    else:
        left = f"{unknown} unknown" if unknown else "nothing unknown"
        click.echo(f"NOT ready: {problems} to mend, {left}" if problems else f"ready; {left}")
    return REFUSED if problems else OK
