"""What a device asks by an event, done and acked: the same behind every door that takes events."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any

from bridge.errors import RequestError
from bridge.facts import Happening, Refused
from bridge.guest import Guest
from bridge.ports import Device, Telemetry
from bridge.relay import Relay
from bridge.requests import (
    check_values,
    parse_join,
    parse_leave,
    parse_renew,
    parse_resume,
    parse_send,
    parse_stop,
)
from bridge.rooms import Rooms

Ack = dict[str, Any]


@dataclass(frozen=True, slots=True)
class EventNames:
    """The names the clients use, where they are not ours."""

    join: str = "join_room"
    leave: str = "leave_room"
    send: str = "send_message"
    new_message: str = "new_message"


def refused(error: RequestError) -> Ack:
    """Return the ack of what was refused."""
    return {"ok": False, "error": {"code": error.code, "message": str(error)}}


class Acks:
    """Does what devices ask: every event is answered ``{ok: true, ...}`` or ``{ok: false, error}``."""

    def __init__(
        self, *, relay: Relay, rooms: Rooms, telemetry: Telemetry, names: EventNames, content_limit_bytes: int
    ) -> None:
        self._relay = relay
        self._rooms = rooms
        self._telemetry = telemetry
        self._content_limit_bytes = content_limit_bytes
        self._handlers: Mapping[str, Callable[[Guest[Device], object], Awaitable[Ack]]] = {
            names.join: self._join,
            names.leave: self._leave,
            names.send: self._send,
            "stop_message": self._stop,
            "resume": self._resume,
            "renew": self._renew,
        }

    def refuse(self, what: Refused, error: RequestError) -> Ack:
        """Count what was refused, and return its ack."""
        self._telemetry.refused(what, error.code)
        return refused(error)

    def counted(self, guest: Guest[Device], error: RequestError | None) -> Ack:
        """Return the ack of an event that its door takes, or refuses by ``error``; it counts as all do."""
        try:
            guest.admitted.take_event()
        except RequestError as too_many:
            error = too_many
        return self.taken(error)

    def taken(self, error: RequestError | None) -> Ack:
        """Return the ack of what a door has taken, or refuses by ``error``."""
        return {"ok": True} if error is None else self.refuse("event", error)

    async def answer(self, guest: Guest[Device], event: object, *data: object) -> Ack:
        """Return the ack of ``event``, which takes the first of ``data``; never raises but when cancelled."""
        try:
            guest.admitted.take_event()
            check_values(data)
            handler = self._handlers.get(event) if isinstance(event, str) else None
            if handler is None:
                raise RequestError("unknown_event", "unable to take the event; its name is unknown")
            return {"ok": True, **await handler(guest, data[0] if data else None)}
        except RequestError as error:
            return self.refuse("event", error)
        except Exception as fault:  # noqa: BLE001  (one bad event must not cost the connection)
            self._telemetry.fault(fault)
            return self.refuse("event", RequestError("internal", "unable to act; the bridge failed"))

    async def _join(self, guest: Guest[Device], data: object) -> Ack:
        join = parse_join(data)
        joined = await guest.enter(self._rooms, join.room_id, join.resume)
        active = [
            {"requestId": turn.request_id, "messageId": turn.message_id, "seq": turn.seq}
            for turn in joined.active
        ]
        self._count_resumes(len(join.resume) - len(joined.lost), len(joined.lost))
        lost = {"lost": joined.lost} if joined.lost else {}
        return {"roomId": join.room_id, "active": active, **lost}

    async def _leave(self, guest: Guest[Device], data: object) -> Ack:
        leave = parse_leave(data)
        self._rooms.leave(guest.device, leave.room_id)
        guest.admitted.leave(leave.room_id)
        return {}

    async def _send(self, guest: Guest[Device], data: object) -> Ack:
        send = parse_send(data, content_limit_bytes=self._content_limit_bytes)
        await guest.admitted.check(send.room_id)
        sent = await self._relay.send(guest.device, send)
        ack: Ack = {"requestId": sent.request_id}
        if sent.message_id is not None:
            ack["messageId"] = sent.message_id
        return {**ack, "duplicate": True} if sent.duplicate else ack

    async def _stop(self, guest: Guest[Device], data: object) -> Ack:
        stop = parse_stop(data)
        await guest.admitted.check(stop.room_id)
        named = {"message_id": stop.message_id, "request_id": stop.request_id}
        await self._relay.stop(guest.device, stop.room_id, **named)
        return {}

    async def _resume(self, guest: Guest[Device], data: object) -> Ack:
        resume = parse_resume(data)
        await guest.admitted.check(resume.room_id)
        resumed = await self._rooms.resume(guest.device, resume.room_id, resume.message_id, resume.seq)
        self._count_resumes(int(resumed.recovered), int(not resumed.recovered))
        self._telemetry.happened(Happening.GAP_REPORTED, int(resumed.gap))
        return {"recovered": resumed.recovered, "seq": resumed.seq}

    async def _renew(self, guest: Guest[Device], data: object) -> Ack:
        await guest.admitted.renew(parse_renew(data))
        return {}

    def _count_resumes(self, known: int, unknown: int) -> None:
        self._telemetry.happened(Happening.RESUMED, known)
        self._telemetry.happened(Happening.RESUME_UNKNOWN, unknown)
