"""Demo scenarios as data: the world before a release, the release, and how it should end.

A scenario file is the emulator's half of a demo; the other half, the watchdog's, is an ordinary policy. The loader is
strict: whatever can't be understood is an error with file and key.
"""

from collections.abc import Hashable
from importlib import resources
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from watchdog.emulator.director import Release, ServiceName
from watchdog.emulator.load import LoadPlan
from watchdog.emulator.options import Options

SUFFIX = ".yaml"


class ScenarioError(ValueError):
    """A scenario that does not exist or can't be understood; the message names file and key."""


class _Strict(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class ScenarioService(_Strict):
    """The service that is watched."""

    project: str = "barq-fleet"
    region: str = "us-central1"
    name: str = "barq-fleet-api"


class ControlPlane(_Strict):
    """Delays of Cloud Run, in seconds; see `reconcile.Delays`."""

    routing_delay_s: Annotated[float, Field(ge=0)] = 0.5
    startup_s: Annotated[float, Field(ge=0)] = 0.2
    startup_timeout_s: Annotated[float, Field(ge=0)] = 1.0
    propagation_s: Annotated[float, Field(ge=0)] = 0.0


class Sampling(_Strict):
    """Cloud Monitoring. The real thing samples every 60 s and is up to 180 s late."""

    sample_period_s: Annotated[float, Field(gt=0)] = 60.0
    ingest_delay_s: Annotated[float, Field(ge=0)] = 180.0


class Expectation(_Strict):
    """How the scenario ends when the watchdog does its work."""

    outcome: Literal["passed", "rolled_back", "failed", "no_watch"]
    """`no_watch`: the release never takes traffic, so there is nothing to watch."""
    exit_code: Annotated[int, Field(ge=0, le=13)]
    """Of `watchdog watch` on this deploy."""
    within_s: Annotated[float, Field(gt=0)]
    """From the deploy to the end."""
    serving: Literal["good", "release"]
    """Which of the two has all the traffic at the end."""
    criteria: tuple[str, ...] = ()
    """Metrics of which at least one is named in the decision, or in the warnings of a watch that passed."""
    channels: tuple[Literal["slack", "pagerduty"], ...] = ()
    """Where a message of trouble must have arrived."""


class Scenario(_Strict):
    """One file of `scenarios/`."""

    name: Annotated[str, Field(pattern=r"^[a-z][a-z0-9-]*$")]
    title: str
    """One line for the terminal."""
    story: str
    """What happens and what to look for, in two or three sentences."""
    service: ScenarioService = ScenarioService()
    control_plane: ControlPlane = ControlPlane()
    monitoring: Sampling = Sampling()
    load: LoadPlan
    seed: int = 0
    good: Release
    """What serves before."""
    before_s: Annotated[float, Field(ge=0)]
    """How long the good revision serves under load before the release, so that there is a baseline."""
    release: Release
    """What is deployed then."""
    watch_s: Annotated[float, Field(gt=0)]
    """How long the demo's watch looks, from the cutover."""
    expect: Expectation

    @model_validator(mode="after")
    def _names_one_service(self) -> "Scenario":
        default = ServiceName()
        for field in ("good", "release"):
            given = getattr(self, field)
            if (given.service, given.project, given.region) != (default.service, default.project, default.region):
                raise ValueError(f"{field}: the service is named once, under 'service'")
        return self

    def options(self, *, host: str = "127.0.0.1", port: int = 0) -> Options:
        """An emulator whose default service is this scenario's good revision under its load."""
        return Options(
            host=host,
            port=port,
            project=self.service.project,
            region=self.service.region,
            service=self.service.name,
            routing_delay_s=self.control_plane.routing_delay_s,
            startup_s=self.control_plane.startup_s,
            startup_timeout_s=self.control_plane.startup_timeout_s,
            propagation_s=self.control_plane.propagation_s,
            sample_period_s=self.monitoring.sample_period_s,
            ingest_delay_s=self.monitoring.ingest_delay_s,
            first=self._named(self.good),
            load=self.load,
            seed=self.seed,
        )

    def deploy_body(self) -> dict[str, Any]:
        """The body with which `POST /emulator/deploy` makes the release."""
        return self._named(self.release).model_dump(mode="json", exclude_unset=True)

    def _named(self, release: Release) -> Release:
        return release.model_copy(
            update={
                "service": self.service.name,
                "project": self.service.project,
                "region": self.service.region,
            }
        )


def scenario_names() -> list[str]:
    """The scenarios that are shipped."""
    folder = resources.files(__package__) / "scenarios"
    return sorted(entry.name.removesuffix(SUFFIX) for entry in folder.iterdir() if entry.name.endswith(SUFFIX))


def load_scenario(name: str) -> Scenario:
    """A shipped scenario by name, or any file by path (it ends in `.yaml`). Raises `ScenarioError`."""
    if name.endswith(SUFFIX):
        path = Path(name)
        try:
            return parse_scenario(path.read_text(encoding="utf-8"), source=name)
        except OSError as error:
            raise ScenarioError(f"{name}: {error.strerror}") from None
    if name not in scenario_names():
        raise ScenarioError(f"scenario '{name}': there is none; there are {', '.join(scenario_names())}")
    entry = resources.files(__package__) / "scenarios" / f"{name}{SUFFIX}"
    return parse_scenario(entry.read_text(encoding="utf-8"), source=f"{name}{SUFFIX}")


def parse_scenario(text: str, *, source: str) -> Scenario:
    """A scenario from YAML text; `source` is the file's name in errors. Raises `ScenarioError` with every mistake."""
    try:
        raw = yaml.load(text, Loader=_UniqueKeys)  # noqa: S506 -- a SafeLoader that also refuses duplicate keys
        return Scenario.model_validate(raw)
    except yaml.YAMLError as error:
        raise ScenarioError(f"{source}: {error}") from None
    except ValidationError as error:
        problems = [f"{source}: {_where(item['loc'])}: {item['msg']}" for item in error.errors()]
        raise ScenarioError("\n".join(problems)) from None


class _UniqueKeys(yaml.SafeLoader):
    """Refuses a key that is written twice, where YAML would silently take the last one."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:  # noqa: FBT001, FBT002
        seen = set()
        for key_node, _ in node.value:
            key = self.construct_object(key_node, deep=True)
            if key in seen:
                raise yaml.constructor.ConstructorError(
                    None, None, f"key '{key}' is written twice", key_node.start_mark
                )
            seen.add(key)
        return super().construct_mapping(node, deep=deep)


def _where(location: tuple[int | str, ...]) -> str:
    return ".".join(str(part) for part in location) or "the file"
