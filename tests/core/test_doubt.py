"""Automatic mode that nobody has proven able to write asks a person first, says so, and acts once it is proven."""

from hypothesis import given
from hypothesis import strategies as st

from tests.core.drive import DOWN, OK, T0, Drive, opening
from watchdog.core import watch as folding
from watchdog.core.doubt import FRESH_S, Preflights, remembered, why
from watchdog.core.events import Trusted
from watchdog.core.journal import decode, encode
from watchdog.core.report import view
from watchdog.core.report_text import markdown

DOUBT = "no preflight has passed yet"

results = st.lists(st.tuples(st.floats(0.0, 3e5), st.booleans()), max_size=8)


def doubted(mode: str = "automatic") -> Drive:
    return Drive(opening(mode=mode, doubt=DOUBT))


# --- what is remembered --------------------------------------------------------------------------------------------


@given(results, st.floats(0.0, 4e5))
def test_only_a_newest_answer_that_is_a_pass_of_the_last_day_is_believed(
    found: list[tuple[float, bool]], later: float
) -> None:
    known = Preflights()
    for at, passed in sorted(found, key=lambda r: r[0]):
        known = remembered(known, at, passed=passed, problems=() if passed else ("run.services.update",))
    if not found:
        assert why(known, later) == DOUBT
        return
    at, passed = max(found, key=lambda r: r[0])
    newest = [p for a, p in sorted(found, key=lambda r: r[0]) if a == at][-1]
    now = at + later
    assert (why(known, now) == "") == (newest and later <= FRESH_S)


def test_what_comes_late_changes_nothing_and_the_reason_is_named() -> None:
    known = remembered(Preflights(), 100.0, passed=False, problems=("run.services.update is not granted",))
    assert why(known, 101.0) == "the last preflight failed (run.services.update is not granted)"
    assert remembered(known, 50.0, passed=True, problems=()) == known
    passed = remembered(known, 200.0, passed=True, problems=())
    assert why(passed, 201.0) == ""
    assert why(passed, 200.0 + FRESH_S + 7200.0) == "no preflight has passed for 26 h"


# --- what a watch does ---------------------------------------------------------------------------------------------


def test_it_asks_and_says_why_in_message_read_model_and_report() -> None:
    watch = doubted()
    (told,) = watch.messages("opened")
    assert "The policy says automatic, but no preflight has passed yet" in told["did"]
    assert "watchdog preflight" in told["todo"]
    watch.hard_down(60, control=OK)
    assert watch.writes == 0
    assert watch.watch.state == "awaiting_approval"
    (asked,) = watch.messages("approval")
    assert "no preflight has passed yet" in asked["did"]
    shown = view(watch.watch)
    assert shown["mode"] == "approve"
    assert "no preflight has passed yet" in shown["doubt"]
    assert "approve – The policy says automatic, but no preflight has passed yet" in markdown(shown, [], None)


def test_a_preflight_that_passes_lets_it_act_on_what_is_proven() -> None:
    watch = doubted()
    watch.signal("database_corruption", 60)
    assert watch.writes == 0
    watch.put(Trusted(at=T0 + 70))
    assert watch.writes == 1
    assert view(watch.watch)["mode"] == "automatic"
    assert any("Automatic again" in m["title"] for m in watch.messages("note"))
    watch.put(Trusted(at=T0 + 71))
    assert watch.writes == 1


def test_what_has_recovered_while_it_waited_is_not_rolled_back() -> None:
    watch = doubted()
    watch.hard_down(60, control=OK)
    watch.confirm(OK, 65, 5)
    watch.healthy(70, 300)
    watch.put(Trusted(at=T0 + 310))
    assert watch.writes == 0
    assert watch.watch.state == "watching"
    watch.healthy(315, 3000, every=15.0)
    assert watch.watch.outcome is None, "nor is it refused when nobody answers the question that was withdrawn"
    watch.hard_down(3000, failures=10, control=OK)
    assert watch.writes == 1, "a new proof acts"


def test_what_still_fails_is_rolled_back_when_it_is_trusted() -> None:
    watch = doubted()
    watch.hard_down(60, control=OK)
    for k in range(5, 60):
        watch.confirm(DOWN, 60 + k, k)
    watch.put(Trusted(at=T0 + 120))
    assert watch.writes == 1


def test_what_nobody_answered_and_still_fails_is_rolled_back_when_it_is_trusted() -> None:
    watch = doubted()
    watch.hard_down(60, control=OK)
    for k in range(5, 1000):
        watch.confirm(DOWN, 60 + k, k)
    assert watch.ending == ("held", "failed")
    watch.put(Trusted(at=T0 + 1061))
    assert watch.writes == 1
    assert watch.watch.outcome is None


def test_what_nobody_answered_and_has_recovered_stays_as_it_is() -> None:
    watch = doubted()
    watch.hard_down(60, control=OK)
    for k in range(5, 1000):
        watch.confirm(DOWN, 60 + k, k)
    watch.confirm(OK, 1060, 1000)
    watch.put(Trusted(at=T0 + 1200))
    assert watch.writes == 0
    assert watch.watch.outcome == "failed"


def test_an_alarm_of_counts_that_cleared_after_nobody_answered_stays_as_it_is() -> None:
    watch = doubted()
    for minute in range(1, 8):
        watch.counts(300, 600, minute * 60, minute * 60 + 60)
    assert watch.watch.state == "awaiting_approval"
    for minute in range(8, 60):
        watch.counts(0, 600, minute * 60, minute * 60 + 60)
    assert watch.watch.outcome == "failed"
    watch.put(Trusted(at=T0 + 3900))
    assert watch.writes == 0


def test_one_that_passes_early_makes_it_automatic_from_then_on() -> None:
    watch = doubted()
    watch.put(Trusted(at=T0 + 5))
    watch.hard_down(60, control=OK)
    assert watch.writes == 1


def test_a_hold_by_a_person_is_not_overruled() -> None:
    watch = doubted()
    watch.signal("database_corruption", 60)
    watch.operate("hold", 65)
    watch.put(Trusted(at=T0 + 70))
    assert watch.writes == 0


def test_other_modes_are_as_they_say() -> None:
    for mode in ("approve", "observe"):
        watch = doubted(mode)
        (told,) = watch.messages("opened")
        assert "automatic" not in told["did"]
        assert (view(watch.watch)["mode"], view(watch.watch)["doubt"]) == (mode, "")
        watch.put(Trusted(at=T0 + 5))
        assert not watch.messages("note")


def test_the_journal_replays_it_exactly_and_an_old_one_has_no_doubt() -> None:
    watch = doubted()
    watch.signal("database_corruption", 60)
    watch.put(Trusted(at=T0 + 70))
    rows = [encode(event) for event in watch.events]
    again, commands = folding.replay(
        decode(kind, schema, event.at, body) for (kind, schema, body), event in zip(rows, watch.events, strict=True)
    )
    assert again == watch.watch
    assert commands == watch.commands
    kind, schema, body = rows[0]
    old = decode(kind, schema, T0, {key: value for key, value in body.items() if key != "doubt"})
    opened, _ = folding.opened(old)  # type: ignore[arg-type]
    assert opened.doubt == ""
