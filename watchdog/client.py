"""The verbs' way to a running daemon: its HTTP API, and its problem documents as sentences.

Made of the standard library alone: a verb typed during an incident answers in a tenth of a second, before an HTTP
framework would have been imported.
"""

import ipaddress
import json
import socket
import urllib.error
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from http.client import HTTPException
from typing import Any, Final
from urllib.parse import quote, urlencode, urlsplit

from watchdog import __version__
from watchdog.errors import ConfigError, PermanentError, TemporaryError

_ANSWER_BYTES: Final = 256 * 1024 * 1024
_PROBLEM: Final = "application/problem+json"
_USAGE: Final = frozenset({400, 413, 415, 422})


class NoDaemonError(TemporaryError):
    """Nobody answers at the URL, or somebody who is no watchdog."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Daemon:
    """A daemon by its URL. Methods raise

    - `NoDaemonError` when no daemon answers there,
    - `ConfigError` for what whoever types has to mend: the token, a name that means several things, a bad argument,
    - `PermanentError` with `status` for what the daemon refuses: 404, 409, 412, …
    - `TemporaryError` for its own faults: 5xx.
    """

    url: str
    token: str | None = field(default=None, repr=False)
    timeout_s: float = 10.0

    def get(self, path: str, **query: str) -> Any:
        """The JSON that a path answers."""
        return self._json(self._send("GET", path, query, None, {}))

    def text(self, path: str, **query: str) -> str:
        """The text that a path answers."""
        return self._send("GET", path, query, None, {}).decode("utf-8", "replace")

    def post(self, path: str, body: Mapping[str, Any], *, key: str) -> Any:
        """Send an order; `key` makes it count once, however often it is sent. The JSON that is answered."""
        headers = {"Content-Type": "application/json", "Idempotency-Key": key}
        if self.token:
            headers["Authorization"] = f"Bearer {self.token}"
        return self._json(self._send("POST", path, {}, json.dumps(body).encode(), headers))

    def _send(
        self, method: str, path: str, query: Mapping[str, str], body: bytes | None, headers: Mapping[str, str]
    ) -> bytes:
        base = self.url.rstrip("/")
        url = f"{base}{path}" + (f"?{urlencode(query)}" if query else "")
        request = urllib.request.Request(  # noqa: S310 - the settings take http:// and https:// only
            url,
            data=body,
            method=method,
            headers={"Accept": "application/json", "User-Agent": f"watchdog/{__version__}", **headers},
        )
        try:
            with _opener(base).open(request, timeout=self.timeout_s) as answer:
                found: bytes = answer.read(_ANSWER_BYTES)
                return found
        except urllib.error.HTTPError as error:
            with error:
                raise self._refused(error) from None
        except TimeoutError:
            raise NoDaemonError(self._nobody(f"no answer within {self.timeout_s:g} s")) from None
        except urllib.error.URLError as error:
            raise NoDaemonError(self._nobody(_cause(error.reason))) from None
        except (OSError, HTTPException, ValueError) as error:
            raise NoDaemonError(self._nobody(_cause(error))) from None

    def _nobody(self, cause: str) -> str:
        return (
            f"no daemon answers at {self.url} ({cause}): start one with `watchdog run`, or set WATCHDOG_URL to where "
            "it listens"
        )

    def _json(self, raw: bytes) -> Any:
        try:
            return json.loads(raw)
        except (ValueError, RecursionError):
            raise self._stranger("something that is not JSON") from None

    def _stranger(self, what: str) -> NoDaemonError:
        return NoDaemonError(f"{self.url} answered with {what}, so it is no watchdog: set WATCHDOG_URL to the daemon's")

    def _refused(self, error: urllib.error.HTTPError) -> Exception:
        """The error for an answer that is not 2xx."""
        status = error.code
        if status in {301, 302, 303, 307, 308}:
            where = error.headers.get("Location", "elsewhere")
            return ConfigError(f"{self.url} redirects to {where}: set WATCHDOG_URL to that address")
        document = _problem(error)
        if document is None:
            return self._stranger(f"HTTP {status}")
        sentence = str(document.get("detail") or document.get("title") or f"HTTP {status}")
        if status in {401, 403}:
            return ConfigError(f"the daemon at {self.url} refuses this: {sentence} {self._token_hint()}")
        if document.get("candidates"):
            return ConfigError(sentence)
        if status in _USAGE:
            return ConfigError(sentence)
        if status >= HTTPStatus.INTERNAL_SERVER_ERROR:
            return TemporaryError(f"the daemon at {self.url} could not answer: {sentence}")
        return PermanentError(sentence, status=status)

    def _token_hint(self) -> str:
        if self.token:
            return "WATCHDOG_API_TOKEN is set here, but it is not the daemon's own: compare the two."
        return "Set WATCHDOG_API_TOKEN here to the daemon's own value."


def segment(text: str) -> str:
    """A name as one segment of a path: `us-central1/api` keeps its slash for the daemon."""
    return quote(text, safe="")


class _Stay(urllib.request.HTTPRedirectHandler):
    """Follows no redirect: an order would arrive as a GET."""

    def redirect_request(self, *_args: object, **_kwargs: object) -> None:
        """Refuse."""


def _opener(base: str) -> urllib.request.OpenerDirector:
    """The environment's proxies, but never one for our own machine."""
    host = urlsplit(base).hostname or ""
    try:
        own = host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        own = False
    return urllib.request.build_opener(_Stay, urllib.request.ProxyHandler({} if own else None))


def _problem(error: urllib.error.HTTPError) -> Mapping[str, Any] | None:
    """The problem document of an answer; None when it has none."""
    if error.headers.get_content_type() != _PROBLEM:
        return None
    try:
        document = json.loads(error.read(_ANSWER_BYTES))
    except (OSError, HTTPException, ValueError, RecursionError):
        return None
    return document if isinstance(document, dict) else None


def _cause(error: object) -> str:
    if isinstance(error, ConnectionRefusedError):
        return "connection refused"
    if isinstance(error, socket.gaierror):
        return "no such host"
    if isinstance(error, TimeoutError):
        return "no answer in time"
    text = str(error) or type(error).__name__
    return " ".join(text.split())[:200]
