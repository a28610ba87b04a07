"""A broken workflow behind green probes: found by a journey on the real loop, confirmed, rolled back, proven mended."""

from pathlib import Path

import pytest

from tests.engine.world import BAD, GOOD, emulated, eventually, kept, policy_text
from watchdog.core.policy import Policy
from watchdog.emulator.faults import Fault
from watchdog.policy_file import parse_policy

JOURNEY = """\
timeout: 1500ms
step_timeout: 1s
steps:
  - {name: log in, path: /api/v1/auth/login, json: {user: a}, capture: {token: {jmespath: token}}}
  - name: hire
    path: /api/v1/couriers
    headers: {Authorization: "Bearer ${token}"}
    json: {name: "n ${run}"}
    expect: {status: 201}
    capture: {id: {jmespath: id}}
cleanup:
  - {name: fire, method: DELETE, path: "/api/v1/couriers/${id}", headers: {Authorization: "Bearer ${token}"},
     expect: {status: 204}}
"""
BROKEN = Fault(kind="status", status=500, paths=("/api/v1/couriers",), methods=("POST",))


def policy(folder: Path, journey: str = JOURNEY) -> Policy:
    (folder / "hire.yaml").write_text(journey)
    text = policy_text() + '    - "journeys failing"\n'
    text += "journeys: {hire: {file: hire.yaml, every: 1500ms, confirm: {failures: 2, every: 300ms}}}\n"
    return parse_policy(text, folder / "policy.yaml").policy


async def test_a_workflow_that_broke_is_rolled_back_while_health_is_green(tmp_path: Path) -> None:
    async with emulated() as cloud, kept(cloud, tmp_path / "w.db", policy(tmp_path)) as house:
        await eventually(lambda: "journey.hire" in house.keeper.service.armed, "the journey is armed")
        await cloud.deploy(BAD, BROKEN)
        runner = await house.watching(BAD)
        watch = await house.ended(runner)
        assert watch.outcome == "rolled_back", watch.reason
        assert "journey hire failed 2 times in a row" in watch.reason
        assert "step hire: answered 500, expected 201" in watch.reason
        assert cloud.split == {GOOD: 100}
        assert watch.rollback is not None
        assert watch.rollback.passes["journey.hire"] >= 1
        assert not house.events("probe_failed") or {e["probe"] for e in house.events("probe_failed")} == {
            "journey.hire"
        }


async def test_without_its_secrets_it_is_left_out_and_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    secret = JOURNEY.replace("{user: a}", '{user: a, password: "${secret.nobody_set_it}"}')
    async with emulated() as cloud, kept(cloud, tmp_path / "w.db", policy(tmp_path, secret)) as house:
        await cloud.deploy(BAD)
        runner = await house.watching(BAD)
        assert any("WATCHDOG_JOURNEY__NOBODY_SET_IT" in note for note in runner.watch.notes)
        assert "journey.hire" not in {ask.probe for ask in runner.plan.asks}
