"""Who was let in: a visitor that has no device yet, a guest that has one."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from bridge.admission import Ended, Pass
from bridge.errors import RequestCode, RequestError
from bridge.events import Id
from bridge.ports import Device
from bridge.rooms import Joined, Rooms

D_co = TypeVar("D_co", bound=Device, covariant=True)


@dataclass(frozen=True, slots=True, eq=False)
class Guest(Generic[D_co]):
    """A connected device, and what it was admitted with."""

    device: D_co
    admitted: Pass

    async def enter(self, rooms: Rooms, room_id: Id, resume: Mapping[str, int]) -> Joined:
        """Let the device in, if the room is its; see `Rooms.join`. Raises `RequestError`."""
        await self.admitted.enter(room_id)
        joined = await rooms.join(self.device, room_id, resume)
        try:
            self.admitted.check_entered(room_id)
        except RequestError:
            rooms.leave(self.device, room_id)
            raise
        return joined


class Visitor:
    """Who was admitted; ``ended`` is told when that is over, once somebody listens."""

    admitted: Pass
    ended: Ended | None = None

    def end(self, code: RequestCode, room_id: Id | None) -> None:
        """Pass on that it is over; before there is a device the `Pass` itself refuses all."""
        if self.ended is not None:
            self.ended(code, room_id)

    async def allowed(self, named: Sequence[Id]) -> list[Id]:
        """Return which of the rooms are the visitor's. Raises `RequestError` where none is."""
        rooms, why = [], None
        for room_id in named:
            try:
                await self.admitted.check(room_id)
                rooms.append(room_id)
            except RequestError as refused:
                if refused.code != "not_a_member":
                    raise
                why = refused
        if why is not None and not rooms:
            raise why
        return rooms
