"""`rollback.schema_label`: between revisions that declare different schemas nothing is rolled back by itself."""

from pathlib import Path
from typing import Any

import pytest

from tests.core.drive import BOTH, KEY, NEW, OK, OLD, T0, TEXT, Drive, opening
from watchdog.core import watch as folding
from watchdog.core.events import Noticed, Target
from watchdog.core.journal import decode, encode
from watchdog.core.model import Split
from watchdog.core.policy import Policy
from watchdog.errors import ConfigError
from watchdog.policy_file import parse_policy

OTHER = "api-00000-other"


def labelled(mode: str = "automatic") -> Policy:
    text = TEXT.format(mode=mode).replace("rollback:\n", "rollback:\n  schema_label: db-schema\n")
    return parse_policy(text, Path("policy.yaml")).policy


def drive(mode: str = "automatic", /, **schemas: str) -> Drive:
    names = {"new": NEW, "old": OLD, "other": OTHER}
    known = {names[k]: v for k, v in schemas.items()}
    return Drive(opening(policy=labelled(mode).canonical(), tags=BOTH, schemas=known))


def test_the_same_schema_is_rolled_back_to() -> None:
    same = drive(new="42", old="42")
    same.hard_down(60, control=OK)
    assert same.writes == 1


@pytest.mark.parametrize("mode", ["automatic", "approve"])
def test_another_schema_is_paged_with_the_way_out_and_held(mode: str) -> None:
    other = drive(mode, new="43", old="42")
    other.hard_down(60, control=OK)
    assert other.writes == 0
    assert other.ending == ("held", "failed")
    (page,) = other.messages("rollback_failed")
    assert f"{NEW} has the label db-schema: 43, while {OLD} says 42" in page["happened"]
    assert "undo the migration first, then `watchdog rollback w1" in page["todo"]
    assert page["incident"]["action"] == "trigger"


def test_signals_and_counts_respect_it_too() -> None:
    told = drive(new="43", old="42")
    told.signal("database_corruption", 60)
    assert (told.writes, told.ending) == (0, ("held", "failed"))
    counted = drive(new="43", old="42")
    for minute in range(1, 6):
        counted.counts(60, 60, 60.0 * minute, 60.0 * (minute + 1))
    counted.tick(1000)
    assert counted.writes == 0
    assert counted.ending == ("held", "failed")


def test_a_person_who_knows_better_may_roll_back_all_the_same() -> None:
    other = drive(new="43", old="42")
    other.signal("database_corruption", 60)
    other.operate("rollback", 90, reason="the migration is undone")
    assert other.writes == 1


@pytest.mark.parametrize("schemas", [{}, {"new": "43"}, {"old": "42"}])
def test_what_one_of_them_does_not_declare_is_taken_as_safe(schemas: dict[str, str]) -> None:
    silent = drive(**schemas)
    silent.hard_down(60, control=OK)
    assert silent.writes == 1


def test_a_target_that_the_notice_names_later_is_compared_as_well() -> None:
    told = drive(new="43", old="43", other="42")
    told.put(Noticed(at=T0 + 5, previous=Split.of({OTHER: 100})))
    told.hard_down(60, control=OK)
    assert told.writes == 0


def test_one_revision_of_a_split_with_another_schema_is_enough() -> None:
    mixed = Target(split=Split.of({OLD: 90, OTHER: 10}), source="discovery")
    first = opening(policy=labelled().canonical(), target=mixed, schemas={NEW: "43", OLD: "43", OTHER: "42"})
    split = Drive(first)
    split.hard_down(60)
    assert split.writes == 0


def test_a_journal_gives_the_schemas_back_and_an_old_one_has_none() -> None:
    first = opening(policy=labelled().canonical(), schemas={NEW: "43", OLD: "42"})
    kind, schema, body = encode(first)
    assert decode(kind, schema, first.at, body) == first
    old: dict[str, Any] = {key: value for key, value in body.items() if key != "schemas"}
    again = decode(kind, schema, first.at, old)
    watch, _ = folding.opened(again)  # type: ignore[arg-type]
    assert (watch.schemas, watch.deploy.service) == ({}, KEY)


def test_a_label_that_cloud_run_would_refuse_is_refused_in_the_policy() -> None:

    text = TEXT.format(mode="automatic").replace("rollback:\n", 'rollback:\n  schema_label: "Schema Version"\n')
    with pytest.raises(ConfigError, match="is not the name of a label of Cloud Run"):
        parse_policy(text, Path("policy.yaml"))
