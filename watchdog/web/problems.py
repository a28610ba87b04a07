"""Every error as an RFC 9457 problem document; as a page where a browser asked for one.

`type` is always its default `about:blank`: the status says the class of the error, `detail` what happened and what
to do.
"""

import json
from collections.abc import Awaitable, Callable, Mapping
from http import HTTPStatus
from typing import Any, Final

import pydantic
import structlog
from aiohttp import web

from watchdog.errors import PermanentError, StoreUnavailableError, TemporaryError
from watchdog.web.render import error_page

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

CONTENT_TYPE: Final = "application/problem+json"
_log = structlog.get_logger("watchdog.web")


class Problem(Exception):  # noqa: N818 - RFC 9457's word
    """An answer that is an error. `members` are extension members of the document (`candidates`, `errors`, …)."""

    def __init__(self, status: int, detail: str, *, headers: Mapping[str, str] | None = None, **members: Any) -> None:
        super().__init__(detail)
        self.status = status
        self.detail = detail
        self.headers = dict(headers or {})
        self.members = members


@web.middleware
async def problem_middleware(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Turn whatever was raised into a document; an unforeseen fault is logged whole and told in one sentence."""
    try:
        return await handler(request)
    except Problem as problem:
        return _answer(request, problem)
    except pydantic.ValidationError as error:
        return _answer(request, _invalid(error))
    except web.HTTPException as error:
        if error.status < HTTPStatus.BAD_REQUEST:
            raise
        return _answer(request, _of_aiohttp(request, error))
    except StoreUnavailableError as error:
        wait = {"Retry-After": str(round(error.delay_s or 2))}
        return _answer(request, Problem(503, f"The store does not answer: {error}. Try again shortly.", headers=wait))
    except TemporaryError as error:
        return _answer(request, Problem(503, str(error), headers={"Retry-After": str(round(error.delay_s or 2))}))
    except PermanentError as error:
        return _answer(request, Problem(502, f"What this needs was refused elsewhere: {error}"))
    except Exception:  # noqa: BLE001 - the boundary: the client gets a document, the log the fault
        _log.exception("request_failed", method=request.method, path=request.path)
        return _answer(request, Problem(500, "The watchdog failed to answer; its log says why. Watching goes on."))


def _answer(request: web.Request, problem: Problem) -> web.Response:
    title = HTTPStatus(problem.status).phrase
    if _wants_page(request):
        page = error_page(status=problem.status, title=title, detail=problem.detail)
        return web.Response(status=problem.status, text=page, content_type="text/html", headers=problem.headers)
    document = {"type": "about:blank", "title": title, "status": problem.status, "detail": problem.detail}
    document |= problem.members
    body = json.dumps(document, ensure_ascii=False).encode()
    headers = {"Content-Type": CONTENT_TYPE, "Cache-Control": "no-store", **problem.headers}
    return web.Response(status=problem.status, body=body, headers=headers)


def _wants_page(request: web.Request) -> bool:
    return "text/html" in request.headers.get("Accept", "") and not request.path.startswith(("/api/", "/metrics"))


def _invalid(error: pydantic.ValidationError) -> Problem:
    """All mistakes of a body at once, each with a JSON pointer to its place."""
    errors = [
        {"pointer": "#" + "".join(f"/{part}" for part in e["loc"]), "detail": _sentence(e["msg"])}
        for e in error.errors(include_url=False, include_input=False)
    ]
    told = "; ".join(f"{e['pointer'].removeprefix('#/') or 'body'}: {e['detail']}" for e in errors)
    return Problem(422, told, errors=errors)


def _sentence(message: str) -> str:
    return message.removeprefix("Value error, ")


def _of_aiohttp(request: web.Request, error: web.HTTPException) -> Problem:
    headers = {k: v for k, v in error.headers.items() if k in ("Allow", "WWW-Authenticate", "Retry-After")}
    details = {
        404: f"There is nothing at {request.path}. GET /api/openapi.json lists what there is.",
        405: f"{request.method} is not possible here; allowed: {headers.get('Allow', 'nothing')}.",
        413: f"The body is larger than {request.client_max_size // 1024} KiB.",
    }
    return Problem(error.status, details.get(error.status, error.reason or "The request was refused."), headers=headers)
