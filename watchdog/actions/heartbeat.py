"""The dead man's switch: one GET to an address outside that wakes somebody when it is not asked any more."""

import aiohttp
from pydantic import SecretStr

from watchdog.transport import Peer, error_of, request, url_secrets


class Heartbeat:
    """Sends heartbeats to one address, which is a secret: whoever knows it can keep the switch quiet."""

    def __init__(self, session: aiohttp.ClientSession, url: SecretStr) -> None:
        self._session, self._url = session, url.get_secret_value()
        self._peer = Peer(name="the heartbeat's address", timeout_s=10.0, secrets=url_secrets(self._url, path=True))

    async def beat(self) -> None:
        """One heartbeat. Raises a `WatchdogError` when it did not arrive."""
        doing = "Sending the heartbeat"
        reply = await request(self._session, self._peer, "GET", self._url, doing=doing)
        if not reply.ok:
            raise error_of(reply, self._peer, doing=doing)
