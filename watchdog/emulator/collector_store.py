"""Everything that the watchdog sent to people, in the order in which it came, refused or not."""

import asyncio
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

from watchdog.emulator import clock
from watchdog.emulator.collector_behaviour import Behaviour, BehaviourBook
from watchdog.emulator.pagerduty_account import PagerDutyAccount
from watchdog.emulator.slack_workspace import SlackWorkspace

Channel = Literal["slack", "pagerduty", "smtp"]
CHANNELS: tuple[Channel, ...] = ("slack", "pagerduty", "smtp")
KEEP = 5_000
"""Entries a channel."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Received:
    """One thing that arrived."""

    seq: int
    """Counts up over all channels, from 1."""
    at: float
    """Unix seconds."""
    channel: Channel
    kind: str
    """`chat.postMessage`, `chat.update`, `auth.test`, `webhook`; `enqueue`, `change`; `message`."""
    body: Any
    """As it was sent: the JSON document or form; for mail the envelope and the parsed message."""
    accepted: bool
    """Whether it was taken in; the sender may still not have had the answer (`behaviour` is `lost_answer`)."""
    status: int | None
    """HTTP status or SMTP code; None when the sender got no answer."""
    note: str = ""
    """Why it was refused, or dropped."""
    behaviour: str = ""
    """The scripted behaviour that it met."""


class Collected:
    """The store behind the collectors, with the state that Slack and PagerDuty would keep."""

    def __init__(self, *, now: Callable[[], float] = clock.now, keep: int = KEEP) -> None:
        """`now` gives Unix seconds; the oldest of more than `keep` entries of a channel are dropped."""
        self.now = now
        self.slack = SlackWorkspace()
        self.pagerduty = PagerDutyAccount()
        self.behaviours: dict[Channel, BehaviourBook] = {channel: BehaviourBook() for channel in CHANNELS}
        self._received: dict[Channel, deque[Received]] = {channel: deque(maxlen=keep) for channel in CHANNELS}
        self._seq = 0
        self._news = asyncio.Event()

    def add(
        self,
        channel: Channel,
        kind: str,
        body: Any,
        *,
        accepted: bool,
        status: int | None,
        note: str = "",
        behaviour: str = "",
    ) -> Received:
        """Append an entry and wake whoever waits for one."""
        self._seq += 1
        entry = Received(
            seq=self._seq,
            at=self.now(),
            channel=channel,
            kind=kind,
            body=body,
            accepted=accepted,
            status=status,
            note=note,
            behaviour=behaviour,
        )
        self._received[channel].append(entry)
        news, self._news = self._news, asyncio.Event()
        news.set()
        return entry

    def received(self, channel: Channel, *, after: int = 0) -> list[Received]:
        """Entries of `channel` with a `seq` above `after`, oldest first."""
        return [entry for entry in self._received[channel] if entry.seq > after]

    async def wait_for(
        self,
        channel: Channel,
        wanted: Callable[[Received], bool] = lambda _entry: True,
        *,
        after: int = 0,
        timeout_s: float = 5.0,
    ) -> Received:
        """The first entry of `channel` after `after` that is `wanted`, there already or yet to come.

        Raises `TimeoutError` when none comes in `timeout_s`.
        """
        async with asyncio.timeout(timeout_s):
            while True:
                news = self._news
                for entry in self.received(channel, after=after):
                    if wanted(entry):
                        return entry
                await news.wait()

    def behave(self, channel: Channel, behaviour: Behaviour) -> None:
        """Put `behaviour` of `channel` in force from now on."""
        self.behaviours[channel].add(behaviour, now=self.now())

    def clear(self, *channels: Channel) -> None:
        """Forget what `channels` (all, when none is named) received, and end their behaviours."""
        for channel in channels or CHANNELS:
            self._received[channel].clear()
            self.behaviours[channel].clear()
            if channel == "slack":
                self.slack.clear()
            elif channel == "pagerduty":
                self.pagerduty.clear()
