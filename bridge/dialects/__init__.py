"""The ways of speaking that the bridge understands, by name."""

from collections.abc import Callable, Mapping

from bridge.dialects.anthropic import Anthropic
from bridge.dialects.auto import Auto
from bridge.dialects.base import Dialect, Kind
from bridge.dialects.chat_completions import ChatCompletions
from bridge.dialects.responses import Responses
from bridge.dialects.role_delta import RoleDelta
from bridge.dialects.stream_event import StreamEvent
from bridge.dialects.token import Token
from bridge.dialects.ui_message import UiMessage

KINDS: tuple[Kind, ...] = (UiMessage, RoleDelta, Token, StreamEvent, ChatCompletions, Responses, Anthropic)


def _always(kind: Kind) -> Callable[[Mapping[str, str]], Dialect]:
    return lambda _: kind()


DIALECTS: dict[str, Callable[[Mapping[str, str]], Dialect]] = {
    "auto": lambda headers: Auto(KINDS, headers),
    **{kind.name: _always(kind) for kind in KINDS},
}
"""Makes a decoder for one stream, given the headers of its response."""
