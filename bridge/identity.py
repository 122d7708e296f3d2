"""Who a device is, and what the middle asks of those who know: contracts, as those in `bridge.ports`."""

from dataclasses import dataclass
from typing import Protocol

from bridge.events import Id

USER_LIMIT_CHARS = 256


@dataclass(frozen=True, slots=True)
class Identity:
    """Who a device is, as its token says; without a token it is nobody in particular."""

    user: str = ""
    rooms: frozenset[Id] = frozenset()
    """The rooms that the token names."""
    expires_at_s: float | None = None
    """When it ends, in seconds of the wall clock since 1970; None: never."""
    issued_at_s: float | None = None
    """When its token was made, by the issuer's clock; None: it does not say."""


@dataclass(frozen=True, slots=True)
class Removal:
    """A user is no member of a room any more, since ``at_s`` of the wall clock."""

    user: str
    room_id: Id
    at_s: float


class Authenticator(Protocol):
    """Knows whose a token is. What it cannot prove it refuses."""

    async def identify(self, token: str | None) -> Identity:
        """Return who shows ``token``, which holds now.

        Raises `RequestError`: ``unauthorized``, ``token_expired``, ``auth_unavailable``.
        """
        ...


class Membership(Protocol):
    """Knows who may be in which room, and so hear it and speak in it."""

    lasts_s: float
    """How long an answer may be relied on; 0: it depends on the identity alone and costs nothing to ask."""

    async def allows(self, identity: Identity, room_id: Id) -> bool:
        """Return whether ``identity`` may be in the room.

        Raises `RequestError`: ``membership_unknown`` when nobody could say.
        """
        ...
