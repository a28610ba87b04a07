"""What a probe is asked and what it answers, as values: the words shared by the fold, the prober and the engine."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import NamedTuple

from watchdog.core.model import Evidence, Failed, Missing, Passed


class Role(StrEnum):
    """Which path a probe takes."""

    PUBLIC = "public"
    """The URL users take, which reaches whatever serves."""
    OWN = "own"
    """The watched revision's own tag URL: tells an edge fault from a fault of the release."""
    CONTROL = "control"
    """The previous revision's tag URL: would a rollback help?"""


class Purpose(StrEnum):
    """Why it is sent. Only `regular` probes are metered."""

    REGULAR = "regular"
    CONFIRM = "confirm"
    WARM = "warm"
    VERIFY = "verify"


class OwnRequest(NamedTuple):
    """One request of ours that the watched revision answered."""

    at: float
    """When it ended, Unix seconds."""
    bad: bool
    """Answered 5xx."""
    took_s: float
    client_error: bool = False
    """Answered 4xx."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StepAnswer:
    """One step of a journey: `result` is `passed`, `failed`, `missing` (no evidence: no access, our own trouble) or
    `skipped` (an earlier step did not pass; or a cleanup step had nothing to clean up).

    `detail` is one clause for a person, with an excerpt of the body where that tells more, without secrets, at most 400
    characters. `status` is None when no HTTP response arrived. Times are Unix seconds, equal when it was skipped.
    """

    name: str
    result: str
    started_at: float
    ended_at: float
    status: int | None = None
    reason: str = ""
    detail: str = ""
    cleanup: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class ProbeAnswer:
    """One probe's answer.

    `evidence` is `Passed`, `Failed(reason)` or `Missing(reason)`, reason being one of `dns`, `refused`, `connect`,
    `tls`, `timeout`, `reset`, `protocol`, `redirect`, `status`, `json`, `body`, `too_large`, `auth`, `access`; of a
    journey also `header`, `text`, `assertion`, `capture` and `credentials`.
    `detail` is one clause for a person ("answered 503, expected 200"), without secrets, at most 200 characters.
    `phases_s` holds the phases that happened: `dns`, `connect` (TCP with TLS), `first_byte`, `transfer`.
    `status` is None when no HTTP response arrived. Times are Unix seconds.
    """

    evidence: Passed | Failed | Missing
    started_at: float
    ended_at: float
    status: int | None = None
    detail: str = ""
    phases_s: Mapping[str, float] = field(default_factory=dict)
    certificate_expires_at: float | None = None
    refused: bool = False
    """Whether Cloud Run's front end answered by itself that no instance can take the request."""
    steps: tuple[StepAnswer, ...] = ()
    """Of a journey: its steps in the order in which they were sent, cleanup last."""

    @property
    def ok(self) -> bool:
        """Whether every expectation was met."""
        return isinstance(self.evidence, Passed)

    @property
    def failed(self) -> bool:
        """Whether it is evidence against the service (missing evidence is not)."""
        return isinstance(self.evidence, Failed)

    @property
    def reason(self) -> str:
        """The typed reason, empty when it passed."""
        return "" if isinstance(self.evidence, Passed) else self.evidence.reason


def evidence_of(answer: ProbeAnswer) -> Evidence:
    """The answer as sample evidence."""
    return answer.evidence
