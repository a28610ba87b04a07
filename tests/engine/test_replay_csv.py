"""The table's format: every mistake is told with its line and column, all of them at once, and nothing is guessed."""

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.engine.evidence import BARQ, policy
from watchdog.core.model import Counts, Missing, Value
from watchdog.engine.replay_csv import HEADER, MOST_PROBLEMS, Evidenced, read_csv
from watchdog.errors import ConfigError


def read(*lines: str, header: str = HEADER) -> Evidenced:
    return read_csv("\n".join([header, *lines]) + "\n", "day.csv", BARQ)


def problems(text: str) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        read_csv(text, "day.csv", BARQ)
    return list(caught.value.problems)


def problem(line: str) -> str:
    found = problems(f"{HEADER}\n0,5,,error_rate,0,10,,\n{line}\n")
    assert len(found) == 1, found
    return found[0].removeprefix("day.csv:3: ")


# --- what is read -------------------------------------------------------------------------------------------------


def test_each_kind_of_evidence_has_its_columns() -> None:
    found = read("0,5,6.5,error_rate,1,10,,", "0,60,,cpu_usage,,,0.41,", "5,10,,error_rate,,,,no_series")
    assert [(s.check, s.start, s.end, s.seen, s.evidence) for s in found.samples] == [
        ("error_rate", 0.0, 5.0, 6.5, Counts(1.0, 10.0)),
        ("error_rate", 5.0, 10.0, 10.0, Missing("no_series")),
        ("cpu_usage", 0.0, 60.0, 60.0, Value(0.41)),
    ]
    assert (found.rows, found.last_s, found.warnings) == (3, 60.0, ())


def test_health_check_stands_for_every_critical_probe() -> None:
    mixed = policy(
        probes={"health": {"path": "/a"}, "live": {"path": "/b"}, "extra": {"path": "/c", "critical": False}},
        success_criteria=[{"metric": "health_check", "target": "100%", "action": "rollback"}],
    )
    found = read_csv(f"{HEADER}\n0,5,,health_check,0,1,,\n", "x", mixed)
    assert [s.check for s in found.samples] == ["health", "live"]


def test_a_probe_is_named_with_or_without_its_prefix() -> None:
    found = read("0,5,,probe.ready,0,1,,", "5,10,,ready,1,1,,")
    assert [(s.check, s.evidence) for s in found.samples] == [("ready", Counts(0, 1)), ("ready", Counts(1, 1))]


def test_columns_may_stand_in_any_order_with_spaces_and_other_line_ends() -> None:
    text = "\ufeffcheck, bad,total,value,missing,start_s,end_s,seen_s\r\nerror_rate,1,10,,,0, 5 ,\r\n\r\n"
    assert [s.evidence for s in read_csv(text, "x", BARQ).samples] == [Counts(1.0, 10.0)]


def test_wide_rows_come_from_another_feed_than_narrow_ones() -> None:
    found = read("0,10,,error_rate,0,1,,", "0,10.5,,error_rate,0,1,,")
    assert [s.source for s in found.samples] == ["direct", "lagged"]


# --- what is refused ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "line, told",
    [
        ("x,5,,error_rate,0,10,,", 'start_s: "x" is not a number'),
        (",5,,error_rate,0,10,,", "start_s: is empty; write seconds since the cutover"),
        ("0,nan,,error_rate,0,10,,", 'end_s: "nan" is not a number'),
        ("0,inf,,error_rate,0,10,,", 'end_s: "inf" is not a number'),
        ("0,1e999,,error_rate,0,10,,", 'end_s: "1e999" is too large'),
        ("0,1_0,,error_rate,0,10,,", 'end_s: "1_0" is not a number'),
        ("-5,5,,error_rate,0,10,,", "start_s: -5 is negative"),
        ("5,5,,error_rate,0,10,,", "end_s: 5 is not after start_s 5"),
        ("9,5,,error_rate,0,10,,", "end_s: 5 is not after start_s 9"),
        ("9,15,4,error_rate,0,10,,", "seen_s: 4 is before start_s 9: not seen yet"),
        (
            "1790000000,1790000060,,error_rate,0,10,,",
            "start_s: 1790000000 is more than a year; times are seconds since the cutover",
        ),
        ("0,5,,error_rate,11,10,,", "bad: 11 is more than total 10"),
        ("0,5,,error_rate,-1,10,,", "bad: -1 is negative"),
        ("0,5,,error_rate,1,,,", "total: is empty; counts need both bad and total"),
        ("0,5,,error_rate,,10,,", "bad: is empty; counts need both bad and total"),
        ("0,5,,error_rate,ten,10,,", 'bad: "ten" is not a number'),
        ("0,5,,error_rate,1,10,0.1,", "value: stands beside bad and total; a row is counts, a value or missing"),
        ("0,5,,error_rate,1,10,,nan", "missing: stands beside bad and total; a row is counts, a value or missing"),
        ("0,5,,error_rate,,,,", "bad: is empty like total, value and missing; fill in one kind of evidence"),
        ("0,5,,,0,10,,", "check: is empty; name a metric, a probe or health_check"),
        ("0,5,,cpu_usage,0,10,,", "bad: cpu_usage is a gauge; write its reading into value"),
        ("0,5,,cpu_usage,,,-0.5,", "value: -0.5 is negative"),
        (
            "0,5,,error_rate,,,0.1,",
            "value: error_rate is judged by counts: without bad and total a share proves nothing",
        ),
        ("0,5,,health,,,1,", "value: health is judged by counts: without bad and total a share proves nothing"),
        ("0,5,,error_rate,0,10,", "has 7 cells, the header has 8"),
        ("0,5,,error_rate,0,10,,,", "has 9 cells, the header has 8"),
    ],
)
def test_a_bad_row_is_told_with_its_line_and_column(line: str, told: str) -> None:
    # Only the first problem of a time hides the comparison of times; nothing else hides anything.
    found = problems(f"{HEADER}\n0,5,,error_rate,0,10,,\n{line}\n")
    assert found[0] == f"day.csv:3: {told}"


def test_every_problem_of_the_file_is_told_at_once() -> None:
    found = problems(f"{HEADER}\nx,y,,error_rate,1,0,,\n0,5,,error_rate,z,10,,\n0,5,,,0,10,,\n")
    assert [p.split(": ")[:2] for p in found] == [
        ["day.csv:2", "start_s"],
        ["day.csv:2", "end_s"],
        ["day.csv:3", "bad"],
        ["day.csv:4", "check"],
    ]


@pytest.mark.parametrize(
    "text, told",
    [
        ("", f"day.csv:1: is empty; begin with the header {HEADER}"),
        ("\n \n", f"day.csv:1: is empty; begin with the header {HEADER}"),
        (f"{HEADER}\n", "day.csv:1: has no row below the header, so there is nothing to judge"),
        ("0,5,,error_rate,0,10,,\n", f"day.csv:1: the header is missing; the first line has to be {HEADER}"),
        (
            "start_s,end_s,check,bad,total,value,missing\n",
            f"day.csv:1: seen_s: is missing in the header, which has to be {HEADER}",
        ),
        (f"{HEADER},source\n", "day.csv:1: source: is no column; known: "),
        (f"{HEADER},bad\n", "day.csv:1: bad: stands twice in the header"),
        (f'{HEADER}\n0,5,,"error_rate,0,10,,\n', "day.csv:2: is not CSV: unexpected end of data"),
    ],
)
def test_a_file_without_a_table_is_refused(text: str, told: str) -> None:
    assert problems(text)[0].startswith(told)


def test_a_file_of_the_wrong_kind_does_not_flood_the_terminal() -> None:
    found = problems(f"{HEADER}\n" + "x,y,,error_rate,0,10,,\n" * 1000)
    assert len(found) == MOST_PROBLEMS + 1
    assert found[-1] == f"day.csv: and {2000 - MOST_PROBLEMS} more problems"


@given(text=st.text(max_size=200))
def test_no_text_ends_in_anything_but_sentences(text: str) -> None:
    for whole in (text, f"{HEADER}\n{text}"):
        with suppress(ConfigError):
            read_csv(whole, "x", BARQ)


# --- what is warned of --------------------------------------------------------------------------------------------


def test_rows_that_nobody_judges_are_said_once() -> None:
    found = read("0,5,,eror_rate,0,10,,", "5,10,,eror_rate,0,10,,", "0,5,,p50_latency,,,1,")
    assert [w.removeprefix("day.csv: rows of the check ") for w in found.warnings] == [
        '"eror_rate" are ignored: no row of the policy judges it; did you mean "error_rate"?',
        '"p50_latency" are ignored: nothing measured before the deploy to compare with',
    ]
    assert found.samples == ()
    assert found.last_s == 10.0


def test_shares_in_percent_are_pointed_out() -> None:
    found = read("0,60,,cpu_usage,,,85,")
    assert found.warnings == ("day.csv: cpu_usage has values above 2; shares are written as 0.85, not as 85",)
