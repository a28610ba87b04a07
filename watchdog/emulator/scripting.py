"""What the scripted parts of the emulator share: reading control bodies, and cutting a connection."""

import asyncio
import json
import socket
import struct
from typing import TypeVar

from aiohttp import web
from pydantic import BaseModel, ValidationError

from watchdog.emulator.api_errors import ApiError

Model = TypeVar("Model", bound=BaseModel)


async def read_model(request: web.Request, model: type[Model]) -> Model:
    """The body as a `model`; raises the 422 that names every wrong key."""
    try:
        return model.model_validate_json(await request.read())
    except ValidationError as error:
        raise unprocessable(
            "; ".join(f"{'.'.join(map(str, one['loc'])) or 'body'}: {one['msg']}" for one in error.errors())
        ) from error


def unprocessable(sentence: str) -> web.HTTPUnprocessableEntity:
    """A 422 in the shape of the control API's errors."""
    body = ApiError(422, sentence, status="INVALID_ARGUMENT").body()
    return web.HTTPUnprocessableEntity(text=json.dumps(body), content_type="application/json")


def reset_connection(transport: asyncio.BaseTransport | None) -> None:
    """End a TCP connection with a reset, as when the peer's machine dies, instead of an orderly close."""
    if isinstance(transport, asyncio.Transport):
        sock = transport.get_extra_info("socket")
        if sock is not None and not transport.is_closing():
            # No lingering: the close sends RST.
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        transport.abort()
