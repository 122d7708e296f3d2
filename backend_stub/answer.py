"""One answer while it is made: its pieces so far, and who waits for more of them."""

import asyncio
import logging
from collections.abc import Iterable, Sequence
from contextlib import aclosing
from dataclasses import replace

from backend_stub import model
from backend_stub.asks import Ask
from backend_stub.errors import HistoryError, ModelError, StubError
from backend_stub.messages import Id, Message, Status, utc_now
from backend_stub.model import Tokens
from backend_stub.pieces import (
    WELL,
    Ended,
    Opened,
    Piece,
    Text,
    TextStarted,
    ToolCalled,
    ToolResult,
    ToolStarted,
)
from backend_stub.tools import ToolCall, tool_call

_log = logging.getLogger(__name__)


class Answer:
    """An answer to ``ask``; a generated one fails after ``fail_after`` tokens, if that is given."""

    def __init__(self, ask: Ask, *, fail_after: int | None = None) -> None:
        self.ask = ask
        self.started = asyncio.Event()
        """Set once a caller has the start of it, or nobody is left to get it."""
        self.speaking = asyncio.Event()
        """Set once it has text, or has ended without."""
        self._fail_after = fail_after
        self._draft: Message | None = None
        self._message: Message | None = None
        self._failure: HistoryError | None = None
        self._pieces: list[Piece] = []
        self._texts: list[str] = []
        self._more = asyncio.Event()
        self._stopped = False
        self._scope: asyncio.Timeout | None = None
        self._readers = 0
        self._grace: asyncio.TimerHandle | None = None

    def attach(self) -> None:
        """Count one more caller."""
        self._readers += 1
        if self._grace is not None:
            self._grace.cancel()
            self._grace = None

    def detach(self, grace_s: float) -> None:
        """Count one caller less; once there is none for ``grace_s`` seconds, the answer is stopped."""
        self._readers -= 1
        if self._readers == 0:
            self.started.set()
            if self._message is None:
                self._grace = asyncio.get_running_loop().call_later(grace_s, self.stop)

    def stop(self) -> None:
        """Make no more tokens; an answer that has not ended yet is cancelled."""
        self.started.set()
        if self._scope is not None and not self._stopped:
            self._scope.reschedule(asyncio.get_running_loop().time())
        self._stopped = True

    def release(self) -> None:
        """Take leave of an answer whose task is over: its timer ends, and nobody waits for it any more."""
        if self._message is None and self._failure is None:
            self.fail(HistoryError("unable to finish the answer; it was given up"))
        if self._grace is not None:
            self._grace.cancel()
            self._grace = None

    def fail(self, failure: HistoryError) -> None:
        """Give every caller ``failure`` in the place of an answer."""
        self._failure = failure
        self._wake()

    @property
    def over(self) -> bool:
        """Whether it has ended."""
        return self._message is not None

    @property
    def pieces(self) -> Sequence[Piece]:
        """The pieces so far."""
        return self._pieces

    async def piece(self, position: int) -> Piece | None:
        """Return the piece at ``position``, counted from 0, waiting for it; None behind the last one.

        Raises `HistoryError` when there is no answer at all.
        """
        while position >= len(self._pieces) and self._message is None and self._failure is None:
            await self._more.wait()
        if self._failure is not None and not self._pieces:
            raise HistoryError(str(self._failure))
        return self._pieces[position] if position < len(self._pieces) else None

    async def ended(self) -> Message:
        """Return the whole message, waiting for it; raise `HistoryError` when there is no answer at all."""
        while self._message is None and self._failure is None:
            await self._more.wait()
        if self._failure is not None:
            raise HistoryError(str(self._failure))
        return self.message()

    def message(self) -> Message:
        """Return the message of an answer that has ended."""
        if self._message is None:
            raise RuntimeError("this answer has not ended")
        return self._message

    def draft(self, status: Status) -> Message:
        """Return the message of an answer on its way, which has no content until its end."""
        if self._draft is None:
            raise RuntimeError("this answer has not begun")
        return replace(self._draft, status=status)

    def replay(self, stored: Message) -> None:
        """Take everything from a ``stored`` answer."""
        self._push(Opened(stored.message_id, stored.created_at))
        call = tool_call(self.ask.content, stored.message_id)
        if call is not None and self.ask.tool_use == "run":
            self._push(*_called(call), ToolResult(call))
        self._push(TextStarted(), *map(Text, _tokens(stored)))
        if call is not None and stored.finish_reason == "tool-calls":
            self._push(*_called(call))
        self._end(stored)

    async def generate(self, tokens: Tokens, message_id: Id) -> None:
        """Make the answer of ``tokens`` until they end, or fail, or it is stopped."""
        self._draft = draft = self._begun(message_id)
        self._push(Opened(draft.message_id, draft.created_at))
        finish_reason, failure = await self._take(tokens, tool_call(self.ask.content, message_id))
        ended = replace(
            draft,
            content="".join(self._texts),
            finish_reason=finish_reason,
            status="success" if finish_reason in WELL else "error",
            lengths=_lengths(self._texts),
        )
        self._end(ended, failure)

    async def _take(self, tokens: Tokens, call: ToolCall | None) -> tuple[str, str]:
        try:
            async with asyncio.timeout(None) as self._scope:
                if self._stopped:
                    self._scope.reschedule(asyncio.get_running_loop().time())
                await self._run_tool(call)
                await self._take_text(tokens)
        except TimeoutError:
            return ("cancelled" if self._stopped else "error"), ""
        except StubError as error:
            return "error", str(error)
        except Exception:  # noqa: BLE001 - whatever it is, the answer ends and is stored
            _log.exception("the model failed on a defect")
            return "error", ""
        finally:
            self._scope = None
        if call is None or self.ask.tool_use != "call":
            return "stop", ""
        self._push(*_called(call))
        return "tool-calls", ""

    async def _run_tool(self, call: ToolCall | None) -> None:
        if call is not None and self.ask.tool_use == "run":
            self._push(*_called(call))
            try:
                await asyncio.sleep(self.ask.pace.first_token_s / 2)
            finally:  # the tool comes to its end, whoever stops the answer
                self._push(ToolResult(call), TextStarted())
        else:
            self._push(TextStarted())

    async def _take_text(self, tokens: Tokens) -> None:
        async with aclosing(tokens):
            self._fail_when_due()
            async for token in tokens:
                self._texts.append(token)
                self._push(Text(token))
                self.speaking.set()
                self._fail_when_due()
        if self._fail_after is not None:
            raise ModelError

    def _fail_when_due(self) -> None:
        if len(self._texts) == self._fail_after:
            raise ModelError

    def _begun(self, message_id: Id) -> Message:
        return Message(
            message_id=message_id,
            request_id=self.ask.request_id,
            room_id=self.ask.room_id,
            role="assistant",
            content="",
            created_at=utc_now(),
        )

    def _push(self, *pieces: Piece) -> None:
        self._pieces.extend(pieces)
        self._wake()

    def _end(self, message: Message, failure: str = "") -> None:
        self._pieces.append(Ended(message.finish_reason or "stop", message.content, failure))
        self._message = message
        self.speaking.set()
        self._wake()

    def _wake(self) -> None:
        self._more.set()
        self._more = asyncio.Event()


def _called(call: ToolCall) -> tuple[Piece, Piece]:
    return ToolStarted(call), ToolCalled(call)


def _tokens(stored: Message) -> Iterable[str]:
    if stored.lengths is None:
        yield from model.split(stored.content)
        return
    place = 0
    for length in stored.lengths:
        yield stored.content[place : place + length]
        place += length


def _lengths(texts: Sequence[str]) -> tuple[int, ...] | None:
    if model.split("".join(texts)) == tuple(texts):
        return None
    return tuple(map(len, texts))
