"""Scaling up: only at the ceiling, never too far, never twice, measured again, and put back where it did not help."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.core.drive import NEW, OK, OLD, T0, TEXT, Drive, opening
from watchdog.core import watch as folding
from watchdog.core.acts import Hold, Trigger
from watchdog.core.beyond import ScaleMark
from watchdog.core.commands import Scale
from watchdog.core.events import Operated, Scaled
from watchdog.core.journal import decode, encode
from watchdog.core.model import Missing, RevisionState, ServiceState, Split, Value
from watchdog.core.report import view
from watchdog.core.report_text import markdown
from watchdog.core.scaling_plan import DEFAULT_MAX, Keep, Raise, plan
from watchdog.core.state import Watch
from watchdog.policy_file import parse_policy

ROWS = '  - {{metric: cpu_usage, warning: "> 75%", critical: "> 90%", action: scale_up}}'
SCALE = "scale_up: {max_instances: 20, measure_after: 20m}\n"
DATABASE = """\
metrics:
  db_connections: {source: cloud_sql, instance: fleet-db}
  redis_memory: {source: memorystore, instance: fleet-redis}
"""


def scaling(mode: str = "automatic", more: str = SCALE, rows: str = ROWS) -> Drive:
    text = TEXT.replace('  - {{metric: memory_usage, warning: "> 75%", action: scale_up}}', rows).format(mode=mode)
    policy = parse_policy(text + more, Path("policy.yaml")).policy
    return Drive(opening(policy=policy.canonical(), policy_hash=policy.hash))


def busy(drive: Drive, cpu: float = 0.95, instances: float = 4.0, *, since: int = 1, minutes: int = 4) -> None:
    for minute in range(since, since + minutes):
        drive.sample("instances", Value(instances), minute * 60, minute * 60 + 60)
        drive.sample("cpu_usage", Value(cpu), minute * 60, minute * 60 + 60)


def scales(drive: Drive) -> int:
    return sum(isinstance(c, Scale) for c in drive.commands)


def put(drive: Drive, result: str, at_s: float, **changes: Any) -> None:
    values: dict[str, Any] = {"reason": "cap 20", "before": 4, "after": 6, "command": "gcloud …", **changes}
    drive.put(Scaled(at=T0 + at_s, result=result, **values))


# --- what happens when ----------------------------------------------------------------------------------------------


def test_it_is_written_once_and_kept_when_the_row_clears() -> None:
    drive = scaling()
    busy(drive)
    assert scales(drive) == 1, "two rows of one metric are one attempt"
    assert not drive.messages("warning"), "what is said waits for how the write ends"
    put(drive, "done", 482)
    said = drive.messages("warning")[0]
    assert said["title"] == "Scaling up: api (europe-west1): 4 to 6 instances"
    assert "95 %" in said["happened"]
    assert "with 4 instances" in said["happened"]
    busy(drive, 0.5, 6.0, since=6, minutes=5)
    assert drive.watch.scalings[-1].stage == "helped"
    last = drive.messages("note")[-1]
    assert "cpu_usage 95 % with 4 instances before, 50 % with 6 instances after" in last["happened"]
    assert "--max 4" in last["todo"]
    assert scales(drive) == 1


def test_what_does_not_help_is_put_back_and_somebody_is_woken() -> None:
    drive = scaling()
    busy(drive)
    put(drive, "done", 482)
    busy(drive, 0.95, 6.0, since=6, minutes=25)
    drive.tick(482 + 1201)
    assert scales(drive) == 2
    assert drive.watch.scalings[-1].stage == "reverting"
    put(drive, "reverted", 1690, before=4, after=4)
    page = drive.messages("warning")[-1]
    assert page["title"].startswith("Scaled up, and it did not help")
    assert page["severity"] == "error"
    assert page["incident"] is not None
    assert page["did"] == "Put the service's maximum back from 6 to 4 instances."
    assert "95 % with 4 instances before, 95 % with 6 instances after" in page["happened"]
    drive.tick(3000)
    assert drive.watch.incident is not None
    assert drive.watch.incident.open, "the row is still broken, so nobody says that it is over"


def test_somebody_elses_word_stands() -> None:
    drive = scaling()
    busy(drive)
    put(drive, "done", 482)
    busy(drive, 0.95, 6.0, since=6, minutes=25)
    drive.tick(482 + 1201)
    put(drive, "left", 1690, reason="somebody else changed it since (it is 50)")
    assert drive.watch.scalings[-1].stage == "left"
    assert "it is 50" in drive.messages("warning")[-1]["did"]


def test_silence_is_no_reason_to_put_it_back() -> None:
    drive = scaling()
    busy(drive)
    put(drive, "done", 482)
    for minute in range(6, 30):
        drive.sample("cpu_usage", Missing("source_error"), minute * 60, minute * 60 + 60)
    # What was measured before the write came late, and says nothing of after it.
    drive.tick(482 + 1201)
    assert scales(drive) == 1
    assert drive.watch.scalings[-1].stage == "left"
    assert "result not known" in drive.messages("warning")[-1]["title"]


@pytest.mark.parametrize("result", ["refused", "failed", "observed"])
def test_what_is_not_written_is_asked_of_a_person_with_the_command(result: str) -> None:
    drive = scaling()
    busy(drive)
    put(drive, result, 482, reason="no room", before=0, after=0, command="gcloud run services update api --max 6")
    said = drive.messages("warning")[-1]
    assert "no room" in said["did"]
    assert said["todo"] == "`gcloud run services update api --max 6`."
    assert "no room" in markdown(view(drive.watch), ())


def test_what_was_refused_is_judged_again_while_the_row_is_broken_and_said_once() -> None:
    """Instances may come to their maximum later than CPU comes to its limit."""
    drive = scaling()
    busy(drive, instances=3.0)
    put(drive, "refused", 482, reason="3 of at most 4 instances run", before=0, after=0)
    said = len(drive.messages("warning"))
    busy(drive, since=5, minutes=9)
    assert scales(drive) == 2
    put(drive, "refused", 810, reason="3 of at most 4 instances run", before=0, after=0)
    assert len(drive.messages("warning")) == said
    busy(drive, since=14, minutes=6)
    assert scales(drive) == 3
    assert len(drive.watch.scalings) == 1
    put(drive, "done", 1400)
    assert drive.messages("warning")[-1]["title"].startswith("Scaling up")


def test_a_row_that_flaps_is_told_once_and_counted() -> None:
    drive = scaling(rows='  - {{metric: cpu_usage, warning: "> 75%", action: scale_up}}')
    for turn in range(3):
        at = 1 + turn * 12
        busy(drive, since=at)
        drive.tick((at + 3) * 60 + 245)
        put(drive, "refused", (at + 3) * 60 + 246, reason="no room", before=0, after=0)
        busy(drive, 0.3, 2.0, since=at + 4, minutes=6)
    assert len(drive.watch.scalings) == 3
    assert [s.number for s in drive.watch.scalings] == [1, 2, 3]
    assert len(drive.messages("warning")) == 1
    assert drive.watch.muted == {"cpu_usage > 75%": 2}


def test_a_peak_that_keeps_other_messages_back_asks_for_instances_all_the_same() -> None:
    drive = scaling()
    busy(drive, minutes=3)
    held = Hold(
        reason="a peak", since=T0, trigger=Trigger(criterion="health_check failing", sentence="x"), kind="capacity"
    )
    drive.watch = replace(drive.watch, hold=held)
    busy(drive, since=4, minutes=2)
    assert scales(drive) == 1


def test_a_person_approves_it() -> None:
    drive = scaling("approve")
    busy(drive)
    put(drive, "asked", 482)
    asked = drive.messages("warning")[-1]
    assert "watchdog signoff w1 scale_up" in asked["todo"]
    drive.put(Operated(at=T0 + 500, verb="signoff", by="ada", name="scale_up"))
    assert scales(drive) == 2
    assert drive.watch.scalings[-1].by == "ada"
    assert not drive.watch.signed, "it was an approval, not an answer to a question"
    put(drive, "done", 501)
    assert "ada approved it" in drive.messages("warning")[-1]["did"]


def test_nobody_approves_it() -> None:
    drive = scaling("approve")
    busy(drive)
    put(drive, "asked", 482)
    busy(drive, since=5, minutes=20)
    assert drive.watch.scalings[-1].stage == "refused"
    assert scales(drive) == 1
    drive.put(Operated(at=T0 + 1700, verb="signoff", by="ada", name="scale_up"))
    assert scales(drive) == 1


@pytest.mark.parametrize("more", ["", SCALE])
def test_nothing_is_written_while_paused_or_without_the_section(more: str) -> None:
    drive = scaling(more=more)
    if more:
        drive.operate("pause", 30)
    busy(drive)
    assert scales(drive) == 0
    assert "gcloud run services describe api" in drive.messages("warning")[-1]["todo"]


def test_what_is_no_instance_of_cloud_run_gets_its_exact_command() -> None:
    rows = """\
  - {{metric: db_connections, warning: "> 80%", action: scale_up}}
  - {{metric: redis_memory, warning: "> 70%", action: scale_up}}"""
    sizes = SCALE.replace("20m", "20m, next_size: {fleet-db: db-custom-4-15360}")
    drive = scaling(more=DATABASE + sizes, rows=rows)
    for minute in range(1, 6):
        drive.sample("db_connections", Value(0.9), minute * 60, minute * 60 + 60, revision="")
        drive.sample("redis_memory", Value(0.9), minute * 60, minute * 60 + 60, revision="")
    assert scales(drive) == 0
    todo = " ".join(m["todo"] for m in drive.messages("warning"))
    assert "gcloud sql instances patch fleet-db --project acme --tier db-custom-4-15360" in todo
    assert "gcloud redis instances update fleet-redis --project acme --region europe-west1 --size GB" in todo


def test_a_rollback_ends_the_measuring_and_the_report_says_what_is_left() -> None:
    drive = scaling()
    drive.healthy(0, 480)
    busy(drive)
    put(drive, "done", 482)
    drive.hard_down(790)
    drive.restored(796)
    assert drive.watch.scalings[-1].stage == "left"
    assert "rolled back before it could be measured" in drive.watch.scalings[-1].reason
    drive.verify(OK, 804)
    drive.operate("finish", 820)
    left = dict(drive.messages("rolled_back")[-1]["evidence"])["maximum of instances"]
    assert left.startswith("6, was 4")
    assert "--max 4" in left


def test_every_step_replays_from_the_journal() -> None:
    drive = scaling()
    busy(drive)
    put(drive, "done", 482)
    busy(drive, 0.95, 6.0, since=6, minutes=25)
    put(drive, "reverted", 1690)
    read = []
    for event in drive.events:
        kind, schema, body = encode(event)
        read.append(decode(kind, schema, event.at, body))
    again, _ = folding.replay(read)
    assert again is not None
    assert view(again) == view(drive.watch)


# --- may it be? ------------------------------------------------------------------------------------------------------


def watched(instances: float | None = 4.0, connections: float | None = None, **policy: str) -> Watch:
    rows = ROWS
    more = SCALE
    if connections is not None:
        rows += '\n  - {{metric: db_connections, warning: "> 80%", action: investigate}}'
        more += DATABASE
    drive = scaling(more=policy.get("more", more), rows=rows)
    for minute in range(1, 5):
        if instances is not None:
            drive.sample("instances", Value(instances), minute * 60, minute * 60 + 60)
        if connections is not None and connections >= 0:
            drive.sample("db_connections", Value(connections), minute * 60, minute * 60 + 60, revision="")
        drive.sample("cpu_usage", Value(0.95), minute * 60, minute * 60 + 60)
    return drive.watch


def service(most: int = 4, *, split: dict[str, int] | None = None, times: tuple[float, ...] = ()) -> ServiceState:
    serving = Split.of(split or {NEW: 100})
    return ServiceState(
        project="acme", region="europe-west1", name="api", url="https://api.example", split=serving, desired=serving,
        tags=(), latest_created=NEW, latest_ready=NEW, generation=1, observed_generation=1, resource_version="1",
        ready=True, max_instances=most, scaled=ScaleMark(times=times) if times else None,
    )  # fmt: skip


def revision(most: int = 0) -> RevisionState:
    return RevisionState(name=NEW, ready=True, max_instances=most)


AT = T0 + 482


def test_it_goes_up_by_half_within_the_cap() -> None:
    found = plan(watched(), service(4), revision(), AT)
    assert isinstance(found, Raise)
    assert (found.before, found.after) == (4, 6)
    assert found.command.endswith("--max 6")


@pytest.mark.parametrize(
    "now, most, own, changes, said",
    [
        (3.0, 4, 0, {}, "3 of at most 4 instances run"),
        (None, 4, 0, {}, "how many instances run is not known"),
        (4.0, 4, 0, {"split": {NEW: 90, OLD: 10}}, "the traffic is split"),
        (4.0, 4, 0, {"times": (AT - 10, AT - 20, AT - 30)}, "which is the budget (3)"),
        (20.0, 20, 0, {}, "the policy's cap is reached"),
        (4.0, 0, 4, {}, "to raise that makes a new revision"),
        (100.0, 0, 0, {}, "the default"),
        (4.0, 10, 4, {}, "to raise that makes a new revision"),
    ],
)
def test_why_it_is_not_written(now: float | None, most: int, own: int, changes: dict[str, Any], said: str) -> None:
    found = plan(watched(now), service(most, **changes), revision(own), AT)
    assert isinstance(found, Keep)
    assert said in found.reason


def test_a_maximum_that_is_not_set_is_never_small() -> None:
    """Zero and missing mean Cloud Run's default: three instances are nowhere near it."""
    found = plan(watched(3.0), service(0), revision(0), AT)
    assert isinstance(found, Keep)
    assert f"3 of at most {DEFAULT_MAX}" in found.reason


def test_the_database_bounds_it() -> None:
    found = plan(watched(4.0, 0.6), service(4), revision(), AT)
    assert isinstance(found, Raise)
    assert found.after == 5, "6 instances would hold 90 % of the connections, and the limit is 80 %"
    full = plan(watched(4.0, 0.75), service(4), revision(), AT)
    assert isinstance(full, Keep)
    assert "the database has no room" in full.reason
    unknown = plan(watched(4.0, -1.0), service(4), revision(), AT)
    assert isinstance(unknown, Keep)
    assert "connections are not known" in unknown.reason


WATCHES = {c: watched(4.0, c) for c in (None, 0.1, 0.3, 0.6, 0.79)}


@given(
    connections=st.sampled_from(sorted(WATCHES, key=str)),
    instances=st.floats(0.0, 120.0),
    most=st.integers(0, 200),
    own=st.integers(0, 200),
    spent=st.integers(0, 4),
    split=st.sampled_from(({NEW: 100}, {NEW: 50, OLD: 50})),
)
def test_it_is_never_raised_beyond_what_bounds_it(
    connections: float | None, instances: float, most: int, own: int, spent: int, split: dict[str, int]
) -> None:
    watch = replace(WATCHES[connections], instances=((AT - 200, instances),))
    state = service(most, split=split, times=tuple(AT - i for i in range(spent)))
    found = plan(watch, state, revision(own), AT)
    if isinstance(found, Keep):
        assert found.reason
        return
    assert most == found.before < found.after <= 20
    assert found.after <= (own or DEFAULT_MAX)
    assert instances >= most - 0.5
    assert spent < 3
    assert split == {NEW: 100}
    assert connections is None or connections / instances * found.after <= 0.8 + 1e-9
