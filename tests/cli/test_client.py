"""The HTTP client of the verbs: whatever answers, or does not, becomes one sentence and an exit code."""

import asyncio
import json
import socket
from collections.abc import Iterator

import pytest
from aiohttp import web

from tests.actions.recorder import Answer, Recorder, recording
from tests.cli.conftest import Result, Run
from watchdog.client import Daemon, NoDaemonError
from watchdog.errors import ConfigError, PermanentError, TemporaryError

PROBLEM = {"Content-Type": "application/problem+json"}


class Document(Answer):
    """An answer whose headers name its type."""

    def response(self) -> web.Response:
        text = self.body if isinstance(self.body, str) else json.dumps(self.body)
        return web.Response(status=self.status, text=text, headers=self.headers)


async def ask(recorder: Recorder) -> object:
    daemon = Daemon(url=recorder.url, token="t0ken")
    return await asyncio.to_thread(daemon.get, "/api/v1/watches", service="eu/api", open="true")


def problem(status: int, **more: object) -> Answer:
    body = {"type": "about:blank", "title": "Refused", "status": status, "detail": "It cannot be.", **more}
    return Document(status=status, body=body, headers=PROBLEM)


async def test_an_answer_is_its_json() -> None:
    async with recording(Answer(body={"watches": []})) as (recorder, _):
        assert await ask(recorder) == {"watches": []}
        assert recorder.seen[0].query == {"service": "eu/api", "open": "true"}
        assert recorder.seen[0].headers["User-Agent"].startswith("watchdog/")
        assert "Authorization" not in recorder.seen[0].headers  # reading needs no token, so none is shown around


async def test_an_order_bears_the_token_and_its_key() -> None:
    async with recording(Answer(status=202, body={"accepted": True})) as (recorder, _):
        daemon = Daemon(url=recorder.url + "/", token="t0ken")
        await asyncio.to_thread(daemon.post, "/api/v1/x", {"reason": "ä"}, key="k1")
        seen = recorder.seen[0]
        assert (seen.method, seen.path, seen.json) == ("POST", "/api/v1/x", {"reason": "ä"})
        assert (seen.headers["Authorization"], seen.headers["Idempotency-Key"]) == ("Bearer t0ken", "k1")
        assert "t0ken" not in repr(daemon)


@pytest.mark.parametrize(
    "answer, kind, told",
    [
        (problem(404), PermanentError, "It cannot be."),
        (problem(409), PermanentError, "It cannot be."),
        (problem(412), PermanentError, "It cannot be."),
        (problem(409, candidates=["a", "b"]), ConfigError, "It cannot be."),
        (problem(422), ConfigError, "It cannot be."),
        (problem(400), ConfigError, "It cannot be."),
        (problem(401), ConfigError, "It cannot be. WATCHDOG_API_TOKEN is set here, but"),
        (problem(503), TemporaryError, "could not answer: It cannot be."),
        (
            Answer(status=301, headers={"Location": "https://x.example/"}),
            ConfigError,
            "redirects to https://x.example/",
        ),
        (Answer(status=404, body="<html>nginx</html>"), NoDaemonError, "answered with HTTP 404, so it is no watchdog"),
        (Answer(status=200, body="<html>hello</html>"), NoDaemonError, "with something that is not JSON"),
        (Answer(status=502, body="x", headers={}), NoDaemonError, "answered with HTTP 502"),
        (Document(status=404, body="{not json", headers=PROBLEM), NoDaemonError, "answered with HTTP 404"),
        (Answer(drop=True), NoDaemonError, "no daemon answers at"),
    ],
)
async def test_each_answer_has_its_error(answer: Answer, kind: type[Exception], told: str) -> None:
    async with recording(answer) as (recorder, _):
        with pytest.raises(kind) as caught:
            await ask(recorder)
    assert type(caught.value) is kind
    assert told in str(caught.value)
    if isinstance(caught.value, PermanentError):
        assert caught.value.status == answer.status


async def test_a_redirect_is_not_followed() -> None:
    """A POST would arrive as a GET, and the token at somebody else's."""
    async with recording(Answer(status=302, headers={"Location": "/elsewhere"})) as (recorder, _):
        with pytest.raises(ConfigError):
            await ask(recorder)
        assert [seen.path for seen in recorder.seen] == ["/api/v1/watches"]


async def test_a_proxy_of_the_environment_is_not_asked_for_our_own_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    async with recording(Answer(body=[])) as (recorder, _):
        assert await ask(recorder) == []


@pytest.fixture
def silent() -> Iterator[str]:
    """A port that takes connections and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield f"http://127.0.0.1:{server.getsockname()[1]}"


def test_nobody_there_is_one_sentence(silent: str) -> None:
    for url, told in (
        ("http://127.0.0.1:1", "connection refused"),
        ("http://watchdog.invalid", ""),
        (silent, "no answer"),
    ):
        with pytest.raises(NoDaemonError) as caught:
            Daemon(url=url, timeout_s=0.2).get("/api/v1/watches")
        assert str(caught.value).startswith(f"no daemon answers at {url} (")
        assert told in str(caught.value)


async def test_a_daemon_that_cannot_answer_is_an_internal_error(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    async with recording(problem(503)) as (recorder, _):
        monkeypatch.setenv("WATCHDOG_URL", recorder.url)
        found: Result = await asyncio.to_thread(run, "status")
    assert found.code == 1
    assert found.err == f"error: the daemon at {recorder.url} could not answer: It cannot be.\n"
