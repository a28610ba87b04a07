"""Errors as Google's JSON APIs say them: an HTTP code, a status word, and a sentence."""

STATUS_WORDS = {
    400: "INVALID_ARGUMENT",
    401: "UNAUTHENTICATED",
    403: "PERMISSION_DENIED",
    404: "NOT_FOUND",
    409: "ABORTED",
    429: "RESOURCE_EXHAUSTED",
    500: "INTERNAL",
    501: "UNIMPLEMENTED",
    503: "UNAVAILABLE",
    504: "DEADLINE_EXCEEDED",
}


class ApiError(Exception):
    """A refused Admin API request."""

    def __init__(self, code: int, message: str, *, status: str | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.status = status or STATUS_WORDS.get(code, "UNKNOWN")

    def body(self) -> dict[str, object]:
        """The JSON document of the answer."""
        return {"error": {"code": self.code, "message": self.message, "status": self.status}}


def not_found(kind: str, name: str, *, project: str, region: str) -> ApiError:
    """404 for a resource of `kind` (SERVICE, REVISION, OPERATION)."""
    return ApiError(
        404, f"Resource '{name}' of kind '{kind}' in region '{region}' in project '{project}' does not exist"
    )


def conflict(name: str, *, specified: str, current: str) -> ApiError:
    """409 ABORTED: somebody wrote between the caller's read and his write."""
    return ApiError(
        409,
        f"Conflict for resource '{name}': version '{specified}' was specified but current version is '{current}'.",
    )
