"""Which watches of several regions are one release."""

from dataclasses import replace
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.core.drive import KEY, NEW, T0, Drive, opening
from watchdog.core.journal import decode, encode
from watchdog.core.model import Deploy
from watchdog.core.release import TOGETHER_S, Seen, carrier, joins, same_code
from watchdog.core.report import view

HERE, THERE, FAR = KEY.region, "us-east1", "asia-east1"
IMAGE = "us-docker.pkg.dev/p/api@sha256:aa"
DEPLOY = Deploy(service=KEY, revision=NEW, image=IMAGE, fingerprint="f1")
SEEN = Seen("w0", "w0", THERE, T0 - 60, image=IMAGE, fingerprint="f2")


def found(*seen: Seen, deploy: Deploy = DEPLOY, regions: tuple[str, ...] = (HERE, THERE)) -> str | None:
    first = carrier(opening(deploy=deploy), seen, regions)
    return None if first is None else first.release


def test_the_same_image_in_another_region_is_the_same_release() -> None:
    assert found(SEEN) == "w0"
    assert found(SEEN._replace(image="europe-docker.pkg.dev/q/api@sha256:aa")) == "w0", "registries are regional"
    assert found(SEEN._replace(image="", fingerprint="f1")) == "w0"
    assert found(SEEN._replace(watch="w5", release="w1")) == "w1", "it joins what the other one has joined"


@pytest.mark.parametrize(
    "other",
    [
        SEEN._replace(image=IMAGE[:-1]),
        SEEN._replace(image="", fingerprint=""),
        SEEN._replace(region=HERE),
        SEEN._replace(region=FAR),
        SEEN._replace(opened_at=T0 - TOGETHER_S - 1),
    ],
)
def test_anything_else_is_not(other: Seen) -> None:
    assert found(other) is None


def test_a_release_that_was_watched_here_already_is_over() -> None:
    assert found(SEEN, SEEN._replace(watch="w2", region=HERE)) is None


def test_a_deploy_without_image_or_fingerprint_joins_nothing() -> None:
    assert found(SEEN._replace(image="", fingerprint=""), deploy=replace(DEPLOY, image="", fingerprint="")) is None
    assert not same_code("", "")


regions = st.sampled_from(["a", "b", "c"])
rollouts = st.lists(st.tuples(regions, st.sampled_from(["x", "y"]), st.floats(1, 40_000)), max_size=12)


@given(rollouts)
def test_a_release_has_one_watch_a_region_and_one_image(steps: list[tuple[str, str, float]]) -> None:
    at, seen = T0, list[Seen]()
    for number, (region, code, pause) in enumerate(steps):
        at += pause
        key = replace(KEY, region=region)
        image = f"r/{code}@sha256:{code}"
        event = opening(at=at, watch=f"w{number}", deploy=Deploy(service=key, revision=NEW, image=image))
        first = carrier(event, seen, ("a", "b", "c"))
        release = first.release if first is not None else event.watch
        seen.append(Seen(event.watch, release, region, at, image=image))
    for release in {s.release for s in seen}:
        mine = [s for s in seen if s.release == release]
        assert mine[0].watch == release, "the first one carries it"
        assert len({s.region for s in mine}) == len(mine)
        assert len({s.image for s in mine}) == 1
        assert all(b.opened_at - a.opened_at <= TOGETHER_S for a, b in pairwise(mine))


def test_it_is_in_the_journal_and_in_the_view() -> None:
    event = opening(deploy=DEPLOY, release="w0", notes=(joins(opening(deploy=DEPLOY), SEEN),))
    kind, schema, body = encode(event)
    assert decode(kind, schema, event.at, body) == event
    shown = view(Drive(event).watch)
    assert (shown["release"], shown["image"], shown["fingerprint"]) == ("w0", IMAGE, "f1")
    assert view(Drive(opening()).watch)["release"] == "w1"
    (told,) = Drive(event).messages("opened")
    assert any("is watched in us-east1 (watch w0)" in note for _, note in told["evidence"])
    fallen = joins(opening(deploy=DEPLOY), SEEN._replace(outcome="rolled_back"))
    assert fallen.startswith("The same release was rolled back in us-east1 (watch w0)")
