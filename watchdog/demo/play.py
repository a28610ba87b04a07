"""One scenario from the first request to the report, told live on the terminal."""

import asyncio
import re
import sys
import tempfile
from collections.abc import Mapping
from contextlib import nullcontext
from importlib.resources import files
from pathlib import Path
from typing import Any

from rich.live import Live
from rich.panel import Panel

from watchdog.demo.teller import Teller
from watchdog.demo.world import World, open_world
from watchdog.emulator.scenario import Scenario, load_scenario, scenario_names
from watchdog.errors import ConfigError
from watchdog.terminal import panel, percents

LOOK_EVERY_S = 0.25
PAGES_S = 5.0
"""How long the demo waits for the last pages to arrive."""
FAST = ("discover_every: 2s", "metrics_every: 5s", "cold_start: {errors: 10s, latency: 15s}")
"""What the demo changes in the shipped policy, besides the URL, so that it ends within two minutes."""


JOB = "barq-fleet-nightly"
JOB_TIMES: Mapping[str, float] = {"lastAttemptTime": -8 * 3600.0, "scheduleTime": 16 * 3600.0}
"""The shipped policy's nightly job: when it ran and runs again, seconds from now."""


def list_scenarios() -> list[tuple[str, str]]:
    """Name and title of every scenario."""
    return [(name, load_scenario(name).title) for name in scenario_names()]


def demo_policy(endpoints: Mapping[str, Any]) -> str:
    """The shipped policy, its URL pointed at the emulator, its metrics asked as often as the emulator samples; without
    its checks of the edge, which want a certificate and HTTPS."""
    text = (files("watchdog.data") / "barq-fleet.yaml").read_text(encoding="utf-8")
    text, found = re.subn(r"(?m)^(\s+url:\s*)\S+.*$", rf"\g<1>{endpoints['service_url']}", text, count=1)
    if found != 1:
        raise ConfigError("the shipped policy has no service.url to point at the emulator; reinstall deploy-watchdog")
    for line in FAST[:2]:
        key = line.split(":")[0]
        text = re.sub(rf"(?m)^(\s+){key}:\s*\S+.*$", rf"\g<1>{line}", text, count=1)
    text, found = re.subn(r"(?m)^edge:\n(?: .*\n)+", "", text, count=1)
    if found != 1:
        raise ConfigError("the shipped policy has no edge checks to leave out; reinstall deploy-watchdog")
    return f"{text.rstrip()}\n{FAST[2]}\n"


async def play(name: str, *, as_json: bool = False, keep: bool = False) -> int:
    """Play a scenario; 0 when it ended as its script says, 11 when it did not.

    The report stays in a new folder whose name is printed; `keep` also keeps the logs and the database there. Raises
    `ConfigError` for an unknown scenario, `DemoError` when the demo's own processes fail.
    """
    if name not in scenario_names():
        raise ConfigError(f"no scenario {name!r}; there are {', '.join(scenario_names())}")
    scenario = load_scenario(name)
    teller = Teller(as_json=as_json)
    folder = Path(tempfile.mkdtemp(prefix="watchdog-demo-"))
    teller.say(f"{scenario.title}. {scenario.story}", style="bold", scenario=name)
    async with open_world(["--scenario", name], folder) as world:
        await world.start_daemon(demo_policy(world.endpoints))
        wrong = await _act(world, scenario, teller)
    if not keep and not wrong:
        _tidy(folder)
    for problem in wrong:
        teller.say(f"not as its script says: {problem}", style="bold red", ok=False)
    if wrong:
        teller.say(f"logs and database: {folder}", folder=str(folder))
        return 11
    teller.say("ended as its script says.", style="bold green", ok=True)
    return 0


def _tidy(folder: Path) -> None:
    """Leave the report only."""
    for path in folder.iterdir():
        if path.suffix != ".md":
            path.unlink()


async def _act(world: World, scenario: Scenario, teller: Teller) -> list[str]:
    sampling = scenario.monitoring
    teller.say(
        f"Emulated Cloud Run and Monitoring (samples every {sampling.sample_period_s:g} s, "
        f"{sampling.ingest_delay_s:g} s late; the real one: 60 s and 180 s), {scenario.load.rate_per_s:g} requests/s, "
        f"the real daemon with the BARQ policy (changed for the demo: url, no edge checks, {', '.join(FAST)})."
    )
    teller.say(f"Status page: {world.daemon}/", url=world.daemon)
    name, good = scenario.service.name, scenario.good.revision
    tagging = {"service": name, "traffic": {"LATEST": 100}, "tags": {"stable": good}, "wait": True}
    await world.emulator("POST", "/emulator/traffic", tagging)
    teller.say(f"Tagged {good} as stable, so that it can be warmed and asked whether going back would help.")
    await world.emulator("PUT", f"/emulator/scheduler/jobs/{JOB}", dict(JOB_TIMES))
    await asyncio.sleep(scenario.before_s)
    deployed = await world.emulator("POST", "/emulator/deploy", scenario.deploy_body())
    teller.say(f"Deployed {deployed['revision']} ({scenario.release.image}).", revision=deployed["revision"])
    loop = asyncio.get_running_loop()
    began = loop.time()
    live = Live(console=teller.console, refresh_per_second=4) if not teller.as_json and sys.stdout.isatty() else None
    with live or nullcontext():
        teller.live = live
        view = await _watch(world, scenario, teller, deployed["revision"])
        teller.live = None
    took = loop.time() - began
    if view is not None and live is None and not teller.as_json:
        teller.console.print(Panel(panel(view), border_style="dim", expand=False))
    return await _check(world, scenario, teller, view, took)


async def _watch(world: World, scenario: Scenario, teller: Teller, revision: str) -> dict[str, Any] | None:
    """Follow the watch until its outcome is certain; a healthy one is finished after the scenario's time."""
    loop = asyncio.get_running_loop()
    began = loop.time()
    finished = False
    while True:
        rows = (await world.watchdog("GET", "/api/v1/watches"))["watches"]
        row = next((r for r in rows if r["revision"] == revision), None)
        if row is not None:
            view: dict[str, Any] = await world.watchdog("GET", f"/api/v1/watches/{row['id']}")
            teller.show(view)
            if view["outcome"] is not None and view["state"] == "ended":
                return view
        late = loop.time() - began
        if late > scenario.watch_s and row is None:
            return None
        if late > scenario.watch_s and not finished and row is not None and row["state"] in {"watching", "paused"}:
            finished = True
            teller.say(f"{scenario.watch_s:g} s are enough for a demo: finishing the watch, judged on what it saw.")
            await world.watchdog("POST", f"/api/v1/watches/{row['id']}/finish", {"reason": "end of the demo"})
        if late > scenario.expect.within_s:
            return view if row is not None else None
        await asyncio.sleep(LOOK_EVERY_S)


async def _check(
    world: World, scenario: Scenario, teller: Teller, view: dict[str, Any] | None, took: float
) -> list[str]:
    """Tell the end, write the report, and hold everything against the script."""
    expect = scenario.expect
    wrong: list[str] = []
    outcome = "no_watch" if view is None else str(view["outcome"])
    if outcome != expect.outcome:
        wrong.append(f"it ended {outcome}, expected {expect.outcome}")
    if took > expect.within_s:
        wrong.append(f"it took {took:.0f} s, expected {expect.within_s:g} s at most")
    if view is None:
        teller.say("No watch was opened, and no traffic was moved.")
    else:
        teller.say(f"Outcome after {took:.0f} s: {outcome.replace('_', ' ')}. {view['reason']}", outcome=outcome)
        decided = " ".join(d["criterion"] for d in view["decisions"])
        wrong += [f"no decision about {c}" for c in expect.criteria if c not in decided]
    wrong += await _check_traffic(world, scenario, teller)
    wrong += await _check_pages(world, scenario, teller)
    if view is not None:
        path = world.folder / f"report-{view['id']}.md"
        path.write_text(await world.report(view["id"]), encoding="utf-8")
        teller.say(f"Report: {path}", report=str(path))
    return wrong


async def _check_traffic(world: World, scenario: Scenario, teller: Teller) -> list[str]:
    services = (await world.emulator("GET", "/emulator/services"))["services"]
    split = services[0]["split"]
    teller.say(f"Cloud Run serves {percents(split)}.", split=split)
    serving = scenario.good.revision if scenario.expect.serving == "good" else scenario.release.revision
    if list(split) != [serving]:
        return [f"Cloud Run serves {percents(split)}, expected {serving}"]
    return []


async def _check_pages(world: World, scenario: Scenario, teller: Teller) -> list[str]:
    """What arrived at the emulated Slack and PagerDuty."""
    wrong: list[str] = []
    for channel in ("slack", "pagerduty"):
        titles: list[str] = []
        paged = False
        for _ in range(int(PAGES_S / LOOK_EVERY_S)):
            received = (await world.emulator("GET", f"/emulator/collectors/{channel}"))["received"]
            titles = [t for t in (title_of(r["body"]) for r in received) if t]
            paged = channel == "slack" or any(r["body"].get("event_action") == "trigger" for r in received)
            if titles and (paged or channel not in scenario.expect.channels):
                break
            await asyncio.sleep(LOOK_EVERY_S)
        for title in titles:
            teller.say(f"{channel}: {title}", channel=channel)
        if channel in scenario.expect.channels and not (titles and paged):
            wrong.append(f"nobody was paged on {channel}")
        if channel == "pagerduty" and channel not in scenario.expect.channels and _triggered(received):
            wrong.append("somebody was woken on PagerDuty for nothing")
    return wrong


def _triggered(received: list[dict[str, Any]]) -> bool:
    return any(r["body"].get("event_action") == "trigger" for r in received)


def title_of(body: Mapping[str, Any]) -> str:
    """The first line of a message as it arrived; empty for Slack's own updates of a message."""
    payload = body.get("payload")
    if isinstance(payload, Mapping):
        action = body.get("event_action", "change")
        return f"{action}: {payload.get('summary', '')}"[:160]
    if body.get("event_action"):
        return f"{body['event_action']}: {body.get('dedup_key', '')}"
    if body.get("ts"):
        return ""
    return str(body.get("text", "")).split("\n", 1)[0][:160]
