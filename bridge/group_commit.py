"""Group commit: what the turns of a node append at one moment leaves in one round trip, until decided."""

import asyncio
import contextlib
from dataclasses import dataclass
from typing import Any

from bridge.errors import StoreUnavailable
from bridge.ports import Appended, Kept
from bridge.redis_client import ANSWER_S, BACK_OFF_S, TROUBLE, RedisClient, is_final

WAITING_LIMIT = 8192
SENT_AT_ONCE = 1024


@dataclass(slots=True, eq=False)
class _Waiting:
    turn_id: str
    arguments: list[Any]
    kept: asyncio.Future[Appended]


class GroupCommit:
    """Calls of the append script that wait for their answer; those of one turn are made in their order."""

    def __init__(self, client: RedisClient) -> None:
        self._redis = client
        self._waiting: list[_Waiting] = []
        self._wake, self._idle = asyncio.Event(), asyncio.Event()
        self._idle.set()
        self._sender: asyncio.Task[None] | None = None

    def __repr__(self) -> str:
        return f"<GroupCommit {len(self._waiting)} waiting>"

    def start(self) -> None:
        """Begin to send."""
        self._sender = asyncio.create_task(self._send_all(), name="group commit")

    async def close(self) -> None:
        """Send what waits, for a short time; who waits on is told that it will not be kept."""
        if self._sender is not None:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(ANSWER_S):
                    await self._idle.wait()
            self._sender.cancel()
            await asyncio.gather(self._sender, return_exceptions=True)
        for each in self._waiting:
            if not each.kept.done():
                each.kept.set_exception(StoreUnavailable("unable to keep a batch; the store was closed"))

    def append(self, turn_id: str, arguments: list[Any]) -> asyncio.Future[Appended]:
        """Have the append script called; see `Journal.append`."""
        kept: asyncio.Future[Appended] = asyncio.get_running_loop().create_future()
        if len(self._waiting) >= WAITING_LIMIT:
            kept.set_exception(StoreUnavailable("unable to keep a batch; too many wait already"))
            return kept
        self._waiting.append(_Waiting(turn_id, arguments, kept))
        self._idle.clear()
        self._wake.set()
        return kept

    async def _send_all(self) -> None:
        pause_s = BACK_OFF_S[0]
        while True:
            await self._wake.wait()
            sending = self._waiting[:SENT_AT_ONCE]
            if self._settle(sending, await self._answers(sending)):
                await asyncio.sleep(pause_s)
                pause_s = min(2 * pause_s, BACK_OFF_S[1])
            else:
                pause_s = BACK_OFF_S[0]
            if not self._waiting:
                self._wake.clear()
                self._idle.set()

    async def _answers(self, sending: list[_Waiting]) -> list[Any]:
        try:
            return await self._redis.pipeline("append", [each.arguments for each in sending])
        except TROUBLE:
            return [None] * len(sending)

    def _settle(self, sending: list[_Waiting], answers: list[Any]) -> int:
        """Answer those that were decided; return how many were not, which wait on in their order.

        Behind one without a decision the others of its turn wait too; other turns do not.
        """
        again: list[_Waiting] = []
        held_up: set[str] = set()
        for each, answer in zip(sending, answers, strict=True):
            if each.turn_id in held_up or answer is None or not is_final(answer):
                held_up.add(each.turn_id)
                again.append(each)
            elif not each.kept.done():
                _resolve(each.kept, answer)
        self._waiting[: len(sending)] = again
        return len(again)


def _resolve(kept: asyncio.Future[Appended], answer: Any) -> None:
    if isinstance(answer, Exception):
        kept.set_exception(StoreUnavailable(f"unable to keep a batch; {type(answer).__name__}"))
    else:
        kept.set_result(Appended(Kept(answer[0].decode()), bool(answer[1])))
