"""The door in the backend's place: a chat-server's POST runs a turn, and is answered as the backend would.

Whatever is not the complete call of the profile, or cannot be read as it, goes on to the backend untouched;
so does all where the flag is off. The chat-server announces the complete messages itself.
"""

import asyncio
import json
from collections.abc import Callable
from dataclasses import dataclass, replace

from aiohttp import web

from bridge.backend import HttpBackend
from bridge.errors import BackendError, RequestError
from bridge.events import Id, valid_id
from bridge.listener import end_of, under_way
from bridge.messages import MessageEnd, event_name, payload
from bridge.ports import Clock, Flag, Prompt
from bridge.profiles import Profile
from bridge.proxy import CALLER_GONE, CallerGone, Proxy, error, forwarded, while_there
from bridge.relay import Relay
from bridge.requests import Send, parse_send
from bridge.rooms import Rooms
from bridge.templates import ask, fill, posted

BODY_LIMIT_BYTES = 512 * 1024
"""More than the content and the other fields of a send may take, written in any way."""
READ_S = 10.0
"""A body that did not come whole in so long is passed on as it comes."""
_OWN = frozenset({"authorization", "cookie", "user-agent", "accept-language", "traceparent", "tracestate"})
"""The chat-server's own headers that go along with the streaming call; so do all that begin with ``x-``."""
_RESERVED = ("/socket.io", "/admin", "/healthz", "/readyz", "/metrics")


@dataclass(frozen=True, slots=True)
class _Post:
    """A complete call that can be a turn; ``named`` when it brought its request id."""

    body: bytes
    send: Send
    user: str
    named: bool


class DropIn:
    """The way in for a chat-server; ``passed_on`` is told why a POST could not be a turn.

    ``answer_s`` is how long a POST waits for the end of its turn, takeovers included. ``alone`` when no other
    door listens at the same address: then no path of the backend is hidden by one of the bridge's.
    """

    def __init__(
        self,
        *,
        relay: Relay,
        rooms: Rooms,
        flag: Flag,
        clock: Clock,
        backend: HttpBackend,
        proxy: Proxy,
        profile: Profile,
        passed_on: Callable[[str], None],
        content_limit_bytes: int,
        answer_s: float,
        alone: bool,
    ) -> None:
        self._relay = relay
        self._rooms = rooms
        self._flag = flag
        self._clock = clock
        self._backend = backend
        self._proxy = proxy
        self._profile = profile
        self._passed_on = passed_on
        self._content_limit_bytes = content_limit_bytes
        self._answer_s = answer_s
        self._reserved = () if alone else _RESERVED

    def routes(self) -> list[web.RouteDef]:
        """Return the routes of this door; the last takes every path, so they stand behind all others."""
        routes = [web.get("/chat/rooms/{roomId}/active", self._active, allow_head=False)]
        complete = self._profile.complete
        if complete is not None and "{" not in complete.call.path:
            routes.append(web.route(complete.call.method, complete.call.path, self._complete))
        return [*routes, web.route("*", "/{path:.*}", self._any)]

    async def _any(self, request: web.Request) -> web.StreamResponse:
        if any(request.path == path or request.path.startswith(f"{path}/") for path in self._reserved):
            return error(404, "not_found", "unable to answer; the bridge has no such path")
        return await self._pass(request)

    async def _active(self, request: web.Request) -> web.StreamResponse:
        """Tell what a device must hear that joins now, of the rooms named so: 42 and "42" are two."""
        named = request.match_info["roomId"]
        rooms: list[Id] = [named]
        if named.isascii() and named.lstrip("-").isdecimal() and str(int(named)) == named:
            rooms.append(int(named))
        if not all(map(valid_id, rooms)):
            return error(400, "bad_id", "unable to look into the room; its name cannot be one")
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

    async def _turn(self, request: web.Request, post: _Post) -> web.StreamResponse:
        try:
            async with end_of(self._relay, self._rooms, post.send, post.user) as ended:
                return await while_there(request, self._answer(request, post, ended))
        except RequestError as refusal:  # busy, draining, ...: what a bridge cannot take, the backend can
            self._passed_on(refusal.code)
            return await self._pass(request, post.body)
        except CallerGone:
            return web.Response(status=CALLER_GONE)

    def _post(self, request: web.Request, body: bytes) -> _Post:
        """Return the turn that ``body`` asks for. Raises `RequestError` where it is none."""
        complete = self._profile.complete
        if complete is None or request.query_string:
            raise RequestError("bad_field", "unable to read the call; it has a query")
        given, extra = posted(complete.call, _object(body))
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
        return _Post(body, send, str(user), send.request_id == request_id)

    async def _answer(
        self, request: web.Request, post: _Post, ended: asyncio.Future[MessageEnd]
    ) -> web.StreamResponse:
        try:
            async with asyncio.timeout(self._answer_s):
                end = await ended
        except TimeoutError:
            return error(504, "turn_timeout", "unable to answer; the turn has no end")
        if end.answered is not None:
            return web.Response(
                status=end.answered.status, headers=end.answered.headers, text=end.answered.body
            )
        prompt = _prompt(post, end)
        if end.error is not None and end.finish_reason != "cancelled":
            return await self._failed(request, post, prompt, end)
        return await self._told(request, post, prompt, end)

    async def _failed(
        self, request: web.Request, post: _Post, prompt: Prompt, end: MessageEnd
    ) -> web.StreamResponse:
        """Answer for a turn without its own end: a backend that knows repeats may have more to say."""
        code, why = end.error or ("", "")
        failure = error(504 if end.finish_reason == "timeout" else 502, code, why)
        return await self._again(request, post, prompt, failure) if self._profile.idempotent else failure

    async def _told(
        self, request: web.Request, post: _Post, prompt: Prompt, end: MessageEnd
    ) -> web.StreamResponse:
        told = web.Response(text=template(self._profile, prompt, end), content_type="application/json")
        if end.finish_reason == "cancelled":  # the backend may have gone on; the room heard no more than this
            return told
        if self._profile.answer.source == "complete":
            return await self._again(request, post, prompt, told)
        try:
            body = await self._backend.stored(prompt)
        except BackendError:
            body = None
        return told if body is None else web.Response(text=body, content_type="application/json")

    async def _again(
        self, request: web.Request, post: _Post, prompt: Prompt, otherwise: web.Response
    ) -> web.StreamResponse:
        """Make the chat-server's own call, now that the turn is over: the same request, the same message."""
        body, more = post.body, {"Idempotency-Key": str(prompt.request_id)}
        if not post.named and self._profile.complete is not None:
            body = ask(self._profile, self._profile.complete.call, prompt, {}).body or b""
            more["Content-Length"] = str(len(body))
        return await self._proxy.pass_on(request, body, more, otherwise)


def closed(profile: Profile) -> list[web.RouteDef]:
    """Return what stands in this door's place where it is not open: a refusal that says how to open it."""
    why = "set BRIDGE_DROP_IN=on, or BRIDGE_DROP_IN_PORT for an address of its own"

    async def refuse(_: web.Request) -> web.Response:
        return error(404, "drop_in_off", f"unable to stand in the backend's place; {why}")

    if profile.complete is None or "{" in profile.complete.call.path:
        return []
    return [web.route(profile.complete.call.method, profile.complete.call.path, refuse)]


def template(profile: Profile, prompt: Prompt, end: MessageEnd) -> str:
    """Return the message as the profile's template says it, in JSON."""
    told = {
        "content": end.content,
        "createdAt": end.created_at,
        "finishReason": end.finish_reason,
        "conversationId": end.conversation_id,
    }
    prompt = replace(prompt, content=end.content)
    return json.dumps(fill(profile.answer.template, prompt, told), ensure_ascii=False)


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


def _prompt(post: _Post, end: MessageEnd) -> Prompt:
    send = post.send
    return Prompt(
        end.request_id, send.room_id, end.message_id, send.content, post.user, send.extra, send.headers
    )
