"""A team's tables as values: what a policy file says once every mistake in it has been mended.

Everything here is frozen, in base units, and survives the journal: a watch keeps the policy it was opened with, so
`Policy.from_canonical(policy.canonical())` is the same policy, whatever the file says by then. The words of the file
live in `policy_grammar`, its compilation in `policy_build`.
"""

import json
from collections.abc import Mapping
from hashlib import sha256
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from watchdog.core.beyond import DatabaseRollback, ScaleUp
from watchdog.core.catalogue import (
    Dimension,
    Family,
    family,
    known_metric,
    quantile,
)
from watchdog.core.checks import EdgeCheck, JobCheck, LogsCheck, VersionCheck
from watchdog.core.conditions import (
    format_condition,
    format_duration,
    format_quantity,
    format_share,
    parse_condition,
    parse_duration,
    parse_share,
)
from watchdog.core.journey import Journey
from watchdog.core.model import Row, ServiceKey, Severity, Window
from watchdog.core.paging import Channel, Escalation, Silence
from watchdog.errors import ConfigError

__all__ = [
    "AlphaConfig",
    "ColdStart",
    "ConfirmConfig",
    "Dimension",
    "Expect",
    "Family",
    "JourneyConfig",
    "MetricConfig",
    "Policy",
    "ProbeConfig",
    "RollbackConfig",
    "ServiceConfig",
    "SharedCause",
    "SignoffConfig",
    "WindowConfig",
    "family",
    "format_condition",
    "format_duration",
    "format_quantity",
    "format_share",
    "known_metric",
    "parse_condition",
    "parse_duration",
    "parse_share",
    "quantile",
]

SharedCause = Literal["ask_then_rollback", "ask", "hold"]
"""What to do when the previous revision is as sick as the new one."""

PROBE_P0 = 0.02
"""The share of failed probes that a healthy service may have: "100 %" read literally would roll back every watch in
which one probe in a thousand is lost (statistics of the evidence meter, section 4 of the design)."""


class _Value(BaseModel):
    """Frozen, closed, and without surprises when a journal of another version is read."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class ServiceConfig(_Value):
    """The Cloud Run service under watch."""

    project: str
    regions: tuple[str, ...]
    """At least one; several regions are one release watched in each of them."""
    name: str
    url: str | None = None
    """Where users reach it, without a trailing slash; None means the URL that Cloud Run reports."""
    discover_every_s: float = 10.0
    metrics_every_s: float = 60.0

    @property
    def keys(self) -> tuple[ServiceKey, ...]:
        """One key a region, in the order of the file."""
        return tuple(ServiceKey(project=self.project, region=region, name=self.name) for region in self.regions)


class ConfirmConfig(_Value):
    """How a failing probe is confirmed: `failures` in a row, one every `every_s` seconds."""

    failures: int = 5
    every_s: float = 1.0


class WindowConfig(_Value):
    """One phase of a watch, `[start_s, until_s)` seconds after the cutover, its own `confirm` already merged in."""

    window: Window
    start_s: float
    until_s: float
    probe_every_s: float
    confirm: ConfirmConfig


class Expect(_Value):
    """What a healthy answer looks like."""

    status: tuple[int, ...] = (200,)
    """Any of these HTTP statuses."""
    json_subset: Any = None
    """A JSON value that the body must contain (objects may have more keys); None asks nothing of the body."""


class ProbeConfig(_Value):
    """One HTTP probe. Exactly one of `path` (below the service's base URL) and `url` (asked only there) is set."""

    name: str
    path: str | None = None
    url: str | None = None
    headers: Mapping[str, str] = Field(default_factory=dict)
    auth: Literal["none", "id_token"] = "none"
    audience: str | None = None
    """The ID token's audience; None means the service's own URL."""
    expect: Expect = Expect()
    timeout_s: float = 3.0
    critical: bool = True
    """Whether this probe confirmed failing makes `health_check` failing."""
    startup_s: float = 0.0
    """A run of timeouts shorter than this does not count."""


class JourneyConfig(_Value):
    """One journey: what a person does, when it is run, and how a failure is confirmed."""

    name: str
    """`journey.NAME`, which is also its check."""
    file: str
    """As the policy names it."""
    journey: Journey
    every_s: float = 300.0
    windows: tuple[Window, ...] = ()
    """In which it is run; all of them when empty."""
    confirm: ConfirmConfig = ConfirmConfig(failures=3, every_s=10.0)
    critical: bool = True
    """Whether `journeys` means it too, and whether it has to pass before a rollback is proven to have helped."""
    auth: Literal["none", "id_token"] = "none"
    audience: str | None = None

    @property
    def timeout_s(self) -> float:
        """For all its steps together."""
        return self.journey.timeout_s

    @property
    def url(self) -> None:
        """A journey has no address of its own: it follows the service, and tags."""
        return

    @property
    def startup_s(self) -> float:
        """Slow starters are not its affair: its steps have their own timeouts."""
        return 0.0

    def runs_in(self, window: Window) -> bool:
        """Whether it is run in this window."""
        return not self.windows or window in self.windows


class SignoffConfig(_Value):
    """A question to people, put at the end of its window."""

    question: str
    window: Window


class MetricConfig(_Value):
    """Where a metric's evidence comes from."""

    name: str
    source: str
    instance: str | None = None
    query: str | None = None
    """PromQL for `prometheus`, JMESPath for `json_endpoint`."""
    filter: str | None = None
    """Cloud Monitoring's filter of one metric type, for `cloud_monitoring`."""
    align: str | None = None
    """One of `catalogue.ALIGNERS`; None takes what fits the metric's kind."""
    reduce: str | None = None
    """One of `catalogue.REDUCERS`; None leaves the series apart."""
    url: str | None = None
    path: str | None = None
    """Below the service's own URL, for `json_endpoint`."""
    auth: Literal["none", "google", "id_token"] | None = None
    audience: str | None = None
    limit: float | None = None
    """The most connections that the database takes, where the team knows better than the tier's default."""
    unit: str = ""
    """The unit in which the source's query answers (`catalogue.UNITS`); empty when it is pending and undeclared."""
    pending: bool = False
    """No adapter feeds it yet, so its rows are INCONCLUSIVE."""


class RollbackConfig(_Value):
    """How, how carefully and how often traffic is put back."""

    mode: Literal["automatic", "approve", "observe"] = "automatic"
    warm_s: float = 5.0
    settle_s: float = 5.0
    verify_probes: int = 3
    trial: float | None = 0.2
    """The share of traffic that the first write moves; None moves all at once."""
    cooldown_s: float = 600.0
    per_day: int = 3
    verify_for_s: float = 600.0
    approve_within_s: float = 900.0
    scope: Literal["region", "all"] = "region"
    """Whether proof in one region rolls the same release back in the policy's other regions too."""
    tag: bool = False
    """Whether both revisions are tagged for the time of the watch."""
    schema_label: str | None = None
    """The label of revisions that names their schema; between different ones nothing is rolled back."""
    impersonate: str | None = None
    """The service account as which traffic is written; None is the watchdog's own."""


class ColdStart(_Value):
    """The first seconds after the cutover whose errors and latency do not count. Probes always do."""

    errors_s: float = 30.0
    latency_s: float = 120.0


class AlphaConfig(_Value):
    """The chance of one false alarm over a whole watch, for each metric and severity."""

    errors: float = 0.005
    p50: float = 0.001
    p95: float = 0.002
    p99: float = 0.001
    probes: float = 0.002
    warnings: float = 0.05

    def scaled(self, total: float) -> "AlphaConfig":
        """The same proportions with `total` over all that can be critical; warnings keep theirs."""
        shares = self.model_dump(exclude={"warnings"})
        factor = total / sum(shares.values())
        return self.model_copy(update={key: share * factor for key, share in shares.items()})

    def of(self, metric: str, severity: Severity) -> float | None:
        """What all rows of this metric and severity share; None for gauges, which no meter judges."""
        kind = family(metric)
        if kind in {Family.GAUGE, Family.JOURNEYS, Family.CHECK}:
            return None
        if severity is Severity.WARNING:
            return self.warnings
        if kind is Family.LATENCY:
            return {0.5: self.p50, 0.95: self.p95, 0.99: self.p99}[quantile(metric)]
        return self.errors if kind is Family.ERRORS else self.probes


def _shared_cause() -> dict[Window, SharedCause]:
    return {Window.IMMEDIATE: "ask_then_rollback", Window.SHORT_TERM: "ask", Window.EXTENDED: "hold"}


class Policy(_Value):
    """All of it: the service, its windows, probes, metrics, every table row compiled, and the bounds of a rollback."""

    version: int = 1
    service: ServiceConfig
    windows: tuple[WindowConfig, ...]
    """In order, each beginning where the one before ends."""
    probes: Mapping[str, ProbeConfig] = Field(default_factory=dict)
    journeys: Mapping[str, JourneyConfig] = Field(default_factory=dict)
    """`journey.NAME` → the journey."""
    metrics: Mapping[str, MetricConfig] = Field(default_factory=dict)
    """Declared metrics, and those that Cloud Run feeds without a declaration."""
    rows: tuple[Row, ...] = ()
    signals: frozenset[str] = frozenset()
    """Signals that roll back at once."""
    rollback: RollbackConfig = RollbackConfig()
    signoffs: Mapping[str, SignoffConfig] = Field(default_factory=dict)
    """Name → what only a person can confirm."""
    coverage_floor: float = 0.8
    cold_start: ColdStart = ColdStart()
    alpha: AlphaConfig = AlphaConfig()
    control_url: str | None = None
    shared_cause: Mapping[Window, SharedCause] = Field(default_factory=_shared_cause)
    channels: Mapping[str, Channel] = Field(default_factory=dict)
    """What a channel gets where it is not its default."""
    escalation: Escalation = Escalation()
    silences: tuple[Silence, ...] = ()
    logs: LogsCheck | None = None
    version_check: VersionCheck | None = None
    edge: EdgeCheck | None = None
    jobs: Mapping[str, JobCheck] = Field(default_factory=dict)
    scale_up: ScaleUp | None = None
    """None: rows with that action ask a person."""
    redeploy_image: bool = False
    database_rollback: DatabaseRollback | None = None
    notes: Mapping[str, str] = Field(default_factory=dict)
    """Row id → the team's own words for it; `signal.NAME` for a signal."""

    # --- as values -------------------------------------------------------------------------------------------------

    def canonical(self) -> dict[str, Any]:
        """The policy as JSON values, the same for the same policy: what `watch_opened` carries into the journal."""
        values = self.model_dump(mode="json")
        values["signals"] = sorted(self.signals)
        return values

    @classmethod
    def from_canonical(cls, values: Mapping[str, Any]) -> Self:
        """The policy that `canonical` wrote down. Raises `ConfigError` when a newer or broken one was written."""
        try:
            return cls.model_validate(dict(values))
        except ValidationError as error:
            first = error.errors()[0]
            place = ".".join(str(part) for part in first["loc"])
            raise ConfigError(
                f"the recorded policy cannot be read at {place or 'its top'}: {first['msg']}; "
                "it was written by another version of watchdog, so read it with that one"
            ) from error

    @property
    def hash(self) -> str:
        """Sixteen hex digits of SHA-256 over the canonical form: two files that mean the same have the same hash."""
        text = json.dumps(self.canonical(), sort_keys=True, separators=(",", ":"), ensure_ascii=True)
        return sha256(text.encode()).hexdigest()[:16]

    # --- asked by the fold and by pages ----------------------------------------------------------------------------

    @property
    def watch_s(self) -> float:
        """How long a watch lasts: the end of its last window."""
        return self.windows[-1].until_s

    def window_at(self, elapsed_s: float) -> WindowConfig | None:
        """The window that contains this many seconds after the cutover; None before it and after the last one."""
        return next((w for w in self.windows if w.start_s <= elapsed_s < w.until_s), None)

    def check(self, name: str) -> ProbeConfig | JourneyConfig:
        """The probe or journey of this name. Raises `KeyError` when there is none."""
        probe = self.probes.get(name)
        return self.journeys[name] if probe is None else probe

    def runs_in(self, check: str, window: Window) -> bool:
        """Whether anybody looks at the check in this window; journeys may be left out of some."""
        journey = self.journeys.get(check)
        return journey is None or journey.runs_in(window)

    def row(self, row_id: str) -> Row | None:
        """The row of this id, if there is one."""
        return next((r for r in self.rows if r.id == row_id), None)

    def alpha_of(self, row: Row) -> float | None:
        """The row's share of false alarms over a whole watch, before it is divided over its sources.

        A row's own `alpha` counts as it is; the others of its metric and severity share what `alpha` gives them
        equally. None for rows that no meter judges: gauges, and `health_check failing`, which `confirm` decides.
        """
        pool = self.alpha.of(row.metric, row.severity)
        if pool is None or row.condition is None:
            return None
        if row.alpha is not None:
            return row.alpha
        sharing = [
            r
            for r in self.rows
            if r.metric == row.metric and r.severity is row.severity and r.condition is not None and r.alpha is None
        ]
        return pool / max(1, len(sharing))


def p0_of(row: Row) -> float | None:
    """The share of bad events that the row still accepts, which is what the evidence meter tests against.

    Errors: the threshold itself. Latency: `1 - quantile`, since "P95 < 500 ms" is "at most 5 % slower than 500 ms".
    Probes: what the row allows to fail, at least `PROBE_P0`. None for gauges, for `failing`, and for errors relative to
    before the deploy, whose share is known when the watch opens.
    """
    kind, condition = family(row.metric), row.condition
    if kind in {Family.GAUGE, Family.JOURNEYS, Family.CHECK} or condition is None:
        return None
    if kind is Family.LATENCY:
        return round(1.0 - quantile(row.metric), 6)
    if condition.relative:
        return None
    return condition.value if kind is Family.ERRORS else max(PROBE_P0, round(1.0 - condition.value, 9))
