"""What a device must pass before anything is done for it: who it is, how much it asks, which rooms are its.

Every door asks here, in this order: `Admission.arrive` with its address, `Admission.admit` with its token
(`Admission.visit` is both), then the `Pass` before each event and each room: `Pass.take_event`, `Pass.enter`
and `Pass.check_entered` around a join, `Pass.check` before a send, a stop, a resume. Whoever is refused has
cost no answer of the backend.
"""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass

from bridge.due import Due
from bridge.errors import RequestCode, RequestError
from bridge.events import Id
from bridge.identity import Authenticator, Identity, Membership, Removal
from bridge.limits import Places, TokenBucket, TokenBuckets
from bridge.members import Members
from bridge.ports import Clock, Telemetry

SWEEP_S = 1.0
ASKED_AT_ONCE = 16
OFFENCES_PER_SECOND, OFFENCES_BURST = 1.0, 50.0
"""So often a device may go on asking while it is refused for asking too often; beyond it, it is sent away."""

Ended = Callable[[RequestCode, Id | None], None]
"""Told that a device is a member of a room no longer, or, for None, is to be disconnected; must not wait."""


@dataclass(frozen=True, slots=True)
class AdmissionLimits:
    """How much is let in. Events are counted per device, and per user over all devices of a node."""

    events_per_second: float
    events_burst: int
    connections_per_user: int
    connections_per_address: int
    rooms_per_device: int
    removal_s: float
    """How long a removal is held against tokens of before it, where tokens name the rooms."""


@dataclass(frozen=True, slots=True)
class _Rules:
    authenticator: Authenticator
    members: Members
    limits: AdmissionLimits
    clock: Clock
    wall: Callable[[], float]
    user_events: TokenBuckets
    telemetry: Telemetry
    expiries: "Due[Pass]"


class Pass:
    """What an admitted device holds; its door asks it before it acts for the device, and closes it."""

    def __init__(
        self, rules: _Rules, identity: Identity, ended: Ended, closed: Callable[["Pass"], None]
    ) -> None:
        now_s = rules.clock.monotonic_s()
        self.identity = identity
        self.rooms: set[Id] = set()
        """The rooms it was let in to."""
        self._rules = rules
        self._ended = ended
        self._closed = closed
        self._over: RequestCode | None = None
        self._events = TokenBucket(rules.limits.events_per_second, rules.limits.events_burst, now_s)
        self._offences = TokenBucket(OFFENCES_PER_SECOND, OFFENCES_BURST, now_s)
        rules.expiries.add(self, identity.expires_at_s)

    def __repr__(self) -> str:
        return f"<Pass {len(self.rooms)} rooms{f', over: {self._over}' if self._over else ''}>"

    @property
    def over(self) -> bool:
        """True once the device is sent away, or gone."""
        return self._over is not None

    def take_event(self) -> None:
        """Count one event of the device, before any work for it; who does not mind refusals is sent away.

        Raises `RequestError`: ``rate_limited``, ``token_expired``.
        """
        self._check_open()
        now_s, user = self._rules.clock.monotonic_s(), self.identity.user
        if self._events.take(now_s) and (not user or self._rules.user_events.take(user, now_s)):
            return
        if not self._offences.take(now_s):
            self._end("rate_limited")
        raise _refusal("rate_limited")

    async def check(self, room_id: Id) -> None:
        """Ask whether the device may be in the room, before it speaks or asks there.

        Raises `RequestError`: ``not_a_member``, ``membership_unknown``, ``token_expired``.
        """
        self._check_open()
        if not await self._rules.members.allow(self.identity, room_id):
            raise _refusal("not_a_member")

    async def enter(self, room_id: Id) -> None:
        """Ask the same before the device enters the room; raises ``too_many_rooms`` as well."""
        if room_id not in self.rooms and len(self.rooms) >= self._rules.limits.rooms_per_device:
            raise _refusal("too_many_rooms")
        await self.check(room_id)
        self.rooms.add(room_id)

    def check_entered(self, room_id: Id) -> None:
        """Raise `RequestError` when the device was sent out of the room, or away, while it entered."""
        self._check_open()
        if room_id not in self.rooms:
            raise _refusal("not_a_member")

    def leave(self, room_id: Id) -> None:
        """Know that the device left the room."""
        self.rooms.discard(room_id)

    async def renew(self, token: str | None) -> None:
        """Take a newer token of the same user; rooms that it does not allow are lost.

        Raises `RequestError`: ``unauthorized``, ``token_expired``, ``auth_unavailable``.
        """
        self._check_open()
        identity = await self._rules.authenticator.identify(token)
        if identity.user != self.identity.user:
            raise _refusal("unauthorized")
        self._rules.expiries.remove(self, self.identity.expires_at_s)
        self.identity = identity
        if self._over is None:
            self._rules.expiries.add(self, identity.expires_at_s)
        for room_id in list(self.rooms):
            if not await self._rules.members.allow(identity, room_id):
                self.lose(room_id)

    def lose(self, room_id: Id) -> None:
        """Send the device out of the room: it is no member any more."""
        if room_id in self.rooms:
            self.rooms.remove(room_id)
            self._rules.telemetry.refused("access", "not_a_member")
            self._ended("not_a_member", room_id)

    def expire(self) -> None:
        """Send the device away if its token holds no longer."""
        if self._over is None and self._has_expired():
            self._end("token_expired")

    def close(self) -> None:
        """Give back what the device held, however it went."""
        self._over = self._over or "unauthorized"
        self._rules.expiries.remove(self, self.identity.expires_at_s)
        self._closed(self)

    def _has_expired(self) -> bool:
        expires_at_s = self.identity.expires_at_s
        return expires_at_s is not None and expires_at_s <= self._rules.wall()

    def _check_open(self) -> None:
        self.expire()
        if self._over is not None:
            raise _refusal(self._over)

    def _end(self, code: RequestCode) -> None:
        self._over = code
        self._rules.telemetry.refused("access", code)
        self._ended(code, None)


class Admission:
    """The one way in for the devices of this node. ``wall`` gives seconds since 1970."""

    def __init__(
        self,
        *,
        authenticator: Authenticator,
        membership: Membership,
        limits: AdmissionLimits,
        telemetry: Telemetry,
        clock: Clock,
        wall: Callable[[], float],
    ) -> None:
        members = Members(membership, clock.monotonic_s, removal_s=limits.removal_s)
        user_events = TokenBuckets(limits.events_per_second, limits.events_burst)
        self._rules = _Rules(authenticator, members, limits, clock, wall, user_events, telemetry, Due())
        self._telemetry = telemetry
        self._addresses = Places(limits.connections_per_address)
        self._users = Places(limits.connections_per_user)
        self._passes: set[Pass] = set()

    def __repr__(self) -> str:
        return f"<Admission {len(self._passes)} devices, {len(self._addresses)} addresses>"

    def check_address(self, address: str) -> None:
        """Raise `RequestError`, ``too_many_connections``, when ``address`` has all that it may have."""
        if not self._addresses.free(address):
            raise _refusal("too_many_connections")

    def arrive(self, address: str) -> None:
        """Count a connection of ``address``, to be given back by `depart`; raises as `check_address`."""
        self.check_address(address)
        self._addresses.take(address)

    def depart(self, address: str) -> None:
        """Forget a connection that has arrived."""
        self._addresses.leave(address)

    @asynccontextmanager
    async def visit(self, address: str, token: str | None, ended: Ended) -> AsyncIterator[Pass]:
        """Arrive, be admitted, and give all back when the context is left: for a door of one request."""
        self.arrive(address)
        try:
            admitted = await self.admit(token, ended)
            try:
                yield admitted
            finally:
                admitted.close()
        finally:
            self.depart(address)

    async def admit(self, token: str | None, ended: Ended) -> Pass:
        """Let a device in that shows ``token``; its `Pass` must be closed when it goes.

        Raises `RequestError`: ``unauthorized``, ``token_expired``, ``auth_unavailable``,
        ``too_many_connections``.
        """
        identity = await self._rules.authenticator.identify(token)
        if identity.user and not self._users.take(identity.user):
            raise _refusal("too_many_connections")
        admitted = Pass(self._rules, identity, ended, self._closed)
        self._passes.add(admitted)
        return admitted

    async def is_of(self, admitted: Pass, token: str | None) -> bool:
        """Return whether ``token`` is one of the user of ``admitted``."""
        try:
            return (await self._rules.authenticator.identify(token)).user == admitted.identity.user
        except RequestError:
            return False

    def remove(self, removal: Removal) -> None:
        """Send every device of a user out of a room at once; who wants in again is asked about anew."""
        self._rules.members.remove(removal)
        for each in list(self._passes):
            if each.identity.user == removal.user:
                each.lose(removal.room_id)

    async def run(self) -> None:
        """Until cancelled: send away whose token has expired, and out of a room who is no member any more."""
        while True:
            await asyncio.sleep(min(SWEEP_S, self._rules.members.lasts_s / 4 or SWEEP_S))
            try:
                await self.sweep()
            except Exception as fault:  # noqa: BLE001  (nobody would notice that it has stopped)
                self._telemetry.fault(fault)

    async def sweep(self) -> None:
        """Do so once. An answer half as old as it may be is asked for anew, so a removal is known in time."""
        for each in self._rules.expiries.take(self._rules.wall()):
            each.expire()
        if not self._rules.members.lasts_s:
            return
        held = {
            (each.identity.user, room_id): each.identity for each in self._passes for room_id in each.rooms
        }
        gate = asyncio.Semaphore(ASKED_AT_ONCE)
        lost = await asyncio.gather(*(self._lost(gate, who, room_id) for (_, room_id), who in held.items()))
        gone = {key for key, is_lost in zip(held, lost, strict=True) if is_lost}
        for each in list(self._passes):
            for room_id in [room for room in each.rooms if (each.identity.user, room) in gone]:
                each.lose(room_id)

    async def _lost(self, gate: asyncio.Semaphore, who: Identity, room_id: Id) -> bool:
        """Return whether ``who`` is surely no member any more; where nobody can say, who is in stays."""
        members = self._rules.members
        async with gate:
            try:
                return not await members.allow(who, room_id, newer_than_s=members.lasts_s / 2)
            except RequestError:
                return False

    def _closed(self, admitted: Pass) -> None:
        if admitted in self._passes:
            self._passes.remove(admitted)
            if admitted.identity.user:
                self._users.leave(admitted.identity.user)


def _refusal(code: RequestCode) -> RequestError:
    return RequestError(code, _WHY[code])


_WHY: dict[RequestCode, str] = {
    "rate_limited": "unable to take the event; there are too many",
    "not_a_member": "unable to act in the room; the user is no member of it",
    "too_many_rooms": "unable to enter the room; the device is in too many",
    "too_many_connections": "unable to take the connection; there are too many",
    "token_expired": "unable to go on; the token has expired",
    "unauthorized": "unable to go on; the token is not this user's",
}
