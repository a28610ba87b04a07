"""Pages as they leave the server: whole without a script, safe whatever the evidence says."""

from collections.abc import Callable
from html.parser import HTMLParser
from typing import Any

import pytest

from tests.web import views
from tests.web.world import Site

Parts = list[tuple[str, dict[str, str | None]]]
NASTY = "<script>alert(1)</script>\" onmouseover='x' {{ 7*7 }} ${x} </main>"


class Document(HTMLParser):
    """Tags with their attributes, and the text that is read."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: Parts = []
        self.text = ""
        self.inline = ""
        self._within = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        self._within = tag if tag in ("script", "style") else ""

    def handle_endtag(self, tag: str) -> None:
        self._within = ""

    def handle_data(self, data: str) -> None:
        if self._within:
            self.inline += data
        else:
            self.text += " " + " ".join(data.split())


async def page(site: Site, path: str, status: int = 200) -> Document:
    async with site.http.get(site.url + path, headers={"Accept": "text/html"}) as answer:
        assert answer.status == status
        assert answer.content_type == "text/html"
        return Document(await answer.text())


ALL: list[Callable[[], dict[str, Any]]] = [
    views.watching, views.confirming, views.held, views.rolled_back, views.observed, views.passed,
]  # fmt: skip


@pytest.mark.parametrize("make", ALL)
async def test_a_page_needs_no_inline_script_or_style_and_nothing_from_elsewhere(
    site: Site, make: Callable[[], dict[str, Any]]
) -> None:
    view = make()
    await site.put(view)

    for document in (await page(site, f"/watches/{view['id']}"), await page(site, "/"), await page(site, "/no", 404)):
        assert document.inline == ""
        for tag, attributes in document.tags:
            assert not [name for name in attributes if name.startswith("on") or name == "style"], tag
            for name in ("src", "href", "action", "data-stream"):
                link = attributes.get(name) or ""
                assert not link or link.startswith(("/", "#")), link
                assert not link.startswith("//")


async def test_evidence_is_shown_as_text_whatever_it_holds(site: Site) -> None:
    view = views.rolled_back(
        reason=NASTY, version=NASTY, deployer=NASTY, notes=[NASTY], revision=NASTY, notes_of_deploy=NASTY
    )
    view["criteria"][0] |= {"reason": NASTY, "value_text": NASTY, "label": NASTY, "source": NASTY, "verdict": "FAIL"}
    view["probes"][0] |= {"name": NASTY, "last_detail": NASTY}
    view["timeline"][0] |= {"text": NASTY, "kind": NASTY}
    view["rollback"] |= {"trigger": NASTY, "reason": NASTY}
    view["incident"] |= {"title": NASTY, "acknowledged_by": NASTY, "acknowledged_at": views.at(1)}
    await site.put(view)

    for path in ("/watches/w9q1c4", "/"):
        document = await page(site, path)
        assert document.inline == ""
        assert not [a for _, attributes in document.tags for a in attributes if a.startswith("on")]
        assert "<script>alert(1)</script>" in document.text
        assert "{{ 7*7 }}" in document.text


async def test_new_errors_and_what_to_check_are_shown_as_text(site: Site) -> None:
    view = views.rolled_back()
    view["log"] = {"errors": [{"text": NASTY, "where": "app/a.py in f", "count": 12, "first_at": views.at(1)}]}
    view["to_check"] = [{"question": f"Is it {NASTY}?", "command": "gcloud logging read x"}]
    await site.put(view)

    document = await page(site, "/watches/w9q1c4")
    assert document.inline == ""
    for shown in ("New in the log", "12 ×", "app/a.py in f", "What to check for the root cause", f"Is it {NASTY}?"):
        assert shown in document.text, shown


async def test_the_title_and_the_icon_say_the_state(site: Site) -> None:
    await site.put(views.rolled_back())
    await site.put(views.held())

    async with site.http.get(f"{site.url}/watches/w9q1c4") as answer:
        text = await answer.text()
    assert "<title>↩ Rolled back · barq-fleet-api</title>" in text
    assert "/assets/icon-warn.svg" in text
    async with site.http.get(f"{site.url}/") as answer:
        assert "1 open · Watchdog</title>" in await answer.text()


@pytest.mark.parametrize(
    "make, said",
    [
        (views.watching, ["Watching", "Nothing. The watchdog is watching", "23 h 5", "212 ms", "98 % seen"]),
        (views.confirming, ["Confirming a failure", "3 of 5 in a row", "answered 503, expected 200"]),
        (views.held, ["Held", "would not help", "watchdog rollback w5h2d9", "acknowledged", "omar", "not armed"]),
        (views.rolled_back, ["Rolled back", "+0.4 s", "Recovery proven", "watchdog release us-central1/barq"]),
        (views.observed, ["Failed", "Observe mode", "still has 100 %", "--to-revisions barq-fleet-api-00041-huz=100"]),
        (views.passed, ["Passed", "Nothing urgent", "p95_latency < 500ms"]),
    ],
)  # fmt: skip
async def test_a_watch_says_what_happens_and_what_to_do(
    site: Site, make: Callable[[], dict[str, Any]], said: list[str]
) -> None:
    view = make()
    await site.put(view)

    text = (await page(site, f"/watches/{view['id']}")).text

    for words in said:
        assert words in text, words


async def test_the_worst_row_comes_first_and_the_worst_watch_too(site: Site) -> None:
    await site.put(views.watching(service="barq-worker", id="w-good"))
    await site.put(views.confirming())

    watch = (await page(site, "/watches/w7f3k2")).text
    index = (await page(site, "/")).text

    criteria = watch[watch.index("Criteria") :]
    assert criteria.index("health_check") < criteria.index("error_rate")
    assert index.index("Confirming a failure") < index.index("Watching")


@pytest.mark.parametrize("age_s, stale", [(2, False), (29, False), (400, True)])
async def test_old_data_is_announced_as_old(site: Site, age_s: float, stale: bool) -> None:  # noqa: FBT001
    """A page that looks green since nothing has written to it for minutes is worse than none."""
    await site.put(views.watching())
    site.clock.at = views.T0 + 424 + age_s

    document = await page(site, "/watches/w7f3k2")

    assert ("Check that the watchdog runs" in document.text) is stale
    [attributes] = [a for tag, a in document.tags if "data-age" in a]
    assert (attributes.get("role") == "alert") is stale
    assert ("stale" in (attributes["class"] or "")) is stale


async def test_rows_without_evidence_do_not_bury_the_others(site: Site) -> None:
    await site.put(views.watching())

    text = (await page(site, "/watches/w7f3k2")).text
    table = text[text.index("Criteria") : text.index("2 rows have no evidence yet")]

    assert "database_cpu" not in table
    assert "error_rate" in table
    assert "No source yet. database_cpu < 70%" in " ".join(text.split())


async def test_an_ended_watch_neither_ages_nor_streams(site: Site) -> None:
    await site.put(views.rolled_back())
    site.clock.at += 86400

    document = await page(site, "/watches/w9q1c4")

    assert not [a for _, a in document.tags if "data-age" in a or "data-stream" in a]


async def test_the_front_page_shows_quiet_services_history_and_unreadiness(site: Site) -> None:
    await site.put(views.passed())
    site.readiness = (False, "The store does not answer.")

    text = (await page(site, "/")).text

    assert "No deploy is under watch" in text
    assert "barq-worker" in text
    assert "Deployment history" in text
    assert "1.4.1" in text
    assert "The store does not answer." in text


async def test_assets_may_be_kept_for_ever_since_their_links_change_with_them(site: Site) -> None:
    document = await page(site, "/")
    links = [a.get("href") or a.get("src") for tag, a in document.tags if tag in ("link", "script")]

    for link in links:
        assert link is not None
        assert "?v=" in link
        async with site.http.get(site.url + link) as answer:
            assert answer.status == 200
            assert "immutable" in answer.headers["Cache-Control"]
    async with site.http.get(site.url + "/") as answer:
        assert answer.headers["Cache-Control"] == "no-store"


async def test_automatic_that_asks_first_says_why(site: Site) -> None:
    doubt = "The policy says automatic, but no preflight has passed yet: a person is asked first, as in mode approve."
    await site.put(views.watching(mode="approve", doubt=doubt))
    shown = (await page(site, "/watches/w7f3k2")).text
    assert "Rollback needs approval" in shown
    assert doubt in shown
