"""`rollback.scope: all`: proof in one region counts in the others, and never for what is not exactly the same."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.core.drive import CONTROL, DOWN, KEY, NEW, OK, OLD, T0, TEXT, Drive, opening
from watchdog.core.events import FellElsewhere, Operated, Ticked, TrafficSeen
from watchdog.core.model import Deploy, Outcome, Split, State
from watchdog.core.policy import Policy
from watchdog.core.probing import Role
from watchdog.core.report import view
from watchdog.core.spread import find
from watchdog.core.state import Watch
from watchdog.core.watch import replay
from watchdog.policy_file import parse_policy

THERE = "us-east1"
DEPLOY = Deploy(service=KEY, revision=NEW, fingerprint="f1", image="r/api@sha256:aa")
WORD = FellElsewhere(at=T0 + 30, region=THERE, watch="w0", proof="health_check failing: 5 in a row")


def policy(mode: str = "automatic", scope: str = "all") -> Policy:
    text = TEXT.format(mode=mode).replace("region: europe-west1", f"regions: [europe-west1, {THERE}]")
    return parse_policy(text.replace("rollback:\n", f"rollback:\n  scope: {scope}\n"), Path("p.yaml")).policy


def here(mode: str = "automatic", *, scope: str = "all", **changes: Any) -> Drive:
    p = policy(mode, scope)
    values = {"policy": p.canonical(), "policy_hash": p.hash, "deploy": DEPLOY, "tags": CONTROL, **changes}
    return Drive(opening(**values))


def there(**changes: Any) -> dict[str, Any]:
    """The other region's watch, rolled back on proof, as it is read."""
    drive = here(watch="w0", deploy=replace(DEPLOY, service=replace(KEY, region=THERE)), **changes)
    drive.healthy(0, 10)
    drive.hard_down(10)
    drive.restored(16)
    return view(drive.watch)


FELL = there()


def found(watch: Watch | None = None, **changes: Any) -> FellElsewhere | None:
    return find(here().watch if watch is None else watch, [{**FELL, **changes}], T0 + 30)


# --- what counts ------------------------------------------------------------------------------------------------


def test_a_rollback_on_proof_of_exactly_the_same_counts() -> None:
    assert FELL["rollback"]["trigger"] == "health_check failing"
    word = found()
    assert word is not None
    assert (word.region, word.watch) == (THERE, "w0")
    assert word.proof.startswith("health_check failing")
    for state in ("settling", "verifying", "done"):
        assert found(rollback={**FELL["rollback"], "state": state})


@pytest.mark.parametrize(
    "changes",
    [
        {"fingerprint": "f2"},
        {"fingerprint": ""},
        {"region": KEY.region},
        {"region": "asia-east1"},
        {"rollback": None},
        {"outcome": "failed"},
        *(
            {"rollback": {**FELL["rollback"], **part}}
            for part in (
                {"state": "writing"}, {"state": "trial"}, {"state": "failed"}, {"state": "observed"},
                {"written_at": "2026-09-21T13:57:00Z"},
                {"trigger": "operator"}, {"trigger": "region:asia-east1"}, {"written_at": None},
            )
        ),
    ],
)  # fmt: skip
def test_nothing_else_does(changes: dict[str, Any]) -> None:
    assert found(**changes) is None


def sick_there() -> Drive:
    """In the other region both revisions are sick: an outage of that region."""
    drive = here(watch="w0", deploy=replace(DEPLOY, service=replace(KEY, region=THERE)))
    drive.healthy(0, 30)
    drive.hard_down(30, control=DOWN)
    assert drive.watch.hold is not None
    assert drive.watch.hold.kind == "shared"
    return drive


def test_an_outage_of_one_region_takes_nothing_back_in_the_others() -> None:
    by_hand, by_time, well = sick_there(), sick_there(), sick_there()
    by_hand.put(Operated(at=T0 + 40, verb="rollback", by="jane"))
    by_hand.restored(42)
    for k in range(5, 135):
        for drive in (by_time, well):
            drive.confirm(DOWN if drive is by_time else OK, 30 + k - 0.2, k, Role.CONTROL)
            drive.confirm(DOWN, 30 + k, k)
    by_time.restored(170)
    well.restored(170)
    for drive in (by_hand, by_time):
        assert drive.watch.rollback is not None
        assert find(here().watch, [view(drive.watch)], T0 + 200) is None
        assert not any("goes back there too" in m["did"] for m in drive.messages("decision"))
    assert find(here().watch, [view(well.watch)], T0 + 200), "the control there passed again, so it was a proof"


def test_neither_under_scope_region_nor_without_a_fingerprint_nor_twice() -> None:
    assert found(here(scope="region").watch) is None
    assert found(here(deploy=replace(DEPLOY, fingerprint="")).watch) is None
    told = here()
    told.put(WORD)
    assert found(told.watch) is None


# --- what is done with it ---------------------------------------------------------------------------------------


def test_it_is_rolled_back_at_once_and_says_which_region_it_was() -> None:
    drive = here()
    drive.healthy(0, 30)
    drive.put(WORD)
    rollback = drive.watch.rollback
    assert rollback is not None
    assert (rollback.trigger.criterion, rollback.step) == (f"region:{THERE}", "whole")
    drive.restored(32)
    assert any("rolled back in us-east1 (rollback.scope: all): health_check failing" in m["happened"]
               for m in drive.messages("decision", "rolled_back"))  # fmt: skip
    assert view(drive.watch)["elsewhere"] == {"region": THERE, "watch": "w0"}


def test_the_first_region_says_that_the_others_follow() -> None:
    drive = here()
    drive.healthy(0, 10)
    drive.hard_down(10)
    drive.restored(16)
    (page,) = drive.messages("decision")
    assert "exactly the same runs in us-east1, it goes back there too" in page["did"]


@pytest.mark.parametrize(
    "drive, state",
    [
        (here("approve"), State.AWAITING_APPROVAL),
        (here(deploy=replace(DEPLOY, rollback_safe=False)), State.HELD),
    ],
)
def test_what_bounds_any_rollback_bounds_this_one(drive: Drive, state: State) -> None:
    drive.healthy(0, 30)
    drive.put(WORD)
    assert drive.watch.state is state
    assert drive.watch.rollback is None


def test_a_pause_and_a_persons_hold_are_waited_for() -> None:
    for verb in ("pause", "hold"):
        drive = here()
        drive.healthy(0, 30)
        drive.put(Operated(at=T0 + 30, verb=verb, by="jane"))
        drive.put(WORD)
        drive.put(Ticked(at=T0 + 40))
        assert drive.watch.rollback is None, verb
        drive.put(Operated(at=T0 + 50, verb="resume", by="jane"))
        drive.put(Ticked(at=T0 + 51))
        assert drive.watch.rollback is not None, verb


def test_a_budget_that_is_used_up_is_decided_again_and_still_knows_why() -> None:
    drive = here()
    drive.healthy(0, 30)
    drive.put(WORD)
    drive.written(31, "refused", reason="cooldown", retry_at=T0 + 200)
    assert drive.watch.state is State.HELD
    drive.put(Ticked(at=T0 + 201))
    assert drive.watch.rollback is not None
    assert drive.watch.rollback.trigger.criterion == f"region:{THERE}"


def test_a_release_without_traffic_here_yet_goes_back_when_it_gets_some() -> None:
    drive = here(cutover_at=None, split=Split.of({OLD: 100}))
    drive.put(WORD)
    assert drive.watch.rollback is None
    drive.put(TrafficSeen(at=T0 + 60, split=Split.of({NEW: 100}), tags=CONTROL))
    drive.put(Ticked(at=T0 + 61))
    assert drive.watch.rollback is not None


def test_what_was_rolled_back_here_already_is_not_touched_again() -> None:
    drive = here()
    drive.healthy(0, 10)
    drive.hard_down(10)
    drive.restored(16)
    before = drive.watch.rollback
    drive.put(WORD)
    assert drive.watch.rollback is not None
    assert before is not None
    assert drive.watch.rollback.trigger == before.trigger


@given(st.lists(st.sampled_from(["word", "pause", "resume", "hold", "down", "ok", "away", "tick"]), max_size=14))
def test_whatever_happens_beside_it_it_replays_and_is_rolled_back_at_most_once(steps: list[str]) -> None:
    drive = here()
    at = 30.0
    for step in steps:
        at += 3
        if step in {"pause", "resume", "hold"}:
            drive.put(Operated(at=T0 + at, verb=step, by="jane"))
        elif step in {"down", "ok"}:
            drive.hard_down(at) if step == "down" else drive.healthy(at, at + 1)
        elif step == "word":
            drive.put(replace(WORD, at=T0 + at))
        elif step == "away":
            drive.put(TrafficSeen(at=T0 + at, split=Split.of({OLD: 100}), tags=CONTROL))
        else:
            drive.put(Ticked(at=T0 + at))
    assert len([c for c in drive.commands if type(c).__name__ == "Restore"]) <= 1
    again, commands = replay(drive.events)
    assert again == drive.watch
    assert commands == drive.commands
    if drive.watch.outcome is Outcome.OVERRIDDEN:
        assert drive.watch.ended_at is not None


def test_both_sick_here_is_no_reason_to_go_back() -> None:
    """A hold of this region's own evidence stands until it ends."""
    drive = here()
    drive.healthy(0, 30)
    drive.hard_down(30, control=DOWN)
    drive.put(replace(WORD, at=T0 + 36))
    assert drive.watch.hold is not None
    assert drive.watch.rollback is None
