"""Whose word a bearer token is: ID tokens that Google signed for an account, as Pub/Sub push and pipelines send them.

google-auth verifies; what it lacks is here: Google's keys fetched without a thread, kept as long as Google allows, and
asked for rarely enough that a stranger's tokens cannot make us ask. Imported only where identities are configured,
because google-auth costs 80 ms and 16 MB.
"""

import asyncio
import base64
import re
from collections.abc import Collection, Mapping
from typing import Any, Final, NamedTuple

import structlog
from aiohttp import ClientSession
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from google.auth import jwt
from google.auth.exceptions import GoogleAuthError, InvalidValue

from watchdog.errors import PermanentError, TemporaryError
from watchdog.ports import Clock
from watchdog.transport.http import Peer, error_of, request

GOOGLE_KEYS_URL: Final = "https://www.googleapis.com/oauth2/v3/certs"
"""`jwks_uri` of https://accounts.google.com/.well-known/openid-configuration."""
ISSUERS: Final = ("accounts.google.com", "https://accounts.google.com")
SKEW_S: Final = 10
"""How far Google's clock and ours may be apart."""
UNKNOWN_KEY_S: Final = 60.0
"""A token with a key that is not known causes at most one look for newer keys in this time."""
AGAIN_S: Final = 5.0
"""After keys could not be had, nobody is asked again for this long."""

_LIFETIME_S: Final = 300.0
"""Of keys whose answer does not say how long they may be kept."""
_LIFETIMES_S: Final = (60.0, 86_400.0)
_TOKEN_MOST: Final = 8192
"""Characters. Google's ID tokens have about 1200."""
_MAX_AGE: Final = re.compile(r"(?:^|[\s,])max-age\s*=\s*\"?(\d{1,9})", re.IGNORECASE)

_log = structlog.get_logger(__name__)


class GoogleIdentities:
    """Tells whether a token is Google's word for one of `emails`, given to us (`audience`).

    `keys_url` answers a JSON Web Key Set (RFC 7517).
    """

    def __init__(
        self,
        session: ClientSession,
        clock: Clock,
        *,
        audience: str,
        emails: Collection[str],
        keys_url: str = GOOGLE_KEYS_URL,
        timeout_s: float = 3.0,
    ) -> None:
        self._keys = _Keys(session, clock, keys_url, timeout_s)
        self._audience = audience
        self._emails = frozenset(email.lower() for email in emails)

    async def verify(self, token: str) -> str:
        """The verified email address, in lower case.

        Raises PermanentError for a token that proves nothing, TemporaryError when Google's keys can't be had: in both
        cases nobody is let in. No sentence repeats anything of the token but its audience and its email.
        """
        header = _header(token)
        key = await self._keys.find(header.kid)
        if key is None or key.algorithm != header.algorithm:
            raise PermanentError("The token is not signed with a key of Google's")
        return self._email(_verified(token, key))

    def _email(self, claims: Mapping[str, Any]) -> str:
        if claims.get("iss") not in ISSUERS:
            raise PermanentError("The token was not issued by accounts.google.com")
        if claims.get("aud") != self._audience:
            raise PermanentError("The token was made for another audience than WATCHDOG_OIDC__AUDIENCE")
        email = claims.get("email")
        if not isinstance(email, str) or claims.get("email_verified") is not True:
            raise PermanentError("The token holds no verified email; ask for one that includes it")
        if email.lower() not in self._emails:
            raise PermanentError("The token's email is not among WATCHDOG_OIDC__EMAILS")
        return email.lower()


class _Key(NamedTuple):
    """A public key as PEM, and the only algorithm that it verifies."""

    algorithm: str
    pem: str


class _Header(NamedTuple):
    """What a token says of its own signature."""

    kid: str
    algorithm: str


def _header(token: str) -> _Header:
    """Raises PermanentError for what is no token."""
    if len(token) > _TOKEN_MOST or not token.isascii():
        raise PermanentError("The token is not a JSON Web Token")
    try:
        header = jwt.decode_header(token)  # type: ignore[no-untyped-call]
    except (ValueError, GoogleAuthError, RecursionError):  # RecursionError: brackets, nested a thousand deep
        raise PermanentError("The token is not a JSON Web Token") from None
    kid, algorithm = header.get("kid"), header.get("alg")
    if not isinstance(kid, str) or not isinstance(algorithm, str):
        raise PermanentError("The token does not say with which key it is signed")
    return _Header(kid, algorithm)


def _verified(token: str, key: _Key) -> Mapping[str, Any]:
    """The claims of a token whose signature and times hold. Raises PermanentError."""
    try:
        claims: Mapping[str, Any] = jwt.decode(  # type: ignore[no-untyped-call]
            token, certs=key.pem, clock_skew_in_seconds=SKEW_S
        )
    except InvalidValue:
        raise PermanentError("The token has expired, or is not valid yet: ask for a new one") from None
    except (ValueError, TypeError, GoogleAuthError):  # TypeError: a time that is no number
        raise PermanentError("The token's signature does not hold, or its times are missing") from None
    if not all(type(claims[claim]) is int for claim in ("iat", "exp")):  # NaN is never later than anything
        raise PermanentError("The token's times are not whole seconds")
    return claims


class _Keys:
    """Google's public keys by their `kid`. One request at a time, however many ask."""

    def __init__(self, session: ClientSession, clock: Clock, url: str, timeout_s: float) -> None:
        self._session = session
        self._clock = clock
        self._url = url
        self._peer = Peer(name="Google's key server", timeout_s=timeout_s)
        self._known: Mapping[str, _Key] = {}
        self._fresh_until = float("-inf")
        self._asked_at = float("-inf")
        self._failure = ""
        self._one = asyncio.Lock()

    async def find(self, kid: str) -> _Key | None:
        """The key, or None when Google has none of this id. Raises TemporaryError when that can't be known."""
        if not self._must_ask(kid):
            return self._known.get(kid)
        async with self._one:
            if self._must_ask(kid):  # not when somebody asked while we waited
                await self._ask()
        return self._known.get(kid)

    def _must_ask(self, kid: str) -> bool:
        now = self._clock.monotonic()
        waited = now - self._asked_at
        if self._failure and waited < AGAIN_S and (now >= self._fresh_until or kid not in self._known):
            raise TemporaryError(self._failure)
        return now >= self._fresh_until or (kid not in self._known and waited >= UNKNOWN_KEY_S)

    async def _ask(self) -> None:
        try:
            self._known, lifetime_s = await self._fetch()
        except (TemporaryError, PermanentError) as error:
            if not self._failure:
                _log.warning("google_keys_unavailable", error=str(error))
            self._failure = str(error)
            raise TemporaryError(self._failure) from None
        finally:
            self._asked_at = self._clock.monotonic()
        self._fresh_until = self._asked_at + lifetime_s
        if self._failure:
            _log.info("google_keys_available", keys=len(self._known))
        self._failure = ""

    async def _fetch(self) -> tuple[Mapping[str, _Key], float]:
        doing = "Reading Google's keys"
        reply = await request(self._session, self._peer, "GET", self._url, doing=doing)
        if not reply.ok:
            raise error_of(reply, self._peer, doing=doing)
        listed = reply.body.get("keys") if isinstance(reply.body, dict) else None
        entries = [entry for entry in listed if isinstance(entry, dict)] if isinstance(listed, list) else []
        found = {str(entry.get("kid")): key for entry in entries if (key := _read_key(entry)) is not None}
        if not found:
            raise TemporaryError(f"{doing}: {self._peer.name} answered without a key that verifies RS256 or ES256")
        return found, _lifetime_s(reply.headers)


def _read_key(entry: Mapping[str, Any]) -> _Key | None:
    """Read a JSON Web Key (RFC 7518, section 6); None for what verifies neither RS256 nor ES256."""
    if entry.get("use") not in (None, "sig"):
        return None
    key: rsa.RSAPublicKey | ec.EllipticCurvePublicKey
    try:
        match entry:
            case {"kty": "RSA", "n": str(n), "e": str(e)}:
                algorithm, key = "RS256", rsa.RSAPublicNumbers(e=_number(e), n=_number(n)).public_key()
            case {"kty": "EC", "crv": "P-256", "x": str(x), "y": str(y)}:
                numbers = ec.EllipticCurvePublicNumbers(_number(x), _number(y), ec.SECP256R1())
                algorithm, key = "ES256", numbers.public_key()
            case _:
                return None
    except ValueError:  # not base64, or not a point of the curve: one bad key must not take the others along
        return None
    return _Key(algorithm, key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode())


def _number(text: str) -> int:
    return int.from_bytes(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)), "big")


def _lifetime_s(headers: Mapping[str, str]) -> float:
    """Cache-Control's max-age less Age (RFC 9111, 4.2), between a minute and a day."""
    found = _MAX_AGE.search(headers.get("Cache-Control", ""))
    age = headers.get("Age", "").strip()
    seconds = float(found[1]) if found else _LIFETIME_S
    seconds -= float(age) if re.fullmatch(r"[0-9]{1,9}", age) else 0.0
    least, most = _LIFETIMES_S
    return min(max(seconds, least), most)
