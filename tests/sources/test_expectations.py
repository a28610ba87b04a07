"""The body check never turns doubt into health, and never refuses what says the same."""

import json
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from watchdog.sources.expectations import BodyError, mismatch, parse_json

scalars = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text()
values = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4), max_leaves=12
)


@settings(max_examples=60)
@given(values)
def test_every_json_value_contains_itself(value: Any) -> None:
    assert mismatch(value, value) is None


@settings(max_examples=60)
@given(values)
def test_every_json_value_contains_itself_after_a_round_trip_over_the_wire(value: Any) -> None:
    assert mismatch(value, parse_json(json.dumps(value).encode())) is None


@settings(max_examples=60)
@given(st.dictionaries(st.text(), values, max_size=4), st.dictionaries(st.text(), values, max_size=4))
def test_more_keys_than_expected_do_no_harm(expected: dict[str, Any], more: dict[str, Any]) -> None:
    assert mismatch(expected, more | expected) is None


@settings(max_examples=60)
@given(st.dictionaries(st.text(), values, min_size=1, max_size=4), st.data())
def test_a_missing_key_fails_and_is_named(expected: dict[str, Any], data: st.DataObject) -> None:
    gone = data.draw(st.sampled_from(sorted(expected)))

    reason = mismatch(expected, {key: value for key, value in expected.items() if key != gone})

    assert reason is not None
    assert reason.startswith(f"{gone} is missing")


@settings(max_examples=60)
@given(scalars, scalars)
def test_two_scalars_match_only_when_equal_and_of_one_kind(expected: Any, actual: Any) -> None:
    kinds = [
        bool if isinstance(v, bool) else float if isinstance(v, int | float) else type(v) for v in (expected, actual)
    ]

    assert (mismatch(expected, actual) is None) == (kinds[0] is kinds[1] and expected == actual)


@settings(max_examples=60)
@given(values, st.text(max_size=8))
def test_a_reason_is_one_short_line_whatever_the_service_sent(actual: Any, expected: str) -> None:
    reason = mismatch({"status": expected}, {"status": actual})

    assert reason is None or (len(reason) <= 120 and "\n" not in reason)


@pytest.mark.parametrize(
    "expected, body, reason",
    [
        ({"status": "healthy"}, '{"status": "sick"}', 'status is "sick", expected "healthy"'),
        ({"status": "healthy"}, "{}", 'status is missing, expected "healthy"'),
        ({"status": "healthy"}, '{"status": null}', 'status is null, expected "healthy"'),
        ({"ok": True}, '{"ok": 1}', "ok is 1, expected true"),
        ({"ok": 1}, '{"ok": true}', "ok is true, expected 1"),
        ({"ok": True}, '{"ok": "true"}', 'ok is "true", expected true'),
        ({"errors": 0}, '{"errors": "0"}', 'errors is "0", expected 0'),
        ({"load": 0.5}, '{"load": 0.50001}', "load is 0.50001, expected 0.5"),
        ({"n": 9007199254740993}, '{"n": 9007199254740992}', "n is 9007199254740992, expected 9007199254740993"),
        ({"db": {"up": True}}, '{"db": {"up": false}}', "db.up is false, expected true"),
        ({"db": {"up": True}}, '{"db": []}', "db is [], expected an object"),
        ({"db": [{"up": True}]}, '{"db": [{"up": false}]}', "db[0].up is false, expected true"),
        ({"db": [1, 2]}, '{"db": [1]}', "db has 1 items, expected 2"),
        ({"db": []}, '{"db": "x"}', 'db is "x", expected an array'),
        ({"db": "abc"}, '{"db": ["a", "b", "c"]}', 'db is ["a", "b", "c"], expected "abc"'),
        ({"a": None}, "{}", "a is missing, expected null"),
        ({"a": None}, '{"a": 0}', "a is 0, expected null"),
        ("up", '"down"', 'the body is "down", expected "up"'),
        ({"status": "healthy"}, "[]", "the body is [], expected an object"),
    ],
)
def test_a_mismatch_names_place_value_and_expectation(expected: Any, body: str, reason: str) -> None:
    assert mismatch(expected, parse_json(body.encode())) == reason


@pytest.mark.parametrize(
    "expected, body",
    [({"n": 1}, '{"n": 1.0}'), ({"n": 0.1}, '{"n": 1e-1}'), ({"a": None}, '{"a": null}'), ({}, '{"x": 1}'), ([], "[]")],
)
def test_the_same_value_written_differently_matches(expected: Any, body: str) -> None:
    assert mismatch(expected, parse_json(body.encode())) is None


@pytest.mark.parametrize(
    "body, reason",
    [
        (b"", "the body is empty"),
        (b" \r\n", "the body is empty"),
        (b"<html>ok</html>", "the body is not JSON (line 1, column 1): it begins"),
        (b'{"status": "healthy"', "the body is not JSON"),
        (b'{"x": NaN}', "the body holds NaN"),
        (b'{"x": -Infinity}', "the body holds -Infinity"),
        (b'{"x": 1e999}', "a number that is not finite (1e999)"),
        (b"\xff\xfe\xfd", "the body is not JSON"),
        (b"[" * 60_000, "nested too deeply"),
        (b"9" * 60_000, "the body is not JSON"),
    ],
)
def test_what_is_not_json_is_refused_with_a_reason(body: bytes, reason: str) -> None:
    with pytest.raises(BodyError) as refused:
        parse_json(body)

    assert reason in str(refused.value)
    assert len(str(refused.value)) <= 120


@settings(max_examples=60)
@given(st.binary(max_size=200))
def test_no_body_at_all_ends_in_anything_but_a_value_or_a_body_error(body: bytes) -> None:
    with suppress(BodyError):
        parse_json(body)
