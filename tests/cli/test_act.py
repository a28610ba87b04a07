"""The verbs that act: one letter each, by the daemon or straight into the store of a foreground watch."""

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from tests.cli.conftest import Run
from tests.cli.stored import just_now, keep, letters
from tests.web import views
from tests.web.world import Site

API = "service/barq-fleet/us-central1/barq-fleet-api"
ORDERS: list[tuple[list[str], str, dict[str, Any]]] = [
    (["signal", "W", "database_corruption"], "signal", {"signal": "database_corruption"}),
    (["rollback", "W"], "operator", {"verb": "rollback"}),
    (["ack", "W"], "operator", {"verb": "ack"}),
    (["resolve", "W"], "operator", {"verb": "resolve"}),
    (["hold", "W"], "operator", {"verb": "hold"}),
    (["pause", "W"], "operator", {"verb": "pause"}),
    (["resume", "W"], "operator", {"verb": "resume"}),
    (["extend", "W", "1h30m"], "operator", {"verb": "extend", "for_s": 5400.0}),
    (["finish", "W"], "operator", {"verb": "finish"}),
    (["signoff", "W", "user_feedback"], "operator", {"verb": "signoff", "name": "user_feedback"}),
]
names = [order[0][0] for order in ORDERS]


# --- by the daemon ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("arguments, kind, body", ORDERS, ids=names)
async def test_an_order_lands_in_the_inbox(
    site: Site, run: Run, arguments: list[str], kind: str, body: dict[str, Any]
) -> None:
    await site.put(views.watching())
    typed = ["w7f3k2" if word == "W" else word for word in arguments]
    found = await asyncio.to_thread(run, *typed, "--reason", "because", "--by", "jane")
    assert found.code == 0, found.err
    assert "of watch w7f3k2 is in the inbox" in found.out
    assert await site.letters("watch/w7f3k2") == [(kind, {**body, "reason": "because", "by": "jane"})]


async def test_the_answer_as_json(site: Site, run: Run) -> None:
    await site.put(views.watching())
    found = await asyncio.to_thread(run, "pause", "us-central1/barq-fleet-api", "--json")
    answer = json.loads(found.out)
    assert (answer["accepted"], answer["watch"], answer["repeated"]) == (True, "w7f3k2", False)


async def test_the_same_order_typed_twice_counts_twice(site: Site, run: Run) -> None:
    """Somebody who types `extend 2h` twice means four hours."""
    await site.put(views.watching())
    for _ in range(2):
        await asyncio.to_thread(run, "extend", "w7f3k2", "2h")
    assert len(await site.letters("watch/w7f3k2")) == 2


async def test_a_rollback_needs_no_reason_in_an_emergency(site: Site, run: Run) -> None:
    await site.put(views.watching())
    assert (await asyncio.to_thread(run, "rollback", "w7f3k2")).code == 0
    assert (await site.letters("watch/w7f3k2"))[0][1]["reason"] == "no reason given"


async def test_the_user_is_named(site: Site, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOGNAME", "omar")
    await site.put(views.watching())
    await asyncio.to_thread(run, "ack", "w7f3k2")
    assert (await site.letters("watch/w7f3k2"))[0][1]["by"] == "omar"


async def test_what_can_have_no_effect_is_refused(site: Site, run: Run) -> None:
    view = views.rolled_back()
    await site.put(view)
    found = await asyncio.to_thread(run, "rollback", view["id"], "--json")
    assert found.code == 11
    assert json.loads(found.out)["status"] == 412
    assert "has ended (rolled_back)" in found.err


@pytest.mark.parametrize(
    "token, told",
    [
        (None, "Set WATCHDOG_API_TOKEN here to the daemon's own value."),
        ("wrong-token", "WATCHDOG_API_TOKEN is set here, but it is not the daemon's own"),
    ],
)
async def test_a_missing_or_wrong_token_is_explained(
    site: Site, run: Run, monkeypatch: pytest.MonkeyPatch, token: str | None, told: str
) -> None:
    if token is None:
        monkeypatch.delenv("WATCHDOG_API_TOKEN")
    else:
        monkeypatch.setenv("WATCHDOG_API_TOKEN", token)
    await site.put(views.watching())
    found = await asyncio.to_thread(run, "ack", "w7f3k2")
    assert found.code == 2
    assert told in found.err
    assert "wrong-token" not in found.err


async def test_an_ambiguous_service_is_not_guessed(site: Site, run: Run) -> None:
    await site.put(views.watching())
    await site.put(views.watching(id="weurope", region="europe-west1"))
    found = await asyncio.to_thread(run, "rollback", "barq-fleet-api")
    assert found.code == 2
    assert "(weurope)" in found.err
    assert await site.letters("watch/w7f3k2") == await site.letters("watch/weurope") == []


@pytest.mark.parametrize(
    "arguments, told",
    [
        (["signal", "w", "Database Corruption"], "is not a word of lower-case letters"),
        (["signoff", "w", "ä"], "is not a word of lower-case letters"),
        (["extend", "w", "soon"], "is not a duration"),
        (["extend", "w", "2"], 'has no unit; did you mean "2s"?'),
        (["extend", "w", "0s"], "write a duration of more than nothing"),
        (["rollback"], "Missing argument 'WATCH'"),
        (["gate", "api"], "say --image REF or --promote"),
        (["gate", "api", "--image", "x", "--detect", "5%"], "only with --promote"),
        (["notify"], "say --test"),
    ],
)
def test_a_mistyped_order_is_told_before_anything_is_sent(arguments: list[str], told: str, run: Run) -> None:
    found = run(*arguments)
    assert found.code == 2
    assert told in found.err


async def test_an_order_that_the_api_refuses_is_a_usage_error(site: Site, run: Run) -> None:
    await site.put(views.watching())
    found = await asyncio.to_thread(run, "extend", "w7f3k2", "9d")
    assert found.code == 2
    assert "at most 7d" in found.err


# --- release and gate ---------------------------------------------------------------------------------------------


async def test_release_is_a_letter_to_the_service(site: Site, run: Run) -> None:
    name = "us-central1/barq-fleet-api"
    found = await asyncio.to_thread(run, "release", name, "--on-next", "--by", "jane", "--reason", "fixed")
    assert found.code == 0, found.err
    assert "as soon as a newer revision is ready" in found.out
    assert await site.letters(API) == [("release", {"on_next": True, "by": "jane", "reason": "fixed"})]


async def test_release_is_refused_while_the_latest_revision_is_bad(site: Site, run: Run) -> None:
    site.refusals["barq-fleet/us-central1/barq-fleet-api"] = "the latest ready revision is known to be bad"
    found = await asyncio.to_thread(run, "release", "us-central1/barq-fleet-api")
    assert found.code == 11
    assert found.err == "error: the latest ready revision is known to be bad\n"
    assert await site.letters(API) == []


async def test_gate_answers_with_its_exit_code(site: Site, run: Run) -> None:
    site.refusals["img:bad"] = "img:bad was rolled back"
    good = await asyncio.to_thread(run, "gate", "us-central1/barq-fleet-api", "--image", "img:1")
    assert (good.code, good.out.split(":")[0]) == (0, "Allowed")
    bad = await asyncio.to_thread(
        run, "gate", "barq-fleet-api", "--region", "us-central1", "--image", "img:bad", "--json"
    )
    assert bad.code == 11
    assert json.loads(bad.out) == {"allowed": False, "reason": "img:bad was rolled back"}


async def test_gate_asks_whether_a_rollout_may_go_on(site: Site, run: Run) -> None:
    seen = {"since": views.at(0), "share": 5, "seconds": 420.0, "requests": 2100.0, "detectable": 0.2,
            "feed": "request_log", "coverage": 0.98, "against": "", "warnings": []}  # fmt: skip
    await site.put(views.watching(promotion=seen))
    early = await asyncio.to_thread(run, "gate", "us-central1/barq-fleet-api", "--promote")
    assert early.code == 11
    assert early.out.startswith("Not allowed: ")
    assert "only a fault above 20 % would have shown, and 10 % is asked for; wait" in early.out
    enough = await asyncio.to_thread(
        run, "gate", "us-central1/barq-fleet-api", "--promote", "--detect", "25%", "--json"
    )
    assert (enough.code, json.loads(enough.out)["watch"]) == (0, "w7f3k2")


async def test_gate_does_not_guess_the_region(site: Site, run: Run) -> None:
    found = await asyncio.to_thread(run, "gate", "barq-fleet-api", "--image", "img:1")
    assert found.code == 2
    assert "barq-fleet/europe-west1/barq-fleet-api" in found.err


def test_a_pipeline_learns_that_nobody_answers(run: Run) -> None:
    found = run("gate", "barq-fleet-api", "--image", "img:1")
    assert found.code == 1
    assert "no daemon answers" in found.err


# --- straight into the store --------------------------------------------------------------------------------------


@pytest.fixture
def stored(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A foreground watch uses this store right now, and serves no API."""
    path = tmp_path / "foreground.db"
    keep(path, just_now(views.watching()))
    monkeypatch.setenv("WATCHDOG_DATABASE_URL", f"sqlite:///{path}")
    monkeypatch.setenv("WATCHDOG_URL", "http://127.0.0.1:1")
    return path


@pytest.mark.parametrize("arguments, kind, body", ORDERS, ids=names)
def test_a_foreground_watch_gets_its_orders_by_the_store(
    stored: Path, run: Run, arguments: list[str], kind: str, body: dict[str, Any]
) -> None:
    typed = ["barq-fleet-api" if word == "W" else word for word in arguments]
    found = run(*typed, "--reason", "because", "--by", "jane")
    assert found.code == 0, found.err
    assert "of watch w7f3k2 is in the inbox" in found.out
    assert found.err.startswith("note: no daemon answers at http://127.0.0.1:1: posting into its inbox in the store")
    posted = [(letter.kind, letter.body) for letter in letters(stored, "watch/w7f3k2")]
    assert posted == [(kind, {**body, "reason": "because", "by": "jane"})]


def test_an_order_that_nobody_would_carry_out_now_is_refused(stored: Path, run: Run) -> None:
    keep(stored, just_now(views.watching(), silent_s=3600.0))
    found = run("rollback", "w7f3k2")
    assert found.code == 11
    assert "Nobody runs watch w7f3k2: it was evaluated last 1 h ago." in found.err
    assert letters(stored, "watch/w7f3k2") == []


def test_an_ended_watch_in_the_store_takes_no_orders(stored: Path, run: Run) -> None:
    view = views.rolled_back()
    keep(stored, view)
    found = run("hold", str(view["id"]))
    assert found.code == 11
    assert "has ended (rolled_back), so hold can no longer have an effect" in found.err


def test_the_store_is_held_to_the_apis_rules(stored: Path, run: Run) -> None:
    found = run("extend", "w7f3k2", "9d")
    assert found.code == 2
    assert "at most 7d" in found.err
    assert letters(stored, "watch/w7f3k2") == []


def test_a_store_that_is_no_database_is_told(stored: Path, run: Run) -> None:
    stored.write_text("this is no database, but long enough to be looked at as one\n" * 40)
    found = run("ack", "w7f3k2")
    assert found.code in {1, 2}
    assert "Traceback" not in found.err
    assert str(stored) in found.err


# --- silence ------------------------------------------------------------------------------------------------------


async def test_silence_is_a_letter_to_the_service(site: Site, run: Run) -> None:
    name = "us-central1/barq-fleet-api"
    options = ("--criterion", "p95*", "--for", "2h", "--reason", "load test", "--by", "jane")
    found = await asyncio.to_thread(run, "silence", name, *options)
    assert found.code == 0, found.err
    ((kind, letter),) = await site.letters(API)
    assert (kind, letter["criterion"], letter["by"], letter["reason"]) == ("silence", "p95*", "jane", "load test")
    assert f"--end {letter['id']}" in found.out
    listed = await asyncio.to_thread(run, "silence", "--list")
    assert (listed.code, listed.out.strip()) == (0, "Nothing is silenced.")


async def test_a_silence_says_what_until_when_and_why(site: Site, run: Run) -> None:
    for arguments in (["silence"], ["silence", "api"], ["silence", "api", "--kind", "warning", "--for", "2h"]):
        found = await asyncio.to_thread(run, *arguments)
        assert found.code == 2
        assert "say" in found.err
    assert await site.letters(API) == []
