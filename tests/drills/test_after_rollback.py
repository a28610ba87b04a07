"""After a rollback, from outside: who was told, what the report holds, and the gate that is shut for the image."""

import re
from pathlib import Path

import pytest

from tests.drills.world import FAILING, SERVICE, TOKEN, Cloud, Daemon, daemon, process
from tests.engine.world import eventually, policy_text

pytestmark = [pytest.mark.drill, pytest.mark.timeout(150)]
LOUD = {"kind": "log", "message": "cannot read vehicle {id}: token=s3cr3t of ada@example.com"}
LOGS = "logs: true\n"


async def test_people_are_told_the_report_says_what_to_check_and_the_gate_is_shut(cloud: Cloud, tmp_path: Path) -> None:
    """One bad image from its deploy to the refusal to deploy it again."""
    async with daemon(cloud, tmp_path, text=policy_text() + LOGS) as dog:
        await cloud.ask("POST", "logging/entries", {"revision": f"{SERVICE}-good", "text": "cache miss 4", "ago_s": 60})
        bad = await cloud.deploy("bad", LOUD)
        await cloud.ask("POST", "logging/entries", {"revision": bad, "text": "cache miss 17", "count": 50})

        await said(cloud, "slack", "logs: a new kind of error: ")
        assert await cloud.pages() == [], "nobody is woken by a log"
        await cloud.afflict(bad, FAILING, LOUD)
        await dog.watch(bad, "rolling_back", "verifying")
        watch = await dog.watch(bad)
        assert (await dog.ask("POST", f"/api/v1/watches/{watch['id']}/ack", {"by": "ada"}))[0] == 202
        ended = await dog.ended(bad)
        assert ended["outcome"] == "rolled_back", ended["reason"]

        # Stakeholders: the announcement, the page with the new errors, the word that traffic is back, the page's end.
        for text in (f"Watching {SERVICE}", "cannot read vehicle", f"Rolled back {SERVICE}"):
            await said(cloud, "slack", text)
        for text in ("cannot read vehicle", "'event_action': 'trigger'", "'event_action': 'resolve'"):
            await said(cloud, "pagerduty", text)

        # The report: what, when, evidence with plots, timeline, who acknowledged, what to check, how to release.
        text = await report(cloud, dog, watch["id"])
        assert text.startswith(f"# Incident report: {SERVICE} in us-central1: rolled back")
        for section in (
            *("What to do next", "What to check for the root cause", "How it went", "Evidence", "Evidence over time"),
            *("New in the log", "Probes", "Decisions", "Timeline (UTC)", "How to release the traffic"),
        ):
            assert f"\n## {section}\n" in text, section
        assert re.search(r"\| Acknowledged \| .* UTC by ada \|", text)
        assert re.search(r"\| Paged \| \d{4}-\d\d-\d\d \d\d:\d\d:\d\d UTC \|", text)
        assert "```text\n" in text, "plots"
        questions = text.partition("## What to check for the root cause")[2].partition("\n## ")[0]
        assert "New in the log, not in that of the revision before" in questions
        assert "cannot read vehicle" in questions
        assert "Is one of them the fault itself?" in questions
        assert "The image is new" in questions
        assert "diff <(gcloud run revisions describe" in questions
        assert questions.count("?") >= 2, "questions, not claims"
        assert "cache miss" not in text, "the revision before logs it too"
        assert not re.search(r"s3cr3t|ada@example", text), "quoted without secrets"
        assert "watchdog release" in text

        # The known-bad fingerprint: its image is refused, another one is not.
        assert await verb(dog, tmp_path, "gate", SERVICE, "--image", f"{SERVICE}:bad") == 11
        assert await verb(dog, tmp_path, "gate", SERVICE, "--image", f"{SERVICE}:fixed") == 0
        status, answer = await dog.ask("GET", f"/api/v1/gate?service={SERVICE}&image={SERVICE}:bad")
        assert (status, answer["allowed"]) == (200, False)
        assert bad in answer["reason"] or "rolled back" in answer["reason"]


async def said(cloud: Cloud, channel: str, text: str) -> None:
    """Until a channel has been told something."""

    async def told() -> bool:
        return text in str(await cloud.pages(channel))

    await eventually(told, f"{text} in {channel}")


async def report(cloud: Cloud, dog: Daemon, watch: str) -> str:
    async with cloud.http.get(f"{dog.url}/api/v1/watches/{watch}/report") as answer:
        assert answer.status == 200
        return await answer.text()


async def verb(dog: Daemon, folder: Path, *arguments: str) -> int:
    env = {"WATCHDOG_URL": dog.url, "WATCHDOG_API_TOKEN": TOKEN}
    with process(folder, f"verb-{arguments[-1].replace(':', '-')}", "-m", "watchdog", *arguments, env=env) as running:
        return await running.exit(20.0)
