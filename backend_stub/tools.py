"""The one tool of the model, which tells a weather that is decided by the name of the city."""

import hashlib
import json
import re
import zlib
from dataclasses import dataclass
from typing import Any, Literal

from backend_stub.messages import Id

ToolUse = Literal["none", "run", "call"]
"""What a turn does with tools: nothing, run them before its text, or end on a call that the caller runs."""

_ASKED = re.compile(r"(?<![a-z])weather(?![a-z])", re.IGNORECASE)
_CITY = re.compile(r"(?<!\w)in\s+([^\W\d_][\w-]*)", re.IGNORECASE)
_USUAL_CITY = "Seoul"
_SKIES = ("clear", "cloudy", "rainy", "windy")


@dataclass(frozen=True, slots=True)
class ToolCall:
    """One use of the tool; ``call_id`` has no prefix, which each API has its own of."""

    call_id: str
    city: str
    name: str = "get_weather"

    @property
    def arguments(self) -> dict[str, Any]:
        """What the tool is called with."""
        return {"city": self.city}

    @property
    def argument_pieces(self) -> tuple[str, ...]:
        """The JSON of the arguments, in the pieces that it streams in."""
        text = json.dumps(self.arguments, ensure_ascii=False, separators=(",", ":"))
        third = len(text) // 3
        return text[:third], text[third : 2 * third], text[2 * third :]

    @property
    def result(self) -> dict[str, Any]:
        """What the tool gives; always the same for a city."""
        figure = zlib.crc32(self.city.lower().encode())
        return {"city": self.city, "celsius": figure % 40 - 5, "sky": _SKIES[figure % len(_SKIES)]}


def tool_call(content: str, message_id: Id) -> ToolCall | None:
    """Return the tool's use that the prompt ``content`` asks for in the answer ``message_id``, if any."""
    if not _ASKED.search(content):
        return None
    city = _CITY.search(content)
    call_id = hashlib.sha256(str(message_id).encode()).hexdigest()[:24]
    return ToolCall(call_id, city[1] if city else _USUAL_CITY)
