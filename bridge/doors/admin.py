"""The operator's door: read and switch the flag with a bearer token."""

import hmac
import json
from typing import Any

from aiohttp import web

from bridge.stores.memory import MemoryFlag

_VALUES = {"on": True, "off": False}


class FlagDoor:
    """``GET`` and ``PUT /admin/flag`` with ``token`` as bearer; ``open_without_token`` is for the demo."""

    def __init__(self, flag: MemoryFlag, *, token: str, open_without_token: bool) -> None:
        self._flag = flag
        self._token = token
        self._open = open_without_token

    def routes(self) -> list[web.RouteDef]:
        """Return the routes of this door."""
        return [web.get("/admin/flag", self._get), web.put("/admin/flag", self._put)]

    async def _get(self, request: web.Request) -> web.Response:
        return self._refusal(request) or self._state()

    async def _put(self, request: web.Request) -> web.Response:
        refusal = self._refusal(request)
        if refusal is not None:
            return refusal
        if request.content_type != "application/json":  # a form of another site cannot send this type
            return _error(415, "bad_type", "unable to read the value; send application/json")
        value = _value(await request.text())
        if value is None:
            return _error(
                400, "bad_value", 'unable to set the flag; send {"value": "on"} or {"value": "off"}'
            )
        self._flag.value = value
        return self._state()

    def _refusal(self, request: web.Request) -> web.Response | None:
        if not self._token:
            if self._open:
                return None
            return _error(403, "disabled", "unable to show the flag; BRIDGE_ADMIN_TOKEN is not set")
        given = request.headers.get("Authorization", "").encode()
        if hmac.compare_digest(given, f"Bearer {self._token}".encode()):
            return None
        return _error(401, "unauthorized", "unable to show the flag; the bearer token is wrong or missing")

    def _state(self) -> web.Response:
        return web.json_response({"value": "on" if self._flag.value else "off"})


def _value(body: str) -> bool | None:
    try:
        said: Any = json.loads(body)["value"]
        return _VALUES.get(said)
    except (ValueError, RecursionError, TypeError, KeyError):
        return None


def _error(status: int, code: str, message: str) -> web.Response:
    return web.json_response({"error": {"code": code, "message": message}}, status=status)
