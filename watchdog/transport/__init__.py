"""HTTP to the outside: one shared session, one way to turn a bad answer into our errors, and Google's tokens.

Adapters say what they are doing (`Reading service api`) and whom they ask (`Cloud Run`), and get back JSON or one
sentence that a person can act on. No sentence ever holds a URL's path or query, a header or a value from
`Peer.secrets`: webhook URLs and routing keys are secrets, and errors end in logs, pages and the journal.
"""

from watchdog.transport.google import CLOUD_PLATFORM, GoogleTokens
from watchdog.transport.http import (
    USER_AGENT,
    Peer,
    Reply,
    environment_proxy,
    error_of,
    open_session,
    request,
    request_json,
    retry_after_s,
    scrub,
    url_secrets,
)

__all__ = [
    "CLOUD_PLATFORM",
    "USER_AGENT",
    "GoogleTokens",
    "Peer",
    "Reply",
    "environment_proxy",
    "error_of",
    "open_session",
    "request",
    "request_json",
    "retry_after_s",
    "scrub",
    "url_secrets",
]
