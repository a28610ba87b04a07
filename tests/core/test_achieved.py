"""When a watch has ended, what it could have found is said with the traffic and the coverage that it really had."""

from dataclasses import replace
from math import nan
from typing import Any

import pytest

from tests.core.player import Player, World, steady
from tests.core.watches import T0, opening
from watchdog.core import report_text
from watchdog.core.frontier import RATE
from watchdog.core.report import view

ERRORS = "success.error_rate"
SHORT = opening(ends_at=T0 + 1200.0)
"""Planned for a day, and over after 20 minutes."""


def ended(world: World, *, before_per_s: float | None = None) -> dict[str, Any]:
    opened = SHORT
    if before_per_s is not None:
        opened = replace(opened, baselines={**opened.baselines, RATE: before_per_s})
    player = Player(world, opened).run()
    assert not player.watch.open
    return view(player.watch)


def achieved(shown: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = next(row for row in shown["achieved"] if row["id"] == ERRORS)
    return found


def test_what_came_and_what_was_expected_are_told_side_by_side() -> None:
    row = achieved(ended(World(requests=steady(50.0, 0.0)), before_per_s=40.0))

    assert row["rate_per_s"] == pytest.approx(10.0, rel=0.03)
    assert row["covered"] == pytest.approx(1.0, abs=0.02)
    assert row["expected_per_s"] == 40.0
    came, hoped = row["reaches"], row["expected"]
    assert [r["within_s"] for r in hoped] == [300.0, 3600.0, 86_400.0]
    assert came[0]["bad_share"] > hoped[0]["bad_share"], "a quarter of the traffic sees less"
    assert came[1]["bad_share"] < came[0]["bad_share"], "more time sees more"
    assert "would have been found within 5 min, above" in row["text"]
    assert "over the watch (100 % covered); expected at the opening, with 40 requests/s: above" in row["text"]


def test_a_feed_that_was_away_for_half_the_watch_could_have_found_less() -> None:
    whole = achieved(ended(World(requests=steady(50.0, 0.0))))
    half = achieved(ended(World(requests=lambda at: (0.0, nan if at > T0 + 600.0 else 50.0))))

    assert half["covered"] == pytest.approx(0.5, abs=0.05)
    assert half["rate_per_s"] == pytest.approx(whole["rate_per_s"] / 2, rel=0.06)
    assert half["reaches"][0]["bad_share"] > whole["reaches"][0]["bad_share"]
    assert "expected at the opening" not in half["text"], "nothing had been measured before"


@pytest.mark.parametrize("before,expected", [(None, ""), (12.0, " (12/s were expected at the opening)")])
def test_without_traffic_nothing_is_claimed(before: float | None, expected: str) -> None:
    row = achieved(ended(World(requests=steady(0.0, 0.0)), before_per_s=before))

    assert row["reaches"] == []
    assert row["text"] == f"No request was seen{expected}, so nothing could have been found."


def test_the_report_says_it_in_a_section_of_its_own() -> None:
    said = report_text.markdown(ended(World(requests=steady(50.0, 0.0))), [])

    assert "## What could have been found\n\n- **error\\_rate < 1%**: At the " in said.replace(
        "error_rate", "error\\_rate"
    )


def test_an_open_watch_has_no_end_to_reckon_yet() -> None:
    assert view(Player(World(requests=steady(50.0, 0.0)), SHORT).run(600.0).watch)["achieved"] == []


def test_a_watch_of_minutes_promises_nothing_for_the_time_after_its_end() -> None:
    player = Player(World(requests=steady(50.0, 0.0)), replace(SHORT, ends_at=T0 + 90.0)).run()
    assert not player.watch.open
    row = achieved(view(player.watch))

    assert [r["within_s"] <= 90.0 for r in row["reaches"]] == [True]
    assert "5 min" not in row["text"]
