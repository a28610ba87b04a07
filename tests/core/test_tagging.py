"""Which tags of ours there should be, from the open watches and what the service has."""

from pathlib import Path
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from tests.core.drive import NEW, NEWER, OLD, TEXT, Drive, opening
from watchdog.core import tagging
from watchdog.core.model import Tag
from watchdog.core.state import Watch
from watchdog.policy_file import parse_policy

POLICY = parse_policy(
    TEXT.format(mode="automatic").replace("rollback:\n", "rollback:\n  tag: true\n"), Path("p.yaml")
).policy


def watch(**changes: Any) -> Watch:
    return Drive(opening(policy=POLICY.canonical(), **changes)).watch


def tag(name: str, revision: str) -> Tag:
    return Tag(name=name, revision=revision, url=f"https://{name}---api.example")


BOTH = {"wd-w1-n": NEW, "wd-w1-o": OLD}


def test_each_revision_of_an_open_watch_gets_one() -> None:
    assert tagging.changes((), [watch()]) == tagging.Changes(add=BOTH)
    assert not tagging.changes([tag(n, r) for n, r in BOTH.items()], [watch()])


def test_a_tag_that_somebody_gave_is_enough_and_a_name_that_was_refused_is_not_tried_again() -> None:
    assert tagging.changes([tag("stable", OLD)], [watch()]).add == {"wd-w1-n": NEW}
    assert not tagging.changes((), [watch()], refused=set(BOTH))


def test_a_tag_that_points_elsewhere_is_put_right() -> None:
    tags = [tag("wd-w1-n", NEW), tag("wd-w1-o", NEWER)]
    assert tagging.changes(tags, [watch()]) == tagging.Changes(add={"wd-w1-o": OLD})


def test_where_nothing_may_be_written_nothing_is_tagged() -> None:
    paused = watch()
    paused.paused = True
    assert not tagging.changes((), [paused])
    assert not tagging.changes([tag("wd-w1-n", NEW)], [paused])
    assert not tagging.changes((), [watch(known_bad=True)])
    plain = Drive(opening()).watch
    assert not tagging.changes((), [plain])


def test_an_ended_watch_leaves_none_of_its_own_and_all_of_the_others() -> None:
    tags = [tag("wd-w1-n", NEW), tag("wd-other-o", OLD), tag("stable", OLD), tag("wd-w1-x", NEW)]
    assert tagging.changes(tags, (), ended={"w1"}) == tagging.Changes(remove=("wd-w1-n",))


names = st.sampled_from(["stable", "wd-w1-n", "wd-w1-o", "wd-w2-n", "wd-w2-o", "wd-x-y", "wd--n"])


@given(
    st.dictionaries(names, st.sampled_from([OLD, NEW, NEWER]), max_size=6),
    st.sets(st.sampled_from(["w2", "w3"])),
)
def test_once_written_there_is_nothing_left_to_write_and_only_ours_went(have: dict[str, str], ended: set[str]) -> None:
    tags = [tag(n, r) for n, r in have.items()]
    wanted = tagging.changes(tags, [watch()], ended=ended)
    after = {n: r for n, r in have.items() if n not in wanted.remove} | dict(wanted.add)
    assert not tagging.changes([tag(n, r) for n, r in after.items()], [watch()], ended=ended)
    assert {NEW, OLD} <= set(after.values())
    assert {tagging.watch_of(n) for n in wanted.remove} <= {"w1", *ended}
