"""All servers that share the Redis, bridges and Node servers alike, asked and ordered as if they were one.

Every server answers for its own clients, this one too: its door hears what is asked here. An answer that
does not come is `AnswersMissing`, never a shorter list.
"""

import asyncio
import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from bridge import node_answers, node_requests
from bridge.errors import AnswersMissing, StoreUnavailable
from bridge.node_answers import Acked, Answer, Counted, Found, Named, Said, Socket, first
from bridge.node_cluster import (
    Asking,
    Channels,
    Disconnect,
    Emit,
    EmitWithAck,
    Join,
    Leave,
    Request,
    Room,
    Selection,
    ServerSideEmit,
    WantRooms,
    WantSockets,
)
from bridge.node_requests import number_in
from bridge.ports import Inbox
from bridge.redis_client import RedisClient

WITHIN_S = 5.0
"""How long answers are waited for; Node servers wait as long."""
QUESTIONS_LIMIT = 1000
"""So many questions may be open; beyond it none is asked."""

Rooms = Sequence[Room]


@dataclass(slots=True)
class _Question:
    """Waits for an answer of each of ``servers``, and for one of each client that they count."""

    servers: int
    answers: list[Answer] = field(default_factory=list)
    complete: asyncio.Event = field(default_factory=asyncio.Event)

    def take(self, answer: Answer) -> None:
        self.answers.append(answer)
        clients = sum(each.clients for each in self.answers if isinstance(each, Counted))
        if len(self.answers) >= self.servers + clients:
            self.complete.set()


class Everywhere:
    """Asks under the name ``uid``, through ``inbox``: behind all that this node has emitted and ordered.

    ``answered`` is given the number of a callback and what a client of a Node server acknowledged with.
    Where no rooms are named, all clients are meant. Raises `AnswersMissing`, `ClusterMalformed` for what
    cannot be said, and `StoreUnavailable`.
    """

    def __init__(
        self,
        client: RedisClient,
        inbox: Inbox,
        channels: Channels,
        uid: str,
        answered: Callable[[int, tuple[Any, ...]], None],
    ) -> None:
        self.uid = uid
        self._redis = client
        self._inbox = inbox
        self._channels = channels
        self._answered = answered
        self._numbers = itertools.count(1)
        self._open: dict[str, _Question] = {}

    # -- questions

    async def sockets(
        self, rooms: Rooms = (), apart: Rooms = (), *, within_s: float = WITHIN_S
    ) -> list[Socket]:
        """Return the clients that are in any of ``rooms``, but in none of ``apart``."""
        asked = WantSockets(Selection((*rooms,), (*apart,)), whole=True)
        answers = await self._ask("who is in a room", asked, within_s)
        return [socket for each in answers if isinstance(each, Found) for socket in each.sockets]

    async def rooms(self, *, within_s: float = WITHIN_S) -> set[Room]:
        """Return every room that a client is in; each client's own id is one."""
        answers = await self._ask("which rooms there are", WantRooms(), within_s)
        return {room for each in answers if isinstance(each, Named) for room in each.rooms}

    async def emit_with_ack(
        self, event: str, *arguments: Any, rooms: Rooms = (), apart: Rooms = (), within_s: float = WITHIN_S
    ) -> list[Any]:
        """Emit, and return what every client acknowledged with: its first argument, or None."""
        emit = Emit(event, arguments, Selection((*rooms,), (*apart,)))
        answers = await self._ask("an emit", EmitWithAck(emit, within_s), within_s)
        return [first(each) for each in answers if isinstance(each, Acked)]

    async def ask_servers(self, event: str, *arguments: Any, within_s: float = WITHIN_S) -> list[Any]:
        """Return what all other servers answer; None of a bridge, which has no word for it."""
        asked = ServerSideEmit((event, *arguments))
        answers = await self._ask("a word to servers", asked, within_s, but=1)
        return [each.data for each in answers if isinstance(each, Said)]

    # -- orders

    def tell_servers(self, event: str, *arguments: Any) -> None:
        """Say something to all other servers, who answer nothing."""
        self._say(ServerSideEmit((event, *arguments)))

    def join(self, into: Rooms, rooms: Rooms = (), apart: Rooms = ()) -> None:
        """Let clients into the rooms ``into``."""
        self._say(Join(Selection((*rooms,), (*apart,)), (*into,)))

    def leave(self, out_of: Rooms, rooms: Rooms = (), apart: Rooms = ()) -> None:
        """Let clients out of the rooms ``out_of``."""
        self._say(Leave(Selection((*rooms,), (*apart,)), (*out_of,)))

    def disconnect(self, rooms: Rooms = (), apart: Rooms = ()) -> None:
        """Disconnect clients."""
        self._say(Disconnect(Selection((*rooms,), (*apart,))))

    # -- answers

    def take(self, data: bytes) -> None:
        """Take what came as an answer, to us or to others. Raises `ClusterMalformed`."""
        if self.uid.encode() not in data:  # every request id of ours begins with it
            return
        found = node_answers.read_answer(data)
        if found is None:
            return
        request_id, answer = found
        question = self._open.get(request_id)
        if question is not None:
            question.take(answer)
        elif isinstance(answer, Acked):
            self._call_back(request_id, answer)

    def _call_back(self, request_id: str, answer: Acked) -> None:
        number = number_in(self.uid, request_id)
        if number is not None:
            self._answered(number, answer.arguments)

    async def _ask(self, what: str, request: Request, within_s: float, *, but: int = 0) -> list[Answer]:
        if len(self._open) >= QUESTIONS_LIMIT:
            raise StoreUnavailable("unable to ask other servers; too many questions are open")
        question = _Question(await self._servers() - but)
        if question.servers <= 0:
            return []
        request_id = f"{self.uid}?{next(self._numbers)}"
        self._open[request_id] = question
        try:
            self._say(request, request_id)
            async with asyncio.timeout(within_s):
                await question.complete.wait()
        except TimeoutError as exc:
            raise AnswersMissing(what, within_s, question.answers) from exc
        finally:
            del self._open[request_id]
        return question.answers

    async def _servers(self) -> int:
        """Return how many servers listen to what is asked, ourselves among them."""
        _, servers = await self._redis.call("PUBSUB", "NUMSUB", self._channels.request)
        return int(servers)

    def _say(self, request: Request, request_id: str = "") -> None:
        said = node_requests.say(Asking(self.uid, request_id), request)
        self._inbox.order("", copies=[("PUBLISH", self._channels.request, said)])
