"""Everything that can be wrong with the Admin API itself: slow, refusing, out of quota, raced, or gone."""

import asyncio
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from watchdog.emulator import clock
from watchdog.emulator.api_errors import ApiError

MESSAGES = {
    403: "Permission denied on resource (or resource may not exist).",
    409: "Conflict for resource: the specified version is not the current version.",
    429: "Quota exceeded for quota metric 'Write requests' and limit 'Write requests per minute per region'.",
    500: "Internal error encountered.",
    503: "The service is currently unavailable.",
}


class AdminFault(BaseModel):
    """A fault of the Admin API, as the control API writes it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Literal["status", "latency", "drop", "race", "unreachable"]
    """`drop` resets the connection instead of answering; `race` lets somebody else write first; `unreachable` refuses
    connections (it ignores `on` and `count`)."""
    on: Literal["reads", "writes", "all", "tokens"] = "all"
    """`tokens` is IAM Credentials, which is an API of its own: `all` leaves it out."""
    count: Annotated[int, Field(ge=1)] | None = None
    """How many requests meet it; None for all until it is taken back or `for_s` has passed."""
    for_s: Annotated[float, Field(gt=0)] | None = None
    status: Annotated[int, Field(ge=400, le=599)] = 503
    message: str = ""
    latency_s: Annotated[float, Field(ge=0, le=600)] = 0.0
    retry_after_s: Annotated[int, Field(ge=0)] | None = None
    after: bool = False
    """For `status` and `drop`: the request takes effect, only its answer is lost."""
    traffic: dict[str, int] | None = None
    """For `race`: the split that somebody else writes; without it he only touches an annotation."""


class Gate:
    """The armed faults, and the IAM switches for reads and writes."""

    def __init__(self) -> None:
        self.may_read = True
        self.may_write = True
        self.may_impersonate = True
        self.writers: frozenset[str] | None = None
        """The accounts that may write; None: everybody, as `may_write` says."""
        self._armed: list[tuple[AdminFault, float, list[int]]] = []

    def arm(self, fault: AdminFault) -> None:
        """Let a fault act from now on."""
        until = float("inf") if fault.for_s is None else clock.now() + fault.for_s
        self._armed.append((fault, until, [fault.count or 0]))

    def clear(self) -> None:
        """Take every fault back and allow everything."""
        self._armed.clear()
        self.may_read = self.may_write = self.may_impersonate = True
        self.writers = None

    def faults(self) -> list[AdminFault]:
        """Armed faults that have not run out."""
        now = clock.now()
        self._armed = [entry for entry in self._armed if now < entry[1] and (entry[0].count is None or entry[2][0] > 0)]
        return [fault for fault, _, _ in self._armed]

    @property
    def unreachable_until(self) -> float | None:
        """Until which Unix second connections are to be refused: infinity for good, None when they are not."""
        self.faults()
        return max((until for fault, until, _ in self._armed if fault.kind == "unreachable"), default=None)

    def take(self, *, write: bool) -> list[AdminFault]:
        """The faults that this request meets; each counts down by one."""
        return self._take({"all", "writes" if write else "reads"})

    def take_tokens(self) -> list[AdminFault]:
        """The faults that a request for a token meets."""
        return self._take({"tokens"})

    def _take(self, on: set[str]) -> list[AdminFault]:
        self.faults()
        met = []
        for fault, _, left in self._armed:
            if fault.kind == "unreachable":
                continue
            if fault.on in on:
                left[0] -= 1
                met.append(fault)
        return met

    def writes(self, account: str) -> bool:
        """Whether this account may write; the empty one is the default account."""
        return self.may_write and (self.writers is None or account in self.writers)

    def check_permission(self, permission: str, resource: str, *, write: bool, account: str = "") -> None:
        """Raise 403 when the switch for reads or writes is off, or the account may not write."""
        if not (self.writes(account) if write else self.may_read):
            raise ApiError(
                403, f"Permission '{permission}' denied on resource '{resource}' (or resource may not exist)."
            )


async def delay(faults: list[AdminFault]) -> None:
    """Wait as long as the latency faults among `faults` say."""
    total_s = sum(fault.latency_s for fault in faults if fault.kind == "latency")
    if total_s:
        await asyncio.sleep(total_s)


def refusal(fault: AdminFault) -> ApiError:
    """The error that a `status` fault answers with."""
    return ApiError(fault.status, fault.message or MESSAGES.get(fault.status, "Injected by the emulator."))
