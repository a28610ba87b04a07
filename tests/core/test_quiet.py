"""Thirty pages for one cause help nobody: consequences wait for their root, and what repeats is counted."""

from dataclasses import replace

from tests.core.drive import OURS, T0, Drive, opening
from watchdog.core.model import Value


def memory(drive: Drive, from_s: float, value: float, minutes: int = 6) -> None:
    """A gauge, a point a minute."""
    for k in range(minutes):
        drive.sample("memory_usage", Value(value), from_s + 60 * k, from_s + 60 * (k + 1))


def test_what_clears_and_breaks_again_is_told_once_and_counted_in_the_digest() -> None:
    drive = Drive()
    for round_ in range(3):
        memory(drive, 60 + 720 * round_, 0.9)
        memory(drive, 60 + 720 * round_ + 360, 0.5)
    assert len(drive.messages("warning")) == 1
    assert len([d for d in drive.watch.decisions if d.action == "scale_up"]) == 3, "every one is on record"
    drive.tick(4000)
    told = [pair for m in drive.messages("window") for pair in m["evidence"] if pair[0] == "broke again, not told"]
    assert sum(int(text.rsplit(" ", 2)[1]) for _, text in told) == 2


def test_after_four_hours_it_is_told_again() -> None:
    drive = Drive()
    memory(drive, 60, 0.9)
    memory(drive, 420, 0.5)
    memory(drive, 60 + 4 * 3600, 0.9, minutes=8)
    assert len(drive.messages("warning")) == 2


def test_while_the_service_is_down_nothing_is_told_of_its_consequences_and_later_what_is_left() -> None:
    drive = Drive(opening(mode="observe"))
    drive.healthy(0, 50)
    drive.hard_down(50)
    drive.written(55, "observed", reason="would have")
    memory(drive, 60, 0.9)
    assert drive.messages("warning") == [], "down says it all"
    assert any(entry.kind == "inhibited" for entry in drive.watch.timeline)
    at = drive.watch.at - T0
    drive.healthy(at + 5, at + 30)
    (told,) = drive.messages("warning")
    assert "memory_usage" in told["title"], "it is still so, and nothing explains it any more"
    drive.healthy(at + 30, at + 400)
    assert drive.messages("recovered")[-1]["incident"]["action"] == "resolve", "never a resolve"


def test_what_has_cleared_with_its_root_is_not_told_at_all() -> None:
    drive = Drive(opening(mode="observe"))
    drive.healthy(0, 50)
    drive.hard_down(50)
    drive.written(55, "observed", reason="would have")
    memory(drive, 60, 0.9)
    memory(drive, 420, 0.5)
    at = drive.watch.at - T0
    drive.healthy(at + 5, at + 400)
    assert drive.messages("warning") == []


def test_a_probe_of_ours_that_could_not_ask_is_no_root() -> None:
    drive = Drive()
    drive.probe(OURS, 5)
    memory(drive, 60, 0.9)
    assert len(drive.messages("warning")) == 1


def test_what_a_person_holds_and_what_was_refused_long_ago_explain_nothing() -> None:
    held = Drive()
    held.operate("hold", 5)
    memory(held, 60, 0.9)
    assert len(held.messages("warning")) == 1
    first = opening()
    refused = Drive(replace(first, deploy=replace(first.deploy, rollback_safe=False)))
    refused.healthy(0, 50)
    refused.hard_down(50)
    refused.healthy(60, 400)
    memory(refused, 400, 0.9)
    assert len(refused.messages("warning")) == 1
