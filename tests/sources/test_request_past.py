"""Who was behind the bad requests before the deploy: listed from the log, over the time that the list reaches back."""

from typing import Any

import pytest

from tests.core.policies import build
from tests.sources.log_world import PROBE, T0, World, world
from watchdog.core.model import Counts, Sample
from watchdog.core.origins import ADDRESS, KNOWN, ROUTE
from watchdog.errors import PermanentError
from watchdog.sources.request_origins import masked

ERRORS = build(success_criteria=[{"metric": "error_rate", "target": "< 1%", "action": "rollback"}]).policy
BOTH = build(
    success_criteria=[
        {"metric": "error_rate", "target": "< 1%", "action": "rollback"},
        {"metric": "client_error_rate", "target": "< 3x before"},
    ]
).policy


async def past(w: World, **fields: Any) -> dict[str, Sample]:
    w.clock.at = T0 + 3600.0
    return {s.check: s for s in await w.ask(past=True, **fields)}


async def test_the_hour_before_is_listed_without_our_own_probes() -> None:
    async with world() as w:
        w.record(10.0, n=3, status=500, remote_ip="203.0.113.9", url="https://x/old", method="POST")
        w.record(20.0, n=2, status=404, remote_ip="203.0.113.9")
        w.record(30.0, n=5, status=500, user_agent=PROBE)
        w.record(40.0, n=4, status=500, revision="api-1")
        w.record(50.0, n=6)
        found = await past(w, policy=BOTH)

    assert set(found) == {"origins.error_rate", "origins.client_error_rate"}
    errors = found["origins.error_rate"]
    assert (errors.start, errors.end) == (T0, T0 + 3600.0)
    assert isinstance(errors.evidence, Counts)
    assert errors.evidence.bad == 3
    rows = {(r.kind, r.key): (r.bad, r.total) for r in errors.evidence.origins}
    assert rows[ROUTE, "POST /old"] == (3.0, 3.0)
    assert rows[ADDRESS, masked("203.0.113.9")] == (3.0, 3.0)
    assert rows[KNOWN, masked("203.0.113.9")] == (5.0, 5.0)
    assert rows[KNOWN, masked("10.0.0.1")] == (0.0, 6.0)


async def test_a_full_page_reaches_back_less_far() -> None:
    async with world() as w:
        for second in range(1100):
            w.record(float(second), status=500)
        found = await past(w, policy=ERRORS)

    assert set(found) == {"origins.error_rate"}
    assert found["origins.error_rate"].start == pytest.approx(T0 + 100.0)


async def test_nothing_is_asked_where_no_row_reads_it() -> None:
    async with world() as w:
        assert await past(w) == {}
        assert w.server.calls["ListLogEntries"] == 0


async def test_a_log_that_may_not_be_read_is_told() -> None:
    async with world() as w:
        w.server.set_fault("permission_denied")
        with pytest.raises(PermanentError, match=r"roles/logging\.viewer"):
            await past(w, policy=ERRORS)
