"""Who moved traffic, where a rollback may go, and what is left of a split when parts of it are gone."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from watchdog.core import traffic
from watchdog.core.model import RevisionState, ServiceState, Share, Split
from watchdog.core.traffic import Go, Refuse, StandDown

A, B, C, D = "api-1", "api-2", "api-3", "api-4"


def service(split: dict[str, int], **more: object) -> ServiceState:
    found: dict[str, object] = {
        "project": "p",
        "region": "r",
        "name": "api",
        "url": "https://api.example",
        "split": Split.of(split),
        "desired": Split.of(split),
        "tags": (),
        "latest_created": C,
        "latest_ready": C,
        "generation": 7,
        "observed_generation": 7,
        "resource_version": "v7",
        "ready": True,
    }
    return ServiceState(**{**found, **more})  # type: ignore[arg-type]


def revisions(*names: str, ready: bool = True, **prints: str) -> list[RevisionState]:
    return [
        RevisionState(name=n, ready=ready, created_at=float(i), fingerprint=prints.get(n.replace("-", "_"), ""))
        for i, n in enumerate(names)
    ]


ALL = revisions(A, B, C, D)


# --- preflight ---------------------------------------------------------------------------------------------------


def test_the_target_gets_what_the_watched_revision_had() -> None:
    found = traffic.preflight(service({C: 100}), ALL, watched=C, target=Split.of({A: 90, B: 10}))
    assert found == Go(Split.of({A: 90, B: 10}), "")


def test_others_keep_their_share() -> None:
    found = traffic.preflight(service({C: 30, D: 50, B: 20}), ALL, watched=C, target=Split.of({B: 100}))
    assert isinstance(found, Go)
    assert found.split.percents() == {D: 50, B: 50}


def test_revisions_that_are_gone_or_not_ready_or_bad_drop_out_and_the_rest_is_renormalised() -> None:
    known = [*revisions(A, C), *revisions(B, ready=False)]
    found = traffic.preflight(service({C: 100}), known, watched=C, target=Split.of({A: 60, B: 20, D: 20}))
    assert found == Go(Split.of({A: 100}), "api-2 is not ready and api-4 is gone")


def test_less_than_half_of_the_target_is_no_target() -> None:
    found = traffic.preflight(service({C: 100}), revisions(A, C), watched=C, target=Split.of({A: 40, B: 60}))
    assert found == Refuse("the target api-1 40 %, api-2 60 % cannot serve: api-2 is gone")


def test_a_known_bad_target_is_refused() -> None:
    known = revisions(A, C, api_1="bad")
    found = traffic.preflight(
        service({C: 100}), known, watched=C, target=Split.of({A: 100}), known_bad=frozenset({"bad"})
    )
    assert found == Refuse("the target api-1 100 % cannot serve: api-1 is known to be bad")


def test_the_revision_that_is_rolled_back_is_never_a_part_of_its_own_target() -> None:
    found = traffic.preflight(service({C: 100}), ALL, watched=C, target=Split.of({A: 90, C: 10}))
    assert found == Go(Split.of({A: 100}), "api-3 is what is rolled back")
    alone = traffic.preflight(service({C: 100}), ALL, watched=C, target=Split.of({C: 100}))
    assert isinstance(alone, Refuse)


def test_a_list_that_cannot_be_read_does_not_stop_the_write() -> None:
    found = traffic.preflight(service({C: 100}), None, watched=C, target=Split.of({A: 90, C: 10}))
    assert isinstance(found, Go)
    assert found.split == Split.of({A: 100})
    assert "could not be read" in found.note


# --- who moved? --------------------------------------------------------------------------------------------------


def test_while_it_serves_nobody_has_moved_it() -> None:
    assert traffic.who_moved(service({C: 1, D: 99}), ALL, C) is None


@pytest.mark.parametrize(
    "split, mark, result",
    [
        ({D: 100}, "", "superseded"),
        ({B: 100}, "", "overridden"),
        ({B: 100}, C, "done"),
        ({B: 60, D: 40}, "", "superseded"),
    ],
)
def test_who_took_its_traffic(split: dict[str, int], mark: str, result: str) -> None:
    found = traffic.who_moved(service(split, rolled_back=mark), ALL, C)
    assert isinstance(found, StandDown)
    assert found.result == result


def test_a_revision_nobody_has_listed_yet_is_newer_when_it_is_the_latest_created() -> None:
    assert traffic.newer_serves(service({D: 100}, latest_created=D), revisions(A, B, C), C)
    assert not traffic.newer_serves(service({"api-0": 100}, latest_created=C), revisions(A, B, C), C)


# --- percents ----------------------------------------------------------------------------------------------------


@given(st.lists(st.integers(1, 100), min_size=1, max_size=12), st.integers(0, 100))
def test_shares_are_whole_percents_in_proportion_and_add_up(weights: list[int], whole: int) -> None:
    parts = traffic.largest_remainder(weights, sum(weights), whole)
    assert sum(parts) == whole
    assert all(abs(p - w * whole / sum(weights)) < 1.0 for p, w in zip(parts, weights, strict=True))


@pytest.mark.parametrize("typed", [{}, {A: 0}, {A: 50}, {A: 120}, {A: 110, B: -10}])
def test_a_split_as_typed_must_add_up(typed: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="sum to 100"):
        traffic.percents(typed)


# --- the last resort, and release --------------------------------------------------------------------------------


def test_the_last_resort_is_the_newest_ready_revision_before_it() -> None:
    known = [
        *revisions(A, B),
        RevisionState(name=C, ready=True, created_at=5.0),
        RevisionState(name="sick", ready=False, created_at=4.0),
        RevisionState(name=D, ready=True, created_at=9.0),
    ]
    assert traffic.from_ready(known, C) == Split.of({B: 100})
    assert traffic.from_ready([], C) == Split()


def test_release_restores_the_kind_that_was_there() -> None:
    follow = Split((Share(revision=C, percent=100, latest=True),))
    pinned = Split.of({B: 100})
    assert traffic.released(service({A: 100}, latest_ready=D), follow) == Split(
        (Share(revision=D, percent=100, latest=True),)
    )
    assert traffic.released(service({A: 100}), pinned) == pinned


@pytest.mark.parametrize(
    "before, goal, part, wanted",
    [
        ({"new": 100}, {"old": 100}, 0.2, {"new": 80, "old": 20}),
        ({"new": 10, "old": 90}, {"old": 100}, 0.2, {"new": 8, "old": 92}),
        ({"new": 100}, {"old": 75, "older": 25}, 0.2, {"new": 80, "old": 15, "older": 5}),
        ({"new": 2, "other": 98}, {"old": 2, "other": 98}, 0.01, {"new": 1, "old": 1, "other": 98}),
        ({"new": 50, "other": 50}, {"old": 50, "other": 50}, 0.99, {"new": 1, "old": 49, "other": 50}),
        ({"new": 1, "old": 99}, {"old": 100}, 0.2, None),
        ({"new": 100}, {"new": 100}, 0.2, None),
    ],
)
def test_a_trial_takes_a_part_of_the_watched_share_only(
    before: dict[str, int], goal: dict[str, int], part: float, wanted: dict[str, int] | None
) -> None:
    found = traffic.partial(Split.of(before), Split.of(goal), "new", part)
    assert (found.percents() if found else None) == wanted
