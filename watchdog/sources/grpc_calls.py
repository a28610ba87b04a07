"""gRPC calls in the application's own log, since Cloud Run's request log says 200 of every call that was answered.

A call's status stands in a trailer; the request log and `request_count` have no field for it. So it is counted where
the application logs one structured line a call with its code, as the usual interceptors do (`"grpc.code":
"Unavailable"` of go-grpc-middleware): `jsonPayload."grpc.code"` or `jsonPayload.grpc_code` on stdout or stderr. Where
none is logged the evidence is missing, and a team can feed the metric by a log-based metric or Prometheus instead
(docs/policy.md).

A call is bad when the server failed: UNKNOWN, DEADLINE_EXCEEDED, UNIMPLEMENTED, INTERNAL, UNAVAILABLE and DATA_LOSS,
the codes that google/rpc/code.proto maps to HTTP 5xx. The others speak of the caller. Health checks by
`grpc.health.v1.Health` are probes, Cloud Run's own or anybody's, and don't count.
"""

from typing import Any, Final

from watchdog.core.model import ServiceKey
from watchdog.sources.monitoring_messages import quoted

FIELDS: Final = ("grpc.code", "grpc_code")
LOGS: Final = ("run.googleapis.com/stdout", "run.googleapis.com/stderr")
BAD: Final = {
    2: "unknown",
    4: "deadlineexceeded",
    12: "unimplemented",
    13: "internal",
    14: "unavailable",
    15: "dataloss",
}
HEALTH: Final = "grpc.health.v1.Health"
_IN_LOGS: Final = " OR ".join(f'log_id("{log}")' for log in LOGS)
_HAS_CODE: Final = " OR ".join(f'jsonPayload."{name}":*' for name in FIELDS)
FILTER: Final = f"(({_IN_LOGS}) AND ({_HAS_CODE}))"
"""Selects the lines."""


def code_of(message: Any) -> str | None:
    """The code of the call that a log entry tells of, in small letters; None when it tells of none that counts."""
    if not message.HasField("json_payload"):
        return None
    fields = message.json_payload.fields
    name = next((name for name in FIELDS if name in fields), None)
    if name is None or ("grpc.service" in fields and fields["grpc.service"].string_value == HEALTH):
        return None
    value = fields[name]
    if value.WhichOneof("kind") == "number_value":
        return BAD.get(int(value.number_value), "other")
    return str(value.string_value).replace("_", "").lower() or None


def is_bad(code: str) -> bool:
    """Whether the server failed."""
    return code in BAD.values()


def past_filter(service: ServiceKey, revision: str, since: str, until: str) -> str:
    """Selects the calls of one revision that were logged in `[since, until)` (ISO 8601)."""
    labels = {"location": service.region, "service_name": service.name, "revision_name": revision}
    parts = ['resource.type="cloud_run_revision"', FILTER]
    parts += [f"resource.labels.{key}={quoted(value)}" for key, value in labels.items()]
    return " AND ".join((*parts, f'timestamp>="{since}"', f'timestamp<"{until}"'))
