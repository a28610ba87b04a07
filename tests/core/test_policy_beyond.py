"""The sections for actions beyond traffic: what they refuse, and how `check` shows them."""

from typing import Any

import pytest

from tests.core.policies import build, problems
from watchdog.core.policy_text import describe

ROW = {"alert_thresholds": [{"metric": "cpu_usage", "warning": "> 70%", "action": "scale_up"}]}


@pytest.mark.parametrize(
    "section, path, said",
    [
        ({"scale_up": {}}, "scale_up.max_instances", "is missing"),
        ({"scale_up": {"max_instances": 0}}, "scale_up.max_instances", "out of range"),
        ({"scale_up": {"max_instances": 5, "step": "0%"}}, "scale_up.step", "out of range"),
        ({"scale_up": {"max_instances": 5, "stepp": "9%"}}, "scale_up.stepp", 'did you mean "step"'),
        ({"scale_up": 5}, "scale_up", "a mapping belongs"),
        ({"redeploy_image": "yes"}, "redeploy_image", "neither true nor false"),
        ({"database_rollback": {}}, "database_rollback", "neither job nor commands"),
        ({"database_rollback": {"commands": ["x"], "run": "automatic"}}, "database_rollback.run", "without job"),
        ({"database_rollback": {"job": "down", "run": "always"}}, "database_rollback.run", "not one of"),
        ({"rollback": {"redeploy_image": True}}, "rollback.redeploy_image", "belongs at the top of the file"),
    ],
)
def test_what_is_refused(section: dict[str, Any], path: str, said: str) -> None:
    found = problems(**ROW, **section)
    assert [p for p, _ in found] == [path]
    assert said in found[0][1]


def test_several_regions_share_one_database() -> None:
    service = {"project": "acme", "regions": ["us-central1", "europe-west1"], "name": "api"}
    found = problems(service=service, database_rollback={"job": "down", "run": "automatic"})
    assert {p for p, _ in found} == {"database_rollback.region", "database_rollback.run"}


def test_a_section_that_is_never_used_is_warned_about() -> None:
    built = build(scale_up={"max_instances": 5})
    assert any(f.path == ("scale_up",) and "never used" in f.message for f in built.warnings)


def test_check_shows_them() -> None:
    built = build(
        **ROW,
        scale_up={"max_instances": 20},
        redeploy_image=True,
        database_rollback={"job": "down", "run": "automatic", "commands": ["alembic downgrade -1"]},
    )
    assert built.policy is not None
    text = describe(built.policy)
    for said in ("to 20 instances at most", "the target's image", "job down runs by itself", "alembic downgrade -1"):
        assert said in text
    assert type(built.policy).from_canonical(built.policy.canonical()) == built.policy
