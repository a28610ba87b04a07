"""Answers that a request got from what stands before the container, not from the service.

A missing token, a private ingress or a login page says nothing about the release, so it must not move traffic on its
own. What they look like, from answers that users published:

* Cloud Run's own refusal (IAM, unknown host): `Server: Google Frontend` and a page `<title>403 Forbidden</title> …
  <h1>Error: Forbidden</h1>`; 401 and 404 alike. The header alone proves nothing: every container's answer carries it.
* Google's front ends before it (ingress settings, reserved paths such as `/healthz`): the page "Error 404 (Not
  Found)!!1" with `<a href=//www.google.com/><span id=logo aria-label=Google>`.
* Identity-Aware Proxy marks what it says itself with `X-Goog-IAP-Generated-Response: true`, and sends browsers to
  `accounts.google.com` (cloud.google.com/iap/docs).

No instance took it, which says that the service is down, or that it has more to do than its instances can:

* 429 with the plain text "Rate exceeded.": every instance that may run is busy, and the queue is full.
* 503 or 500 with Google's page "The service you requested is not available yet": no instance is ready; they may all be
  starting, or crash when they do.
"""

from collections.abc import Mapping

from yarl import URL

DENIED = frozenset({401, 403, 404})
REDIRECTS = frozenset({301, 302, 303, 307, 308})
TOO_MANY = 429
UNSERVED = frozenset({TOO_MANY, 500, 503})
LOGIN_HOSTS = frozenset({"accounts.google.com", "auth.cloud.google"})
IAP_HEADER = "X-Goog-IAP-Generated-Response"
PEEK_BYTES = 4096
"""As much of the body as these need; Google's pages show their marks within 2 KiB."""


def login_redirect(status: int, headers: Mapping[str, str]) -> str:
    """Where the answer sends people to log in, as a clause; empty when it is no login redirect."""
    if status not in REDIRECTS:
        return ""
    host = location(headers).split("/", maxsplit=1)[0]
    if host in LOGIN_HOSTS:
        return f"sent to log in at {host}"
    return "sent to log in by Identity-Aware Proxy" if _from_iap(headers) else ""


def denied_by(status: int, headers: Mapping[str, str], body: bytes) -> str:
    """Who refused the request before it reached the container, as a clause; empty when the service itself answered.

    `headers` must ignore case; `body` is at least the first `PEEK_BYTES` of it.
    """
    if status not in DENIED:
        return ""
    if _from_iap(headers):
        return f"Identity-Aware Proxy answered {status}"
    if "text/html" not in headers.get("Content-Type", "").lower():
        return ""
    page = body[:PEEK_BYTES].decode("latin-1").lower()
    cloud_runs = f"<title>{status} " in page and "<h1>error: " in page
    if (cloud_runs and headers.get("Server", "").lower() == "google frontend") or (
        "//www.google.com/" in page and "aria-label=google" in page
    ):
        return f"Google's front end answered {status}"
    return ""


def no_instance(status: int, headers: Mapping[str, str], body: bytes) -> bool:
    """Whether Cloud Run's front end answered by itself, because no instance could take the request.

    `headers` must ignore case; `body` is at least the first `PEEK_BYTES` of it.
    """
    if status not in UNSERVED or headers.get("Server", "").lower() != "google frontend":
        return False
    page = body[:PEEK_BYTES].decode("latin-1").strip().lower()
    if status == TOO_MANY:
        return page.startswith("rate exceeded")
    return f"<title>{status} server error" in page and "<h1>error: server error" in page


def location(headers: Mapping[str, str]) -> str:
    """`host/path` of a redirect, without scheme, user, query and fragment, which may carry secrets."""
    try:
        url = URL(headers.get("Location", ""))
    except ValueError:
        return "an invalid address"
    return f"{url.host or ''}{url.path}"


def _from_iap(headers: Mapping[str, str]) -> bool:
    return headers.get(IAP_HEADER, "").lower() == "true"
