"""What outlives a watch: proven splits, known-bad revisions, the budget."""

import pytest

from tests.core.watches import KEY, policy
from watchdog.core import service as facts
from watchdog.core.model import RevisionState, ServiceState, Split
from watchdog.core.paging import Silence
from watchdog.core.service import DAY_S, KNOWN_BAD_S, Fact, Service

A, B, C = "api-1", "api-2", "api-3"


def only(revision: str) -> Split:
    return Split.of({revision: 100})


def serving(split: Split) -> ServiceState:
    return ServiceState(
        project="p",
        region="r",
        name="api",
        url="",
        split=split,
        desired=split,
        tags=(),
        latest_created=C,
        latest_ready=C,
        generation=1,
        observed_generation=1,
        resource_version="1",
        ready=True,
    )


def known(*more: Fact) -> Service:
    return facts.fold_all(KEY, [facts.seen(0.0, only(A)), facts.proven(0.0, only(A), "at first"), *more])


def bad(at: float, revision: str, fingerprint: str = "f") -> Fact:
    return facts.known_bad(at, revision=revision, fingerprint=fingerprint, images=["image@sha256:1"])


# --- proven splits -----------------------------------------------------------------------------------------------


def test_the_target_is_the_last_proven_split() -> None:
    service = known(facts.proven(10.0, only(B), "passed"), facts.proven(20.0, only(A), "again"))
    assert service.target == only(A)
    assert service.is_proven(only(B))
    assert len(service.proven) == 2


def test_what_was_proven_and_rolled_back_later_is_nobodys_target() -> None:
    """It got through the first window, failed in hour 12, and must not be what the next rollback goes back to."""
    service = known(facts.proven(900.0, only(B), "immediate"), bad(43_200.0, B))
    assert service.target == only(A)
    assert not service.is_proven(only(B))
    assert facts.arrivals(facts.fold(service, facts.seen(43_200.0, only(A))), serving(only(B)), 43_300.0) == (
        facts.Arrival(B, known_bad=True),
    )


def test_only_some_splits_are_remembered() -> None:
    many = [facts.proven(float(k), only(f"api-{k}"), "") for k in range(100)]
    assert len(known(*many).proven) == facts.HISTORY


# --- arrivals ----------------------------------------------------------------------------------------------------


def test_a_revision_that_goes_from_nothing_to_more_arrives() -> None:
    assert facts.arrivals(known(), serving(Split.of({A: 90, B: 10})), 5.0) == (facts.Arrival(B, known_bad=False),)


def test_a_return_to_a_proven_split_is_no_arrival() -> None:
    service = known(facts.seen(5.0, only(B)))
    assert facts.arrivals(service, serving(only(A)), 6.0) == ()


def test_on_the_first_start_nothing_arrives() -> None:
    assert facts.arrivals(Service(key=KEY), serving(only(B)), 5.0) == ()


# --- known bad ---------------------------------------------------------------------------------------------------


def test_it_is_known_by_its_fingerprint_for_thirty_days() -> None:
    service = known(bad(100.0, B), facts.rolled_back(100.0, revision=B, target=A, before=only(B)))
    assert facts.bad_fingerprints(service, 100.0 + KNOWN_BAD_S - 1.0) == {"f"}
    assert facts.bad_fingerprints(service, 100.0 + KNOWN_BAD_S) == frozenset()
    twin = RevisionState(name=C, ready=True, fingerprint="f")
    assert facts.why_not_release(service, C, twin, 200.0) is not None
    assert facts.why_not_release(service, C, RevisionState(name=C, ready=True, fingerprint="g"), 200.0) is None
    assert facts.why_not_release(service, B, None, 200.0) is not None


def test_what_has_expired_is_let_go_of() -> None:
    many = [bad(k * KNOWN_BAD_S, f"api-{k}", f"f{k}") for k in range(1, 50)]
    service = known(*many)
    assert set(service.known_bad) == {"f49"}
    assert set(service.bad_revisions) == {"api-49"}


# --- budget ------------------------------------------------------------------------------------------------------


def rolled(at: float, target: str = A) -> Fact:
    return facts.rolled_back(at, revision=B, target=target, before=only(B))


def test_a_cooldown_for_each_target() -> None:
    service = known(rolled(1000.0))
    over = facts.budget(service, policy(), target=A, at=1100.0)
    assert over is not None
    assert over == ("traffic was moved back to api-1 100 s ago and the cooldown is 600 s", 1600.0)
    assert facts.budget(service, policy(), target=A, at=1600.0) is None
    assert facts.budget(service, policy(), target=C, at=1100.0) is None


@pytest.mark.parametrize("per_day", [1, 2, 3])
def test_so_many_rollbacks_a_day(per_day: int) -> None:
    made = policy(rollback={"per_day": per_day, "cooldown": "1s"})
    times = [1000.0, 5000.0, 9000.0]
    service = known(*(rolled(t) for t in times))
    over = facts.budget(service, made, target=A, at=10_000.0)
    assert over is not None
    free_at = over[1]
    assert free_at == times[-per_day] + DAY_S
    assert facts.budget(service, made, target=A, at=free_at + 0.001) is None
    assert facts.budget(service, made, target=A, at=free_at - 1.0) is not None


def test_old_rollbacks_are_forgotten() -> None:
    service = known(*(rolled(k * DAY_S) for k in range(400)))
    assert len(service.rollbacks) <= 3


# --- the pin, the gate, facts of later versions ------------------------------------------------------------------


def test_the_pin_is_known_until_it_is_released() -> None:
    service = known(rolled(10.0), Fact(at=20.0, kind="release_requested", body={"on_next": True}))
    assert service.pinned == only(B)
    assert service.release_on_next
    freed = facts.fold(service, Fact(at=30.0, kind="released", body={}))
    assert freed.pinned is None
    assert not freed.release_on_next


def test_a_bad_image_may_not_be_deployed() -> None:
    service = known(bad(10.0, B))
    allowed, reason = facts.gate(service, "image@sha256:1", 20.0)
    assert not allowed
    assert "was rolled back" in reason
    assert facts.gate(service, "image@sha256:2", 20.0)[0]
    assert facts.gate(None, "image@sha256:1", 20.0)[0]
    assert facts.gate(service, "image@sha256:1", 10.0 + KNOWN_BAD_S)[0]


def test_what_a_later_version_wrote_changes_nothing() -> None:
    service = known()
    assert facts.fold(service, Fact(at=1.0, kind="moon_phase", body={"full": True})) == service


def test_armed_and_sick_probes_are_remembered() -> None:
    service = known(facts.probes_seen(5.0, armed={"health": "hash"}, sick=["ready"]))
    assert service.armed == {"health": "hash"}
    assert service.sick == {"ready"}


def test_silences_begin_end_and_expire() -> None:
    def silence(name: str, until: float) -> Silence:
        return Silence(kind="warning", until=until, by="ada", reason="x", id=name)

    service = facts.fold_all(KEY, [facts.silenced(0.0, silence("a", 100.0)), facts.silenced(1.0, silence("b", 200.0))])
    assert [s.id for s in service.silences] == ["a", "b"]
    assert [s.id for s in facts.fold(service, facts.unsilenced(2.0, "a", "ada")).silences] == ["b"]
    assert [s.id for s in facts.fold(service, facts.silenced(150.0, silence("c", 300.0))).silences] == ["b", "c"]
