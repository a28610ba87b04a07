"""Messages through collectors that behave badly, with the sender killed between its steps.

The real outbox on SQLite with the real Slack (bot), PagerDuty and email channels, in a process of its own; the
emulator's collectors on the other side of real HTTP and SMTP. Each watch sends what a rollback sends: opened, rolling
back (trigger), a note, rolled back (resolve). Meanwhile

* the collectors answer 429 with Retry-After, answer 500, reset the connection, take the message and lose the answer,
  hang, drip their answer byte by byte, in turns and by chance;
* the sender is killed by signal 9 at a random step: before or after a message was handed over, before or after the
  store was told. Another one is started at once, and goes on when the lease of the dead one has run out.

*Lost*: never accepted by the provider. *Twice*: accepted more than once, which at least once allows; for PagerDuty and
email under the same key (dedup_key, Message-ID). *Second incidents*: more than one PagerDuty incident for one key.
*Out of order*: a message of a watch that was first accepted before an earlier one of the same watch. *Recovery*: all
channels refuse everything for a while; from the moment at which they take messages again until each waiting one is in.
"""

import argparse
import asyncio
import os
import random
import sys
import tempfile
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from aiohttp import web

from benchmarks.tables import conditions, quantile, table
from watchdog.emulator.collector_behaviour import Behaviour
from watchdog.emulator.collector_store import Channel, Collected, Received
from watchdog.emulator.collectors import add_routes
from watchdog.emulator.mail import MailCollector
from watchdog.engine.clock import SystemClock
from watchdog.ports import Delivery, Store
from watchdog.store import make_store

NAMES: Final[Mapping[str, Channel]] = {"slack": "slack", "pagerduty": "pagerduty", "email": "smtp"}
KINDS: Final = ("opened", "decision", "note", "rolled_back")
STORMS: Final[Sequence[Mapping[str, Any]]] = (
    {"kind": "rate_limited", "retry_after_s": 1, "for_s": 2.0},
    {"kind": "status", "status": 500, "for_s": 2.0},
    {"kind": "reset", "for_s": 1.5},
    {"kind": "lost_answer", "calls": 4},
    {"kind": "hang", "calls": 2, "latency_s": 3.0},
    {"kind": "drip", "calls": 3, "latency_s": 0.02},
)
MAIL_STORMS: Final = frozenset({"status", "reset", "lost_answer", "hang"})


@dataclass(kw_only=True)
class World:
    """The collectors, the store, and the environment that leads a sender to them."""

    collected: Collected
    store: Store
    database_url: str
    environment: Mapping[str, str]
    expected: dict[str, list[str]] = field(default_factory=dict)
    """By watch: the titles of its messages, in order."""
    killed: int = 0


@asynccontextmanager
async def world(folder: Path) -> AsyncIterator[World]:
    """Everything but a sender."""
    collected = Collected(keep=50_000)
    app = web.Application()
    add_routes(app, collected)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.2)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    base = f"http://127.0.0.1:{runner.addresses[0][1]}"
    mail = MailCollector(collected)
    port = await mail.start("127.0.0.1", 0)
    url = f"sqlite:///{folder}/outbox.db"
    store = make_store(url)
    await store.open()
    environment = {
        "WATCHDOG_SLACK__TOKEN": "xoxb-benchmark",
        "WATCHDOG_SLACK__CHANNEL": "#deploys",
        "WATCHDOG_SLACK__API_URL": f"{base}/slack/api/",
        "WATCHDOG_PAGERDUTY__ROUTING_KEY": "k" * 32,
        "WATCHDOG_PAGERDUTY__EVENTS_URL": f"{base}/pagerduty",
        "WATCHDOG_SMTP__URL": f"smtp://127.0.0.1:{port}",
        "WATCHDOG_SMTP__FROM": "dog@barq.example",
        "WATCHDOG_SMTP__TO": "alerts@barq.example",
    }
    try:
        yield World(collected=collected, store=store, database_url=url, environment=environment)
    finally:
        await store.close()
        await mail.stop()
        await runner.cleanup()


def body(watch: str, kind: str, title: str) -> dict[str, Any]:
    """A message as the core makes it, as far as channels look at it."""
    action = {"decision": "trigger", "rolled_back": "resolve", "note": "acknowledge"}.get(kind)
    key = f"watchdog/us-central1/barq-fleet-api/{watch}/1"
    return {
        "kind": kind,
        "severity": "critical" if kind == "decision" else "info",
        "at": SystemClock().now(),
        "title": title,
        "happened": "The probe health failed 5 times in a row.",
        "did": "Moved traffic back.",
        "over": "See the title.",
        "todo": "Read it.",
        "evidence": [["health", "5 of 5 failed"]],
        "watch": watch,
        "service": "barq-fleet-api",
        "region": "us-central1",
        "incident": {"action": action, "dedup_key": key} if action else None,
        "change": kind == "opened",
        "broadcast": kind == "decision",
        "status": kind,
    }


async def put(here: World, watch: str, kinds: Sequence[str] = KINDS) -> None:
    """One watch's messages into the outbox of every channel, in one transaction with nothing else to do."""
    now = SystemClock().now()
    lease = await here.store.acquire(f"watch/{watch}", "writer", ttl_s=600.0, now=now)
    if lease is None:
        raise RuntimeError("somebody else writes into this store")
    titles = [f"{watch}.{n} {kind}" for n, kind in enumerate(kinds)]
    here.expected[watch] = titles
    deliveries = [
        Delivery(
            key=f"{watch}:{n}",
            channel=channel,
            thread=watch,
            kind=kind,
            created_at=now,
            body=body(watch, kind, titles[n]),
        )
        for n, kind in enumerate(kinds)
        for channel in NAMES
    ]
    await here.store.append(lease, [], deliveries=deliveries)


@asynccontextmanager
async def sender(here: World, step: int = 0) -> AsyncIterator[asyncio.subprocess.Process]:
    """A sender that dies at `step`, or by us at the end."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "benchmarks.paging_sender",
        here.database_url,
        str(step),
        env={**os.environ, **here.environment},
        stderr=asyncio.subprocess.DEVNULL,
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


async def lives(here: World, dice: random.Random, *, most_steps: int) -> None:
    """One sender after another, each killed at a step of its own, until cancelled."""
    while True:
        async with sender(here, dice.randint(1, most_steps)) as process:
            with suppress(TimeoutError):
                await asyncio.wait_for(process.wait(), 20.0)
            here.killed += 1


async def storms(here: World, dice: random.Random) -> None:
    """Bad behaviour on some channel, again and again, until cancelled."""
    while True:
        channel = dice.choice(list(NAMES.values()))
        storm = dice.choice(STORMS)
        if channel != "smtp" or storm["kind"] in MAIL_STORMS:
            wanted = dict(storm)
            if channel == "smtp" and wanted["kind"] == "status":
                wanted["status"] = 451
            here.collected.behave(channel, Behaviour.model_validate(wanted))
        await SystemClock().sleep(dice.uniform(0.3, 1.5))


async def until_empty(here: World, within_s: float) -> bool:
    """Whether everything was delivered in time."""
    with suppress(TimeoutError):
        async with asyncio.timeout(within_s):
            while await here.store.undelivered():
                await SystemClock().sleep(0.1)
            return True
    return False


# --- what arrived -------------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Tally:
    """One channel's figures."""

    channel: str
    sent: int
    lost: int
    twice: int
    disordered: int
    attempts: int


def accepted(here: World, channel: str) -> list[tuple[str, Received]]:
    """Title and entry of every message that the provider took in, in order."""
    found: list[tuple[str, Received]] = []
    for entry in here.collected.received(NAMES[channel]):
        if entry.accepted and entry.kind in {"chat.postMessage", "enqueue", "change", "message"}:
            title = _title(channel, entry)
            change_beside = entry.kind == "change" and not title.endswith(" opened")
            if not change_beside:
                found.append((title, entry))
    return found


def _title(channel: str, entry: Received) -> str:
    if channel == "slack":
        text = str(entry.body.get("text") or "").splitlines()[0]
    elif channel == "pagerduty":
        text = str(entry.body["payload"]["summary"]).partition(". ")[0]
    else:
        text = str(entry.body["subject"]).strip().partition("] ")[2]
    return text


def tally(here: World, channel: str) -> Tally:
    """Count."""
    arrived = [title for title, _ in accepted(here, channel)]
    first = list(dict.fromkeys(arrived))
    disordered = sum(
        [title for title in first if title in set(titles)] != [title for title in titles if title in set(first)]
        for titles in here.expected.values()
    )
    expected = [title for titles in here.expected.values() for title in titles]
    return Tally(
        channel=channel,
        sent=len(expected),
        lost=len(set(expected) - set(arrived)),
        twice=len(arrived) - len(first),
        disordered=disordered,
        attempts=len([e for e in here.collected.received(NAMES[channel]) if e.kind != "chat.update"]),
    )


def second_incidents(here: World) -> int:
    """PagerDuty incidents beyond the first of their key, and those that were never resolved."""
    incidents = here.collected.pagerduty.incidents()
    keys = [str(incident["dedup_key"]) for incident in incidents]
    unresolved = [incident for incident in incidents if incident["status"] != "resolved"]
    return len(keys) - len(set(keys)) + len(unresolved)


def other_keys(here: World) -> int:
    """Messages that arrived twice under different keys: for email the Message-ID, for PagerDuty the dedup_key."""
    seen: dict[str, set[str]] = {}
    for channel in ("pagerduty", "email"):
        for title, entry in accepted(here, channel):
            key = entry.body.get("dedup_key") if channel == "pagerduty" else entry.body["message_id"]
            seen.setdefault(f"{channel} {title}", set()).add(str(key))
    return sum(len(keys) - 1 for keys in seen.values())


# --- the runs -----------------------------------------------------------------------------------------------------


async def badly(folder: Path, *, watches: int, seconds: float, seed: int) -> tuple[World, list[Tally], bool]:
    """Storms and killings for `seconds` while watches send; then one sender and good behaviour until all is in."""
    dice = random.Random(seed)
    async with world(folder) as here:
        async with asyncio.TaskGroup() as group:
            bad = [group.create_task(storms(here, dice)), group.create_task(lives(here, dice, most_steps=40))]
            for n in range(watches):
                await put(here, f"w{n:03}")
                await SystemClock().sleep(seconds / watches)
            for task in bad:
                task.cancel()
        for channel in NAMES.values():
            here.collected.behaviours[channel].clear()
        async with sender(here):
            done = await until_empty(here, 240.0)
        return here, [tally(here, channel) for channel in NAMES], done


async def recovery(folder: Path, *, watches: int, away_s: float) -> Mapping[str, list[float]]:
    """Seconds from recovery to each waiting message's arrival, by channel."""
    async with world(folder) as here:
        for channel in NAMES.values():
            status = 451 if channel == "smtp" else 503
            here.collected.behave(channel, Behaviour(kind="status", status=status))
        async with sender(here):
            for n in range(watches):
                await put(here, f"w{n:03}", ("decision", "rolled_back"))
                await SystemClock().sleep(away_s / watches)
            for channel in NAMES.values():
                here.collected.behaviours[channel].clear()
            back_at = here.collected.now()
            await until_empty(here, 240.0)
        return {
            channel: [entry.at - back_at for _, entry in accepted(here, channel) if entry.at >= back_at]
            for channel in NAMES
        }


def make_parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.paging", description="What becomes of messages when everything goes wrong."
    )
    parser.add_argument("--watches", type=int, default=60, help="watches that page during the storms (60)")
    parser.add_argument("--seconds", type=float, default=60.0, help="how long they last (60)")
    parser.add_argument("--away", type=float, default=30.0, metavar="SECONDS", help="of the outage (30)")
    parser.add_argument("--seed", type=int, default=6)
    parser.add_argument("--check", action="store_true", help="exit 1 when something was lost")
    return parser


def run(given: argparse.Namespace) -> tuple[str, bool]:
    """Measure; the tables, and whether nothing was lost."""
    with tempfile.TemporaryDirectory() as folder:
        here, tallies, done = asyncio.run(
            badly(Path(folder), watches=given.watches, seconds=given.seconds, seed=given.seed)
        )
    with tempfile.TemporaryDirectory() as folder:
        delays = asyncio.run(recovery(Path(folder), watches=20, away_s=given.away))
    more, others = second_incidents(here), other_keys(here)
    first = table(
        ["channel", "messages", "lost", "twice", "out of order", "attempts"],
        [(t.channel, t.sent, t.lost, t.twice, t.disordered, t.attempts) for t in tallies],
    )
    second = table(
        [f"recovery after {given.away:g} s", "messages", "p50", "p95", "max"],
        [
            (channel, len(found), *(f"{quantile(found, q):.1f} s" for q in (0.5, 0.95, 1.0)))
            for channel, found in delays.items()
        ],
    )
    kept = done and not more and not others and all(not t.lost and not t.disordered for t in tallies)
    text = (
        f"{first}\n\nThe sender was killed {here.killed} times. Second or unresolved incidents: {more}. Duplicates "
        f"under another key: {others}.\n\n{second}\n\nA message waits for its channel's next try: 1 s after the first "
        "failure, twice as long after each, a minute at most, a half to the whole of it by chance."
    )
    return f"{text}\n\n{conditions()}", kept


def main(argv: Sequence[str] | None = None) -> int:
    """Measure and print; 1 when something was lost and that was asked for."""
    given = make_parser().parse_args(argv)
    text, kept = run(given)
    print(text)
    return 1 if given.check and not kept else 0


if __name__ == "__main__":
    sys.exit(main())
