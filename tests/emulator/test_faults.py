"""Fault scripts, without a network: time, paths and chance."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from watchdog.emulator.faults import Fault, FaultScript

START = 1_800_000_000.0


def started(*faults: Fault, at: float = START) -> FaultScript:
    script = FaultScript(faults)
    script.first_traffic_at = at
    return script


def test_faults_begin_and_end_on_the_revisions_own_clock() -> None:
    script = started(Fault(kind="status", after_s=10, for_s=5))

    actions = {at: script.effect("/", "id", START + at).action for at in (0, 9.9, 10, 14.9, 15)}

    assert actions == {0: "answer", 9.9: "answer", 10: "status", 14.9: "status", 15: "answer"}


def test_before_any_traffic_only_immediate_faults_act() -> None:
    """Bad code is bad at its tag, too; a fault that comes later has not begun to wait yet."""
    script = FaultScript((Fault(kind="slow", delay_ms=100), Fault(kind="status", after_s=1)))

    effect = script.effect("/", "id", START)

    assert (effect.action, effect.delay_s) == ("answer", 0.1)


def test_absolute_moments_need_no_traffic() -> None:
    script = FaultScript((Fault(kind="hang", at=START + 3, for_s=1),))

    assert [script.effect("/", "id", START + at).action for at in (2.9, 3.5, 4.1)] == ["answer", "hang", "answer"]


def test_leak_grows_with_every_minute() -> None:
    script = started(Fault(kind="leak", delay_ms=50, delay_ms_per_min=120, after_s=60))

    delays = [script.effect("/", "id", START + at).delay_s for at in (0, 60, 120, 360)]

    assert delays == pytest.approx([0, 0.05, 0.17, 0.65])


def test_first_fault_that_ends_a_request_wins() -> None:
    script = started(
        Fault(kind="slow", delay_ms=100), Fault(kind="status", status=500), Fault(kind="slow", delay_ms=900)
    )

    effect = script.effect("/", "id", START)

    assert (effect.action, effect.status, effect.delay_s) == ("status", 500, 0.1)


def test_one_client_can_bring_its_own_fault() -> None:
    script = started(Fault(kind="status", status=500, agents=("acme-sync",)))

    found = [script.effect("/", "id", START, agent=agent).action for agent in ("acme-sync/2.0", "Mozilla/5.0", "")]

    assert found == ["status", "answer", "answer"]
    assert not Fault(kind="down", agents=("acme-sync",)).takes_port_down


def test_only_calls_can_fail_by_their_grpc_status() -> None:
    script = started(Fault(kind="grpc", grpc_status=14))

    effects = [script.effect("/", "id", START, grpc=grpc) for grpc in (True, False)]

    assert [(e.action, e.status) for e in effects] == [("grpc", 14), ("answer", 200)]


def test_port_goes_down_only_for_a_fault_that_touches_everything() -> None:
    assert started(Fault(kind="down")).is_down(START)
    for narrower in ({"share": 0.5}, {"paths": ("/api",)}, {"users_only": True}):
        script = started(Fault.model_validate({"kind": "down", **narrower}))
        assert not script.is_down(START)
    assert started(Fault(kind="down", paths=("/api",))).effect("/api/v1", "id", START).action == "reset"


def test_next_change_names_every_edge_of_being_down() -> None:
    script = started(Fault(kind="down", after_s=5, for_s=2), Fault(kind="down", after_s=20), Fault(kind="hang"))

    assert [script.next_change(START + at) for at in (0, 5, 7, 20)] == [START + 5, START + 7, START + 20, None]


@given(share=st.floats(0.01, 0.99), seed=st.integers(0, 1000))
def test_share_is_the_share_of_requests(share: float, seed: int) -> None:
    script = FaultScript((Fault(kind="status", share=share),), seed=seed)

    failed = sum(script.effect("/", str(number), START).action == "status" for number in range(2000))

    assert failed / 2000 == pytest.approx(share, abs=0.07)


@given(request_id=st.text(max_size=20))
def test_same_request_meets_the_same_fate(request_id: str) -> None:
    """A connection pool may repeat a request; that must not give it a second throw of the dice."""
    script = FaultScript((Fault(kind="flaky", share=0.5),), seed=1)

    assert script.effect("/", request_id, START) == script.effect("/", request_id, START)


@pytest.mark.parametrize(
    "raw",
    [{"kind": "explode"}, {"kind": "slow", "delay": 5}, {"kind": "status", "share": 0}, {"kind": "down", "for_s": 0}],
)
def test_mistakes_in_a_script_are_errors(raw: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        Fault.model_validate(raw)
