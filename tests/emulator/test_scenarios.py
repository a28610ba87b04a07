"""Scenario files: all that are shipped load and do what they say, and a mistake is named with file and key."""

import asyncio
from pathlib import Path

import aiohttp
import pytest

from tests.emulator.cloud_world import QUICK, Cloud
from watchdog.emulator.options import Options
from watchdog.emulator.scenario import Scenario, ScenarioError, load_scenario, parse_scenario, scenario_names
from watchdog.emulator.server import Emulator, main

GOOD = """
name: x
title: t
story: s
load: {rate_per_s: 5}
good: {image: a}
before_s: 1
release: {image: b}
watch_s: 5
expect: {outcome: passed, exit_code: 0, within_s: 9, serving: release}
"""


def test_demo_has_its_scenarios() -> None:
    assert set(scenario_names()) == {"healthy", "error-rate", "hard-down", "never-ready"}


@pytest.mark.parametrize("name", scenario_names())
def test_shipped_scenario_is_whole(name: str) -> None:
    scenario = load_scenario(name)

    assert scenario.name == name
    assert scenario.title
    assert scenario.good.revision != scenario.release.revision
    assert scenario.expect.within_s <= 120, "a demo ends by itself within two minutes"
    assert (scenario.monitoring.sample_period_s, scenario.monitoring.ingest_delay_s) == (5, 5)


@pytest.mark.parametrize("name", scenario_names())
async def test_shipped_scenario_can_be_played(name: str) -> None:
    """The good revision serves, and the release is deployed with the body that the scenario gives."""
    scenario = load_scenario(name)
    slow = scenario.options()
    quick = {field: getattr(slow, field) for field in Options.__dataclass_fields__} | QUICK

    async with Emulator(Options(**quick)) as emulator:
        (service,) = emulator.world.services.values()
        assert service.split() == {scenario.good.revision: 100}
        await _play(emulator, scenario)
        expected = scenario.good if name == "never-ready" else scenario.release
        assert service.split() == {expected.revision: 100}
        assert emulator.director.revision(str(scenario.release.revision)).faults.faults or name == "healthy"


async def _play(emulator: Emulator, scenario: Scenario) -> None:
    async with aiohttp.ClientSession() as http:
        cloud = Cloud(emulator=emulator, http=http)
        status, answer = await cloud.control("POST", "deploy", {**scenario.deploy_body(), "wait": True})
        assert status == 201, answer
        async with asyncio.timeout(5):
            await cloud.settle()


def test_file_of_ones_own_is_loaded(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(GOOD)

    assert load_scenario(str(path)).name == "x"


@pytest.mark.parametrize(
    "change,complaint",
    [
        (("title: t", "titel: t"), "mine.yaml: titel: "),
        (("rate_per_s: 5", "rate_per_s: -5"), "mine.yaml: load.rate_per_s: "),
        (("outcome: passed", "outcome: fine"), "mine.yaml: expect.outcome: "),
        (("image: b", "image: b, faults: [{kind: explode}]"), "mine.yaml: release.faults.0.kind: "),
        (("image: b", "image: b, service: other"), "the service is named once"),
        (("title: t", "title: t\ntitle: u"), "'title' is written twice"),
        (("title: t", "title: ["), "mine.yaml: "),
    ],
)
def test_mistake_is_named_with_file_and_key(change: tuple[str, str], complaint: str) -> None:
    with pytest.raises(ScenarioError) as caught:
        parse_scenario(GOOD.replace(*change), source="mine.yaml")

    assert complaint in str(caught.value)


def test_all_mistakes_are_told_at_once() -> None:
    with pytest.raises(ScenarioError) as caught:
        parse_scenario("name: x\n", source="mine.yaml")

    assert len(str(caught.value).splitlines()) >= 7


@pytest.mark.parametrize("name", ["no-such-scenario", "missing.yaml"])
def test_unknown_scenario_is_named(name: str) -> None:
    with pytest.raises(ScenarioError, match=name.removesuffix(".yaml")):
        load_scenario(name)


@pytest.mark.parametrize(
    "arguments,complaint",
    [
        (["--scenario", "hard-down", "--load", "5"], "--load: a scenario brings its own"),
        (["--listen", "nowhere"], "is not HOST:PORT"),
        (["--load", "-1"], "greater than or equal to 0"),
    ],
)
def test_command_line_says_what_is_wrong(
    arguments: list[str], complaint: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        main(arguments)

    assert ended.value.code == 2
    assert complaint in capsys.readouterr().err


def test_command_line_knows_its_scenarios(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--scenario", "nope"]) == 2
    assert "there are error-rate, hard-down" in capsys.readouterr().err
