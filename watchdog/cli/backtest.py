"""`watchdog backtest`: what a changed policy would have made of the watches of the past."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from watchdog.cli.exits import INTERNAL, OK, UNVERIFIED
from watchdog.cli.options import json_option

if TYPE_CHECKING:
    from watchdog.core.policy import Policy
    from watchdog.engine.backtest import Totals
    from watchdog.engine.replay_journal import Journal
    from watchdog.settings import Settings

View = Mapping[str, Any]
PATIENCE_S = 60.0
"""A journal of a day is some megabytes."""
_MOST = 1000
_EPILOG = """\b
What a replay cannot know, and does not pretend to:
- After a real rollback the evidence is of the old split. What a policy that
  would not have rolled back then had found later is unknown.
- A row whose metric was not sampled then has "no samples in the journal",
  and is no pass; so has a probe that is configured otherwise now.
- Rollbacks are supposed to succeed: budget, cooldown, preflight and warming
  are not asked again, and the old revision only as far as it was asked then.
- What people did (hold, pause, rollback, finish) is taken as it was.
"""


@click.command(epilog=_EPILOG)
@click.argument("service", required=False, metavar="[SERVICE]")
@click.option("--last", type=click.IntRange(1, _MOST), default=20, show_default=True, help="How many, newest first.")
@click.option(
    "--config",
    "configs",
    multiple=True,
    type=click.Path(path_type=Path, dir_okay=False),
    help="The changed policy; may be repeated, one a service.",
)
@json_option
def backtest(service: str | None, last: int, configs: tuple[Path, ...], *, as_json: bool) -> int:
    """Judge the last ended watches again, under a changed policy.

    Says for each whether it would have been rolled back, when and why, what
    happened in fact, and whether a person has called its outcome wrong
    (`watchdog history --mark`). At the end: how many would be rolled back, and
    which of those had to be; how many are newly caught and newly missed.

    Without --config each watch is judged under its own policy, and has to give
    the very decisions that were taken live. With it, only watches of the
    policies' services are judged. SERVICE (NAME, REGION/NAME or
    PROJECT/REGION/NAME) narrows it down. Read from the daemon at WATCHDOG_URL;
    where none answers, from the database at WATCHDOG_DATABASE_URL.

    \b
    Exit codes: 0 all judged, 1 a watch whose own policy does not reproduce its
    decisions, 2 a policy is not understood, 13 nothing, or not all, could be
    judged.
    Example: watchdog backtest barq-fleet-api --last 30 --config changed.yaml
    """  # noqa: D301 - click's mark for lines that it must not wrap
    from watchdog.cli.backtest_page import Page  # noqa: PLC0415 - after --help was asked for
    from watchdog.cli.common import settings_of_environment  # noqa: PLC0415
    from watchdog.cli.reach import answered, reach  # noqa: PLC0415

    settings = settings_of_environment()
    policies = _policies(configs)
    page = Page(as_json, [policy.hash for policy in policies.values()])
    work = _Work(service, last, policies, page)

    def act() -> int:
        totals = reach(settings, lambda: work.by_daemon(settings), lambda: work.by_store(settings), "reading journals")
        page.end(totals)
        if totals.not_reproduced and not policies:
            return INTERNAL
        return UNVERIFIED if totals.not_judged or not totals.judged else OK

    return answered(act, as_json=as_json)


def _policies(configs: Sequence[Path]) -> Mapping[str, "Policy"]:
    """By `project/region/name`. All mistakes of all files at once."""
    if not configs:
        return {}
    from watchdog.cli.common import policies_of  # noqa: PLC0415
    from watchdog.engine.backtest import policies_by_service  # noqa: PLC0415
    from watchdog.settings import Settings  # noqa: PLC0415

    loaded = [found.policy for found in policies_of(Settings(), configs)]
    names = [str(key) for policy in loaded for key in policy.service.keys]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise click.UsageError(f"several --config are for {', '.join(twice)}: give one policy a service.")
    return policies_by_service(loaded)


@dataclass(frozen=True, slots=True)
class _Work:
    """What is asked for, and where it is told."""

    service: str | None
    last: int
    policies: Mapping[str, "Policy"]
    page: Any

    # --- from the daemon or the store

    def by_daemon(self, settings: "Settings") -> "Totals":
        """Journals from the API, one after the other."""
        from dataclasses import replace  # noqa: PLC0415

        from watchdog.cli.reach import daemon_of, segment  # noqa: PLC0415
        from watchdog.engine.replay_journal import read_journal  # noqa: PLC0415

        daemon = replace(daemon_of(settings), timeout_s=PATIENCE_S)
        query = {"limit": str(_MOST), **({"service": self.service} if self.service else {})}

        async def journal(watch: str) -> "Journal":
            text = await asyncio.to_thread(daemon.text, f"/api/v1/watches/{segment(watch)}/report", format="json")
            return read_journal(text, f"watch {watch}")

        return asyncio.run(self._judge(daemon.get("/api/v1/watches", **query)["watches"], journal))

    def by_store(self, settings: "Settings") -> "Totals":
        """Journals from the database."""
        from watchdog.cli.local import key_of, opened  # noqa: PLC0415
        from watchdog.engine.replay_journal import journal_of  # noqa: PLC0415

        async def work() -> "Totals":
            async with opened(settings.database_url.get_secret_value()) as store:
                rows = await store.watches(limit=_MOST)
                views = {r.id: r.view for r in rows if self.service is None or key_of(r).matches(self.service)}

                async def journal(watch: str) -> "Journal":
                    records = [record async for record in store.read(f"watch/{watch}")]
                    return journal_of(records, f"watch {watch}", views[watch])

                return await self._judge(list(views.values()), journal)

        return asyncio.run(work())

    # --- one after the other

    async def _judge(self, views: Sequence[View], journal_of: Callable[[str], Awaitable["Journal"]]) -> "Totals":
        from watchdog.core.journal import JournalError  # noqa: PLC0415
        from watchdog.engine.backtest import Totals, rejudge  # noqa: PLC0415
        from watchdog.errors import ConfigError, PermanentError  # noqa: PLC0415

        totals, chosen = Totals(), self._chosen(views)
        self.page.begin(len(chosen), self._none(views))
        for shown in chosen:
            policy = self.policies.get(_key(shown))
            try:
                found = rejudge(await journal_of(str(shown["id"])), policy)
            except ConfigError as error:
                totals.not_judged += 1
                self.page.not_judged(shown, "; ".join(error.problems))
            except (JournalError, PermanentError) as error:
                totals.not_judged += 1
                self.page.not_judged(shown, str(error))
            else:
                totals.add(found)
                self.page.watch(found)
        return totals

    def _chosen(self, views: Sequence[View]) -> list[View]:
        """The newest ended watches that a policy is given for."""
        ended = [v for v in views if v.get("state") == "ended" and (not self.policies or _key(v) in self.policies)]
        return ended[: self.last]

    def _none(self, views: Sequence[View]) -> str:
        """What to say when there is nothing to judge."""
        of = f" of {self.service}" if self.service else ""
        if self.policies and any(v.get("state") == "ended" for v in views):
            services = ", ".join(sorted({_key(v) for v in views}))
            return f"No ended watch is of {', '.join(sorted(self.policies))}; there are watches of {services}."
        return f"No watch{of} has ended yet, so there is nothing to judge."


def _key(view: View) -> str:
    return f"{view['project']}/{view['region']}/{view['service']}"
