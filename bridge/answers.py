"""What answers a complete call in the backend's place once its turn is over: what the backend would say.

In this order: the message that it gave already; for an answer that came to its own end, what the profile
names; for one that did not, the complete call of a backend that knows repeats, else its refusal or an error.
"""

import asyncio
import json
from dataclasses import dataclass, replace
from http import HTTPStatus

from aiohttp import web

from bridge.backend import HttpBackend
from bridge.errors import BackendError
from bridge.failures import failure
from bridge.messages import Answered, MessageEnd
from bridge.ports import Prompt
from bridge.profiles import Profile
from bridge.proxy import Proxy
from bridge.requests import Send
from bridge.templates import ask, fill


@dataclass(frozen=True, slots=True)
class Post:
    """A complete call that is a turn; ``named`` when it brought its request id."""

    body: bytes
    send: Send
    user: str
    named: bool

    def prompt(self, end: MessageEnd) -> Prompt:
        """Return what was asked, under the name that the answer has."""
        send = self.send
        names = (end.request_id, send.room_id, end.message_id)
        return Prompt(*names, send.content, self.user, send.extra, send.headers)


class Answers:
    """Answers for ``backend``, which ``proxy`` reaches as well, as ``profile`` says.

    ``wait_s`` is how long a call waits for the end of its turn, takeovers included.
    """

    def __init__(self, backend: HttpBackend, proxy: Proxy, profile: Profile, *, wait_s: float) -> None:
        self._backend = backend
        self._proxy = proxy
        self._profile = profile
        self._wait_s = wait_s

    async def give(
        self, request: web.Request, post: Post, ended: asyncio.Future[MessageEnd]
    ) -> web.StreamResponse:
        """Answer ``request`` once its turn has ``ended``. Raises `CallerGone`."""
        try:
            async with asyncio.timeout(self._wait_s):
                end = await ended
        except TimeoutError:
            return failure(504, "turn_timeout", "unable to answer; nobody tells the end of the turn")
        if end.answered is not None and end.answered.status == HTTPStatus.OK:
            return _given(end.answered)
        if end.finish_reason == "cancelled":  # the backend may have gone on; the room heard no more than this
            return _json(told(self._profile, post.prompt(end), end))
        if end.error is not None:
            return await self._failed(request, post, end)
        return await self._whole(request, post, end)

    async def _failed(self, request: web.Request, post: Post, end: MessageEnd) -> web.StreamResponse:
        code, why = end.error or ("", "")
        failed = failure(504 if end.finish_reason == "timeout" else 502, code, why)
        if end.answered is not None:
            failed = _given(end.answered)
        return await self._again(request, post, end, failed) if self._profile.idempotent else failed

    async def _whole(self, request: web.Request, post: Post, end: MessageEnd) -> web.StreamResponse:
        prompt = post.prompt(end)
        filled = _json(told(self._profile, prompt, end))
        if self._profile.answer.source == "complete":
            return await self._again(request, post, end, filled)
        try:
            body = await self._backend.stored(prompt)
        except BackendError:
            body = None
        return filled if body is None else _json(body)

    async def _again(
        self, request: web.Request, post: Post, end: MessageEnd, otherwise: web.Response
    ) -> web.StreamResponse:
        """Make the caller's own call, now that the turn is over: the same request, the same message."""
        body, more = post.body, {"Idempotency-Key": str(end.request_id)}
        if not post.named and self._profile.complete is not None:
            body = ask(self._profile, self._profile.complete.call, post.prompt(end), {}).body or b""
            more["Content-Length"] = str(len(body))
        return await self._proxy.pass_on(request, body, more, otherwise)


def told(profile: Profile, prompt: Prompt, end: MessageEnd) -> str:
    """Return the message that ``end`` tells as the profile's template says it, in JSON."""
    said = {
        "createdAt": end.created_at or None,
        "finishReason": end.finish_reason,
        "conversationId": end.conversation_id,
    }
    answered = replace(prompt, content=end.content)
    return json.dumps(fill(profile.answer.template, answered, said), ensure_ascii=False)


def _given(answered: Answered) -> web.Response:
    return web.Response(status=answered.status, headers=answered.headers, text=answered.body)


def _json(text: str) -> web.Response:
    return web.Response(text=text, content_type="application/json")
