"""What can be wrong with the emulated Cloud Monitoring, for the next calls or for a time.

| kind | what happens |
|---|---|
| `unavailable` | UNAVAILABLE, as when the API restarts |
| `deadline` | the call hangs until the client gives up (`latency_s` bounds it; then it is answered) |
| `permission_denied` | PERMISSION_DENIED, as without roles/monitoring.viewer |
| `resource_exhausted` | RESOURCE_EXHAUSTED, as over the read quota |
| `internal` | INTERNAL |
| `empty` | an answer without any time series |
| `nan` | doubles and the means of distributions are NaN |
| `latency` | the answer takes `latency_s` longer |
| `late` | `share` of the requests seen meanwhile show up `late_s` after the rest of their point: a point is revised |
| | later, or with share 1 appears after its successors |
"""

from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

FaultKind = Literal[
    "unavailable",
    "deadline",
    "permission_denied",
    "resource_exhausted",
    "internal",
    "empty",
    "nan",
    "latency",
    "late",
]


class MonitoringFault(BaseModel):
    """One fault, as the control API writes it; without `calls` and `for_s` it lasts until it is cleared."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: FaultKind
    calls: Annotated[int, Field(ge=1)] | None = None
    """How many calls meet it."""
    for_s: Annotated[float, Field(gt=0)] | None = None
    """How long it lasts, in seconds from now."""
    methods: tuple[str, ...] = ("ListTimeSeries",)
    """RPC names that meet it; empty means all."""
    metric: str = ""
    """Only calls whose filter or name contains this text, such as a metric type."""
    latency_s: Annotated[float, Field(ge=0)] = 0.0
    share: Annotated[float, Field(gt=0, le=1)] = 1.0
    late_s: Annotated[float, Field(gt=0)] = 60.0

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.kind == "late" and self.calls is not None:
            raise ValueError("`late` concerns points, not calls: say `for_s`, or clear it")
        if self.kind == "latency" and not self.latency_s:
            raise ValueError("`latency` needs `latency_s` above 0")
        return self


class FaultBook:
    """The faults that are in force; the oldest that touches a call is met first."""

    def __init__(self) -> None:
        self._entries: list[tuple[MonitoringFault, float, int | None]] = []
        self._owed = 0.0

    def add(self, fault: MonitoringFault, *, now: float) -> None:
        """Put `fault` in force at `now` (Unix seconds)."""
        until = now + fault.for_s if fault.for_s is not None else float("inf")
        self._entries.append((fault, until, fault.calls))

    def clear(self) -> None:
        """End every fault."""
        self._entries.clear()

    def active(self, now: float) -> list[MonitoringFault]:
        """Faults in force at `now`, with the calls that are left to them."""
        self._expire(now)
        return [fault.model_copy(update={"calls": calls}) for fault, _, calls in self._entries]

    def take(self, method: str, text: str, *, now: float) -> list[MonitoringFault]:
        """What the call `method`, about `text`, meets: every matching `latency`, and the first other fault."""
        self._expire(now)
        met: list[MonitoringFault] = []
        for index, (fault, until, calls) in enumerate(self._entries):
            touched = (not fault.methods or method in fault.methods) and fault.metric in text
            taken = fault.kind != "latency" and any(other.kind != "latency" for other in met)
            if fault.kind == "late" or not touched or taken:
                continue
            met.append(fault)
            self._entries[index] = (fault, until, None if calls is None else calls - 1)
        return met

    def hold_back(self, now: float) -> float:
        """By how many seconds the request that ends now shows up late; 0 for most.

        The share is met by carrying the remainder, not by chance, so that a test can count.
        """
        self._expire(now)
        for fault, _, _ in self._entries:
            if fault.kind == "late":
                self._owed += fault.share
                if self._owed >= 1.0:
                    self._owed -= 1.0
                    return fault.late_s
                return 0.0
        return 0.0

    def _expire(self, now: float) -> None:
        self._entries = [entry for entry in self._entries if now < entry[1] and entry[2] != 0]
