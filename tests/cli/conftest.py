"""Verbs as somebody types them: with arguments, an environment and a folder, and what comes back of them."""

import logging
import os
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from io import StringIO
from pathlib import Path

import pytest
import structlog

from tests.web.world import Site, serve
from watchdog.cli import main

ROOT = Path(__file__).parents[2]


@dataclass(frozen=True)
class Result:
    """What a verb printed, and its exit code."""

    code: int
    out: str
    err: str


Run = Callable[..., Result]


@pytest.fixture(autouse=True)
def alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """No variable of whoever runs the tests, an empty folder, and no logging set up afterwards."""
    for name in list(os.environ):
        if name.startswith(("WATCHDOG_", "CLOUD_")):
            monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)
    yield
    structlog.reset_defaults()
    logging.captureWarnings(capture=False)
    root = logging.getLogger()
    for handler in [h for h in root.handlers if getattr(h, "watchdog", False)]:
        root.removeHandler(handler)


@pytest.fixture
def run() -> Run:
    """Run a verb in this process, as `watchdog ARGUMENTS` would."""

    def call(*arguments: str) -> Result:
        out, err = StringIO(), StringIO()
        code: object = None
        with redirect_stdout(out), redirect_stderr(err):
            try:
                main(list(arguments))
            except SystemExit as ending:
                code = ending.code
        assert isinstance(code, int), code
        return Result(code, out.getvalue(), err.getvalue())

    return call


@pytest.fixture
def command() -> list[str]:
    """How a process of its own begins."""
    return [sys.executable, "-m", "watchdog"]


@pytest.fixture
async def site(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Site]:
    """A daemon's API on this machine, and an environment that points at it."""
    async with serve() as made:
        monkeypatch.setenv("WATCHDOG_URL", made.url)
        monkeypatch.setenv("WATCHDOG_API_TOKEN", "s3cret-token-for-tests")
        yield made
