"""The journal's rows: every event comes back as it was, and a damaged row is said to be damaged."""

import contextlib
import json
from collections.abc import Mapping
from math import isnan
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.core.watches import T0, fails, opening, regular, sampled
from watchdog.core.events import (
    Event,
    FellElsewhere,
    JobRan,
    Lag,
    Noticed,
    Opened,
    Operated,
    Probed,
    Resumed,
    Sampled,
    Scaled,
    Signalled,
    Target,
    Ticked,
    TrafficSeen,
    Trusted,
    Writing,
    Written,
)
from watchdog.core.journal import KINDS, SCHEMA, JournalError, decode, encode
from watchdog.core.model import (
    Counts,
    Deploy,
    Failed,
    Missing,
    Passed,
    Sample,
    ServiceKey,
    Share,
    Split,
    Tag,
    Value,
)
from watchdog.core.probing import ProbeAnswer, Purpose, Role

text = st.text(max_size=12)
number = st.floats(allow_nan=False, allow_infinity=False, width=64)
at = st.floats(0.0, 4e9)
flag = st.booleans()
names = st.dictionaries(text, number, max_size=3)
split = st.builds(
    Split,
    st.lists(st.builds(Share, revision=text, percent=st.integers(1, 100), latest=flag), max_size=3).map(tuple),
)
tags = st.lists(st.builds(Tag, name=text, revision=text, url=text), max_size=2).map(tuple)
words = st.lists(text, max_size=3).map(tuple)
outcome = st.one_of(st.just(Passed()), st.builds(Failed, text), st.builds(Missing, text))
evidence = st.one_of(outcome, st.builds(Counts, number, number), st.builds(Value, number))
answer = st.builds(
    ProbeAnswer,
    evidence=outcome,
    started_at=at,
    ended_at=at,
    status=st.none() | st.integers(100, 599),
    detail=text,
    phases_s=names,
    certificate_expires_at=st.none() | at,
)
sample = st.builds(Sample, source=text, check=text, revision=text, start=at, end=at, seen=at, evidence=evidence)
json_value = st.recursive(
    st.none() | flag | st.integers(-1000, 1000) | text,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(text, inner, max_size=3),
    max_leaves=6,
)
events: dict[str, st.SearchStrategy[Event]] = {
    "watch_opened": st.builds(
        Opened,
        at=at,
        watch=text,
        deploy=st.builds(
            Deploy,
            service=st.builds(ServiceKey, project=text, region=text, name=text),
            revision=text,
            version=text,
            deployer=text,
            notes=text,
            rollback_safe=flag,
            fingerprint=text,
        ),
        policy=st.dictionaries(text, json_value, max_size=3),
        policy_hash=text,
        target=st.builds(Target, split=split, source=text),
        split=split,
        tags=tags,
        cutover_at=st.none() | at,
        ends_at=st.none() | at,
        lags=st.lists(st.builds(Lag, source=text, check=text, period_s=number, lag_s=number), max_size=2).map(tuple),
        baselines=names,
        burstiness=names,
        armed=st.none() | words,
        sick_before=words,
        notes=words,
        link=text,
        own_url=text,
        cold_start=flag,
        known_bad=flag,
        rolled_back=text,
        doubt=text,
    ),
    "sampled": st.builds(Sampled, at=at, samples=st.lists(sample, max_size=4).map(tuple)),
    "probed": st.builds(
        Probed,
        at=at,
        probe=text,
        role=st.sampled_from(Role),
        purpose=st.sampled_from(Purpose),
        scheduled_at=at,
        answer=answer,
        attempt=st.integers(0, 100_000),
        slot_s=number,
        revision=text,
    ),
    "traffic_seen": st.builds(
        TrafficSeen,
        at=at,
        split=split,
        tags=tags,
        newer=flag,
        rolled_back=text,
        settled=flag,
        message=text,
    ),
    "signalled": st.builds(Signalled, at=at, signal=text, by=text, reason=text),
    "operated": st.builds(Operated, at=at, verb=text, by=text, reason=text, for_s=number, name=text),
    "deploy_noticed": st.builds(
        Noticed,
        at=at,
        version=text,
        deployer=text,
        notes=text,
        rollback_safe=flag,
        previous=split,
    ),
    "traffic_writing": st.builds(Writing, at=at, after=split, trouble=text),
    "traffic_written": st.builds(
        Written, at=at, result=text, reason=text, before=split, after=split, retry_at=st.none() | at
    ),
    "instances_scaled": st.builds(
        Scaled, at=at, result=text, reason=text, before=st.integers(0, 99), after=st.integers(0, 99), command=text
    ),
    "fell_elsewhere": st.builds(FellElsewhere, at=at, region=text, watch=text, proof=text),
    "job_ran": st.builds(JobRan, at=at, result=text, reason=text, execution=text),
    "watch_resumed": st.builds(Resumed, at=at, down_since=at),
    "ticked": st.builds(Ticked, at=at),
    "trusted": st.builds(Trusted, at=at),
}


def stored(body: Mapping[str, Any]) -> dict[str, Any]:
    """The body as it comes back from the store: strict JSON, without NaN."""
    back: dict[str, Any] = json.loads(json.dumps(body, allow_nan=False))
    return back


def test_every_kind_is_tried_here() -> None:
    assert set(events) == set(KINDS.values()) == set(SCHEMA)


@pytest.mark.parametrize("kind", sorted(events))
@given(data=st.data())
@settings(max_examples=25)
def test_an_event_comes_back_as_it_was(kind: str, data: st.DataObject) -> None:
    event = data.draw(events[kind])
    found, schema, body = encode(event)
    assert found == kind
    assert decode(kind, schema, event.at, stored(body)) == event


@pytest.mark.parametrize("x", [float("nan"), float("inf"), float("-inf")])
def test_a_reading_that_is_no_number_stays_none(x: float) -> None:
    kind, schema, body = encode(sampled("cpu_usage", 60.0, Value(x)))
    back = decode(kind, schema, T0, stored(body))
    assert isinstance(back, Sampled)
    value = back.samples[0].evidence
    assert isinstance(value, Value)
    assert isnan(value.x)


# --- damage ------------------------------------------------------------------------------------------------------

WHOLE: list[Event] = [opening(), sampled("error_rate", 60.0, Counts(1, 2)), regular("health", fails(T0))]
WHOLE += [TrafficSeen(at=T0, split=Split.of({"a": 100})), Written(at=T0, result="done", reason=""), Writing(at=T0)]
OPTIONAL = {("watch_opened", "policy"), ("watch_opened", "before"), ("watch_opened", "trial")}
OPTIONAL |= {("watch_opened", "known_bad"), ("watch_opened", "rolled_back"), ("watch_opened", "unable")}
OPTIONAL |= {("watch_opened", "schemas"), ("watch_opened", "author"), ("traffic_seen", "author")}
OPTIONAL |= {("watch_opened", "past")}
OPTIONAL |= {("watch_opened", "doubt")}
OPTIONAL |= {("watch_opened", "release")}
OPTIONAL |= {("watch_opened", "expected_version"), ("watch_opened", "images"), ("watch_opened", "snapshot")}
"""Keys that older journals may lack."""
REQUIRED = [
    (encode(event)[0], encode(event)[2], key)
    for event in WHOLE
    for key in encode(event)[2]
    if (encode(event)[0], key) not in OPTIONAL
]


@pytest.mark.parametrize("kind, body, key", REQUIRED, ids=lambda v: v if isinstance(v, str) else "")
def test_a_body_that_lost_a_part_is_damaged(kind: str, body: dict[str, Any], key: str) -> None:
    broken = {k: v for k, v in body.items() if k != key}
    with pytest.raises(JournalError, match=f"the {kind} event at 5.0 in the journal is damaged"):
        decode(kind, 1, 5.0, broken)


@pytest.mark.parametrize(
    "kind, body",
    [
        ("sampled", {"samples": [["requests", "error_rate"]]}),
        ("sampled", {"samples": [["requests", "error_rate", "r", 0, 5, 5, "c", "1", 2]]}),
        ("sampled", {"samples": [["requests", "error_rate", "r", 0, 5, 5, "c", 1, None]]}),
        ("sampled", {"samples": [["requests", "error_rate", "r", "0", 5, 5, "v", 1]]}),
        ("sampled", {"samples": [["requests", "error_rate", "r", 0, 5, 5, "v", True]]}),
        ("sampled", {"samples": [["requests", "error_rate", "r", 0, 5, 5, "x", 1]]}),
        ("sampled", {"samples": [["requests", "error_rate", "r", 0, 5, 5, "f", None]]}),
        ("sampled", {"samples": 7}),
        ("probed", encode(regular("health", fails(T0)))[2] | {"role": "king"}),
        ("probed", encode(regular("health", fails(T0)))[2] | {"answer": []}),
        ("traffic_seen", {"split": [["a"]], "tags": [], "newer": 0, "rolled_back": "", "settled": 1, "message": ""}),
        ("signalled", {"signal": "x", "colour": "red"}),
        ("watch_resumed", {}),
    ],
)
def test_a_body_of_another_shape_is_damaged(kind: str, body: dict[str, Any]) -> None:
    with pytest.raises(JournalError):
        decode(kind, 1, 5.0, body)


@given(st.sampled_from(sorted(events)), json_value)
@settings(max_examples=80)
def test_whatever_stands_there_is_read_or_refused_never_a_traceback(kind: str, body: Any) -> None:
    with contextlib.suppress(JournalError):
        decode(kind, 1, 5.0, body)


def test_unknown_kinds_and_newer_schemas_say_what_to_do() -> None:
    with pytest.raises(JournalError, match="unknown event kind 'moonrise' in the journal; was it written by a newer"):
        decode("moonrise", 1, 5.0, {})
    with pytest.raises(JournalError, match="ticked has schema 9, this version reads up to 1; upgrade the watchdog"):
        decode("ticked", 9, 5.0, {})
    with pytest.raises(JournalError):
        decode("ticked", 0, 5.0, {})
