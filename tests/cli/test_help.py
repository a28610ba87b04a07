"""Help answers at once and says everything."""

import subprocess

import pytest

from tests.cli.conftest import ROOT, Run

OPERATORS = ("ack", "hold", "pause", "resume", "extend", "finish", "signoff")
READERS = ("check", "status", "history", "report", "explain", "replay")
VERBS = (*READERS, "signal", "rollback", *OPERATORS, "release", "gate", "notify", "preflight", "emulator", "demo")
HEAVY = ("aiohttp", "alembic", "google", "grpc", "jinja2", "pydantic", "rich", "sqlalchemy", "structlog", "yaml")


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_explains_itself(verb: str, run: Run) -> None:
    found = run(verb, "--help")
    assert found.code == 0
    text = found.out
    assert f"Usage: watchdog {verb} " in text
    assert "--json" in text
    assert not any(line.rstrip().endswith("...") for line in text.splitlines() if line.startswith("  -"))
    assert max(map(len, text.splitlines())) <= 80


def test_help_loads_nothing_that_takes_time(command: list[str]) -> None:
    """Somebody who is in a hurry reads `--help` of several verbs."""
    script = (
        "import sys\n"
        "from watchdog.cli import main\n"
        f"for verb in {VERBS!r}:\n"
        "    try:\n"
        "        main([verb, '--help'])\n"
        "    except SystemExit as end:\n"
        "        assert end.code == 0, verb\n"
        f"loaded = sorted(m for m in {HEAVY!r} if m in sys.modules)\n"
        "assert not loaded, loaded\n"
    )
    done = subprocess.run([command[0], "-c", script], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
