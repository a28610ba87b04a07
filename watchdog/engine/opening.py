"""Opens a watch: everything that is measured, looked up and written down before the first probe, within seconds."""

import asyncio
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from watchdog.core import multi_region, traffic
from watchdog.core.author import Author
from watchdog.core.catalogue import check_words
from watchdog.core.events import Opened, Target
from watchdog.core.model import SAFE_LABEL, Deploy, RevisionState, ServiceKey, ServiceState, Split, tags_by_revision
from watchdog.core.policy import Policy
from watchdog.core.service import Service, bad_fingerprints
from watchdog.engine import baselines, metering, opening_notes
from watchdog.engine.probing import unable
from watchdog.engine.tools import Tools
from watchdog.errors import PermanentError, TemporaryError

SCHEMAS = 50
"""Newest revisions whose declared schema a watch remembers."""
PATIENCE_S = 3.0
"""How long sources may take to announce themselves before the watch opens without them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Notice:
    """What somebody says of a deploy, or what discovery saw."""

    revision: str = ""
    version: str = ""
    deployer: str = ""
    notes: str = ""
    previous: Mapping[str, int] = field(default_factory=dict)
    rollback_safe: bool = True
    watch_id: str = ""
    ends_in_s: float | None = None
    """Seconds from now after which the watch is judged on what it saw."""
    until_s: float | None = None
    """Seconds after the cutover at which it ends."""
    by_hand: bool = False
    observe: bool = False
    """Watch without writing: a known-bad revision that serves again."""


async def revisions_of(tools: Tools, key: ServiceKey) -> Sequence[RevisionState]:
    """All revisions; none when they cannot be read (said by the caller's notes)."""
    try:
        return await tools.traffic.revisions(key)
    except (TemporaryError, PermanentError):
        return ()


def author_of(state: ServiceState) -> Author:
    """Who wrote the service last."""
    return Author(state.last_modifier, state.client_name, state.client_version)


async def _no_doubt() -> str:
    return ""


async def open_watch(
    tools: Tools,
    policy: Policy,
    state: ServiceState,
    service: Service,
    notice: Notice,
    *,
    armed: Sequence[str],
    sick: Sequence[str],
    doubt: Callable[[], Awaitable[str]] = _no_doubt,
) -> Opened:
    """The first event of a watch of `notice.revision` (the latest created one where it names none). `doubt` asks why
    it may not act by itself."""
    key, now = service.key, tools.clock.now()
    revision = notice.revision or state.latest_created or state.latest_ready
    revisions = await revisions_of(tools, key)
    mark = state.trial_of(revision)
    target = find_target(notice, state, service, revisions, revision, now)
    if mark is not None:  # a watchdog that is gone was rolling it back: where to, its mark knows best
        target = Target(split=_whole(mark.gains), source="trial")
    found = next((r for r in revisions if r.name == revision), None)
    safe = notice.rollback_safe and (found is None or found.rollback_safe)
    serves = state.split.percent_of(revision) > 0
    cutover = now if serves else None
    (lags, notes), before, doubted, (template, missing) = await asyncio.gather(
        metering.announce(tools, key, policy, PATIENCE_S),
        baselines.measure(tools, key, policy, revision=target.revision, until=now, patience_s=PATIENCE_S),
        doubt(),
        _snapshot(tools, policy, key, target),
    )
    if notice.observe:
        policy = policy.model_copy(update={"rollback": policy.rollback.model_copy(update={"mode": "observe"})})
    refused = multi_region.why_not_automatic(policy, state)
    policy = multi_region.bounded(policy, state)
    notes = [*([refused] if refused is not None else []), *missing, *notes]
    left_out = unable(tools, policy)
    notes += [f"{check_words(name).capitalize()} is not run: {why}." for name, why in left_out.items()]
    notes += opening_notes.notes(
        opening_notes.Found(
            policy=policy,
            target=target,
            state=state,
            revision=revision,
            safe=safe,
            lags=lags,
            baselines=before.values,
            named=Split.of(notice.previous),
            observe=notice.observe,
            declared=not notice.rollback_safe or (found is not None and SAFE_LABEL in found.labels),
            revisions=revisions,
        )
    )
    hand = notice.by_hand and target.revision not in tags_by_revision(state.tags)
    watch_id = notice.watch_id or tools.new_id()
    return Opened(
        at=now,
        watch=watch_id,
        deploy=Deploy(
            service=key,
            revision=revision,
            version=notice.version,
            deployer=notice.deployer or state.last_modifier,
            notes=notice.notes,
            rollback_safe=safe,
            fingerprint=found.fingerprint if found else "",
            image=found.image if found else "",
        ),
        policy=policy.canonical(),
        policy_hash=policy.hash,
        target=target,
        split=state.split,
        tags=state.tags,
        cutover_at=cutover,
        ends_at=_ends(notice, now, cutover),
        lags=tuple(lags),
        baselines=before.values,
        before=before.counts,
        burstiness=before.burstiness,
        past=before.past,
        armed=None if hand else tuple(armed),
        sick_before=tuple(sick),
        notes=tuple(notes),
        unable=left_out,
        own_url=_own_url(policy, state),
        known_bad=notice.observe,
        rolled_back=state.rolled_back,
        trial=mark if policy.rollback.mode != "observe" else None,
        author=author_of(state),
        images={r.name: r.image for r in revisions if r.name in {revision, *target.split.revisions} and r.image},
        snapshot=template,
        schemas=_schemas(policy, revisions, {revision, *target.split.revisions}),
        doubt=doubted,
        link=f"{tools.page_url}/watches/{watch_id}" if tools.page_url else "",
        expected_version=_version(policy, found),
    )


async def _snapshot(
    tools: Tools, policy: Policy, key: ServiceKey, target: Target
) -> tuple[Mapping[str, Any], list[str]]:
    """The target's template, where the policy may deploy it again; and what to say where it cannot be had."""
    if not policy.redeploy_image or policy.rollback.mode != "automatic" or not target.revision:
        return {}, []
    try:
        async with asyncio.timeout(PATIENCE_S):
            return await tools.traffic.snapshot(key, target.revision), []
    except (TemporaryError, PermanentError, TimeoutError) as error:
        why = f"could not be read ({error}), so it cannot be deployed again if it is gone when it is needed."
        return {}, [f"The template of {target.revision} {why}"]


def _schemas(policy: Policy, revisions: Sequence[RevisionState], concerned: Collection[str]) -> dict[str, str]:
    """The schemas that the revisions declare: of those concerned, and of the newest, should the target change."""
    label = policy.rollback.schema_label
    if label is None:
        return {}
    kept = [r for i, r in enumerate(revisions) if i < SCHEMAS or r.name in concerned]
    return {r.name: r.labels[label] for r in kept if r.labels.get(label)}


def _version(policy: Policy, found: RevisionState | None) -> str:
    """What the revision tells of its version: a label's value, or its image's tag where that says anything."""
    check = policy.version_check
    if check is None or found is None:
        return ""
    kind, _, name = check.expect.partition(":")
    if kind == "label":
        return found.labels.get(name, "")
    reference = found.tagged_image.partition("@")[0]
    last = reference.rpartition("/")[2]
    tag = last.partition(":")[2]
    return "" if tag == "latest" else tag


def _own_url(policy: Policy, state: ServiceState) -> str:
    """Cloud Run's own URL where the policy names another one for users."""
    public = (policy.service.url or "").rstrip("/")
    return state.url if public and state.url.rstrip("/") != public else ""


def _ends(notice: Notice, now: float, cutover: float | None) -> float | None:
    if notice.ends_in_s is not None:
        return now + notice.ends_in_s
    if notice.until_s is not None:
        return (cutover if cutover is not None else now) + notice.until_s
    return None


def find_target(
    notice: Notice,
    state: ServiceState,
    service: Service,
    revisions: Sequence[RevisionState],
    revision: str,
    now: float,
) -> Target:
    """The last proven split before the deploy: named by the caller, seen before the change, or the last resort."""
    named = named_before(notice, revisions, revision)
    if named.shares:
        return Target(split=named, source="caller")
    proven = [p for p in service.proven if revision not in p.revisions]
    if proven:
        return Target(split=proven[-1], source="discovery" if service.served.same_traffic(proven[-1]) else "journal")
    others = {s.revision: s.percent for s in state.split.shares if s.revision != revision}
    if sum(others.values()) >= traffic.HALF:
        return Target(split=_whole(others), source="discovery")
    bad = bad_fingerprints(service, now)
    last = traffic.from_ready([r for r in revisions if r.fingerprint not in bad], revision)
    return Target(split=last, source="ready_revisions") if last.shares else Target()


def named_before(notice: Notice, revisions: Sequence[RevisionState], revision: str) -> Split:
    """The split that the caller names, without the deploy's own revision (a promotion: it served a part before) and
    without what does not exist; nothing when less than half of it is left."""
    known = {r.name for r in revisions}
    left = {r: p for r, p in notice.previous.items() if r != revision and (r in known or not known)}
    others = sum(p for r, p in notice.previous.items() if r != revision)
    return _whole(left) if left and sum(left.values()) * 2 >= others else Split()


def _whole(percents: Mapping[str, int]) -> Split:
    """All traffic in these proportions."""
    parts = traffic.largest_remainder(list(percents.values()), sum(percents.values()), traffic.WHOLE)
    return Split.of(dict(zip(percents, parts, strict=True)))
