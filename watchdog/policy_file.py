"""The policy file: YAML to a `Policy`, or every mistake in it with its file, line and key.

`python -m watchdog.policy_file --schema` prints the JSON Schema that is shipped for editors.
"""

import argparse
import json
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from watchdog.core.journey import Journey
from watchdog.core.policy import Policy
from watchdog.core.policy_build import build_policy
from watchdog.core.policy_grammar import json_schema
from watchdog.errors import ConfigError
from watchdog.journey_file import find_journey, load_journey
from watchdog.yaml_tree import LARGEST_BYTES, Tree, compose, read_text, sentences

__all__ = ["LARGEST_BYTES", "LoadedPolicy", "load_policy", "parse_policy", "schema_text"]


@dataclass(frozen=True, slots=True)
class LoadedPolicy:
    """A policy as a file says it. Each warning is a sentence with its place, like the problems of a `ConfigError`."""

    policy: Policy
    warnings: tuple[str, ...]
    path: Path


def load_policy(path: Path) -> LoadedPolicy:
    """Read a policy file. Raises `ConfigError` with every mistake in it, each `FILE:LINE: KEY: SENTENCE`."""
    return parse_policy(read_text(path, hint="name a policy file with --config"), path)


def parse_policy(text: str, path: Path) -> LoadedPolicy:
    """The policy that this text is; `path` only names it in messages. Raises `ConfigError` like `load_policy`."""
    tree = Tree()
    values = tree.read(compose(text, path, begin="version: 1 and service:"))
    if tree.problems and values is None:
        raise ConfigError(*sentences(tree.problems, path))
    files, beside = _journeys(values, path.parent)
    built = build_policy(values, files)
    said = {finding.path for _, finding in tree.problems}
    problems = [*tree.problems, *((tree.line(p.path), p) for p in built.problems if p.path not in said)]
    if problems or built.policy is None:
        raise ConfigError(*sentences(problems, path), *beside)
    if beside:
        raise ConfigError(*beside)
    warnings = [(tree.line(w.path), w) for w in built.warnings]
    return LoadedPolicy(built.policy, sentences(warnings, path), path)


def _journeys(values: object, folder: Path) -> tuple[dict[str, Journey | str], list[str]]:
    """The journey files that a policy names, read: the journey, or why there is none; and what is wrong inside them,
    sentences with their own file and line."""
    entries = values.get("journeys") if isinstance(values, Mapping) else None
    found: dict[str, Journey | str] = {}
    problems: list[str] = []
    for entry in entries.values() if isinstance(entries, Mapping) else ():
        name = entry.get("file") if isinstance(entry, Mapping) else None
        if not isinstance(name, str) or name in found:
            continue
        path = find_journey(name, folder)
        if not path.is_file():
            found[name] = f"{path} does not exist; it is looked for beside the policy, then among the shipped ones"
            continue
        try:
            found[name] = load_journey(path).journey
        except ConfigError as error:
            problems += error.problems
            found[name] = ""
    return found, problems


# --- the schema ---------------------------------------------------------------------------------------------------


def schema_text() -> str:
    """The JSON Schema as it is shipped: `watchdog/data/policy.schema.json`."""
    return json.dumps(json_schema(), indent=2, ensure_ascii=False) + "\n"


def _main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m watchdog.policy_file", description="The policy file's JSON Schema."
    )
    parser.add_argument("--schema", action="store_true", required=True, help="print the JSON Schema")
    parser.parse_args(arguments)
    sys.stdout.write(schema_text())
    return 0


if __name__ == "__main__":
    raise SystemExit(_main(sys.argv[1:]))
