"""The source `error_log`: kinds of errors that the new revision logs and the one before does not.

Read by `ListLogEntries`, which can be asked for the past: one call a look tells of all revisions, and what another than
the watched one logged in the hour before the cutover or since is not new. After the time that is judged it looks on,
seldom, and often again in trouble: somebody will have to find the cause. Reads of logs cost nothing, but a project has
some 60 a minute, which people use too.

Memory is bounded for each watch: kinds, known kinds, and identities of entries of the last minutes.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from math import inf
from typing import Final

from watchdog.core.checks import LOGS, LogsCheck
from watchdog.core.clues import TOP, sentence
from watchdog.core.model import Clue, Evidence, Failed, Missing, Passed, Sample, ServiceKey
from watchdog.core.policy import Policy
from watchdog.core.text import listing
from watchdog.errors import PermanentError, TemporaryError, WatchdogError
from watchdog.ports import Feed, MetricQuery
from watchdog.sources.cloud_monitoring import Trouble
from watchdog.sources.error_entries import ErrorEntry, error_filter, read_error
from watchdog.sources.log_fingerprint import kind_of
from watchdog.sources.logging_client import LoggingClient
from watchdog.sources.redaction import excerpt
from watchdog.transport import scrub

TICK_S: Final = 5.0
"""How often it is asked whether a look is due."""
EVERY_S: Final = 15.0
GRACE_S: Final = 2.0 * EVERY_S
"""What was logged at the end of the judged time may be read so much later, and still counts."""
SELDOM_S: Final = 120.0
"""Between two looks when neither the row nor trouble asks for them."""
TROUBLE_S: Final = 300.0
"""For so long after trouble has begun it looks often …"""
HASTE_S: Final = 60.0
"""… and for so long whenever it is asked: a rollback is soon over, and its report is to hold what was logged."""
BEFORE_S: Final = 3600.0
STARTING_S: Final = 60.0
"""Before the cutover: what the new revision logged while it started is its own."""
BACK_S: Final = 120.0
"""How far back a look asks again, for entries that came late."""
RESTART_S: Final = 600.0
MOST_KINDS: Final = 200
MOST_KNOWN: Final = 2000
MOST_SEEN: Final = 20_000
TOLD: Final = 20
"""Clues of one sample."""
FORGET_S: Final = 3600.0


@dataclass(slots=True)
class _Kind:
    text: str
    where: str
    at: float
    count: int = 0
    told: int = 0


@dataclass(slots=True)
class _Log:
    """What is known of one watch's log."""

    looked_at: float
    """Up to here it was looked at (Unix seconds)."""
    since: float
    known: dict[str, None] | None = None
    """Kinds that are not new; None until the hour before was read."""
    kinds: dict[str, _Kind] = field(default_factory=dict)
    seen: dict[int, float] = field(default_factory=dict)
    gone: list[str] = field(default_factory=list)
    """Kinds that turned out not to be new, not taken back yet."""
    not_before: float = 0.0
    asked_at: float = 0.0
    tried_at: float = 0.0


class ErrorLog:
    """`ports.Source` over Cloud Logging. The client is shared and not closed here."""

    def __init__(self, client: LoggingClient) -> None:
        self._client = client
        self._logs: dict[tuple[ServiceKey, str, float], _Log] = {}
        self._trouble = Trouble(self.name)

    @property
    def name(self) -> str:
        """See `ports.Source.name`."""
        return "error_log"

    async def feeds(self, service: ServiceKey, policy: Policy) -> Sequence[Feed]:  # noqa: ARG002 - the port's signature
        """See `ports.Source.feeds`."""
        return [] if policy.logs is None else [Feed(source=self.name, check=LOGS, period_s=TICK_S, lag_s=0.0)]

    async def sample(self, query: MetricQuery, *, now: float) -> Sequence[Sample]:
        """See `ports.Source.sample`: what was logged since the last look, one sample at most. Never raises for what
        Cloud Logging does: that is `Missing("access")`, `Missing("rate_limited")` or `Missing("source_error")`."""
        check = query.policy.logs if query.policy is not None else None
        if check is None or query.past or query.control:
            return ()
        log = self._log(query, now)
        if not self._due(log, check, query, now):
            return ()
        log.tried_at, ends = now, log.since + check.until_s
        start, judged = min(log.looked_at, now - 1.0), log.looked_at < ends
        if now < ends + GRACE_S:
            start, judged = min(start, ends - 1.0), True
        clues: list[Clue] = []
        try:
            await self._look(log, check, query, now)
            clues = _fresh(log)
            evidence, note = _judge(log, check)
        except WatchdogError as error:
            self._trouble.note(str(query.service), error)
            log.not_before = now + (error.delay_s or 0.0) if isinstance(error, TemporaryError) else 0.0
            evidence, note, judged = Missing(_why(error)), "", now < ends + GRACE_S
        else:
            self._trouble.note(str(query.service), None)
            log.looked_at = now
        if not judged and not clues:
            return ()  # there is nothing to tell any more
        revision = query.about.revision or query.revision
        return [
            Sample(
                source=self.name,
                check=LOGS,
                revision=revision,
                start=start,
                end=now,
                seen=now,
                evidence=evidence,
                note=note,
                clues=tuple(clues),
            )
        ]

    def _log(self, query: MetricQuery, now: float) -> _Log:
        since = query.about.since or query.start
        key = (query.service, query.about.revision, since)
        found = self._logs.get(key)
        if found is None:
            self._logs = {k: log for k, log in self._logs.items() if now - log.asked_at < FORGET_S}
            begin = max(since, now - RESTART_S)
            found = self._logs[key] = _Log(looked_at=begin, since=since)
        found.asked_at = now
        return found

    def _due(self, log: _Log, check: LogsCheck, query: MetricQuery, now: float) -> bool:
        if now < log.not_before:
            return False
        trouble = query.about.trouble_at
        in_trouble_s = inf if trouble is None else now - trouble
        if in_trouble_s < HASTE_S:
            return True
        often = now < log.since + check.until_s + GRACE_S or in_trouble_s < TROUBLE_S
        return now - log.tried_at >= (EVERY_S if often else SELDOM_S) - TICK_S / 2.0

    async def _look(self, log: _Log, check: LogsCheck, query: MetricQuery, now: float) -> None:
        service, watched = query.service, query.about.revision
        ignore = [re.compile(pattern) for pattern in check.ignore]
        if log.known is None:
            text = error_filter(service, log.since - BEFORE_S, until=log.since, but=watched)
            known = dict[str, None]()
            for entry in await self._errors(service.project, text):
                known[kind_of(entry.message, entry.trace).key] = None
            log.known = dict(list(known.items())[:MOST_KNOWN])
        since = max(log.since - STARTING_S, log.looked_at - BACK_S)
        entries = await self._errors(service.project, error_filter(service, since))
        for entry in reversed(entries):
            _take(log, entry, watched, ignore)
        log.seen = {i: at for i, at in log.seen.items() if at >= now - BACK_S - STARTING_S}

    async def _errors(self, project: str, text: str) -> list[ErrorEntry]:
        found = await self._client.newest(project, text)
        return [entry for raw in found if (entry := read_error(raw)) is not None]


def _take(log: _Log, entry: ErrorEntry, watched: str, ignore: Sequence[re.Pattern[str]]) -> None:
    """Count an entry, once."""
    if entry.identity in log.seen or log.known is None:
        return
    if len(log.seen) < MOST_SEEN:
        log.seen[entry.identity] = entry.at
    if any(pattern.search(entry.message) or pattern.search(entry.trace) for pattern in ignore):
        return
    kind = kind_of(entry.message, entry.trace)
    if entry.revision != watched:
        if len(log.known) < MOST_KNOWN:
            log.known[kind.key] = None
        if log.kinds.pop(kind.key, None) is not None:
            log.gone.append(kind.key)
        return
    if kind.key in log.known:
        return
    found = log.kinds.get(kind.key)
    if found is None:
        if len(log.kinds) >= MOST_KINDS:
            return
        found = log.kinds[kind.key] = _Kind(_shown(kind.text), _shown(kind.where), entry.at)
    found.count += 1
    found.at = min(found.at, entry.at)


def _shown(text: str) -> str:
    return scrub(excerpt(text.encode(), ()))


def _fresh(log: _Log) -> list[Clue]:
    """What has changed since it was told last."""
    changed = sorted((k for k, kind in log.kinds.items() if kind.count > kind.told), key=lambda k: -log.kinds[k].count)
    clues = [Clue(key, 0) for key in log.gone]
    for key in changed[:TOLD]:
        kind = log.kinds[key]
        kind.told = kind.count
        clues.append(Clue(key, kind.count, kind.text, kind.where, kind.at))
    log.gone = []
    return clues


def _judge(log: _Log, check: LogsCheck) -> tuple[Evidence, str]:
    """Whether there are new errors: once there are it stays so, as nothing takes back what was logged."""
    new = sorted(
        (
            Clue(key, kind.count, kind.text, kind.where, kind.at)
            for key, kind in log.kinds.items()
            if kind.count >= check.at_least and kind.at < log.since + check.until_s
        ),
        key=lambda c: (-c.times, c.at, c.key),
    )
    if not new:
        return Passed(), ""
    count = "a new kind of error" if len(new) == 1 else f"{len(new)} new kinds of errors"
    more = f"; and {len(new) - TOP} more" if len(new) > TOP else ""
    return Failed("new_errors"), f"{count}: {listing(sentence(clue) for clue in new[:TOP])}{more}"


def _why(error: WatchdogError) -> str:
    if isinstance(error, PermanentError):
        return "access" if error.status in {401, 403} else "source_error"
    return "rate_limited" if isinstance(error, TemporaryError) and error.delay_s else "source_error"
