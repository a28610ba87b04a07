"""Control of who may come in, and by which way.

| request | body → answer |
|---|---|
| `PUT /emulator/entrance` | `{service?, fault?: none, name, certificate, load_balancer or firewall, iap?: {audience, allowed?}}` → `{url, env}`: the way in that users take, and what the watchdog's environment needs to use it |
| `PUT /emulator/invokers` | `{service?, public?: bool, watchdog?: bool}` → `{env}`: a private service, and whether the watchdog's account may call it |

The metadata server that gives the account's ID tokens is on the same port.
"""  # noqa: E501 -- a table reads best with one line a row

from collections.abc import Awaitable, Callable

from aiohttp import web

from watchdog.emulator.api_errors import ApiError
from watchdog.emulator.director import Director, ServiceName
from watchdog.emulator.entrance import EntrancePlan, Entrances
from watchdog.emulator.identity import EMAIL, Invokers, add_metadata_routes, metadata_environment
from watchdog.emulator.scripting import read_model


class Callers(ServiceName):
    """Body of invokers."""

    public: bool = False
    watchdog: bool = True


def add_entrance_routes(app: web.Application, director: Director, entrances: Entrances, invokers: Invokers) -> None:
    """Mount them, and the metadata server."""

    async def entrance(request: web.Request) -> web.Response:
        plan = await read_model(request, EntrancePlan)
        service = director.service(plan.service, project=plan.project, region=plan.region)
        return web.json_response(await entrances.set_up(service.key, plan))

    async def callers(request: web.Request) -> web.Response:
        body = await read_model(request, Callers)
        service = director.service(body.service, project=body.project, region=body.region)
        invokers.let_in(service.key, None if body.public else [EMAIL] * body.watchdog)
        return web.json_response({"env": metadata_environment(request.host)})

    app.router.add_put("/emulator/entrance", _answering(entrance))
    app.router.add_put("/emulator/invokers", _answering(callers))
    add_metadata_routes(app)


def _answering(
    handler: Callable[[web.Request], Awaitable[web.Response]],
) -> Callable[[web.Request], Awaitable[web.Response]]:
    async def answer(request: web.Request) -> web.Response:
        try:
            return await handler(request)
        except ApiError as error:
            return web.json_response(error.body(), status=error.code)

    return answer
