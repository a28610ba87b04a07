"""From the plain values of a journey file to a `Journey`, or to everything that is wrong with them.

Whatever can be known before the first request is known here: a variable that nothing defines before it is used, a
cleanup after a step that does not exist, an expression that cannot be read.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import jmespath
from jmespath.exceptions import JMESPathError

from watchdog.core.conditions import format_duration, quoted
from watchdog.core.findings import Finding, Findings, Path
from watchdog.core.journey import (
    BUILT_IN,
    NAME,
    SECRET,
    Assertion,
    Capture,
    CaptureKind,
    Journey,
    JourneyExpect,
    JourneyStep,
    placed_references,
    templates_of,
)
from watchdog.core.journey_grammar import AssertionFile, CaptureFile, CleanupFile, JourneyFile, StepExpectFile, StepFile
from watchdog.core.policy_section import listed, mapped
from watchdog.core.suggest import did_you_mean

MOST_STEPS: Final = 50
_KINDS: Final[tuple[CaptureKind, ...]] = ("jmespath", "header", "cookie", "regex")
_BODYLESS: Final = frozenset({"GET", "HEAD"})


@dataclass(frozen=True, slots=True)
class BuiltJourney:
    """A journey, or None and at least one problem."""

    journey: Journey | None
    problems: tuple[Finding, ...]
    warnings: tuple[Finding, ...]


def build_journey(data: object) -> BuiltJourney:
    """Compile the values of a file. Never raises for what it says: every mistake is a `Finding`."""
    builder = _Builder()
    journey = builder.build(data)
    found = builder.findings
    return BuiltJourney(None if found.problems else journey, tuple(found.problems), tuple(found.warnings))


@dataclass(slots=True)
class _Builder:
    findings: Findings = field(default_factory=Findings)
    known: set[str] = field(default_factory=lambda: set(BUILT_IN))
    """Variables that are defined so far."""
    later: set[str] = field(default_factory=set)
    """Variables that some step captures, whenever."""

    def build(self, data: object) -> Journey | None:
        if not isinstance(data, Mapping):
            self.findings.problem((), f"{quoted(data)} stands where a journey belongs; begin with steps:")
            return None
        file = {key: value for key, value in data.items() if value is not None}
        plain = {key: value for key, value in file.items() if key not in {"steps", "cleanup"}}
        read = JourneyFile.read({**plain, "steps": []} if "steps" in file else plain, (), self.findings)
        timeout_s = read.timeout if read and read.timeout is not None else Journey.model_fields["timeout_s"].default
        step_s = read.step_timeout if read and read.step_timeout is not None else min(5.0, timeout_s)
        if step_s > timeout_s:
            self.findings.problem(
                ("step_timeout",), f"{format_duration(step_s)} is above timeout, {format_duration(timeout_s)}"
            )
        variables = self._variables(mapped(file.get("variables"), ("variables",), None))
        written = listed(file.get("steps"), ("steps",), self.findings)
        tidying = listed(file.get("cleanup"), ("cleanup",), self.findings)
        self.later = {name for item in (*written, *tidying) for name in _captured(item)}
        if isinstance(file.get("steps"), list) and not written:
            self.findings.problem(("steps",), "is empty: a journey has at least one step")
        if len(written) + len(tidying) > MOST_STEPS:
            self.findings.problem(("steps",), f"has more than {MOST_STEPS} steps, cleanup included; split the journey")
            return None
        steps = [self._step(item, ("steps", i), step_s, timeout_s) for i, item in enumerate(written)]
        names = [step.name for step in steps if step is not None]
        cleanup = [self._cleanup(item, ("cleanup", i), step_s, names) for i, item in enumerate(tidying)]
        self._unique(steps, "steps")
        self._unique(cleanup, "cleanup")
        if self.findings.problems:
            return None
        return Journey(
            title=read.title or "" if read else "",
            steps=tuple(step for step in steps if step),
            cleanup=tuple(step for step in cleanup if step),
            variables=variables,
            timeout_s=timeout_s,
        )

    # --- variables -------------------------------------------------------------------------------------------------

    def _variables(self, written: Mapping[str, Any]) -> dict[str, Any]:
        for name, value in written.items():
            self._named(name, ("variables", name))
            self._defined(value, ("variables", name))
        self.known |= set(written)
        return dict(written)

    def _named(self, name: str, path: Path) -> None:
        if not NAME.fullmatch(name) or name.startswith(SECRET):
            self.findings.problem(path, "is no name for a variable; use small letters, digits and _")
        elif name in BUILT_IN:
            self.findings.problem(path, f"is there already: {BUILT_IN[name]}; choose another name")

    def _defined(self, value: Any, path: Path) -> None:
        """Whether every variable in a value has one by the time it is used."""
        for place, name in placed_references(value):
            if NAME.fullmatch(name) and (name.startswith(SECRET) or name in self.known):
                continue
            if name in self.later:
                said = f"undefined variable {quoted(name)}: it is captured only by this step or a later one"
            else:
                said = f"undefined variable {quoted(name)}{did_you_mean(name, sorted(self.known))}"
            self.findings.problem((*path, *place), said)

    # --- steps -----------------------------------------------------------------------------------------------------

    def _step(self, item: object, path: Path, step_s: float, timeout_s: float) -> JourneyStep | None:
        read = StepFile.read(item, path, self.findings)
        step = self._made(read, path, step_s) if read is not None else None
        self.known |= _captured(item)
        if step is not None and step.timeout_s > timeout_s:
            self.findings.problem(
                (*path, "timeout"),
                f"{format_duration(step.timeout_s)} is above the whole journey's, {format_duration(timeout_s)}",
            )
        return step

    def _cleanup(self, item: object, path: Path, step_s: float, names: Iterable[str]) -> JourneyStep | None:
        read = CleanupFile.read(item, path, self.findings)
        step = self._made(read, path, step_s) if read is not None else None
        self.known |= _captured(item)
        if read is None or step is None or read.after is None:
            return step
        known = list(names)
        if read.after not in known:
            said = f"unknown step {quoted(read.after)}{did_you_mean(read.after, known)}"
            self.findings.problem((*path, "after"), said)
        return step.model_copy(update={"after": read.after})

    def _made(self, read: StepFile, path: Path, step_s: float) -> JourneyStep | None:
        if read.json_body is not None and read.form is not None:
            self.findings.problem((*path, "form"), "stands beside json; keep one of them")
        body = read.json_body is not None or read.form is not None
        method = read.method or ("POST" if body else "GET")
        if body and method in _BODYLESS:
            self.findings.problem((*path, "method"), f"{method} has no body; write POST, PUT or PATCH")
        captures = {
            name: made
            for name, how in (read.capture or {}).items()
            if (made := self._capture(name, how, (*path, "capture", name))) is not None
        }
        expect = self._expect(read.expect, (*path, "expect")) if read.expect else JourneyExpect()
        if read.name is None or read.path is None:
            return None
        step = JourneyStep.model_validate({
            "name": read.name,
            "method": method,
            "path": read.path,
            "headers": dict(read.headers or {}),
            "json_body": read.json_body,
            "form": dict(read.form or {}),
            "expect": expect,
            "capture": captures,
            "timeout_s": step_s if read.timeout is None else read.timeout,
        })  # fmt: skip
        for place, value in templates_of(step):
            if place[:2] != ("expect", "jmespath"):
                self._defined(value, (*path, *place))
        self.known |= set(read.capture or {})
        for place, value in templates_of(step):  # what the answer must be may name what was captured from it
            if place[:2] == ("expect", "jmespath"):
                self._defined(value, (*path, *place))
        return step

    def _capture(self, name: str, how: CaptureFile, path: Path) -> Capture | None:
        self._named(name, path)
        given = [(kind, text) for kind in _KINDS if (text := getattr(how, kind)) is not None]
        if len(given) != 1:
            self.findings.problem(path, f"needs exactly one of {', '.join(_KINDS)}")
            return None
        kind, text = given[0]
        if kind == "jmespath":
            self._jmespath(text, (*path, kind))
        elif kind == "regex":
            self._regex(text, (*path, kind))
        elif not re.fullmatch(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+", text):
            self.findings.problem((*path, kind), f"{quoted(text)} is not the name of a {kind}")
        return Capture(kind=kind, expression=text)

    def _expect(self, read: StepExpectFile, path: Path) -> JourneyExpect:
        if read.text is not None:
            self._regex(read.text, (*path, "text"))
        written = [read.jmespath] if isinstance(read.jmespath, str) else read.jmespath or []
        single = isinstance(read.jmespath, str)
        assertions = []
        for index, item in enumerate(written):
            place: Path = (*path, "jmespath") if single else (*path, "jmespath", index)
            assertions.append(self._assertion(item, place))
        return JourneyExpect(
            status=read.status or (200,),
            json_subset=read.json_subset,
            header=dict(read.header or {}),
            text=read.text,
            assertions=tuple(assertions),
        )

    def _assertion(self, item: str | AssertionFile, path: Path) -> Assertion:
        if isinstance(item, str):
            self._jmespath(item, path)
            return Assertion(jmespath=item)
        given = [kind for kind in ("equals", "contains") if kind in item.model_fields_set]
        if len(given) != 1:
            self.findings.problem(path, "needs exactly one of equals and contains beside its jmespath")
        if item.jmespath is None:
            self.findings.problem((*path, "jmespath"), 'is missing; write for example jmespath: "items[0].id"')
        else:
            self._jmespath(item.jmespath, (*path, "jmespath"))
        kind = given[0] if given else "equals"
        value = {"jmespath": item.jmespath or "", "kind": kind, "value": getattr(item, kind)}
        return Assertion.model_validate(value)

    def _jmespath(self, text: str, path: Path) -> None:
        try:
            jmespath.compile(text)
        except JMESPathError as error:
            why = " ".join(str(error).split("\n", maxsplit=1)[0].split())
            self.findings.problem(path, f"{quoted(text)} is not a JMESPath: {why}")

    def _regex(self, text: str, path: Path) -> None:
        try:
            re.compile(text)
        except re.error as error:
            self.findings.problem(path, f"{quoted(text)} is not a regular expression: {error}")

    def _unique(self, steps: Iterable[JourneyStep | None], section: str) -> None:
        seen: set[str] = set()
        for index, step in enumerate(steps):
            if step is not None and step.name in seen:
                self.findings.problem(
                    (section, index, "name"), f"{quoted(step.name)} is the name of an earlier step too"
                )
            elif step is not None:
                seen.add(step.name)


def _captured(item: object) -> set[str]:
    """The variables that a step as written captures, sound or not: one mistake must not drag others behind it."""
    written = item.get("capture") if isinstance(item, Mapping) else None
    return {name for name in written if isinstance(name, str)} if isinstance(written, Mapping) else set()
