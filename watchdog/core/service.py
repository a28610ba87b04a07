"""What outlives a watch: the proven splits of a service, known-bad fingerprints, the rollback budget, the pin.

A second, small fold over the stream `service/<project>/<region>/<name>`.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from watchdog.core.doubt import Preflights, remembered
from watchdog.core.journal import decode_split, encode_split
from watchdog.core.model import RevisionState, ServiceKey, ServiceState, Split
from watchdog.core.paging import Silence
from watchdog.core.policy import Policy

KNOWN_BAD_S = 30 * 86_400.0
"""A known-bad fingerprint is forgotten after 30 days (DESIGN 5.2)."""
DAY_S = 86_400.0
HISTORY = 20
"""Proven splits that are remembered."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Fact:
    """One thing that happened to a service. `kind` is one of the `_KINDS` below, `body` is JSON-able."""

    at: float
    kind: str
    body: Mapping[str, Any]


SCHEMA = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Service:
    """What is known of a service between and beside its watches."""

    key: ServiceKey
    known: bool = False
    """Whether it was ever seen: on the first sight, what serves is taken as proven."""
    served: Split = field(default_factory=Split)
    """The effective split as last seen."""
    proven: tuple[Split, ...] = ()
    """Proven splits, the last proven one last."""
    known_bad: Mapping[str, float] = field(default_factory=dict)
    """Fingerprint → when it is forgotten."""
    bad_revisions: Mapping[str, str] = field(default_factory=dict)
    """Revision → its known-bad fingerprint."""
    bad_images: Mapping[str, float] = field(default_factory=dict)
    """Image reference or digest of a known-bad revision → when it is forgotten."""
    rollbacks: tuple[tuple[float, str], ...] = ()
    """When and to which revision traffic was moved back, newest last."""
    pinned: Split | None = None
    """The split, with its kinds, that a rollback replaced; None while nothing is pinned by us."""
    release_on_next: bool = False
    armed: Mapping[str, str] = field(default_factory=dict)
    """Probe → hash of the configuration with which it last passed."""
    silences: tuple[Silence, ...] = ()
    """What people silenced; expired ones are forgotten with the next one."""
    sick: frozenset[str] = frozenset()
    """Probes that failed when they were last sent between watches."""

    heartbeats: Mapping[str, float] = field(default_factory=dict)
    """Job → when it pinged last."""
    summed_up: bool = False
    """Whether it was said what automatic would have done in the watches that only observed."""
    preflights: Preflights = field(default_factory=Preflights)
    """Whether a rollback could be written, as it was tested last."""

    @property
    def target(self) -> Split:
        """The last proven split."""
        return self.proven[-1] if self.proven else Split()

    def is_proven(self, split: Split) -> bool:
        """Whether this very split was proven before."""
        return any(split.same_traffic(p) for p in self.proven)


def fold(service: Service, fact: Fact) -> Service:  # noqa: C901, PLR0911, PLR0912 - one case a kind
    """The service after one more fact. Unknown kinds of later versions change nothing."""
    b = fact.body
    match fact.kind:
        case "service_seen":
            return replace(service, known=True, served=decode_split(b["split"]))
        case "split_proven":
            split = decode_split(b["split"])
            others = tuple(p for p in service.proven if not p.same_traffic(split))
            return replace(service, proven=(*others, split)[-HISTORY:])
        case "known_bad":
            until = fact.at + KNOWN_BAD_S
            prints = {**_live(service.known_bad, fact.at), b["fingerprint"]: until}
            named = {**service.bad_revisions, b["revision"]: b["fingerprint"]}
            return replace(
                service,
                known_bad=prints,
                bad_revisions={r: f for r, f in named.items() if f in prints},
                bad_images={**_live(service.bad_images, fact.at), **dict.fromkeys(b["images"], until)},
                # It may have been proven before its fault showed: nobody goes back to it.
                proven=tuple(p for p in service.proven if b["revision"] not in p.revisions),
            )
        case "rolled_back":
            recent = tuple(r for r in service.rollbacks if r[0] > fact.at - 2 * DAY_S)
            return replace(service, rollbacks=(*recent, (fact.at, b["target"])), pinned=decode_split(b["before"]))
        case "trial_put_back":
            # It was in the daily budget; the cooldown is for a target that traffic was really moved to.
            recent = tuple(r for r in service.rollbacks if r[0] > fact.at - 2 * DAY_S)
            return replace(service, rollbacks=(*recent, (fact.at, "")))
        case "release_requested":
            return replace(service, release_on_next=b["on_next"])
        case "released":
            return replace(service, pinned=None, release_on_next=False)
        case "probes_seen":
            return replace(service, armed=dict(b["armed"]), sick=frozenset(b["sick"]))
        case "summed_up":
            return replace(service, summed_up=True)
        case "preflighted":
            now = remembered(service.preflights, fact.at, passed=bool(b["passed"]), problems=tuple(b["problems"]))
            return replace(service, preflights=now)
        case "heartbeat":
            return replace(service, heartbeats={**service.heartbeats, str(b["job"]): fact.at})
        case "silenced" | "unsilenced":
            return replace(service, silences=_silences(service, fact))
        case _:  # among them `watch_marked`: a person's word about an ended watch, on which nothing here rests
            return service


def _silences(service: Service, fact: Fact) -> tuple[Silence, ...]:
    left = tuple(s for s in service.silences if s.until > fact.at and s.id != fact.body["id"])
    return (*left, Silence.model_validate(dict(fact.body))) if fact.kind == "silenced" else left


def _live(until: Mapping[str, float], at: float) -> dict[str, float]:
    return {name: end for name, end in until.items() if end > at}


def fold_all(key: ServiceKey, facts: Iterable[Fact]) -> Service:
    """A service from its whole stream."""
    service = Service(key=key)
    for fact in facts:
        service = fold(service, fact)
    return service


def stream(key: ServiceKey) -> str:
    """The name of the service's stream."""
    return f"service/{key}"


# --- facts --------------------------------------------------------------------------------------------------------


def seen(at: float, split: Split) -> Fact:
    """Cloud Run serves this split."""
    return Fact(at=at, kind="service_seen", body={"split": encode_split(split)})


def silenced(at: float, silence: Silence) -> Fact:
    """Somebody silences something for a while."""
    return Fact(at=at, kind="silenced", body=silence.model_dump(mode="json"))


def unsilenced(at: float, silence_id: str, by: str) -> Fact:
    """Somebody ends a silence before its time."""
    return Fact(at=at, kind="unsilenced", body={"id": silence_id, "by": by})


def proven(at: float, split: Split, why: str) -> Fact:
    """This split is good enough to go back to."""
    return Fact(at=at, kind="split_proven", body={"split": encode_split(split), "why": why})


def known_bad(at: float, *, revision: str, fingerprint: str, images: Iterable[str]) -> Fact:
    """This revision's fingerprint was rolled back."""
    found = sorted({i for i in images if i})
    return Fact(at=at, kind="known_bad", body={"revision": revision, "fingerprint": fingerprint, "images": found})


def rolled_back(at: float, *, revision: str, target: str, before: Split) -> Fact:
    """Traffic was moved back; `before` is the split with its kinds that `release` restores."""
    body = {"revision": revision, "target": target, "before": encode_split(before)}
    return Fact(at=at, kind="rolled_back", body=body)


def tried(at: float, *, revision: str) -> Fact:
    """A trial rollback of this revision was put back."""
    return Fact(at=at, kind="trial_put_back", body={"revision": revision})


def probes_seen(at: float, *, armed: Mapping[str, str], sick: Iterable[str]) -> Fact:
    """What the probes said between watches."""
    return Fact(at=at, kind="probes_seen", body={"armed": dict(armed), "sick": sorted(sick)})


def summed_up(at: float, *, watches: int) -> Fact:
    """It was said what automatic would have done in so many watches that only observed."""
    return Fact(at=at, kind="summed_up", body={"watches": watches})


def preflighted(at: float, *, passed: bool, problems: Iterable[str], by: str) -> Fact:
    """A preflight had a definite answer: whether a rollback could be written. `by`: who asked."""
    return Fact(at=at, kind="preflighted", body={"passed": passed, "problems": list(problems), "by": by})


# --- judgements ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Arrival:
    """A revision began to serve. `known_bad`: it was rolled back before, so it is watched without writing."""

    revision: str
    known_bad: bool


def arrivals(service: Service, now: ServiceState, at: float) -> tuple[Arrival, ...]:
    """The revisions that went from 0 % to more and must be watched: all but a return to a proven split."""
    if not service.known or service.is_proven(now.split):
        return ()
    came = sorted(now.split.revisions - service.served.revisions)
    bad = {r for r, f in service.bad_revisions.items() if service.known_bad.get(f, 0.0) > at}
    return tuple(Arrival(r, r in bad) for r in came if not _served_when_proven(service, r) or r in bad)


def _served_when_proven(service: Service, revision: str) -> bool:
    """A revision of the last proven split that gets more again is a step back, not a deploy."""
    return service.target.percent_of(revision) > 0


def budget(service: Service, policy: Policy, *, target: str, at: float) -> tuple[str, float] | None:
    """None when a rollback is within the budget; else why not, and when it would be (Unix seconds)."""
    bounds = policy.rollback
    last = max((t for t, r in service.rollbacks if r == target), default=None)
    if last is not None and at < last + bounds.cooldown_s:
        return (
            f"traffic was moved back to {target} {at - last:.0f} s ago and the cooldown is {bounds.cooldown_s:.0f} s",
            last + bounds.cooldown_s,
        )
    today = sorted(t for t, _ in service.rollbacks if t > at - DAY_S)
    if len(today) >= bounds.per_day:
        return (
            f"{len(today)} rollbacks in 24 h are the daily budget ({bounds.per_day})",
            today[-bounds.per_day] + DAY_S,
        )
    return None


def bad_fingerprints(service: Service, at: float) -> frozenset[str]:
    """Fingerprints that are known to be bad now."""
    return frozenset(f for f, until in service.known_bad.items() if until > at)


def gate(service: Service | None, image: str, at: float) -> tuple[bool, str]:
    """May this image be deployed?"""
    if service is None or not service.known:
        return True, "nothing is known against this service yet"
    if not image or service.bad_images.get(image, 0.0) <= at:
        return True, "not known to be bad"
    if "@sha256:" in image:
        return False, f"{image} was rolled back; deploy a corrected image, or wait until it is forgotten after 30 days"
    return False, (
        f"an image tagged {image} was rolled back; if the tag names another image by now, ask for its digest "
        f"({image.rpartition(':')[0] or image}@sha256:…), else deploy a corrected image"
    )


def guilty_images(bad: RevisionState | None, good: Iterable[RevisionState]) -> tuple[str, ...]:
    """The names of a rolled back revision's image; none when what serves again runs the same image, for then its
    configuration was at fault and the corrected redeploy must not be blocked."""
    if bad is None or any(r.image == bad.image for r in good):
        return ()
    return tuple(i for i in (bad.image, bad.tagged_image) if i)


def why_not_release(service: Service, latest: str, revision: RevisionState | None, at: float) -> str | None:
    """None when traffic may follow the latest Ready revision again; else why not."""
    if service.pinned is None:
        return "no rollback of ours has pinned the traffic, so there is nothing to release"
    by_name = service.known_bad.get(service.bad_revisions.get(latest, ""), 0.0) > at
    by_print = revision is not None and revision.fingerprint in bad_fingerprints(service, at)
    if by_name or by_print:
        return (
            f"{latest}, the latest ready revision, was rolled back and is known to be bad: deploy a corrected one "
            "first, or use --on-next"
        )
    return None
