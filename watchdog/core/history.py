"""The deployment history as the checklist writes it: Version | Date | Deployer | Status | Notes; and as a sheet."""

import csv
import io
from collections.abc import Mapping, Sequence
from typing import Any, Final

from watchdog.core.report_text import OUTCOMES

COLUMNS: Final = ("version", "date", "deployer", "status", "notes")
MORE: Final = ("service", "region", "revision", "watch", "outcome", "reason", "ended_at")
"""Further columns of the CSV."""
_FORMULA: Final = ("=", "+", "-", "@", "\t", "\r")


def deploy(view: Mapping[str, Any]) -> dict[str, Any]:
    """A watch's read model as a line of the deployment history; times are ISO 8601."""
    outcome = view.get("outcome")
    return {
        "version": view.get("version") or "",
        "date": view.get("cutover_at") or view["opened_at"],
        "deployer": view.get("deployer") or "",
        "status": OUTCOMES.get(outcome, outcome) if outcome else str(view["state"]).replace("_", " "),
        "mark": view.get("mark"),
        "notes": view.get("notes_of_deploy") or "",
        "project": view["project"],
        "region": view["region"],
        "service": view["service"],
        "revision": view["revision"],
        "watch": view["id"],
        "outcome": outcome,
        "reason": view.get("reason") or "",
        "ended_at": view.get("ended_at"),
    }


def as_markdown(deploys: Sequence[Mapping[str, Any]]) -> str:
    """The checklist's own table. What came from outside can neither break it nor bring markup."""
    lines = ["| Version | Date | Deployer | Status | Notes |", "|---------|------|----------|--------|-------|"]
    lines += ["| " + " | ".join(_cell(row, column) for column in COLUMNS) + " |" for row in deploys]
    return "\n".join(lines) + "\n"


def _cell(row: Mapping[str, Any], column: str) -> str:
    text = str(row[column] or "")
    if column == "date":
        text = text[:10]
    if column == "version" and not text:
        text = str(row["revision"])
    text = " ".join(text.split()).replace("\\", "\\\\")
    for mark in "|<>`*_[]":
        text = text.replace(mark, f"\\{mark}")
    return text or "–"


def as_csv(deploys: Sequence[Mapping[str, Any]]) -> str:
    """The same and more as RFC 4180, for a spreadsheet. A text that one would take for a formula gets a leading '."""
    out = io.StringIO(newline="")
    writer = csv.writer(out)
    writer.writerow((*COLUMNS, *MORE))
    for row in deploys:
        texts = [" ".join(str(row[c] or "").split()) for c in (*COLUMNS, *MORE)]
        writer.writerow([f"'{t}" if t.startswith(_FORMULA) else t for t in texts])
    return out.getvalue()
