"""What is known of who may be in which room, for as long as an answer may be relied on."""

from collections.abc import Callable
from dataclasses import dataclass

from bridge.events import Id
from bridge.identity import Identity, Membership

KNOWN_LIMIT = 100_000
REFUSAL_S = 2.0
"""A refusal is relied on no longer than that: who was let in just now must not wait."""


@dataclass(frozen=True, slots=True)
class _Known:
    allowed: bool
    asked_at_s: float


class Members:
    """Asks ``membership`` no more often than needed; ``now`` gives monotonic seconds."""

    def __init__(self, membership: Membership, now: Callable[[], float]) -> None:
        self._membership = membership
        self._now = now
        self._known: dict[tuple[str, Id], _Known] = {}

    @property
    def lasts_s(self) -> float:
        """How long an answer is relied on; 0: it depends on the identity alone."""
        return self._membership.lasts_s

    async def allow(self, identity: Identity, room_id: Id, *, newer_than_s: float | None = None) -> bool:
        """Return whether ``identity`` may be in the room, by an answer that is no older than it may be.

        ``newer_than_s`` asks for a newer one. Raises `RequestError`: ``membership_unknown``.
        """
        if not self.lasts_s:
            return await self._membership.allows(identity, room_id)
        key = (identity.user, room_id)
        known = self._known.get(key)
        if known is not None and self._now() - known.asked_at_s < self._relied_on_s(known, newer_than_s):
            return known.allowed
        asked_at_s = self._now()
        allowed = await self._membership.allows(identity, room_id)
        self._keep(key, _Known(allowed, asked_at_s))
        return allowed

    def _relied_on_s(self, known: _Known, newer_than_s: float | None) -> float:
        lasts_s = self.lasts_s if newer_than_s is None else newer_than_s
        return lasts_s if known.allowed else min(lasts_s, REFUSAL_S)

    def _keep(self, key: tuple[str, Id], known: _Known) -> None:
        self._known.pop(key, None)
        self._known[key] = known
        if len(self._known) > KNOWN_LIMIT:
            del self._known[next(iter(self._known))]
