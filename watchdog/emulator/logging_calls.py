"""The line that an application logs of a gRPC call, as go-grpc-middleware's interceptors write it: one a call, stdout.

Cloud Run's request log says `200` of every call that was answered, whatever its gRPC status: that stands in a trailer,
which the log has no field for. Field names and codes as in `finished unary call with code Unavailable {"grpc.code":
"Unavailable", "grpc.service": …, "grpc.method": …, "grpc.time_ms": …}` (grpc-ecosystem/go-grpc-middleware).
"""

from dataclasses import dataclass

from watchdog.emulator.ledger import Request

LOG_ID = "run.googleapis.com/stdout"
CODES = (
    *("OK", "Canceled", "Unknown", "InvalidArgument", "DeadlineExceeded", "NotFound", "AlreadyExists"),
    *("PermissionDenied", "ResourceExhausted", "FailedPrecondition", "Aborted", "OutOfRange", "Unimplemented"),
    *("Internal", "Unavailable", "DataLoss", "Unauthenticated"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class CallLine:
    """What the container of a request's revision logged when the call had ended."""

    request: Request

    @property
    def project(self) -> str:
        """As of its request."""
        return self.request.project

    @property
    def ended_at(self) -> float:
        """When it was logged, Unix seconds."""
        return self.request.ended_at

    @property
    def latency_s(self) -> float:
        """A line is stamped when it is written."""
        return 0.0

    @property
    def payload(self) -> dict[str, str | float]:
        """`jsonPayload`."""
        service, _, method = self.request.url.split("://")[-1].partition("/")[2].rpartition("/")
        code = CODES[self.request.grpc_status or 0]
        return {
            "message": f"finished unary call with code {code}",
            "grpc.service": service,
            "grpc.method": method,
            "grpc.code": code,
            "grpc.time_ms": round(self.request.latency_s * 1000.0, 3),
        }


Line = Request | CallLine
"""One entry of a revision's logs."""


def lines_of(request: Request) -> tuple[Line, ...]:
    """What a request leaves in the logs."""
    return (request,) if request.grpc_status is None else (request, CallLine(request=request))
