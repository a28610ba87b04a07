"""Bodies and foreign text as both databases can keep them."""

import json
from collections.abc import Mapping
from typing import Any, Final

_LONGEST: Final = 2000


def to_json(body: Mapping[str, Any]) -> str:
    """Compact JSON. Escaped to ASCII, so that no character (NUL, half a surrogate pair) can offend a database."""
    return json.dumps(body, separators=(",", ":"))


def from_json(stored: str) -> dict[str, Any]:
    """The body again; tuples have become lists."""
    body: dict[str, Any] = json.loads(stored)
    return body


def clean(foreign: str) -> str:
    """What somebody else's program said, without characters that PostgreSQL refuses, cut to 2,000."""
    return foreign[:_LONGEST].replace("\x00", "").encode("utf-8", "replace").decode("utf-8")
