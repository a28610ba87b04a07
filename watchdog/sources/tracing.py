"""Where the time of one probe went: aiohttp's trace signals turned into the phases that a person knows.

A phase that did not happen is absent, never 0: no `dns` for an address, no `connect` on a kept-alive connection, no
`first_byte` when the service hung. A zero would look like "fast" on a dashboard.
"""

from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

from aiohttp import TraceConfig

from watchdog.ports import Clock

UNDER_WAY = {
    "dns": "while the name was looked up",
    "connect": "while the connection was made",
    "first_byte": "while waiting for the first byte",
    "transfer": "while the body arrived",
}
"""Phase → how a reason says that the probe ended in it."""


@dataclass(slots=True)
class PhaseTrace:
    """The phases of one request in seconds. Give it to aiohttp as `trace_request_ctx`."""

    clock: Clock
    phases_s: dict[str, float] = field(default_factory=dict)
    """`dns`, `connect` (TCP with TLS), `first_byte`, `transfer`: those that were completed."""
    current: str = "connect"
    """The phase under way."""
    _since: float = 0.0

    def begin(self, phase: str) -> None:
        """`phase` is under way from now on."""
        self.current, self._since = phase, self.clock.monotonic()

    def complete(self, phase: str) -> None:
        """`phase`, which was under way, is over."""
        self.phases_s[phase] = self.clock.monotonic() - self._since

    def restart(self) -> None:
        """Forget the phases of a connection that aiohttp gave up for a new one."""
        self.phases_s.clear()
        self.begin("connect")

    @property
    def under_way(self) -> str:
        """The phase under way, as a clause for a person."""
        return UNDER_WAY[self.current]


def trace_config() -> TraceConfig:
    """A trace configuration that fills the `PhaseTrace` of every request of its session."""
    config = TraceConfig()
    config.on_connection_create_start.append(_on_create_start)
    config.on_dns_resolvehost_start.append(_on_dns_start)
    config.on_dns_resolvehost_end.append(_on_dns_end)
    config.on_connection_create_end.append(_on_create_end)
    config.on_connection_reuseconn.append(_on_reuse)
    config.on_request_headers_sent.append(_on_sent)
    config.on_request_end.append(_on_first_byte)
    return config


def _trace(context: SimpleNamespace) -> PhaseTrace:
    trace: PhaseTrace = context.trace_request_ctx
    return trace


async def _on_create_start(_session: Any, context: SimpleNamespace, _params: Any) -> None:
    _trace(context).restart()


async def _on_dns_start(_session: Any, context: SimpleNamespace, _params: Any) -> None:
    _trace(context).begin("dns")


async def _on_dns_end(_session: Any, context: SimpleNamespace, _params: Any) -> None:
    trace = _trace(context)
    trace.complete("dns")
    trace.begin("connect")


async def _on_create_end(_session: Any, context: SimpleNamespace, _params: Any) -> None:
    _trace(context).complete("connect")


async def _on_reuse(_session: Any, context: SimpleNamespace, _params: Any) -> None:
    _trace(context).phases_s.clear()


async def _on_sent(_session: Any, context: SimpleNamespace, _params: Any) -> None:
    _trace(context).begin("first_byte")


async def _on_first_byte(_session: Any, context: SimpleNamespace, _params: Any) -> None:
    trace = _trace(context)
    trace.complete("first_byte")
    trace.begin("transfer")
