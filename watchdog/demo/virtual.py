"""An event loop whose time jumps: hours of a drill in seconds, with the real adapters and real connections.

Both ends of every connection live in this process, and the kernel hands loopback data over at once. So when no socket
is ready, no thread works for us and no call is under way elsewhere, nothing can happen before the next timer, and the
loop's time jumps there. Wall time follows the loop's.
"""

import asyncio
import selectors
import threading
from collections.abc import Callable, Coroutine, Iterator, Mapping
from concurrent.futures import Executor
from contextlib import contextmanager
from typing import Any, TypeVar, TypeVarTuple, Unpack

EPOCH = 1_790_000_000.0
"""Unix seconds at which virtual time begins: on a whole minute, so that runs repeat."""
PATIENCE_S = 0.25
"""Real seconds that a call which we cannot see into may take before time goes on without it."""
LOOK_S = 0.005
THREADS = frozenset({"google-auth", "probe-dns"})
"""Threads that somebody waits for: time stands still while they work."""

T = TypeVar("T")
Ts = TypeVarTuple("Ts")


class _Selector(selectors.DefaultSelector):
    """Asks for what is ready; where nothing is, and nothing can become so by itself, says that time has passed."""

    loop: "VirtualLoop"

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        ready = super().select(0)
        if ready or (timeout is not None and timeout <= 0):
            return ready
        if timeout is None:
            return super().select(None)
        waited = 0.0
        while self.loop.occupied and waited < PATIENCE_S:
            if ready := super().select(LOOK_S):
                return ready
            waited += LOOK_S
        if ready := super().select(0):  # a second look, for what was handed over while we took the first
            return ready
        self.loop.jump(timeout)
        return []


class VirtualLoop(asyncio.SelectorEventLoop):
    """asyncio's loop on a clock of its own, which begins at 0."""

    def __init__(self) -> None:
        selector = _Selector()
        self._time = 0.0
        self._calls = 0
        selector.loop = self
        super().__init__(selector)

    def time(self) -> float:
        """Virtual seconds."""
        return self._time

    def jump(self, seconds: float) -> None:
        """Nothing happens for so long."""
        self._time += seconds

    @property
    def occupied(self) -> bool:
        """Whether somebody waits for what this loop does not see: a thread, or a library with its own."""
        return self._calls > 0 or any(t.name in THREADS for t in threading.enumerate())

    @contextmanager
    def elsewhere(self) -> Iterator[None]:
        """A call whose answer comes from outside the loop is under way."""
        self._calls += 1
        try:
            yield
        finally:
            self._calls -= 1

    def run_in_executor(
        self, executor: Executor | None, func: Callable[[Unpack[Ts]], T], *args: *Ts
    ) -> "asyncio.Future[T]":
        """As the standard loop's; time stands still until it is done."""
        future = super().run_in_executor(executor, func, *args)
        self._calls += 1
        future.add_done_callback(self._returned)
        return future

    def _returned(self, _future: "asyncio.Future[Any]") -> None:
        self._calls -= 1


class LoopClock:
    """`ports.Clock` that follows the running loop."""

    def now(self) -> float:
        """Unix seconds, UTC."""
        return EPOCH + asyncio.get_running_loop().time()

    def monotonic(self) -> float:
        """Seconds that never go back."""
        return asyncio.get_running_loop().time()

    async def sleep(self, delay_s: float) -> None:
        """Wait at least `delay_s` seconds."""
        await asyncio.sleep(max(0.0, delay_s))


class Attended:
    """Anything with calls into a library of its own (gRPC): virtual time waits for their answers."""

    def __init__(self, inner: Any) -> None:
        self._inner = inner

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._inner, name)
        if not asyncio.iscoroutinefunction(found):
            return found

        async def call(*args: Any, **kwargs: Any) -> Any:
            loop = asyncio.get_running_loop()
            if not isinstance(loop, VirtualLoop):
                return await found(*args, **kwargs)
            with loop.elsewhere():
                return await found(*args, **kwargs)

        return call


def run_virtually(work: Callable[[], Coroutine[Any, Any, T]]) -> T:
    """Run it in virtual time, from its beginning at `EPOCH`."""
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        return runner.run(work())


def merge(base: Mapping[str, Any], change: Mapping[str, Any]) -> dict[str, Any]:
    """`base` with `change` on top: mappings are merged, anything else replaces what was there, None takes it away."""
    merged = dict(base)
    for key, value in change.items():
        if value is None:
            merged.pop(key, None)
        elif isinstance(value, Mapping) and isinstance(merged.get(key), Mapping):
            merged[key] = merge(merged[key], value)
        else:
            merged[key] = value
    return merged
