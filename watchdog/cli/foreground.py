"""`watchdog watch`: one deploy in the foreground, with live progress, until its outcome is certain."""

import asyncio
import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from rich.console import Console
from rich.live import Live

from watchdog.cli.common import (
    config_option,
    echo_json,
    json_option,
    log_as,
    policies_of,
    run_until_signal,
    settings_of_environment,
    unwrap,
)
from watchdog.cli.exits import OF_OUTCOME, UNVERIFIED
from watchdog.core.conditions import parse_duration
from watchdog.core.events import Operated
from watchdog.core.model import Split, Window
from watchdog.core.policy import Policy
from watchdog.core.report import view
from watchdog.core.text import iso
from watchdog.core.traffic import percents
from watchdog.engine.opening import Notice
from watchdog.errors import ConfigError, PermanentError, TemporaryError, WatchdogError
from watchdog.settings import Settings
from watchdog.terminal import line, panel, sentence

if TYPE_CHECKING:
    from watchdog.app import App
    from watchdog.engine.keeper import Keeper
    from watchdog.engine.runner import WatchRunner
    from watchdog.ports import WatchRow

DRAIN_S = 30.0
"""How long the verb waits for its messages before it exits (DESIGN section 8)."""
START_S = 20.0
"""How long it tries to reach Cloud Run and the store before it gives up."""
FOLLOW_EVERY_S = 0.5


@dataclass(slots=True)
class Display:
    """Prints what is announced: JSON lines, or sentences with a live panel on a terminal."""

    as_json: bool
    console: Console = field(default_factory=lambda: Console(highlight=False))
    live: Live | None = None

    def tell(self, event: str, at: float, fields: Mapping[str, Any]) -> None:
        """Print one announcement; the end is printed by `finish`, after the messages have gone out."""
        if event == "watch_ended":
            return
        if self.as_json:
            echo_json({"at": iso(at), "event": event, **fields})
        else:
            self.console.print(line(event, at, fields), soft_wrap=True)
            if event == "watch_opened":
                for note in fields["notes"]:
                    self.console.print(f"          note: {note}", style="yellow", soft_wrap=True, markup=False)

    def show(self, shown: Mapping[str, Any]) -> None:
        """Bring the live panel up to date."""
        if self.live is not None:
            self.live.update(panel(shown))

    def finish(self, at: float, watch: str, outcome: str, reason: str, undelivered: list[str]) -> None:
        """The last line."""
        fields = {"watch": watch, "outcome": outcome, "reason": reason, "undelivered": undelivered}
        if self.as_json:
            echo_json({"at": iso(at), "event": "watch_ended", **fields})
            return
        for name in undelivered:
            self.console.print(f"          not delivered: {name}", style="bold red", markup=False)
        self.console.print(line("watch_ended", at, fields), soft_wrap=True)


def _until(_ctx: click.Context, _param: click.Parameter, value: str | None) -> str | None:
    if value is None or value in set(Window):
        return value
    try:
        parse_duration(value)
    except ValueError as error:
        raise click.BadParameter(f"{error}; write immediate, short_term, extended or a duration such as 30s") from None
    return value


def _previous(_ctx: click.Context, _param: click.Parameter, value: str | None) -> dict[str, int]:
    if not value:
        return {}
    split: dict[str, int] = {}
    for part in value.split(","):
        match = re.fullmatch(r"\s*([a-z][a-z0-9-]*)\s*=\s*(\d+)\s*%?\s*", part)
        if match is None or match[1] in split:
            raise click.BadParameter(f"{part.strip()!r} is not REVISION=PERCENT; write REV=90,REV=10")
        split[match[1]] = int(match[2])
    try:
        return percents(split).percents()
    except ValueError as error:
        raise click.BadParameter(f"{error}: {value}") from None


@click.command()
@config_option
@click.option(
    "--service", help="Which service, where several policies are given: NAME, REGION/NAME or PROJECT/REGION/NAME."
)
@click.option("--revision", help="The revision to watch. Default: the latest created one.")
@click.option("--previous", callback=_previous, metavar="REV=90,REV=10", help="The split that served before.")
@click.option("--no-rollback-safe", is_flag=True, help="Never move traffic back: page with the runbook instead.")
@click.option(
    "--until",
    callback=_until,
    metavar="WINDOW|DURATION",
    help="End after a window (from the cutover) or a time (from now).",
)
@click.option("--version", "version_", default="", help="The version that was deployed.")
@click.option("--deployer", default="", help="Who deployed it.")
@json_option
def watch(configs: tuple[Path, ...], *, as_json: bool, **options: Any) -> int:
    """Watch one deploy until its outcome is certain, roll back when it is proven bad.

    Exits 0 passed, 10 rolled back, 11 failed or refused, 12 superseded or overridden, 13 unverified or interrupted. An
    interrupted watch stays open: run the same command again to take it up.
    """
    settings = settings_of_environment()
    policies = [loaded.policy for loaded in policies_of(settings, configs, probing=True)]
    policy = _choose(policies, options["service"])
    log_as(settings, quiet=True)
    notice = _notice(policy, options)
    display = Display(as_json)
    code = run_until_signal(lambda: _watch(settings, policy, notice, display), on_signal=-1)
    if code < 0:
        click.echo("interrupted: the watch stays open; run the same command again to take it up", err=True)
        return UNVERIFIED
    return code


def _choose(policies: list[Policy], wanted: str | None) -> Policy:
    keys = [(key, p) for p in policies for key in p.service.keys]
    found = [(k, p) for k, p in keys if wanted is None or k.matches(wanted)]
    if len(found) == 1:
        key, policy = found[0]
        return policy.model_copy(update={"service": policy.service.model_copy(update={"regions": (key.region,)})})
    names = ", ".join(str(k) for k, _ in (found or keys))
    if not found:
        raise ConfigError(f"--service {wanted}: no policy is for it; the policies are for {names}")
    raise ConfigError(f"several services match: say which with --service: {names}")


def _notice(policy: Policy, options: Mapping[str, Any]) -> Notice:
    until = options["until"]
    window = next((w for w in policy.windows if w.window.value == until), None)
    if until in set(Window) and window is None:
        raise ConfigError(f"--until {until}: the policy has no such window")
    return Notice(
        revision=options["revision"] or "",
        version=options["version_"],
        deployer=options["deployer"],
        previous=options["previous"],
        rollback_safe=not options["no_rollback_safe"],
        ends_in_s=parse_duration(until) if until and window is None else None,
        until_s=window.until_s if window is not None else None,
        by_hand=True,
    )


async def _watch(settings: Settings, policy: Policy, notice: Notice, display: Display) -> int:
    from watchdog.app import build  # noqa: PLC0415 - after the arguments are known to be good

    async with build(settings, [policy], discover=False, follow=display.tell) as app:
        engine = asyncio.create_task(_engine(app), name="engine")
        mine = asyncio.create_task(_follow(app, notice, display), name="follow")
        try:
            await asyncio.wait({engine, mine}, return_when=asyncio.FIRST_COMPLETED)
            if not mine.done():
                engine.result()  # raises what ended it
            return await mine
        except BaseExceptionGroup as group:
            raise unwrap(group) from None
        finally:
            for task in (mine, engine):
                task.cancel()
            await asyncio.gather(mine, engine, return_exceptions=True)


async def _engine(app: "App") -> None:
    async with asyncio.TaskGroup() as group:
        group.create_task(app.outbox.run(), name="outbox")
        group.create_task(app.supervisor.run(), name="supervisor")


async def _follow(app: "App", notice: Notice, display: Display) -> int:
    keeper = next(iter(app.supervisor.keepers.values()))
    await keeper.standby.wait()
    if not keeper.owned:
        return await _follow_elsewhere(app, keeper, notice, display)
    runner = await _open(app, keeper, notice)
    with _live(display) as live:
        display.live = live
        while runner.watch.outcome is None and runner.watch.open:
            display.show(view(runner.watch))
            await _changed(runner)
            if runner.journalist.lost.is_set():
                raise WatchdogError(f"another process has taken over watch {runner.watch.id}; it goes on there")
        display.show(view(runner.watch))
        display.live = None
    if runner.watch.open:  # the outcome is certain, and nobody else will close it
        runner.put(Operated(at=app.tools.clock.now(), verb="finish", by="watchdog watch"))
    while runner.watch.open or runner.watch.id in keeper.runners:
        await _changed(runner)
    ended = runner.watch
    undelivered = await _drain(app, ended.release, ended.id)
    outcome = ended.outcome.value if ended.outcome else "unverified"
    display.finish(app.tools.clock.now(), ended.id, outcome, ended.reason, undelivered)
    return OF_OUTCOME[outcome]


async def _changed(runner: "WatchRunner") -> None:
    try:
        async with asyncio.timeout(FOLLOW_EVERY_S):
            await runner.changed.wait()
    except TimeoutError:
        pass  # the panel's ages and countdowns go on
    runner.changed.clear()


def _live(display: Display) -> Any:
    import contextlib  # noqa: PLC0415 - only here

    if display.as_json or not sys.stdout.isatty():
        return contextlib.nullcontext(None)
    return Live(console=display.console, refresh_per_second=4, transient=False)


async def _open(app: "App", keeper: "Keeper", notice: Notice) -> "WatchRunner":
    """Open the watch, or take up the one that was interrupted; Cloud Run may need a moment to answer."""
    loop = asyncio.get_running_loop()
    give_up = loop.time() + START_S
    while True:
        try:
            if notice.revision:
                known = [r.name for r in await app.tools.traffic.revisions(keeper.key)]
                if notice.revision not in known:
                    raise ConfigError(
                        f"--revision {notice.revision}: {keeper.key} has no such revision; "
                        f"newest: {', '.join(known[:3])}"
                    )
            unknown = set(notice.previous) - {r.name for r in await app.tools.traffic.revisions(keeper.key)}
            if unknown:
                raise ConfigError(f"--previous: {keeper.key} has no revision {', '.join(sorted(unknown))}")
            return await keeper.open(notice)
        except TemporaryError as error:
            if loop.time() > give_up:
                raise
            click.echo(f"waiting: {error}", err=True)
            await app.tools.clock.sleep(1.0)
        except PermanentError as error:
            raise ConfigError(f"{keeper.key}: {error}") from error


async def _drain(app: "App", thread: str, watch_id: str) -> list[str]:
    """What of the watch's messages did not arrive within `DRAIN_S`, by name."""
    try:
        left = await app.outbox.drain(thread, DRAIN_S)
    except TemporaryError as error:
        return [f"unknown: the store does not answer ({error})"]
    return [f"{d.channel}: {d.kind} ({d.body.get('title', '')})" for d in left if d.body.get("watch") == watch_id]


async def _follow_elsewhere(app: "App", keeper: "Keeper", notice: Notice, display: Display) -> int:
    """A daemon keeps this service on the same store: hand it the notice and follow its watch."""
    body = {
        "project": keeper.key.project,
        "region": keeper.key.region,
        "service": keeper.key.name,
        "revision": notice.revision,
        "version": notice.version,
        "deployer": notice.deployer,
        "previous": dict(notice.previous),
        "rollback_safe": notice.rollback_safe,
        "watch_id": app.tools.new_id(),
    }
    await app.store.post(
        keeper.stream, key=f"deploy:{body['watch_id']}", kind="deploy", body=body, now=app.tools.clock.now()
    )
    click.echo("a daemon keeps this service: following its watch (--until does not shorten it)", err=True)
    row = await _row_elsewhere(app, keeper, notice)
    seen = 0
    while True:
        shown = row.view
        for entry in list(shown["timeline"])[seen:]:
            if display.as_json:
                echo_json({"at": entry["at"], "event": entry["kind"], "watch": row.id, "reason": entry["text"]})
            else:
                display.console.print(f"{entry['at'][11:19]}  {entry['text']}", soft_wrap=True, markup=False)
        seen = len(shown["timeline"])
        if row.outcome is not None:
            left = await app.store.undelivered(thread=shown.get("release") or row.id)
            names = [f"{d.channel}: {d.kind}" for d in left if d.body.get("watch") == row.id]
            display.finish(app.tools.clock.now(), row.id, row.outcome, shown["reason"], names)
            return OF_OUTCOME[row.outcome]
        await app.tools.clock.sleep(FOLLOW_EVERY_S)
        row = await app.store.watch(row.id) or row


async def _row_elsewhere(app: "App", keeper: "Keeper", notice: Notice) -> "WatchRow":
    loop = asyncio.get_running_loop()
    give_up = loop.time() + START_S
    while loop.time() < give_up:
        for row in await app.store.watches(open_only=True):
            same = (row.project, row.region, row.service) == (keeper.key.project, keeper.key.region, keeper.key.name)
            if same and notice.revision in {"", row.revision}:
                return row
        await app.tools.clock.sleep(0.2)
    raise WatchdogError(f"the daemon that keeps {keeper.key} opened no watch within {START_S:.0f} s; see its log")


__all__ = ["Split", "sentence", "watch"]
