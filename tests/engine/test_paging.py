"""The ladder in the real engine: over a restart, to real collectors, until a person acknowledges."""

from pathlib import Path

from tests.engine.world import BAD, DOWN, Cloud, House, emulated, eventually, kept, policy_text
from watchdog.core.policy import Policy
from watchdog.policy_file import parse_policy

LADDER = """
escalation:
  by: watchdog
  repeat_every: 1h
  ladder:
    - {name: On-call, after: 0s, email: oncall@barq.example}
    - {name: Lead, after: 1s, email: lead@barq.example}
    - {name: Manager, after: 2s, email: manager@barq.example}
    - {name: CTO, after: 60s}
"""


def laddered() -> Policy:
    return parse_policy(policy_text(mode="observe") + LADDER, Path("policy.yaml")).policy


def keys(cloud: Cloud) -> list[tuple[str, str]]:
    """What was done to which level's incident."""
    return [(page["event_action"], page["dedup_key"].rpartition("/")[2]) for page in cloud.pages()]


def sample(house: House, name: str) -> float | None:
    return house.tools.metrics.registry.get_sample_value(name)


async def test_the_ladder_survives_a_restart_and_ends_with_an_acknowledgement(tmp_path: Path) -> None:
    async with emulated() as cloud:
        async with kept(cloud, tmp_path / "w.db", laddered()) as house:
            await cloud.deploy(BAD, DOWN)
            runner = await house.watching(BAD)
            await eventually(lambda: keys(cloud) == [("trigger", "1")], "the first page")
        # Away for longer than two levels take: only the highest that is overdue is paged.
        opened = runner.watch.incident
        assert opened is not None
        clock = house.tools.clock
        await eventually(lambda: clock.now() > opened.opened_at + 2.2, "two levels overdue")
        async with kept(cloud, tmp_path / "w.db", laddered(), settle=False) as house:
            runner = await house.watching(BAD)
            await eventually(lambda: ("trigger", "3") in keys(cloud), "the highest overdue level")
            await house.tell(runner, "operator", verb="ack", by="ada")
            await eventually(lambda: ("acknowledge", "3") in keys(cloud), "acknowledged at every level")
            assert sample(house, "watchdog_incident_ack_seconds_count") == 1
            await house.tell(runner, "operator", verb="resolve", by="ada")
            await eventually(lambda: ("resolve", "3") in keys(cloud), "resolved at every level")
    # On a slow machine level 2 may have been paged before the first watchdog was gone.
    assert [key for key in keys(cloud) if key[1] != "2"] == [
        ("trigger", "1"),
        ("trigger", "3"),
        ("acknowledge", "1"),
        ("acknowledge", "3"),
        ("resolve", "1"),
        ("resolve", "3"),
    ]
    recipients = {address for entry in cloud.emulator.collected.received("smtp") for address in entry.body["rcpt_tos"]}
    assert {"oncall@barq.example", "lead@barq.example", "manager@barq.example"} <= recipients


async def test_what_a_person_silences_is_logged_and_not_sent_and_a_rollback_is_told_all_the_same(
    tmp_path: Path,
) -> None:
    async with emulated() as cloud, kept(cloud, tmp_path / "w.db") as house:
        until = house.tools.clock.now() + 600
        quiet = {"severity": "*", "until": until, "by": "ada", "reason": "move"}
        await house.order("silence", id="s1", **quiet)
        await eventually(lambda: house.keeper.service.silences, "the silence")
        await cloud.deploy(BAD, DOWN)
        runner = await house.watching(BAD)
        await house.ended(runner)
        await eventually(lambda: ("resolve", "1") in keys(cloud), "resolved")
        assert [line["kind"] for line in house.logged("message_silenced")] == ["opened"]
        assert keys(cloud) == [("trigger", "1"), ("resolve", "1")]
        titles = [entry.body["text"] for entry in cloud.emulator.collected.received("slack") if "text" in entry.body]
        assert not [title for title in titles if title.startswith("Watching")]
        await house.order("silence", id="s1", end=True, by="ada")
        await eventually(lambda: not house.keeper.service.silences, "its end")
