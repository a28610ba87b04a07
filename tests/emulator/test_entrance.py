"""The way in before Cloud Run, and who may come in: what the emulator answers to those who may not."""

import ssl
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest

from tests.emulator.cloud_world import Cloud, running_cloud
from watchdog.emulator.identity import make_token

CLIENT = "12-ab.apps.googleusercontent.com"


@pytest.fixture
async def cloud() -> AsyncIterator[Cloud]:
    async with running_cloud() as running:
        yield running


async def put(cloud: Cloud, what: str, **body: Any) -> dict[str, Any]:
    control = cloud.emulator.endpoints()["control"]
    async with cloud.http.put(f"{control}/emulator/{what}", json=body) as answer:
        assert answer.status == 200, await answer.text()
        return dict(await answer.json())


async def metadata_token(cloud: Cloud, audience: str) -> str:
    control = cloud.emulator.endpoints()["control"]
    path = "/computeMetadata/v1/instance/service-accounts/default/identity"
    async with cloud.http.get(f"{control}{path}", params={"audience": audience}) as answer:
        assert answer.headers["Metadata-Flavor"] == "Google"
        return await answer.text()


async def asked(cloud: Cloud, url: str, token: str = "", header: str = "Authorization") -> tuple[int, str]:
    headers = {header: f"Bearer {token}"} if token else {}
    async with cloud.http.get(f"{url}/health", headers=headers, allow_redirects=False) as answer:
        return answer.status, await answer.text()


async def test_a_private_service_lets_its_invokers_in_and_nobody_else(cloud: Cloud) -> None:
    made = await put(cloud, "invokers")
    assert set(made["env"]) == {"GCE_METADATA_HOST", "GCE_METADATA_IP"}

    assert (await asked(cloud, cloud.url))[0] == 403
    assert "<h1>Error: Forbidden</h1>" in (await asked(cloud, cloud.url))[1]
    assert (await asked(cloud, cloud.url, "nonsense"))[0] == 401
    assert (await asked(cloud, cloud.url, make_token("https://elsewhere")))[0] == 401
    assert (await asked(cloud, cloud.url, make_token(cloud.url, email="eve@example.com")))[0] == 403
    token = await metadata_token(cloud, cloud.url)
    assert (await asked(cloud, cloud.url, token))[0] == 200
    assert (await asked(cloud, cloud.url, token, "X-Serverless-Authorization"))[0] == 200
    await put(cloud, "invokers", watchdog=False)
    assert (await asked(cloud, cloud.url, token))[0] == 403
    await put(cloud, "invokers", public=True)
    assert (await asked(cloud, cloud.url))[0] == 200


async def entered(cloud: Cloud, made: dict[str, Any], token: str = "") -> aiohttp.ClientResponse:
    """Through the way in, by its port and its certificate's name."""
    context = ssl.create_default_context(cafile=made["env"]["WATCHDOG_CA_FILE"])
    host, _, port = made["url"].removeprefix("https://").partition(":")
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    return await cloud.http.get(
        f"https://127.0.0.1:{port}/health",
        ssl=context,
        server_hostname=host,
        headers=headers,
        allow_redirects=False,
    )


async def test_each_thing_before_cloud_run_fails_by_itself(cloud: Cloud) -> None:
    made = await put(cloud, "entrance")
    with open(made["env"]["WATCHDOG_HOSTS_FILE"], encoding="utf-8") as hosts:  # noqa: ASYNC230, PTH123
        assert hosts.read() == f"127.0.0.1 {made['url'].removeprefix('https://').partition(':')[0]}\n"
    assert (await entered(cloud, made)).status == 200
    assert (await put(cloud, "entrance", fault="load_balancer")) == made
    assert (await entered(cloud, made)).status == 502
    await put(cloud, "entrance", fault="firewall")
    assert (await entered(cloud, made)).status == 403
    await put(cloud, "entrance", fault="certificate")
    with pytest.raises(aiohttp.ClientConnectorCertificateError, match="expired"):
        await entered(cloud, made)
    await put(cloud, "entrance", fault="name")
    with open(made["env"]["WATCHDOG_HOSTS_FILE"], encoding="utf-8") as hosts:  # noqa: ASYNC230, PTH123
        assert hosts.read() == ""
    await put(cloud, "entrance")
    assert (await entered(cloud, made)).status == 200


async def test_identity_aware_proxy_sends_people_to_a_login_and_calls_the_service_by_itself(cloud: Cloud) -> None:
    await put(cloud, "invokers", watchdog=False)
    made = await put(cloud, "entrance", iap={"audience": CLIENT})

    login = await entered(cloud, made)
    assert (login.status, login.headers["X-Goog-IAP-Generated-Response"]) == (302, "true")
    assert login.headers["Location"].startswith("https://accounts.google.com/")
    assert (await entered(cloud, made, make_token("https://elsewhere"))).status == 401
    assert (await entered(cloud, made, make_token(CLIENT))).status == 200
    await put(cloud, "entrance", iap={"audience": CLIENT, "allowed": False})
    refused = await entered(cloud, made, make_token(CLIENT))
    assert (refused.status, refused.headers["X-Goog-IAP-Generated-Response"]) == (403, "true")
