"""The makings of a watch in tests: a policy, an opening, answers of probes, samples."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from tests.core.policies import build
from watchdog.core import watch as folding
from watchdog.core.commands import Command
from watchdog.core.events import Event, Lag, Opened, Probed, Sampled, Target
from watchdog.core.model import (
    Deploy,
    Evidence,
    Failed,
    Missing,
    Passed,
    Sample,
    ServiceKey,
    Split,
    Tag,
    Verdict,
)
from watchdog.core.policy import Policy
from watchdog.core.probing import ProbeAnswer, Purpose, Role
from watchdog.core.standing import RuleState
from watchdog.core.state import Watch

T0 = 1_700_000_000.0
"""The cutover of every watch in these tests."""
NEW, OLD = "api-00002", "api-00001"
KEY = ServiceKey(project="barq-fleet", region="us-central1", name="barq-fleet-api")
TAGS = (
    Tag(name="old", revision=OLD, url="https://old.example"),
    Tag(name="new", revision=NEW, url="https://new.example"),
)

TABLES: Mapping[str, Any] = {
    "windows": {
        "immediate": {"until": "15m", "probe_every": "5s"},
        "short_term": {"until": "60m", "probe_every": "15s", "confirm": {"failures": 10}},
        "extended": {"until": "24h", "probe_every": "60s", "confirm": {"failures": 20}},
    },
    "probes": {
        "health": {"path": "/health", "timeout": "3s"},
        "ready": {"path": "/ready", "timeout": "3s"},
    },
    "success_criteria": [
        {"metric": "error_rate", "target": "< 1%", "action": "rollback"},
        {"metric": "p95_latency", "target": "< 500ms", "action": "investigate"},
        {"metric": "health_check", "target": "100%", "action": "rollback"},
    ],
    "alert_thresholds": [
        {"metric": "error_rate", "warning": "> 0.5%", "critical": "> 2%", "action": ["investigate", "rollback"]},
        {"metric": "cpu_usage", "warning": "> 70%", "critical": "> 90%", "action": "scale_up"},
    ],
    "rollback": {
        "mode": "automatic",
        "trial": "off",
        "immediately_if": ["error_rate > 5%", "health_check failing", {"signal": "database_corruption"}],
    },
}
"""The customer's tables, cut to what the fold's behaviour depends on."""
FAST = tuple(
    Lag(source="requests", check=c, period_s=5.0, lag_s=10.0)
    for c in ("error_rate", "slower_than_500ms", "slower_than_500ms_upper")
)
SLOW = tuple(
    Lag(source="cloud_run", check=c, period_s=60.0, lag_s=180.0)
    for c in ("error_rate", "slower_than_500ms", "cpu_usage", "memory_usage")
)


def policy(**changes: Any) -> Policy:
    """The tables with other top-level keys; `rollback` is merged, None removes a key."""
    merged = {**TABLES, **changes}
    if changes.get("rollback"):
        merged["rollback"] = {**TABLES["rollback"], **changes["rollback"]}
    built = build(**merged)
    assert built.policy is not None, built.problems
    return built.policy


POLICY = policy()


def opening(of: Policy = POLICY, **changes: Any) -> Opened:
    """The first event of a watch: cut over at T0 with all traffic, tags on both revisions, every probe armed."""
    first = Opened(
        at=T0,
        watch="w1",
        deploy=Deploy(service=KEY, revision=NEW, version="1.4.0", fingerprint="new"),
        policy=of.canonical(),
        policy_hash=of.hash,
        target=Target(split=Split.of({OLD: 100}), source="discovery"),
        split=Split.of({NEW: 100}),
        tags=TAGS,
        cutover_at=T0,
        lags=FAST,
        armed=tuple(of.probes),
    )
    return replace(first, **changes)


# --- answers -----------------------------------------------------------------------------------------------------


def ok(at: float, took: float = 0.05) -> ProbeAnswer:
    """A probe sent at `at` that passed."""
    return ProbeAnswer(evidence=Passed(), started_at=at, ended_at=at + took, status=200)


def fails(at: float, reason: str = "status", took: float = 0.05) -> ProbeAnswer:
    """… that failed; a timeout takes 3 s."""
    took = 3.0 if reason == "timeout" else took
    status = 503 if reason == "status" else None
    detail = "answered 503, expected 200" if status else f"{reason} after {took:g} s"
    return ProbeAnswer(evidence=Failed(reason), started_at=at, ended_at=at + took, status=status, detail=detail)


def missing(at: float, reason: str = "prober") -> ProbeAnswer:
    """… that says nothing about the service."""
    return ProbeAnswer(evidence=Missing(reason), started_at=at, ended_at=at + 0.05)


def regular(name: str, answer: ProbeAnswer, *, role: Role = Role.PUBLIC, slot_s: float = 5.0) -> Probed:
    """A regular probe's event."""
    sent = answer.started_at
    return Probed(
        at=answer.ended_at,
        probe=name,
        role=role,
        purpose=Purpose.REGULAR,
        scheduled_at=sent,
        answer=answer,
        slot_s=slot_s,
    )


def confirming(name: str, attempt: int, answer: ProbeAnswer, *, role: Role = Role.PUBLIC) -> Probed:
    """A confirming probe's event."""
    return Probed(
        at=answer.ended_at,
        probe=name,
        role=role,
        purpose=Purpose.CONFIRM,
        attempt=attempt,
        scheduled_at=answer.started_at,
        answer=answer,
    )


def sampled(check: str, end_s: float, evidence: Evidence, **more: Any) -> Sampled:
    """One sample that ends `end_s` seconds after the cutover. `width`, `seen_s`, `source`, `revision` may be given."""
    width, end = more.pop("width", 5.0), T0 + end_s
    seen = T0 + more.pop("seen_s", end_s)
    sample = Sample(
        source=more.pop("source", "requests"),
        check=check,
        revision=more.pop("revision", NEW),
        start=end - width,
        end=end,
        seen=seen,
        evidence=evidence,
    )
    assert not more, more
    return Sampled(at=seen, samples=(sample,))


# --- what a watch says -------------------------------------------------------------------------------------------


def state_of(watch: Watch, row_id: str) -> RuleState:
    """What a row of a watch says."""
    return next(s for r, s in zip(watch.rules.rules, watch.verdicts, strict=True) if r.row.id == row_id)


def verdicts(watch: Watch) -> dict[str, Verdict]:
    """Row → verdict."""
    return {r.row.id: s.verdict for r, s in zip(watch.rules.rules, watch.verdicts, strict=True)}


def fold_all(first: Opened, events: Sequence[Event]) -> tuple[Watch, list[Command]]:
    """A watch from its opening and what came after it."""
    watch, commands = folding.replay([first, *events])
    assert watch is not None
    return watch, commands
