"""Group commit: what the turns of a node append at one moment leaves in one round trip, until decided."""

import asyncio
import contextlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any

from bridge.errors import StoreUnavailable
from bridge.ports import Appended, Kept
from bridge.redis_client import ANSWER_S, BACK_OFF_S, TROUBLE, RedisClient, is_final
from bridge.redis_line import RedisLine

WAITING_LIMIT = 8192
SENT_AT_ONCE = 1024
SENT_EARLY = 64
"""So many that wait leave at once: while a busy event loop makes its turn, Redis is at work on them, and its
answers are there when the turn is over. All of them at its end would be answered a whole turn later."""
ROUND_TRIPS = 16
"""So many may be under way: one alone would take as long as a turn of a busy event loop."""
GATHER_S, NODES_MINDED = 0.002, 4
"""Round trips are no closer than the first for each node that shares the server, of so many at most.

Where many turns append, each would else leave alone; and all nodes together ask no more than one would. It is
half a frame of a display at most, which nobody sees; but the first words of a turn do not wait.
"""

_APPENDED = {(each.value.encode(), stop): Appended(each, bool(stop)) for each in Kept for stop in (0, 1)}


@dataclass(slots=True, eq=False)
class _Waiting:
    turn_id: str
    arguments: list[Any]
    kept: asyncio.Future[Appended]


class GroupCommit:
    """Calls of the append script that wait for their answer; those of one turn are made in their order.

    What comes too soon behind a round trip shares the next. Where a call was not decided, no later round trip
    counts, and all of them are made again: the script knows by their numbers what it has kept already.
    ``along`` is given the line of each before it leaves: what it asks there, to gather, leaves with it.
    """

    def __init__(self, client: RedisClient, along: Callable[[RedisLine], None]) -> None:
        self.nodes = 1
        """How many share the server, this one among them."""
        self._redis = client
        self._along = along
        self._waiting: list[_Waiting] = []
        self._sent = self._undecided = 0  # of those at its front: are on their way, were not decided
        self._round_trips = 0
        self._line: RedisLine | None = None
        self._sha = ""
        self._opening: asyncio.Task[None] | None = None
        self._next: asyncio.Handle | None = None
        self._is_next_due = self._gathers = self._urgent = self._closed = False
        self._sent_at_s = 0.0
        self._pause_s = BACK_OFF_S[0]
        self._idle: asyncio.Future[None] | None = None

    def __repr__(self) -> str:
        return f"<GroupCommit {len(self._waiting)} waiting>"

    @cached_property
    def _loop(self) -> asyncio.AbstractEventLoop:
        return asyncio.get_running_loop()  # to ask for it each time costs a system call

    async def close(self) -> None:
        """Send what waits, for a short time; who waits on is told that it will not be kept."""
        if self._waiting:
            self._idle = self._loop.create_future()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(ANSWER_S):
                    await self._idle
        self._closed = True
        if self._next is not None:
            self._next.cancel()
        if self._opening is not None:
            self._opening.cancel()
            await asyncio.gather(self._opening, return_exceptions=True)
        if self._line is not None:
            await self._line.close()
        for each in self._waiting:
            if not each.kept.done():
                each.kept.set_exception(StoreUnavailable("unable to keep a batch; the store was closed"))

    def append(self, turn_id: str, arguments: list[Any], *, urgent: bool) -> asyncio.Future[Appended]:
        """Have the append script called, at once where it is ``urgent``; see `Journal.append`."""
        kept: asyncio.Future[Appended] = self._loop.create_future()
        if self._closed or len(self._waiting) >= WAITING_LIMIT:
            kept.set_exception(
                StoreUnavailable("unable to keep a batch; too many wait already, or the store was closed")
            )
            return kept
        self._waiting.append(_Waiting(turn_id, arguments, kept))
        self._urgent = self._urgent or urgent
        if len(self._waiting) - self._sent >= SENT_EARLY and self._can_send:
            if self._next is not None:
                self._next.cancel()
            self._send(at_once=True)
        elif not self._is_next_due:
            self._send_soon()
        elif urgent and self._gathers and self._next is not None:
            self._next.cancel()  # it is not due yet; one that is due stays where it is: many may be urgent
            self._send_soon()
        return kept

    @property
    def _can_send(self) -> bool:
        return self._line is not None and not self._line.lost and self._round_trips < ROUND_TRIPS

    def _send_soon(self) -> None:
        if self._round_trips < ROUND_TRIPS:
            apart_s = GATHER_S * min(self.nodes, NODES_MINDED)
            wait_s = 0.0 if self._urgent else self._sent_at_s + apart_s - self._loop.time()
            self._is_next_due, self._gathers = True, wait_s > 0
            self._send_in(wait_s)

    def _send_in(self, wait_s: float) -> None:
        loop = self._loop
        self._next = loop.call_later(wait_s, self._send) if wait_s > 0 else loop.call_soon(self._send)

    def _send(self, *, at_once: bool = False) -> None:
        self._gathers = False
        if self._line is None or self._line.lost:
            self._opening = self._loop.create_task(self._open(), name="group commit")
            return
        sending = self._waiting[self._sent : self._sent + SENT_AT_ONCE]
        self._sent += len(sending)
        self._round_trips += 1
        gather = self._urgent and not at_once  # the first words of a turn let others begin before they leave
        self._sent_at_s, self._urgent, self._is_next_due = self._loop.time(), False, False
        calls = [("EVALSHA", self._sha, 0, *each.arguments) for each in sending]
        self._along(self._line)
        self._line.exchange(calls, partial(self._answered, sending), gather=gather)
        if len(self._waiting) > self._sent and not self._is_next_due:
            self._send_soon()

    async def _open(self) -> None:
        """Make a connection and send, or try again later."""
        try:
            if self._line is not None:
                await self._line.close()
            self._line = None
            self._sha = await self._redis.sha("append", anew=True)
            self._line = await self._redis.line()
        except TROUBLE:
            self._send_later()
        else:
            self._send()

    def _send_later(self) -> None:
        self._send_in(self._pause_s)
        self._pause_s = min(2 * self._pause_s, BACK_OFF_S[1])

    def _answered(self, sending: list[_Waiting], answers: list[Any] | None) -> None:
        if self._closed:
            return
        self._round_trips -= 1
        self._settle(sending, answers or [None] * len(sending))
        if self._undecided:
            self._make_again()
            return
        self._pause_s = BACK_OFF_S[0]
        if len(self._waiting) > self._sent and not self._is_next_due:
            self._send_soon()
        elif not self._waiting and self._idle is not None and not self._idle.done():
            self._idle.set_result(None)

    def _make_again(self) -> None:
        """Make the calls that were not decided again, once nothing is under way any more."""
        if self._line is not None and not self._line.lost:
            self._line.lose()  # to a server that is no master any more, or has forgotten the script
        if not self._round_trips and self._sent:
            self._sent = self._undecided = 0
            if self._next is not None:
                self._next.cancel()
            self._is_next_due, self._gathers = True, False
            self._send_later()

    def _settle(self, sending: list[_Waiting], answers: list[Any]) -> None:
        """Answer those that were decided; the others wait on in their order.

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
        at = self._undecided
        self._waiting[at : at + len(sending)] = again
        self._undecided += len(again)
        self._sent -= len(sending) - len(again)


def _resolve(kept: asyncio.Future[Appended], answer: Any) -> None:
    if isinstance(answer, Exception):
        kept.set_exception(StoreUnavailable(f"unable to keep a batch; {type(answer).__name__}"))
    else:
        kept.set_result(_APPENDED[answer[0], answer[1]])
