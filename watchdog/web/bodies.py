"""The API's bodies: what may be posted, and what is answered. The OpenAPI document is generated from these.

Requests refuse unknown fields: a misspelt `rollback_safe` must not be taken for a missing one.
"""

from typing import Annotated, Any, Final, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, StringConstraints, model_validator

from watchdog.core.conditions import format_duration, parse_duration

LONGEST_EXTENSION_S: Final = 7 * 86400.0

_NAME = r"^[A-Za-z0-9]([A-Za-z0-9._:-]{0,253}[A-Za-z0-9])?$"
Name = Annotated[str, StringConstraints(pattern=_NAME)]
"""A project, region, service or revision."""
Text = Annotated[str, StringConstraints(strip_whitespace=True, max_length=500)]
Reason = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=500)]
Word = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_.-]{0,63}$")]
"""A signal or a sign-off: lower case, digits, `_`, `.`, `-`."""


def _seconds(value: object) -> float:
    if not isinstance(value, str):
        raise ValueError("must be a text with a unit: 30m, 2h")  # noqa: TRY004 - pydantic turns only this one into 422
    return parse_duration(value)


def _bounded(value: float) -> float:
    if not 0 < value <= LONGEST_EXTENSION_S:
        raise ValueError(f"must be more than nothing and at most {format_duration(LONGEST_EXTENSION_S)}")
    return value


Span = Annotated[
    float,
    BeforeValidator(_seconds, json_schema_input_type=str),
    AfterValidator(_bounded),
    Field(description="A duration with its unit: 30m, 2h, 1h30m.", examples=["2h"]),
]


class Request(BaseModel):
    """A request body."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class DeployNotice(Request):
    """A pipeline says that it has deployed."""

    project: Name
    region: Name
    service: Name
    revision: Name | None = Field(None, description="The revision that begins to serve. Left out: the newest one.")
    version: Text | None = None
    deployer: Text | None = None
    notes: Annotated[str, StringConstraints(strip_whitespace=True, max_length=2000)] | None = None
    previous: dict[Name, Annotated[int, Field(ge=0, le=100)]] | None = Field(
        None,
        description="The split that served before: revision to percent, 100 in all.",
        examples=[{"api-00041": 100}],
    )
    rollback_safe: bool = Field(
        default=True, description="False when going back would do harm (a migration): page, never roll back."
    )

    @model_validator(mode="after")
    def _adds_up(self) -> "DeployNotice":
        if self.previous is not None and sum(self.previous.values()) != 100:
            raise ValueError(f"previous adds up to {sum(self.previous.values())} %, it must be 100 %")
        return self


class Signal(Request):
    """A statement from outside about the deploy."""

    signal: Word = Field(examples=["critical_functionality_broken", "database_corruption", "security_vulnerability"])
    reason: Text = ""
    by: Text = ""


class RollbackOrder(Request):
    """A person wants the previous split back; also the answer to a request for approval."""

    reason: Reason
    by: Text = ""


class Order(Request):
    """A person acts on a watch."""

    reason: Text = ""
    by: Text = ""


class Extension(Order):
    """A person wants the watch to go on for longer."""

    for_: Span = Field(alias="for")


class SignOff(Order):
    """A person confirms a manual item."""

    name: Word = Field(examples=["user_feedback"])


class MarkOrder(Order):
    """A person says whether the outcome of an ended watch was right."""

    mark: Literal["right", "wrong", "late", "unclear"] = Field(
        description="late: it should have been rolled back sooner; unclear takes back what was said before."
    )


class ReleaseOrder(Order):
    """Let traffic follow new revisions again after a rollback has pinned it."""

    on_next: bool = Field(default=False, description="Wait until a revision newer than the bad one is ready.")


class SilenceOrder(Order):
    """Say less about a service for a while, or (`end`) end that before its time."""

    service: Text = Field(min_length=1, description="NAME, REGION/NAME or PROJECT/REGION/NAME.")
    region: Text = ""
    project: Text = ""
    criterion: Text = Field(default="", description="A row's label; * and ? stand for anything.")
    kind: Text = Field(default="", description="A kind of message.", examples=["warning"])
    severity: Text = Field(default="", examples=["warning"])
    for_: Span | None = Field(default=None, alias="for")
    end: Text = Field(default="", description="The id of the silence that ends now.")


# --- hooks: what others send; fields beyond these are theirs ------------------------------------------------------


class Hook(BaseModel):
    """What somebody else's system posts. It may hold more than is named here."""

    model_config = ConfigDict(extra="ignore", frozen=True)


class PubSubMessage(Hook):
    """One message: data, attributes or both."""

    data: str = Field("", description="Base64 of a Cloud Logging LogEntry as JSON.")
    attributes: dict[str, str] = Field(default_factory=dict)
    message_id: str = Field("", alias="messageId")


class PubSubPush(Hook):
    """Pub/Sub pushes an entry of the audit log."""

    message: PubSubMessage
    subscription: str = ""


class PagerDutyAgent(Hook):
    """Who acted in PagerDuty."""

    summary: str | None = Field(None, description="Their name.")


class PagerDutyAlert(Hook):
    """One alert of an incident."""

    alert_key: str | None = None


class PagerDutyIncident(Hook):
    """The incident that the event is about."""

    incident_key: str | None = Field(None, description="The dedup_key of the page that opened it.")
    alerts: list[PagerDutyAlert] = Field(default_factory=list)
    assignees: list[PagerDutyAgent] = Field(default_factory=list)


class PagerDutyEvent(Hook):
    """Something happened in PagerDuty."""

    id: Annotated[str, Field(min_length=1, max_length=200)]
    event_type: Annotated[str, Field(min_length=1, max_length=100)] = Field(examples=["incident.acknowledged"])
    agent: PagerDutyAgent | None = None
    occurred_at: str | None = Field(None, description="ISO 8601.")
    data: dict[str, Any] | None = Field(None, description="The incident, for events about one.")


class PagerDutyWebhook(Hook):
    """A V3 webhook."""

    event: PagerDutyEvent


class SlackInteraction(Hook):
    """A click in Slack, as a form."""

    payload: str = Field(description="The interaction as JSON.")


# --- answers ------------------------------------------------------------------------------------------------------


class Answer(BaseModel):
    """A response body. It may hold more than is named here."""

    model_config = ConfigDict(extra="allow")


class Accepted(Answer):
    """The request is in the inbox; the owner of the watch folds it in within about half a second."""

    accepted: bool = True
    detail: str
    watch: str | None = None
    service: str | None = None
    repeated: bool = Field(description="True when the same request was in the inbox already; it counts once.")


class PendingWatch(Answer):
    """The notice is in the inbox, and the watch has not appeared within 3 s."""

    id: str
    state: str = "pending"
    detail: str


class MarkShown(Answer):
    """What a person has said of an ended watch."""

    mark: str
    by: str
    reason: str
    at: str


class WatchSummary(Answer):
    """One watch in a list."""

    id: str
    project: str
    service: str
    region: str
    revision: str
    version: str | None = None
    previous: dict[str, float]
    state: str
    window: str | None
    opened_at: str
    ends_at: str | None = None
    ended_at: str | None = None
    outcome: str | None
    reason: str
    mark: MarkShown | None = None


class WatchList(Answer):
    """Newest first."""

    watches: list[WatchSummary]


class History(Answer):
    """The deployment history: version, date, deployer, status and notes of each deploy, newest first."""

    deploys: list[dict[str, Any]]


class WatchView(WatchSummary):
    """A watch with all its evidence."""

    windows: list[dict[str, Any]]
    achieved: list[dict[str, Any]] = Field(
        default=[],
        description="Once ended: what the traffic that came would have shown, by row of counts that rolls back.",
    )
    criteria: list[dict[str, Any]]
    probes: list[dict[str, Any]]
    journeys: list[dict[str, Any]] = Field(default_factory=list)
    decisions: list[dict[str, Any]]
    timeline: list[dict[str, Any]]
    rollback: dict[str, Any] | None
    incident: dict[str, Any] | None


class Event(Answer):
    """A row of the watch's journal."""

    seq: int
    at: str
    at_unix_s: float = Field(description="`at`, uncut: what a replay needs to decide exactly as it was decided.")
    seen_at: str
    kind: str
    schema_: int = Field(alias="schema")
    body: dict[str, Any]
    late: bool


class Report(Answer):
    """Everything the Markdown report is written from."""

    watch: WatchView
    events: list[Event]


class EvidenceOverTime(Answer):
    """One value a bin. `fullness` is how near an alarm the evidence came at most, 0 to 1; null before any evidence."""

    fullness: list[float | None]
    verdict: list[str]
    bad: list[float]
    n: list[float]
    value: list[float | None]


class Proof(Answer):
    """The moment at which a row's evidence became enough. `approach` are [time, fullness] on the way there."""

    at: str
    sentence: str
    began_at: str
    cleared_at: str | None
    acted_at: str | None
    led_to: str
    approach: list[tuple[str, float]]


class Peak(Answer):
    """How near an alarm a row ever came, when, and what had been counted by then."""

    fullness: float
    at: str | None
    bad: float
    n: float


class ExplainedRow(Answer):
    """One row of the policy: its story in sentences (`why`), and what they rest on."""

    id: str
    label: str
    action: str
    verdict: str
    why: str
    silent: bool = Field(description="True when nothing was ever seen of it.")
    bad: float
    n: float
    peak: Peak
    proofs: list[Proof]
    changes: list[dict[str, Any]]
    coverage: dict[str, float]
    achieved: list[dict[str, Any]] = Field(description="Bad shares that the traffic which came would have shown.")
    over_time: EvidenceOverTime


class Bins(Answer):
    """The stretches of time that `over_time` counts in."""

    from_: str = Field(alias="from")
    width_s: float
    ends: list[str]


class Explanation(Answer):
    """Why a watch rolled back, or why not."""

    watch: str
    state: str
    outcome: str | None
    explained_until: str
    question: str
    answer: list[str]
    bins: Bins
    criteria: list[ExplainedRow]
    decisions: list[dict[str, Any]]
    holds: list[dict[str, Any]]
    confirmations: list[dict[str, Any]]
    missing: list[dict[str, Any]]
    course: list[dict[str, Any]]


class Ephemeral(Answer):
    """Shown in Slack to whoever clicked."""

    response_type: str = "ephemeral"
    replace_original: bool = False
    text: str


class SilenceList(Answer):
    """What is silenced now."""

    silences: list[dict[str, Any]]


class GateAnswer(Answer):
    """May this image be deployed, may this rollout take its next step? The rest is there when the latter was asked."""

    allowed: bool
    reason: str
    watch: str | None = None
    revision: str | None = None
    evidence: dict[str, Any] | None = None
    """What was seen since the last step: seconds, requests, the smallest share that would have shown, coverage."""


class Alive(Answer):
    """The process answers."""

    status: str
    version: str


class Ready(Answer):
    """The daemon can do its work."""

    status: str
    reason: str


class ProblemDocument(Answer):
    """RFC 9457."""

    type: str = "about:blank"
    title: str
    status: int
    detail: str
