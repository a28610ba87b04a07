"""What the verbs' tests use."""

from tests.cli.conftest import command, run

__all__ = ["command", "run"]
