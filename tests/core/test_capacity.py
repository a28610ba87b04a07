"""Turned away by the front end: a peak of traffic is held, a release that serves nobody is rolled back."""

from dataclasses import dataclass, field

import pytest

from tests.core.drive import CONTROL, DOWN, HANGS, NEW, OK, T0, Drive, opening
from watchdog.core.commands import Notify, Restore
from watchdog.core.events import Lag, Probed, Resumed, Sampled
from watchdog.core.journal import decode, encode
from watchdog.core.load import Load
from watchdog.core.model import Action, Counts, Failed, Passed, Sample, State
from watchdog.core.probing import ProbeAnswer, Purpose, Role
from watchdog.core.watch import replay

LOG = (Lag(source="request_log", check="error_rate", period_s=5.0, lag_s=10.0),)
BEFORE_PER_S = 20.0


@dataclass(slots=True)
class Peak(Drive):
    """A watch with the request log, played second by second: slots of the log are told 10 s after their end."""

    slots: dict[int, tuple[float, float, float]] = field(default_factory=dict)

    def seconds(
        self,
        from_s: int,
        to_s: int,
        *,
        well: float,
        bad: float = 0.0,
        refused: float = 0.0,
        status: int | None = None,
        evidence: Failed | Passed | None = None,
        log: bool = True,
    ) -> None:
        """Users get these a second; probes get `status` by the front end each second, or pass each 5 s."""
        for second in range(from_s, to_s):
            slot = second // 5 * 5
            had = self.slots.get(slot, (0.0, 0.0, 0.0))
            self.slots[slot] = (had[0] + well, had[1] + bad, had[2] + refused)
            if second % 5 == 0 and log:
                self._tell(second - 15, second)
            failing = status is not None or isinstance(evidence, Failed)
            if not failing and second % 5 == 0:
                self._probe(OK, second, None, attempt=0)
            elif failing:
                began = self.watch.confirmations.get("health")
                attempt = 0 if began is None else max(began.settled, 1)
                self._probe(evidence if isinstance(evidence, Failed) else DOWN, second, status, attempt=attempt)

    def _tell(self, start: int, now: int) -> None:
        well, bad, refused = self.slots.get(start, (0.0, 0.0, 0.0))
        if start < 0:
            return
        found = [("error_rate", Counts(bad, well + bad))]
        found += [("refused", Counts(refused, well + bad + refused))] * bool(refused)
        samples = tuple(
            Sample(
                source="request_log",
                check=check,
                revision=NEW,
                start=T0 + start,
                end=T0 + start + 5,
                seen=T0 + now,
                evidence=counts,
            )
            for check, counts in found
        )
        self.put(Sampled(at=T0 + now, samples=samples))

    def _probe(self, evidence: Failed | Passed, second: int, status: int | None, *, attempt: int) -> None:
        at = T0 + second
        answered = ProbeAnswer(
            evidence=evidence, started_at=at, ended_at=at + 0.05, status=status, refused=status is not None
        )
        regular = attempt == 0
        self.put(
            Probed(
                at=at + 0.05,
                probe="health",
                role=Role.PUBLIC,
                purpose=Purpose.REGULAR if regular else Purpose.CONFIRM,
                scheduled_at=at,
                answer=answered,
                attempt=attempt,
                slot_s=5.0 if regular else 0.0,
            )
        )

    @property
    def restores(self) -> list[Restore]:
        """Rollbacks that were asked for."""
        return [c for c in self.commands if isinstance(c, Restore)]

    def state(self) -> State:
        """Where the watch stands."""
        return self.watch.state

    def pages(self) -> list[str]:
        """Titles of what woke somebody."""
        return [c.body["title"] for c in self.commands if isinstance(c, Notify) and c.body["incident"] is not None]


def day(*, before: float | None = BEFORE_PER_S) -> Peak:
    """One minute of usual traffic."""
    baselines = {} if before is None else {"request_rate": before}
    peak = Peak(opening(lags=LOG, baselines=baselines, tags=CONTROL, cold_start=False))
    peak.seconds(0, 60, well=20.0)
    return peak


def in_a_peak() -> Peak:
    """… and then four times as much, of which half is served: the log has told, and one probe in two is turned away."""
    peak = day()
    peak.seconds(60, 90, well=40.0, refused=40.0)
    return peak


def test_a_proven_peak_is_held_and_asks_for_instances() -> None:
    peak = in_a_peak()
    peak.seconds(90, 95, well=40.0, refused=40.0, status=429)
    assert peak.state() is State.HELD
    assert peak.watch.hold is not None
    assert peak.watch.hold.kind == "capacity"
    assert "80 requests/s are asked for (20/s before the deploy), 40/s are answered well" in peak.watch.hold.reason
    assert peak.watch.decisions[-1].action is Action.SCALE_UP
    assert any("Held, not rolled back" in title for title in peak.pages())
    assert not peak.restores


@pytest.mark.parametrize("status", [503, 500])
def test_any_answer_of_the_front_end_counts_in_a_proven_peak(status: int) -> None:
    peak = in_a_peak()
    peak.seconds(90, 95, well=40.0, refused=40.0, status=status)
    assert peak.state() is State.HELD


def test_probes_that_wait_in_the_queue_until_they_time_out_count_as_well() -> None:
    peak = in_a_peak()
    peak.seconds(90, 95, well=40.0, refused=40.0, evidence=HANGS)
    assert peak.state() is State.HELD


def test_a_container_that_answers_by_itself_is_no_matter_of_capacity() -> None:
    peak = in_a_peak()
    peak.seconds(90, 95, well=40.0, refused=40.0, evidence=DOWN)
    assert len(peak.restores) == 1


@pytest.mark.parametrize(
    "well, bad, refused",
    [
        (0.0, 0.0, 80.0),  # nobody is served: it crashes when it starts
        (15.0, 0.0, 65.0),  # fewer than before the deploy
        (36.0, 4.0, 40.0),  # of what is served, a tenth is bad
        (25.0, 0.0, 0.0),  # nobody is turned away
        (22.0, 0.0, 3.0),  # not much more than before
    ],
)
def test_what_is_no_proven_peak_is_rolled_back(well: float, bad: float, refused: float) -> None:
    peak = day()
    peak.seconds(60, 90, well=well, bad=bad, refused=refused)
    peak.seconds(90, 95, well=well, bad=bad, refused=refused, status=503)
    assert len(peak.restores) == 1


def test_less_than_it_ever_served_is_no_peak() -> None:
    """A leak: in the morning it served 60/s, and now, asked for as much, no more than 40."""
    peak = day()
    peak.seconds(60, 120, well=60.0)
    peak.seconds(120, 150, well=40.0, refused=40.0)
    peak.seconds(150, 155, well=40.0, refused=40.0, status=503)
    assert len(peak.restores) == 1


def test_without_a_rate_from_before_nothing_is_proven() -> None:
    peak = day(before=None)
    peak.seconds(60, 90, well=40.0, refused=40.0)
    peak.seconds(90, 95, well=40.0, refused=40.0, status=503)
    assert len(peak.restores) == 1


def test_without_the_log_nothing_is_proven() -> None:
    peak = Peak(opening(lags=LOG, baselines={"request_rate": 20.0}, tags=CONTROL, cold_start=False))
    peak.seconds(0, 90, well=40.0, refused=40.0, log=False)
    peak.seconds(90, 95, well=40.0, refused=40.0, status=429, log=False)
    assert len(peak.restores) == 1


def test_a_sudden_peak_waits_until_the_log_has_told() -> None:
    peak = day()
    peak.seconds(60, 74, well=40.0, refused=60.0, status=429)
    assert peak.state() is State.CONFIRMING
    peak.seconds(74, 82, well=40.0, refused=60.0, status=429)
    assert peak.state() is State.HELD
    assert not peak.restores


def test_a_log_that_tells_of_nobody_served_ends_the_wait() -> None:
    peak = day()
    peak.seconds(60, 74, well=0.0, refused=60.0, status=429)
    assert not peak.restores
    peak.seconds(74, 82, well=0.0, refused=60.0, status=429)
    assert len(peak.restores) == 1


def test_a_log_that_says_nothing_is_not_waited_for_any_longer() -> None:
    peak = day()
    peak.seconds(60, 74, well=0.0, refused=60.0, status=429, log=False)
    assert not peak.restores
    peak.seconds(74, 87, well=0.0, refused=60.0, status=429, log=False)
    assert len(peak.restores) == 1


def test_503_is_never_waited_for() -> None:
    """No instance is ready: they may all have crashed. The bound of a hard-down release holds."""
    peak = day()
    peak.seconds(60, 65, well=0.0, refused=60.0, status=503)
    assert len(peak.restores) == 1


def test_instances_that_stop_serving_end_the_hold() -> None:
    peak = in_a_peak()
    peak.seconds(90, 95, well=40.0, refused=40.0, status=429)
    assert peak.state() is State.HELD
    peak.seconds(95, 120, well=0.0, refused=80.0, status=429)
    assert peak.watch.rollback is None
    peak.seconds(120, 132, well=0.0, refused=80.0, status=429)
    assert len(peak.restores) == 1


def test_instances_that_serve_crash_and_start_again_end_the_hold() -> None:
    """Out of memory under load: for some seconds it serves as many as ever, but fewer than before the deploy in all."""
    peak = in_a_peak()
    peak.seconds(90, 95, well=40.0, refused=40.0, status=503)
    assert peak.state() is State.HELD
    for second in range(95, 155, 15):
        peak.seconds(second, second + 5, well=40.0, refused=40.0, status=503)
        peak.seconds(second + 5, second + 15, well=0.0, refused=80.0, status=503)
    assert len(peak.restores) == 1


def test_little_traffic_leaves_less_to_chance_in_a_minute() -> None:
    """Half of the instances crash when they start, and clients try again."""
    peak = Peak(opening(lags=LOG, baselines={"request_rate": 0.7}, tags=CONTROL, cold_start=False))
    peak.seconds(0, 60, well=0.7)
    peak.seconds(60, 120, well=0.4, refused=0.7)
    peak.seconds(120, 125, well=0.4, refused=0.7, status=503)
    assert len(peak.restores) == 1


def test_a_peak_that_comes_in_waves_is_held() -> None:
    """Now and then a slot holds only the end of a wave: fewer are served in it since fewer are asking."""
    peak = in_a_peak()
    peak.seconds(90, 95, well=40.0, refused=40.0, status=429)
    for second in range(95, 245, 15):
        peak.seconds(second, second + 10, well=40.0, refused=40.0, status=429)
        peak.seconds(second + 10, second + 15, well=8.0, refused=1.0, status=429)
    assert not peak.restores
    assert peak.state() is State.HELD


def test_a_hold_does_not_outlive_the_log_that_speaks_for_it() -> None:
    peak = in_a_peak()
    peak.seconds(90, 95, well=40.0, refused=40.0, status=429)
    assert peak.state() is State.HELD
    peak.seconds(95, 130, well=0.0, refused=80.0, status=503, log=False)
    assert not peak.restores, "a tail that is cut is taken up again"
    peak.seconds(130, 170, well=0.0, refused=80.0, status=503, log=False)
    assert len(peak.restores) == 1


def test_an_absence_of_ours_is_no_silence_of_the_log() -> None:
    peak = in_a_peak()
    peak.seconds(90, 95, well=40.0, refused=40.0, status=429)
    peak.put(Resumed(at=T0 + 300, down_since=T0 + 96))
    peak.seconds(300, 320, well=40.0, refused=40.0, status=429, log=False)
    peak.seconds(320, 500, well=40.0, refused=40.0, status=429)
    assert peak.state() is State.HELD
    assert not peak.restores
    peak.put(Resumed(at=T0 + 600, down_since=T0 + 501))
    peak.seconds(600, 670, well=0.0, refused=80.0, status=503, log=False)
    assert len(peak.restores) == 1


@pytest.mark.parametrize("fails_every", [10, 1000])
def test_nor_does_the_hold_of_a_share_of_the_probes(fails_every: int) -> None:
    peak = in_a_peak()
    for second in range(90, 300, 5):
        failing = second % 15 == 0
        peak.seconds(second, second + 1, well=40.0, refused=40.0, status=429 if failing else None)
        peak.seconds(second + 1, second + 5, well=40.0, refused=40.0)
        if failing:
            peak._probe(OK, second + 2, None, attempt=1)
    assert peak.state() is State.HELD
    for second in range(300, 500, 5):
        failing = second % fails_every == 0
        peak.seconds(second, second + 5, well=0.0, refused=80.0, status=503 if failing else None, log=False)
    assert peak.watch.hold is None
    assert len(peak.restores) == (fails_every == 10)


def test_a_persons_hold_is_not_replaced_and_nothing_is_decided_each_second() -> None:
    peak = in_a_peak()
    peak.operate("hold", 89)
    told = len(peak.watch.decisions)
    peak.seconds(90, 150, well=40.0, refused=40.0, status=429)
    assert peak.watch.hold is not None
    assert peak.watch.hold.kind == "person"
    assert len(peak.watch.decisions) <= told + 1


def test_a_shared_cause_that_turns_out_to_be_a_peak_is_decided_once() -> None:
    peak = in_a_peak()
    peak.probe(DOWN, 88.0, role=Role.CONTROL, purpose=Purpose.CONFIRM)
    peak.seconds(90, 91, well=40.0, refused=40.0, status=429)
    peak.confirm(DOWN, 91.0, 1, Role.CONTROL)
    peak.seconds(91, 96, well=40.0, refused=40.0, status=429)
    assert peak.watch.hold is not None
    assert peak.watch.hold.kind == "shared"
    peak.confirm(OK, 96.0, 2, Role.CONTROL)
    peak.seconds(96, 130, well=40.0, refused=40.0, status=429)
    assert peak.watch.hold is not None
    assert peak.watch.hold.kind == "capacity"
    assert [d.action for d in peak.watch.decisions].count(Action.SCALE_UP) == 1


def test_the_hold_outlives_a_lucky_probe_and_ends_with_the_peak() -> None:
    peak = in_a_peak()
    peak.seconds(90, 95, well=40.0, refused=40.0, status=429)
    pages = peak.pages()
    peak.seconds(95, 110, well=40.0, refused=40.0)
    assert peak.state() is State.HELD
    peak.seconds(110, 112, well=40.0, refused=40.0, status=429)
    assert peak.pages() == pages
    peak.seconds(112, 150, well=25.0)
    assert peak.state() is State.WATCHING
    assert not peak.restores
    assert peak.watch.incident is not None
    assert not peak.watch.incident.open


def test_probes_lost_now_and_then_in_a_peak_do_not_roll_back() -> None:
    """The meter of the probes raises its alarm long before five fail in a row."""
    peak = in_a_peak()
    for second in range(90, 300, 5):
        if second % 15 == 0:
            peak.seconds(second, second + 1, well=40.0, refused=40.0, status=429)
            peak.seconds(second + 1, second + 5, well=40.0, refused=40.0)
            peak._probe(OK, second + 2, None, attempt=1)
        else:
            peak.seconds(second, second + 5, well=40.0, refused=40.0)
    assert not peak.restores
    assert peak.state() is State.HELD
    peak.seconds(300, 600, well=20.0)
    assert not peak.restores
    assert peak.watch.hold is None


def test_replayed_it_decides_the_same() -> None:
    peak = in_a_peak()
    peak.seconds(90, 95, well=40.0, refused=40.0, status=429)
    events = [decode(kind, schema, e.at, body) for e in peak.events for kind, schema, body in [encode(e)]]
    again, _ = replay(events)
    assert again is not None
    assert again.hold == peak.watch.hold
    assert again.load == peak.watch.load


def test_the_load_keeps_a_minute_and_the_best() -> None:
    load = Load()
    for k in range(40):
        counts = Counts(1.0, 51.0 if k < 10 else 11.0)
        load = load.plus(sample(k * 5.0, counts))
    assert len(load.slots) == 12
    assert load.best == pytest.approx(10.0)
    now = load.now()
    assert now is not None
    assert (now.well, now.bad, now.took_s) == (30.0, 3.0, 15.0)
    assert load.now(since=190.0) is None


def test_what_is_told_again_replaces_what_was_told() -> None:
    load = Load().plus(sample(0.0, Counts(0.0, 5.0))).plus(sample(0.0, Counts(0.0, 50.0)))
    assert [s.well for s in load.slots] == [50.0]


def sample(start: float, counts: Counts) -> Sample:
    return Sample(
        source="request_log",
        check="error_rate",
        revision=NEW,
        start=start,
        end=start + 5.0,
        seen=start + 15.0,
        evidence=counts,
    )
