"""A journal's evidence under another policy: what of it still speaks, and up to when.

The journal holds what the old policy asked for. Some of it answers no question of the new one, and all that came after
the old one's rollback is about the old split.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from math import inf
from typing import Final

from watchdog.core.events import Event, Opened, Probed, Sampled, TrafficSeen, Writing, Written
from watchdog.core.model import Split
from watchdog.core.policy import JourneyConfig, MetricConfig, Policy, ProbeConfig
from watchdog.core.text import listing
from watchdog.core.trial import PATIENCE_S

Asked = ProbeConfig | MetricConfig | JourneyConfig
NOT_RUN: Final = "this journey was not run then"
_FREE: Final = {"critical", "startup_s", "every_s", "windows", "confirm", "file"}
"""Of a probe or a journey: what may differ without its answers meaning something else."""


def moved_at(opening: Opened, events: Iterable[Event]) -> float:
    """When a rollback took the traffic away (Unix seconds): what follows is evidence of the old split. Never: inf.

    The write's outcome is journaled when its answer has come; the service may show it before that.
    """
    revision = opening.deploy.revision
    return min((e.at for e in events if _takes_away(e, revision)), default=inf)


@dataclass(frozen=True, slots=True, kw_only=True)
class Tried:
    """A share of the traffic was with the target from `start` to about `end` (Unix seconds; inf: to the last)."""

    start: float
    end: float
    after: Split

    def shown_by(self, event: Event) -> bool:
        """Whether the event says no more than that this trial was under way."""
        return (
            isinstance(event, TrafficSeen)
            and self.start <= event.at <= self.end + PATIENCE_S
            and event.split.same_traffic(self.after)
        )


def trials(events: Iterable[Event]) -> Iterator[Tried]:
    """The trial rollbacks of a journal. The service may show one before its write is journaled."""
    began, running = inf, None
    for event in events:
        if isinstance(event, Writing):
            began = min(began, event.at)
        elif isinstance(event, Written):
            if running is not None:
                yield replace(running, end=event.at)
            tried = event.result == "trial"
            running = Tried(start=min(began, event.at), end=inf, after=event.after) if tried else None
            began = inf
    if running is not None:
        yield running


def _takes_away(event: Event, revision: str) -> bool:
    if isinstance(event, TrafficSeen):
        return event.rolled_back == revision and not event.split.percent_of(revision)
    return isinstance(event, Written) and event.result == "done"


def other_questions(policy: Policy, opening: Opened) -> dict[str, str]:
    """Checks that this policy asks in another way than the journal's did, and how: the journal's answers are not
    answers to them. How often a probe is asked, and what follows from it, may differ."""
    old = Policy.from_canonical(opening.policy)
    found: dict[str, str] = {}
    asked_then: dict[str, Asked] = {**old.metrics, **old.probes, **old.journeys}
    asked_now: dict[str, Asked] = {**policy.metrics, **policy.probes, **policy.journeys}
    for name in asked_now.keys() & asked_then.keys():
        one, other = (config.model_dump(mode="json", exclude=_FREE) for config in (asked_then[name], asked_now[name]))
        differs = sorted(key for key in one.keys() | other.keys() if one.get(key) != other.get(key))
        if differs:
            found[name] = f"its {listing(differs)} was another"
    return found


def under(policy: Policy, opening: Opened, events: Sequence[Event]) -> tuple[Opened, list[Event]]:
    """A journal's evidence as it would be judged under another policy.

    What the old policy's rollback brought is left out: the evidence ends where it moved the traffic away, or else with
    the journal. So are a trial rollback's shifts of traffic (what was counted meanwhile stays: it is of the same
    release), and answers to questions that this policy asks otherwise. A revision that was known to be bad is
    watched without writing whatever the policy says, as it is live.
    """
    moved = moved_at(opening, events)
    last = events[-1].at if events else opening.at
    ends = min(moved, last, inf if opening.ends_at is None else opening.ends_at)
    other = other_questions(policy, opening)
    tried = tuple(trials(events))
    walked = {e.probe for e in events if isinstance(e, Probed)}
    if opening.known_bad:
        policy = policy.model_copy(update={"rollback": policy.rollback.model_copy(update={"mode": "observe"})})
    kept = [
        left
        for e in events
        if e.at <= ends and not isinstance(e, Written | Writing) and not _takes_away(e, opening.deploy.revision)
        if not any(trial.shown_by(e) for trial in tried)
        for left in _without(e, other)
    ]
    begun = replace(
        opening,
        policy=policy.canonical(),
        policy_hash=policy.hash,
        ends_at=ends,
        armed=None if opening.armed is None else tuple(n for n in opening.armed if n not in other),
        sick_before=tuple(n for n in opening.sick_before if n not in other),
        unable={n: NOT_RUN for n in policy.journeys if n not in walked or n in other},
    )
    return begun, kept


def _without(event: Event, checks: Mapping[str, str]) -> Iterator[Event]:
    """The event without the evidence of these checks; nothing when nothing is left."""
    if isinstance(event, Probed) and event.probe in checks:
        return
    if isinstance(event, Sampled) and any(s.check in checks for s in event.samples):
        left = tuple(s for s in event.samples if s.check not in checks)
        if left:
            yield replace(event, samples=left)
        return
    yield event
