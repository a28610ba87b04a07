"""Messages that this process still holds in memory, so that a page goes out when the store does not answer.

Everything is written to the outbox in one transaction with its event, and carried from there. While the store is away
that would be never: then the carriers send what is held here, and what became of it is recorded when the store is back.
At least once: a copy that another process sends too has the same key.
"""

from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Final

from watchdog.ports import Delivery, Receipt

STANDBY_S: Final = 30.0
"""How long a stored message is held where another process carries the channel: it may lose the store this moment."""
MOST: Final = 2000
THREADS: Final = 500


class Held:
    """One channel's messages in memory, oldest first."""

    def __init__(self) -> None:
        self._waiting: OrderedDict[str, Delivery] = OrderedDict()
        self._stored: set[str] = set()
        self._stranded: set[str] = set()
        self._sent: OrderedDict[str, tuple[Delivery, Receipt]] = OrderedDict()
        self._memory: OrderedDict[str, dict[str, str]] = OrderedDict()

    def offer(self, deliveries: Sequence[Delivery]) -> None:
        """Messages on their way into the store."""
        for delivery in deliveries:
            if delivery.key not in self._sent:
                self._waiting.setdefault(delivery.key, delivery)
        while len(self._waiting) > MOST:
            self._drop(next(iter(self._waiting)))

    def strand(self, deliveries: Sequence[Delivery]) -> None:
        """The store did not take them."""
        self._stranded |= {d.key for d in deliveries if d.key in self._waiting}

    def is_stranded(self, key: str) -> bool:
        """Whether nobody can find it in the store, though the store may be read."""
        return key in self._stranded

    def stored(self, deliveries: Sequence[Delivery]) -> None:
        """The store has them: it may still be lost before they are read from there."""
        self._stored |= {d.key for d in deliveries if d.key in self._waiting}
        self._stranded -= {d.key for d in deliveries}
        for delivery in deliveries:
            if (
                delivery.sent is not None and delivery.key in self._sent
            ):  # written as delivered, so nobody will ask again
                self._sent.pop(delivery.key, None)
                self._drop(delivery.key)

    def forget(self, deliveries: Sequence[Delivery]) -> None:
        """They are another process's now."""
        for delivery in deliveries:
            self._drop(delivery.key)

    def settled(self, key: str) -> None:
        """Its end is in the store."""
        self._sent.pop(key, None)
        self._drop(key)

    def send(self, delivery: Delivery, receipt: Receipt) -> None:
        """It was sent, and the store does not know yet."""
        self._waiting.pop(delivery.key, None)
        self._stored.discard(delivery.key)
        self._sent[delivery.key] = (delivery, receipt)
        while len(self._sent) > MOST:
            self._sent.popitem(last=False)

    def receipt(self, key: str) -> Receipt | None:
        """What the channel said of a message that the store does not know to be sent."""
        found = self._sent.get(key)
        return found[1] if found is not None else None

    def unrecorded(self) -> Sequence[tuple[Delivery, Receipt]]:
        """What was sent and stands in the store as waiting, where another process may find it."""
        return [found for key, found in self._sent.items() if key not in self._stranded]

    def remember(self, delivery: Delivery, receipt: Receipt) -> None:
        """What the channel wants to have back with the thread's next message."""
        known = {**self._memory.pop(delivery.thread, {}), **delivery.remembered, **receipt.remember}
        self._memory[delivery.thread] = known
        while len(self._memory) > THREADS:
            self._memory.popitem(last=False)

    def heads(self) -> Iterator[Delivery]:
        """The oldest message of every thread, with what is remembered of it."""
        threads: set[str] = set()
        for delivery in list(self._waiting.values()):
            if delivery.thread not in threads:
                threads.add(delivery.thread)
                memory: Mapping[str, str] = self._memory.get(delivery.thread, {})
                yield replace(delivery, remembered={**delivery.remembered, **memory})

    def tried(self, key: str) -> None:
        """It failed once more."""
        if (delivery := self._waiting.get(key)) is not None:
            self._waiting[key] = replace(delivery, attempts=delivery.attempts + 1)

    def is_stored(self, key: str) -> bool:
        """Whether whoever carries the channel can find it in the store."""
        return key in self._stored

    def age(self, now: float) -> None:
        """Let go of what another process has surely carried by now."""
        for key in [k for k in self._stored if self._waiting[k].created_at < now - STANDBY_S]:
            self._drop(key)

    def _drop(self, key: str) -> None:
        self._waiting.pop(key, None)
        self._stored.discard(key)
        self._stranded.discard(key)
