"""A watch as people and programs read it: the view behind the API, the page, the terminal and the report."""

from typing import Any

from watchdog.core import (
    achieved,
    clues,
    coverage,
    doubt,
    escalation,
    hints,
    migration,
    observed,
    promotion,
    recovery,
    scaling,
    signoffs,
    trial,
    verdicts,
)
from watchdog.core.catalogue import JOURNEY_PREFIX, Family
from watchdog.core.model import Verdict
from watchdog.core.rules import Rule
from watchdog.core.standing import RuleState
from watchdog.core.state import Watch
from watchdog.core.text import iso, reading, share
from watchdog.core.two_arms import Served

ASKED = frozenset({Family.PROBES, Family.JOURNEYS})


def view(watch: Watch) -> dict[str, Any]:
    """Everything about a watch, JSON-able; the shape of `GET /api/v1/watches/{id}`."""
    shown = _view(watch)
    shown["to_check"] = [{"question": s.sentence, "command": s.command} for s in hints.to_check(shown)]
    return shown


def _view(watch: Watch) -> dict[str, Any]:
    service = watch.deploy.service
    window = watch.window
    return {
        "id": watch.id,
        "release": watch.release,
        "project": service.project,
        "region": service.region,
        "service": service.name,
        "revision": watch.revision,
        "version": watch.deploy.version,
        "deployer": watch.deploy.deployer,
        "notes_of_deploy": watch.deploy.notes,
        "previous": watch.target.split.percents(),
        "rollback_safe": watch.deploy.rollback_safe,
        "image": watch.deploy.image,
        "fingerprint": watch.deploy.fingerprint,
        "state": watch.state.value,
        "window": window.value if window and watch.open else None,
        "outcome": watch.outcome.value if watch.outcome else None,
        "reason": watch.reason,
        "mode": doubt.mode(watch),
        "doubt": doubt.sentence(watch),
        "known_bad": watch.known_bad,
        "would_roll_back": observed.said([d.reason for d in watch.decisions]),
        "policy_hash": watch.policy_hash,
        "opened_at": iso(watch.opened_at),
        "cutover_at": iso(watch.cutover_at),
        "ends_at": iso(watch.ends_at) if watch.cutover_at is not None else None,
        "ended_at": iso(watch.ended_at),
        "last_evaluation_at": iso(watch.at),
        "target": {"split": watch.target.split.percents(), "source": watch.target.source},
        "split": watch.split.percents(),
        "coverage": _coverage(watch),
        "coverage_floor": watch.rules.policy.coverage_floor,
        "promotion": promotion.evidence(watch) if watch.open else None,
        "windows": _windows(watch),
        "achieved": achieved.view(watch) if not watch.open else [],  # final at the end; `explain` reckons it before
        "criteria": [_criterion(watch, i) for i in range(len(watch.rules.rules))],
        "probes": [_probe(watch, name) for name in (*watch.rules.policy.probes, *watch.rules.journeys)],
        "journeys": [_journey(watch, name) for name in watch.rules.policy.journeys],
        "signoffs": signoffs.view(watch),
        "log": clues.view(watch),
        "images": dict(watch.images),
        "schemas": dict(watch.schemas),
        "rollback": _rollback(watch),
        "elsewhere": {"region": watch.elsewhere.region, "watch": watch.elsewhere.watch} if watch.elsewhere else None,
        "trial": _trial(watch),
        "scalings": scaling.view(watch),
        "database": _database(watch),
        "hold": {"reason": watch.hold.reason, "since": iso(watch.hold.since), "kind": watch.hold.kind}
        if watch.hold
        else None,
        "incident": _incident(watch),
        "notes": list(watch.notes),
        "decisions": [
            {"at": iso(d.at), "action": d.action.value, "criterion": d.criterion, "reason": d.reason}
            for d in watch.decisions
        ],
        "timeline": [{"at": iso(e.at), "kind": e.kind, "text": e.text} for e in watch.timeline],
        "mark": None,  # a person's word, once it has ended (`core.marks`)
    }


def _coverage(watch: Watch) -> dict[str, float]:
    """Coverage of the windows that have begun."""
    until = coverage.watched_until(watch)
    found = {
        w.window.value: coverage.of_window(watch, i, until)
        for i, w in enumerate(watch.rules.policy.windows)
        if watch.cutover_at is not None
    }
    return {name: round(c, 4) for name, c in found.items() if c is not None}


def _windows(watch: Watch) -> list[dict[str, Any]]:
    if watch.cutover_at is None:
        return []
    covered = _coverage(watch)
    out = []
    for w, (start, end) in zip(watch.rules.policy.windows, watch.bounds(), strict=True):
        until = coverage.watched_until(watch)
        state = "none" if start >= end else "waiting" if until < start else "open" if until < end else "done"
        if not watch.open:
            state = "done" if state in {"open", "done"} else "none"
        found = covered.get(w.window.value)
        low = found is not None and found < watch.rules.policy.coverage_floor and watch.rollback is None
        out.append(
            {
                "name": w.window.value,
                "starts_at": iso(start),
                "ends_at": iso(end),
                "state": state,
                "coverage": found,
                "verdict": "UNVERIFIED" if low and state == "done" else None,
            }
        )
    return out


def _criterion(watch: Watch, index: int) -> dict[str, Any]:
    rule, state = watch.rules.rules[index], watch.verdicts[index]
    bad, total, source = _counted(watch, index)
    value = bad / total if total else None
    if rule.family is Family.LATENCY:
        value = state.value
    elif rule.family in ASKED:
        value = 1.0 - bad / total if total else None
    elif value is None:
        value = state.value
    row = rule.row
    return {
        "id": row.id,
        "label": row.label,
        "metric": row.metric,
        "table": row.table.value,
        "action": row.action.value,
        "severity": row.severity.value,
        "window": row.windows[0].value if len(row.windows) == 1 else None,
        "verdict": state.verdict.value,
        "value": value,
        "value_text": _value_text(rule, state, value, bad, total),
        "threshold": rule.threshold,
        "threshold_text": row.condition.text if row.condition else "failing",
        "bad": bad,
        "n": total,
        "fullness": round(verdicts.fullness(watch, index), 4),
        "source": source or state.source,
        "since": iso(state.since),
        "reason": state.reason if state.verdict is not Verdict.PASS else "",
    }


def _counted(watch: Watch, index: int) -> tuple[float, float, str]:
    """Counts since the cutover of the rule's best feed; of all probes together for a probe row."""
    rule = watch.rules.rules[index]
    found = [(s.series.bad, s.series.total, key[0]) for key, s in watch.streams.items() if index in s.rules]
    if not found:
        if rule.family in ASKED:
            states = [watch.probes[c] for c in rule.checks if c in watch.probes]
            return sum(p.failed for p in states), sum(p.passed + p.failed for p in states), "probe"
        return 0.0, 0.0, ""
    if rule.family is Family.PROBES:
        return sum(f[0] for f in found), sum(f[1] for f in found), found[0][2]
    return max(found, key=lambda f: f[1])


def _value_text(rule: Rule, state: RuleState, value: float | None, bad: float, total: float) -> str:
    if rule.family is Family.LATENCY and total and state.value is None:
        return f"{share(bad / total)} slower"
    if value is None:
        return "–"
    return share(value) if rule.family in ASKED else reading(rule.row.metric, value)


def _probe(watch: Watch, name: str) -> dict[str, Any]:
    p = watch.probes[name]
    last = p.last
    confirmation = watch.confirmations.get(name)
    state = "unknown" if last is None else "passing" if last.ok else "failing" if last.failed else "missing"
    return {
        "name": name,
        "state": state,
        "armed": p.armed or watch.armed_by_hand,
        "critical": watch.probe(name).critical,
        "streak": confirmation.failures if confirmation else p.streak,
        "needed": watch.confirm(name).failures,
        "passed": p.passed,
        "failed": p.failed,
        "missing": p.missing,
        "last_at": iso(last.started_at) if last else None,
        "last_reason": last.reason if last else "",
        "last_detail": last.detail if last else "",
        "last_duration_s": round(last.ended_at - last.started_at, 4) if last else None,
    }


def _journey(watch: Watch, name: str) -> dict[str, Any]:
    """A journey with the steps of its last run."""
    config = watch.rules.policy.journeys[name]
    known = watch.probes.get(name)
    last = known.last if known else None
    return {
        "name": name,
        "title": config.journey.title or name.removeprefix(JOURNEY_PREFIX),
        "file": config.file,
        "windows": [w.value for w in config.windows],
        "every_s": config.every_s,
        "left_out": watch.rules.unable.get(name, ""),
        "at": iso(last.started_at) if last else None,
        "steps": [
            {
                "name": s.name,
                "result": s.result,
                "status": s.status,
                "reason": s.reason,
                "detail": s.detail,
                "seconds": round(s.ended_at - s.started_at, 4),
                "cleanup": s.cleanup,
            }
            for s in (last.steps if last else ())
        ],
    }


def _rollback(watch: Watch) -> dict[str, Any] | None:
    r = watch.rollback
    if r is None:
        return None
    seen, needed = recovery.counts_needed(watch)
    return {
        "state": r.stage,
        "from": r.before.percents(),
        "to": (r.after if r.after.shares else watch.target.split).percents(),
        "trigger": r.trigger.criterion,
        "proof": r.trigger.sentence,
        "by": r.by,
        "despite": r.despite,
        "decided_at": iso(r.decided_at),
        "written_at": iso(r.written_at),
        "restored_at": iso(r.restored_at),
        "verified_at": iso(r.verified_at),
        "passes": dict(r.passes),
        "requests_since": seen,
        "requests_needed": needed if needed < 1e12 else None,
        "reason": r.reason,
    }


def _trial(watch: Watch) -> dict[str, Any] | None:
    """The last trial: what was tried, what both arms showed, and what was said of it."""
    t = watch.trial
    if t is None:
        return None
    watched, target = trial.arms(t)
    return {
        "state": "running" if watch.on_trial is t else "over",
        "from": t.before.percents(),
        "to": t.after.percents(),
        "trigger": t.trigger.criterion,
        "written_at": iso(t.written_at),
        "routed_at": iso(t.routed_at),
        "decided_at": iso(t.decided_at),
        "put_back_at": iso(t.put_back_at),
        "verdict": t.verdict,
        "reason": t.reason,
        "source": t.source,
        "watched": _served((watch.revision,), watched),
        "target": _served(t.targets, target),
    }


def _served(revisions: tuple[str, ...], served: Served) -> dict[str, Any]:
    return {"revisions": list(revisions), "bad": served.bad, "total": served.total, "kinds": dict(served.kinds)}


def _database(watch: Watch) -> dict[str, Any] | None:
    """The run of the job that undoes a migration, and what a person would type."""
    run = watch.job
    if watch.rules.policy.database_rollback is None:
        return None
    return {
        "job": run.job if run else "",
        "state": run.stage if run else "",
        "by": run.by if run else "",
        "execution": run.execution if run else "",
        "asked_at": iso(run.asked_at) if run else None,
        "ended_at": iso(run.ended_at) if run else None,
        "reason": run.reason if run else "",
        "commands": list(migration.commands(watch)),
    }


def _incident(watch: Watch) -> dict[str, Any] | None:
    i = watch.incident
    if i is None:
        return None
    upcoming = escalation.next_page(i) if watch.open else None
    return {
        "key": i.key,
        "title": i.title,
        "severity": i.severity,
        "opened_at": iso(i.opened_at),
        "acknowledged_at": iso(i.acknowledged_at),
        "acknowledged_by": i.acknowledged_by,
        "resolved_at": iso(i.resolved_at),
        "resolved_by": i.resolved_by,
        "criterion": i.criterion,
        "level": i.level,
        "ladder": [rung.name for rung in i.ladder],
        "next_page_at": iso(upcoming[0]) if upcoming else None,
        "next_page_to": upcoming[1] if upcoming else "",
    }
