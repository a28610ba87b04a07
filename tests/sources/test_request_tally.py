"""What a bucket is worth: counts, silence that can be believed, and silence that our own probes contradict."""

from collections import deque

import pytest
from hypothesis import given
from hypothesis import strategies as st

from watchdog.core.model import Missing, ServiceKey
from watchdog.sources.log_rate import CALM_S, MOST_PER_S, LogRate
from watchdog.sources.request_tally import LAG_S, NOTHING, PERIOD_S, Bucket, Entry, ServiceLog, Spans

SERVICE = ServiceKey(project="p", region="r", name="api")
T0 = 1_700_000_040.0
FIRST = round(T0 / PERIOD_S)


def entry(at: float, *, status: int = 200, latency_s: float | None = 0.1, own: bool = False) -> Entry:
    return Entry(SERVICE, "api-2", T0 + at, status, latency_s, own)


def standing(*, since: float = -1000.0) -> ServiceLog:
    log = ServiceLog()
    log.up.begin(T0 + since)
    return log


def read(log: ServiceLog, n: int, *answered: float) -> list[Bucket | Missing]:
    return log.read("api-2", FIRST, FIRST + n, [T0 + at for at in answered])


class TestBuckets:
    def test_hold_what_ended_in_their_five_seconds(self) -> None:
        log = standing()
        for at, status in ((0.0, 200), (4.999, 500), (5.0, 200), (9.9, 503), (9.9, 499)):
            log.add(entry(at, status=status), 1.0)

        first, second = read(log, 2)

        assert isinstance(first, Bucket)
        assert isinstance(second, Bucket)
        assert (first.bad, first.total, second.bad, second.total) == (1, 2, 1, 3)

    def test_count_what_is_slower_than_any_limit_also_after_more_came(self) -> None:
        log = standing()
        for latency_s in (0.2, 0.5, 0.500001, 2.0):
            log.add(entry(1.0, latency_s=latency_s), 1.0)
        (bucket,) = read(log, 1)
        assert isinstance(bucket, Bucket)
        assert [bucket.slower(limit) for limit in (0.1, 0.5, 1.0)] == [4, 2, 1]

        log.add(entry(1.0, latency_s=0.7), 1.0)

        assert (bucket.slower(0.5), len(bucket.latencies)) == (3, 5)

    def test_know_no_latency_where_none_was_logged(self) -> None:
        log = standing()
        log.add(entry(1.0, latency_s=None), 1.0)

        (bucket,) = read(log, 1)

        assert isinstance(bucket, Bucket)
        assert (bucket.total, len(bucket.latencies)) == (1, 0)

    def test_leave_our_own_probes_out(self) -> None:
        log = standing()
        log.add(entry(1.0, own=True, status=503), 1.0)

        assert read(log, 1) == [NOTHING]

    def test_are_forgotten(self) -> None:
        log = standing()
        log.add(entry(1.0), 1.0)
        log.add(entry(1.0, own=True), 1.0)
        log.up.end(T0 + 100.0)
        log.forget(T0 + 200.0)

        assert (log._buckets, log._own, log._alive) == ({}, deque(), set())
        assert read(log, 1) == [Missing("forgotten")]


class TestSilence:
    def test_is_no_traffic_while_the_stream_stands(self) -> None:
        assert read(standing(), 3) == [NOTHING] * 3

    def test_of_a_probe_that_was_answered_contradicts_the_stream(self) -> None:
        assert read(standing(), 3, 6.0) == [NOTHING, Missing("silent_stream"), Missing("silent_stream")]

    def test_is_believed_again_once_something_comes(self) -> None:
        log = standing()
        log.add(entry(11.0), 1.0)

        found = read(log, 4, 1.0)

        assert found[:2] == [Missing("silent_stream")] * 2
        assert isinstance(found[2], Bucket)
        assert found[3] == NOTHING

    def test_is_believed_while_our_probes_arrive(self) -> None:
        log = standing()
        for at in (1.0, 61.0):
            log.add(entry(at, own=True), 1.0)

        assert read(log, 14, 1.02, 61.02) == [NOTHING] * 14

    @pytest.mark.parametrize("skew_s", [-3.0, 0.4, 4.0])
    def test_forgives_clocks_that_differ_by_seconds(self, skew_s: float) -> None:
        log = standing()
        for at in range(0, 60, 5):
            log.add(entry(at + skew_s, own=True), 1.0)

        assert read(log, 12, *(float(at) for at in range(0, 60, 5))) == [NOTHING] * 12

    def test_before_the_first_bucket_asked_for_counts(self) -> None:
        """A probe a minute: most buckets have none, and are as the last one that had."""
        assert read(standing(), 2, -50.0) == [Missing("silent_stream")] * 2

    def test_is_judged_afresh_by_a_new_session(self) -> None:
        log = ServiceLog()
        log.up.begin(T0 - 100.0)
        log.up.end(T0 - 30.0)
        log.up.begin(T0 - 20.0)

        assert read(log, 2, -60.0) == [NOTHING] * 2

    def test_of_probes_that_failed_on_the_server_is_judged_by_their_arrival(self) -> None:
        """The engine names answered probes without those; that they came shows that the stream is alive."""
        log = standing()
        log.add(entry(1.0, own=True, status=503), 1.0)

        assert read(log, 2, -6.0) == [NOTHING] * 2

    def test_of_one_revision_is_none_while_another_of_the_service_is_heard(self) -> None:
        """Right after a cutover the revision before may answer a probe that seems to be the new one's."""
        log = standing()
        log.add(Entry(SERVICE, "api-1", T0 + 1.0, 200, 0.1, own=True), 1.0)

        assert read(log, 2, 1.0) == [NOTHING] * 2


class TestCompleteness:
    @staticmethod
    def filled(n: int, *, lost: int) -> tuple[ServiceLog, list[float]]:
        """`n` buckets with users' requests and a probe each, of which every `lost`-th is not in the log."""
        log = standing()
        for index in range(n):
            log.add(entry(index * 5.0 + 1.0, status=500), 1.0)
            if index % lost:
                log.add(entry(index * 5.0 + 2.0, own=True), 1.0)
        return log, [index * 5.0 + 2.01 for index in range(n)]

    def test_a_log_that_drops_successes_is_no_evidence_of_errors(self) -> None:
        """Half of the successes excluded would double the share of errors."""
        log, answered = self.filled(40, lost=2)
        found = read(log, 40, *answered)

        assert found[3:] == [Missing("incomplete_log")] * 37
        assert all(isinstance(bucket, Bucket) for bucket in found[:2]), "a single probe may be on its way"

    def test_a_log_that_lost_a_few_probes_is_still_believed(self) -> None:
        log, answered = self.filled(40, lost=10)

        assert all(isinstance(bucket, Bucket) for bucket in read(log, 40, *answered))

    def test_a_log_is_believed_again_once_our_probes_arrive(self) -> None:
        log, answered = self.filled(20, lost=1)
        for index in range(20, 130):
            log.add(entry(index * 5.0 + 1.0), 1.0)
            log.add(entry(index * 5.0 + 2.0, own=True), 1.0)
            answered.append(index * 5.0 + 2.01)
        found = log.read("api-2", FIRST + 60, FIRST + 130, [T0 + at for at in answered])

        assert found[0] == Missing("incomplete_log")
        assert isinstance(found[-1], Bucket)
        assert sum(isinstance(bucket, Missing) for bucket in found) < 20

    def test_a_stretch_in_which_nothing_came_does_not_count_against_what_came_later(self) -> None:
        log = standing()
        answered = [at + 0.01 for at in range(0, 300, 5)]
        for at in (1.0, *range(250, 300, 5)):
            log.add(entry(at), 1.0)
            log.add(entry(at, own=True), 1.0)
        found = read(log, 60, *answered)

        assert found[2:49] == [Missing("silent_stream")] * 47
        assert all(isinstance(bucket, Bucket) for bucket in found[50:])

    def test_nothing_is_known_of_it_without_probes(self) -> None:
        log, _ = self.filled(40, lost=1)

        assert all(isinstance(bucket, Bucket) for bucket in read(log, 40))


class TestSpans:
    def test_a_bucket_needs_the_stream_from_its_beginning_until_its_lag_is_over(self) -> None:
        log = ServiceLog()
        log.up.begin(T0 + 5.0)
        log.up.end(T0 + 10.0 + LAG_S)
        for at in (2.0, 7.0, 12.0):
            log.add(entry(at), 1.0)

        first, second, third = read(log, 3)

        assert (first, third) == (Missing("stream_down"), Missing("stream_down"))
        assert isinstance(second, Bucket)

    def test_a_bucket_that_may_have_lost_entries_is_missing(self) -> None:
        log = standing()
        for at in (2.0, 7.0, 27.0):
            log.add(entry(at), 1.0)
        log.suppressed.add(T0 + 18.0, T0 + 24.0)

        found = read(log, 6)

        assert [isinstance(f, Bucket) for f in found] == [True, False, False, False, False, True]
        assert found[1] == Missing("suppressed")

    @given(st.lists(st.tuples(st.floats(0, 100), st.floats(0, 20)), max_size=20), st.floats(0, 130), st.floats(0, 20))
    def test_hold_what_they_were_given(self, given: list[tuple[float, float]], start: float, width: float) -> None:
        spans = Spans()
        for begin, length in sorted(given):
            spans.add(begin, begin + length)
        inside = [(b, b + length) for b, length in given]

        if any(b <= start and start + width <= e for b, e in inside):
            assert spans.covers(start, start + width)
        assert spans.touches(start, start + width) >= any(b < start + width and start < e for b, e in inside)
        if spans.covers(start, start + width) and start + width > start:
            assert spans.touches(start, start + width)


class TestRate:
    def test_asks_for_everything_up_to_500_a_second(self) -> None:
        rate = LogRate()
        for second in range(60):
            rate.count(MOST_PER_S, T0 + second)
            assert rate.choose(T0 + second) == 1.0

    @pytest.mark.parametrize("per_s, share", [(501, 0.5), (900, 0.25), (3000, 0.125), (1e9, 2.0**-10)])
    def test_asks_for_a_share_above_that(self, per_s: float, share: float) -> None:
        rate = LogRate()
        for second in range(10):
            rate.count(per_s, T0 + second)

        assert rate.choose(T0 + 9) == share

    def test_goes_back_only_after_a_calm_minute_and_step_by_step(self) -> None:
        rate = LogRate()
        for second in range(10):
            rate.count(3000, T0 + second)
        rate.choose(T0 + 9)
        found = []
        for second in range(10, 400):
            rate.count(100, T0 + second)
            found.append(rate.choose(T0 + second))

        assert sorted(set(found)) == [0.125, 0.25, 0.5, 1.0]
        assert found == sorted(found)
        assert found.count(0.25) == CALM_S

    def test_keeps_ten_seconds(self) -> None:
        rate = LogRate()
        for second in range(1000):
            rate.count(1, T0 + second / 10)

        assert len(rate._seconds) == 10
