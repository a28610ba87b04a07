"""An explanation as JSON-able values: the shape of `GET /api/v1/watches/{id}/explain`. Times are ISO 8601, UTC."""

from typing import Any, Final

from watchdog.core import clues, explain_text
from watchdog.core.achieved import as_json
from watchdog.core.explanation import Criterion, Explanation, Gap, Proof
from watchdog.core.text import iso

DIGITS: Final = 4


def view(e: Explanation) -> dict[str, Any]:
    """Everything that an explanation holds, and its sentences."""
    w = e.watch
    service = w.deploy.service
    return {
        "watch": w.id,
        "project": service.project,
        "region": service.region,
        "service": service.name,
        "revision": w.revision,
        "state": w.state.value,
        "outcome": w.outcome.value if w.outcome else None,
        "reason": w.reason,
        "policy_hash": w.policy_hash,
        "opened_at": iso(w.opened_at),
        "cutover_at": iso(w.cutover_at),
        "explained_until": iso(w.at),
        "question": explain_text.question(e),
        "answer": list(explain_text.answer(e)),
        "bins": {"from": iso(e.begins_at), "width_s": e.bin_s, "ends": [iso(at) for at in e.ends]},
        "criteria": [_criterion(c, e) for c in e.criteria],
        "decisions": [
            {"at": iso(d.at), "action": d.action, "criterion": d.criterion, "reason": d.reason, "window": d.window}
            for d in e.decisions
        ],
        "holds": [
            {
                "at": iso(h.at),
                "until": iso(h.until),
                "kind": h.kind,
                "criterion": h.criterion,
                "proof": h.proof,
                "reason": h.reason,
                "ended": h.ended or None,
            }
            for h in e.holds
        ],
        "confirmations": [
            {
                "probe": r.probe,
                "at": iso(r.at),
                "until": iso(r.until),
                "failures": r.failures,
                "needed": r.needed,
                "detail": r.detail,
                "ended": r.ended,
            }
            for r in e.confirmations
        ],
        "confirmations_in_all": {name: {"times": t.times, "passed": t.passed} for name, t in e.tallies.items()},
        "missing": _gaps(e),
        "new_errors": clues.view(w)["errors"],
        "course": [{"at": iso(m.at), "kind": m.kind, "text": m.text} for m in e.course],
        "course_left_out": e.course_left_out,
        "away_s": round(e.away_s, 3),
        "not_folded": e.not_folded,
    }


def _criterion(c: Criterion, e: Explanation) -> dict[str, Any]:
    row, state = c.rule.row, c.state
    return {
        "id": row.id,
        "label": row.label,
        "metric": row.metric,
        "table": row.table.value,
        "action": row.action.value,
        "severity": row.severity.value,
        "window": row.windows[0].value if len(row.windows) == 1 else None,
        "threshold_text": row.condition.text if row.condition else "failing",
        "verdict": state.verdict.value,
        "reason": state.reason,
        "why": explain_text.row(c, e),
        "silent": c.silent,
        "bad": c.counted.bad,
        "n": c.counted.total,
        "source": c.counted.source or state.source,
        "value": state.value,
        "peak": {
            "fullness": round(c.peak.fullness, DIGITS),
            "at": iso(c.peak.at),
            "bad": c.peak.bad,
            "n": c.peak.total,
        },
        "proofs": [_proof(p) for p in c.proofs],
        "proofs_in_all": c.proofs_in_all,
        "changes": [
            {"at": iso(x.at), "verdict": x.verdict.value, "was": x.was.value, "reason": x.reason} for x in c.changes
        ],
        "changes_left_out": c.changes_left_out,
        "coverage": {name: round(share, DIGITS) for name, share in c.coverage.items()},
        "achieved": [as_json(a) for a in c.achieved],
        "over_time": {
            "fullness": [round(b.fullness, DIGITS) if b.seen else None for b in c.bins],
            "verdict": [b.verdict.value for b in c.bins],
            "bad": [b.bad for b in c.bins],
            "n": [b.total for b in c.bins],
            "value": [b.value for b in c.bins],
        },
    }


def _proof(p: Proof) -> dict[str, Any]:
    return {
        "at": iso(p.at),
        "sentence": p.sentence,
        "began_at": iso(p.began_at),
        "cleared_at": iso(p.cleared_at),
        "acted_at": iso(p.acted_at),
        "led_to": p.led_to,
        "approach": [[iso(at), round(full, DIGITS)] for at, full in p.approach],
    }


def _gaps(e: Explanation) -> list[dict[str, Any]]:
    """Every check's gaps once, though several rows read it."""
    gaps: dict[tuple[str, str], Gap] = {(g.check, g.reason): g for c in e.criteria for g in c.gaps}
    return [
        {
            "check": g.check,
            "reason": g.reason,
            "times": g.times,
            "seconds": round(g.seconds, 3),
            "first_at": iso(g.first_at),
            "until": iso(g.until),
            "goes_on": g.goes_on,
        }
        for g in sorted(gaps.values(), key=lambda g: -g.seconds)
    ]
