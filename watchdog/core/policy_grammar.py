"""The words of a policy file: which keys there are, section by section.

One pydantic model a section, `required` naming the keys that it cannot do without (see `policy_section`). The same
models make the JSON Schema that editors use.
"""

from typing import Annotated, Any, ClassVar

from pydantic import AfterValidator, BeforeValidator, Field, WithJsonSchema

from watchdog.core.catalogue import ALIGNERS, PENDING, REDUCERS, SOURCES, UNITS
from watchdog.core.conditions import quoted
from watchdog.core.model import Window
from watchdog.core.policy_beyond import DatabaseRollbackFile, ScaleUpFile
from watchdog.core.policy_checks import EdgeFile, JobFile, LogsFile, VersionCheckFile
from watchdog.core.policy_fields import (
    Actions,
    Alpha,
    Audience,
    BaseUrl,
    ConditionText,
    Duration,
    Few,
    Interval,
    LabelName,
    Length,
    Note,
    ProbeHeaders,
    Project,
    Region,
    ServiceAccount,
    ServiceName,
    Share,
    ShareOrOff,
    SignalName,
    Statuses,
    Url,
    UrlPath,
    choice,
)
from watchdog.core.policy_paging import ChannelsFile, EscalationFile, SilenceFile
from watchdog.core.policy_section import EditorSchema, Section


def _windows(value: object) -> tuple[Window, ...]:
    names = [str(w) for w in Window]
    items = value if isinstance(value, list) else [value]
    for item in items:
        if item not in names:
            raise ValueError(f"{quoted(item)} is not a window; use {', '.join(names)}")
    if not items:
        raise ValueError("names no window, so it would never be run")
    return tuple(w for w in Window if w.value in items)


_WINDOW = {"enum": [str(w) for w in Window]}
_Windows = Annotated[
    tuple[Window, ...],
    BeforeValidator(_windows),
    WithJsonSchema({"anyOf": [_WINDOW, {"type": "array", "items": _WINDOW, "minItems": 1}]}),
]


class ServiceFile(Section):
    """The Cloud Run service under watch."""

    required: ClassVar = {"project": "barq-fleet", "name": "barq-fleet-api"}
    project: Project | None = None
    """Google Cloud project id."""
    region: Region | None = None
    """One region; or `regions`."""
    regions: list[Region] | None = None
    """Several regions: one release watched in each of them."""
    name: ServiceName | None = None
    """Name of the Cloud Run service."""
    url: BaseUrl | None = None
    """Where users reach it; by default the URL that Cloud Run reports."""
    discover_every: Interval | None = None
    """How often to look for a new revision; 10s by default."""
    metrics_every: Interval | None = None
    """How often metric sources are asked; 60s by default."""


class ConfirmFile(Section):
    """How a failing probe is confirmed."""

    failures: Few | None = None
    """So many failures in a row."""
    every: Interval | None = None
    """One attempt each of these."""


class WindowFile(Section):
    """One phase of a watch."""

    required: ClassVar = {"until": "15m", "probe_every": "5s"}
    until: Length | None = None
    """When it ends, counted from the cutover."""
    probe_every: Interval | None = None
    """How often each probe is sent."""
    confirm: ConfirmFile | None = None
    """This window's own `confirm`."""


class WindowsFile(Section):
    """The phases of a watch, in this order. The later two may be left out."""

    required: ClassVar = {"immediate": "{until: 15m, probe_every: 5s}"}
    immediate: WindowFile | None = None
    short_term: WindowFile | None = None
    extended: WindowFile | None = None


class ExpectFile(Section):
    """What a healthy answer looks like."""

    status: Statuses | None = None
    """HTTP status, or a list of them; 200 by default."""
    json_subset: Any = Field(None, alias="json")
    """What the JSON body must contain; it may contain more."""


class ProbeFile(Section):
    """One HTTP probe."""

    path: UrlPath | None = None
    """Below the service's URL."""
    url: Url | None = None
    """Or a whole address of its own."""
    headers: ProbeHeaders | None = None
    auth: Annotated[str, *choice("none", "id_token")] | None = None
    """`id_token` sends a Google ID token."""
    audience: Audience | None = None
    """The token's audience; the service's URL by default."""
    expect: ExpectFile | None = None
    timeout: Interval | None = None
    """3s by default, never above the shortest `probe_every`."""
    critical: bool | None = None
    """Whether this probe alone can make `health_check` failing; true by default."""
    startup: Duration | None = None
    """A run of timeouts shorter than this does not count."""


class JourneyEntry(Section):
    """One journey: its file, and when it is run."""

    required: ClassVar = {"file": "journeys/login.yaml"}
    file: Annotated[str, Field(min_length=1, max_length=500)] | None = None
    """Beside the policy; or one of those that come with Watchdog."""
    every: Interval | None = None
    """How often it is run; 5m by default."""
    windows: _Windows | None = None
    """In which windows it is run, one or a list; all by default."""
    confirm: ConfirmFile | None = None
    """How a failure is confirmed; 3 in a row, 10s apart, by default."""
    critical: bool | None = None
    """Whether `journeys` in the tables means it too; true by default."""
    auth: Annotated[str, *choice("none", "id_token")] | None = None
    """`id_token` sends a Google ID token with every step."""
    audience: Audience | None = None
    """The token's audience; the service's URL by default."""


class SignoffFile(Section):
    """A question that no machine can answer."""

    required: ClassVar = {"question": "Did users report anything?", "window": "short_term"}
    question: Annotated[str, AfterValidator(str.strip), Field(min_length=1, max_length=300)] | None = None
    """As it is put to people."""
    window: Annotated[str, *choice(*(str(w) for w in Window))] | None = None
    """At whose end it is put."""


class MetricFile(Section):
    """Where a metric comes from."""

    required: ClassVar = {"source": PENDING}
    source: Annotated[str, *choice(*SOURCES, PENDING)] | None = None
    """`pending` until somebody feeds it: its rows are INCONCLUSIVE."""
    instance: Annotated[str, Field(min_length=1, max_length=200)] | None = None
    """Cloud SQL or Memorystore instance."""
    query: Annotated[str, Field(min_length=1, max_length=5000)] | None = None
    """PromQL (`prometheus`) or JMESPath (`json_endpoint`) that answers one number."""
    filter: Annotated[str, Field(min_length=1, max_length=5000)] | None = None
    """Cloud Monitoring's filter; it names one metric type."""
    align: Annotated[str, *choice(*ALIGNERS)] | None = None
    """How one series makes one point a minute; by default what fits the metric's kind."""
    reduce: Annotated[str, *choice(*REDUCERS)] | None = None
    """How several series make one; by default they stay apart, and more than one is ambiguous."""
    url: Url | None = None
    """Address of Prometheus (by default Google's own for the project), or of the JSON document."""
    path: UrlPath | None = None
    """Of the JSON document, below the service's URL."""
    auth: Annotated[str, *choice("none", "google", "id_token")] | None = None
    """`google` sends an access token, `id_token` an ID token."""
    audience: Audience | None = None
    """The ID token's audience; the address itself by default."""
    limit: Few | None = None
    """The most connections that the database takes; by default what its memory gives."""
    unit: Annotated[str, *choice(*UNITS)] | None = None
    """In which the query answers."""


class CriterionFile(Section):
    """One row of the success or window criteria: Metric | Target | Action if failed."""

    required: ClassVar = {"metric": "error_rate", "target": '"< 1%"'}
    metric: str | None = None
    target: ConditionText | None = None
    """What must hold."""
    action: Actions | None = None
    """What to do when it does not; of some metrics `investigate` where nothing is said."""
    alpha: Alpha | None = None
    """This row's own chance of a false alarm over the whole watch."""
    note: Note | None = None
    """The team's own words, shown beside the row."""


class AlertFile(Section):
    """One row of the alert thresholds: Alert | Warning | Critical | Action."""

    required: ClassVar = {"metric": "error_rate"}
    metric: str | None = None
    warning: ConditionText | None = None
    critical: ConditionText | None = None
    action: Actions | None = None
    """One for both, or two: the first for warning, the second for critical. Of some metrics `investigate` where nothing
    is said."""
    alpha: Alpha | None = None
    """This row's own chance of a false alarm over the whole watch."""
    note: Note | None = None
    """The team's own words, shown beside the row."""


class ImmediateFile(Section):
    """A reason to roll back at once: a condition (`when`) or a signal from outside."""

    when: str | None = None
    signal: SignalName | None = None
    alpha: Alpha | None = None
    note: Note | None = None


class RollbackFile(Section):
    """How, how carefully and how often traffic is put back."""

    mode: Annotated[str, *choice("automatic", "approve", "observe")] | None = None
    """`approve` asks a person, `observe` only says what would be done."""
    warm: Duration | None = None
    """Longest warming of the target."""
    settle: Duration | None = None
    """Longest settling of routing."""
    verify_probes: Few | None = None
    """Probes in a row that prove recovery."""
    trial: ShareOrOff = None
    """Share of traffic that goes back first, or `off`."""
    cooldown: Duration | None = None
    """Between two rollbacks to the same target."""
    per_day: Few | None = None
    """At most so many rollbacks a day."""
    verify_for: Duration | None = None
    """How long recovery may take to be proven; 10m by default."""
    approve_within: Length | None = None
    """How long `approve` waits for a person; 15m by default."""
    scope: Annotated[str, *choice("region", "all")] | None = None
    """`all`: proof in one region rolls the same release back in the others too; `region` by default."""
    tag: bool | None = None
    """Whether both revisions get a tag for the time of the watch; false by default."""
    schema_label: LabelName | None = None
    """Label of revisions that names their database schema: no rollback between different ones."""
    impersonate: ServiceAccount | None = None
    """Service account as which traffic is written; by default the watchdog's own."""
    immediately_if: list[str | ImmediateFile] | None = None
    """What rolls back at once."""


class ColdStartFile(Section):
    """The first seconds whose evidence does not count."""

    errors: Duration | None = None
    latency: Duration | None = None


class AlphaFile(Section):
    """The chance of one false alarm over a whole watch."""

    errors: Alpha | None = None
    p50: Alpha | None = None
    p95: Alpha | None = None
    p99: Alpha | None = None
    probes: Alpha | None = None
    warnings: Alpha | None = None


_SharedCause = Annotated[str, *choice("ask_then_rollback", "ask", "hold")]


class SharedCauseFile(Section):
    """What to do when the previous revision is as sick as the new one, window by window."""

    immediate: _SharedCause | None = None
    short_term: _SharedCause | None = None
    extended: _SharedCause | None = None


class WindowCriteriaFile(Section):
    """Criteria that count in one window only."""

    immediate: list[CriterionFile] | None = None
    short_term: list[CriterionFile] | None = None
    extended: list[CriterionFile] | None = None


class PlainFile(Section):
    """What stands at the top of the file and is no section."""

    coverage_floor: Share | None = None
    """Share of a window's time that must have evidence; 80% by default."""
    control_url: Url | None = None
    """Asked when probes fail, to tell our own network's fault from the service's."""
    alpha: Alpha | None = None
    """The chance of one false rollback over a whole watch; or a mapping."""
    redeploy_image: bool | None = None
    """Whether a rollback whose target cannot serve any more may deploy its image again; false by default."""


class PolicyFile(PlainFile):
    """Watchdog policy: what is watched after a deploy, and what is done about it."""

    required: ClassVar = {"version": "1", "service": "{project: …, region: …, name: …}"}
    version: Annotated[int, WithJsonSchema({"const": 1})] | None = None
    """Version of this format."""
    service: ServiceFile | None = None
    windows: WindowsFile | None = None
    probes: dict[str, ProbeFile] | None = None
    """Name → probe; `health_check` in the tables means all of them."""
    journeys: dict[str, JourneyEntry] | None = None
    """Name → journey; `journeys` in the tables means all of them."""
    signoffs: dict[str, SignoffFile] | None = None
    """Name → what only a person can confirm."""
    metrics: dict[str, MetricFile] | None = None
    """Metrics that Cloud Run does not feed by itself."""
    success_criteria: list[CriterionFile] | None = None
    window_criteria: WindowCriteriaFile | None = None
    alert_thresholds: list[AlertFile] | None = None
    confirm: ConfirmFile | None = None
    rollback: RollbackFile | None = None
    cold_start: ColdStartFile | None = None
    shared_cause: SharedCauseFile | None = None
    channels: ChannelsFile | None = None
    """What each channel gets."""
    escalation: EscalationFile | None = None
    logs: LogsFile | bool | None = None
    """No new errors in the new revision's log; true takes every default."""
    version_check: VersionCheckFile | None = None
    edge: EdgeFile | None = None
    jobs: dict[str, JobFile] | None = None
    """Name → a job that runs by itself."""
    silences: list[SilenceFile] | None = None
    """What is not said for a while."""
    scale_up: ScaleUpFile | None = None
    """Lets rows with the action `scale_up` raise the service's maximum of instances."""
    database_rollback: DatabaseRollbackFile | None = None
    """How the database goes back: a Cloud Run job, or commands for a person."""


def json_schema() -> dict[str, Any]:
    """The JSON Schema of a policy file."""
    schema = PolicyFile.model_json_schema(by_alias=True, schema_generator=EditorSchema)
    alpha = schema["properties"]["alpha"]
    share = {key: alpha.pop(key) for key in ("type", "pattern", "examples")}
    alpha["anyOf"] = [share, AlphaFile.model_json_schema(schema_generator=EditorSchema)]
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema, "title": "Watchdog policy"}
