"""One message of Google's, read; and the filter, as the language of the real API has it."""

import math
from typing import Any

import pytest
from google.cloud.logging_v2 import types

from watchdog.core.model import ServiceKey
from watchdog.emulator.logging_filter import parse
from watchdog.sources.log_messages import build_request, read_entry, suppressed_count, tail_filter

A = ServiceKey(project="barq-fleet", region="us-central1", name="api")
B = ServiceKey(project="barq-fleet", region="europe-west1", name="web")


def message(**fields: Any) -> Any:
    """The published entry of a request of a minute (github.com/prashanth0686/amilia, index.js)."""
    entry: Any = types.LogEntry.pb()()
    entry.insert_id = fields.get("insert_id", "6951d2870005ef93ee656b6e")
    entry.timestamp.FromJsonString(fields.get("timestamp", "2025-12-29T00:58:51.018142Z"))
    entry.receive_timestamp.FromJsonString(fields.get("received", "2025-12-29T00:59:51.392307785Z"))
    entry.resource.type = "cloud_run_revision"
    entry.resource.labels.update(
        {
            "revision_name": fields.get("revision", "amilia-booker-00067-c4g"),
            "project_id": "deft-breaker-482023-t4",
            "service_name": "amilia-booker",
            "configuration_name": "amilia-booker",
            "location": "northamerica-northeast1",
        }
    )
    entry.http_request.status = 502
    entry.http_request.user_agent = fields.get("agent", "Google-Cloud-Scheduler")
    entry.text_payload = fields.get("text", "")
    if fields.get("latency", "60.369159188s"):
        entry.http_request.latency.FromJsonString(fields.get("latency", "60.369159188s"))
    return entry


ARRIVED, ENDED = 1_766_969_931.018142, 1_766_969_991.387301


def test_a_request_ends_its_latency_after_its_timestamp() -> None:
    read = read_entry(message(), "deft-breaker-482023-t4")

    assert read is not None
    _, entry = read
    assert entry.service == ServiceKey(
        project="deft-breaker-482023-t4", region="northamerica-northeast1", name="amilia-booker"
    )
    assert (entry.revision, entry.status, entry.own) == ("amilia-booker-00067-c4g", 502, False)
    assert math.isclose(entry.ended_at, ENDED, abs_tol=1e-5)
    assert entry.latency_s == pytest.approx(60.369159188)


@pytest.mark.parametrize(
    "fields, ended_at",
    [
        ({"latency": ""}, ARRIVED),
        ({"received": "2025-12-29T00:59:01Z"}, 1_766_969_941.0),  # were the timestamp the end, so would this be
        ({"received": "2025-12-29T00:58:50Z"}, ARRIVED),
    ],
)
def test_it_never_ends_after_logging_had_it_nor_before_it_began(fields: dict[str, str], ended_at: float) -> None:
    read = read_entry(message(**fields), "p")

    assert read is not None
    assert math.isclose(read[1].ended_at, ended_at, abs_tol=1e-5)


def test_doubles_have_one_insert_id_and_one_timestamp() -> None:
    def identity(**fields: str) -> int:
        read = read_entry(message(**fields), "p")
        assert read is not None
        return read[0]

    assert identity() == identity(agent="another")
    assert len({identity(), identity(insert_id="x"), identity(timestamp="2025-12-29T00:58:51.018143Z")}) == 3


@pytest.mark.parametrize(
    "agent, own",
    [("deploy-watchdog/0.1.0 (probe)", True), ("deploy-watchdog/9 barq", True), ("x deploy-watchdog/", False)],
)
def test_our_own_probes_are_known_by_their_user_agent(agent: str, *, own: bool) -> None:
    read = read_entry(message(agent=agent), "p")

    assert read is not None
    assert read[1].own is own


@pytest.mark.parametrize(
    "text, refused",
    [
        ("The request was aborted because there was no available instance.\nAdditional troubleshooting …", True),
        (
            "The request failed because the HTTP response was malformed.",
            False,
        ),
        ("", False),
    ],
)
def test_what_no_instance_took_is_known_by_its_text(text: str, *, refused: bool) -> None:
    read = read_entry(message(text=text), "deft-breaker-482023-t4")

    assert read is not None
    assert read[1].refused is refused


def test_what_is_no_request_of_a_revision_is_left_out() -> None:
    line = message()
    line.ClearField("http_request")

    assert read_entry(line, "p") is None
    assert read_entry(message(revision=""), "p") is None


def test_suppressed_entries_of_all_reasons_are_added_up() -> None:
    response: Any = types.TailLogEntriesResponse.pb()()
    for reason, count in (("RATE_LIMIT", 3), ("NOT_CONSUMED", 4)):
        info = response.suppression_info.add()
        info.reason, info.suppressed_count = info.Reason.Value(reason), count

    assert suppressed_count(response) == 7
    assert suppressed_count(types.TailLogEntriesResponse.pb()()) == 0


def test_the_filter_takes_every_watched_service_and_all_of_our_probes() -> None:
    selects = parse(tail_filter((A, B), 2.0**-10))
    fields = {
        "resource.type": "cloud_run_revision",
        "logName": "projects/barq-fleet/logs/run.googleapis.com%2Frequests",
        "resource.labels.service_name": "web",
        "resource.labels.location": "europe-west1",
        "insertId": "0",
        "httpRequest.userAgent": "deploy-watchdog/0.1.0 (probe)",
    }

    assert selects(fields)
    assert not selects(fields | {"httpRequest.userAgent": "a user"})
    assert sum(selects(fields | {"httpRequest.userAgent": "u", "insertId": str(i)}) for i in range(20_000)) in range(
        5, 50
    )
    assert not selects(fields | {"resource.labels.service_name": "other"})
    assert not selects(fields | {"resource.labels.location": "asia-east1"})
    assert not selects(fields | {"logName": "projects/barq-fleet/logs/run.googleapis.com%2Fstderr"})


def test_the_request_names_the_project_and_holds_entries_back_for_a_second_only() -> None:
    request = build_request("barq-fleet", "x")

    assert list(request.resource_names) == ["projects/barq-fleet"]
    assert (request.filter, request.buffer_window.ToMilliseconds()) == ("x", 1000)
