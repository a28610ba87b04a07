"""PromQL against a real Prometheus, whose history was imported, and against servers that are not one."""

import asyncio
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from tests.needs import tool
from tests.sources.servers import app as serving
from watchdog.core.model import Evidence, Missing, ServiceKey, Value
from watchdog.core.policy import Policy
from watchdog.errors import TemporaryError
from watchdog.policy_file import parse_policy
from watchdog.ports import MetricQuery
from watchdog.sources.prometheus import Prometheus, read_matrix
from watchdog.transport import open_session

SERVICE = ServiceKey(project="acme", region="europe-west1", name="shop")
T0 = 1_700_000_040.0
HEAD = "version: 1\nservice: {project: acme, region: europe-west1, name: shop}\n"


class Tokens:
    """Gives tokens without asking anybody."""

    async def headers(self) -> dict[str, str]:
        return {"Authorization": "Bearer access"}

    async def id_token(self, audience: str) -> str:
        return f"id-of-{audience}"


def free_port() -> int:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return int(s.getsockname()[1])


@pytest.fixture(scope="module")
def prometheus() -> Iterator[str]:
    """A Prometheus that knows five minutes of two pools and of one queue."""
    how = "apt-get install prometheus, or make tools"
    server, promtool = tool("prometheus", how), tool("promtool", how)
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        lines = ["# TYPE pool_used gauge"]
        for pool, used in (("api", 18), ("jobs", 3)):
            lines += [f'pool_used{{pool="{pool}"}} {used} {T0 + 15 * i:.0f}' for i in range(20)]
        lines += [
            "# TYPE queue_wait_ms gauge",
            *(f"queue_wait_ms {250 + i} {T0 + 15 * i:.0f}" for i in range(20)),
            "# EOF",
        ]
        (home / "history.txt").write_text("\n".join(lines) + "\n")
        (home / "prometheus.yml").write_text("global: {scrape_interval: 1h}\n")
        made = [str(promtool), "tsdb", "create-blocks-from", "openmetrics", f"{home}/history.txt", f"{home}/data"]
        subprocess.run(made, check=True, capture_output=True, timeout=30)
        port = free_port()
        process = subprocess.Popen(
            [
                server, f"--config.file={home / 'prometheus.yml'}", f"--storage.tsdb.path={home / 'data'}",
                f"--web.listen-address=127.0.0.1:{port}", "--storage.tsdb.retention.time=50y", "--log.level=error",
            ],
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        try:
            asyncio.run(ready(f"http://127.0.0.1:{port}"))
            yield f"http://127.0.0.1:{port}"
        finally:
            process.terminate()
            process.wait(10)


async def ready(url: str) -> None:
    async with asyncio.timeout(20), aiohttp.ClientSession() as session:
        while True:
            with suppress(aiohttp.ClientError):
                async with session.get(f"{url}/-/ready") as answer:
                    if answer.status == 200:
                        return
            await asyncio.sleep(0.05)


def policy(url: str, query: str, unit: str = "count") -> Policy:
    at = f", url: '{url}'" if url else ""
    text = f"""{HEAD}metrics:
  wait: {{source: prometheus, query: '{query}', unit: {unit}{at}}}
success_criteria:
  - {{metric: wait, target: "< 100{"" if unit == "count" else unit}", action: investigate}}
"""
    return parse_policy(text, Path("policy.yaml")).policy


async def ask(policy: Policy, now: float = T0 + 270.0) -> list[Evidence]:
    session = open_session()
    try:
        source: Any = Prometheus(session, Tokens())  # type: ignore[arg-type]
        query = MetricQuery(service=SERVICE, revision="shop-2", start=T0, end=now, policy=policy)
        return [s.evidence for s in await source.sample(query, now=now)]
    finally:
        await session.close()


@pytest.mark.parametrize(
    "query, unit, evidence",
    [
        ("sum(pool_used)", "count", [Value(21)] * 4),
        ("queue_wait_ms", "ms", [Value(0.254), Value(0.258), Value(0.262), Value(0.266)]),
        ("pool_used", "count", [Missing("ambiguous: 2 series for one row")] * 4),
        ("nobody_knows", "count", [Missing("no_series")] * 4),
        ("pool_used / 0 * 0 > 1 or vector(NaN)", "count", [Missing("nan")] * 4),
        ("sum(pool_used[5m])", "count", [Missing("bad_query")] * 4),
        ("scalar(queue_wait_ms) * 2", "ms", [Value(0.508), Value(0.516), Value(0.524), Value(0.532)]),
    ],
)
async def test_what_a_real_prometheus_says(prometheus: str, query: str, unit: str, evidence: list[Evidence]) -> None:
    found = await ask(policy(prometheus, query, unit))

    assert [type(e) for e in found] == [type(e) for e in evidence]
    assert [e.x if isinstance(e, Value) else e for e in found] == [
        pytest.approx(e.x) if isinstance(e, Value) else e for e in evidence
    ]


async def test_googles_endpoint_is_asked_with_a_token_and_its_own_metrics_are_late() -> None:
    asked: list[web.Request] = []

    async def answer(request: web.Request) -> web.Response:
        asked.append(request)
        return web.json_response({"status": "success", "data": {"resultType": "matrix", "result": []}})

    async with serving(answer) as url:
        plain = policy(url, "sum(x)")
        token = plain.metrics["wait"].model_copy(update={"auth": "google"})
        google = plain.model_copy(update={"metrics": {"wait": token}})
        assert await ask(plain) == [Missing("no_series")] * 4
        assert await ask(google) == [Missing("no_series")] * 4
        late = policy(url, "sum(run_googleapis_com:request_count)")
        assert await ask(late, now=T0 + 300.0) == [Missing("no_series")]

    assert [r.headers.get("Authorization") for r in asked] == [None, "Bearer access", None]
    assert asked[0].path == "/api/v1/query_range"
    assert asked[0].query["step"] == "60"


async def test_a_server_that_is_away_is_an_error_and_one_that_talks_nonsense_is_malformed() -> None:
    with pytest.raises(TemporaryError):
        await ask(policy(f"http://127.0.0.1:{free_port()}", "sum(x)"))

    assert read_matrix({"data": {"resultType": "vector", "result": []}}, 1.0) == Missing("malformed")
    assert read_matrix(None, 1.0) == Missing("malformed")
    assert read_matrix({"data": {"resultType": "matrix", "result": [{"values": [[1, "x"]]}]}}, 1.0) == Missing(
        "malformed"
    )
