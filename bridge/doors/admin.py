"""The operator's doors: the flag to read and change, and alerts that pull it, with a bearer token."""

import hmac
import json
from collections.abc import Awaitable, Callable, Sequence

from aiohttp import web

from bridge.alerts import firing
from bridge.changes import parse_edit
from bridge.errors import AlertsMalformed, FlagRefused, StoreUnavailable
from bridge.events import valid_id
from bridge.failures import failure
from bridge.http_server import read_body
from bridge.identity import USER_LIMIT_CHARS, Removal
from bridge.ports import Switch

BODY_LIMIT_BYTES, BODY_S = 1024 * 1024, 10.0
"""How much an operator may say, and how long that may take."""


class Bearer:
    """Lets in who brings ``token``; without a token nobody, or everybody where it is ``open_without``."""

    def __init__(self, token: str, *, open_without: bool) -> None:
        self._token = token
        self._open = open_without

    def refusal(self, request: web.Request) -> web.Response | None:
        """Return what to answer who may not, None who may."""
        if not self._token:
            if self._open:
                return None
            return failure(403, "disabled", "unable to answer; BRIDGE_ADMIN_TOKEN is not set")
        given = request.headers.get("Authorization", "").encode()
        if hmac.compare_digest(given, f"Bearer {self._token}".encode()):
            return None
        return failure(401, "unauthorized", "unable to answer; the bearer token is wrong or missing")


class FlagDoor:
    """``GET`` and ``PUT /admin/flag``, for whom ``bearer`` lets in.

    What a PUT does not name stays as it is: ``{"value": 25, "allow": {"rooms": ["vip"]}, "why": "..."}``.
    """

    def __init__(self, switch: Switch, bearer: Bearer) -> None:
        self._switch = switch
        self._bearer = bearer

    def routes(self) -> list[web.RouteDef]:
        """Return the routes of this door."""
        return [web.get("/admin/flag", self._get), web.put("/admin/flag", self._put)]

    async def _get(self, request: web.Request) -> web.Response:
        return self._bearer.refusal(request) or await self._answer(request)

    async def _put(self, request: web.Request) -> web.Response:
        refusal = self._bearer.refusal(request)
        if refusal is not None:
            return refusal
        if request.content_type != "application/json":  # a form of another site cannot send this type
            return failure(415, "bad_type", "unable to read the value; send application/json")
        return await self._answer(request)

    async def _answer(self, request: web.Request) -> web.Response:
        try:
            if request.method == "PUT":
                state = await self._switch.change(*parse_edit(await _said(request)))
            else:
                state = await self._switch.state()
        except FlagRefused as error:
            return failure(400, "bad_value", str(error))
        except StoreUnavailable as error:
            return failure(503, "store", str(error))
        return web.json_response(state.wire())


class AlertsDoor:
    """``POST /admin/alerts`` for Alertmanager's webhook: alerts ``named`` turn streaming off when they fire.

    Answers ``{"firing": [...], "pulled": true | false}``; ``pull`` is the guard's.
    """

    def __init__(
        self, switch: Switch, bearer: Bearer, pull: Callable[[str], Awaitable[bool]], *, named: Sequence[str]
    ) -> None:
        self._switch = switch
        self._bearer = bearer
        self._pull = pull
        self._named = named

    def routes(self) -> list[web.RouteDef]:
        """Return the routes of this door."""
        return [web.post("/admin/alerts", self._post)]

    async def _post(self, request: web.Request) -> web.Response:
        refusal = self._bearer.refusal(request)
        if refusal is not None:
            return refusal
        if request.content_type != "application/json":
            return failure(415, "bad_type", "unable to read the alerts; send application/json")
        try:
            return await self._take(await _said(request))
        except AlertsMalformed as error:
            return failure(400, "bad_alerts", str(error))
        except FlagRefused as error:
            return failure(409, "refused", str(error))
        except StoreUnavailable as error:  # Alertmanager tries again
            return failure(503, "store", str(error))

    async def _take(self, payload: object) -> web.Response:
        names = firing(payload, self._named, await self._switch.state())
        why = f"alerts that fire: {', '.join(names)}"
        pulled = bool(names) and await self._pull(why)
        return web.json_response({"firing": names, "pulled": pulled})


class RemovalsDoor:
    """``POST /admin/removals`` with ``{roomId, user}``: the user is no member of the room any more.

    The user's devices on all nodes are out of it at once, and whoever knows the members is asked anew when
    one wants in again. ``wall`` gives seconds since 1970.
    """

    def __init__(
        self, bearer: Bearer, remove: Callable[[Removal], None], *, wall: Callable[[], float]
    ) -> None:
        self._bearer = bearer
        self._remove = remove
        self._wall = wall

    def routes(self) -> list[web.RouteDef]:
        """Return the routes of this door."""
        return [web.post("/admin/removals", self._post)]

    async def _post(self, request: web.Request) -> web.Response:
        refusal = self._bearer.refusal(request)
        if refusal is not None:
            return refusal
        if request.content_type != "application/json":
            return failure(415, "bad_type", "unable to read the removal; send application/json")
        said = await _said(request)
        match said:
            case {"roomId": room_id, "user": str(user)} if (
                valid_id(room_id) and 0 < len(user) <= USER_LIMIT_CHARS
            ):
                return self._removed(Removal(user, room_id, self._wall()))
        return failure(400, "bad_removal", 'unable to remove; send {"roomId": 42, "user": "ann"}')

    def _removed(self, removal: Removal) -> web.Response:
        try:
            self._remove(removal)
        except StoreUnavailable as error:  # these devices are out; it may be asked again for the others
            return failure(503, "store", str(error))
        return web.json_response({"ok": True})


async def _said(request: web.Request) -> object:
    body = await read_body(request, BODY_LIMIT_BYTES, within_s=BODY_S)
    try:
        said: object = json.loads(body)
    except (ValueError, RecursionError):
        return None
    return said
