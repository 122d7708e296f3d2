"""A device as a lean Engine.IO client: it comes back by itself, resumes, and logs what it heard."""

import asyncio
import contextlib
import itertools
import json

import aiohttp

from tests.cluster.judge import ANSWER, CHUNK, END, START, Heard, Story

HANDSHAKE_S, ACK_S = 3.0, 8.0
BACK_OFF_S = (0.05, 0.2)
EVENTS = {
    "ai_message_start": START,
    "ai_message_chunk": CHUNK,
    "ai_message_end": END,
    "new_message": ANSWER,
}
TROUBLE = (aiohttp.ClientError, OSError, TimeoutError, TypeError, ConnectionError)


class Device:
    """A device in ``room``; ``pick`` chooses the node of each of its connections, ``now`` is the clock."""

    def __init__(self, name, room, session, pick, chance):
        self.name, self.room = name, room
        self.heard, self.presence = [], []
        self.node = None
        self.connections = 0
        self.caught_up = []
        """(seconds from its wish to join until it was in, chunks in one replay) of each join"""
        self._session, self._pick, self._chance = session, pick, chance
        self._seqs, self._ended = {}, set()
        self._acks, self._next_ack = {}, itertools.count()
        self._ws = None
        self._since_s = self._left_at_s = None
        self._away_s = 0.0
        self._changed = asyncio.Event()
        self._task = asyncio.create_task(self._live(), name=f"device {name}")

    @property
    def there(self):
        """True while it is in its room."""
        return self._since_s is not None

    @property
    def story(self):
        return Story(self.name, self.room, self.heard, self.presence, self._left_at_s)

    async def leave(self, *, early=False):
        """Go for good; ``early``: while others stay."""
        if early:
            self._left_at_s = asyncio.get_running_loop().time()
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)

    def drop(self, away_s=0.0):
        """Cut its connection as a network would; it comes back after ``away_s``."""
        self._away_s = away_s
        if self._ws is not None:
            self._ws._writer.transport.abort()

    async def ask(self, event, **fields):
        """Return the ack of an event, None when there was none: then it may have arrived or not."""
        ws, number = self._ws, next(self._next_ack)
        if ws is None:
            return None
        answer = self._acks[number] = asyncio.get_running_loop().create_future()
        said = json.dumps([event, {"roomId": self.room, **fields}])
        try:
            await ws.send_str(f"42{number}{said}")
            async with asyncio.timeout(ACK_S):
                return await answer
        except TROUBLE:
            return None
        finally:
            self._acks.pop(number, None)

    async def until(self, holds, within_s):
        """Wait until ``holds()``; return whether it did in time."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(within_s):
                while not holds():
                    self._changed.clear()
                    await self._changed.wait()
        return holds()

    @property
    def running(self):
        """How many turns it has heard the start of, and no end."""
        return len(self._seqs)

    def has_ended(self, request):
        return request in self._ended

    async def _live(self):
        while True:
            with contextlib.suppress(*TROUBLE):
                await self._connect(self._pick(self._chance))
            away_s, self._away_s = self._away_s, 0.0
            await asyncio.sleep(away_s + self._chance.uniform(*BACK_OFF_S))

    async def _connect(self, node):
        self.connections += 1
        address = f"{node.address}/socket.io/?EIO=4&transport=websocket"
        async with asyncio.timeout(HANDSHAKE_S) as deadline:
            async with self._session.ws_connect(address, max_msg_size=0, compress=0) as ws:
                await ws.receive_str()
                await ws.send_str("40")
                await ws.receive_str()
                deadline.reschedule(None)
                self._ws, self.node = ws, node.name
                joining = asyncio.create_task(self._join(ws))
                try:
                    await self._hear(ws)
                finally:
                    self._lose(joining)
                    await asyncio.gather(joining, return_exceptions=True)

    async def _join(self, ws):
        now = asyncio.get_running_loop().time
        resume = {message: seq for message, (_, seq) in self._seqs.items()}
        known, began_s = len(self.heard), now()
        ack = await self.ask("join_room", resume=resume)
        if ack is None or not ack["ok"]:
            await asyncio.sleep(0.2)
            ws._writer.transport.abort()
        else:
            self._since_s = now()
            replayed = [heard for heard in self.heard[known:] if heard.event == CHUNK]
            self.caught_up += [
                (now() - began_s, heard.seq - (heard.from_seq or heard.seq) + 1) for heard in replayed
            ]
            self._changed.set()

    def _lose(self, joining):
        joining.cancel()
        if self._since_s is not None:
            self.presence.append((self._since_s, asyncio.get_running_loop().time()))
        self._ws = self._since_s = None
        for answer in self._acks.values():
            if not answer.done():
                answer.set_exception(ConnectionError("the connection was lost"))

    async def _hear(self, ws):
        now = asyncio.get_running_loop().time
        async for message in ws:
            text = message.data
            if text == "2":
                await ws.send_str("3")
            elif text.startswith("42"):
                self._take(now(), *json.loads(text[2:]))
                self._changed.set()
            elif text.startswith("43"):
                start = text.index("[")
                answer = self._acks.get(int(text[2:start]))
                if answer is not None and not answer.done():
                    answer.set_result(json.loads(text[start:])[0])

    def _take(self, at_s, event, data):
        if event not in EVENTS or data.get("role") == "user":
            return
        request, message = data["requestId"], data["messageId"]
        self.heard.append(
            Heard(
                at_s,
                self.connections,
                self.node,
                EVENTS[event],
                request,
                message,
                data["roomId"],
                data.get("seq", 0),
                data.get("fromSeq", 0),
                data.get("delta") or data.get("content") or "",
                data.get("finishReason", ""),
            )
        )
        self._follow(EVENTS[event], request, message, data.get("seq", 0))

    def _follow(self, event, request, message, seq):
        """Keep what is to be resumed: the running turns, and the last seq of each."""
        if event == END:
            self._ended.add(request)
            self._seqs.pop(message, None)
        elif event != ANSWER and request not in self._ended:
            self._seqs[message] = (request, max(seq, self._seqs.get(message, (request, 0))[1]))
