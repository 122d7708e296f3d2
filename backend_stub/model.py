"""The built-in model: text that is decided by the prompt and a nonce, token by token."""

import asyncio
import itertools
import math
import random
import re
from collections.abc import AsyncGenerator
from dataclasses import dataclass
from typing import Any, Protocol

TOKENS_LIMIT = 20_000
"""The longest answer, in tokens."""
TOKENS_PER_S_LIMIT = 100_000
"""The fastest pace that is no longer called "as fast as possible", which is 0."""
FIRST_TOKEN_S_LIMIT = 600
"""The longest wait for a first token, in seconds."""

_EXCERPT_CHARS = 400
_BURST_TOKENS = 64  # so many without a pause, then the others have their turn
_TOKEN = re.compile(r"\A\[call \w+\]|\s*\S+|\s+")
_OPENING = " 안녕하세요 👋 You wrote:"
_BODY = (
    "\n\nÜber genau diese Frage denke ich gerne nach. 🙂"
    " 이 답변은 한 조각씩 도착합니다."
    "\nEach piece should show on every device as soon as it is made."
    "\n\n좋은 질문이네요! Größe, Länge und Wärme bleiben erhalten. 🚀"
    " Nothing here is clever, and all of it is checked."
)


Tokens = AsyncGenerator[str, None]
"""The tokens of one answer as they come; whoever takes them closes it."""


class Model(Protocol):
    """A model that stands in the place of the built-in one."""

    @property
    def name(self) -> str:
        """What it is called when the backend starts."""
        ...

    async def check(self) -> None:
        """Raise `StartError` when it is not to be had."""
        ...

    def pieces(self, content: str) -> Tokens:
        """Yield the tokens of the answer to ``content``; raise a `StubError` when it fails."""
        ...

    async def close(self) -> None:
        """Let go of its connections."""
        ...


@dataclass(frozen=True, slots=True)
class Pace:
    """How an answer comes: its length in tokens, its speed, and the wait before the first token.

    ``tokens_per_s`` 0 means as fast as possible. Raises `ValueError` when a figure is out of bounds.
    """

    tokens: int = 60
    tokens_per_s: float = 50.0
    first_token_s: float = 0.2

    def __post_init__(self) -> None:
        if not isinstance(self.tokens, int) or isinstance(self.tokens, bool):
            raise ValueError("tokens must be a whole number")  # noqa: TRY004 - one error for each bad figure
        _check("tokens", self.tokens, 1, TOKENS_LIMIT)
        _check("tokens per second", self.tokens_per_s, 0, TOKENS_PER_S_LIMIT)
        _check("seconds to the first token", self.first_token_s, 0, FIRST_TOKEN_S_LIMIT)

    def due_s(self, position: int) -> float:
        """Return when the token at ``position`` is due, in seconds since the answer began."""
        spacing_s = 1 / self.tokens_per_s if self.tokens_per_s else 0.0
        return self.first_token_s + position * spacing_s


def _check(name: str, value: Any, low: float, high: float) -> None:
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if not number or math.isnan(value) or not low <= value <= high:
        raise ValueError(f"{name} must be a number from {low} to {high}")


def new_nonce() -> str:
    """Return four letters or digits that tell one generated answer from another."""
    return "".join(random.choices("0123456789abcdefghijklmnopqrstuvwxyz", k=4))


def compose(content: str, nonce: str, tokens: int) -> tuple[str, ...]:
    """Return the answer to ``content`` as exactly ``tokens`` pieces; their join is the text."""
    excerpt = " ".join(content[:_EXCERPT_CHARS].split())
    opening = split(f"[call {nonce}]{_OPENING} “{excerpt}”.")
    endless = itertools.chain(opening, itertools.cycle(split(_BODY)))
    return tuple(itertools.islice(endless, tokens))


async def paced(tokens: tuple[str, ...], pace: Pace) -> Tokens:
    """Yield ``tokens``, each when it is due."""
    now_s = asyncio.get_running_loop().time
    began_s = now_s()
    for position, token in enumerate(tokens):
        rest_s = began_s + pace.due_s(position) - now_s()
        if rest_s > 0 or position % _BURST_TOKENS == 0:
            await asyncio.sleep(max(0, rest_s))
        yield token


def split(text: str) -> tuple[str, ...]:
    """Return the tokens that ``text`` was made of, so that a stored answer is replayed as it first came."""
    return tuple(_TOKEN.findall(text))
