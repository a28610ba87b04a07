"""The named parts of a policy file, probes and metrics: each checked by itself and against the windows."""

import re
from collections.abc import Mapping
from typing import Literal

from watchdog.core.catalogue import (
    BASE_UNITS,
    BUILT_IN,
    JOURNEY_PREFIX,
    METRICS,
    PENDING,
    SOURCES,
    UNITS,
    Dimension,
    Family,
    SourceKind,
    canonical_name,
    is_journey,
    is_probe,
)
from watchdog.core.conditions import format_duration, quoted
from watchdog.core.findings import Findings, Path
from watchdog.core.journey import Journey
from watchdog.core.model import Window
from watchdog.core.policy import (
    ConfirmConfig,
    Expect,
    JourneyConfig,
    MetricConfig,
    ProbeConfig,
    SignoffConfig,
    WindowConfig,
)
from watchdog.core.policy_grammar import JourneyEntry, MetricFile, ProbeFile, SignoffFile
from watchdog.core.policy_queries import check_query
from watchdog.core.policy_section import mapped
from watchdog.core.suggest import closest, did_you_mean
from watchdog.core.variables import names_in
from watchdog.core.vocabulary import Measure

_SECRET_HEADERS = {"authorization", "proxy-authorization", "cookie", "x-api-key", "api-key", "x-auth-token"}

_DEFAULT_TIMEOUT_S = 3.0


# --- probes -------------------------------------------------------------------------------------------------------


def probes_of(value: object, windows: tuple[WindowConfig, ...], findings: Findings) -> dict[str, ProbeConfig]:
    """Every sound probe by its name."""
    made = {}
    for name, item in mapped(value, ("probes",), findings).items():
        path: Path = ("probes", name)
        if not re.fullmatch(r"[a-z][a-z0-9_-]{0,62}", name):
            findings.problem(path, "is no name for a probe; use small letters, digits, _ and -")
        read = ProbeFile.read(item, path, findings)
        if read is not None:
            made[name] = _probe(name, read, path, windows, findings)
    return made


def _probe(
    name: str, read: ProbeFile, path: Path, windows: tuple[WindowConfig, ...], findings: Findings
) -> ProbeConfig:
    if read.path is None and read.url is None and not read.spoilt & {"path", "url"}:
        findings.problem(path, "has neither path nor url; write for example path: /health")
    if read.path is not None and read.url is not None:
        findings.problem((*path, "url"), "stands beside path; keep one of them")
    if read.audience is not None and read.auth != "id_token" and "auth" not in read.spoilt:
        findings.problem((*path, "audience"), "has no meaning without auth: id_token")
    for header, text in (read.headers or {}).items():
        if header.lower() in _SECRET_HEADERS and not names_in([text]):
            findings.warning(
                (*path, "headers", header),
                "is written into the journal with the policy, so anybody who reads it sees the secret; "
                "write ${NAME} and set WATCHDOG_PROBE__NAME, or use auth: id_token",
            )
    shortest = min(windows, key=lambda w: w.probe_every_s, default=None)
    timeout_s = read.timeout
    if timeout_s is None:
        timeout_s = min([_DEFAULT_TIMEOUT_S, *(w.probe_every_s for w in windows)])
    elif shortest is not None and timeout_s > shortest.probe_every_s:
        findings.problem(
            (*path, "timeout"),
            f"{format_duration(timeout_s)} is above probe_every of window {shortest.window}, "
            f"{format_duration(shortest.probe_every_s)}: a hanging probe would still run when the next is due",
        )
    expect = read.expect
    return ProbeConfig(
        name=name,
        path=read.path,
        url=read.url,
        headers=dict(read.headers or {}),
        auth="id_token" if read.auth == "id_token" else "none",
        audience=read.audience,
        expect=Expect(
            status=expect.status if expect and expect.status else (200,),
            json_subset=expect.json_subset if expect else None,
        ),
        timeout_s=timeout_s,
        critical=read.critical is not False,
        startup_s=read.startup or 0.0,
    )


# --- journeys -----------------------------------------------------------------------------------------------------


def journeys_of(
    value: object, windows: tuple[WindowConfig, ...], files: Mapping[str, Journey | str], findings: Findings
) -> dict[str, JourneyConfig]:
    """Every sound journey by its check's name, `journey.NAME`."""
    made = {}
    for name, item in mapped(value, ("journeys",), findings).items():
        path: Path = ("journeys", name)
        if not re.fullmatch(r"[a-z][a-z0-9_-]{0,62}", name):
            findings.problem(path, "is no name for a journey; use small letters, digits, _ and -")
        read = JourneyEntry.read(item, path, findings)
        found = files.get(read.file, "was not read") if read is not None and read.file is not None else None
        if isinstance(found, str) and found:
            findings.problem((*path, "file"), found)
        config = _journey(name, read, found, path, findings) if read and isinstance(found, Journey) else None
        if config is None:
            continue
        made[config.name] = config
        known = {w.window for w in windows}
        for window in config.windows if windows else ():
            if window not in known:
                findings.problem((*path, "windows"), f"there is no window {window} in windows")
    return made


def _journey(name: str, read: JourneyEntry, found: Journey, path: Path, findings: Findings) -> JourneyConfig:
    plain = JourneyConfig.model_fields
    every_s: float = plain["every_s"].default if read.every is None else read.every
    confirm: ConfirmConfig = plain["confirm"].default
    if read.confirm is not None:
        confirm = ConfirmConfig(
            failures=confirm.failures if read.confirm.failures is None else read.confirm.failures,
            every_s=confirm.every_s if read.confirm.every is None else read.confirm.every,
        )
    if found.timeout_s > every_s:
        findings.problem(
            (*path, "every"),
            f"{format_duration(every_s)} is below the journey's timeout, {format_duration(found.timeout_s)}: one run "
            "would still be under way when the next is due",
        )
    if confirm.failures < 2:
        findings.problem(
            (*path, "confirm", "failures"), "1 would act on a single failure; a journey needs at least 2 in a row"
        )
    if read.audience is not None and read.auth != "id_token" and "auth" not in read.spoilt:
        findings.problem((*path, "audience"), "has no meaning without auth: id_token")
    return JourneyConfig(
        name=f"{JOURNEY_PREFIX}{name}",
        file=read.file or "",
        journey=found,
        every_s=every_s,
        windows=read.windows or (),
        confirm=confirm,
        critical=read.critical is not False,
        auth="id_token" if read.auth == "id_token" else "none",
        audience=read.audience,
    )


# --- questions to people ------------------------------------------------------------------------------------------


def signoffs_of(value: object, windows: tuple[WindowConfig, ...], findings: Findings) -> dict[str, SignoffConfig]:
    """Every sound question by its name."""
    made = {}
    for name, item in mapped(value, ("signoffs",), findings).items():
        path: Path = ("signoffs", name)
        if not re.fullmatch(r"[a-z][a-z0-9_.-]{0,63}", name):
            findings.problem(path, "is no name for a sign-off; use small letters, digits, _, . and -")
        read = SignoffFile.read(item, path, findings)
        if read is None or read.question is None or read.window is None:
            continue
        if windows and read.window not in {w.window.value for w in windows}:
            findings.problem((*path, "window"), f"there is no window {read.window} in windows")
        made[name] = SignoffConfig(question=read.question, window=Window(read.window))
    return made


# --- metrics ------------------------------------------------------------------------------------------------------


def metrics_of(value: object, findings: Findings) -> tuple[dict[str, MetricConfig], dict[str, Measure]]:
    """Where each metric comes from, and what rows may say of it: declared metrics, and Cloud Run's own."""
    configs, measures = dict[str, MetricConfig](), dict[str, Measure]()
    written = dict[str, str]()
    for given, item in mapped(value, ("metrics",), findings).items():
        path: Path = ("metrics", given)
        name = canonical_name(given)
        if name in written:
            findings.problem(path, f"is another name of {written[name]}, which is declared already")
            continue
        written[name] = given
        read = MetricFile.read(item, path, findings)
        if _named(name, path, findings) and read is not None:
            config = _metric(name, read, path, findings)
            configs[name] = config
            measures[name] = _measure(config)
        else:
            measures[name] = Measure(name=name, family=Family.GAUGE, dimension=None, high_is_bad=None, pending=True)
    for name in BUILT_IN:
        if name not in written:
            unit = BASE_UNITS[METRICS[name].dimension]
            configs[name] = MetricConfig(name=name, source="cloud_run", unit=unit)
    return configs, measures


def _named(name: str, path: Path, findings: Findings) -> bool:
    if is_probe(name):
        findings.problem(path, "stands for the probes, which are declared under probes")
        return False
    if is_journey(name):
        findings.problem(path, "stands for the journeys, which are declared under journeys")
        return False
    if not re.fullmatch(r"[a-z][a-z0-9_]{0,62}", name):
        findings.problem(path, "is no name for a metric; use small letters, digits and _")
        return False
    return True


def _measure(config: MetricConfig) -> Measure:
    known, kind = METRICS.get(config.name), SOURCES.get(config.source)
    return Measure(
        name=config.name,
        has_past=kind is None or kind.sees_past,
        family=known.family if known else Family.GAUGE,
        dimension=_dimension(config),
        high_is_bad=known.high_is_bad if known else None,
        pending=config.pending,
    )


def _dimension(config: MetricConfig) -> Dimension | None:
    known = METRICS.get(config.name)
    if known:
        return known.dimension
    return UNITS[config.unit][0] if config.unit in UNITS else None


def _metric(name: str, read: MetricFile, path: Path, findings: Findings) -> MetricConfig:
    known, kind = METRICS.get(name), SOURCES.get(read.source or "")
    unit = read.unit or (BASE_UNITS[known.dimension] if known else "")
    if known and read.unit and UNITS[read.unit][0] is not known.dimension:
        findings.problem((*path, "unit"), f"{name} is a {known.dimension}, which is not measured in {read.unit}")
    if known is None:
        meant = closest(name, METRICS, cutoff=0.85)
        if meant:
            findings.warning(path, f'is taken as a metric of your own; did you mean "{meant}"?')
    if kind is not None:
        _check_source(name, kind, read, path, findings)
    if read.source == PENDING:
        findings.warning((*path, "source"), "is pending: rows of this metric are INCONCLUSIVE until it has a source")
    return MetricConfig(
        name=name,
        source=read.source or PENDING,
        instance=read.instance,
        query=read.query,
        filter=read.filter,
        align=read.align,
        reduce=read.reduce,
        url=read.url,
        path=read.path,
        auth=_auth(read.auth),
        audience=read.audience,
        limit=read.limit,
        unit=unit,
        pending=read.source == PENDING,
    )


def _auth(given: str | None) -> Literal["none", "google", "id_token"] | None:
    return next((a for a in ("none", "google", "id_token") if a == given), None)


def _check_source(name: str, kind: SourceKind, read: MetricFile, path: Path, findings: Findings) -> None:
    """Whether this source can feed this metric, and has been told what it needs to know."""
    known = METRICS.get(name)
    for key in kind.needs:
        if getattr(read, key) is None and key not in read.spoilt:
            findings.problem((*path, key), f"is missing: {kind.name} has to know the {key}")
    for key in MetricFile.words():
        if getattr(read, key) is not None and key not in {"source", "unit", *kind.needs, *kind.takes}:
            findings.problem((*path, key), f"has no meaning for {kind.name}")
    if read.limit is not None and name != "db_connections":
        findings.problem((*path, "limit"), f"has no meaning for {name}; only db_connections is measured against it")
    check_query(kind.name, read, path, findings)
    if kind.any_metric:
        if known is None and read.unit is None and "unit" not in read.spoilt:
            findings.problem((*path, "unit"), f"is missing: in what does the query answer? One of {', '.join(UNITS)}")
        return
    if known is None:
        feeds = [m.name for m in METRICS.values() if kind.name in m.sources]
        findings.problem(path, f"{kind.name} does not know {quoted(name)}{did_you_mean(name, feeds)}")
    elif kind.name not in known.sources:
        others = [*known.sources, *(s.name for s in SOURCES.values() if s.any_metric)]
        findings.problem((*path, "source"), f"{kind.name} cannot feed {name}; use {', '.join(others)} or {PENDING}")
