"""Whatever the other side answers, an adapter gets JSON or one of our errors with a sentence for a person."""

import asyncio
from collections.abc import AsyncIterator

import aiohttp
import pytest

from tests.actions.recorder import Answer, Recorder, recording
from watchdog.errors import ConflictError, PermanentError, TemporaryError, WatchdogError
from watchdog.transport import (
    USER_AGENT,
    Peer,
    environment_proxy,
    request,
    request_json,
    retry_after_s,
    scrub,
)

PEER = Peer(name="The API", secrets=("hunter2-hunter2",), hints={403: "Grant the role"})


@pytest.fixture
async def server() -> AsyncIterator[tuple[Recorder, aiohttp.ClientSession]]:
    async with recording(Answer(body={"ok": 1})) as pair:
        yield pair


async def failure(pair: tuple[Recorder, aiohttp.ClientSession], answer: Answer) -> WatchdogError:
    recorder, session = pair
    recorder.answers.append(answer)
    with pytest.raises(WatchdogError) as caught:
        await request_json(
            session, PEER, "GET", f"{recorder.url}/hunter2-hunter2?key=hunter2-hunter2", doing="Reading x"
        )
    return caught.value


class TestAnswers:
    async def test_a_good_answer_is_its_json(self, server: tuple[Recorder, aiohttp.ClientSession]) -> None:
        recorder, session = server

        body = await request_json(
            session, PEER, "PUT", f"{recorder.url}/a", doing="Writing x", json={"a": [1]}, headers={"X-A": "b"}
        )

        assert body == {"ok": 1}
        [seen] = recorder.seen
        assert (seen.method, seen.path, seen.json) == ("PUT", "/a", {"a": [1]})
        assert seen.headers["X-A"] == "b"
        assert seen.headers["User-Agent"] == USER_AGENT
        assert USER_AGENT.startswith("deploy-watchdog/")

    @pytest.mark.parametrize("status", [408, 425, 429, 500, 502, 503, 504, 520])
    async def test_what_may_pass_is_temporary(
        self, server: tuple[Recorder, aiohttp.ClientSession], status: int
    ) -> None:
        error = await failure(server, Answer(status=status, headers={"Retry-After": "7"}))

        assert type(error) is TemporaryError
        assert error.delay_s == 7.0
        assert str(error).startswith(f"Reading x: The API answered {status}")

    @pytest.mark.parametrize("status", [400, 401, 403, 404, 410, 422, 501])
    async def test_what_stays_is_permanent(self, server: tuple[Recorder, aiohttp.ClientSession], status: int) -> None:
        error = await failure(server, Answer(status=status))

        assert isinstance(error, PermanentError)
        assert error.status == status

    async def test_a_lost_race_is_a_conflict(self, server: tuple[Recorder, aiohttp.ClientSession]) -> None:
        body = {"error": {"code": 409, "status": "ABORTED", "message": "Conflict for resource 'x'"}}

        error = await failure(server, Answer(status=409, body=body))

        assert isinstance(error, ConflictError)
        assert str(error) == "Reading x: The API answered 409 ABORTED: Conflict for resource 'x'"

    async def test_a_hint_says_what_to_do(self, server: tuple[Recorder, aiohttp.ClientSession]) -> None:
        body = {"error": {"status": "PERMISSION_DENIED", "message": "Permission 'run.services.get' denied."}}

        error = await failure(server, Answer(status=403, body=body))

        assert str(error).endswith("PERMISSION_DENIED: Permission 'run.services.get' denied. Grant the role")

    @pytest.mark.parametrize(
        "body,told",
        [
            ({"kind": "Status", "reason": "Conflict", "message": "stale"}, "Conflict: stale"),
            ({"error": "invalid_grant", "error_description": "Bad Request"}, "invalid_grant: Bad Request"),
            ({"status": "invalid event", "message": "Event object is invalid", "errors": ["no key"]}, "(no key)"),
            ("plain words", ": plain words"),
            ("<html><body>Bad gateway</body></html>", "400"),
        ],
    )
    async def test_the_body_is_read_into_the_sentence(
        self, server: tuple[Recorder, aiohttp.ClientSession], body: object, told: str
    ) -> None:
        error = await failure(server, Answer(status=400, body=body))

        assert str(error).endswith(told)
        assert "\n" not in str(error)

    @pytest.mark.parametrize("body", ["not json", "[1, 2]", "", "[" * 100_000])
    async def test_a_success_that_is_no_json_object_is_temporary(
        self, server: tuple[Recorder, aiohttp.ClientSession], body: str
    ) -> None:
        error = await failure(server, Answer(body=body))

        assert type(error) is TemporaryError

    async def test_redirects_are_not_followed(self, server: tuple[Recorder, aiohttp.ClientSession]) -> None:
        """A redirect would carry the authorization header to somebody else."""
        error = await failure(server, Answer(status=302, headers={"Location": "http://127.0.0.1:1/"}))

        assert isinstance(error, PermanentError)
        assert "redirect" in str(error)
        assert len(server[0].seen) == 1


class TestNoAnswer:
    async def test_a_lost_connection_is_temporary(self, server: tuple[Recorder, aiohttp.ClientSession]) -> None:
        server[0].default = Answer(drop=True)

        error = await failure(server, Answer(drop=True))

        assert type(error) is TemporaryError
        assert "no connection to The API" in str(error)

    async def test_a_refused_connection_is_temporary(self, server: tuple[Recorder, aiohttp.ClientSession]) -> None:
        with pytest.raises(TemporaryError, match="Reading x: no connection to The API"):
            await request(server[1], PEER, "GET", "http://127.0.0.1:1/", doing="Reading x")

    async def test_silence_is_temporary(self) -> None:
        async def hang(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.read()
            writer.close()

        listener = await asyncio.start_server(hang, "127.0.0.1", 0)
        port = listener.sockets[0].getsockname()[1]
        async with listener, recording(Answer()) as (_, session):
            with pytest.raises(TemporaryError, match=r"did not answer within 0\.05 s"):
                await request(
                    session, Peer(name="The API", timeout_s=0.05), "GET", f"http://127.0.0.1:{port}/", doing="Reading x"
                )

    @pytest.mark.parametrize("url", ["not a url", "ftp://host/", "http://", "http://[bad", "file:///etc/passwd"])
    async def test_an_unusable_url_is_permanent(self, server: tuple[Recorder, aiohttp.ClientSession], url: str) -> None:
        with pytest.raises(PermanentError, match="cannot be used"):
            await request(server[1], PEER, "GET", url, doing="Reading x")

    async def test_cancelling_passes_through(self, server: tuple[Recorder, aiohttp.ClientSession]) -> None:
        task = asyncio.create_task(request(server[1], PEER, "GET", f"{server[0].url}/", doing="Reading x"))
        await asyncio.sleep(0)
        task.cancel()

        with pytest.raises(asyncio.CancelledError):
            await task


class TestSecrets:
    async def test_no_error_holds_a_secret_or_a_url(self, server: tuple[Recorder, aiohttp.ClientSession]) -> None:
        leaky = (
            "bad key hunter2-hunter2 and Bearer abc.def and xoxb-1-2 and https://u:pw@h/ "
            "and hooks.slack.com/services/T/B/x"
        )

        for answer in (Answer(status=400, body=leaky), Answer(status=401, body={"error": {"message": leaky}})):
            told = str(await failure(server, answer))
            for secret in ("hunter2", "abc.def", "xoxb-1-2", "u:pw", "T/B/x", "key="):
                assert secret not in told

    def test_scrubbing_keeps_one_short_line(self) -> None:
        assert scrub("a\n\x00b\tc") == "a b c"
        assert len(scrub("x" * 10_000)) == 500

    def test_short_secrets_do_not_blank_out_words(self) -> None:
        assert scrub("a fault in api", ("a",)) == "a fault in api"


class TestRetryAfter:
    @pytest.mark.parametrize(
        "headers,expected",
        [
            ({}, None),
            ({"Retry-After": "30"}, 30.0),
            ({"Retry-After": "1.5"}, 1.5),
            ({"Retry-After": "999999"}, 3600.0),
            ({"Retry-After": "-5"}, None),
            ({"Retry-After": "soon"}, None),
            ({"Retry-After": "Wed, 21 Oct 2026 07:28:30 GMT", "Date": "Wed, 21 Oct 2026 07:28:00 GMT"}, 30.0),
            ({"Retry-After": "Wed, 21 Oct 2026 07:27:00 GMT", "Date": "Wed, 21 Oct 2026 07:28:00 GMT"}, 0.0),
            ({"Retry-After": "Wed, 21 Oct 2026 07:28:30 GMT"}, None),
            ({"Retry-After": "Wed, 21 Oct 2026 07:28:30", "Date": "Wed, 21 Oct 2026 07:28:00 GMT"}, None),
        ],
    )
    def test_seconds_and_dates_are_understood(self, headers: dict[str, str], expected: float | None) -> None:
        """A date is measured by the server's own clock, so ours may be wrong."""
        assert retry_after_s(headers) == expected


class TestProxy:
    def test_a_proxy_from_the_environment_serves_the_world_and_never_our_own_machine(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("HTTPS_PROXY", "http://proxy:3128")
        monkeypatch.setenv("HTTP_PROXY", "http://proxy:3128")
        monkeypatch.setenv("NO_PROXY", "internal.example.com")
        monkeypatch.delenv("no_proxy", raising=False)

        assert environment_proxy("https://slack.com/api/") == "http://proxy:3128"
        assert environment_proxy("https://internal.example.com/") is None
        for own in ("http://127.0.0.1:8080/", "http://localhost/", "http://[::1]:1/"):
            assert environment_proxy(own) is None
