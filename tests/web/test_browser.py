"""The pages in a real browser: no error, nothing blocked by the policy, live without a reload, usable on a phone."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import pytest_asyncio
from playwright.async_api import Browser, Page, async_playwright, expect

from tests import needs
from tests.web import views
from tests.web.world import Site, event, serve

ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
    "--disable-quic",
]
PAGES = ("/", *(f"/watches/{name}" for name in ("w7f3k2", "w9q1c4", "w5h2d9", "w3o7bs", "w2b8x0")))

pytestmark = pytest.mark.asyncio(loop_scope="module")
"""One browser for all of them: starting one takes most of a second."""


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def browser() -> AsyncIterator[Browser]:
    chromium = needs.tool("chromium", "apt-get install chromium, or make tools")
    async with async_playwright() as play:
        launched = await play.chromium.launch(executable_path=chromium, args=ARGUMENTS)
        yield launched
        await launched.close()


@pytest_asyncio.fixture(loop_scope="module")
async def site() -> AsyncIterator[Site]:
    """The same server, in the browser's loop."""
    async with serve() as made:
        yield made


@asynccontextmanager
async def tab(
    browser: Browser, width: int = 1280, *, scripts: bool = True, dark: bool = False
) -> AsyncIterator[tuple[Page, list[str]]]:
    """A tab, and what it complained about: console errors (policy violations are among them), faults, lost requests."""
    complaints: list[str] = []
    context = await browser.new_context(
        viewport={"width": width, "height": 844},
        color_scheme="dark" if dark else "light",
        java_script_enabled=scripts,
    )
    page = await context.new_page()
    page.on("console", lambda m: complaints.append(m.text) if m.type in ("error", "warning") else None)
    page.on("pageerror", lambda e: complaints.append(str(e)))
    page.on("response", lambda r: complaints.append(f"{r.status} {r.url}") if r.status >= 400 else None)
    yield page, complaints
    await context.close()


async def fill(site: Site) -> None:
    for view in (views.passed(), views.rolled_back(), views.held(), views.observed()):
        await site.put(view)
    await site.put(views.confirming() | {"region": "europe-west1"})


@pytest.mark.parametrize("width, dark", [(1280, False), (390, True)])
async def test_every_page_loads_without_a_complaint_and_fits_the_screen(
    site: Site,
    browser: Browser,
    tmp_path: Path,
    width: int,
    dark: bool,  # noqa: FBT001
) -> None:
    await fill(site)
    async with tab(browser, width, dark=dark) as (page, complaints):
        for path in (
            "/",
            "/watches/w7f3k2",
            "/watches/w9q1c4",
            "/watches/w5h2d9",
            "/watches/w3o7bs",
            "/watches/w2b8x0",
        ):
            await page.goto(site.url + path)
            await expect(page.locator("main")).to_be_visible()
            assert await page.evaluate("document.documentElement.scrollWidth") <= width, path
            await page.screenshot(path=tmp_path / f"{width}{path.replace('/', '-')}.png", full_page=True)

    assert complaints == []


async def test_a_watch_page_follows_the_watch_without_a_reload_and_keeps_what_was_opened(
    site: Site, browser: Browser
) -> None:
    await site.put(views.watching(), [event("watch_opened")])
    async with tab(browser) as (page, complaints):
        await page.goto(f"{site.url}/watches/w7f3k2")
        await expect(page.locator("#live")).to_have_text("live")
        await page.evaluate("window.marked = true")

        await site.put(views.confirming())
        await expect(page.locator(".hero .badge")).to_contain_text("Confirming a failure")
        await expect(page.locator("#announce")).to_have_text("barq-fleet-api: Confirming a failure")
        assert (await page.title()).startswith("! Confirming")
        assert "icon-warn" in str(await page.get_attribute("link[rel=icon]", "href"))

        await site.put(views.watching(state="verifying", rollback=views.rolled_back()["rollback"]))
        await page.locator("details#release summary").click()
        await site.put(views.rolled_back(id="w7f3k2"))
        await expect(page.locator(".hero .badge")).to_contain_text("Rolled back")
        await expect(page.locator("details#release")).to_have_attribute("open", "")
        await expect(page.locator("#live")).to_be_hidden()
        assert await page.evaluate("window.marked") is True

    assert complaints == []


async def test_a_page_says_that_it_has_lost_the_watchdog(site: Site, browser: Browser) -> None:
    await site.put(views.watching())
    async with tab(browser) as (page, _):
        await page.goto(f"{site.url}/watches/w7f3k2")
        await expect(page.locator("#live")).to_have_text("live")

        await page.context.set_offline(offline=True)
        await site.app.shutdown()

        await expect(page.locator("#live.lost")).to_contain_text("connection lost")


async def test_the_age_of_the_data_grows_and_turns_into_an_alarm_by_itself(site: Site, browser: Browser) -> None:
    """Also when nothing arrives any more: that is the case it is for."""
    await site.put(views.watching())
    site.clock.at = views.T0 + 424 + 29
    async with tab(browser) as (page, _):
        await page.goto(f"{site.url}/watches/w7f3k2")
        banner = page.locator("[data-age]")
        await expect(banner).to_contain_text("Data is")
        await expect(banner).to_contain_class("stale", timeout=10_000)
        await expect(banner).to_contain_text("may be down")


async def test_without_scripts_the_page_is_whole_and_refreshes_itself(site: Site, browser: Browser) -> None:
    await site.put(views.confirming())
    async with tab(browser, scripts=False) as (page, complaints):
        await page.goto(f"{site.url}/watches/w7f3k2")

        await expect(page.locator("body")).to_contain_text("answered 503, expected 200")
        assert await page.locator("noscript meta[http-equiv=refresh]").count() == 1
        await expect(page.locator("button")).to_have_count(0)

    assert complaints == []


async def test_injected_markup_does_not_run(site: Site, browser: Browser) -> None:
    evil = "<img src=x onerror=\"document.title='owned'\"><script>document.title='owned'</script>"
    await site.put(views.held() | {"reason": evil, "version": evil, "notes": [evil]})
    async with tab(browser) as (page, complaints):
        await page.goto(f"{site.url}/watches/w5h2d9")
        await expect(page.locator("#live")).to_have_text("live")

        assert "owned" not in await page.title()
        assert await page.locator("main img").count() == 0

    assert complaints == []
