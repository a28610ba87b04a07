"""What must be said loudly when a watch opens: whatever would keep a rollback from happening, or from being proven."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import inf

from watchdog.core.events import Lag, Target
from watchdog.core.model import SAFE_LABEL, RevisionState, ServiceState, Split, tags_by_revision
from watchdog.core.policy import Policy
from watchdog.core.text import listing
from watchdog.engine import baselines, metering


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """What was found when the watch opened."""

    policy: Policy
    target: Target
    state: ServiceState
    revision: str
    safe: bool
    lags: Sequence[Lag]
    baselines: Mapping[str, float]
    named: Split
    """The split that the caller named as the one before."""
    observe: bool
    """Watched without writing: a known-bad revision that serves again."""
    declared: bool
    """Whether somebody said of this deploy that it is (not) safe to roll back."""
    revisions: Sequence[RevisionState]


def notes(found: Found) -> list[str]:
    """Sentences, the most important first."""
    return [*_target(found), *_tags(found), *_writing(found), *_schema(found), *_evidence(found)]


def _target(found: Found) -> Iterator[str]:
    target = found.target
    if found.named.shares and target.source != "caller":
        yield (
            f"The split that was named as the one before ({found.named}) holds nothing to go back to: "
            "its revisions do not exist, or are the deploy itself."
        )
    if not target.split.shares:
        yield "No revision is known that served before: a rollback is impossible, it would only page."
    elif target.source == "ready_revisions":
        yield (
            f"The target {target.split} is a guess (the newest ready revision before this one): nobody said what "
            "served before and it was not seen. Pass --previous or `previous` in the deploy notice."
        )


def _tags(found: Found) -> Iterator[str]:
    state, revision, target = found.state, found.revision, found.target
    urls = tags_by_revision(state.tags)
    if found.policy.rollback.tag and found.policy.rollback.mode != "observe":
        untagged = [r for r in (revision, target.revision) if r and r not in urls]
        if untagged:
            yield f"{listing(untagged)}: tagged by the watchdog for the time of this watch (rollback.tag)."
        return
    command = f"gcloud run services update-traffic {state.name} --region {state.region} --update-tags"
    if target.split.shares and target.revision not in urls:
        yield (
            f"{target.revision} has no tag URL, so it cannot be warmed or asked whether a rollback would help; tag it: "
            f"{command} previous={target.revision}"
        )
    if state.split.percent_of(revision) > 0 and state.split.sole != revision and revision not in urls:
        yield (
            f"{revision} serves a part of the traffic and has no tag URL: until it has all of it, its probes cannot be "
            "told from the others', so a failing health check cannot roll it back; its own errors and signals can. "
            f"Tag it: {command} canary={revision}"
        )


def _writing(found: Found) -> Iterator[str]:
    if not found.safe:
        yield f"{found.revision} is marked as not safe to roll back: it will page instead."
    if found.observe and found.policy.rollback.mode == "observe":
        yield f"{found.revision} was rolled back before and serves again: watched without writing."
    elif found.policy.rollback.mode == "observe":
        yield "Observe mode: nothing will be written."


def _schema(found: Found) -> Iterator[str]:
    """Whether the old code can live with what this deploy changed: what nobody declared is said."""
    label, target = found.policy.rollback.schema_label, found.target.split
    if not target.shares or not found.safe or found.policy.rollback.mode == "observe":
        return
    if label is None:
        if not found.declared:
            yield (
                "Nobody declared whether the old code can live with this deploy's schema and data: taken as safe. "
                f'Declare it by rollback.schema_label in the policy, or by the label {SAFE_LABEL} ("true" or "false").'
            )
        return
    known = {r.name: r.labels.get(label, "") for r in found.revisions}
    silent = [r for r in (found.revision, *sorted(target.revisions)) if not known.get(r)]
    if silent:
        yield f"{listing(silent)} without the label {label}: the schema is not compared, a rollback is taken as safe."
        return
    new, others = known[found.revision], sorted({known[r] for r in target.revisions} - {known[found.revision]})
    if others:
        yield (
            f"The schema changes with this deploy ({label}: {listing(others)}, now {new}): a proven fault pages and "
            "holds, and is not rolled back by itself."
        )


def _evidence(found: Found) -> Iterator[str]:
    missing = [m for m in baselines.relative_metrics(found.policy) if m not in found.baselines]
    if missing:
        yield f"No value before the deploy for {', '.join(missing)}: rows relative to it are inconclusive."
    fastest: dict[str, float] = {}
    for lag in found.lags:
        fastest[lag.check] = min(lag.lag_s + lag.period_s, fastest.get(lag.check, inf))
    slow = max(fastest.values(), default=0.0)
    if slow > metering.LATE_S:
        prompt = sorted({lag.source for lag in found.lags if lag.lag_s + lag.period_s <= metering.LATE_S})
        until = ", ".join(["probes", "signals", *prompt])
        yield f"Metrics arrive up to {slow:.0f} s late; until then only {until} can prove anything."
    pending = sorted({r.metric for r in found.policy.rows if r.pending})
    if pending:
        yield f"No source yet for {', '.join(pending)}: their rows stay inconclusive."
