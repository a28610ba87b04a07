"""Which share of a project's request log to ask for, so that a busy one stays within what Logging delivers.

Live tailing delivers 60,000 entries a minute and project at most (cloud.google.com/logging/quotas), to all who tail it
together: above 500/s a share is asked for, by a hash of `insertId`, which knows nothing of status or latency.
"""

import math
from collections import deque
from typing import Final

MOST_PER_S: Final = 500.0
AIM_PER_S: Final = 400.0
"""What a new share is to bring, below the limit so that it need not change with every wave."""
CALM_PER_S: Final = 300.0
"""Below what twice the share would still bring."""
CALM_S: Final = 60.0
OVER_S: Final = 10
SMALLEST: Final = 2.0**-10


class LogRate:
    """The rate of all entries, as far as it can be told, and the share that follows from it."""

    def __init__(self) -> None:
        self.share = 1.0
        self._seconds: deque[tuple[int, float]] = deque()
        self._calm_since: float | None = None

    def count(self, entries: float, now: float) -> None:
        """There were `entries` at `now` (Unix seconds), sampling undone."""
        second = int(now)
        if self._seconds and self._seconds[-1][0] == second:
            entries += self._seconds.pop()[1]
        self._seconds.append((second, entries))
        self._trim(second)

    def choose(self, now: float) -> float:
        """The share to ask for: a power of ½, so that a smaller one is a part of the larger one."""
        self._trim(int(now))
        rate = sum(entries for _, entries in self._seconds) / OVER_S
        if rate * self.share > MOST_PER_S:
            self.share = max(SMALLEST, 2.0 ** -math.ceil(math.log2(rate / AIM_PER_S)))
            self._calm_since = None
        elif self.share == 1.0 or rate * self.share * 2.0 >= CALM_PER_S:
            self._calm_since = None
        elif self._calm_since is None:
            self._calm_since = now
        elif now - self._calm_since >= CALM_S:
            self.share *= 2.0
            self._calm_since = now
        return self.share

    def _trim(self, second: int) -> None:
        while self._seconds and self._seconds[0][0] <= second - OVER_S:
            self._seconds.popleft()
