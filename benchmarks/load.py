"""The backend's side of a load: answers whose tokens say when they were written, at a pace, for little."""

import asyncio
import json
import time
from dataclasses import dataclass
from typing import Any, cast

from aiohttp import web

AROUND_S = 1.0
"""For how long people come before the window, at most: they do not press the key in the same millisecond.

Then all answers stream for as long before the window, and go on for half of it behind.
"""


@dataclass(frozen=True, slots=True)
class Load:
    """So many rooms with an answer in each, at ``rate`` tokens a second, measured for ``seconds``."""

    rooms: int
    devices: int
    rate: float
    seconds: float

    @property
    def around_s(self) -> float:
        """Return over which time people come; so long, too, all answers stream before the window."""
        return min(AROUND_S, self.seconds)

    @property
    def tokens(self) -> int:
        """Return how many an answer has: it streams before, in and a little behind the window."""
        return int(self.rate * (2.5 * self.around_s + self.seconds))


class Answers:
    """The backend: streams the tokens of the load of the moment, each with the time it was written."""

    load: Load

    async def stream(self, request: web.Request) -> web.StreamResponse:
        """Answer one turn. Tokens go past aiohttp's writer, to leave the core to the devices."""
        body = await request.json()
        response = web.StreamResponse(headers={"content-type": "text/event-stream"})
        response.enable_chunked_encoding()
        await response.prepare(request)
        await response.write(_frame({"type": "start", "messageId": f"m-{body['requestId']}"}))
        await Pace(cast("asyncio.Transport", request.transport), self.load).done
        await response.write(_frame({"type": "finish", "finishReason": "stop"}) + b"data: [DONE]\n\n")
        return response


class Pace:
    """Writes an answer's tokens when they are due, by a timer and not a task."""

    def __init__(self, transport: asyncio.Transport, load: Load) -> None:
        self._transport, self._left, self._between_s = transport, iter(range(load.tokens)), 1 / load.rate
        self._loop = asyncio.get_running_loop()
        self._due_s = self._loop.time()
        self.done: asyncio.Future[None] = self._loop.create_future()
        self._write()

    def _write(self) -> None:
        number = next(self._left, None)
        if number is None or self._transport.is_closing():
            self.done.set_result(None)
            return
        delta = b"%d:%d " % (number, time.monotonic_ns())
        frame = b'data: {"type":"text-delta","id":"t","delta":"%s"}\n\n' % delta
        self._transport.write(b"%x\r\n%s\r\n" % (len(frame), frame))
        self._due_s += self._between_s
        self._loop.call_at(self._due_s, self._write)


def _frame(value: dict[str, Any]) -> bytes:
    return b"data: " + json.dumps(value).encode() + b"\n\n"
