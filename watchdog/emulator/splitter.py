"""The public front of every service: real HTTP reverse proxies that split by percent, and one for every tag.

`https://TAG---host` can't be had on loopback, so each tag has a port of its own, which it keeps for as long as the
emulator runs. A revision is drawn for each request; a request that has begun finishes on its revision. When a container
refuses or resets a connection the front answers 503, as Google's does.
"""

import random
from collections.abc import Callable
from dataclasses import dataclass, field

from aiohttp import web

from watchdog.emulator import clock
from watchdog.emulator.identity import Invokers
from watchdog.emulator.listener import Listener
from watchdog.emulator.proxy import Proxy
from watchdog.emulator.world import Revision, ServiceKey

NOT_FOUND = "<html><head><title>404 Page not found</title></head><body><h1>Error: Page not found</h1></body></html>"


@dataclass(slots=True, kw_only=True)
class _Route:
    """Where requests go now, and where those still go that have not noticed yet."""

    split: dict[str, int] = field(default_factory=dict)
    before: dict[str, int] = field(default_factory=dict)
    changed_at: float = 0.0
    propagation_s: float = 0.0
    tags: dict[str, str] = field(default_factory=dict)


class Splitter:
    """All fronts. Ports outlive a reset, so that a service made anew has its old URL."""

    def __init__(
        self,
        proxy: Proxy,
        find: Callable[[ServiceKey, str], Revision | None],
        *,
        host: str = "127.0.0.1",
        seed: int = 0,
    ) -> None:
        self._host = host
        self._proxy = proxy
        self._find = find
        self._random = random.Random(f"{seed}/split")
        self.invokers = Invokers()
        self._routes: dict[ServiceKey, _Route] = {}
        self._listeners: dict[tuple[ServiceKey, str], Listener] = {}

    def service_url(self, key: ServiceKey) -> str:
        """The public URL; its port is taken from the first call on and answers once `open_all` has run."""
        return self._listener(key, "").url

    def tag_url(self, key: ServiceKey, tag: str) -> str:
        """The URL of a tag."""
        return self._listener(key, tag).url

    async def open_all(self) -> None:
        """Listen on every port that has been given out."""
        for listener in list(self._listeners.values()):
            await listener.open()

    def apply(self, key: ServiceKey, *, split: dict[str, int], tags: dict[str, str], propagation_s: float) -> None:
        """Use a new split; with `propagation_s` requests move over to it little by little."""
        route = self._routes.setdefault(key, _Route())
        if route.split != split:
            route.before, route.changed_at, route.propagation_s = route.split, clock.now(), propagation_s
        route.split, route.tags = split, tags

    def forget(self, key: ServiceKey) -> None:
        """The service has gone: its URLs answer 404."""
        self._routes.pop(key, None)

    def clear(self) -> None:
        """Forget every service."""
        self.invokers.clear()
        self._routes.clear()

    async def close(self) -> None:
        """Give every port back."""
        for listener in self._listeners.values():
            await listener.release()
        self._listeners.clear()

    def _listener(self, key: ServiceKey, tag: str) -> Listener:
        listener = self._listeners.get((key, tag))
        if listener is None:

            async def handle(request: web.BaseRequest) -> web.StreamResponse:
                return await self._handle(request, key, tag)

            server = web.Server(handle, handler_cancellation=True, access_log=None, keepalive_timeout=75.0)
            listener = self._listeners[key, tag] = Listener(server, host=self._host)
        return listener

    async def forward(self, request: web.BaseRequest, key: ServiceKey, *, vouched: bool) -> web.StreamResponse:
        """Answer a request that came in by another way than the service's own URLs; `vouched` for by somebody who may
        call the service himself."""
        return await self._handle(request, key, "", vouched=vouched)

    async def _handle(
        self, request: web.BaseRequest, key: ServiceKey, tag: str, *, vouched: bool = False
    ) -> web.StreamResponse:
        audiences = {listener.url for (service, _), listener in self._listeners.items() if service == key}
        refused = None if vouched else self.invokers.refusal(request, key, audiences)
        if refused is not None:
            return refused
        route = self._routes.get(key)
        name = None if route is None else route.tags.get(tag) if tag else self._draw(route)
        revision = None if name is None else self._find(key, name)
        if revision is None:
            headers = {"Server": "Google Frontend"}
            return web.Response(status=404, text=NOT_FOUND, content_type="text/html", headers=headers)
        return await self._proxy.forward(request, revision)

    def _draw(self, route: _Route) -> str | None:
        split = route.split
        if route.before and route.propagation_s > 0:
            moved = (clock.now() - route.changed_at) / route.propagation_s
            if moved < 1.0 and self._random.random() >= moved:
                split = route.before
        if not split:
            return None
        if len(split) == 1:
            return next(iter(split))
        return self._random.choices(list(split), weights=list(split.values()))[0]
