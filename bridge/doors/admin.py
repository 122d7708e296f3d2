"""The operator's door: read and change the flag with a bearer token."""

import hmac
import json

from aiohttp import web

from bridge.changes import parse_edit
from bridge.errors import FlagRefused, StoreUnavailable
from bridge.ports import Switch


class FlagDoor:
    """``GET`` and ``PUT /admin/flag`` with ``token`` as bearer; ``open_without_token`` is for the demo.

    What a PUT does not name stays as it is: ``{"value": 25, "allow": {"rooms": ["vip"]}, "why": "..."}``.
    """

    def __init__(self, switch: Switch, *, token: str, open_without_token: bool) -> None:
        self._switch = switch
        self._token = token
        self._open = open_without_token

    def routes(self) -> list[web.RouteDef]:
        """Return the routes of this door."""
        return [web.get("/admin/flag", self._get), web.put("/admin/flag", self._put)]

    async def _get(self, request: web.Request) -> web.Response:
        return self._refusal(request) or await self._answer(request)

    async def _put(self, request: web.Request) -> web.Response:
        refusal = self._refusal(request)
        if refusal is not None:
            return refusal
        if request.content_type != "application/json":  # a form of another site cannot send this type
            return _error(415, "bad_type", "unable to read the value; send application/json")
        return await self._answer(request)

    async def _answer(self, request: web.Request) -> web.Response:
        try:
            if request.method == "PUT":
                state = await self._switch.change(*parse_edit(_json(await request.text())))
            else:
                state = await self._switch.state()
        except FlagRefused as error:
            return _error(400, "bad_value", str(error))
        except StoreUnavailable as error:
            return _error(503, "store", str(error))
        return web.json_response(state.wire())

    def _refusal(self, request: web.Request) -> web.Response | None:
        if not self._token:
            if self._open:
                return None
            return _error(403, "disabled", "unable to show the flag; BRIDGE_ADMIN_TOKEN is not set")
        given = request.headers.get("Authorization", "").encode()
        if hmac.compare_digest(given, f"Bearer {self._token}".encode()):
            return None
        return _error(401, "unauthorized", "unable to show the flag; the bearer token is wrong or missing")


def _json(body: str) -> object:
    try:
        said: object = json.loads(body)
    except (ValueError, RecursionError):
        return None
    return said


def _error(status: int, code: str, message: str) -> web.Response:
    return web.json_response({"error": {"code": code, "message": message}}, status=status)
