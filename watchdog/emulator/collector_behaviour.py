"""How a collector can fail its sender, for the next calls or for a time.

| kind | what happens | accepted? |
|---|---|---|
| `rate_limited` | 429 with `Retry-After: retry_after_s` | no |
| `status` | HTTP `status` (500), or SMTP code `status` (451) at `stage` | no |
| `error` | the vendor's own error `error`: Slack `ok: false`, a webhook's error text, a PagerDuty 400 | no |
| `hang` | no answer until the sender gives up (or for `latency_s`, then `reset`) | no |
| `reset` | the connection is reset before anything is taken in | no |
| `lost_answer` | taken in, then the connection is reset instead of the answer | yes |
| `drip` | taken in; the answer comes a byte every `latency_s` | yes |
| `latency` | taken in after `latency_s` | yes |
"""

from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

BehaviourKind = Literal["rate_limited", "status", "error", "hang", "reset", "lost_answer", "drip", "latency"]
Stage = Literal["connect", "mail", "rcpt", "data"]


class Behaviour(BaseModel):
    """One behaviour, as the control API writes it; without `calls` and `for_s` it lasts until it is cleared."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: BehaviourKind
    calls: Annotated[int, Field(ge=1)] | None = None
    """How many requests meet it."""
    for_s: Annotated[float, Field(gt=0)] | None = None
    """How long it lasts, in seconds from now."""
    path: str = ""
    """Only requests whose path contains this text; for mail, whose recipients contain it."""
    status: Annotated[int, Field(ge=400, le=599)] | None = None
    retry_after_s: Annotated[int, Field(ge=0)] = 1
    latency_s: Annotated[float, Field(ge=0)] = 0.0
    error: str = ""
    stage: Stage = "data"
    """Mail only: in which part of the dialogue."""

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.kind == "error" and not self.error:
            raise ValueError("`error` needs the vendor's error word in `error`")
        if self.kind in {"latency", "drip"} and not self.latency_s:
            raise ValueError(f"`{self.kind}` needs `latency_s` above 0")
        if self.stage == "connect" and self.kind in {"latency", "lost_answer"}:
            raise ValueError(f"`{self.kind}` at `connect` has nothing to delay or lose: use `mail`, `rcpt` or `data`")
        return self


class BehaviourBook:
    """The behaviours of one collector that are in force; the oldest that touches a request is met."""

    def __init__(self) -> None:
        self._entries: list[tuple[Behaviour, float, int | None]] = []

    def add(self, behaviour: Behaviour, *, now: float) -> None:
        """Put `behaviour` in force at `now` (Unix seconds)."""
        until = now + behaviour.for_s if behaviour.for_s is not None else float("inf")
        self._entries.append((behaviour, until, behaviour.calls))

    def clear(self) -> None:
        """Behave again."""
        self._entries.clear()

    def active(self, now: float) -> list[Behaviour]:
        """Behaviours in force at `now`, with the requests that are left to them."""
        self._expire(now)
        return [behaviour.model_copy(update={"calls": calls}) for behaviour, _, calls in self._entries]

    def take(self, path: str, *, now: float, stage: Stage | None = None) -> Behaviour | None:
        """What a request for `path` meets; for mail, in this `stage` of the dialogue."""
        self._expire(now)
        for index, (behaviour, until, calls) in enumerate(self._entries):
            if behaviour.path in path and (stage is None or behaviour.stage == stage):
                self._entries[index] = (behaviour, until, None if calls is None else calls - 1)
                return behaviour
        return None

    def _expire(self, now: float) -> None:
        self._entries = [entry for entry in self._entries if now < entry[1] and entry[2] != 0]
