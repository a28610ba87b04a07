"""Tells the person who clicked a button what came of it: Slack's `response_url`, seen by nobody else."""

from urllib.parse import urlsplit

import aiohttp

from watchdog.errors import PermanentError
from watchdog.transport import Peer, error_of, request, url_secrets

_SLACK = "hooks.slack.com"


class Whisperer:
    """`api_url` says where Slack is; answers go to its webhooks' host or, for another Slack, to its own."""

    def __init__(self, session: aiohttp.ClientSession, *, api_url: str) -> None:
        self._session = session
        host = urlsplit(api_url).netloc
        self._hosts = frozenset({_SLACK}) if host == "slack.com" else frozenset({_SLACK, host})

    async def whisper(self, url: str, text: str) -> None:
        """Say `text` to whoever clicked. Raises a `WatchdogError` when it did not arrive."""
        parts = urlsplit(url)
        if parts.netloc not in self._hosts:
            raise PermanentError("Answering a click: its response_url is not Slack's")
        peer = Peer(name="Slack", timeout_s=2.0, secrets=url_secrets(url, path=True))
        body = {"response_type": "ephemeral", "replace_original": False, "text": text}
        reply = await request(self._session, peer, "POST", url, json=body, doing="Answering a click")
        if not reply.ok:
            raise error_of(reply, peer, doing="Answering a click")
