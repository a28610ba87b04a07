"""What to check for the root cause: questions that the evidence raises, and none that it does not."""

from typing import Any

import pytest

from watchdog.core.hints import to_check

ROLLED: dict[str, Any] = {
    "id": "w1", "project": "barq-fleet", "region": "us-central1", "service": "api", "revision": "api-2",
    "rollback": {"state": "done"}, "target": {"split": {"api-1": 100}},
}  # fmt: skip
DECIDED, AFTER = "2026-09-21T14:15:26.900Z", "2026-09-21T14:15:30.000Z"


def asked(**more: Any) -> list[str]:
    return [step.sentence for step in to_check({**ROLLED, **more})]


def counted(*pairs: tuple[str, int]) -> list[dict[str, Any]]:
    return [{"text": text, "count": count, "where": ""} for text, count in pairs]


def test_nothing_is_asked_where_nothing_went_wrong() -> None:
    quiet = {**ROLLED, "rollback": None, "log": {"errors": counted(("boom", 3))}}
    assert to_check(quiet) == []


def test_nothing_is_asked_that_the_evidence_does_not_raise() -> None:
    assert asked() == []


DATABASE = {"label": "database_cpu > 90%", "source": "cloud_sql", "verdict": "FAIL", "metric": "database_cpu"}
SLOW = {"label": "p95", "source": "cloud_run", "verdict": "FAIL", "metric": "p95_latency"}
COURIER = {"title": "Courier", "steps": [{"name": "create", "result": "failed", "detail": "answered 500"}]}
SEVERAL = counted(("POST /a", 20), ("GET /b", 20), ("GET /c", 10))


@pytest.mark.parametrize(
    "more, question",
    [
        (
            {"log": {"errors": [{"text": "KeyError", "count": 12, "where": "app/a.py in f"}]}},
            'of the revision before: 12 times "KeyError" (app/a.py in f). Is one of them the fault itself?',
        ),
        (
            {"log": {"looked_at": AFTER}, "rollback": {"state": "done", "decided_at": DECIDED}},
            "No new kind of error was logged.",
        ),
        (
            {"log": {"endpoints": counted(("POST /couriers", 48), ("GET /x", 2))}},
            "48 of 50 failed requests were POST /couriers. What does this deploy change there",
        ),
        ({"log": {"endpoints": SEVERAL}}, "Several endpoints failed (POST /a, GET /b and GET /c)."),
        (
            {"log": {"callers": counted(("curl/8 from 10.0.0.…", 12))}},
            "12 of 12 failed requests came from one caller (curl/8 from 10.0.0.…).",
        ),
        ({"images": {"api-2": "api@sha256:1", "api-1": "api@sha256:1"}}, "only the configuration is new."),
        (
            {"images": {"api-2": "api@sha256:2", "api-1": "api@sha256:1"}},
            "The image is new (api@sha256:2; before api@sha256:1).",
        ),
        ({"schemas": {"api-2": "v42", "api-1": "v41"}}, "(v41 before, now v42). Did the migration run to its end"),
        ({"criteria": [DATABASE]}, "Broken beside it: database_cpu > 90%."),
        ({"criteria": [SLOW]}, "It was slow and did not fail."),
        ({"hold": {"kind": "shared"}}, "The revision before was as sick. What do both rest on"),
        ({"journeys": [COURIER]}, "Courier stopped at the step create (answered 500)."),
        (
            {"probes": [{"name": "health", "failed": 5, "last_detail": "answered 503"}]},
            "Probe health failed 5 times: answered 503.",
        ),
    ],
)
def test_each_finding_raises_its_question(more: dict[str, Any], question: str) -> None:
    (found,) = asked(**more)
    assert question in found
    assert found.endswith("?")


@pytest.mark.parametrize(
    "more",
    [
        {"log": {"endpoints": counted(("GET /b", 9)), "callers": counted(("curl/8", 9))}},
        {"images": {"api-2": "api@sha256:1"}},
        {"schemas": {"api-2": "v42"}},
        {"schemas": {"api-2": "v42", "api-1": "v42"}},
        {"criteria": [{"label": "redis", "source": "memorystore", "verdict": "PASS", "metric": "redis_memory"}]},
        {"log": {"looked_at": DECIDED}, "rollback": {"state": "done", "decided_at": AFTER}},
        {"log": {"looked_at": None}, "rollback": {"state": "done", "decided_at": DECIDED}},
    ],
)
def test_too_little_raises_none(more: dict[str, Any]) -> None:
    assert asked(**more) == []


def test_a_command_quotes_what_came_from_outside() -> None:
    odd = {**ROLLED, "project": "x; rm -rf /", "log": {"errors": counted(("boom", 1))}}
    (step,) = to_check(odd)
    assert "--project 'x; rm -rf /'" in step.command
