"""The OpenAPI 3.1 document, generated from the models that validate the bodies, so that it cannot drift from them."""

from collections.abc import Mapping
from functools import cache
from typing import Any, Final, NamedTuple

from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from watchdog.web import bodies
from watchdog.web.bodies import (
    Accepted,
    Alive,
    DeployNotice,
    Ephemeral,
    Explanation,
    GateAnswer,
    History,
    MarkOrder,
    PagerDutyWebhook,
    PendingWatch,
    ProblemDocument,
    PubSubPush,
    Ready,
    ReleaseOrder,
    Report,
    Signal,
    SilenceList,
    SilenceOrder,
    SlackInteraction,
    WatchList,
    WatchView,
)
from watchdog.web.verbs import VERBS

_API_VERSION: Final = "1.0.0"
_FORM: Final = "application/x-www-form-urlencoded"
_REFS: Final = "#/components/schemas/{model}"


class _Operation(NamedTuple):
    """One method of one path. `answers`: status → (what it means, model or media type, None for no body)."""

    method: str
    path: str
    summary: str
    answers: Mapping[int, tuple[str, type[BaseModel] | str | None]]
    body: type[BaseModel] | None = None
    query: tuple[tuple[str, str, bool], ...] = ()
    optional_body: bool = False
    security: tuple[str, ...] = ("token", "google")
    """Proofs of which one is needed, for methods that are not safe."""
    form: bool = False


_WATCH: Final = "/api/v1/watches/{id}"
_IN_INBOX: Final[Mapping[int, tuple[str, type[BaseModel] | str | None]]] = {202: ("In the inbox", Accepted)}
_HOOK: Final = {**_IN_INBOX, 204: ("Well-formed, and nothing to do", None)}
_SECURITY: Final = {
    "token": {"type": "http", "scheme": "bearer", "description": "WATCHDOG_API_TOKEN"},
    "google": {
        "type": "http",
        "scheme": "bearer",
        "bearerFormat": "JWT",
        "description": "An ID token of Google's for WATCHDOG_OIDC__AUDIENCE and one of WATCHDOG_OIDC__EMAILS",
    },
    "pagerduty": {
        "type": "apiKey",
        "in": "header",
        "name": "X-PagerDuty-Signature",
        "description": "v1=HEX: HMAC-SHA256 of the body with WATCHDOG_PAGERDUTY__WEBHOOK_SECRET",
    },
    "slack": {
        "type": "apiKey",
        "in": "header",
        "name": "X-Slack-Signature",
        "description": "v0=HEX: HMAC-SHA256 of v0:TIMESTAMP:BODY with WATCHDOG_SLACK__SIGNING_SECRET",
    },
}

_OPERATIONS: Final = (
    _Operation(
        "get", "/api/v1/history", "The deployment history, newest first", {200: ("The deploys", History)},
        query=(("service", "Only of this service", False), ("limit", "At most so many", False),
               ("format", "json, markdown or csv", False)),
    ),
    _Operation(
        "get", "/api/v1/watches", "List watches, newest first", {200: ("The watches", WatchList)},
        query=(("open", "Only open ones: true", False), ("service", "Only of this service", False),
               ("limit", "At most this many, up to 1000", False)),
    ),
    _Operation("get", _WATCH, "Show a watch with its evidence", {200: ("The watch", WatchView)}),
    _Operation(
        "get", f"{_WATCH}/events", "Page through the journal of a watch",
        {200: ("Journal rows in order; a Link header leads on", "events")},
        query=(("after", "Only rows with a greater seq", False), ("limit", "At most this many, up to 1000", False)),
    ),
    _Operation(
        "get", f"{_WATCH}/report", "Report on a watch", {200: ("The report; JSON with ?format=json", "report")},
        query=(("format", "markdown (default) or json", False),),
    ),
    _Operation(
        "get", f"{_WATCH}/explain", "Explain why a watch rolled back, or why not",
        {200: ("The answer, and every row's evidence over time", Explanation)},
    ),
    _Operation(
        "get", f"{_WATCH}/stream", "Follow a watch by server-sent events",
        {200: ("Journal rows as events; resume with Last-Event-ID", "text/event-stream")},
        query=(("after", "Only rows with a greater seq", False),
               ("only", "changes: a nudge at every change instead of the journal", False)),
    ),
    _Operation(
        "post", "/api/v1/deploys", "Announce a deploy",
        {201: ("A watch has opened", WatchView), 200: ("The watch that is open already", WatchView),
         202: ("In the inbox, the watch has not appeared yet", PendingWatch)},
        body=DeployNotice,
    ),
    _Operation("post", f"{_WATCH}/signals", "State something from outside", _IN_INBOX, body=Signal),
    *(
        _Operation(
            "post", f"{_WATCH}/{verb}", f"{model.__doc__}".rstrip("."), _IN_INBOX, body=model,
            optional_body=verb in ("ack", "resolve", "hold", "pause", "resume", "finish"),
        )
        for verb, model in VERBS.items()
    ),
    _Operation("post", f"{_WATCH}/mark", "Say whether an ended watch was right", _IN_INBOX, body=MarkOrder),
    _Operation(
        "post", "/api/v1/services/{name}/release", "Let traffic follow new revisions again", _IN_INBOX,
        body=ReleaseOrder, optional_body=True,
    ),
    _Operation(
        "post", "/api/v1/services/{name}/heartbeats/{job}", "Say that a job has run", _IN_INBOX,
    ),
    _Operation(
        "get", "/api/v1/silences", "List what is silenced", {200: ("The silences", SilenceList)},
        query=(("service", "Only of this service", False),),
    ),
    _Operation("post", "/api/v1/silences", "Say less about a service for a while", _IN_INBOX, body=SilenceOrder),
    _Operation(
        "get", "/api/v1/gate", "Ask whether an image may be deployed, or a rollout go on",
        {200: ("The answer", GateAnswer)},
        query=(("service", "The service", True), ("image", "The image, by digest where possible", False),
               ("promote", "true: may the rollout under watch take its next step?", False),
               ("detect", "The share of bad requests that must have had time to show, 10% by default", False),
               ("region", "Its region", False), ("project", "Its project", False)),
    ),
    _Operation(
        "post", "/hooks/pubsub", "Take a Pub/Sub push of Cloud Run's audit log", _HOOK,
        body=PubSubPush, security=("google",),
    ),
    _Operation(
        "post", "/hooks/pagerduty", "Take a PagerDuty V3 webhook", _HOOK,
        body=PagerDutyWebhook, security=("pagerduty",),
    ),
    _Operation(
        "post", "/hooks/slack", "Take a click in Slack", {200: ("An answer for whoever clicked", Ephemeral)},
        body=SlackInteraction, security=("slack",), form=True,
    ),
    _Operation("get", "/api/openapi.json", "This document", {200: ("OpenAPI 3.1", "application/json")}),
    _Operation("get", "/metrics", "Metrics of the watchdog itself", {200: ("Prometheus exposition", "text/plain")}),
    _Operation("get", "/livez", "Whether the process lives", {200: ("It does", Alive)}),
    _Operation("get", "/readyz", "Whether the daemon can do its work", {200: ("It can", Ready)}),
)  # fmt: skip


@cache
def document() -> Mapping[str, Any]:
    """The whole document. Built once."""
    paths: dict[str, dict[str, Any]] = {}
    for operation in _OPERATIONS:
        paths.setdefault(operation.path, {})[operation.method] = _describe(operation)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Watchdog",
            "version": _API_VERSION,
            "summary": "The safety net under every Cloud Run deploy.",
            "description": "202 means in the inbox: the owner of the watch folds it in within about half a second.",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": "/"}],
        "paths": paths,
        "components": {
            "schemas": _schemas(),
            "securitySchemes": _SECURITY,
        },
    }


def _schemas() -> Mapping[str, Any]:
    used = [
        (getattr(bodies, name), "validation")
        for name in sorted(vars(bodies))
        if isinstance(getattr(bodies, name), type)
        and issubclass(getattr(bodies, name), BaseModel)
        and getattr(bodies, name).__module__ == bodies.__name__
        and getattr(bodies, name) not in (bodies.Request, bodies.Answer, bodies.Hook)
    ]
    _, schema = models_json_schema(used, ref_template=_REFS)  # type: ignore[arg-type]
    definitions: Mapping[str, Any] = schema["$defs"]
    return definitions


def _describe(operation: _Operation) -> Mapping[str, Any]:
    words = [part.strip("{}") for part in operation.path.removeprefix("/api/v1").split("/") if part]
    described: dict[str, Any] = {
        "summary": operation.summary,
        "operationId": "_".join([operation.method, *words]).replace(".", "_"),
        "parameters": _parameters(operation),
        "responses": {
            **{str(status): _response(*answer) for status, answer in operation.answers.items()},
            "default": {
                "description": "A problem (RFC 9457)",
                "content": {"application/problem+json": {"schema": _ref(ProblemDocument)}},
            },
        },
    }
    if operation.body:
        described["requestBody"] = {
            "required": not operation.optional_body,
            "content": {_FORM if operation.form else "application/json": {"schema": _ref(operation.body)}},
        }
    if operation.method == "post":
        described["security"] = [{proof: []} for proof in operation.security]
    return described


def _parameters(operation: _Operation) -> list[Mapping[str, Any]]:
    text: Mapping[str, Any] = {"type": "string"}
    found: list[Mapping[str, Any]] = []
    for name, about in (
        ("id", "A watch id, or a service with one open watch: name, region/name or project/region/name"),
        ("name", "A service: name, region/name or project/region/name"),
        ("job", "A job of the service's policy that pings"),
    ):
        if f"{{{name}}}" in operation.path:
            found.append({"name": name, "in": "path", "required": True, "description": about, "schema": text})
    for name, about, required in operation.query:
        found.append({"name": name, "in": "query", "required": required, "description": about, "schema": text})
    if operation.method == "post" and "token" in operation.security:
        about = "Requests with the same key count once"
        found.append(
            {"name": "Idempotency-Key", "in": "header", "required": False, "description": about, "schema": text}
        )
    return found


def _response(meaning: str, shape: type[BaseModel] | str | None) -> Mapping[str, Any]:
    schema: Mapping[str, Any]
    match shape:
        case None:
            return {"description": meaning}
        case "events":
            schema = {"application/json": {"schema": {"type": "array", "items": _ref(bodies.Event)}}}
        case "report":
            schema = {
                "text/markdown": {"schema": {"type": "string"}},
                "application/json": {"schema": _ref(Report)},
            }
        case "application/json":
            schema = {shape: {"schema": {"type": "object"}}}
        case str():
            schema = {shape: {"schema": {"type": "string"}}}
        case _:
            schema = {"application/json": {"schema": _ref(shape)}}
    return {"description": meaning, "content": schema}


def _ref(model: type[BaseModel]) -> Mapping[str, str]:
    return {"$ref": _REFS.format(model=model.__name__)}
