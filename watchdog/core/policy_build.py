"""From the plain values of a policy file to a `Policy`, or to everything that is wrong with them.

Sections are read one by one and never stop each other. What refers to another section looks at the *names* written
there, sound or not, so that one mistake does not drag others behind it.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from watchdog.core.catalogue import JOURNEY_PREFIX
from watchdog.core.conditions import format_duration, quoted
from watchdog.core.findings import Finding, Findings, Path
from watchdog.core.journey import Journey
from watchdog.core.model import Action, Window
from watchdog.core.policy import (
    AlphaConfig,
    ColdStart,
    ConfirmConfig,
    MetricConfig,
    Policy,
    ProbeConfig,
    RollbackConfig,
    ServiceConfig,
    SharedCause,
    WindowConfig,
)
from watchdog.core.policy_beyond import database_rollback_of, misplaced, scale_up_of
from watchdog.core.policy_checks import edge_of, jobs_of, logs_of, notes_of, version_of
from watchdog.core.policy_grammar import (
    AlertFile,
    AlphaFile,
    ColdStartFile,
    ConfirmFile,
    CriterionFile,
    PlainFile,
    PolicyFile,
    RollbackFile,
    ServiceFile,
    SharedCauseFile,
    WindowFile,
    WindowsFile,
)
from watchdog.core.policy_paging import channels_of, escalation_of, silences_of
from watchdog.core.policy_parts import journeys_of, metrics_of, probes_of, signoffs_of
from watchdog.core.policy_rows import RowCompiler, read_immediate
from watchdog.core.policy_section import listed, mapped
from watchdog.core.suggest import closest, did_you_mean
from watchdog.core.vocabulary import Vocabulary

DEFAULT_WINDOWS: Mapping[str, object] = {
    "immediate": {"until": "15m", "probe_every": "5s"},
    "short_term": {"until": "60m", "probe_every": "15s", "confirm": {"failures": 10}},
    "extended": {"until": "24h", "probe_every": "60s", "confirm": {"failures": 20}},
}
"""The windows of a file that names none."""


@dataclass(frozen=True, slots=True)
class Built:
    """A policy, or None and at least one problem. Warnings come with both."""

    policy: Policy | None
    problems: tuple[Finding, ...]
    warnings: tuple[Finding, ...]


@dataclass(slots=True)
class _Parts:
    """The sections as far as they are sound."""

    service: ServiceConfig | None = None
    windows: tuple[WindowConfig, ...] = ()
    probes: dict[str, ProbeConfig] = field(default_factory=dict)
    metrics: dict[str, MetricConfig] = field(default_factory=dict)
    rollback: RollbackConfig = field(default_factory=RollbackConfig)


def build_policy(data: object, journeys: Mapping[str, Journey | str] | None = None) -> Built:
    """Compile the values of a file: mappings with text keys, lists, text, numbers, booleans and None.

    `journeys`: the journey files that it names, read already, by the name that it gives them; a text says why one could
    not be read, an empty one that this has been told. Never raises for what the file says: every mistake is a finding.
    """
    findings, parts = Findings(), _Parts()
    if not isinstance(data, Mapping):
        findings.problem((), f"{quoted(data)} stands where a policy belongs; begin with version: 1 and service:")
        return Built(None, tuple(findings.problems), ())
    file = {key: value for key, value in data.items() if value is not None}
    top = _top(file, findings)
    parts.service = _service(file.get("service"), findings)
    parts.windows = _windows(file, findings)
    parts.probes = probes_of(file.get("probes"), parts.windows, findings)
    parts.metrics, measures = metrics_of(file.get("metrics"), findings)
    made = journeys_of(file.get("journeys"), parts.windows, journeys or {}, findings)
    signoffs = signoffs_of(file.get("signoffs"), parts.windows, findings)
    probe_names = frozenset(mapped(file.get("probes"), ("probes",), None))
    journey_names = frozenset(mapped(file.get("journeys"), ("journeys",), None))
    written = mapped(file.get("windows", DEFAULT_WINDOWS), ("windows",), None)
    window_names = {closest(name, WindowsFile.words()) for name in written}
    compiler = RowCompiler(
        Vocabulary(
            metrics=measures,
            probes=probe_names,
            critical_probes=frozenset(n for n in probe_names if n not in parts.probes or parts.probes[n].critical),
            windows=tuple(w for w in Window if w.value in window_names),
            journeys=journey_names,
            critical_journeys=frozenset(
                n for n in journey_names if f"{JOURNEY_PREFIX}{n}" not in made or made[f"{JOURNEY_PREFIX}{n}"].critical
            ),
        ),
        findings,
    )
    _tables(file, compiler, findings)
    parts.rollback = _rollback(file.get("rollback"), compiler, findings)
    cold_start, alpha, shared_cause = _bounds(file, top.alpha, parts.windows, findings)
    known = compiler.vocabulary.windows
    logs, log_rows = logs_of(file.get("logs"), known, findings)
    version, version_rows = version_of(file.get("version_check"), known, findings)
    edge, edge_rows = edge_of(file.get("edge"), known, findings)
    jobs, job_rows = jobs_of(file.get("jobs"), known, findings)
    checks = [*log_rows, *version_rows, *edge_rows, *job_rows]
    channels = channels_of(file.get("channels"), findings)
    escalation = escalation_of(file.get("escalation"), findings)
    silences = silences_of(file.get("silences"), findings)
    database_rollback = database_rollback_of(
        file.get("database_rollback"), len(parts.service.regions) if parts.service else 1, findings
    )
    scale_up = scale_up_of(file.get("scale_up"), compiler.rows, parts.metrics, findings)
    if findings.problems or parts.service is None or not parts.windows:
        return Built(None, tuple(findings.problems), tuple(findings.warnings))
    rows = (*compiler.rows, *checks)
    if not compiler.signals and all(row.action is not Action.ROLLBACK for row in rows):
        findings.warning((), "no row of this policy rolls back: a watch under it only reports")
    policy = Policy(
        service=parts.service,
        windows=parts.windows,
        probes=parts.probes,
        journeys=made,
        signoffs=signoffs,
        metrics=parts.metrics,
        rows=rows,
        logs=logs,
        version_check=version,
        edge=edge,
        jobs=jobs,
        signals=frozenset(compiler.signals),
        rollback=parts.rollback,
        cold_start=cold_start,
        alpha=alpha,
        shared_cause=shared_cause,
        control_url=top.control_url,
        channels=channels,
        escalation=escalation,
        silences=silences,
        scale_up=scale_up,
        redeploy_image=top.redeploy_image is True,
        database_rollback=database_rollback,
        notes=compiler.notes | dict(notes_of(checks, file)),
        **({} if top.coverage_floor is None else {"coverage_floor": top.coverage_floor}),
    )
    return Built(policy, (), tuple(findings.warnings))


def _top(file: Mapping[str, object], findings: Findings) -> PlainFile:
    """What stands at the top: unknown keys, the version, and values that are no section."""
    known = PolicyFile.words()
    for key in file:
        if key not in known:
            findings.problem((key,), f"unknown key{did_you_mean(key, known)}")
    version = file.get("version")
    if isinstance(version, bool) or not isinstance(version, int | None):
        findings.problem(("version",), f"{quoted(version)} is not a version of this format; write version: 1")
    elif version is not None and version != 1:
        findings.problem(("version",), f"{version} is a format that this watchdog cannot read; it reads version: 1")
    for key, example in PolicyFile.required.items():
        if key not in file:
            findings.problem((key,), f"is missing; write for example {key}: {example}")
    plain = {key: file[key] for key in PlainFile.words() if key in file}
    if isinstance(plain.get("alpha"), Mapping):
        del plain["alpha"]
    return PlainFile.read(plain, (), findings) or PlainFile()


def _service(value: object, findings: Findings) -> ServiceConfig | None:
    path: Path = ("service",)
    read = None if value is None else ServiceFile.read(value, path, findings)
    if read is None:
        return None
    regions = (read.region,) if read.region else tuple(read.regions or ())
    if read.region and read.regions is not None:
        findings.problem((*path, "regions"), "stands beside region; keep one of them")
    elif not regions and not read.spoilt & {"region", "regions"}:
        findings.problem((*path, "region"), "is missing; write for example region: us-central1")
    if len(set(regions)) < len(regions):
        findings.problem((*path, "regions"), "names a region twice")
    if not read.project or not read.name or not regions:
        return None
    every = {"discover_every_s": read.discover_every, "metrics_every_s": read.metrics_every}
    return ServiceConfig(
        project=read.project,
        regions=regions,
        name=read.name,
        url=read.url,
        **{key: value for key, value in every.items() if value is not None},
    )


def _confirm(read: ConfirmFile | None, otherwise: ConfirmConfig) -> ConfirmConfig:
    if read is None:
        return otherwise
    return ConfirmConfig(
        failures=otherwise.failures if read.failures is None else read.failures,
        every_s=otherwise.every_s if read.every is None else read.every,
    )


def _windows(file: Mapping[str, object], findings: Findings) -> tuple[WindowConfig, ...]:
    """The windows in order; empty when one of them is broken."""
    common = ConfirmFile.read(file["confirm"], ("confirm",), findings) if "confirm" in file else None
    confirm = _confirm(common, ConfirmConfig())
    values = mapped(file.get("windows", DEFAULT_WINDOWS), ("windows",), findings)
    for name in values:
        if name not in WindowsFile.words():
            findings.problem(("windows", name), f"unknown window{did_you_mean(name, WindowsFile.words())}")
    if Window.IMMEDIATE not in values and isinstance(file.get("windows"), Mapping):
        findings.problem(("windows", "immediate"), f"is missing; write {WindowsFile.required['immediate']}")
    made: list[WindowConfig] = []
    start, before, sound = 0.0, "", True
    for window in (w for w in Window if w in values):
        path: Path = ("windows", window.value)
        read = WindowFile.read(values[window.value], path, findings)
        if read is None or read.until is None or read.probe_every is None:
            sound = False
            if read is not None and read.until is not None:
                start, before = read.until, window.value
            continue
        if read.until <= start:
            ends, began = format_duration(read.until), format_duration(start)
            message = (
                f"ends at {ends}, where it begins: the window is empty"
                if read.until == start
                else f"ends at {ends}, before {before} ends at {began}: the windows overlap"
            )
            findings.problem((*path, "until"), message)
            sound = False
        elif read.probe_every > read.until - start:
            findings.problem(
                (*path, "probe_every"), f"{format_duration(read.probe_every)} is longer than the window itself"
            )
            sound = False
        else:
            made.append(
                WindowConfig(
                    window=window,
                    start_s=start,
                    until_s=read.until,
                    probe_every_s=read.probe_every,
                    confirm=_confirm(read.confirm, confirm),
                )
            )
        start, before = max(start, read.until), window.value
    return tuple(made) if sound else ()


def _tables(file: Mapping[str, object], compiler: RowCompiler, findings: Findings) -> None:
    for index, item in enumerate(listed(file.get("success_criteria"), ("success_criteria",), findings)):
        path: Path = ("success_criteria", index)
        criterion = CriterionFile.read(item, path, findings)
        if criterion:
            compiler.criterion(criterion, path)
    for name, items in mapped(file.get("window_criteria"), ("window_criteria",), findings).items():
        place: Path = ("window_criteria", name)
        window = next((w for w in Window if w.value == name), None)
        if window is None:
            findings.problem(place, f"unknown window{did_you_mean(name, WindowsFile.words())}")
        elif window not in compiler.vocabulary.windows:
            findings.problem(place, f"there is no window {name} in windows, so nothing would ever check these rows")
        for index, item in enumerate(listed(items, place, findings)):
            criterion = CriterionFile.read(item, (*place, index), findings)
            if criterion and window:
                compiler.criterion(criterion, (*place, index), window)
    for index, item in enumerate(listed(file.get("alert_thresholds"), ("alert_thresholds",), findings)):
        path = ("alert_thresholds", index)
        alert = AlertFile.read(item, path, findings)
        if alert:
            compiler.alert(alert, path)


def _rollback(value: object, compiler: RowCompiler, findings: Findings) -> RollbackConfig:
    path: Path = ("rollback",)
    values = mapped(value, path, findings)
    moved = misplaced(values, path, findings)
    plain = {k: v for k, v in values.items() if k not in {*moved, "immediately_if"}}
    read = RollbackFile.read(plain, path, findings)
    place = (*path, "immediately_if")
    for index, item in enumerate(listed(values.get("immediately_if"), place, findings)):
        entry, at = read_immediate(item, (*place, index), findings)
        if entry:
            compiler.immediate(entry, (*place, index), at)
    if read is None:
        return RollbackConfig()
    given = {
        "mode": read.mode,
        "warm_s": read.warm,
        "settle_s": read.settle,
        "verify_probes": read.verify_probes,
        "cooldown_s": read.cooldown,
        "per_day": read.per_day,
        "verify_for_s": read.verify_for,
        "approve_within_s": read.approve_within,
        "scope": read.scope,
        "tag": read.tag,
        "schema_label": read.schema_label,
        "impersonate": read.impersonate,
    }
    given = {key: value for key, value in given.items() if value is not None}
    if "trial" in read.model_fields_set:
        given["trial"] = read.trial
    return RollbackConfig.model_validate(given)


def _bounds(
    file: Mapping[str, object], total_alpha: float | None, windows: tuple[WindowConfig, ...], findings: Findings
) -> tuple[ColdStart, AlphaConfig, dict[Window, SharedCause]]:
    cold, alpha = ColdStart(), AlphaConfig()
    if "cold_start" in file:
        read = ColdStartFile.read(file["cold_start"], ("cold_start",), findings) or ColdStartFile()
        for key in ("errors", "latency"):
            given = getattr(read, key)
            if given is not None and windows and given >= windows[-1].until_s:
                findings.problem(("cold_start", key), f"{format_duration(given)} leaves nothing of the watch to judge")
        cold = ColdStart(
            errors_s=cold.errors_s if read.errors is None else read.errors,
            latency_s=cold.latency_s if read.latency is None else read.latency,
        )
    if isinstance(file.get("alpha"), Mapping):
        shares = AlphaFile.read(file["alpha"], ("alpha",), findings) or AlphaFile()
        alpha = alpha.model_copy(update=shares.model_dump(exclude_none=True))
    elif total_alpha is not None:
        alpha = alpha.scaled(total_alpha)
    shared = dict(Policy.model_fields["shared_cause"].get_default(call_default_factory=True))
    if "shared_cause" in file:
        causes = SharedCauseFile.read(file["shared_cause"], ("shared_cause",), findings) or SharedCauseFile()
        shared |= {Window(name): cause for name, cause in causes.model_dump(exclude_none=True).items()}
    return cold, alpha, shared
