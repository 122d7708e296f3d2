import asyncio
import contextlib
import json
from dataclasses import dataclass, field

import aiohttp


@dataclass
class Heard:
    """What came of a stream: the bytes, the JSON objects by their order, and their ids."""

    raw: bytes = b""
    frames: list = field(default_factory=list)
    ids: list = field(default_factory=list)
    done: bool = False
    cut: bool = False

    @property
    def kinds(self):
        return [frame["type"] for frame in self.frames]

    @property
    def text(self):
        return "".join(frame["delta"] for frame in self.frames if frame["type"] == "text-delta")


def hear(raw):
    heard = Heard(raw)
    for record in raw.decode(errors="replace").split("\n\n")[:-1]:
        said = dict(line.split(": ", 1) for line in record.split("\n") if not line.startswith(":"))
        if said.get("data") == "[DONE]":
            heard.done = True
        elif "data" in said:
            with contextlib.suppress(ValueError, RecursionError):
                heard.frames.append(json.loads(said["data"]))
                heard.ids.append(said.get("id"))
    return heard


class Caller:
    """Calls a backend over a real connection."""

    def __init__(self, session, backend):
        self.session = session
        self.backend = backend

    def post(self, path="/stream", headers=None, **body):
        said = {"roomId": 42, "requestId": "r1", "content": "Hi"} | body
        said = {name: value for name, value in said.items() if value is not None}
        url = f"{self.backend.base_url}/chat/messages{path}"
        return self.session.post(url, json=said, headers=headers, allow_redirects=False)

    async def stream(self, headers=None, **body):
        """Read a stream to its end."""
        raw = b""
        async with self.post(headers=headers, **body) as response:
            assert response.status == 200, await response.text()
            try:
                async for piece in response.content.iter_any():
                    raw += piece
            except (aiohttp.ClientPayloadError, OSError):
                cut = True
            else:
                cut = False
        heard = hear(raw)
        heard.cut = cut
        return heard

    async def leave(self, *, frames, headers=None, **body):
        """Read so many frames of a stream, then go away."""
        raw = b""
        async with self.post(headers=headers, **body) as response:
            async for piece in response.content.iter_any():
                raw += piece
                if len(hear(raw).frames) >= frames:
                    break
            response.close()
        return hear(raw)

    async def complete(self, headers=None, **body):
        async with self.post("", headers=headers, **body) as response:
            return response.status, await response.json()

    async def get(self, path):
        async with self.session.get(self.backend.base_url + path) as response:
            return response.status, await response.json()

    async def room(self, room="42", **query):
        asked = "&".join(f"{name}={value}" for name, value in query.items())
        _, page = await self.get(f"/chat/rooms/{room}/messages?{asked}")
        return page

    async def stored(self, count, room="42"):
        """Wait until so many messages of a room are stored and final."""
        return await self.rows(count, ("success", "error"), room)

    async def rows(self, count, statuses, room="42"):
        """Wait until so many messages of a room have one of the statuses."""
        async with asyncio.timeout(60):
            while len(rows := await self.now(statuses, room)) < count:
                await asyncio.sleep(0.01)
        return rows

    async def now(self, statuses, room="42"):
        """Return the messages of a room that have one of the statuses."""
        return [row for row in (await self.room(room))["messages"] if row["status"] in statuses]


async def until(holds):
    async with asyncio.timeout(60):
        while not holds():
            await asyncio.sleep(0.01)
