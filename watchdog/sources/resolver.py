"""Name lookups on threads of their own, so that a sick DNS zone can't starve anything else.

aiohttp and asyncio look names up in the loop's default executor: a handful of threads (CPUs + 4) that everything
shares, the rollback's own calls included. A zone whose servers do not answer holds such a thread for up to half a
minute (resolv.conf(5): 5 s, 2 attempts, for each server), while its probe gave up after 3 s and the next one is on its
way: the watched service's DNS would block the Admin API's. Here every lookup has a daemon thread, which never delays an
exit either.
"""

import asyncio
import socket
import threading
from collections import Counter
from pathlib import Path

from aiohttp.abc import AbstractResolver, ResolveResult

from watchdog.errors import ConfigError

MAX_HANGING = 8
"""Unanswered lookups of one name at a time; further ones fail at once, so threads stay bounded."""

NOWHERE = ".invalid"

_NUMERIC = socket.NI_NUMERICHOST | socket.NI_NUMERICSERV
_Address = tuple[socket.AddressFamily, str, int]


class HostsFileError(OSError):
    """The hosts file that the environment names can't be read: our trouble, not the service's."""


class ThreadResolver(AbstractResolver):
    """The system's own resolver (nsswitch, search domains, /etc/hosts), one daemon thread a lookup.

    `hosts` names a file in the form of /etc/hosts that is asked first, and read anew by each lookup. Names under
    `.invalid` are in no DNS (RFC 6761, 6.4), so nobody is asked for them.
    """

    def __init__(self, hosts: Path | None = None) -> None:
        """Raises `ConfigError` when there is no such file."""
        if hosts is not None and not hosts.is_file():
            raise ConfigError(f"WATCHDOG_HOSTS_FILE: {hosts} is no file; write it as /etc/hosts, or unset the variable")
        self._hosts = hosts
        self._hanging: Counter[str] = Counter()

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        """Addresses of `host`. Raises `OSError` (`socket.gaierror` for names that do not exist)."""
        if self._hanging[host] >= MAX_HANGING:
            raise socket.gaierror(socket.EAI_AGAIN, f"{MAX_HANGING} earlier lookups of {host} are still unanswered")
        loop = asyncio.get_running_loop()
        future: asyncio.Future[list[_Address]] = loop.create_future()
        self._hanging[host] += 1

        def settle(found: list[_Address] | OSError | UnicodeError) -> None:
            self._hanging[host] -= 1
            self._hanging += Counter()  # drops names at 0
            if future.done():  # the probe gave up
                return
            if isinstance(found, Exception):
                future.set_exception(found)
            else:
                future.set_result(found)

        def work() -> None:
            found: list[_Address] | OSError | UnicodeError
            try:
                found = _listed(self._hosts, host, port, family) or _look_up(host, port, family)
            except (OSError, UnicodeError) as error:  # UnicodeError: a label that IDNA can't encode
                found = error
            if not loop.is_closed():
                try:
                    loop.call_soon_threadsafe(settle, found)
                except RuntimeError:  # the loop closed in between: nobody is left to tell
                    return

        threading.Thread(target=work, name="probe-dns", daemon=True).start()
        return [
            ResolveResult(hostname=host, host=address, port=number, family=found, proto=0, flags=socket.AI_NUMERICHOST)
            for found, address, number in await future
        ]

    async def close(self) -> None:
        """Nothing to close: threads end with their lookups."""


def _listed(hosts: Path | None, host: str, port: int, family: socket.AddressFamily) -> list[_Address]:
    """What the hosts file says of a name; nothing where it says nothing. Raises `HostsFileError`."""
    found: list[_Address] = []
    name = host.rstrip(".").lower()
    try:
        text = "" if hosts is None else hosts.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise HostsFileError(f"{hosts}: {getattr(error, 'strerror', None) or 'not UTF-8 text'}") from error
    for line in text.splitlines():
        address, *names = line.partition("#")[0].split() or ("",)
        if name in (n.lower() for n in names):
            kind = socket.AF_INET6 if ":" in address else socket.AF_INET
            found += [(kind, address, port)] if family in (socket.AF_UNSPEC, kind) else []
    if not found and name.endswith(NOWHERE):
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
    return found


def _look_up(host: str, port: int, family: socket.AddressFamily) -> list[_Address]:
    infos = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, family=family, flags=socket.AI_ADDRCONFIG)
    # getnameinfo keeps the scope of a link-local IPv6 address, which the address itself does not show.
    return [
        (found, socket.getnameinfo(address, _NUMERIC)[0], port)
        for found, _, _, _, address in infos
        if found in (socket.AF_INET, socket.AF_INET6)
    ]
