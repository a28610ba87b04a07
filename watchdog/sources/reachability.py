"""Whether our own network is alive: does a TCP connection to some well-known place open?"""

import asyncio

from aiohttp.abc import AbstractResolver
from yarl import URL


async def opens(url: str, resolver: AbstractResolver, *, timeout_s: float) -> bool:
    """Whether a connection to the URL's host and port opens in time. Every address of the name is tried at once."""
    try:
        target = URL(url)
        async with asyncio.timeout(timeout_s):
            found = await resolver.resolve(target.raw_host or "", target.port or 443)
            return await _any_opens([(address["host"], address["port"]) for address in found])
    except (OSError, ValueError):  # TimeoutError is an OSError, UnicodeError a ValueError
        return False


async def _any_opens(addresses: list[tuple[str, int]]) -> bool:
    tasks = [asyncio.create_task(_opens(*address), name=f"reachable {address[0]}") for address in addresses]
    try:
        for done in asyncio.as_completed(tasks):
            if await done:
                return True
        return False
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _opens(host: str, port: int) -> bool:
    try:
        _, writer = await asyncio.open_connection(host, port)
    except OSError:
        return False
    writer.transport.abort()
    return True
