"""Whom a message concerns: which channels, by what it is. The ladder of people comes on top of this."""

from collections.abc import Mapping
from typing import Any

PAGERS = frozenset({"pagerduty"})
"""Channels that wake somebody: they get incidents and changes only."""


def concerns(channel: str, body: Mapping[str, Any]) -> bool:
    """Whether the channel gets this message: chat gets all, pagers get incidents and change events."""
    if channel in PAGERS:
        return body.get("incident") is not None or bool(body.get("change"))
    return True
