"""Durations, shares and conditions read what people write, refuse what is ambiguous, and are shown as they are read."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from watchdog.core.catalogue import UNITS, Dimension, Family, family, quantile
from watchdog.core.conditions import (
    LONGEST_S,
    format_condition,
    format_duration,
    format_quantity,
    format_share,
    parse_condition,
    parse_duration,
    parse_share,
)

# --- durations -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text, seconds",
    [
        ("500ms", 0.5),
        ("5s", 5),
        ("15m", 900),
        ("24h", 86_400),
        ("2d", 172_800),
        ("1h30m", 5400),
        ("1.5s", 1.5),
        ("0s", 0),
    ],
)
def test_durations_are_read_as_seconds(text: str, seconds: float) -> None:
    assert parse_duration(text) == seconds


@given(st.integers(0, int(LONGEST_S * 1000)))
def test_a_duration_is_read_back_as_it_is_shown(milliseconds: int) -> None:
    seconds = milliseconds / 1000

    assert parse_duration(format_duration(seconds)) == seconds


@pytest.mark.parametrize(
    "seconds, text", [(900, "15m"), (86_400, "24h"), (172_800, "2d"), (90, "1m30s"), (0.2, "200ms")]
)
def test_durations_are_shown_as_short_as_people_write_them(seconds: float, text: str) -> None:
    assert format_duration(seconds) == text


@pytest.mark.parametrize(
    "text, said",
    [
        ("15", 'did you mean "15s"'),
        ("-5s", "negative"),
        ("15min", 'did you mean "15m"'),
        ("60 seconds", 'did you mean "60s"'),
        ("15M", 'did you mean "15m"'),
        ("0.5ms", "finer than a millisecond"),
        ("400d", "longer than a year"),
        ("9" * 400 + "s", "not a duration"),
        ("", "not a duration"),
        ("1m1h", "not a duration"),
        ("nan", "not a duration"),
        ("٥s", "not a duration"),
    ],
)
def test_what_is_no_duration_is_refused_with_what_was_meant(text: str, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        parse_duration(text)


@given(st.text())
def test_any_text_is_a_finite_duration_or_a_sentence(text: str) -> None:
    said, seconds = "", 0.0
    try:
        seconds = parse_duration(text)
    except ValueError as error:
        said = str(error)
    assert "\n" not in said
    assert 0 <= seconds <= LONGEST_S


# --- shares -------------------------------------------------------------------------------------------------------


@given(st.integers(0, 10_000))
def test_a_share_is_read_back_as_it_is_shown(hundredths: int) -> None:
    text = f"{hundredths / 100:.2f}%"

    assert parse_share(text) == hundredths / 10_000
    assert parse_share(format_share(parse_share(text))) == pytest.approx(hundredths / 10_000, rel=1e-3)


@pytest.mark.parametrize(
    "text, said",
    [("20", '"20%"'), ("0.2", '"20%"'), ("101%", "100% at most"), ("-1%", "not a share"), ("%", "not a share")],
)
def test_a_share_without_percent_or_over_all_is_refused(text: str, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        parse_share(text)


# --- conditions ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text, dimension, op, value",
    [
        ("< 1%", Dimension.RATIO, "<", 0.01),
        (">70 %", Dimension.RATIO, ">", 0.7),
        ("<= 0.1%", Dimension.RATIO, "<=", 0.001),
        ("< 500ms", Dimension.TIME, "<", 0.5),
        (">= 2s", Dimension.TIME, ">=", 2.0),
        ("> 5m", Dimension.TIME, ">", 300.0),
        ("> 512MB", Dimension.BYTES, ">", 512e6),
        ("> 2GiB", Dimension.BYTES, ">", 2.0**31),
        ("> 10/s", Dimension.RATE, ">", 10.0),
        ("< 100", Dimension.COUNT, "<", 100.0),
        ("< 100", None, "<", 100.0),
        ("< 35ms", None, "<", 0.035),
    ],
)
def test_conditions_are_read_in_base_units(text: str, dimension: Dimension | None, op: str, value: float) -> None:
    condition = parse_condition(text, dimension)

    assert (condition.op, condition.value, condition.relative) == (op, value, False)


def test_a_condition_may_compare_with_before_the_deploy() -> None:
    for text in ("< 1.5x before", "< 1.5 x before", "<1.5x  before"):
        condition = parse_condition(text, Dimension.TIME)

        assert (condition.op, condition.value, condition.relative, condition.unit) == ("<", 1.5, True, "x")
        assert format_condition(condition) == "< 1.5x before"


def test_a_bare_share_is_at_least_that_share_and_only_where_it_is_meant_so() -> None:
    condition = parse_condition("100%", Dimension.RATIO, bare_share=True)

    assert (condition.op, condition.value, condition.text) == (">=", 1.0, "100%")
    with pytest.raises(ValueError, match="no operator"):
        parse_condition("100%", Dimension.RATIO)


@pytest.mark.parametrize(
    "text, dimension, said",
    [
        ("< 500ms", Dimension.RATIO, "impossible unit"),
        ("< 1%", Dimension.TIME, "impossible unit"),
        ("< 5MB", Dimension.COUNT, "impossible unit"),
        ("< 101%", Dimension.RATIO, "100% at most"),
        ("< 500", Dimension.TIME, '"< 500ms"'),
        ("< 2", Dimension.TIME, '"< 2s"'),
        ("< 0.5", Dimension.RATIO, '"< 50%"'),
        ("< 5", Dimension.RATIO, '"< 5%"'),
        ("< 1 %%", Dimension.RATIO, '"< 1%"'),
        ("< 500 msec", Dimension.TIME, '"< 500ms"'),
        ("< 500 mb", Dimension.BYTES, '"< 500MB"'),
        ("> 10 rps", Dimension.RATE, '"> 10/s"'),
        ("< 5 things", Dimension.COUNT, '"< 5"'),
        ("=< 1%", Dimension.RATIO, '"<= 1%"'),
        ("≤ 1%", Dimension.RATIO, '"<= 1%"'),
        ("!= 1%", Dimension.RATIO, "not an operator"),
        ("1%", Dimension.RATIO, "no operator"),
        ("< -1%", Dimension.RATIO, "without a sign"),
        ("< nan", Dimension.RATIO, "not a condition"),
        ("< 1e9%", Dimension.RATIO, "not a unit|not a condition"),
        ("< 1.5x", Dimension.RATIO, '"< 1.5x before"'),
        ("< 1.5 before", Dimension.RATIO, '"< 1.5x before"'),
        ("< 0x before", Dimension.RATIO, "above 0"),
        ("< 9999x before", Dimension.RATIO, "at most 1000"),
        ("< " + "9" * 400, Dimension.COUNT, "not a condition"),
        ("", Dimension.RATIO, "not a condition"),
    ],
)
def test_what_is_no_condition_is_refused_with_what_was_meant(text: str, dimension: Dimension, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        parse_condition(text, dimension)


@given(
    st.sampled_from(["<", "<=", ">", ">="]),
    st.integers(1, 9999),
    st.sampled_from([u for u in UNITS if u not in {"ratio", "count", "%"}]),
)
def test_a_condition_is_read_back_as_it_is_shown(op: str, number: int, unit: str) -> None:
    condition = parse_condition(f"{op}{number}{unit}", UNITS[unit][0])
    again = parse_condition(format_condition(condition), UNITS[unit][0])

    assert (again.op, again.value, again.unit) == (condition.op, condition.value, condition.unit)


@given(
    st.text() | st.from_regex(r"\A[<>=]{0,2} ?[0-9.]{0,6} ?[%a-zA-Z/]{0,6}( before)?\Z"),
    st.sampled_from([None, *Dimension]),
)
def test_any_text_is_a_finite_condition_or_a_sentence(text: str, dimension: Dimension | None) -> None:
    said, value = "", 0.0
    try:
        value = parse_condition(text, dimension, bare_share=True).value
    except ValueError as error:
        said = str(error)
    assert "\n" not in said
    assert math.isfinite(value)
    assert value >= 0


@pytest.mark.parametrize(
    "value, unit, shown",
    [(0.0062, "%", "0.62%"), (0.62, "ms", "620ms"), (512e6, "MB", "512MB"), (7.0, "", "7"), (1234.0, "count", "1234")],
)
def test_quantities_are_shown_in_the_unit_of_their_row(value: float, unit: str, shown: str) -> None:
    assert format_quantity(value, unit) == shown


# --- the catalogue ------------------------------------------------------------------------------------------------


def test_every_name_has_one_way_to_be_judged() -> None:
    assert family("error_rate") is Family.ERRORS
    assert family("p95_latency") is Family.LATENCY
    assert family("health_check") is Family.PROBES
    assert family("probe.health") is Family.PROBES
    assert family("database_connections") is Family.GAUGE
    assert family("queue_depth") is Family.GAUGE


def test_only_latency_quantiles_have_a_quantile() -> None:
    assert [quantile(m) for m in ("p50_latency", "p95_latency", "p99_latency")] == [0.5, 0.95, 0.99]
    with pytest.raises(ValueError, match="not a latency quantile"):
        quantile("query_latency")
