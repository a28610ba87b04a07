"""`watchdog notify --test`: does a message arrive, before the night on which one has to?"""

import asyncio
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import click

from watchdog.cli.exits import OK, REFUSED
from watchdog.cli.options import by_option, echo_json, json_option

if TYPE_CHECKING:
    from watchdog.ports import Notifier
    from watchdog.settings import Settings


@click.command()
@click.option("--test", is_flag=True, help="Send a message that is marked as a test to every channel.")
@by_option
@json_option
def notify(*, test: bool, by: str, as_json: bool) -> int:
    """Send a test message to every configured channel, and say where it arrived.

    The message goes straight to the channels of this environment, not through the daemon. PagerDuty gets a change
    event by the key of every level, which shows on its page and wakes nobody.

    \b
    Exit codes: 0 delivered to every channel, 11 not to all, 2 no channel is set.
    Example:    watchdog notify --test
    """  # noqa: D301 - click's mark for lines that it must not wrap
    if not test:
        raise click.UsageError("say --test: a test message is the only one that is sent by hand.")
    from watchdog.cli.common import log_as, settings_of_environment  # noqa: PLC0415 - after --help was asked for

    settings = settings_of_environment()
    log_as(settings, quiet=True)
    results = asyncio.run(send_test(settings, by))
    for result in results:
        if as_json:
            echo_json({"channel": result.channel, "delivered": result.delivered, "detail": result.detail})
        else:
            said = "delivered" if result.delivered else "NOT delivered"
            click.echo(f"{result.channel}: {said}: {result.detail}")
    return OK if all(result.delivered for result in results) else REFUSED


@dataclass(frozen=True, slots=True)
class Result:
    """What became of the message on one channel."""

    channel: str
    delivered: bool
    detail: str


async def send_test(settings: "Settings", by: str) -> list[Result]:
    """Send the test message to every channel of the environment. Raises `ConfigError` when there is none."""
    from watchdog.actions import channels  # noqa: PLC0415 - the adapters are heavy
    from watchdog.engine.clock import SystemClock  # noqa: PLC0415
    from watchdog.errors import ConfigError  # noqa: PLC0415
    from watchdog.transport import open_session  # noqa: PLC0415

    async with open_session() as session:
        notifiers = channels.load(session, SystemClock(), settings)
        if not notifiers:
            raise ConfigError(
                "no channel is set: name Slack in WATCHDOG_SLACK__TOKEN and WATCHDOG_SLACK__CHANNEL (or in "
                "WATCHDOG_SLACK__WEBHOOK_URL), PagerDuty in WATCHDOG_PAGERDUTY__ROUTING_KEY, mail in "
                "WATCHDOG_SMTP__URL, __FROM and __TO, WATCHDOG_WEBHOOK__URL, WATCHDOG_GOOGLE_CHAT__WEBHOOK_URL, "
                "WATCHDOG_TEAMS__WEBHOOK_URL"
            )
        now = SystemClock().now()
        return list(await asyncio.gather(*(_deliver(n, now, body_of(now, by)) for n in notifiers)))


async def _deliver(notifier: "Notifier", now: float, body: Mapping[str, Any]) -> Result:
    from watchdog.errors import WatchdogError  # noqa: PLC0415
    from watchdog.ports import Delivery  # noqa: PLC0415

    thread = f"test-{secrets.token_hex(4)}"
    delivery = Delivery(
        key=f"{thread}:1:test",
        channel=notifier.channel,
        thread=thread,
        kind="test",
        created_at=now,
        body=body,
    )
    try:
        receipt = await notifier.deliver(delivery)
    except WatchdogError as error:
        return Result(notifier.channel, delivered=False, detail=str(error))
    where = "a change event, which wakes nobody" if notifier.channel == "pagerduty" else "look for it there"
    return Result(notifier.channel, delivered=True, detail=receipt.provider_id or where)


def body_of(now: float, by: str) -> dict[str, Any]:
    """The test message: harmless on every channel, and a test at first sight."""
    return {
        "kind": "test",
        "severity": "info",
        "at": now,
        "title": "Test message from Watchdog",
        "happened": f"{by} ran `watchdog notify --test`. No deploy is concerned.",
        "did": "Sent this message to every configured channel.",
        "over": "Yes: it is only a test.",
        "todo": "Nothing. If you read this, messages about deploys will arrive here too.",
        "evidence": [],
        "links": [],
        "watch": "",
        "project": "",
        "region": "",
        "service": "",
        "revision": "",
        "split_before": {},
        "split_after": None,
        "status": "Test message: nothing is wrong.",
        "broadcast": False,
        "incident": None,
        "change": True,
    }
