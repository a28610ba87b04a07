"""What of a foreign body may be shown: an excerpt from which secrets, tokens and personal data are taken out.

Bodies end up in pages, chats and reports, so what looks like a secret is hidden although nobody said that it is one.
"""

import re
from collections.abc import Iterable
from typing import Final

from watchdog.sources.probe_request import REDACTED, redact

EXCERPT: Final = 160
"""Characters of a body that are shown."""

_NAMES = "password|passwd|passphrase|pwd|secret|token|authorization|cookie|session_?id|api_?-?key|credential|jwt"
_PATTERNS: Final = (
    re.compile(r"(?i)(\b(?:bearer|basic)\s+)([\w.~+/=-]{4,})"),
    # "access_token": "…", also as a number, and token=… in forms and query strings
    re.compile(rf"""(?i)(["']?[\w-]*(?:{_NAMES})[\w-]*["']?\s*[:=]\s*)("(?:[^"\\]|\\.)*"?|'[^']*'?|[^\s,;&}}\]]+)"""),
    re.compile(r"()\b(eyJ[\w-]{4,}\.[\w-]+(?:\.[\w-]*)?)"),  # a JSON web token
    re.compile(r"()([\w.+-]+@[\w-]+(?:\.[\w-]+)+)"),  # an address of somebody
    re.compile(r"()((?<![\w.-])\+?\d(?:[ ()-]?\d){8,14}(?![\w.-]))"),  # a phone or card number
)


def excerpt(body: bytes, secrets: Iterable[str], *, limit: int = EXCERPT) -> str:
    """The beginning of a body on one line, at most `limit` characters, without secrets and personal data."""
    text = body[: 16 * limit].decode("utf-8", "replace")
    text = " ".join("".join(c if c.isprintable() else " " for c in text).split())
    text = redact(text, secrets)
    for pattern in _PATTERNS:
        text = pattern.sub(rf"\1{REDACTED}", text)
    return text if len(text) <= limit else text[: limit - 1] + "…"
