"""The ledger: bounded in memory, and faithful to readers that come back with an index."""

from watchdog.emulator import clock
from watchdog.emulator.ledger import InstanceUsage, Ledger, Request


def request(number: int, *, ended_at: float, revision: str = "api-1", status: int = 200) -> Request:
    return Request(
        revision=revision,
        service="api",
        project="p",
        region="r",
        ended_at=ended_at,
        latency_s=0.05,
        status=status,
        user_agent="test",
        method="GET",
        url="http://127.0.0.1/",
        size_bytes=2,
        remote_ip="127.0.0.1",
        insert_id=str(number),
    )


def test_reader_continues_where_he_stopped() -> None:
    ledger, now = Ledger(), clock.now()
    ledger.record(request(0, ended_at=now))
    seen, index = ledger.since(0)
    ledger.record(request(1, ended_at=now))

    later, end = ledger.since(index)

    assert ([line.insert_id for line in seen], [line.insert_id for line in later], end) == (["0"], ["1"], 2)


def test_memory_is_bounded_by_number_and_totals_are_not() -> None:
    ledger, now = Ledger(keep_requests=800), clock.now()

    for number in range(5000):
        ledger.record(request(number, ended_at=now + number / 1000, status=500 if number % 10 == 0 else 200))

    kept, end = ledger.since(0)
    assert 800 <= len(kept) < 1000
    assert (kept[-1].insert_id, end) == ("4999", 5000)
    assert [line.insert_id for line in ledger.since(4990)[0]] == [str(number) for number in range(4990, 5000)]
    totals = ledger.totals()["api-1"]
    assert (totals.requests, totals.by_status[500]) == (5000, 500)


def test_memory_is_bounded_by_age() -> None:
    ledger, now = Ledger(keep_requests=800), clock.now()

    for number in range(150):
        ledger.record(request(number, ended_at=now - 30 * 3600 + number))
    for number in range(150, 200):
        ledger.record(request(number, ended_at=now + number))

    assert len(ledger.since(0)[0]) < 150
    assert ledger.since(0)[0][-1].insert_id == "199"


def test_span_is_half_open() -> None:
    ledger = Ledger()
    now = clock.now()
    for number in range(5):
        ledger.record(request(number, ended_at=now + number))

    assert [line.insert_id for line in ledger.between(now + 1, now + 3)] == ["1", "2"]


def test_subscribers_hear_each_request_until_they_leave() -> None:
    ledger, heard = Ledger(), []
    leave = ledger.subscribe(lambda line: heard.append(line.insert_id))

    ledger.record(request(1, ended_at=clock.now()))
    leave()
    leave()
    ledger.record(request(2, ended_at=clock.now()))

    assert heard == ["1"]


def test_index_stays_valid_after_everything_was_forgotten() -> None:
    ledger = Ledger()
    ledger.record(request(1, ended_at=clock.now()))
    _, index = ledger.since(0)
    ledger.clear()
    ledger.record(request(2, ended_at=clock.now()))

    assert [line.insert_id for line in ledger.since(index)[0]] == ["2"]


def test_usage_follows_its_script_while_the_revision_is_in_use() -> None:
    ledger, now = Ledger(), clock.now()
    ledger.record(request(1, ended_at=now))
    ledger.set_usage("api-1", InstanceUsage(cpu=0.4, memory=0.5, memory_per_min=0.2, instances=3, since=now + 60))

    assert ledger.usage("api-1", now + 30) == (0.2, 0.35, 1)
    assert ledger.usage("api-1", now + 120) == (0.4, 0.7, 3)
    assert ledger.usage("api-1", now + 600) == (0.4, 1.0, 3)
    assert ledger.usage("api-1", now + 3600) == (0.0, 0.0, 0), "idle for an hour: scaled to zero"
    assert ledger.usage("nobody", now) == (0.0, 0.0, 0)
