"""How events are written in the journal, and read again by any later version.

A journal row is `(kind, schema, body)`. `encode` makes one from an event, `decode` makes the event from a row of any
schema ever written: an upcaster per kind lifts older bodies. Bodies are JSON-able and hold no secrets.
"""

from collections.abc import Callable, Mapping
from dataclasses import fields
from math import isfinite, nan
from typing import Any

from watchdog.core import origins
from watchdog.core.author import Author
from watchdog.core.events import (
    Event,
    FellElsewhere,
    JobRan,
    Lag,
    Noticed,
    Opened,
    Operated,
    Probed,
    Resumed,
    Sampled,
    Scaled,
    Signalled,
    Target,
    Ticked,
    TrafficSeen,
    Trusted,
    Writing,
    Written,
)
from watchdog.core.model import (
    Clue,
    Counts,
    Deploy,
    Evidence,
    Failed,
    Missing,
    Passed,
    Sample,
    ServiceKey,
    Share,
    Split,
    Tag,
    TrialMark,
    Value,
)
from watchdog.core.probing import ProbeAnswer, Purpose, Role, StepAnswer
from watchdog.errors import WatchdogError

KINDS: Mapping[type, str] = {
    Opened: "watch_opened",
    Sampled: "sampled",
    Probed: "probed",
    TrafficSeen: "traffic_seen",
    Signalled: "signalled",
    Operated: "operated",
    Noticed: "deploy_noticed",
    Writing: "traffic_writing",
    Written: "traffic_written",
    Scaled: "instances_scaled",
    FellElsewhere: "fell_elsewhere",
    JobRan: "job_ran",
    Resumed: "watch_resumed",
    Trusted: "trusted",
    Ticked: "ticked",
}
SCHEMA: Mapping[str, int] = dict.fromkeys(KINDS.values(), 1)
"""The newest schema of every kind."""

UPCASTERS: Mapping[tuple[str, int], Callable[[Mapping[str, Any]], Mapping[str, Any]]] = {}
"""(kind, schema) → the body one schema newer. Empty while every kind is at its first schema."""


_PLAIN: Mapping[str, Callable[..., Event]] = {
    KINDS[made]: made for made in (Signalled, Operated, Scaled, JobRan, FellElsewhere, Resumed, Trusted, Ticked)
}
"""Events of plain values only: their bodies are their fields."""


class JournalError(WatchdogError):
    """A journal row that this version cannot read: an unknown kind, a newer schema or a damaged body."""


# --- encode -------------------------------------------------------------------------------------------------------


def encode_split(split: Split) -> list[list[Any]]:
    """`[[revision, percent, latest], …]`."""
    return [[s.revision, s.percent, s.latest] for s in split.shares]


def decode_split(rows: Any) -> Split:
    """The inverse of `encode_split`."""
    return Split(tuple(Share(revision=r, percent=p, latest=latest) for r, p, latest in rows))


def encode_mark(mark: TrialMark) -> dict[str, Any]:
    """A trial's mark; JSON-able."""
    return {
        "revision": mark.revision,
        "at": mark.at,
        "before": encode_split(mark.before),
        "after": encode_split(mark.after),
    }


def decode_mark(b: Mapping[str, Any]) -> TrialMark:
    """The inverse of `encode_mark`."""
    return TrialMark(
        revision=b["revision"],
        at=_number(b["at"]),
        before=decode_split(b["before"]),
        after=decode_split(b["after"]),
    )


def _encode_evidence(e: Evidence) -> list[Any]:
    match e:
        case Counts(bad, total, (), ()):
            return ["c", bad, total]
        case Counts(bad, total, kinds, ()):
            return ["c", bad, total, dict(kinds)]
        case Counts(bad, total, kinds, rows):
            return ["c", bad, total, dict(kinds), origins.encode(rows)]
        case Value(x):
            return ["v", x if isfinite(x) else None]  # JSON has no NaN
        case Passed():
            return ["p"]
        case Failed(reason):
            return ["f", reason]
        case Missing(reason):
            return ["m", reason]


def _decode_evidence(row: list[Any]) -> Evidence:
    match row:
        case ["c", bad, total]:
            return Counts(_number(bad), _number(total))
        case ["c", bad, total, dict(kinds), *rows]:
            named = tuple(sorted((str(k), _number(n)) for k, n in kinds.items()))
            return Counts(_number(bad), _number(total), named, origins.decode(rows[0]) if rows else ())
        case ["v", None]:
            return Value(nan)
        case ["v", x]:
            return Value(_number(x))
        case ["p"]:
            return Passed()
        case ["f", str(reason)]:
            return Failed(reason)
        case ["m", str(reason)]:
            return Missing(reason)
    raise JournalError(f"unknown evidence {row!r} in the journal")


def _number(x: Any) -> float:
    if isinstance(x, bool) or not isinstance(x, int | float):
        raise TypeError(f"{x!r} is not a number")
    return x


def _encode_answer(a: ProbeAnswer) -> dict[str, Any]:
    body: dict[str, Any] = {
        "e": _encode_evidence(a.evidence),
        "t": [a.started_at, a.ended_at],
        "status": a.status,
        "detail": a.detail,
        "phases": dict(a.phases_s),
        "cert": a.certificate_expires_at,
    }
    if a.refused:
        body["refused"] = True
    if a.steps:
        body["steps"] = [
            [s.name, s.result, s.started_at, s.ended_at, s.status, s.reason, s.detail, s.cleanup] for s in a.steps
        ]
    return body


def _decode_answer(b: Mapping[str, Any]) -> ProbeAnswer:
    evidence = _decode_evidence(b["e"])
    if not isinstance(evidence, Passed | Failed | Missing):
        raise JournalError("a probe's answer in the journal is neither passed, failed nor missing")
    return ProbeAnswer(
        evidence=evidence,
        started_at=_number(b["t"][0]),
        ended_at=_number(b["t"][1]),
        status=b["status"],
        detail=b["detail"],
        phases_s=b["phases"],
        certificate_expires_at=b["cert"],
        refused=b.get("refused", False),
        steps=tuple(_decode_step(row) for row in b.get("steps") or ()),
    )


def _decode_step(row: list[Any]) -> StepAnswer:
    name, result, started_at, ended_at, status, reason, detail, cleanup = row
    return StepAnswer(
        name=name,
        result=result,
        started_at=_number(started_at),
        ended_at=_number(ended_at),
        status=status,
        reason=reason,
        detail=detail,
        cleanup=cleanup,
    )


def _encode_opened(e: Opened) -> dict[str, Any]:
    d = e.deploy
    return {
        "watch": e.watch,
        "service": [d.service.project, d.service.region, d.service.name],
        "deploy": {
            "revision": d.revision,
            "version": d.version,
            "deployer": d.deployer,
            "notes": d.notes,
            "rollback_safe": d.rollback_safe,
            "fingerprint": d.fingerprint,
            "image": d.image,
        },
        "policy": e.policy,
        "policy_hash": e.policy_hash,
        "target": {"split": encode_split(e.target.split), "source": e.target.source},
        "split": encode_split(e.split),
        "tags": [[t.name, t.revision, t.url] for t in e.tags],
        "cutover_at": e.cutover_at,
        "ends_at": e.ends_at,
        "lags": [[x.source, x.check, x.period_s, x.lag_s] for x in e.lags],
        "baselines": dict(e.baselines),
        "burstiness": dict(e.burstiness),
        "before": {check: list(counts) for check, counts in e.before.items()},
        "armed": None if e.armed is None else list(e.armed),
        "sick_before": list(e.sick_before),
        "notes": list(e.notes),
        "link": e.link,
        "own_url": e.own_url,
        "cold_start": e.cold_start,
        "expected_version": e.expected_version,
        "known_bad": e.known_bad,
        "rolled_back": e.rolled_back,
        "trial": None if e.trial is None else encode_mark(e.trial),
        "unable": dict(e.unable),
        "schemas": dict(e.schemas),
        "images": dict(e.images),
        "snapshot": dict(e.snapshot),
        "author": list(e.author),
        "past": [[p.check, p.since, p.until, origins.encode(p.rows)] for p in e.past],
        "doubt": e.doubt,
        "release": e.release,
    }


def _decode_opened(at: float, b: Mapping[str, Any]) -> Opened:
    project, region, name = b["service"]
    return Opened(
        at=at,
        watch=b["watch"],
        deploy=Deploy(service=ServiceKey(project=project, region=region, name=name), **b["deploy"]),
        policy=b["policy"],
        policy_hash=b["policy_hash"],
        target=Target(split=decode_split(b["target"]["split"]), source=b["target"]["source"]),
        split=decode_split(b["split"]),
        tags=_decode_tags(b["tags"]),
        cutover_at=b["cutover_at"],
        ends_at=b["ends_at"],
        lags=tuple(Lag(source=s, check=c, period_s=p, lag_s=g) for s, c, p, g in b["lags"]),
        baselines=b["baselines"],
        burstiness=b["burstiness"],
        before={c: (_number(bad), _number(total)) for c, (bad, total) in b.get("before", {}).items()},
        armed=None if b["armed"] is None else tuple(b["armed"]),
        sick_before=tuple(b["sick_before"]),
        notes=tuple(b["notes"]),
        link=b["link"],
        own_url=b["own_url"],
        cold_start=b["cold_start"],
        expected_version=b.get("expected_version", ""),
        known_bad=b.get("known_bad", False),
        rolled_back=b.get("rolled_back", ""),
        trial=decode_mark(b["trial"]) if b.get("trial") else None,  # journals from before there were trials lack it
        unable=b.get("unable", {}),
        schemas=b.get("schemas", {}),
        images=b.get("images", {}),
        snapshot=b.get("snapshot", {}),
        author=Author(*b.get("author", ())),
        past=tuple(origins.Past(c, s, u, origins.decode(rows)) for c, s, u, rows in b.get("past", ())),
        doubt=b.get("doubt", ""),
        release=b.get("release", ""),
    )


def _decode_tags(rows: list[list[str]]) -> tuple[Tag, ...]:
    return tuple(Tag(name=n, revision=r, url=u) for n, r, u in rows)


def _encode_samples(event: Sampled) -> dict[str, Any]:
    rows = [
        [s.source, s.check, s.revision, s.start, s.end, s.seen, *_encode_evidence(s.evidence)] for s in event.samples
    ]
    body: dict[str, Any] = {"samples": rows}
    if notes := {str(i): s.note for i, s in enumerate(event.samples) if s.note}:
        body["notes"] = notes
    if clues := {str(i): [list(c) for c in s.clues] for i, s in enumerate(event.samples) if s.clues}:
        body["clues"] = clues
    return body


def encode(event: Event) -> tuple[str, int, dict[str, Any]]:
    """`(kind, schema, body)` of an event; `at` travels in its own column."""
    kind = KINDS[type(event)]
    body: dict[str, Any]
    match event:
        case Opened():
            body = _encode_opened(event)
        case Sampled():
            body = _encode_samples(event)
        case Probed():
            body = {
                "probe": event.probe,
                "role": event.role.value,
                "purpose": event.purpose.value,
                "scheduled_at": event.scheduled_at,
                "answer": _encode_answer(event.answer),
                "attempt": event.attempt,
                "slot_s": event.slot_s,
                "revision": event.revision,
            }
        case TrafficSeen():
            body = {
                "split": encode_split(event.split),
                "tags": [[t.name, t.revision, t.url] for t in event.tags],
                "newer": event.newer,
                "rolled_back": event.rolled_back,
                "settled": event.settled,
                "message": event.message,
                "author": list(event.author),
            }
        case Writing():
            body = {"after": encode_split(event.after), "trouble": event.trouble}
        case Written():
            body = {
                "result": event.result,
                "reason": event.reason,
                "before": encode_split(event.before),
                "after": encode_split(event.after),
                "retry_at": event.retry_at,
            }
        case Noticed():
            body = {
                "version": event.version,
                "deployer": event.deployer,
                "notes": event.notes,
                "rollback_safe": event.rollback_safe,
                "previous": encode_split(event.previous),
            }
        case (
            Signalled() | Operated() | Scaled() | JobRan() | FellElsewhere() | Resumed() | Ticked() | Trusted()
        ):  # plain values
            body = {f.name: getattr(event, f.name) for f in fields(event) if f.name != "at"}
    return kind, SCHEMA[kind], body


def public(kind: str, body: Mapping[str, Any]) -> Mapping[str, Any]:
    """A row's body as anybody may read it: without the template of a revision, whose environment may hold secrets."""
    return {**body, "snapshot": {}} if kind == KINDS[Opened] and body.get("snapshot") else body


# --- decode -------------------------------------------------------------------------------------------------------


def decode(kind: str, schema: int, at: float, body: Mapping[str, Any]) -> Event:
    """The event of a journal row. Raises `JournalError` for what this version cannot read."""
    newest = SCHEMA.get(kind)
    if newest is None:
        raise JournalError(f"unknown event kind {kind!r} in the journal; was it written by a newer version?")
    if schema > newest:
        raise JournalError(f"{kind} has schema {schema}, this version reads up to {newest}; upgrade the watchdog")
    try:
        while schema < newest:
            body = UPCASTERS[kind, schema](body)
            schema += 1
        return _decode(kind, at, body)
    except (LookupError, TypeError, ValueError, AttributeError) as e:
        raise JournalError(f"the {kind} event at {at} in the journal is damaged: {e!r}") from e


def _decode_clue(row: list[Any]) -> Clue:
    key, times, text, where, at = row
    return Clue(str(key), int(_number(times)), str(text), str(where), _number(at))


def _decode(kind: str, at: float, b: Mapping[str, Any]) -> Event:
    match kind:
        case "watch_opened":
            return _decode_opened(at, b)
        case "sampled":
            return Sampled(
                at=at,
                samples=tuple(
                    Sample(
                        source=r[0],
                        check=r[1],
                        revision=r[2],
                        start=_number(r[3]),
                        end=_number(r[4]),
                        seen=_number(r[5]),
                        evidence=_decode_evidence(r[6:]),
                        note=b.get("notes", {}).get(str(i), ""),
                        clues=tuple(_decode_clue(c) for c in b.get("clues", {}).get(str(i), ())),
                    )
                    for i, r in enumerate(b["samples"])
                ),
            )
        case "probed":
            return Probed(
                at=at,
                probe=b["probe"],
                role=Role(b["role"]),
                purpose=Purpose(b["purpose"]),
                scheduled_at=_number(b["scheduled_at"]),
                answer=_decode_answer(b["answer"]),
                attempt=b["attempt"],
                slot_s=b["slot_s"],
                revision=b["revision"],
            )
        case "traffic_seen":
            return TrafficSeen(
                at=at,
                split=decode_split(b["split"]),
                tags=_decode_tags(b["tags"]),
                newer=b["newer"],
                rolled_back=b["rolled_back"],
                settled=b["settled"],
                message=b["message"],
                author=Author(*b.get("author", ())),
            )
        case "traffic_writing":
            return Writing(at=at, after=decode_split(b["after"]), trouble=b["trouble"])
        case "traffic_written":
            return Written(
                at=at,
                result=b["result"],
                reason=b["reason"],
                before=decode_split(b["before"]),
                after=decode_split(b["after"]),
                retry_at=b["retry_at"],
            )
        case "deploy_noticed":
            return Noticed(at=at, **{**b, "previous": decode_split(b["previous"])})
        case _:
            return _PLAIN[kind](at=at, **b)
