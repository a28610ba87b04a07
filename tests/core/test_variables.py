"""`${NAME}` in a probe's headers: what is one, and what is filled in."""

from typing import Any

import pytest

from tests.core.policies import build
from watchdog.core.policy import Policy
from watchdog.core.variables import fill, malformed, names_in


def built_with(**probe: Any) -> tuple[list[str], Policy | None]:
    built = build(probes={"health": {"path": "/health", **probe}})
    return [p.message for p in built.problems], built.policy


def test_variables_are_found_once_and_filled_in() -> None:
    texts = ["Bearer ${API_KEY}", "${API_KEY}:${TEAM_2}", "plain"]
    assert names_in(texts) == ("API_KEY", "TEAM_2")
    values = {"API_KEY": "k$1", "TEAM_2": "t"}
    assert [fill(text, values) for text in texts] == ["Bearer k$1", "k$1:t", "plain"]


def test_a_dollar_before_it_makes_it_plain() -> None:
    assert names_in(["$${API_KEY}"]) == ()
    assert fill("$${API_KEY} costs $5", {}) == "${API_KEY} costs $5"


@pytest.mark.parametrize("text", ["${api_key}", "${}", "${1A}", "${A", "${A B}"])
def test_what_names_nothing_is_told(text: str) -> None:
    assert malformed(f"Bearer {text}") is not None
    assert malformed("${OK} $ {x} $${whatever") is None


def test_one_that_is_not_there_is_named() -> None:
    with pytest.raises(KeyError, match="GONE"):
        fill("${GONE}", {"OTHER": "x"})


def test_a_policy_says_where_the_variable_is_wrong_and_keeps_the_right_one_as_written() -> None:
    problems, policy = built_with(headers={"X-Key": "${x}"})
    assert policy is None
    assert problems == ['header "X-Key": "${x}" is no variable; write ${NAME} in capitals']
    problems, policy = built_with(headers={"X-Key": "${API_KEY}", "Authorization": "Bearer ${API_KEY}"})
    assert problems == []
    assert policy is not None
    assert policy.probes["health"].headers["X-Key"] == "${API_KEY}"
    assert "${API_KEY}" in str(policy.canonical())


@pytest.mark.parametrize("audience", ["https://api.example.com", "12-ab.apps.googleusercontent.com"])
def test_an_audience_is_an_address_or_a_client(audience: str) -> None:
    problems, _ = built_with(auth="id_token", audience=audience)
    assert problems == []


@pytest.mark.parametrize("audience", ["api.example.com", "some words", "apps.googleusercontent.com"])
def test_any_other_audience_is_refused(audience: str) -> None:
    problems, _ = built_with(auth="id_token", audience=audience)
    assert len(problems) == 1
    assert "write for example https://api.example.com or 123-abc.apps.googleusercontent.com" in problems[0]
