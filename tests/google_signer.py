"""A Google of our own: keys that sign ID tokens, and a server that publishes their public halves.

Written with `cryptography` alone, so that it shares nothing with what verifies.
"""

import base64
import json
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import aiohttp
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature

from tests.actions.recorder import Answer, Recorder, Seen, recording
from watchdog.engine.clock import SystemClock

AUDIENCE = "https://watchdog.example.com"
PUSHER = "push@barq-fleet.iam.gserviceaccount.com"
CI = "ci@barq-fleet.iam.gserviceaccount.com"


def b64(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def number(value: int) -> str:
    return b64(value.to_bytes((value.bit_length() + 7) // 8, "big"))


def token(header: Mapping[str, Any], claims: Any, signature: bytes, *, raw: str | None = None) -> str:
    """A token of these parts, whatever they are; `raw` replaces the claims' JSON."""
    return f"{signed_part(header, claims, raw=raw)}.{b64(signature)}"


def signed_part(header: Mapping[str, Any], claims: Any, *, raw: str | None = None) -> str:
    body = raw if raw is not None else json.dumps(claims)
    return f"{b64(json.dumps(header).encode())}.{b64(body.encode())}"


def claims(*, iat_in_s: int = -60, exp_in_s: int = 3540, **changes: Any) -> dict[str, Any]:
    """What Google puts into a token for Pub/Sub; None leaves a claim out. Times count from now."""
    now = int(SystemClock().now())
    base = {
        "iss": "https://accounts.google.com", "aud": AUDIENCE, "azp": "113774264463038321964",
        "sub": "113774264463038321964", "email": PUSHER, "email_verified": True,
        "iat": now + iat_in_s, "exp": now + exp_in_s,
    }  # fmt: skip
    return {name: value for name, value in (base | changes).items() if value is not None}


@dataclass(frozen=True)
class RsaKey:
    kid: str
    private: rsa.RSAPrivateKey

    def jwk(self) -> dict[str, Any]:
        numbers = self.private.public_key().public_numbers()
        return {
            "kty": "RSA", "alg": "RS256", "use": "sig", "kid": self.kid, "n": number(numbers.n), "e": number(numbers.e)
        }  # fmt: skip

    def sign(self, *, header: Mapping[str, Any] | None = None, raw: str | None = None, **changes: Any) -> str:
        head = {"alg": "RS256", "kid": self.kid, "typ": "JWT"} | dict(header or {})
        body = claims(**changes)
        part = signed_part(head, body, raw=raw)
        return token(head, body, self.private.sign(part.encode(), padding.PKCS1v15(), hashes.SHA256()), raw=raw)


@dataclass(frozen=True)
class EcKey:
    kid: str
    private: ec.EllipticCurvePrivateKey

    def jwk(self) -> dict[str, Any]:
        at = self.private.public_key().public_numbers()
        x, y = (b64(value.to_bytes(32, "big")) for value in (at.x, at.y))
        return {"kty": "EC", "crv": "P-256", "alg": "ES256", "use": "sig", "kid": self.kid, "x": x, "y": y}

    def sign(self, *, header: Mapping[str, Any] | None = None, **changes: Any) -> str:
        head = {"alg": "ES256", "kid": self.kid, "typ": "JWT"} | dict(header or {})
        body = claims(**changes)
        der = self.private.sign(signed_part(head, body).encode(), ec.ECDSA(hashes.SHA256()))
        r, s = decode_dss_signature(der)
        return token(head, body, r.to_bytes(32, "big") + s.to_bytes(32, "big"))


@cache
def rsa_key(kid: str) -> RsaKey:
    """A key, made once for all tests."""
    return RsaKey(kid, rsa.generate_private_key(public_exponent=65537, key_size=2048))


@cache
def ec_key(kid: str) -> EcKey:
    """A key, made once for all tests."""
    return EcKey(kid, ec.generate_private_key(ec.SECP256R1()))


@dataclass
class KeyServer:
    """Publishes keys as Google does. `recorder.answers` are given first."""

    recorder: Recorder
    session: aiohttp.ClientSession
    keys: list[dict[str, Any]]
    headers: dict[str, str] = field(default_factory=lambda: {"Cache-Control": "public, max-age=19432, no-transform"})

    @property
    def url(self) -> str:
        return f"{self.recorder.url}/oauth2/v3/certs"

    @property
    def asked(self) -> int:
        return len(self.recorder.seen)


@asynccontextmanager
async def publishing(*keys: RsaKey | EcKey) -> AsyncIterator[KeyServer]:
    """A key server on a free port of the loopback."""
    server: list[KeyServer] = []

    def answer(_seen: Seen) -> Answer:
        return Answer(body={"keys": server[0].keys}, headers=server[0].headers)

    async with recording(answer) as (recorder, session):
        server.append(KeyServer(recorder, session, jwks(keys)))
        yield server[0]


def jwks(keys: Sequence[RsaKey | EcKey]) -> list[dict[str, Any]]:
    return [key.jwk() for key in keys]
