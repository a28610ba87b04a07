"""Who may act, and that every error is a problem document."""

import asyncio
import json

import pytest

from tests.web import views
from tests.web.world import TOKEN, Site, serve
from watchdog.errors import StoreUnavailableError
from watchdog.store.memory import MemoryStore
from watchdog.web import verbs

UNSAFE = [
    "/api/v1/deploys",
    "/api/v1/services/barq-worker/release",
    "/api/v1/silences",
    "/api/v1/watches/w7f3k2/signals",
    *(f"/api/v1/watches/w7f3k2/{verb}" for verb in verbs.VERBS),
]


def test_the_list_of_unsafe_routes_here_is_complete() -> None:
    assert len(UNSAFE) == 4 + 9


@pytest.mark.parametrize("path", UNSAFE)
@pytest.mark.parametrize("authorization", [None, "Bearer wrong", "Bearer", f"Basic {TOKEN}", TOKEN, "Bearer \xff"])
async def test_without_the_token_nothing_is_taken(site: Site, path: str, authorization: str | None) -> None:
    await site.put(views.watching())
    headers = {} if authorization is None else {"Authorization": authorization}

    async with site.http.post(site.url + path, headers=headers, data=b"{}") as answer:
        problem = await answer.json(content_type="application/problem+json")

    assert answer.status == problem["status"] == 401
    assert answer.headers["WWW-Authenticate"].startswith("Bearer ")
    assert TOKEN not in json.dumps(problem)
    assert await site.store.letters(["watch/w7f3k2", "service/barq-fleet/us-central1/barq-worker"]) == []


@pytest.mark.parametrize("token", [None, ""])
async def test_with_no_token_configured_every_order_is_refused(token: str | None) -> None:
    async with serve(token) as site:
        for given in ("", TOKEN):
            status, problem = await site.send("/api/v1/deploys", {}, token=given)
            assert status == 401
            assert "WATCHDOG_API_TOKEN" in problem["detail"]


async def test_the_scheme_is_read_in_any_case(site: Site) -> None:
    await site.put(views.watching())

    status, _ = await site.send("/api/v1/watches/w7f3k2/ack", token=None, Authorization=f"bearer {TOKEN}")

    assert status == 202


@pytest.mark.parametrize(
    "method, path, status",
    [
        ("GET", "/nowhere", 404),
        ("POST", "/nowhere", 404),
        ("DELETE", "/api/v1/watches/w7f3k2", 405),
        ("POST", "/api/v1/watches", 405),
        ("GET", "/api/v1/watches/w7f3k2/rollback", 405),
        ("GET", "/assets/..%2Fbase.html", 404),
        ("GET", "/assets/none.css", 404),
    ],
)
async def test_what_is_not_there_is_a_problem_document(site: Site, method: str, path: str, status: int) -> None:
    async with site.http.request(method, site.url + path) as answer:
        assert answer.status == status
        if method != "HEAD":
            problem = await answer.json(content_type="application/problem+json")
            assert problem["status"] == status
            assert problem["title"]
            assert problem["detail"]
        assert (status != 405) or answer.headers["Allow"]


@pytest.mark.parametrize("body", ["{", "\x00", '{"reason": "x"', b"\xff\xfe", "{'reason': 1}"])
async def test_a_body_that_is_no_json_is_400(site: Site, body: str | bytes) -> None:
    await site.put(views.watching())

    status, problem = await site.send("/api/v1/watches/w7f3k2/ack", body)

    assert status == 400
    assert problem["detail"].startswith("The body is not JSON")


async def test_a_body_over_64_kib_is_413(site: Site) -> None:
    await site.put(views.watching())

    status, problem = await site.send("/api/v1/watches/w7f3k2/ack", json.dumps({"reason": "x" * 70_000}))

    assert status == 413
    assert "64 KiB" in problem["detail"]


@pytest.mark.parametrize("path", ["/", "/watches/w7f3k2", "/api/v1/watches", "/metrics", "/nowhere", "/assets/page.js"])
async def test_every_answer_carries_the_security_headers(site: Site, path: str) -> None:
    await site.put(views.watching())

    async with site.http.get(site.url + path) as answer:
        policy = answer.headers["Content-Security-Policy"]
        assert "default-src 'none'" in policy
        assert "frame-ancestors 'none'" in policy
        assert "unsafe" not in policy
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
        assert answer.headers["X-Frame-Options"] == "DENY"
        assert answer.headers["Referrer-Policy"] == "no-referrer"
        assert "Server" not in answer.headers


class AwayStore(MemoryStore):
    """A store that does not answer."""

    async def watch(self, watch_id: str) -> None:
        raise StoreUnavailableError("the database timed out", delay_s=3)

    async def watches(self, *, open_only: bool = False, limit: int = 200, of: object = None) -> list[None]:  # type: ignore[override]
        raise RuntimeError("postgresql://watchdog:hunter22@db/watchdog refused")


@pytest.fixture
async def away() -> object:
    async with serve(store=AwayStore()) as made:
        yield made


async def test_a_store_that_is_away_is_503_with_a_time_to_try_again(away: Site) -> None:
    async with away.http.get(f"{away.url}/api/v1/watches/w7f3k2") as answer:
        problem = await answer.json(content_type="application/problem+json")

    assert (answer.status, answer.headers["Retry-After"]) == (503, "3")
    assert "the database timed out" in problem["detail"]


async def test_an_unforeseen_fault_is_a_500_that_tells_nothing(away: Site, capsys: pytest.CaptureFixture[str]) -> None:
    async with away.http.get(f"{away.url}/api/v1/watches") as answer:
        text = await answer.text()

    assert answer.status == 500
    assert answer.content_type == "application/problem+json"
    assert "hunter22" not in text
    assert "request_failed" in "".join(capsys.readouterr())


async def test_a_client_that_leaves_does_not_disturb_the_others(site: Site) -> None:
    await site.put(views.watching())
    reader, writer = await asyncio.open_connection("127.0.0.1", int(site.url.rpartition(":")[2]))
    writer.write(b"POST /api/v1/watches/w7f3k2/ack HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{")
    await writer.drain()
    writer.close()
    await writer.wait_closed()

    assert (await site.get("/livez"))["status"] == "alive"
    assert reader is not None
