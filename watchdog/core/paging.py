"""Who is told: the ladder of people, what each channel gets, and what is silenced. Values of a policy, frozen into a
watch with it.
"""

from collections.abc import Mapping
from fnmatch import fnmatchcase
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

Send = Literal["all", "important", "incidents", "off"]
"""What a channel gets: everything; what a person should know; what somebody may have to act on; nothing."""
SlackRole = Literal["responder", "operator"]
"""What a person may do by a button: a responder acknowledges and holds, an operator rolls back too."""

REPEATS = 9
"""The last level is paged again so often at most: PagerDuty's own limit."""


class _Value(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Level(_Value):
    """One rung of the ladder: who is paged, `after_s` seconds without an acknowledgement."""

    name: str
    after_s: float
    email: tuple[str, ...] = ()
    slack: str = ""
    """A Slack member (`U…`) or user group (`S…`) that is mentioned."""
    only_critical: bool = False


DEFAULT_LADDER = (
    Level(name="On-call engineer", after_s=0.0),
    Level(name="Team lead", after_s=900.0),
    Level(name="Engineering manager", after_s=1800.0),
    Level(name="CTO", after_s=3600.0, only_critical=True),
)
"""The checklist's escalation path."""


class Escalation(_Value):
    """Who climbs the ladder, and how often is reminded."""

    by: Literal["pagerduty", "watchdog"] = "pagerduty"
    """`pagerduty` leaves the ladder to the vendor; then it is never climbed here too."""
    ladder: tuple[Level, ...] = DEFAULT_LADDER
    remind_every_s: float = 3600.0
    """An acknowledged incident that is not resolved is brought to mind so often."""
    repeat_every_s: float = 1800.0
    """The last level is paged again so often until somebody acknowledges."""


class Channel(_Value):
    """What one channel gets; `roles` belongs to Slack."""

    send: Send
    roles: Mapping[str, SlackRole] = {}


class Silence(_Value):
    """What is not said for a while. An empty matcher fits everything; every one that is given has to fit."""

    criterion: str = ""
    """With `*` and `?` as in file names."""
    kind: str = ""
    severity: str = ""
    until: float
    """Unix seconds."""
    by: str
    reason: str
    id: str = ""

    def fits(self, body: Mapping[str, Any], now: float) -> bool:
        """Whether this message is silenced now."""
        if now >= self.until:
            return False
        pairs = (("criterion", self.criterion), ("kind", self.kind), ("severity", self.severity))
        return all(not want or fnmatchcase(str(body.get(name) or ""), want) for name, want in pairs)


NEVER_SILENT = frozenset(
    {"decision", "rolled_back", "rollback_failed", "not_recovered", "approval", "overridden", "note", "test"}
)
"""What moved traffic, or should have, and what a person did: nobody can have meant to miss that. A resolve goes out
whatever is silenced, else a pager would stay red."""


def silenced(body: Mapping[str, Any], silences: tuple[Silence, ...], now: float) -> Silence | None:
    """The silence that mutes this message, if one does."""
    incident = body.get("incident") or {}
    if body.get("kind") in NEVER_SILENT or incident.get("action") in {"resolve", "acknowledge"}:
        return None
    if body.get("kind") == "opened" and incident:  # what was rolled back serves again
        return None
    return next((s for s in silences if s.fits(body, now)), None)
