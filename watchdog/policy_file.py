"""The policy file: YAML to a `Policy`, or every mistake in it with its file, line and key.

`python -m watchdog.policy_file --schema` prints the JSON Schema that is shipped for editors.
"""

import argparse
import json
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from watchdog.core.findings import Finding
from watchdog.core.journey import Journey
from watchdog.core.policy import Policy
from watchdog.core.policy_build import build_policy
from watchdog.core.policy_grammar import json_schema
from watchdog.core.variables import names_in
from watchdog.errors import ConfigError
from watchdog.journey_file import find_journey, load_journey
from watchdog.yaml_tree import LARGEST_BYTES, Tree, compose, read_text, sentences

__all__ = ["LARGEST_BYTES", "LoadedPolicy", "load_policy", "parse_policy", "schema_text"]


FOLDER = "WATCHDOG_SECRETS_DIR"


@dataclass(frozen=True, slots=True)
class LoadedPolicy:
    """A policy as a file says it. Each warning is a sentence with its place, like the problems of a `ConfigError`."""

    policy: Policy
    warnings: tuple[str, ...]
    path: Path
    wants: Mapping[str, str] = field(default_factory=dict)
    """Variables that its probes' headers use (`${NAME}`), and the sentence for one that is not set: where, and what to
    do."""


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
    return LoadedPolicy(built.policy, sentences(warnings, path), path, _wants(built.policy, tree, path))


def _wants(policy: Policy, tree: Tree, path: Path) -> dict[str, str]:
    """Where each variable is used first."""
    found: dict[str, str] = {}
    for name, probe in policy.probes.items():
        for header, text in probe.headers.items():
            for variable in names_in([text]):
                place = ("probes", name, "headers", header)
                said = f"${{{variable}}} is not set; set WATCHDOG_PROBE__{variable}, or a file of that name in {FOLDER}"
                found.setdefault(variable, sentences([(tree.line(place), Finding(place, said))], path)[0])
    return found


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
