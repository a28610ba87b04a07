"""A journal replayed gives the decisions that were taken live, and says so when it does not."""

import json
import random
from copy import deepcopy
from dataclasses import replace
from typing import Any

import pytest

from tests.engine.evidence import BARQ, Recorded, broken, healthy, policy, recorded, table
from watchdog.core.model import Outcome
from watchdog.engine import replay
from watchdog.engine.replay_csv import read_csv
from watchdog.engine.replay_journal import Journal, differences, journal_of, looks_like_json, read_journal
from watchdog.engine.replay_policy import under
from watchdog.errors import ConfigError
from watchdog.ports import Record

EPOCH = 1_790_000_000.123456


def live(rows_until: float = 900.0, *, share: float = 1.0) -> Recorded:
    """A watch with an outage after five minutes, at an epoch of today."""
    evidence = read_csv(table(broken(healthy(rows_until), after=300.0, share=share)), "x", BARQ)
    opening = replay.opening_of(BARQ, ends_s=None)
    moved = replace(opening, at=EPOCH, cutover_at=EPOCH, ends_at=EPOCH + rows_until, watch="w7f3k2")
    events = [
        replace(
            event,
            at=EPOCH + event.at + 0.37,
            samples=tuple(
                replace(s, start=EPOCH + s.start, end=EPOCH + s.end, seen=EPOCH + s.seen + 0.37) for s in event.samples
            ),
        )
        for event in replay.batches(evidence.samples)
    ]
    return recorded(moved, events)


@pytest.fixture(scope="module")
def outage() -> Recorded:
    found = live()
    assert found.watch.outcome is Outcome.ROLLED_BACK
    return found


def lines(rows: list[dict[str, Any]]) -> str:
    return "".join(json.dumps(row) + "\n" for row in rows)


def refold(journal: Journal) -> replay.Judgement:
    return replay.refold(journal.opening, journal.events)


# --- reproduced ---------------------------------------------------------------------------------------------------


def test_json_lines_of_the_api_give_the_same_decisions(outage: Recorded) -> None:
    journal = read_journal(lines(outage.rows), "w.jsonl")
    judged = refold(journal)
    assert differences(journal, judged) == []
    assert judged.outcome is Outcome.ROLLED_BACK
    assert judged.reason == outage.watch.reason
    assert [d.reason for d in judged.decisions] == [d.reason for d in outage.watch.decisions]


@pytest.mark.parametrize("share", [0.0, 0.05, 1.0])
def test_the_whole_report_is_compared_decision_by_decision(share: float) -> None:
    made = live(share=share)
    journal = read_journal(json.dumps(made.report, indent=2), "report.json")
    assert journal.shown == json.loads(json.dumps(made.shown))
    assert differences(journal, refold(journal)) == []


def test_a_list_and_records_in_any_order_and_pages_that_overlap_are_the_same_journal(outage: Recorded) -> None:
    rows = [*outage.rows, *outage.rows[10:20]]
    random.Random(3).shuffle(rows)
    one, other = read_journal(json.dumps(rows), "x"), read_journal(lines(outage.rows), "x")
    assert (one.opening, one.events) == (other.opening, other.events)


def test_records_of_a_store_are_replayed(outage: Recorded) -> None:
    records = [
        Record(
            stream="watch/w7f3k2",
            seq=row["seq"],
            epoch=1,
            at=event.at,
            seen_at=event.at,
            kind=row["kind"],
            schema=row["schema"],
            body=row["body"],
        )
        for row, event in zip(outage.rows, [outage.opening, *outage.events], strict=True)
    ]
    journal = journal_of(records, "watch w7f3k2", outage.shown)
    assert differences(journal, refold(journal)) == []


def test_a_journal_of_an_open_watch_has_no_outcome_yet() -> None:
    made = live()
    cut = [row for row in made.rows if row["seq"] < 40]
    judged = refold(read_journal(lines(cut), "x"))
    assert judged.outcome is None
    assert judged.watch.open


# --- not reproduced -----------------------------------------------------------------------------------------------


def test_a_write_that_nothing_asked_for_is_told(outage: Recorded) -> None:
    rows = deepcopy(outage.rows)
    for row in rows:
        if row["kind"] == "sampled":
            for sample in row["body"]["samples"]:
                if sample[6] == "c":
                    sample[7] = 0.0
    journal = read_journal(lines(rows), "x")
    found = differences(journal, refold(journal))
    assert any("which the replay did not ask for" in line for line in found), found


def test_a_rollback_that_the_journal_goes_on_without_is_told(outage: Recorded) -> None:
    written = next(i for i, row in enumerate(outage.rows) if row["kind"] == "traffic_written")
    rows = outage.rows[:written]
    later = {**rows[-1], "seq": rows[-1]["seq"] + 1, "kind": "ticked", "body": {}, "at": "2026-09-21T15:00:00.000Z"}
    opening = deepcopy(rows[0])
    opening["body"]["ends_at"] = None
    journal = read_journal(lines([opening, *rows[1:], later]), "x")
    found = differences(journal, refold(journal))
    assert any("which the journal goes on without" in line for line in found), found


@pytest.mark.parametrize(
    "change, told",
    [
        ({"outcome": "passed"}, 'outcome: live "passed", replayed "rolled_back"'),
        ({"reason": "Nobody knows."}, 'reason: live "Nobody knows."'),
        ({"decisions": []}, "decision 1: live none, replayed rollback"),
    ],
)
def test_what_was_decided_otherwise_is_told(outage: Recorded, change: dict[str, Any], told: str) -> None:
    journal = read_journal(json.dumps({**outage.report, "watch": {**outage.shown, **change}}), "x")
    found = differences(journal, refold(journal))
    assert len(found) == 1
    assert found[0].startswith(told)


# --- under another policy -----------------------------------------------------------------------------------------


def test_a_journal_is_under_its_own_policy_in_whatever_region(outage: Recorded) -> None:
    journal = read_journal(lines(outage.rows), "x")
    elsewhere = BARQ.model_copy(update={"service": BARQ.service.model_copy(update={"regions": ("europe-west1",)})})
    assert journal.is_under(BARQ)
    assert journal.is_under(elsewhere)
    assert not journal.is_under(policy())


def test_another_policy_decides_on_the_evidence_there_is(outage: Recorded) -> None:
    journal = read_journal(lines(outage.rows), "x")
    lenient = policy(success_criteria=[{"metric": "error_rate", "target": "< 1%", "action": "investigate"}])
    judged = replay.judge(*under(lenient, journal.opening, journal.events))
    assert [d.action for d in judged.decisions] == ["investigate"]
    strict = replay.judge(*under(policy(), journal.opening, journal.events))
    assert strict.outcome is Outcome.ROLLED_BACK


def test_a_journal_that_goes_on_is_judged_on_what_it_saw_so_far() -> None:
    made = live(share=0.0)
    until = next(i for i, row in enumerate(made.rows) if row["at"] >= "2026-09-21T14:20:00")
    journal = read_journal(lines(made.rows[:until]), "x")
    assert refold(journal).outcome is None
    judged = replay.judge(*under(policy(), journal.opening, journal.events))
    assert judged.outcome is Outcome.PASSED
    assert 390.0 < judged.ended_s < 400.0


# --- refused ------------------------------------------------------------------------------------------------------


def problems(text: str) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        read_journal(text, "w.jsonl")
    return list(caught.value.problems)


def test_every_broken_line_is_told_at_once(outage: Recorded) -> None:
    good = json.dumps(outage.rows[0])
    assert [p.split(": ")[0] for p in problems(f"{good}\n{{nonsense\n\n{{more\n")] == ["w.jsonl:2", "w.jsonl:4"]


@pytest.mark.parametrize(
    "row, told",
    [
        ([1, 2], 'w.jsonl:2: is no journal record: it needs "kind", "at", "schema" and "body"'),
        ({"kind": "ticked", "at": "noon", "body": {}}, 'w.jsonl:2: "at" is "noon", which is neither ISO 8601 nor'),
        ({"kind": "ticked", "at": None, "body": {}}, 'w.jsonl:2: "at" is nothing'),
        ({"kind": "ticked", "at": 1.0, "schema": "1", "body": {}}, 'w.jsonl:2: "schema" and "seq" have to be whole'),
        ({"kind": "danced", "at": 1.0, "schema": 1, "body": {}}, "w.jsonl:2: unknown event kind 'danced'"),
        ({"kind": "sampled", "at": 1.0, "schema": 99, "body": {}}, "w.jsonl:2: sampled has schema 99"),
        ({"kind": "sampled", "at": 1.0, "schema": 1, "body": {}}, "w.jsonl:2: the sampled event at 1.0"),
        (
            {"kind": "sampled", "at": 1.0, "schema": 1, "body": {"samples": [[1]]}},
            "w.jsonl:2: the sampled event at 1.0 in the journal is damaged",
        ),
    ],
)
def test_a_record_that_cannot_be_read_is_told_with_its_line(outage: Recorded, row: Any, told: str) -> None:
    first = {k: v for k, v in outage.rows[0].items() if k != "seq"}
    found = problems(f"{json.dumps(first)}\n{json.dumps(row)}\n")
    assert found[0].startswith(told), found


def test_a_journal_has_to_be_whole(outage: Recorded) -> None:
    rows = outage.rows
    assert "does not begin with watch_opened" in problems(lines(rows[1:]))[0]
    assert "2 records before number 6 are missing" in problems(lines([*rows[:3], *rows[5:]]))[0]
    assert "has no record" in problems("[]")[0]
    twice = [{k: v for k, v in row.items() if k != "seq"} for row in (rows[0], rows[0])]
    assert "opens another watch" in problems(lines(twice))[0]
    assert "like another record that differs" in problems(lines([rows[0], rows[1], {**rows[2], "seq": 2}]))[0]


def test_json_is_told_from_a_table() -> None:
    assert looks_like_json('\ufeff \n{"kind": 1}')
    assert looks_like_json("[]")
    assert not looks_like_json("start_s,end_s")
    assert not looks_like_json("")
