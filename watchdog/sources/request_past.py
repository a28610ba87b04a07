"""Who was behind the bad requests of the revision before, in the hour before: what clears a release of old sorrows.

A live tail has no past, so a page of the log is listed: the newest bad requests, and the newest of all, which tell who
was among the users. When a page is full the time that it reaches back is shorter than the hour, and is said.
"""

import asyncio
from collections import Counter
from typing import Any, Final

from watchdog.core.catalogue import GRPC_ERRORS
from watchdog.core.model import Counts, Sample
from watchdog.core.origins import PAST, Origin
from watchdog.core.text import iso
from watchdog.ports import MetricQuery
from watchdog.sources.cloud_monitoring import named_by_a_row
from watchdog.sources.grpc_calls import is_bad
from watchdog.sources.grpc_calls import past_filter as past_filter_of_calls
from watchdog.sources.log_messages import past_filter, read_entry
from watchdog.sources.logging_client import PAGE, LoggingClient
from watchdog.sources.request_origins import known
from watchdog.sources.request_tally import Entry

MINUTE_S: Final = 60.0
STATUS: Final = {"error_rate": ">=500", "client_error_rate": ">=400 <500"}
MOST: Final = 8
"""Names of each kind that are kept."""
SOURCE: Final = "request_log"


async def past_callers(client: LoggingClient, query: MetricQuery, now: float) -> list[Sample]:
    """A sample a check that some row reads, `origins.<check>`, over the time that the listed entries cover. Raises
    what `LoggingClient.newest` raises."""
    calls = await _past_calls(client, query, now) if named_by_a_row(query.policy, (GRPC_ERRORS,)) else []
    checks = [check for check in STATUS if named_by_a_row(query.policy, (check,))]
    if not checks:
        return calls
    asked = [STATUS[check] for check in checks]
    everybody, *bad = await asyncio.gather(*(_listed(client, query, status) for status in ("", *asked)))
    there = known((e.caller, e.status >= 400) for e in everybody)
    samples = calls
    for check, entries in zip(checks, bad, strict=True):
        full = len(entries) >= PAGE
        since = max(query.start, min(e.ended_at for e in entries)) if full else query.start
        rows = (*_counted(entries), *there)
        samples.append(
            Sample(
                source=SOURCE,
                check=f"{PAST}{check}",
                revision=query.revision,
                start=since,
                end=query.end,
                seen=now,
                evidence=Counts(len(entries), len(entries), (), rows),
            )
        )
    return samples


async def _listed(client: LoggingClient, query: MetricQuery, status: str) -> list[Entry]:
    text = past_filter(query.service, query.revision, query.start, query.end, status)
    messages: list[Any] = await client.newest(query.service.project, text)
    read = (read_entry(message, query.service.project) for message in messages)
    return [found[1] for found in read if found is not None and not found[1].own]


async def _past_calls(client: LoggingClient, query: MetricQuery, now: float) -> list[Sample]:
    """The newest calls that the application logged, minute by minute: what rows relative to before compare with."""
    span = (str(iso(query.start)), str(iso(query.end)))
    messages = await client.newest(query.service.project, past_filter_of_calls(query.service, query.revision, *span))
    minutes: dict[int, tuple[int, int]] = {}
    for message in messages:
        found = read_entry(message, query.service.project)
        if found is not None and found[1].call:
            minute = int(found[1].ended_at // MINUTE_S)
            bad, total = minutes.get(minute, (0, 0))
            minutes[minute] = (bad + is_bad(found[1].call), total + 1)
    return [
        Sample(
            source=SOURCE,
            check=GRPC_ERRORS,
            revision=query.revision,
            start=minute * MINUTE_S,
            end=(minute + 1) * MINUTE_S,
            seen=now,
            evidence=Counts(bad, total),
        )
        for minute, (bad, total) in sorted(minutes.items())
    ]


def _counted(entries: list[Entry]) -> tuple[Origin, ...]:
    """The names behind the most of them."""
    counts: dict[str, Counter[str]] = {}
    for entry in entries:
        for kind, key in entry.caller.names().items():
            counts.setdefault(kind, Counter())[key] += 1
    return tuple(
        Origin(kind, key, float(n), float(n)) for kind in sorted(counts) for key, n in counts[kind].most_common(MOST)
    )
