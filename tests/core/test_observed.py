"""What automatic would have done while it only observed, by people's marks."""

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from watchdog.core.observed import ENOUGH, advice, as_json, by_service, lines, of, sentence

marked = st.sampled_from([None, "right", "wrong", "late", "unclear"])


def view(number: int, *, would: bool = False, mark: str | None = None, **changes: Any) -> dict[str, Any]:
    said = "Would roll back api (r) from b to a 100 %: 5 of 5 failed."
    values: dict[str, Any] = {
        "id": f"w{number:02}", "project": "p", "region": "r", "service": "api", "revision": f"api-{number:05}",
        "mode": "observe", "opened_at": f"2026-09-{number + 1:02}T10:00:00.000Z",
        "ended_at": f"2026-09-{number + 1:02}T12:00:00.000Z", "would_roll_back": said if would else "",
        "rollback": {"state": "observed", "proof": "5 of 5 failed"} if would else None,
        "mark": {"mark": mark, "by": "ada"} if mark else None,
    }  # fmt: skip
    return {**values, **changes}


def test_right_wrong_missed_and_unmarked_are_told_apart() -> None:
    views = [view(i) for i in range(4)]
    views += [view(4, mark="right"), view(5, mark="wrong")]
    views += [view(6, would=True, mark="right"), view(7, would=True, mark="late"), view(8, would=True, mark="wrong")]
    views += [view(9, would=True)]
    found = by_service(reversed(views))["p/r/api"]
    assert sentence(found) == (
        "In 10 watches in observe mode since 2026-09-01, automatic would have rolled back 4 (2 right, 1 wrong: a "
        "healthy release, 1 unmarked) and left 6 alone (1 right, 1 wrong: a fault that was missed, 4 unmarked)."
    )
    assert advice(found) == "Say of each rollback whether it was right (or wrong): `watchdog history --mark w09 right`."
    assert lines(found)[-1] == ("w09 api-00009", "unmarked: 5 of 5 failed")
    assert as_json(found)["missed"] == 1


def test_what_to_do_follows_from_it() -> None:
    calm = [view(i) for i in range(9)]
    assert advice(of([*calm, view(9)])).startswith("Nothing had to be rolled back yet")
    assert advice(of([*calm, view(9, would=True, mark="right")])).startswith("It was right")
    assert advice(of([*calm, view(9, would=True, mark="wrong")])).startswith("Mend the rows")


def test_too_few_other_modes_open_watches_and_known_bad_ones_say_nothing() -> None:
    nine = [view(i) for i in range(ENOUGH - 1)]
    assert by_service(nine) == {}
    others = [view(9, known_bad=True), view(10, ended_at=None), view(11, mode="approve", opened_at="2026-01-01")]
    assert by_service([*nine, *others]) == {}
    assert set(by_service([*nine, view(9), *others])) == {"p/r/api"}
    assert by_service([*nine, view(9), view(20, mode="automatic")]) == {}, "the mode has changed since"
    elsewhere = [view(i, region="eu") for i in range(3)]
    assert set(by_service([*nine, view(9), *elsewhere])) == {"p/r/api"}


@given(st.lists(st.tuples(st.booleans(), marked), max_size=25))
def test_every_watch_is_counted_once(found: list[tuple[bool, str | None]]) -> None:
    summed = as_json(of(view(i % 28, would=would, mark=mark) for i, (would, mark) in enumerate(found)))
    parts = ("right", "wrong_rollbacks", "missed", "unmarked")
    assert sum(summed[part] for part in parts) == summed["watches"] == len(found)
