"""`watchdog check`."""

import json
from pathlib import Path

import pytest

from tests.cli.conftest import ROOT, Run

BARQ = str(ROOT / "config" / "barq-fleet.yaml")


def test_a_valid_policy_is_shown_as_it_is_understood(run: Run) -> None:
    found = run("check", BARQ)
    assert found.code == 0
    assert "when more than 5% of requests slower than 500ms" in found.out
    assert found.out.rstrip().endswith(f"{BARQ}: valid")


def test_the_same_as_json(run: Run) -> None:
    found = run("check", BARQ, "--json")
    policy = json.loads(found.out)
    assert (found.code, policy["valid"], policy["problems"]) == (0, True, [])
    assert policy["file"] == BARQ
    assert {row["metric"] for row in policy["rows"]} >= {"error_rate", "health_check"}
    assert policy["warnings"] == []


def test_every_mistake_is_told_with_its_place_and_the_code_is_2(run: Run, tmp_path: Path) -> None:
    bad = tmp_path / "bad.yaml"
    bad.write_text("version: 1\nservice: {project: p, region: r, nmae: x}\nprobes:\n  a: {path: /a, timeout: -1s}\n")
    found = run("check", str(bad))
    assert found.code == 2
    assert found.out == ""
    assert f"error: {bad}:2: service.nmae: " in found.err
    assert f"error: {bad}:4: probes.a.timeout: " in found.err


def test_one_bad_file_among_several_is_enough(run: Run, tmp_path: Path) -> None:
    found = run("check", BARQ, str(tmp_path / "none.yaml"), "--json")
    assert found.code == 2
    good, bad = map(json.loads, found.out.splitlines())
    assert (good["valid"], bad["valid"]) == (True, False)
    assert "cannot be read: No such file or directory" in bad["problems"][0]


def test_a_file_has_to_be_named(run: Run) -> None:
    found = run("check")
    assert found.code == 2
    assert "Missing argument 'FILE...'" in found.err


SECRET_HEADER = """\
version: 1
service: {project: barq-fleet, region: us-central1, name: barq-fleet-api}
probes:
  health:
    path: /health
    headers: {X-Api-Key: "key ${BARQ_KEY}"}
success_criteria:
  - {metric: health_check, target: "100%", action: rollback}
"""


def test_a_secret_that_is_not_set_is_a_mistake_where_probes_are_sent_and_only_there(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WATCHDOG_DATABASE_URL", f"sqlite:///{tmp_path}/w.db")
    file = tmp_path / "p.yaml"
    file.write_text(SECRET_HEADER)

    assert run("check", str(file)).code == 0
    for verb in ("run", "watch", "preflight"):
        found = run(verb, "--config", str(file))
        assert found.code == 2
        assert (
            f"{file}:6: probes.health.headers.X-Api-Key: ${{BARQ_KEY}} is not set; set WATCHDOG_PROBE__BARQ_KEY, or a "
            "file of that name in WATCHDOG_SECRETS_DIR"
        ) in found.err
