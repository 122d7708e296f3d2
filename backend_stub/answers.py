"""Running answers: one task makes each of them, and any number of callers read along."""

import asyncio
import logging
import uuid
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Protocol

from backend_stub.answer import Answer
from backend_stub.asks import Ask
from backend_stub.errors import HistoryError, Refused
from backend_stub.messages import Id, Message, utc_now
from backend_stub.model import Tokens
from backend_stub.tally import Tally

_RUNNING_LIMIT = 10_000
_Store = Callable[[Message], Awaitable[None]]
_log = logging.getLogger(__name__)


class Keeper(Protocol):
    """Where messages are kept; all calls raise `HistoryError` when they fail."""

    async def add(self, message: Message) -> None:
        """Store ``message`` unless its request has one of this role already."""
        ...

    async def put(self, message: Message) -> None:
        """Store ``message`` in the place of the one that its request has of this role, if any."""
        ...

    async def answer(self, room_id: Id, request_id: Id) -> Message | None:
        """Return the stored answer to a request."""
        ...


class Answers:
    """Gives each request its one answer: the running one, the stored one, or a new one.

    ``tokens`` makes a new one. An answer that no caller is attached to is stopped after ``grace_s``.
    """

    def __init__(
        self, keeper: Keeper, tally: Tally, tokens: Callable[[Ask], Tokens], *, grace_s: float
    ) -> None:
        self._keeper = keeper
        self._tokens = tokens
        self._tally = tally
        self._grace_s = grace_s
        self._running: dict[tuple[str, str], Answer] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._stopping = False

    @contextmanager
    def attached(self, ask: Ask, *, fail_after: int | None = None) -> Iterator[Answer]:
        """Give the answer to ``ask`` to a caller who stays inside this context while reading it.

        A new answer fails after ``fail_after`` tokens, if that is given.
        """
        answer = self._running.get(ask.key) or self._begin(ask, fail_after)
        answer.attach()
        try:
            yield answer
        finally:
            answer.detach(self._grace_s)

    async def stop(self, limit_s: float) -> None:
        """Stop every answer and store what there is of it, for at most ``limit_s`` seconds."""
        self._stopping = True
        for answer in self._running.values():
            answer.stop()
        if self._tasks:
            _, late = await asyncio.wait(self._tasks, timeout=limit_s)
            for task in late:
                task.cancel()
            await asyncio.gather(*late, return_exceptions=True)

    def _begin(self, ask: Ask, fail_after: int | None) -> Answer:
        if self._stopping or len(self._running) >= _RUNNING_LIMIT:
            raise Refused(503, "unavailable", "unable to begin an answer; the backend is stopping or full")
        answer = self._running[ask.key] = Answer(ask, fail_after=fail_after)
        task = asyncio.create_task(self._run(answer))
        self._tasks.add(task)
        task.add_done_callback(self._ended)
        return answer

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            _log.error("an answer ended on a defect", exc_info=error)

    async def _run(self, answer: Answer) -> None:
        ask = answer.ask
        try:
            stored = await self._keeper.answer(ask.room_id, ask.request_id)
        except HistoryError as error:
            answer.fail(error)
        else:
            if stored is None or stored.status == "pending":
                await self._make(answer, ask.message_id if stored is None else stored.message_id)
            else:
                answer.replay(stored if stored.status != "streaming" else _interrupted(stored))
        finally:
            del self._running[ask.key]  # from here on the database has it
            answer.release()

    async def _make(self, answer: Answer, message_id: Id) -> None:
        self._tally.of(answer.ask.request_id).answers += 1
        async with asyncio.TaskGroup() as group:
            group.create_task(self._follow(question(answer.ask), answer))
            await answer.generate(self._tokens(answer.ask), message_id)
        await self._keep(self._keeper.put, answer.message())

    async def _follow(self, prompt: Message, answer: Answer) -> None:
        await answer.started.wait()
        await self._keep(self._keeper.add, prompt)
        if not answer.over:
            await self._note(self._keeper.add, answer.draft("pending"))
        await answer.speaking.wait()
        if not answer.over:
            await self._note(self._keeper.put, answer.draft("streaming"))

    async def _keep(self, store: _Store, message: Message) -> None:
        try:
            await store(message)
        except HistoryError:
            self._tally.store_failures += 1
            _log.exception("a message was not stored")

    async def _note(self, store: _Store, message: Message) -> None:
        try:
            await store(message)
        except HistoryError as error:  # what is stored at the end of the answer makes up for it
            _log.warning("the status %s was not stored; %s", message.status, error)


def _interrupted(stored: Message) -> Message:
    return replace(stored, status="error", finish_reason="interrupted")


def question(ask: Ask) -> Message:
    """Return the message of the user that an answer is made to."""
    return Message(
        message_id=str(uuid.uuid4()),
        request_id=ask.request_id,
        room_id=ask.room_id,
        role="user",
        content=ask.content,
        created_at=utc_now(),
    )
