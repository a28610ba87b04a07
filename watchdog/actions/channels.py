"""Every channel there is. A new one is a file that keeps `ports.Notifier`, and a line here (and its settings)."""

from collections.abc import Callable, Sequence
from typing import Final

from aiohttp import ClientSession

from watchdog.actions.email import EmailNotifier
from watchdog.actions.google_chat import GoogleChatNotifier
from watchdog.actions.pagerduty import PagerDutyNotifier
from watchdog.actions.slack import SlackNotifier
from watchdog.actions.teams import TeamsNotifier
from watchdog.actions.webhook import WebhookNotifier
from watchdog.ports import Clock, Notifier
from watchdog.settings import Settings

CHANNELS: Final[Sequence[Callable[[ClientSession, Clock, Settings], Notifier | None]]] = (
    lambda session, _clock, settings: SlackNotifier.from_settings(session, settings.slack),
    lambda session, _clock, settings: PagerDutyNotifier.from_settings(session, settings.pagerduty),
    lambda _session, _clock, settings: EmailNotifier.from_settings(settings.smtp),
    lambda session, clock, settings: WebhookNotifier.from_settings(session, clock, settings.webhook),
    lambda session, _clock, settings: GoogleChatNotifier.from_settings(session, settings.google_chat),
    lambda session, _clock, settings: TeamsNotifier.from_settings(session, settings.teams),
)


def load(session: ClientSession, clock: Clock, settings: Settings) -> list[Notifier]:
    """The channels that the environment names."""
    found = (build(session, clock, settings) for build in CHANNELS)
    return [notifier for notifier in found if notifier is not None]
