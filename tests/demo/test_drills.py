"""Every drill of the house, as described and varied, in virtual time; and the verb as people use it."""

import asyncio
import json
from dataclasses import replace
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from benchmarks import drills
from tests.cli.conftest import ROOT, Run
from watchdog.demo.drill import Drill, Expect, all_drills, drill_names, load_drill
from watchdog.demo.rehearse import Played, rehearse_inside
from watchdog.demo.teller import Teller
from watchdog.demo.virtual import run_virtually
from watchdog.errors import ConfigError

SEEDS = {name: place for place, name in enumerate(drill_names())}
"""Each drill is played once, varied in its own way; `python -m benchmarks.drills` plays and counts many."""


def played(drill: Drill, folder: Path, seed: int) -> Played:
    teller = Teller(as_json=True, name="drill", tells=False)
    with capture_logs():
        return run_virtually(lambda: rehearse_inside(drill, teller=teller, folder=folder, seed=seed))


@pytest.mark.parametrize("name, seed", SEEDS.items(), ids=drill_names())
def test_it_ends_as_its_script_says(name: str, seed: int, tmp_path: Path) -> None:
    found = played(load_drill(name), tmp_path, seed)
    assert not found.wrong


@pytest.mark.parametrize("drill", all_drills(), ids=drill_names())
def test_it_says_everything(drill: Drill) -> None:
    assert drill.name in drill_names()
    for text in (drill.day, drill.others, drill.ours):
        assert text.endswith((".", ")"))
    assert sum(drill.expect.serving.values()) == 100


def test_a_drill_that_does_not_exist() -> None:
    with pytest.raises(ConfigError, match="no drill 'nonesuch'; there are"):
        load_drill("nonesuch")


def test_the_page_has_the_registrys_words() -> None:
    """`python -m benchmarks.drills NAME --write docs/drills.md` writes it anew."""
    written = Path("docs/drills.md").read_text(encoding="utf-8")
    rows = drills.rows_of(written)
    assert set(rows) == set(drill_names())
    assert written == drills.page(rows)
    assert all(row[2:5] == ("0", "0", "0") for row in rows.values())


@pytest.mark.drill
@pytest.mark.timeout(180)
async def test_the_verb_plays_one_between_processes(command: list[str]) -> None:
    process = await asyncio.create_subprocess_exec(
        *command, "drill", "hard-down", "--json", cwd=ROOT, stdout=asyncio.subprocess.PIPE
    )
    out, _ = await asyncio.wait_for(process.communicate(), 170)
    lines = [json.loads(line) for line in out.splitlines()]
    assert process.returncode == 0, lines
    assert [line["part"] for line in lines if "part" in line] == ["day", "others", "ours"]
    assert (lines[-1]["drill"], lines[-1]["ok"], lines[-1]["writes"]) == ("hard-down", True, 1)


def test_the_verb_lists_them(run: Run) -> None:
    assert [line.split()[0] for line in run("drill", "--list").out.splitlines()] == drill_names()
    assert [json.loads(line)["drill"] for line in run("drill", "--list", "--json").out.splitlines()] == drill_names()


@pytest.mark.parametrize(
    "arguments, told",
    [
        ([], "which drill?"),
        (["nonesuch"], "no drill 'nonesuch'; there are"),
        (["hard-down", "--seed", "3"], "add --virtual"),
    ],
)
def test_a_drill_that_cannot_be_is_told(run: Run, arguments: list[str], told: str) -> None:
    found = run("drill", *arguments)
    assert found.code == 2
    assert told in found.err


def test_off_script_is_told(tmp_path: Path) -> None:
    drill = load_drill("hard-down")
    wrong = replace(
        drill, expect=Expect(outcomes={"bad": "passed"}, serving={"bad": 100}, writes=0, pages=()), within_s=30.0
    )
    found = played(wrong, tmp_path, 0)
    assert any(w.startswith("the watch of bad ended rolled_back, expected passed") for w in found.wrong)
    assert "Cloud Run serves good 100 %, expected bad 100 %" in found.wrong
    assert "traffic was written 1 times, expected 0" in found.wrong
    assert any(w.startswith("somebody was woken for nothing: 'Rolling back") for w in found.wrong)
