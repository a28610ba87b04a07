"""Where to look for the cause of a bad deploy: questions that the evidence raises, each with what to look at.

They are questions, not claims: what fails together need not cause each other.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from watchdog.core.advice import LOUD, Step, quote
from watchdog.core.text import listing

MOSTLY: Final = 0.8
"""From this share on failed requests are said to be of one endpoint, or of one caller."""
LEAST: Final = 10
"""Of fewer failed requests nothing is said."""
SHARED: Final = frozenset({"cloud_sql", "memorystore", "cloud_monitoring", "prometheus", "json_endpoint"})
"""Sources of what a service rests on rather than is."""

View = Mapping[str, Any]


def to_check(view: View) -> Sequence[Step]:
    """What to check for the root cause, from a watch's read model; nothing where nothing went wrong."""
    if not (view.get("rollback") or view.get("incident") or view.get("outcome") == "failed"):
        return []
    return [
        *_errors(view),
        *_endpoints(view),
        *_callers(view),
        *_asked(view),
        *_change(view),
        *_schema(view),
        *_rests_on(view),
        *_shared(view),
    ]


def _log(view: View) -> Mapping[str, Any]:
    return view.get("log") or {}


def said(error: View) -> str:
    """One kind of error: `12 times "KeyError: 'plate'" (couriers.py in create)`."""
    often = "once" if error["count"] == 1 else f"{error['count']:,} times"
    return f'{often} "{error["text"]}"' + (f" ({error['where']})" if error.get("where") else "")


def _errors(view: View) -> Iterator[Step]:
    errors: Sequence[View] = _log(view).get("errors") or ()
    where = f'resource.type="cloud_run_revision" AND resource.labels.revision_name="{view["revision"]}"'
    query = quote(f"{where} AND severity>=ERROR")
    command = f"gcloud logging read {query} --project {quote(str(view['project']))} --limit 50"
    if errors:
        top = "; ".join(said(e) for e in errors[:3])
        more = f", and {len(errors) - 3} kinds more" if len(errors) > 3 else ""
        sentence = f"New in the log, not in that of the revision before: {top}{more}. Is one of them the fault itself?"
        yield Step(sentence, command)
    elif _looked_since(view):
        yield Step("No new kind of error was logged. Does the code that failed log its errors at all?", command)


def _looked_since(view: View) -> bool:
    """Whether the log was looked at after the trouble had begun: before, it could not show it."""
    looked = _log(view).get("looked_at")
    began = (view.get("rollback") or {}).get("decided_at") or (view.get("incident") or {}).get("opened_at")
    return bool(looked and began and str(looked) > str(began))


def _endpoints(view: View) -> Iterator[Step]:
    endpoints: Sequence[View] = _log(view).get("endpoints") or ()
    total = sum(e["count"] for e in endpoints)
    if total < LEAST:
        return
    first = endpoints[0]
    if first["count"] >= MOSTLY * total:
        share = f"{first['count']} of {total} failed requests"
        yield Step(f"{share} were {first['text']}. What does this deploy change there, or below it?")
    else:
        names = listing(str(e["text"]) for e in endpoints[:3])
        yield Step(f"Several endpoints failed ({names}). What do they share: start-up, configuration, a database?")


def _callers(view: View) -> Iterator[Step]:
    callers: Sequence[View] = _log(view).get("callers") or ()
    total = sum(c["count"] for c in callers)
    if total >= LEAST and callers[0]["count"] >= MOSTLY * total:
        share = f"{callers[0]['count']} of {total} failed requests"
        one = f"{share} came from one caller ({callers[0]['text']})"
        yield Step(f"{one}. Does it send what others do not, or just the most?")


def _asked(view: View) -> Iterator[Step]:
    """What our own probes and journeys saw."""
    rows = view.get("criteria") or ()
    for probe in view.get("probes") or ():
        if probe.get("failed") and probe.get("last_detail") and str(probe["name"]).partition(".")[0] != "journey":
            yield Step(f"Probe {probe['name']} failed {probe['failed']} times: {probe['last_detail']}. Why?")
    for journey in view.get("journeys") or ():
        step = next((s for s in journey.get("steps") or () if s.get("result") == "failed"), None)
        if step is not None:
            why = step.get("detail") or step.get("reason")
            yield Step(f"{journey['title']} stopped at the step {step['name']} ({why}). What changed there?")
    slow = [r for r in rows if str(r.get("metric")).endswith("_latency") and r.get("verdict") in LOUD]
    if slow and not any(r.get("metric") == "error_rate" and r.get("verdict") in LOUD for r in rows):
        yield Step(
            "It was slow and did not fail. A query without an index, a lock, a call in a loop, too few instances?"
        )


def _change(view: View) -> Iterator[Step]:
    """A new image, or the same one with another configuration."""
    images, revision = view.get("images") or {}, str(view["revision"])
    new = images.get(revision)
    before = {r: images[r] for r in (view.get("target") or {}).get("split") or {} if images.get(r) and r != revision}
    if not new or not before:
        return
    old = next(iter(before))
    place = f"--region {quote(str(view['region']))} --project {quote(str(view['project']))}"
    command = (
        f"diff <(gcloud run revisions describe {quote(old)} {place} --format=yaml) "
        f"<(gcloud run revisions describe {quote(revision)} {place} --format=yaml)"
    )
    if new in before.values():
        sentence = (
            "The image is the one that served before: only the configuration is new. Which variable, secret version, "
            "limit or command differs?"
        )
        yield Step(sentence, command)
    else:
        both = f"{_short(new)}; before {_short(before[old])}"
        yield Step(f"The image is new ({both}). Which commits lie between the two?", command)


def _short(image: str) -> str:
    """The image's name and as much of its digest as tells it apart."""
    name, at, digest = image.rpartition("/")[2].partition("@")
    return f"{name}{at}{digest[:19]}"


def _schema(view: View) -> Iterator[Step]:
    schemas, revision = view.get("schemas") or {}, view.get("revision")
    new = schemas.get(revision)
    others = {schemas[r] for r in (view.get("target") or {}).get("split") or {} if r in schemas} - {new}
    if new and others:
        yield Step(
            f"The schema label changed with this deploy ({listing(sorted(others))} before, now {new}). Did the "
            "migration run to its end, and can old data be read?"
        )


def _rests_on(view: View) -> Iterator[Step]:
    rows = [
        str(r.get("label"))
        for r in view.get("criteria") or ()
        if r.get("source") in SHARED and r.get("verdict") in LOUD
    ]
    if rows:
        yield Step(
            f"Broken beside it: {listing(rows)}. Is what the service rests on the cause, or does the release load it?"
        )


def _shared(view: View) -> Iterator[Step]:
    if (view.get("hold") or {}).get("kind") == "shared":
        yield Step("The revision before was as sick. What do both rest on: database, cache, upstream, network?")
