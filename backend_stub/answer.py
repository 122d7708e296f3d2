"""One answer while it is made: its frames so far, and who waits for more of them."""

import asyncio

from backend_stub import frames, model
from backend_stub.asks import Ask
from backend_stub.errors import HistoryError
from backend_stub.frames import Frame
from backend_stub.messages import Message, utc_now

_BURST_TOKENS = 64  # so many without a pause, then the others have their turn


class Answer:
    """An answer to ``ask``; a generated one fails after ``fail_after`` tokens, if that is given."""

    def __init__(self, ask: Ask, *, fail_after: int | None = None) -> None:
        self.ask = ask
        self.started = asyncio.Event()
        """Set once a caller has the start of it, or nobody is left to get it."""
        self._fail_after = fail_after
        self._message: Message | None = None
        self._failure: HistoryError | None = None
        self._frames: list[Frame] = []
        self._more = asyncio.Event()
        self._stopped = asyncio.Event()
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
        self._stopped.set()

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

    async def frame(self, position: int) -> Frame | None:
        """Return the frame at ``position``, counted from 0, waiting for it; None behind the last one.

        Raises `HistoryError` when there is no answer at all.
        """
        while position >= len(self._frames) and self._message is None and self._failure is None:
            await self._more.wait()
        if self._failure is not None and not self._frames:
            raise HistoryError(str(self._failure))
        return self._frames[position] if position < len(self._frames) else None

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

    def replay(self, stored: Message) -> None:
        """Take everything from a ``stored`` answer."""
        self._push(frames.opening(stored.message_id))
        self._push(frames.deltas(model.split(stored.content)))
        self._end(stored)

    async def generate(self, nonce: str) -> None:
        """Make the answer at the pace that was asked for, until it ends, fails or is stopped."""
        pieces = model.compose(self.ask.content, nonce, self.ask.pace.tokens)
        planned = pieces if self._fail_after is None else pieces[: self._fail_after]
        self._push(frames.opening(self.ask.message_id))
        made = await self._tick(planned)
        whole = "stop" if self._fail_after is None else "error"
        finish_reason = whole if made == len(planned) else "cancelled"
        self._end(self._assistant("".join(planned[:made]), finish_reason))

    async def _tick(self, planned: tuple[str, ...]) -> int:
        now_s = asyncio.get_running_loop().time
        began_s = now_s()
        for position, piece in enumerate(planned):
            if await self._stops_within(began_s + self.ask.pace.due_s(position) - now_s(), position):
                return position
            self._push(frames.deltas((piece,)))
        return len(planned)

    async def _stops_within(self, rest_s: float, position: int) -> bool:
        if rest_s > 0:
            try:
                async with asyncio.timeout(rest_s):
                    await self._stopped.wait()
            except TimeoutError:
                pass
        elif position % _BURST_TOKENS == 0:
            await asyncio.sleep(0)
        return self._stopped.is_set()

    def _assistant(self, content: str, finish_reason: str) -> Message:
        ask = self.ask
        return Message(
            message_id=ask.message_id,
            request_id=ask.request_id,
            room_id=ask.room_id,
            role="assistant",
            content=content,
            created_at=utc_now(),
            finish_reason=finish_reason,
        )

    def _push(self, values: list[dict[str, object]]) -> None:
        for value in values:
            number = len(self._frames) + 1
            self._frames.append(Frame(str(value["type"]), frames.record(value, number)))
        self._wake()

    def _end(self, message: Message) -> None:
        self._push(frames.closing(message.finish_reason or "stop"))
        self._frames.append(frames.DONE)
        self._message = message
        self._wake()

    def _wake(self) -> None:
        self._more.set()
        self._more = asyncio.Event()
