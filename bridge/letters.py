"""What goes from node to node: the batches in which a turn speaks, and the letters of an inbox."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from bridge.events import Id
from bridge.messages import Message


class Batch(NamedTuple):
    """What a turn says next: the ``number``-th of its batches, from 1, without holes.

    ``position`` is the id of the backend's last frame that the text up to here holds, empty where unknown.
    A tuple, as one is made for every chunk.
    """

    number: int
    messages: Sequence[Message]
    ended: bool = False
    position: str = ""


class Said(NamedTuple):
    """A letter: a turn of another node said ``batch``. A tuple, as nearly all letters are this one."""

    turn_id: str
    room_id: Id
    batch: Batch


@dataclass(frozen=True, slots=True)
class Anew:
    """A letter: a turn of another node was lost and kept anew; what it said is in the journal."""

    turn_id: str
    room_id: Id


@dataclass(frozen=True, slots=True)
class StopWanted:
    """A letter: a turn that this node owns shall stop."""

    turn_id: str


@dataclass(frozen=True, slots=True)
class Ordered:
    """A letter: the Socket.IO server of the node ``sender`` wants something of ours."""

    sender: str
    order: str


@dataclass(frozen=True, slots=True)
class Lost:
    """A letter in the place of some that are lost: what this node knows of its rooms may be behind."""


Letter = Said | Anew | StopWanted | Ordered | Lost
