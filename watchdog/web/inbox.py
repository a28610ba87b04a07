"""Reading a request's body, and putting letters into the inbox exactly once."""

import hashlib
import json
from collections.abc import Mapping
from typing import Any, NamedTuple, TypeVar

import pydantic
from aiohttp import web

from watchdog.web.problems import Problem
from watchdog.web.services import services_of

Body = TypeVar("Body", bound=pydantic.BaseModel)

_KEY_MOST = 200
_SAME_ORDER_S = 10.0


async def body_of(request: web.Request, model: type[Body]) -> Body:
    """The body, validated; an empty one is `{}`. Raises `Problem` 400 for what is no JSON, `ValidationError` (422)."""
    raw = await request.read()
    try:
        return model.model_validate_json(raw.strip() or b"{}")
    except pydantic.ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        if first["type"] == "json_invalid":
            raise Problem(400, f"The body is not JSON: {first['msg'].removeprefix('Invalid JSON: ')}.") from None
        raise


class Posted(NamedTuple):
    """What became of a letter: `new` is False when the same one is there already, and counts once."""

    new: bool
    key: str


async def post(
    request: web.Request, stream: str, kind: str, body: Mapping[str, Any], *, own: str = "", same: str = ""
) -> Posted:
    """Put a letter into the stream's inbox, once.

    `same`, or else the header `Idempotency-Key`, says which letters are the same; without either, those with equal
    bodies in the same 10 s (a client's retry, a double click). `own` names a member of the body that we chose and that
    therefore differs. Raises `Problem` 422 for a header nobody could have meant.
    """
    services = services_of(request)
    now = services.clock.now()
    given = hashlib.sha256(same.encode()).hexdigest()[:32] if same else request.headers.get("Idempotency-Key")
    if given is None:
        told = {name: value for name, value in body.items() if name != own}
        moment = int(now // _SAME_ORDER_S)
        given = hashlib.sha256(json.dumps([told, moment], sort_keys=True).encode()).hexdigest()[:32]
    elif not given.strip() or len(given) > _KEY_MOST or not given.isprintable():
        raise Problem(422, f"Idempotency-Key must be 1 to {_KEY_MOST} printable characters.")
    # Keys are unique in the whole inbox, while a client's are so only among its own requests.
    key = f"{stream}:{kind}:{given.strip()}"
    return Posted(await services.store.post(stream, key=key, kind=kind, body=body, now=now), key)
