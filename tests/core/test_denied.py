"""Not let through: missing evidence, unless the control is let through where the release is not."""

from typing import Any

import pytest

from tests.core.drive import BOTH, CONTROL, DOWN, OK, T0, Drive, opening
from watchdog.core.commands import Notify, Restore
from watchdog.core.journal import decode, encode
from watchdog.core.model import Failed, Missing, Passed, State
from watchdog.core.probing import Purpose, Role
from watchdog.core.watch import replay

DENIED = Missing("access")


def asked(
    drive: Drive,
    from_s: int,
    to_s: int,
    *,
    public: Passed | Failed | Missing = DENIED,
    control: Passed | Failed | Missing | None = None,
    own: Passed | Failed | Missing | None = None,
) -> None:
    """What each path answers, second by second while it is asked, every five seconds otherwise."""
    for second in range(from_s, to_s):
        current = drive.watch.confirmations.get("health")
        if current is None:
            if second % 5 == 0:
                drive.probe(public, second)
            continue
        if control is not None:
            drive.confirm(control, second - 0.3, 1, Role.CONTROL)
        if own is not None:
            drive.confirm(own, second - 0.2, 1, Role.OWN)
        drive.confirm(public, second, max(current.settled, 1))


def restores(drive: Drive) -> int:
    return sum(isinstance(c, Restore) for c in drive.commands)


def pages(drive: Drive) -> list[Any]:
    return [c.body["title"] for c in drive.commands if isinstance(c, Notify) and c.body["incident"] is not None]


def test_a_permission_that_is_taken_away_is_no_outage_however_well_the_control_was_before() -> None:
    drive = Drive(opening(tags=CONTROL))
    drive.probe(DOWN, 5)
    drive.confirm(OK, 5.7, 1, Role.CONTROL)
    drive.confirm(OK, 6, 1)
    asked(drive, 10, 400, control=DENIED)
    assert restores(drive) == 0
    assert pages(drive) == []
    assert drive.watch.state is State.WATCHING
    assert drive.watch.missing["health"] == "access"
    assert [e.kind for e in drive.watch.timeline].count("denied") == 1


def test_the_control_is_asked_once_and_again_after_it_passed() -> None:
    drive = Drive(opening(tags=CONTROL))
    asked(drive, 10, 100, control=DENIED)
    assert drive.watch.confirmations == {}
    asked(drive, 100, 110, public=OK)
    asked(drive, 110, 112, control=DENIED)
    assert "health" in drive.watch.confirmations


def test_a_release_that_sends_everybody_to_a_login_is_rolled_back() -> None:
    drive = Drive(opening(tags=CONTROL))
    asked(drive, 10, 15, control=OK)
    assert restores(drive) == 1
    assert "5 times in a row" in drive.watch.decisions[-1].reason


def test_its_own_url_says_whether_it_is_the_release_or_what_stands_before_it() -> None:
    guilty = Drive(opening(tags=BOTH))
    asked(guilty, 10, 16, control=OK, own=DENIED)
    assert restores(guilty) == 1
    ours = Drive(opening(tags=BOTH))
    asked(ours, 10, 60, control=OK, own=OK)
    assert restores(ours) == 0
    assert pages(ours) == []


def test_a_control_that_is_let_in_no_longer_takes_its_word_back() -> None:
    drive = Drive(opening(tags=CONTROL))
    asked(drive, 10, 13, control=OK)
    asked(drive, 13, 60, control=DENIED)
    assert restores(drive) == 0
    assert drive.watch.confirmations == {}


@pytest.mark.parametrize("changes", [{"tags": ()}, {"tags": CONTROL, "armed": ()}])
def test_without_a_control_or_unarmed_nobody_is_asked(changes: dict[str, Any]) -> None:
    drive = Drive(opening(**changes))
    asked(drive, 10, 60, control=OK)
    assert drive.watch.confirmations == {}
    assert restores(drive) == 0


def test_an_outage_is_confirmed_whatever_the_control_may() -> None:
    drive = Drive(opening(tags=CONTROL))
    asked(drive, 10, 15, public=DOWN, control=DENIED)
    assert restores(drive) == 1


def test_it_replays_the_same() -> None:
    drive = Drive(opening(tags=CONTROL))
    asked(drive, 10, 14, control=OK)
    events = [decode(kind, schema, e.at, body) for e in drive.events for kind, schema, body in [encode(e)]]
    again, _ = replay(events)
    assert again is not None
    assert again.confirmations == drive.watch.confirmations


def test_blindness_for_want_of_a_permission_says_which_role() -> None:
    drive = Drive(opening(tags=()))
    asked(drive, 10, 800)
    drive.probe(DENIED, 800, purpose=Purpose.REGULAR)
    said = [c.body["todo"] for c in drive.commands if isinstance(c, Notify) and c.kind == "blind"]
    assert any("roles/run.invoker" in todo for todo in said)
    assert drive.watch.at > T0
