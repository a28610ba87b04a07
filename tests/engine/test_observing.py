"""After ten watches that only observed, Slack is told once what automatic would have done."""

from pathlib import Path

from tests.engine.world import BAD, DOWN, NEXT, emulated, eventually, kept, policy
from tests.web import views
from tests.web.views import row
from watchdog.core.observed import ENOUGH


async def test_the_tenth_is_summed_up_once(tmp_path: Path) -> None:
    observing = policy(mode="observe")
    async with emulated() as cloud, kept(cloud, tmp_path / "w.db", observing) as house:
        key = house.keeper.key
        for i in range(ENOUGH - 1):
            shown = {**views.rolled_back(), "id": f"seen{i:03}", "mode": "observe", "decisions": []}
            shown |= {"project": key.project, "region": key.region, "service": key.name}
            lease = await house.store.acquire(f"watch/seen{i:03}", "test", ttl_s=60, now=1.0)
            await house.store.append(lease, [], watch=row(shown))
        await cloud.deploy(BAD, DOWN)
        runner = await house.watching(BAD)
        await eventually(lambda: runner.watch.rollback and runner.watch.rollback.stage == "observed", "observed")
        assert not house.keeper.service.summed_up
        await house.tell(runner, "operator", verb="finish", by="ada")
        await house.ended(runner)

        def told() -> list[str]:
            received = cloud.emulator.collected.received("slack")
            texts = [str(entry.body.get("text")) for entry in received if entry.accepted]
            return [text for text in texts if "10 deploys observed" in text]

        await eventually(told, "the summary in Slack")
        await cloud.deploy(NEXT)
        again = await house.watching(NEXT)
        await house.tell(again, "operator", verb="finish", by="ada")
        await house.ended(again)
        assert len(told()) == 1
        facts = [r.body async for r in house.store.read(house.keeper.stream) if r.kind == "summed_up"]
        assert facts == [{"watches": ENOUGH}]
