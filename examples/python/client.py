"""Ask in a room and print the answer as it grows; a lost connection is made anew and nothing is lost.

pip install "python-socketio[asyncio_client]"
python examples/python/client.py "What is the sea?" [--room demo] [--address http://127.0.0.1:8080]
"""

import argparse
import asyncio
import sys
import uuid
from typing import Any

import socketio


class Answer:
    """Asks once and prints each piece once: chunks count from 1, and only the next one is taken."""

    def __init__(self, room: str, content: str) -> None:
        self._sio = socketio.AsyncClient(reconnection_delay=0.5)
        self._question = {"roomId": room, "content": content, "requestId": str(uuid.uuid4())}
        self._position: dict[str, int] = {}  # the message, and the last seq of it
        self._text = ""
        self._over: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self._sio.on("connect", self._connected)
        self._sio.on("disconnect", self._lost)
        self._sio.on("ai_message_chunk", self._chunk)
        self._sio.on("ai_message_end", self._end)
        self._sio.on("new_message", self._whole)

    async def print_from(self, address: str) -> str:
        """Print the answer and return its finish reason; raises `RuntimeError` when the bridge refuses."""
        await self._sio.connect(address, auth={"streaming": True}, transports=["websocket"])
        try:
            return await self._over
        finally:
            await self._sio.disconnect()

    def _connected(self) -> None:
        self._sio.start_background_task(self._ask)

    def _lost(self, _why: str) -> None:
        if not self._over.done():
            print("[connection lost]", file=sys.stderr, flush=True)

    async def _ask(self) -> None:
        """Join behind what was heard, and ask; after a reconnection again: one request makes one answer."""
        try:
            joined = {"roomId": self._question["roomId"], "resume": self._position}
            for event, data in (("join_room", joined), ("send_message", self._question)):
                ack = await self._sio.call(event, data)
                if not ack["ok"]:
                    self._over.set_exception(RuntimeError(ack["error"]["message"]))
                    return
        except socketio.exceptions.SocketIOError:
            pass  # the connection was lost again; the next one asks

    async def _chunk(self, data: dict[str, Any]) -> None:
        if data["requestId"] != self._question["requestId"]:
            return
        message_id, seq = data["messageId"], self._position.get(data["messageId"], 0)
        if data.get("fromSeq", data["seq"]) == seq + 1:
            self._position = {message_id: data["seq"]}
            self._print(data["delta"])
        elif data["seq"] > seq:
            await self._sio.emit("resume", {"roomId": data["roomId"], "messageId": message_id, "seq": seq})

    def _end(self, data: dict[str, Any]) -> None:
        if data["requestId"] == self._question["requestId"] and not self._over.done():
            self._print(data["content"].removeprefix(self._text) + "\n")
            self._over.set_result(data["finishReason"])

    def _whole(self, data: dict[str, Any]) -> None:
        """Take an answer that was not streamed: the flag is off."""
        if data["role"] == "assistant":
            self._end({**data, "finishReason": "stop"})

    def _print(self, text: str) -> None:
        self._text += text
        print(text, end="", flush=True)


async def main() -> None:
    """Read the arguments, ask, print."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("content")
    parser.add_argument("--room", default="demo")
    parser.add_argument("--address", default="http://127.0.0.1:8080")
    given = parser.parse_args()
    try:
        reason = await Answer(given.room, given.content).print_from(given.address)
    except RuntimeError as refused:
        sys.exit(str(refused))
    print(f"[{reason}]", file=sys.stderr)


if __name__ == "__main__":
    asyncio.run(main())
