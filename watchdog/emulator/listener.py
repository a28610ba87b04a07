"""A TCP port that stays ours while nobody listens on it.

A revision that is down must refuse connections and come back on the same port, as must an Admin API that cannot be
reached. So a bound but not listening socket reserves the port (the kernel refuses connections to it and gives it to
nobody else), and a second, listening one comes and goes.
"""

import asyncio
import socket
import ssl

from aiohttp import web

from watchdog.emulator.scripting import reset_connection


class Listener:
    """One port on `host`, open or closed, served by aiohttp protocols from `server`."""

    def __init__(
        self, server: web.Server, *, host: str = "127.0.0.1", port: int = 0, tls: ssl.SSLContext | None = None
    ) -> None:
        self._server = server
        self._tls = tls
        self.host = host
        if port:
            _refuse_if_taken(host, port)
        self._reservation = _bound(host, port)
        self.port: int = self._reservation.getsockname()[1]
        self._listening: asyncio.Server | None = None

    @property
    def is_open(self) -> bool:
        """Whether connections are accepted."""
        return self._listening is not None

    @property
    def address(self) -> str:
        """`host:port` under which it is reached from this machine."""
        host = {"": "127.0.0.1", "0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(self.host, self.host)  # noqa: S104
        return f"{host}:{self.port}"

    @property
    def url(self) -> str:
        """`http://host:port`, without a slash at the end."""
        return f"http://{self.address}"

    async def open(self) -> None:
        """Accept connections; nothing happens when it already does."""
        if self._listening is None:
            sock = _bound(self.host, self.port)
            self._listening = await asyncio.get_running_loop().create_server(
                self._server, sock=sock, backlog=1024, ssl=self._tls
            )

    def close(self) -> None:
        """Refuse connections and reset those that are open, as a crashed process does."""
        if self._listening is not None:
            self._listening.close()
            self._listening = None
        for connection in self._server.connections:
            reset_connection(connection.transport)

    async def release(self) -> None:
        """Close, end every handler, and give the port back."""
        self.close()
        await self._server.shutdown(timeout=0.1)
        self._reservation.close()


def _refuse_if_taken(host: str, port: int) -> None:
    """Raise `OSError` when somebody listens on the port: sharing ports, below, would join him in silence."""
    with socket.socket(_family(host), socket.SOCK_STREAM) as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind((host, port))


def _family(host: str) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in host else socket.AF_INET


def _bound(host: str, port: int) -> socket.socket:
    sock = socket.socket(_family(host), socket.SOCK_STREAM)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        # Two sockets of ours on one port: the reservation, and the one that listens.
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        sock.bind((host, port))
        sock.settimeout(0)
    except OSError:
        sock.close()
        raise
    return sock
