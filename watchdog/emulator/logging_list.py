"""`ListLogEntries`: what the emulator's request log holds of the past, newest or oldest first, a page at a time.

As at Google a page has 50 entries unless the request says otherwise, 1000 at most, and the next one is asked for by a
token; entries are ordered by `timestamp`, which is when a request arrived.
"""

from typing import Any

from google.cloud.logging_v2 import types

from watchdog.emulator.ledger import Ledger
from watchdog.emulator.logging_calls import lines_of
from watchdog.emulator.logging_entries import fields_of, render
from watchdog.emulator.logging_filter import parse

PAGE = 50
MOST = 1000

_Request: Any = types.ListLogEntriesRequest.pb()
_Response: Any = types.ListLogEntriesResponse.pb()
read_request, write_response = _Request.FromString, _Response.SerializeToString


def answer(ledger: Ledger, request: Any, projects: frozenset[str]) -> Any:
    """The page that `request` asks for. Raises `InvalidFilterError` (a `ValueError`) for a filter, `ValueError` for
    anything else that makes no sense."""
    selects = parse(request.filter)
    if request.order_by not in {"", "timestamp", "timestamp asc", "timestamp desc"}:
        raise ValueError(f"Unsupported order_by: {request.order_by}")
    if request.page_size < 0 or (request.page_token and not request.page_token.isdecimal()):
        raise ValueError("page_size must not be negative, and page_token be one that was handed out.")
    lines = (line for r in ledger.since(0)[0] if r.project in projects for line in lines_of(r))
    found = [line for line in lines if selects(fields_of(line))]
    found.sort(key=lambda r: r.ended_at - r.latency_s, reverse=request.order_by == "timestamp desc")
    begin = int(request.page_token or 0)
    end = begin + min(request.page_size or PAGE, MOST)
    response = _Response()
    response.entries.extend(render(r) for r in found[begin:end])
    if end < len(found):
        response.next_page_token = str(end)
    return response
