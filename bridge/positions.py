"""How far a device has heard a room, as one text that any node can read: the ``id:`` of each SSE event.

``M=17`` has heard the message M up to seq 17, ``M=e`` its end but not the complete message that follows,
``M=x`` all of it. So a device that comes back to whatever node names what it has, and that node's rooms do
the rest; messages of the last few ended turns stay named, because a node may be a moment behind.
"""

from collections.abc import Iterable, Mapping

from bridge.events import valid_id
from bridge.messages import Message, MessageChunk, MessageEnd, MessageStart, NewMessage
from bridge.transcript import Applied

HEARD_LIMIT = 4
"""So many messages that were heard whole stay named."""
NAMED_LIMIT = 64
"""A text that names more is none of ours."""
BEHIND_ALL = 2**53 - 1
"""A seq behind every text: what is lacking is the end alone."""
_AWAITED, _WHOLE = "e", "x"


class Positions:
    """What a device has heard of the messages in ``text``; one that cannot be read says nothing.

    ``complete_follows`` when it hears the complete message of a streamed answer too.
    """

    def __init__(self, text: str = "", *, complete_follows: bool) -> None:
        self._complete_follows = complete_follows
        self._seqs: dict[str, int] = {}
        self._awaited: dict[str, None] = {}
        self._whole: dict[str, None] = {}
        for name, state in _entries(text):
            self._read(name, state)

    def __str__(self) -> str:
        named: list[tuple[str, int | str]] = [*self._seqs.items()]
        named += [(name, _AWAITED) for name in self._awaited]
        named += [(name, _WHOLE) for name in self._whole]
        return ",".join(f"{name}={state}" for name, state in named)

    @property
    def resume(self) -> Mapping[str, int]:
        """What to resume when joining: the last seq of each message that is not heard whole."""
        return self._seqs | dict.fromkeys(self._awaited, BEHIND_ALL)

    def forget(self, names: Iterable[object]) -> None:
        """Name these messages no longer: nobody knows them any more."""
        for name in map(str, names):
            self._seqs.pop(name, None)
            self._awaited.pop(name, None)

    def take(self, message: Message) -> Applied:
        """Go on by ``message`` if it is the next one; GAP: something before it is missing."""
        name = str(message.message_id)
        if name in self._whole:
            return Applied.DUPLICATE
        match message:
            case MessageChunk():
                return self._take_chunk(name, message)
            case NewMessage(role="assistant"):
                self._know_whole(name)
            case _ if name in self._awaited:
                return Applied.DUPLICATE
            case MessageStart():
                if name in self._seqs:
                    return Applied.DUPLICATE
                self._seqs[name] = 0
            case MessageEnd(content=content):
                self._end(name, complete_follows=self._complete_follows and bool(content))
            case _:
                pass
        return Applied.APPLIED

    def _take_chunk(self, name: str, chunk: MessageChunk) -> Applied:
        known = BEHIND_ALL if name in self._awaited else self._seqs.get(name, 0)
        first = chunk.seq if chunk.from_seq is None else chunk.from_seq
        if chunk.seq <= known:
            return Applied.DUPLICATE
        if first != known + 1:
            return Applied.GAP
        self._seqs[name] = chunk.seq
        return Applied.APPLIED

    def _end(self, name: str, *, complete_follows: bool) -> None:
        if complete_follows:
            self._seqs.pop(name, None)
            self._awaited[name] = None
            while len(self._awaited) > HEARD_LIMIT:  # another server may tell the complete messages
                self._know_whole(next(iter(self._awaited)))
        else:
            self._know_whole(name)

    def _know_whole(self, name: str) -> None:
        self._seqs.pop(name, None)
        self._awaited.pop(name, None)
        self._whole[name] = None
        while len(self._whole) > HEARD_LIMIT:
            del self._whole[next(iter(self._whole))]

    def _read(self, name: str, state: str) -> None:
        if state == _AWAITED:
            self._awaited[name] = None
        elif state == _WHOLE:
            self._whole[name] = None
        else:
            self._seqs[name] = int(state)


def _entries(text: str) -> list[tuple[str, str]]:
    """Return the entries of ``text``, none where one of them cannot be ours."""
    entries = [(name, state) for name, _, state in (entry.partition("=") for entry in text.split(","))]
    readable = len(entries) <= NAMED_LIMIT and all(
        valid_id(name) and _state(state) for name, state in entries
    )
    return entries if readable else []


def _state(text: str) -> bool:
    if text in {_AWAITED, _WHOLE}:
        return True
    return (
        text.isascii() and text.isdecimal() and len(text) <= len(str(BEHIND_ALL)) and int(text) <= BEHIND_ALL
    )
