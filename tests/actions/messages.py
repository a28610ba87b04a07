"""The messages of one incident, as the core makes them, and the golden files that show what channels make of them."""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from watchdog.ports import Delivery

GOLDEN = Path(__file__).parent / "golden"
DEDUP_KEY = "watchdog/us-central1/barq-fleet-api/w7k2/1"

BASE: dict[str, Any] = {
    "at": 1790000000.25,
    "links": [{"href": "http://127.0.0.1:8080/watches/w7k2", "text": "Watch"}],
    "watch": "w7k2",
    "project": "barq-fleet",
    "region": "us-central1",
    "service": "barq-fleet-api",
    "revision": "barq-fleet-api-00042-bad",
    "split_before": {"barq-fleet-api-00042-bad": 100},
    "split_after": None,
    "broadcast": False,
    "incident": None,
    "change": False,
}

OPENED: dict[str, Any] = BASE | {
    "kind": "opened",
    "severity": "info",
    "title": "Watching barq-fleet-api in us-central1 for 24 h",
    "happened": "barq-fleet-api-00042-bad took over from barq-fleet-api-00041-good at 13:46:40 UTC.",
    "todo": "Nothing. A tag on the previous revision would let us probe it beside the new one.",
    "evidence": [["in 5 min", "error rates above 4 % can be seen with this traffic"]],
    "status": "barq-fleet-api in us-central1: watching barq-fleet-api-00042-bad, immediate window",
    "change": True,
}
DECISION: dict[str, Any] = BASE | {
    "kind": "decision",
    "severity": "critical",
    "title": "Rolling back barq-fleet-api in us-central1: health_check failing",
    "happened": "The probe health failed 5 times in a row (status 503, expected 200) on barq-fleet-api-00042-bad, "
    "while barq-fleet-api-00041-good answered <healthy> & well.",
    "did": "We are moving all traffic back to barq-fleet-api-00041-good.",
    "over": "Not yet: recovery is being proven.",
    "todo": "Nothing yet; keep this page open.",
    "evidence": [
        ["health", "5 of 5 failed in 6 s (limit: 5 in a row)"],
        ["error_rate", "8.2 % of 412 requests (limit < 1 %)"],
    ],
    "split_after": {"barq-fleet-api-00041-good": 100},
    "status": "barq-fleet-api in us-central1: rolling back barq-fleet-api-00042-bad, immediate window",
    "incident": {"action": "trigger", "dedup_key": DEDUP_KEY},
}
ROLLED_BACK: dict[str, Any] = DECISION | {
    "kind": "rolled_back",
    "severity": "error",
    "title": "Rolled back barq-fleet-api in us-central1: health_check failing",
    "did": "All traffic is back on barq-fleet-api-00041-good since 13:46:49 UTC, 8.9 s after the first failed answer.",
    "over": "Yes: three probes of each kind passed in a row.",
    "todo": "Fix barq-fleet-api-00042-bad. Traffic is pinned: later deploys get 0 % until you run "
    "`watchdog release barq-fleet-api --on-next`.",
    "status": "barq-fleet-api in us-central1: rolled back – barq-fleet-api-00042-bad",
    "broadcast": True,
    "incident": {"action": "resolve", "dedup_key": DEDUP_KEY},
    "change": True,
}


def delivery(
    body: Mapping[str, Any], *, channel: str = "slack", remembered: Mapping[str, str] | None = None
) -> Delivery:
    return Delivery(
        key=f"w7k2:1:{body.get('kind', '')}",
        channel=channel,
        thread="w7k2",
        kind=str(body.get("kind", "")),
        created_at=1790000000.0,
        body=body,
        remembered=remembered or {},
    )


def assert_golden(name: str, payload: Any) -> None:
    """Compare with `golden/NAME.json`, which `UPDATE_GOLDEN=1 pytest tests/actions` writes first, for review."""
    path = GOLDEN / f"{name}.json"
    text = json.dumps(payload, indent=2, ensure_ascii=False) + "\n"
    if os.environ.get("UPDATE_GOLDEN"):
        path.write_text(text, encoding="utf-8")
    assert path.read_text(encoding="utf-8") == text
