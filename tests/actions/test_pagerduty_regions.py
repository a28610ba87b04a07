"""A release in several regions pages once: whatever comes in whatever order, nothing is paged twice or left open."""

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from tests.actions.conftest import World
from tests.actions.messages import DECISION, ROLLED_BACK
from tests.actions.test_pagerduty import play
from watchdog.actions.pagerduty_book import Book

EAST, WEST = "watchdog/us-east1/api/w1", "watchdog/us-west1/api/w2"


def of(body: dict[str, Any], action: str, watch: str, level: int = 1) -> dict[str, Any]:
    return body | {"incident": {"action": action, "dedup_key": f"{watch}/{level}"}}


async def test_the_second_region_joins_and_the_last_one_resolves(world: World) -> None:
    pagerduty = world.pagerduty()
    steps = [of(DECISION, "trigger", EAST), of(DECISION, "trigger", WEST), of(ROLLED_BACK, "resolve", EAST)]
    await play(pagerduty, *steps)
    [incident] = world.collected.pagerduty.incidents()
    assert (incident["dedup_key"], incident["status"]) == (f"{EAST}/1", "triggered")

    world.collected.clear("pagerduty")
    await play(pagerduty, *steps, of(ROLLED_BACK, "resolve", WEST))
    [incident] = world.collected.pagerduty.incidents()
    assert incident["status"] == "resolved"


async def test_a_region_that_breaks_when_the_others_are_well_pages_by_itself(world: World) -> None:
    pagerduty = world.pagerduty()
    await play(
        pagerduty,
        of(DECISION, "trigger", EAST),
        of(ROLLED_BACK, "resolve", EAST),
        of(DECISION, "trigger", WEST),
        of(DECISION, "acknowledge", WEST),
    )
    east, west = sorted(world.collected.pagerduty.incidents(), key=lambda i: str(i["dedup_key"]))
    assert (east["dedup_key"], east["status"]) == (f"{EAST}/1", "resolved")
    assert (west["dedup_key"], west["status"]) == (f"{WEST}/1", "acknowledged")


async def test_each_level_of_the_ladder_is_joined_on_its_own(world: World) -> None:
    await play(
        world.pagerduty(),
        of(DECISION, "trigger", EAST),
        of(DECISION, "trigger", WEST),
        of(DECISION, "trigger", WEST, level=2),
        of(ROLLED_BACK, "resolve", EAST),
        of(ROLLED_BACK, "resolve", WEST),
    )
    found = {(i["dedup_key"], i["status"]) for i in world.collected.pagerduty.incidents()}
    assert found == {(f"{EAST}/1", "resolved"), (f"{WEST}/2", "resolved")}


def test_what_an_earlier_version_remembered_is_resolved_all_the_same() -> None:
    book = Book.remembered({"pagerduty.level.1": f"{EAST}/1", "pagerduty.level.2": f"{EAST}/2"})
    assert book.used(f"{EAST}/1") == {f"{EAST}/1": f"{EAST}/1", f"{EAST}/2": f"{EAST}/2"}


keys = st.builds("watchdog/r{0}/api/w{0}/{1}".format, st.integers(1, 3), st.integers(1, 2))


@given(st.lists(st.tuples(keys, st.booleans()), max_size=25))
def test_it_is_open_in_pagerduty_exactly_while_it_is_open_here(steps: list[tuple[str, bool]]) -> None:
    """`open_there` is PagerDuty, `open_here` what each watch believes of its levels; a retry of every step is free."""
    remembered: dict[str, str] = {}
    open_there, open_here = set[str](), set[str]()
    for key, triggers in steps:
        for _ in range(2):
            book = Book.remembered(remembered)
            if triggers:
                changed = {key: book.trigger(key)}
                open_there |= set(changed.values())
            else:
                used = book.used(key)
                open_there -= {c for k, c in used.items() if book.last_of(k, c)}
                changed = dict.fromkeys(used, "")
            remembered |= book.to_remember(changed)
        watch = key.rpartition("/")[0]
        open_here = open_here | {key} if triggers else {k for k in open_here if k.rpartition("/")[0] != watch}
        levels_here = sorted({k[-1] for k in open_here})
        assert sorted(k[-1] for k in open_there) == levels_here, "one incident a level, and none that nobody needs"
