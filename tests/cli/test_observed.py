"""`history` and `status` say what automatic would have done in the watches that only observed."""

import json
from pathlib import Path
from typing import Any

import pytest

from tests.cli.conftest import Run
from tests.cli.stored import keep
from tests.web import views


def observing(number: int) -> dict[str, Any]:
    shown = views.watching() if number == 0 else views.rolled_back()
    reason = "Would roll back barq-fleet-api (us-central1) from b to a 100 %: it failed."
    return {
        **shown,
        "id": f"seen{number:03}",
        "mode": "observe",
        "opened_at": f"2026-09-{20 - number:02}T10:00:00.000Z",
        "would_roll_back": reason if number == 3 else "",
    }


def test_after_ten_of_them(tmp_path: Path, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WATCHDOG_URL", "http://127.0.0.1:9")
    keep(tmp_path / "watchdog.db", *(observing(i) for i in range(11)))
    said = "automatic would have rolled back 1 (1 unmarked) and left 9 alone"
    assert said in run("history").out
    assert said in run("status").out
    told = json.loads(run("history", "--json").out)["observed"]["barq-fleet/us-central1/barq-fleet-api"]
    assert (told["watches"], told["would_roll_back"], told["unmarked"]) == (10, 1, 10)
    assert run("history", "--mark", "seen003", "right").code == 0
    assert "rolled back 1 (1 right)" in run("history").out
