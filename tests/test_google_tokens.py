"""Google's tokens are fetched once for everybody, ahead of time, and without them a sentence says how to get some."""

import asyncio
import json
import threading
import time
from collections.abc import AsyncIterator, Callable
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from google.auth import _helpers, crypt, jwt
from google.auth.credentials import Credentials
from google.auth.exceptions import DefaultCredentialsError, RefreshError, TransportError

from tests.actions.recorder import Answer, Recorder, Seen, recording
from watchdog.errors import PermanentError, TemporaryError
from watchdog.transport import GoogleTokens

FRESH = timedelta(hours=1)
STALE = timedelta(minutes=2)


class Scripted(Credentials):
    """Credentials whose refreshes a test counts, holds up and fails."""

    def __init__(self, *, lives: timedelta = FRESH) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.lives = lives
        self.refreshes = 0
        self.gate = threading.Event()
        self.gate.set()
        self.error: Exception | None = None
        self.begun = threading.Event()

    def refresh(self, request: Any) -> None:
        self.begun.set()
        assert self.gate.wait(10)
        if self.error is not None:
            raise self.error
        self.expiry = _helpers.utcnow() + self.lives  # type: ignore[no-untyped-call]
        self.token = f"token-{self.refreshes + 1}"
        self.refreshes += 1


async def tokens_of(credentials: Scripted) -> AsyncIterator[GoogleTokens]:
    tokens = GoogleTokens(load=lambda _call: credentials)
    yield tokens
    credentials.gate.set()
    await tokens.close()


@pytest.fixture
def credentials() -> Scripted:
    return Scripted()


@pytest.fixture
async def tokens(credentials: Scripted) -> AsyncIterator[GoogleTokens]:
    async for made in tokens_of(credentials):
        yield made


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(5):
        while not condition():  # noqa: ASYNC110 - a thread makes it true
            await asyncio.sleep(0.001)


class TestAccessTokens:
    async def test_many_who_ask_at_once_cause_one_refresh(self, tokens: GoogleTokens, credentials: Scripted) -> None:
        got = await asyncio.gather(*(tokens.access_token() for _ in range(20)))

        assert set(got) == {"token-1"}
        assert credentials.refreshes == 1
        assert await tokens.headers() == {"authorization": "Bearer token-1"}

    async def test_a_token_about_to_expire_is_handed_out_while_a_new_one_is_fetched(
        self, tokens: GoogleTokens, credentials: Scripted
    ) -> None:
        credentials.lives = STALE
        assert await tokens.access_token() == "token-1"
        credentials.gate.clear()
        credentials.lives = FRESH

        while_refreshing = [await tokens.access_token() for _ in range(3)]
        credentials.gate.set()
        await until(lambda: credentials.refreshes == 2)

        assert while_refreshing == ["token-1"] * 3
        assert await tokens.access_token() == "token-2"
        assert credentials.refreshes == 2

    async def test_an_expired_token_is_never_handed_out(self, tokens: GoogleTokens, credentials: Scripted) -> None:
        credentials.lives = timedelta(seconds=-1)
        await tokens.access_token()
        credentials.lives = FRESH

        assert await tokens.access_token() == "token-2"

    async def test_a_failed_refresh_ahead_of_time_costs_nothing_yet(
        self, tokens: GoogleTokens, credentials: Scripted
    ) -> None:
        credentials.lives = STALE
        await tokens.access_token()
        credentials.error = TransportError("metadata server unreachable")  # type: ignore[no-untyped-call]

        assert await tokens.access_token() == "token-1"

    async def test_a_forgotten_token_is_fetched_anew(self, tokens: GoogleTokens, credentials: Scripted) -> None:
        await tokens.access_token()
        tokens.forget()

        assert await tokens.access_token() == "token-2"

    async def test_someone_who_gives_up_waiting_does_not_stop_the_others(
        self, tokens: GoogleTokens, credentials: Scripted
    ) -> None:
        credentials.gate.clear()
        impatient = asyncio.create_task(tokens.access_token())
        patient = asyncio.create_task(tokens.access_token())
        await asyncio.sleep(0)
        impatient.cancel()
        credentials.gate.set()

        assert await patient == "token-1"
        with pytest.raises(asyncio.CancelledError):
            await impatient


class TestFailures:
    @pytest.mark.parametrize(
        "error",
        [TransportError("no route"), RefreshError("503", retryable=True)],  # type: ignore[no-untyped-call]
    )
    async def test_an_unreachable_token_server_is_temporary(
        self, tokens: GoogleTokens, credentials: Scripted, error: Exception
    ) -> None:
        credentials.error = error

        with pytest.raises(TemporaryError, match="A Google access token could not be had"):
            await tokens.access_token()

    async def test_a_metadata_server_out_of_reach_is_temporary(
        self, tokens: GoogleTokens, credentials: Scripted
    ) -> None:
        error = RefreshError("failed")  # type: ignore[no-untyped-call]
        error.__cause__ = TransportError("no route")  # type: ignore[no-untyped-call]
        credentials.error = error

        with pytest.raises(TemporaryError):
            await tokens.access_token()

    @pytest.mark.parametrize(
        "error",
        [
            DefaultCredentialsError("not found."),  # type: ignore[no-untyped-call]
            RefreshError("invalid_grant: Token has been revoked."),  # type: ignore[no-untyped-call]
            ValueError("not JSON"),
            FileNotFoundError("no such file"),
        ],
    )
    async def test_missing_or_revoked_credentials_say_how_to_get_some(
        self, tokens: GoogleTokens, credentials: Scripted, error: Exception
    ) -> None:
        credentials.error = error

        with pytest.raises(PermanentError, match=r"gcloud auth application-default login"):
            await tokens.access_token()

    async def test_after_a_failure_the_next_one_who_asks_gets_another_try(
        self, tokens: GoogleTokens, credentials: Scripted
    ) -> None:
        credentials.error = RefreshError("invalid_grant")  # type: ignore[no-untyped-call]
        with pytest.raises(PermanentError):
            await tokens.access_token()
        credentials.error = None

        assert await tokens.access_token() == "token-1"

    async def test_no_credentials_at_all(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        """The real search of google-auth, told by its own variable where there is nothing."""
        monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(tmp_path / "nothing.json"))
        tokens = GoogleTokens()

        with pytest.raises(PermanentError, match="GOOGLE_APPLICATION_CREDENTIALS"):
            await tokens.access_token()
        with pytest.raises(PermanentError, match="ID tokens need a service account"):
            await tokens.id_token("https://api.example.com")
        await tokens.close()


class TestServiceAccountFile:
    """The real google-auth against a token endpoint on this machine."""

    @pytest.fixture
    def key(self) -> rsa.RSAPrivateKey:
        return rsa.generate_private_key(public_exponent=65537, key_size=2048)

    async def test_both_kinds_of_token_come_from_it(
        self, key: rsa.RSAPrivateKey, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        pem = key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        ).decode()
        signer = crypt.RSASigner.from_string(pem)  # type: ignore[no-untyped-call]

        def answer(seen: Seen) -> Answer:
            asked = jwt.decode(parse_qs(seen.text)["assertion"][0], verify=False)  # type: ignore[no-untyped-call]
            if "target_audience" in asked:
                claims = {"aud": asked["target_audience"], "exp": asked["exp"]}
                return Answer(body={"id_token": jwt.encode(signer, claims).decode()})  # type: ignore[no-untyped-call]
            return Answer(body={"access_token": "ya29.real", "expires_in": 3600, "token_type": "Bearer"})

        async with recording(answer) as (server, _):
            path = self.write(tmp_path, pem, server)
            monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(path))
            tokens = GoogleTokens()

            assert await tokens.access_token() == "ya29.real"
            for audience in ("https://a.example.com", "https://b.example.com", "https://a.example.com"):
                claims = jwt.decode(await tokens.id_token(audience), verify=False)  # type: ignore[no-untyped-call]
                assert claims["aud"] == audience
            await tokens.close()
            assert len(server.seen) == 3

    @staticmethod
    def write(folder: Path, pem: str, server: Recorder) -> Path:
        path = folder / "key.json"
        account = {
            "type": "service_account",
            "client_email": "watchdog@example.iam.gserviceaccount.com",
            "private_key": pem,
            "private_key_id": "1",
            "project_id": "example",
            "token_uri": f"{server.url}/token",
        }
        path.write_text(json.dumps(account))
        return path


async def test_closing_does_not_wait_for_a_hanging_network() -> None:
    """SIGTERM has five seconds; a thread of google-auth that hangs may not cost them."""
    credentials = Scripted()
    credentials.gate.clear()
    tokens = GoogleTokens(load=lambda _call: credentials)
    waiting = asyncio.create_task(tokens.access_token())
    await until(credentials.begun.is_set)

    started = time.perf_counter()
    await tokens.close()

    assert time.perf_counter() - started < 1.0
    with pytest.raises(asyncio.CancelledError):
        await waiting
    credentials.gate.set()
