"""The deployment history in the checklist's own table, and as a sheet that no note can turn into a program."""

import csv
import io
from typing import Any

from watchdog.core.history import as_csv, as_markdown, deploy


def view(**changes: Any) -> dict[str, Any]:
    values = {
        "id": "w1", "project": "p", "region": "r", "service": "api", "revision": "api-00002", "state": "ended",
        "opened_at": "2025-11-23T10:00:00.000Z", "version": "1.0.0", "deployer": "Ada", "outcome": "passed",
        "notes_of_deploy": "Initial production release",
    }  # fmt: skip
    return {**values, **changes}


def test_it_reads_as_the_checklist_writes_it() -> None:
    rows = [deploy(view(version="", notes_of_deploy="a | b\n<i>", outcome="rolled_back")), deploy(view())]
    assert as_markdown(rows).splitlines() == [
        "| Version | Date | Deployer | Status | Notes |",
        "|---------|------|----------|--------|-------|",
        "| api-00002 | 2025-11-23 | Ada | rolled back | a \\| b \\<i\\> |",
        "| 1.0.0 | 2025-11-23 | Ada | passed | Initial production release |",
    ]


def test_a_sheet_has_the_same_and_no_note_becomes_a_formula() -> None:
    text = as_csv([deploy(view(notes_of_deploy='=cmd|"x"', deployer='O"Hara, Ada'))])
    head, row = csv.reader(io.StringIO(text))
    found = dict(zip(head, row, strict=True))
    assert (found["notes"], found["deployer"], found["watch"]) == ('\'=cmd|"x"', 'O"Hara, Ada', "w1")


def test_an_open_watch_is_in_it_with_its_state() -> None:
    assert deploy(view(outcome=None, state="awaiting_approval"))["status"] == "awaiting approval"
