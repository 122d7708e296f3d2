"""The door in the backend's place: a chat-server's POST runs a turn, and is answered as the backend would.

Whatever is not the complete call of the profile, or cannot be read as it, goes on to the backend untouched;
so does all where the flag is off. The chat-server announces the complete messages itself.
"""

import asyncio
import json
from collections.abc import Callable
from dataclasses import replace

from aiohttp import web

from bridge.answers import Answers, Post
from bridge.caller import CALLER_GONE, CallerGone, while_there
from bridge.errors import RequestError
from bridge.events import valid_id
from bridge.failures import failure
from bridge.headers import forwarded
from bridge.listener import end_of, under_way
from bridge.messages import event_name, payload
from bridge.ports import Clock, Flag
from bridge.profiles import Call, Profile
from bridge.proxy import Proxy
from bridge.relay import Relay
from bridge.requests import parse_send, rooms_named
from bridge.rooms import Rooms
from bridge.templates import posted

BODY_LIMIT_BYTES = 512 * 1024
"""More than the content and the other fields of a send may take, written in any way."""
READ_S = 10.0
"""A body that did not come whole in so long is passed on as it comes."""
_OWN = frozenset({"authorization", "cookie", "user-agent", "accept-language", "traceparent", "tracestate"})
"""The chat-server's own headers that go along with the streaming call; so do all that begin with ``x-``."""
_RESERVED = ("/socket.io", "/admin", "/healthz", "/readyz", "/metrics")


class DropIn:
    """The way in for a chat-server; ``passed_on`` is told why a POST could not be a turn.

    ``alone`` when no other door listens at the same address: then the bridge hides no path of the backend
    but one.
    """

    def __init__(
        self,
        *,
        relay: Relay,
        rooms: Rooms,
        flag: Flag,
        clock: Clock,
        answers: Answers,
        proxy: Proxy,
        profile: Profile,
        passed_on: Callable[[str], None],
        content_limit_bytes: int,
        alone: bool,
    ) -> None:
        self._relay = relay
        self._rooms = rooms
        self._flag = flag
        self._clock = clock
        self._answers = answers
        self._proxy = proxy
        self._profile = profile
        self._passed_on = passed_on
        self._content_limit_bytes = content_limit_bytes
        self._reserved = () if alone else _RESERVED

    def routes(self) -> list[web.RouteDef]:
        """Return the routes of this door; the last takes every path, so they stand behind all others."""
        routes = [web.get("/chat/rooms/{roomId}/active", self._active, allow_head=False)]
        if call := _complete_call(self._profile):
            routes.append(web.route(call.method, call.path, self._complete))
        return [*routes, web.route("*", "/{path:.*}", self._any)]

    async def _any(self, request: web.Request) -> web.StreamResponse:
        if any(request.path == path or request.path.startswith(f"{path}/") for path in self._reserved):
            return failure(404, "not_found", "unable to answer; the bridge has no such path")
        return await self._pass(request)

    async def _active(self, request: web.Request) -> web.StreamResponse:
        """Tell what a device must hear that joins now, of the rooms named so: 42 and "42" are two."""
        try:
            rooms = rooms_named(request.match_info["roomId"])
        except RequestError as refusal:
            return failure(400, refusal.code, str(refusal))
        heard = [message for room_id in rooms for message in await under_way(self._rooms, room_id)]
        return web.json_response([{"event": event_name(each), "data": payload(each)} for each in heard])

    async def _complete(self, request: web.Request) -> web.StreamResponse:
        try:
            body = await _read(request)
            post = self._post(request, body)
        except ConnectionError:
            return web.Response(status=CALLER_GONE)
        except RequestError as refusal:
            self._passed_on(refusal.code)
            return await self._pass(request, body)
        if not await self._flag.streaming(post.send.room_id, post.user):
            return await self._pass(request, body)
        return await self._turn(request, post)

    async def _pass(self, request: web.Request, body: bytes = b"") -> web.StreamResponse:
        try:
            return await self._proxy.pass_on(request, body)
        except CallerGone:
            return web.Response(status=CALLER_GONE)

    async def _turn(self, request: web.Request, post: Post) -> web.StreamResponse:
        try:
            async with end_of(self._relay, self._rooms, post.send, post.user) as ended:
                return await while_there(request, self._answers.give(request, post, ended))
        except RequestError as refusal:  # busy, draining, ...: what a bridge cannot take, the backend can
            self._passed_on(refusal.code)
            return await self._pass(request, post.body)
        except CallerGone:
            return web.Response(status=CALLER_GONE)

    def _post(self, request: web.Request, body: bytes) -> Post:
        """Return the turn that ``body`` asks for. Raises `RequestError` where it is none."""
        call = _complete_call(self._profile)
        if call is None or request.query_string:
            raise RequestError(
                "bad_field", "unable to read the call; the streaming call could not have its query"
            )
        given, extra = posted(call, _object(body))
        key = request.headers.get("Idempotency-Key")
        request_id = given.get("requestId", key if valid_id(key) else None)
        named = {"roomId": given.get("roomId"), "content": given.get("content"), "requestId": request_id}
        send = parse_send({**extra, **named}, content_limit_bytes=self._content_limit_bytes)
        message_id, user = given.get("messageId"), given.get("user", "")
        send = replace(
            send,
            request_id=self._clock.new_id() if send.request_id is None else send.request_id,
            message_id=message_id if valid_id(message_id) else None,
            headers=_own(request),
            announced_elsewhere=True,
        )
        return Post(body, send, str(user), send.request_id == request_id)


def closed(profile: Profile) -> list[web.RouteDef]:
    """Return what stands in this door's place where it is not open: a refusal that says how to open it."""
    why = "set BRIDGE_DROP_IN=on, or BRIDGE_DROP_IN_PORT for an address of its own"

    async def refuse(_: web.Request) -> web.Response:
        return failure(404, "drop_in_off", f"unable to stand in the backend's place; {why}")

    call = _complete_call(profile)
    return [web.route(call.method, call.path, refuse)] if call else []


def _complete_call(profile: Profile) -> Call | None:
    """Return the call that the door answers; one whose path is not always the same cannot be told apart."""
    call = profile.complete.call if profile.complete else None
    return call if call and "{" not in call.path else None


async def _read(request: web.Request) -> bytes:
    """Return the body, or as much of it as may be read."""
    body = bytearray()
    try:
        async with asyncio.timeout(READ_S):
            while len(body) <= BODY_LIMIT_BYTES and (data := await request.content.readany()):
                body += data
    except TimeoutError:
        pass
    return bytes(body)


def _object(body: bytes) -> object:
    if len(body) > BODY_LIMIT_BYTES:
        raise RequestError("content_too_large", "unable to read the call; it is too large")
    try:
        return json.loads(body)
    except (ValueError, RecursionError) as exc:
        raise RequestError("not_an_object", "unable to read the call; it is no JSON") from exc


def _own(request: web.Request) -> dict[str, str]:
    own = {
        name: ", ".join(request.headers.getall(name))
        for name in {each.lower() for each in request.headers}
        if name in _OWN or name.startswith("x-")
    }
    if not all(value.isascii() and value.isprintable() for value in own.values()):
        raise RequestError("bad_text", "unable to read the call; its headers are not ASCII")
    return {**own, **{name.lower(): value for name, value in forwarded(request).items()}}
