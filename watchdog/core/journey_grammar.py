"""The words of a journey file: which keys there are, section by section, as `policy_grammar` has the policy's."""

from typing import Annotated, Any, ClassVar, get_args

from pydantic import Field

from watchdog.core.journey import Method
from watchdog.core.policy_fields import Headers, Interval, Statuses, choice, matching
from watchdog.core.policy_section import EditorSchema, Section

StepName = Annotated[str, *matching(r"[^\s](?:.{0,78}[^\s])?", "a name for a step; write 1 to 80 characters")]
StepPath = Annotated[str, *matching(r"/[!-~]*", "a path; it begins with / and holds no spaces")]


class CaptureFile(Section):
    """Where a variable comes from; exactly one of these."""

    jmespath: str | None = None
    """Into the JSON body: `data.id`."""
    header: str | None = None
    """The name of a header of the answer."""
    cookie: str | None = None
    """The name of a cookie that the answer sets."""
    regex: str | None = None
    """Over the body; the first group is the value, or the whole match."""


class AssertionFile(Section):
    """What a JMESPath must give."""

    required: ClassVar = {"jmespath": '"items[0].id"'}
    jmespath: str | None = None
    equals: Any = None
    """The value that it must give; may hold variables."""
    contains: Any = None
    """A value that its list (or a text that its text) must hold; may hold variables."""


class StepExpectFile(Section):
    """What the answer must be."""

    status: Statuses | None = None
    """HTTP status, or a list of them; 200 by default."""
    json_subset: Any = Field(None, alias="json")
    """What the JSON body must contain; it may contain more, and this may hold variables."""
    jmespath: str | list[str | AssertionFile] | None = None
    """JMESPaths that must give true, or `{jmespath: …, equals: …}`, or `{jmespath: …, contains: …}`."""
    header: dict[str, str] | None = None
    """Header → a text that it must contain."""
    text: str | None = None
    """A regular expression that must match somewhere in the body."""


class StepFile(Section):
    """One request."""

    required: ClassVar = {"name": "log in", "path": "/api/v1/auth/login"}
    name: StepName | None = None
    """As the report names it."""
    method: Annotated[str, *choice(*get_args(Method))] | None = None
    """GET by default; POST where there is a body."""
    path: StepPath | None = None
    """Below the service's URL."""
    headers: Headers | None = None
    json_body: Any = Field(None, alias="json")
    """The body, sent as JSON."""
    form: dict[str, str] | None = None
    """The body, sent as a form."""
    expect: StepExpectFile | None = None
    capture: dict[str, CaptureFile] | None = None
    """Variable → where its value stands in the answer."""
    timeout: Interval | None = None
    """This step's own `step_timeout`."""


class CleanupFile(StepFile):
    """One request that tidies up."""

    after: str | None = None
    """The name of a step: without it having passed there is nothing to tidy up."""


class JourneyFile(Section):
    """A journey: what a person does with the service, step by step."""

    required: ClassVar = {"steps": "[{name: log in, path: /login}]"}
    title: Annotated[str, Field(max_length=100)] | None = None
    """What it proves, for people."""
    timeout: Interval | None = None
    """For all steps together; 20s by default. Cleanup has its own time."""
    step_timeout: Interval | None = None
    """For each step; 5s by default."""
    variables: dict[str, Any] | None = None
    """Name → value; may use ${run}, ${today}, ${now} and secrets."""
    steps: list[StepFile] | None = None
    cleanup: list[CleanupFile] | None = None
    """Sent in any case, also after a failed step."""


def json_schema() -> dict[str, Any]:
    """The JSON Schema of a journey file."""
    schema = JourneyFile.model_json_schema(by_alias=True, schema_generator=EditorSchema)
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema, "title": "Watchdog journey"}
