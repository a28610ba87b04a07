"""The journey file: YAML to a `Journey`, or every mistake in it with its file, line and key."""

from dataclasses import dataclass
from pathlib import Path

from watchdog.core.journey import Journey
from watchdog.core.journey_build import build_journey
from watchdog.errors import ConfigError
from watchdog.yaml_tree import Tree, compose, read_text, sentences

SHIPPED = Path(__file__).parent / "data"
"""Where the files lie that come with Watchdog: a policy may name `journeys/login.yaml` wherever it lies itself."""


@dataclass(frozen=True, slots=True)
class LoadedJourney:
    """A journey as a file says it. Each warning is a sentence with its place."""

    journey: Journey
    warnings: tuple[str, ...]
    path: Path


def find_journey(name: str, folder: Path) -> Path:
    """The path of a journey file that a policy in `folder` names: relative to it, else one that comes with Watchdog."""
    own, shipped = folder / name, SHIPPED / name
    return shipped if not own.exists() and shipped.is_file() else own


def load_journey(path: Path) -> LoadedJourney:
    """Read a journey file. Raises `ConfigError` with every mistake in it, each `FILE:LINE: KEY: SENTENCE`."""
    return parse_journey(read_text(path, hint="name a journey file"), path)


def parse_journey(text: str, path: Path) -> LoadedJourney:
    """The journey that this text is; `path` only names it in messages. Raises `ConfigError` like `load_journey`."""
    tree = Tree()
    values = tree.read(compose(text, path, begin="steps:"))
    if tree.problems and values is None:
        raise ConfigError(*sentences(tree.problems, path))
    built = build_journey(values)
    said = {finding.path for _, finding in tree.problems}
    problems = [*tree.problems, *((tree.line(p.path), p) for p in built.problems if p.path not in said)]
    if problems or built.journey is None:
        raise ConfigError(*sentences(problems, path))
    return LoadedJourney(built.journey, sentences(((tree.line(w.path), w) for w in built.warnings), path), path)
