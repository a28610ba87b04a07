"""A policy as `watchdog check` shows it: the tables as understood, with what each row really asks and what it costs.

The point is to show what the file does not say by itself: "P95 < 500ms" is "at most 5 % of requests slower than 500ms",
"100%" lets two probes in a hundred fail, and every row has its share of false alarms.
"""

import json
from collections.abc import Iterable, Sequence
from typing import Any, Final

from watchdog.core import policy_text_beyond, reads
from watchdog.core.catalogue import JOURNEY_PREFIX, JOURNEYS, Family, family
from watchdog.core.checks import LOGS
from watchdog.core.conditions import format_condition, format_duration, format_quantity, format_share
from watchdog.core.model import Row, Table
from watchdog.core.policy import JourneyConfig, Policy, ProbeConfig, p0_of
from watchdog.core.text import iso

_OPPOSITE: Final = {"<": ">=", "<=": ">", ">": "<=", ">=": "<"}
_READ_AS: Final = {"<": "below", "<=": "at or below", ">": "above", ">=": "at or above"}
_TITLES: Final = {
    Table.SUCCESS: "Success criteria: what must hold",
    Table.WINDOW: "Window criteria: what must hold in one window",
    Table.ALERT: "Alert thresholds",
    Table.IMMEDIATE: "Rollback immediately if",
    Table.CHECK: "Checks: what must pass",
}
_FAIL: Final = {"client_error_rate": "are answered 4xx", "grpc_error_rate": "fail by their gRPC status"}
"""What a bad request does, where it does not just fail."""
_MODES: Final = {
    "automatic": "rolls back by itself",
    "approve": "asks a person before it rolls back",
    "observe": "never rolls back, only says what it would do",
}


# --- words for one row --------------------------------------------------------------------------------------------


def breach_of(policy: Policy, row: Row) -> str:
    """When the row is broken, as it is really judged: "more than 5% of requests slower than 500ms"."""
    kind, condition = family(row.metric), row.condition
    if kind is Family.JOURNEYS:
        meant = [j for j in policy.journeys.values() if row.metric in {j.name, JOURNEYS}]
        failures = ", ".join(sorted({str(j.confirm.failures) for j in meant}))
        return f"a journey fails so often in a row: {failures}"
    if kind is Family.CHECK:
        return _fails(policy, row)
    if condition is None:
        failures = ", ".join(f"{w.confirm.failures} ({w.window})" for w in policy.windows)
        return f"a probe fails so often in a row: {failures}"
    p0 = p0_of(row)
    if kind is Family.PROBES:
        return f"more than {format_share(p0 or 0.0)} of probes fail"
    if kind is Family.ERRORS:
        fail = _FAIL.get(row.metric, "fail")
        if p0 is None:
            return f"{condition.value:g} times more requests {fail} than before the deploy"
        return f"more than {format_share(p0)} of requests {fail}"
    limit = (
        f"{condition.value:g} times before the deploy"
        if condition.relative
        else format_quantity(condition.value, condition.unit)
    )
    if kind is Family.LATENCY:
        return f"more than {format_share(p0 or 0.0)} of requests slower than {limit}"
    op = _OPPOSITE[condition.op] if row.is_target else condition.op
    return f"4 of the last 5 points {_READ_AS[op]} {limit}"


def _fails(policy: Policy, row: Row) -> str:
    """Of a check: how often it has to fail."""
    if row.metric == LOGS:
        least = policy.logs.at_least if policy.logs is not None else 1
        often = f" {least} times" if least > 1 else ""
        until = format_duration(row.until_s or policy.watch_s)
        return f"an error is logged{often} in the first {until} that the revision before did not log"
    often = "it fails" if row.failures == 1 else f"it fails {row.failures} times in a row"
    return often if row.until_s is None else f"{often} in the first {format_duration(row.until_s)}"


def when_of(policy: Policy, row: Row) -> str:
    """In which windows the row counts."""
    if len(row.windows) == len(policy.windows):
        return "always"
    return ", ".join(row.windows)


def _alpha(policy: Policy, row: Row) -> str:
    alpha = policy.alpha_of(row)
    return "" if alpha is None else f"alpha {format_share(alpha)}"


def _expectation(probe: ProbeConfig) -> str:
    status = " or ".join(str(s) for s in probe.expect.status)
    body = probe.expect.json_subset
    shown = "" if body is None else f" with {json.dumps(body, ensure_ascii=False, sort_keys=True)}"
    return f"{status}{shown} within {format_duration(probe.timeout_s)}"


def _probe_notes(probe: ProbeConfig) -> str:
    notes = []
    if not probe.critical:
        notes.append("not critical")
    if probe.auth == "id_token":
        notes.append(f"ID token for {probe.audience or 'the service'}")
    if probe.headers:
        notes.append(f"headers {', '.join(probe.headers)}")
    if probe.startup_s:
        notes.append(f"timeouts count after {format_duration(probe.startup_s)}")
    return "; ".join(notes)


# --- the whole, as text -------------------------------------------------------------------------------------------


def describe(policy: Policy, warnings: Sequence[str] = ()) -> str:
    """The tables as understood, plain text, about 120 columns wide."""
    service = policy.service
    url = service.url or "at the URL that Cloud Run reports"
    looks, asks = format_duration(service.discover_every_s), format_duration(service.metrics_every_s)
    lines = [
        f"{service.name} in {', '.join(service.regions)} of project {service.project}, {url}",
        f"policy {policy.hash}, watched for {format_duration(policy.watch_s)}; {_MODES[policy.rollback.mode]}",
        f"looks for a new revision every {looks}, asks metrics every {asks}",
        "alpha is the chance that a row raises a false alarm in a whole watch",
    ]
    lines += _section("Windows", [_window_cells(policy, i) for i in range(len(policy.windows))])
    lines += _section(
        "Probes (health_check is all of them)",
        [(p.name, p.path or p.url or "", _expectation(p), _probe_notes(p)) for p in policy.probes.values()],
    )
    lines += _section(
        "Journeys (journeys is all of them)", [_journey_cells(policy, j) for j in policy.journeys.values()]
    )
    for table, title in _TITLES.items():
        rows = [r for r in policy.rows if r.table is table]
        cells = [_row_cells(policy, row) for row in rows]
        if table is Table.IMMEDIATE:
            cells += [_signal_cells(policy, signal) for signal in sorted(policy.signals)]
        lines += _section(title, cells)
    lines += _section("Rollback", _rollback_cells(policy))
    lines += _section("Beyond traffic", policy_text_beyond.cells(policy))
    lines += _section("Who is told", _paging_cells(policy))
    lines += _section(
        "Metrics",
        [(m.name, "no source yet" if m.pending else f"from {m.source}") for m in policy.metrics.values()],
    )
    lines += _reads(policy)
    lines += _section("Warnings", [(w,) for w in warnings])
    return "\n".join(lines) + "\n"


def _journey_cells(policy: Policy, journey: JourneyConfig) -> tuple[str, ...]:
    windows = [w.window for w in policy.windows if journey.runs_in(w.window)]
    when = "always" if len(windows) == len(policy.windows) else ", ".join(windows)
    needs = ", ".join(f"WATCHDOG_JOURNEY__{name.upper()}" for name in journey.journey.secrets)
    return (
        journey.name.removeprefix(JOURNEY_PREFIX),
        f"{len(journey.journey.steps)} steps of {journey.file}, {format_duration(journey.timeout_s)} at most",
        f"every {format_duration(journey.every_s)}, {when}",
        f"failing after {journey.confirm.failures} in a row, {format_duration(journey.confirm.every_s)} apart"
        + ("" if journey.critical else "; not critical"),
        f"needs {needs}" if needs else "",
    )


def _window_cells(policy: Policy, index: int) -> tuple[str, ...]:
    w = policy.windows[index]
    return (
        w.window,
        f"{format_duration(w.start_s)} to {format_duration(w.until_s)}",
        f"probes every {format_duration(w.probe_every_s)}",
        f"failing after {w.confirm.failures} in a row, {format_duration(w.confirm.every_s)} apart",
        f"both revisions sick: {policy.shared_cause.get(w.window, 'hold')}",
    )


def _row_cells(policy: Policy, row: Row) -> tuple[str, ...]:
    # In the alert table severity tells the two rows of one line apart; elsewhere it follows from the action.
    severity = row.severity.value if row.table is Table.ALERT else ""
    note = policy.notes.get(row.id, "")
    when = when_of(policy, row) if row.table is Table.WINDOW else ""
    return (
        when,
        row.metric,
        severity,
        format_condition(row.condition) if row.condition else "failing",
        row.action.value,
        f"when {breach_of(policy, row)}",
        "no source yet" if row.pending else _alpha(policy, row),
        f'"{note}"' if note else "",
    )


def _signal_cells(policy: Policy, signal: str) -> tuple[str, ...]:
    note = policy.notes.get(f"signal.{signal}", "")
    return "", f"signal {signal}", "", "", "rollback", "when anybody reports it", "", f'"{note}"' if note else ""


def _rollback_cells(policy: Policy) -> list[tuple[str, ...]]:
    r = policy.rollback
    trial = "all traffic at once"
    if r.trial is not None:
        trial = f"{format_share(r.trial)} of traffic first, where prompt counts raised the alarm"
    cells = [
        ("mode", f"{r.mode}: {_MODES[r.mode]}"),
        ("trial", trial),
        ("warm, settle", f"{format_duration(r.warm_s)}, {format_duration(r.settle_s)} at most"),
        ("recovery", f"{r.verify_probes} passes in a row of every probe, within {format_duration(r.verify_for_s)}"),
        ("budget", f"{r.per_day} a day, {format_duration(r.cooldown_s)} apart for one target"),
    ]
    if r.impersonate:
        cells.append(("writes as", r.impersonate))
    if r.mode == "approve":
        cells.append(("approval", f"within {format_duration(r.approve_within_s)}"))
    if len(policy.service.regions) > 1:
        everywhere = "all: proof in one region rolls the same release back in the others too"
        cells.append(("scope", everywhere if r.scope == "all" else "region: only the region where it was proven"))
    errors, latency = format_duration(policy.cold_start.errors_s), format_duration(policy.cold_start.latency_s)
    return [
        *cells,
        ("coverage", f"a window with evidence for less than {format_share(policy.coverage_floor)} is unverified"),
        ("cold start", f"errors count after {errors}, latency after {latency}"),
        *([("control URL", policy.control_url)] if policy.control_url else []),
    ]


def _paging_cells(policy: Policy) -> list[tuple[str, ...]]:
    escalation = policy.escalation
    cells: list[tuple[str, ...]] = []
    if escalation.by == "watchdog":
        for level, rung in enumerate(escalation.ladder, 1):
            after = f"after {format_duration(rung.after_s)}" if rung.after_s else "at once"
            contacts = ", ".join([*rung.email, *([f"Slack {rung.slack}"] if rung.slack else [])])
            cells.append((f"level {level}", rung.name, after, "critical only" if rung.only_critical else "", contacts))
    else:
        cells.append(("escalation", "PagerDuty climbs its own ladder"))
    cells.append(("reminder", f"every {format_duration(escalation.remind_every_s)} once acknowledged, until resolved"))
    cells += [(name, f"gets {channel.send}") for name, channel in policy.channels.items()]
    for silence in policy.silences:
        what = " ".join(part for part in (silence.criterion, silence.kind, silence.severity) if part)
        cells.append(("silenced", what, f"until {iso(silence.until)}", f"by {silence.by}: {silence.reason}"))
    return cells


def _reads(policy: Policy) -> list[str]:
    found = reads.budget(policy)
    lines = _section(
        "Reads of Cloud Monitoring, billed by the series", [(r.source, r.what, f"{r.series}") for r in found.reads]
    )
    lines += [f"  {said}" for said in reads.sentences(found)]
    regions = len(policy.service.regions)
    return [*lines, f"  and so in each of {regions} regions"] if lines and regions > 1 else lines


def _section(title: str, rows: Iterable[Sequence[str]]) -> list[str]:
    """The rows under their title in aligned columns; columns that are empty everywhere are left out."""
    filled = [list(map(str, row)) for row in rows]
    if not filled:
        return []
    columns = max(len(row) for row in filled)
    padded = [row + [""] * (columns - len(row)) for row in filled]
    widths = [max(len(row[i]) for row in padded) for i in range(columns)]
    lines = [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True) if width).rstrip()
        for row in padded
    ]
    return ["", title, *(f"  {line}" for line in lines)]


# --- the whole, as JSON -------------------------------------------------------------------------------------------


def describe_json(policy: Policy, warnings: Sequence[str] = ()) -> dict[str, Any]:
    """The same as values: numbers in base units, header values left out."""
    values = policy.canonical()
    for probe in values["probes"].values():
        probe["headers"] = sorted(probe["headers"])
    for journey in values["journeys"].values():
        for step in (*journey["journey"]["steps"], *journey["journey"]["cleanup"]):
            step["headers"] = sorted(step["headers"])
    values["hash"] = policy.hash
    values["watch_s"] = policy.watch_s
    values["rows"] = [_row_json(policy, row) for row in policy.rows]
    values["reads"] = reads.values(reads.budget(policy))
    values["warnings"] = list(warnings)
    return values


def _row_json(policy: Policy, row: Row) -> dict[str, Any]:
    condition = row.condition
    return {
        "id": row.id,
        "table": row.table.value,
        "metric": row.metric,
        "label": row.label,
        "condition": format_condition(condition) if condition else "failing",
        "op": condition.op if condition else None,
        "value": condition.value if condition else None,
        "relative": bool(condition and condition.relative),
        "action": row.action.value,
        "severity": row.severity.value,
        "windows": [w.value for w in row.windows],
        "family": family(row.metric).value,
        "p0": p0_of(row),
        "alpha": policy.alpha_of(row),
        "breach": breach_of(policy, row),
        "pending": row.pending,
        "note": policy.notes.get(row.id),
    }
