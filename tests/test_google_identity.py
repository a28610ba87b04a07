"""A Google identity is let in on proof alone: Google's signature, for us, for somebody we know, now."""

import asyncio
import base64
import hashlib
import hmac
import json
from collections.abc import AsyncIterator
from itertools import count
from typing import Any

import pytest
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from structlog.testing import capture_logs

from tests.actions.recorder import Answer
from tests.google_signer import (
    AUDIENCE,
    CI,
    PUSHER,
    KeyServer,
    b64,
    claims,
    ec_key,
    publishing,
    rsa_key,
    signed_part,
    token,
)
from watchdog.engine.clock import SystemClock
from watchdog.errors import PermanentError, TemporaryError
from watchdog.transport.identity import AGAIN_S, GOOGLE_KEYS_URL, UNKNOWN_KEY_S, GoogleIdentities

RSA, EC, LATER = rsa_key("rsa-1"), ec_key("ec-1"), rsa_key("rsa-2")


class SetClock:
    """Stands still until a test moves it: what is kept for hours is kept for no time here."""

    def __init__(self) -> None:
        self.at = 1000.0

    def now(self) -> float:
        return SystemClock().now()

    def monotonic(self) -> float:
        return self.at

    async def sleep(self, delay_s: float) -> None:
        await asyncio.sleep(delay_s)


@pytest.fixture
def clock() -> SetClock:
    return SetClock()


@pytest.fixture
async def google() -> AsyncIterator[KeyServer]:
    async with publishing(RSA, EC) as server:
        yield server


@pytest.fixture
def known(google: KeyServer, clock: SetClock) -> GoogleIdentities:
    return of(google, clock)


def of(google: KeyServer, clock: SetClock, **options: Any) -> GoogleIdentities:
    return GoogleIdentities(
        google.session, clock, audience=AUDIENCE, emails=(PUSHER, CI), keys_url=google.url, **options
    )


class TestTokens:
    @pytest.mark.parametrize("issuer", ["accounts.google.com", "https://accounts.google.com"])
    @pytest.mark.parametrize("key", [RSA, EC], ids=["RS256", "ES256"])
    async def test_googles_signature_for_us_and_for_somebody_we_know_is_enough(
        self, known: GoogleIdentities, key: Any, issuer: str
    ) -> None:
        assert await known.verify(key.sign(iss=issuer)) == PUSHER

    async def test_case_of_an_email_does_not_matter(self, known: GoogleIdentities) -> None:
        assert await known.verify(RSA.sign(email=CI.upper())) == CI

    async def test_clocks_may_be_some_seconds_apart(self, known: GoogleIdentities) -> None:
        assert await known.verify(RSA.sign(iat_in_s=-3603, exp_in_s=-3)) == PUSHER
        assert await known.verify(RSA.sign(iat_in_s=8, exp_in_s=3608)) == PUSHER

    @pytest.mark.parametrize(
        "changes, said",
        [
            ({"exp_in_s": -60, "iat_in_s": -3660}, "expired"),
            ({"iat_in_s": 3600, "exp_in_s": 7200}, "not valid yet"),
            ({"aud": "https://other.example.com"}, "another audience"),
            ({"aud": [AUDIENCE]}, "another audience"),
            ({"aud": AUDIENCE + "/"}, "another audience"),
            ({"aud": None}, "another audience"),
            ({"iss": "https://accounts.google.com.evil.example"}, "not issued by"),
            ({"iss": "https://securetoken.google.com/barq-fleet"}, "not issued by"),
            ({"iss": None}, "not issued by"),
            ({"iss": ["accounts.google.com"]}, "not issued by"),
            ({"email": "somebody@example.com"}, "WATCHDOG_OIDC__EMAILS"),
            ({"email": None}, "no verified email"),
            ({"email": [PUSHER]}, "no verified email"),
            ({"email_verified": False}, "no verified email"),
            ({"email_verified": "true"}, "no verified email"),
            ({"email_verified": None}, "no verified email"),
            ({"exp": None}, "times"),
            ({"iat": None}, "times"),
            ({"exp": "never"}, "times"),
            ({"exp": float("nan")}, "times"),
            ({"exp": float("inf")}, "times"),
            ({"exp": True}, "expired"),
        ],
    )
    async def test_one_wrong_claim_is_enough_to_stay_outside(
        self, known: GoogleIdentities, changes: dict[str, Any], said: str
    ) -> None:
        with pytest.raises(PermanentError, match=said):
            await known.verify(RSA.sign(**changes))

    async def test_a_key_that_google_does_not_publish_proves_nothing(self, known: GoogleIdentities) -> None:
        with pytest.raises(PermanentError, match="not signed with a key of Google's"):
            await known.verify(LATER.sign())

    async def test_another_keys_signature_under_googles_key_id_proves_nothing(self, known: GoogleIdentities) -> None:
        with pytest.raises(PermanentError, match="signature"):
            await known.verify(LATER.sign(header={"kid": RSA.kid}))

    async def test_changed_claims_prove_nothing(self, known: GoogleIdentities) -> None:
        head, _, signature = RSA.sign(email="somebody@example.com").split(".")
        forged = ".".join([head, b64(json.dumps(claims()).encode()), signature])

        with pytest.raises(PermanentError, match="signature"):
            await known.verify(forged)

    @pytest.mark.parametrize(
        "header, key",
        [
            ({"alg": "ES256", "kid": RSA.kid}, RSA),
            ({"alg": "RS256", "kid": EC.kid}, EC),
            ({"alg": "RS512"}, RSA),
            ({"alg": "ES384"}, EC),
            ({"alg": "none"}, RSA),
            ({"alg": None}, RSA),
            ({"alg": ["RS256"]}, RSA),
            ({"kid": None}, RSA),
            ({"kid": ["rsa-1"]}, RSA),
        ],
    )
    async def test_only_the_keys_own_algorithm_counts(
        self, known: GoogleIdentities, header: dict[str, Any], key: Any
    ) -> None:
        with pytest.raises(PermanentError):
            await known.verify(key.sign(header=header))

    async def test_googles_public_key_is_no_shared_secret(self, known: GoogleIdentities) -> None:
        """The old trick: an HMAC made with the public key, which everybody has."""
        header = {"alg": "HS256", "kid": RSA.kid}
        pem = RSA.private.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
        mac = hmac.new(pem, signed_part(header, claims()).encode(), hashlib.sha256).digest()

        with pytest.raises(PermanentError):
            await known.verify(token(header, claims(), mac))

    @pytest.mark.parametrize(
        "text",
        [
            "",
            "..",
            "a.b.c",
            "s3cret",
            "a.b.c.d",
            f"{b64(b'[]')}.{b64(b'{}')}.x",
            f"{b64(b'{}')}.{b64(b'[]')}.x",
            f"{b64(b'[' * 3000)}.{b64(b'{}')}.x",
            f"{b64(b'{}')}.{b64(b'[' * 3000)}.x",
            f"{b64(bytes(range(128, 256)))}.{b64(b'{}')}.x",
            "ü.é.ß",
            "\udcff.a.b",
            "\x00.\x00.\x00",
            "a" * 100_000,
            base64.b64encode(b"{}").decode() * 3,
        ],
        ids=count(),
    )
    async def test_what_is_no_token_is_refused_without_asking_google(
        self, known: GoogleIdentities, google: KeyServer, text: str
    ) -> None:
        with pytest.raises(PermanentError, match=r"not a JSON Web Token|does not say with which key"):
            await known.verify(text)

        assert google.asked == 0

    @pytest.mark.parametrize("raw", ["[]", "null", "{", "[" * 3000, '{"iat": 1e999, "exp": 1e999}'])
    async def test_signed_nonsense_is_refused_like_unsigned(self, known: GoogleIdentities, raw: str) -> None:
        with pytest.raises(PermanentError):
            await known.verify(RSA.sign(raw=raw))

    async def test_no_sentence_repeats_the_token(self, known: GoogleIdentities) -> None:
        for bad in (RSA.sign(exp_in_s=-60), LATER.sign(), RSA.sign(email="eve@example.com")):
            with pytest.raises(PermanentError) as refused:
                await known.verify(bad)
            assert not any(part in str(refused.value) for part in [*bad.split("."), "eve@example.com"])


class TestKeys:
    async def test_many_who_ask_at_once_cause_one_request(self, known: GoogleIdentities, google: KeyServer) -> None:
        emails = await asyncio.gather(*(known.verify(key.sign()) for key in (RSA, EC) * 10))

        assert set(emails) == {PUSHER}
        assert google.asked == 1

    @pytest.mark.parametrize(
        "headers, kept_s",
        [
            ({"Cache-Control": "public, max-age=19432, must-revalidate"}, 19432),
            ({"Cache-Control": "max-age=19432", "Age": "9432"}, 10000),
            ({"Cache-Control": 'MAX-AGE="600"'}, 600),
            ({"Cache-Control": "no-store"}, 300),
            ({"Cache-Control": "s-max-age=4000"}, 300),
            ({}, 300),
            ({"Cache-Control": "max-age=0"}, 60),
            ({"Cache-Control": "max-age=999999999"}, 86400),
            ({"Cache-Control": "max-age=600", "Age": "soon"}, 600),
        ],
    )
    async def test_keys_are_kept_as_long_as_google_allows_within_reason(
        self, known: GoogleIdentities, google: KeyServer, clock: SetClock, headers: dict[str, str], kept_s: float
    ) -> None:
        google.headers = headers
        await known.verify(RSA.sign())
        clock.at += kept_s - 1
        await known.verify(RSA.sign())
        assert google.asked == 1

        clock.at += 1
        await known.verify(RSA.sign())
        assert google.asked == 2

    async def test_a_new_key_is_looked_for_once_a_minute_at_most(
        self, known: GoogleIdentities, google: KeyServer, clock: SetClock
    ) -> None:
        await known.verify(RSA.sign())
        google.keys.append(LATER.jwk())
        for _ in range(5):
            with pytest.raises(PermanentError):
                await known.verify(LATER.sign())
        assert google.asked == 1

        clock.at += UNKNOWN_KEY_S
        emails = await asyncio.gather(*(known.verify(LATER.sign()) for _ in range(5)))
        assert (set(emails), google.asked) == ({PUSHER}, 2)

    async def test_a_stranger_with_invented_keys_makes_us_ask_once_a_minute_at_most(
        self, known: GoogleIdentities, google: KeyServer, clock: SetClock
    ) -> None:
        for _ in range(10):
            clock.at += UNKNOWN_KEY_S / 5
            with pytest.raises(PermanentError):
                await known.verify(LATER.sign())

        assert google.asked == 2

    async def test_a_key_that_google_takes_back_counts_no_more(
        self, known: GoogleIdentities, google: KeyServer, clock: SetClock
    ) -> None:
        await known.verify(RSA.sign())
        google.keys = [EC.jwk()]
        clock.at += 19432

        with pytest.raises(PermanentError):
            await known.verify(RSA.sign())

    @pytest.mark.parametrize(
        "answer",
        [
            Answer(status=500, body={"error": "backend"}),
            Answer(status=404, body="nothing"),
            Answer(status=302, headers={"Location": "https://evil.example/certs"}, body=""),
            Answer(body="<html>captive portal</html>"),
            Answer(body=[RSA.jwk()]),
            Answer(body={"keys": {}}),
            Answer(body={"keys": []}),
            Answer(body={"keys": [5, None, {"kty": "oct", "k": "AAAA", "kid": RSA.kid}]}),
            Answer(body={"keys": [RSA.jwk() | {"use": "enc"}]}),
        ],
    )
    async def test_without_keys_nobody_is_let_in(
        self, known: GoogleIdentities, google: KeyServer, answer: Answer
    ) -> None:
        google.recorder.answers.append(answer)

        with pytest.raises(TemporaryError, match="Reading Google's keys"):
            await known.verify(RSA.sign())

    async def test_expired_keys_are_not_used_when_new_ones_cannot_be_had(
        self, known: GoogleIdentities, google: KeyServer, clock: SetClock
    ) -> None:
        await known.verify(RSA.sign())
        clock.at += 19432
        google.recorder.answers.append(Answer(drop=True))
        google.recorder.answers.append(Answer(drop=True))  # a dropped GET is sent a second time

        with pytest.raises(TemporaryError):
            await known.verify(RSA.sign())

    async def test_a_failure_is_told_to_everybody_and_tried_again_only_later(
        self, known: GoogleIdentities, google: KeyServer, clock: SetClock
    ) -> None:
        google.recorder.answers.append(Answer(status=503, body={}))
        with capture_logs() as logs:
            refused = await asyncio.gather(*(known.verify(RSA.sign()) for _ in range(5)), return_exceptions=True)
            assert [type(error) for error in refused] == [TemporaryError] * 5
            assert google.asked == 1
            clock.at += AGAIN_S

            assert await known.verify(RSA.sign()) == PUSHER

        assert google.asked == 2
        assert [line["event"] for line in logs] == ["google_keys_unavailable", "google_keys_available"]

    async def test_a_known_key_does_not_wait_for_the_search_after_an_unknown_one(
        self, google: KeyServer, clock: SetClock
    ) -> None:
        known = of(google, clock)
        await known.verify(RSA.sign())
        clock.at += UNKNOWN_KEY_S
        search = asyncio.create_task(known.verify(LATER.sign()))
        await asyncio.sleep(0)

        assert await known.verify(RSA.sign()) == PUSHER
        assert not search.done()
        with pytest.raises(PermanentError):
            await search

    async def test_a_key_server_that_hangs_is_given_up(self, google: KeyServer, clock: SetClock) -> None:
        taken, left = asyncio.Event(), asyncio.Event()

        async def hang(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            taken.set()
            await reader.read()  # until whoever asked gives up
            writer.close()
            left.set()

        server = await asyncio.start_server(hang, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        known = GoogleIdentities(
            google.session, clock, audience=AUDIENCE, emails=(PUSHER,), keys_url=f"http://127.0.0.1:{port}/",
            timeout_s=0.2,
        )  # fmt: skip

        with pytest.raises(TemporaryError, match="did not answer within"):
            await known.verify(RSA.sign())
        assert taken.is_set()
        await left.wait()
        server.close()
        await server.wait_closed()

    async def test_one_key_that_cannot_be_read_does_not_take_the_others_along(
        self, known: GoogleIdentities, google: KeyServer
    ) -> None:
        broken = [
            RSA.jwk() | {"n": "ü", "kid": "a"},
            RSA.jwk() | {"n": "", "kid": "b"},
            EC.jwk() | {"y": "AA", "kid": "c"},
        ]
        google.keys = [*broken, {"kty": "OKP"}, RSA.jwk()]

        assert await known.verify(RSA.sign()) == PUSHER


def test_the_keys_come_from_google_by_default() -> None:
    assert GOOGLE_KEYS_URL == "https://www.googleapis.com/oauth2/v3/certs"
