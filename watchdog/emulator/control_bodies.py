"""The JSON bodies of the control API: strict, so that a misspelt key is an error and not a silence."""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from watchdog.emulator.admin_edge import DEFAULT_ACTOR
from watchdog.emulator.director import Client, Release, ServiceName
from watchdog.emulator.faults import Fault
from watchdog.emulator.load import LoadPlan


class Strict(BaseModel):
    """A body without unknown keys."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Deploy(Release):
    """Body of deploy."""

    wait: bool = False


class Script(Strict):
    """Body of a revision's faults."""

    faults: tuple[Fault, ...]
    restart_clock: bool = False


class Condemnation(Strict):
    """Body of condemn."""

    reason: str = "HealthCheckContainerError"
    message: str = "The container image or one of its secrets is gone."


class Shift(Client, ServiceName):
    """Body of traffic."""

    traffic: dict[str, Annotated[int, Field(ge=0, le=100)]]
    tags: dict[str, str] | None = None
    by: str = DEFAULT_ACTOR
    wait: bool = False


class Maximum(ServiceName):
    """Body of scaling."""

    max_instances: Annotated[int, Field(ge=1)] | None
    wait: bool = False


class DelayChange(Strict):
    """Body of delays."""

    routing_delay_s: Annotated[float, Field(ge=0)] | None = None
    startup_s: Annotated[float, Field(ge=0)] | None = None
    startup_timeout_s: Annotated[float, Field(ge=0)] | None = None
    propagation_s: Annotated[float, Field(ge=0)] | None = None


class Iam(Strict):
    """Body of iam."""

    read: bool = True
    write: bool = True
    impersonate: bool = True
    writers: list[str] | None = None
    revoke: bool = False
    """Whether the tokens given out so far are worth nothing any more."""


class Load(LoadPlan, ServiceName):
    """Body of load."""

    def plan(self) -> LoadPlan:
        """The plan without the service's name."""
        return LoadPlan.model_validate(self.model_dump(include=set(LoadPlan.model_fields)))
