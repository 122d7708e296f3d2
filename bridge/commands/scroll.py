"""What a room hears, as text for a terminal. No I/O, no clock."""

import json
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

GROWING = 64
"""So many answers may grow at once; of one more the eldest is left to its end."""
WAITING = 256
"""So many messages may wait for the answer that grows; of more the eldest are left out."""
_JOINERS = "\u200c\u200d"
"""Not printable and harmless: they hold scripts and emoji together."""


@dataclass(slots=True)
class _Growing:
    seq: int = 0
    text: str = ""


@dataclass(slots=True)
class Scroll:
    """Writes the messages of a room with ``write``.

    ``live``: an answer is written as it grows, one at a time; what else comes waits until it is complete.
    Otherwise each message is one line, once it is complete, and JSON if so wanted.
    """

    write: Callable[[str], None]
    live: bool
    as_json: bool = False
    _growing: dict[str, _Growing] = field(default_factory=dict)
    _front: str | None = None
    _waiting: deque[str] = field(default_factory=lambda: deque(maxlen=WAITING))

    def hear(self, name: str, data: dict[str, Any]) -> None:
        """Take one message, by the name and the fields of the wire contract."""
        message_id = str(data.get("messageId"))
        match name:
            case "ai_message_chunk":
                self._grow(message_id, data)
            case "new_message" | "ai_message_end":
                self._complete(message_id, data)
            case "lost":
                self._lose(message_id)

    def _grow(self, message_id: str, chunk: dict[str, Any]) -> None:
        if message_id not in self._growing and len(self._growing) >= GROWING:
            del self._growing[next(each for each in self._growing if each != self._front)]
        growing = self._growing.setdefault(message_id, _Growing())
        seq = int(chunk["seq"])
        if int(chunk.get("fromSeq", seq)) != growing.seq + 1:
            return  # heard before, or a part is missing: the end has all of it
        growing.seq = seq
        growing.text += str(chunk["delta"])
        if message_id == self._front:
            self.write(clean(str(chunk["delta"])))
        elif self._front is None and self.live:
            self._show(message_id)

    def _show(self, message_id: str) -> None:
        self._front = message_id
        self.write(f"assistant: {clean(self._growing[message_id].text)}")

    def _complete(self, message_id: str, data: dict[str, Any]) -> None:
        growing = self._growing.pop(message_id, _Growing())
        if message_id == self._front:
            self._finish(growing.text, data)
        elif self._front is None:
            self.write(self._line(data))
        else:
            self._waiting.append(self._line(data))

    def _finish(self, shown: str, data: dict[str, Any]) -> None:
        content = str(data.get("content"))
        goes_on = content.startswith(shown)
        rest = clean(content[len(shown) :]) if goes_on else f"\n[the backend's text is] {clean(content)}"
        self._go_on(f"{rest}{_how(data)}\n")

    def _lose(self, message_id: str) -> None:
        self._growing.pop(message_id, None)
        if message_id == self._front:
            self._go_on(" [lost]\n")

    def _go_on(self, last: str) -> None:
        """Write the ``last`` of the answer in front, all that waited for it, and the next that grows."""
        self._front = None
        self.write(last + "".join(self._waiting))
        self._waiting.clear()
        eldest = next((each for each, growing in self._growing.items() if growing.text), None)
        if eldest is not None:
            self._show(eldest)

    def _line(self, data: dict[str, Any]) -> str:
        if self.as_json:
            named = (
                "messageId",
                "requestId",
                "roomId",
                "role",
                "content",
                "createdAt",
                "finishReason",
                "error",
            )
            said = {"role": "assistant", **data}
            return json.dumps({name: said[name] for name in named if name in said}) + "\n"
        text = clean(str(data.get("content")))
        role = clean(str(data.get("role", "assistant")))
        return f"{role}: {text if self.live else ' '.join(text.split())}{_how(data)}\n"


def clean(text: str) -> str:
    """Return ``text`` without what would steer a terminal."""
    return "".join(
        each if each.isprintable() or each in "\n\t" + _JOINERS else "\N{REPLACEMENT CHARACTER}"
        for each in text
    )


def _how(data: dict[str, Any]) -> str:
    reason = str(data.get("finishReason", "stop"))
    return "" if reason == "stop" else f" [{clean(reason)}]"
