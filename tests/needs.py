"""Tools that a test needs and a machine may lack. A skip begins with the tool's name: conftest.py judges by it."""

import shutil
from pathlib import Path

import pytest


def tool(name: str, how: str) -> Path:
    """The path of a program on PATH, else the test is skipped with `how` to get it."""
    found = shutil.which(name)
    if found is None:
        pytest.skip(f"{name} is not on this machine: {how}")
    return Path(found)


def promtool() -> Path:
    """Prometheus's own checker of rules."""
    return tool("promtool", "apt-get install prometheus, or make tools")


def gcloud() -> Path:
    """The real Google Cloud command line. It comes from no package registry, so CI may lack it."""
    return tool("gcloud", "install the Google Cloud SDK")
