"""A journey file says what is wrong with it before anything is sent: file, line, key, and what was probably meant."""

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from watchdog.core.journey import Journey, fill, references
from watchdog.errors import ConfigError
from watchdog.journey_file import SHIPPED, find_journey, load_journey, parse_journey

GOOD = """\
title: A trip
timeout: 10s
step_timeout: 2s
variables: {plate: "P-${run}"}
steps:
  - name: log in
    path: /login
    json: {user: "${secret.user}", password: "${secret.password}"}
    capture: {token: {jmespath: token}, sid: {cookie: sid}}
  - name: create
    path: /things
    headers: {Authorization: "Bearer ${token}"}
    json: {plate: "${plate}"}
    expect:
      status: 201
      json: {plate: "${plate}"}
      jmespath: ["id > `0`", {jmespath: id, equals: "${thing}"}]
    capture: {thing: {jmespath: id}}
cleanup:
  - {name: delete, method: DELETE, path: "/things/${thing}", after: create, expect: {status: [200, 204]}}
"""


def problems(text: str) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        parse_journey(text, Path("trip.yaml"))
    return list(caught.value.problems)


def test_a_journey_is_read_with_its_defaults_and_the_secrets_that_it_needs() -> None:
    journey = parse_journey(GOOD, Path("trip.yaml")).journey
    assert [s.name for s in journey.steps] == ["log in", "create"]
    assert [(s.method, s.timeout_s) for s in (*journey.steps, *journey.cleanup)] == [
        ("POST", 2.0),
        ("POST", 2.0),
        ("DELETE", 2.0),
    ]
    assert journey.secrets == ("password", "user")
    assert Journey.model_validate(journey.model_dump(mode="json")) == journey


@pytest.mark.parametrize(
    "old, new, said",
    [
        ("Bearer ${token}", "Bearer ${tokn}", "trip.yaml:12: steps[1].headers.Authorization: undefined variable"),
        ("Bearer ${token}", "Bearer ${thing}", 'undefined variable "thing": it is captured only by this step'),
        ("after: create", "after: creat", 'trip.yaml:20: cleanup[0].after: unknown step "creat"; did you mean'),
        ("{jmespath: token}", '{jmespath: "token[?"}', 'trip.yaml:9: steps[0].capture.token.jmespath: "token[?" is no'),
        ("id > `0`", "id >", 'trip.yaml:17: steps[1].expect.jmespath[0]: "id >" is not a JMESPath'),
        ("{cookie: sid}", '{regex: "("}', "is not a regular expression"),
        ("{cookie: sid}", "{cookie: sid, header: X}", "steps[0].capture.sid: needs exactly one of jmespath, header"),
        ("path: /things\n", "path: things\n", 'trip.yaml:11: steps[1].path: "things" is not a path'),
        ("step_timeout: 2s", "step_timeout: 20s", "trip.yaml:3: step_timeout: 20s is above timeout, 10s"),
        ("  - name: create", "  - name: log in", 'steps[1].name: "log in" is the name of an earlier step too'),
        ("capture: {thing", "captur: {thing", 'steps[1].captur: unknown key; did you mean "capture"?'),
        ("method: DELETE", "method: ERASE", '"ERASE" is not one of GET, HEAD, POST'),
        ("variables: {plate", "variables: {run", "variables.run: is there already"),
        ("equals: ", "equal: ", "expect"),
    ],
)  # fmt: skip
def test_a_mistake_is_told_with_its_place(old: str, new: str, said: str) -> None:
    assert old in GOOD
    assert any(said in problem for problem in problems(GOOD.replace(old, new, 1)))


def test_one_mistake_drags_no_others_behind_it() -> None:
    assert len(problems(GOOD.replace("{jmespath: token}", '{jmespath: "token[?"}'))) == 1
    assert len(problems(GOOD.replace("name: create", "nam: create").replace(", after: create", ""))) == 1


@pytest.mark.parametrize("text", ["[]", "a: 1", "steps: []", "steps: {}", "steps: [1]", "steps: [{name: a}]", "- -"])
def test_what_is_no_journey_is_refused_in_words(text: str) -> None:
    assert all(problem.startswith("trip.yaml:") for problem in problems(text))


@given(st.recursive(st.none() | st.booleans() | st.integers() | st.text(max_size=8), lambda x: st.lists(x, max_size=3)
                    | st.dictionaries(st.sampled_from(["steps", "name", "path", "json", "capture", "expect", "x"]), x),
                    max_leaves=12))  # fmt: skip
@settings(max_examples=50)
def test_no_values_whatsoever_raise_anything_else(values: object) -> None:
    from watchdog.core.journey_build import build_journey  # noqa: PLC0415

    built = build_journey({"steps": [values, {"name": "a", "path": "/", "json": values}]})
    assert (built.journey is None) == bool(built.problems)


def test_a_lone_reference_keeps_its_type_and_doubled_dollars_are_plain_text() -> None:
    known = {"id": 7, "name": "Ada", "flag": None}
    assert fill({"id": "${id}", "to": ["${name} has ${id}", "$${id}", "${flag}"]}, known) == {
        "id": 7,
        "to": ["Ada has 7", "${id}", None],
    }
    assert list(references({"a": ["${x} $${y}", {"${z}": 1}]})) == ["x", "z"]


def test_every_shipped_journey_loads_and_is_found_from_anywhere(tmp_path: Path) -> None:
    names = sorted(path.name for path in (SHIPPED / "journeys").glob("*.yaml"))
    assert names == ["assignment.yaml", "attendance.yaml", "courier.yaml", "login.yaml", "vehicle.yaml"]
    for name in names:
        loaded = load_journey(find_journey(f"journeys/{name}", tmp_path))
        assert loaded.journey.secrets == ("email", "password")
        assert loaded.warnings == ()
    assert find_journey("journeys/other.yaml", tmp_path) == tmp_path / "journeys" / "other.yaml"
