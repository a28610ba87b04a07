"""Checks that pass or fail as values: errors in the log, the version that answers, the way in from outside, jobs.

Each has a row of its own (`check.NAME`), made by `policy_checks` from the section that configures it.
"""

from collections.abc import Mapping
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

LOGS = "check.logs"
VERSION = "check.version"
CERTIFICATE, HTTPS = "check.edge.certificate", "check.edge.https"
HEADERS, CORS = "check.edge.headers", "check.edge.cors"
JOB_PREFIX = "check.job."
"""`check.job.NAME` is one job."""

Auth = Literal["none", "google", "id_token"]


class _Value(BaseModel):
    """Frozen and closed, as all parts of a policy."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class LogsCheck(_Value):
    """New kinds of errors in the revision's log."""

    until_s: float = 300.0
    """After the cutover; later errors are collected and not judged."""
    at_least: int = 1
    """A kind counts once it was seen so often."""
    ignore: tuple[str, ...] = ()
    """Regular expressions; an entry that one of them finds is left out."""


class VersionCheck(_Value):
    """Which version answers. Exactly one of `path` and `url` is set."""

    path: str | None = None
    url: str | None = None
    query: str | None = None
    """JMESPath of the version in the JSON answer; None takes the whole body."""
    expect: str = "deploy"
    """`deploy`: what the notice says, else the image's tag; `image`: the tag; `label:NAME`: the revision's label."""
    pattern: str | None = None
    """A regular expression that the version must match, in place of `expect`."""
    auth: Auth = "none"
    audience: str | None = None
    every_s: float = 60.0


class CorsCheck(_Value):
    """Who may read the API from a browser."""

    allowed: tuple[str, ...] = ()
    """Origins that must be let in; every other one must not."""
    path: str = "/"


class EdgeCheck(_Value):
    """What is asked of the way in that users take."""

    url: str | None = None
    """None means the service's public URL."""
    path: str = "/"
    """Whose answer carries the headers."""
    certificate_s: float | None = None
    """A certificate must hold so much longer; None asks nothing of it."""
    https: bool = False
    http_url: str | None = None
    """Where plain HTTP would be answered; None means port 80 of the same host."""
    headers: Mapping[str, str] = Field(default_factory=dict)
    """Header → what it must be (compared without case), empty for any value."""
    cors: CorsCheck | None = None
    every_s: float = 300.0


class JobCheck(_Value):
    """One job that runs by itself: a Cloud Scheduler job, or one that pings."""

    name: str
    scheduler: str | None = None
    """The job's id in the service's region, or its whole resource name."""
    heartbeat_s: float | None = None
    """It pings at least so often."""
    grace_s: float = 300.0
    """How much later than it should have run or pinged counts as missed."""
