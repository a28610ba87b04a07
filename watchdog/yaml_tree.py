"""YAML as a tree of nodes, not by its own constructors: plain values, the line of every key, and what is wrong.

The nodes know their lines, duplicate keys are still there to be seen, and no tag can build anything but text, numbers,
lists and mappings. Policies and journeys are read by it.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

import yaml

from watchdog.core.conditions import quoted
from watchdog.core.findings import Finding, format_path
from watchdog.core.findings import Path as KeyPath
from watchdog.errors import ConfigError

LARGEST_BYTES = 256 * 1024
"""Nobody writes a policy this long by hand; a wrong file name finds a database sooner."""
_MOST_VALUES = 20_000
_DEEPEST = 40
_LONGEST_NUMBER = 40
_TAG = "tag:yaml.org,2002:"

_HINTS = (
    ("\\t", "YAML does not allow tabs for indentation; use spaces"),
    ("'%' that cannot start", "text that begins with % needs quotes"),
    ("'>' that cannot start", 'a condition that begins with > needs quotes, as in "> 5%"'),
    ("block scalar", 'a condition that begins with > needs quotes, as in "> 5%"'),
    ("'@' that cannot start", "text that begins with @ needs quotes"),
    ("'`' that cannot start", "text that begins with ` needs quotes"),
    ("mapping values are not allowed", "text that holds a colon and a space needs quotes"),
    ("expected a single document", "one file holds one policy or journey: remove what follows ---"),
    ("undefined alias", "text that begins with * needs quotes"),
    ("did not find expected alphabetic", "text that begins with & or * needs quotes"),
)


def read_text(path: Path, *, hint: str) -> str:
    """The text of a file that a person wrote. Raises `ConfigError` where it cannot be one."""
    try:
        with path.open("rb") as file:
            data = file.read(LARGEST_BYTES + 1)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise ConfigError(f"{path}: cannot be read: {reason}; {hint}") from error
    if len(data) > LARGEST_BYTES:
        raise ConfigError(f"{path}: is longer than {LARGEST_BYTES // 1024} kB; is this the right file?")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1
        raise ConfigError(
            f"{path}:{line}: is not UTF-8 (byte 0x{data[error.start]:02x}); save the file as UTF-8"
        ) from error


def sentences(placed: Iterable[tuple[int, Finding]], path: Path) -> tuple[str, ...]:
    """Each finding with its place, in the order of the file."""
    said = (
        f"{path}:{line}: {f'{format_path(found.path)}: ' if found.path else ''}{found.message}"
        for line, found in sorted(placed, key=lambda pair: pair[0])
    )
    return tuple(dict.fromkeys(said))


def compose(text: str, path: Path, *, begin: str) -> yaml.Node:
    """The tree of nodes. Raises `ConfigError` where the text is not YAML, with the line and a hint."""
    try:
        node = yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        problem = " ".join(filter(None, (error.context, error.problem)))
        hint = next((f"; {hint}" for sign, hint in _HINTS if sign in problem), "")
        raise ConfigError(f"{path}:{mark.line + 1 if mark else 1}: is not YAML: {problem}{hint}") from error
    except yaml.reader.ReaderError as error:
        line = text[: error.position].count("\n") + 1
        raise ConfigError(f"{path}:{line}: holds a character that YAML does not allow: {error.character!r}") from error
    except RecursionError as error:
        raise ConfigError(f"{path}: is nested too deeply") from error
    except (ValueError, OverflowError) as error:  # PyYAML lets chr() and int() speak for themselves
        raise ConfigError(f"{path}: is not YAML: an escape names a character that does not exist") from error
    if node is None:
        raise ConfigError(f"{path}:1: is empty; begin with {begin}")
    return node


@dataclass(slots=True)
class Tree:
    """Plain values of a YAML tree, the line of every key and item, and what is wrong with the tree itself."""

    problems: list[tuple[int, Finding]] = field(default_factory=list)
    lines: dict[KeyPath, int] = field(default_factory=dict)
    count: int = 0

    def read(self, node: yaml.Node) -> object:
        """The values, or None when the tree is too large or too deep to have any."""
        try:
            return self._value(node, ())
        except _TooLargeError as error:
            self._problem(error.path, str(error))
            return None

    def line(self, path: KeyPath) -> int:
        """The line of the key, or of the nearest thing around it that is in the file."""
        while path and path not in self.lines:
            path = path[:-1]
        return self.lines.get(path, 1)

    def _problem(self, path: KeyPath, message: str, line: int | None = None) -> None:
        self.problems.append((self.line(path) if line is None else line, Finding(path, message)))

    def _value(self, node: yaml.Node, path: KeyPath) -> object:
        self.lines.setdefault(path, node.start_mark.line + 1)
        self.count += 1
        if self.count > _MOST_VALUES:
            raise _TooLargeError("the file has too many values, perhaps through its anchors", path[:1])
        if len(path) > _DEEPEST:
            raise _TooLargeError(f"the file is nested more than {_DEEPEST} levels deep", path[:1])
        if isinstance(node, yaml.MappingNode) and node.tag == f"{_TAG}map":
            return self._mapping(node, path)
        if isinstance(node, yaml.SequenceNode) and node.tag == f"{_TAG}seq":
            return [self._value(item, (*path, index)) for index, item in enumerate(node.value)]
        if isinstance(node, yaml.ScalarNode):
            return self._scalar(node, path)
        self._problem(path, f"the tag {quoted(node.tag.removeprefix(_TAG))} has no meaning here; remove it")
        return None

    def _mapping(self, node: yaml.MappingNode, path: KeyPath) -> dict[str, object]:
        values: dict[str, object] = {}
        for key_node, value_node in node.value:
            line = key_node.start_mark.line + 1
            if not isinstance(key_node, yaml.ScalarNode):
                self._problem(path, "a key has to be one word, not a list or a mapping", line)
                continue
            key = self._whole(key_node.value, path)
            place = (*path, key)
            if key_node.tag == f"{_TAG}merge":
                self._problem(place, "merging with << is not supported; write the keys out", line)
            elif key in values:
                first = self.lines[place]
                self.problems.append((line, Finding(place, f"is written twice; the first is in line {first}")))
            else:
                self.lines[place] = line
                values[key] = self._value(value_node, place)
        return values

    def _scalar(self, node: yaml.ScalarNode, path: KeyPath) -> object:
        kind, text = node.tag.removeprefix(_TAG), node.value
        if kind in {"str", "timestamp", "value", "merge"}:
            return self._whole(text, path)
        if kind == "null":
            return None
        if kind in {"bool", "int", "float"}:
            return self._number(node, kind, path)
        self._problem(path, f"the tag {quoted(kind)} has no meaning here; remove it")
        return None

    def _number(self, node: yaml.ScalarNode, kind: str, path: KeyPath) -> object:
        reader = yaml.constructor.SafeConstructor()
        construct = {
            "bool": reader.construct_yaml_bool,
            "int": reader.construct_yaml_int,
            "float": reader.construct_yaml_float,
        }[kind]
        text = str(node.value)
        if len(text) > _LONGEST_NUMBER:
            self._problem(path, f"{quoted(text)} has more digits than anything that can be measured")
            return text
        try:
            value: object = construct(node)
        except (ValueError, KeyError, IndexError, OverflowError):
            return text
        if isinstance(value, float) and not math.isfinite(value):
            self._problem(path, f"{text} is not a number that can be measured")
            return text
        return value

    def _whole(self, text: str, path: KeyPath) -> str:
        """The text without halves of characters, which no journal and no terminal can write; each is noted."""
        if not any("\ud800" <= character <= "\udfff" for character in text):
            return text
        self._problem(path, "holds half of a character (a lone surrogate); write the whole character")
        return "".join("\ufffd" if "\ud800" <= character <= "\udfff" else character for character in text)


class _TooLargeError(Exception):
    """The tree has no end that is worth waiting for: nesting, or anchors that multiply."""

    def __init__(self, message: str, path: KeyPath) -> None:
        super().__init__(message)
        self.path = path
