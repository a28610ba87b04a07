"""From what a person typed to the watch or service it names, and from stored rows to what is answered."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from aiohttp import web

from watchdog.core.journal import public
from watchdog.core.model import ServiceKey
from watchdog.core.text import iso
from watchdog.ports import Record, WatchRow
from watchdog.web.problems import Problem
from watchdog.web.services import WebServices, services_of

_MOST_OPEN: Final = 1000
_LONG: Final = frozenset(
    {
        *("windows", "criteria", "probes", "journeys", "signoffs", "notes", "decisions", "timeline", "promotion"),
        *("log", "to_check", "images", "schemas"),
    }
)


async def watch_of(request: web.Request, *, ended: bool = False) -> WatchRow:
    """The watch that `{id}` names: its id, or a SERVICE whose one open watch it is (`ended`: else its last one).

    Raises `Problem`: 404 when there is none, 409 with the candidates when several are meant.
    """
    services = services_of(request)
    reference = request.match_info["id"]
    row = await services.store.watch(reference)
    if row is not None:
        return row
    found = [r for r in await services.store.watches(open_only=True, limit=_MOST_OPEN) if key_of(r).matches(reference)]
    if len(found) == 1:
        return found[0]
    if found:
        names = ", ".join(sorted(f"{key_of(r)} ({r.id})" for r in found))
        candidates = [{"id": r.id, "service": str(key_of(r))} for r in found]
        raise Problem(409, f"{reference} has several open watches: {names}. Name one of them.", candidates=candidates)
    past = [r for r in await services.store.watches(limit=_MOST_OPEN) if key_of(r).matches(reference)]
    if ended and len({key_of(r) for r in past}) == 1:
        return past[0]
    hint = f" Its last watch was {past[0].id}." if past else " GET /api/v1/watches lists all."
    raise Problem(404, f"{reference} is neither a watch nor a service with an open watch.{hint}")


def service_of(services: WebServices, reference: str, *, region: str = "", project: str = "") -> ServiceKey:
    """The service of a loaded policy that SERVICE names. Raises `Problem`: 404 for none, 409 for several."""
    found = [
        key
        for key in services.services
        if key.matches(reference) and region in ("", key.region) and project in ("", key.project)
    ]
    if len(found) == 1:
        return found[0]
    if found:
        names = sorted(str(key) for key in found)
        raise Problem(409, f"{reference} is ambiguous: {', '.join(names)}. Name one of them.", candidates=names)
    place = f" in {region}" if region else ""
    raise Problem(404, f"No loaded policy is for {reference}{place}. Known: {known(services)}.")


def known(services: WebServices) -> str:
    """The services of the loaded policies, for a sentence."""
    return ", ".join(sorted(str(key) for key in services.services)) or "none"


def key_of(row: WatchRow) -> ServiceKey:
    """What a watch is unique for."""
    return ServiceKey(project=row.project, region=row.region, name=row.service)


def watch_stream(watch_id: str) -> str:
    """The journal and inbox stream of a watch."""
    return f"watch/{watch_id}"


def service_stream(key: ServiceKey) -> str:
    """The journal and inbox stream of a service."""
    return f"service/{key}"


def summary(row: WatchRow) -> Mapping[str, Any]:
    """A watch as it stands in a list: its view without the long parts."""
    return {key: value for key, value in row.view.items() if key not in _LONG}


def event(record: Record) -> Mapping[str, Any]:
    """A journal row as it is answered. `body` stays as journaled: its times are Unix seconds. `at` is for people;
    `at_unix_s` is the very time, from which `replay` decides the same to the last bit."""
    return {
        "seq": record.seq,
        "at": iso(record.at),
        "at_unix_s": record.at,
        "seen_at": iso(record.seen_at),
        "kind": record.kind,
        "schema": record.schema,
        "body": public(record.kind, record.body),
        "late": record.late,
    }


async def events_of(services: WebServices, watch_id: str) -> Sequence[Mapping[str, Any]]:
    """The whole journal of a watch."""
    return [event(record) async for record in services.store.read(watch_stream(watch_id))]


def number(request: web.Request, name: str, default: int, *, most: int) -> int:
    """A whole number of the query, 0 to `most`. Raises `Problem` 422."""
    text = request.query.get(name)
    if text is None:
        return default
    if not (text.isascii() and text.isdigit()) or len(text) > 18 or int(text) > most:
        raise Problem(422, f"{name} must be a whole number from 0 to {most}, not {text[:40]!r}.")
    return int(text)
