"""What is known of who may be in which room, for as long as an answer may be relied on."""

from collections.abc import Callable
from dataclasses import dataclass

from bridge.events import Id
from bridge.identity import Identity, Membership, Removal

KNOWN_LIMIT = 100_000
REFUSAL_S = 2.0
"""A refusal is relied on no longer than that: who was let in just now must not wait."""
SKEW_S = 5.0
"""How far the clock of who makes the tokens may be ahead of ours."""


@dataclass(frozen=True, slots=True)
class _Known:
    allowed: bool
    asked_at_s: float


@dataclass(frozen=True, slots=True)
class _Removed:
    removal: Removal
    heard_at_s: float


class Members:
    """Asks ``membership`` no more often than needed; ``now`` gives monotonic seconds.

    Where nobody but the token can be asked, a removal is held for ``removal_s`` against the tokens that were
    made before it, or do not say when.
    """

    def __init__(self, membership: Membership, now: Callable[[], float], *, removal_s: float) -> None:
        self._membership = membership
        self._now = now
        self._removal_s = removal_s
        self._known: dict[tuple[str, Id], _Known] = {}
        self._removed: dict[tuple[str, Id], _Removed] = {}

    @property
    def lasts_s(self) -> float:
        """How long an answer is relied on; 0: it depends on the identity alone."""
        return self._membership.lasts_s

    def remove(self, removal: Removal) -> None:
        """Rely on no answer of before ``removal``."""
        key = (removal.user, removal.room_id)
        self._known.pop(key, None)
        self._removed.pop(key, None)
        self._removed[key] = _Removed(removal, self._now())
        oldest = next(iter(self._removed))
        if len(self._removed) > KNOWN_LIMIT or self._is_over(self._removed[oldest]):
            del self._removed[oldest]

    async def allow(self, identity: Identity, room_id: Id, *, newer_than_s: float | None = None) -> bool:
        """Return whether ``identity`` may be in the room, by an answer that is no older than it may be.

        ``newer_than_s`` asks for a newer one. Raises `RequestError`: ``membership_unknown``.
        """
        if not self.lasts_s:
            return not self._is_removed(identity, room_id) and await self._membership.allows(
                identity, room_id
            )
        key = (identity.user, room_id)
        known = self._known.get(key)
        if known is not None and self._now() - known.asked_at_s < self._relied_on_s(known, newer_than_s):
            return known.allowed
        return await self._asked(key, identity)

    async def _asked(self, key: tuple[str, Id], identity: Identity) -> bool:
        while True:
            asked_at_s, removed = self._now(), self._removed.get(key)
            allowed = await self._membership.allows(identity, key[1])
            if self._removed.get(key) is removed:  # else the answer may be of before
                self._keep(key, _Known(allowed, asked_at_s))
                return allowed

    def _is_removed(self, identity: Identity, room_id: Id) -> bool:
        removed = self._removed.get((identity.user, room_id))
        if removed is None or self._is_over(removed):
            return False
        return identity.issued_at_s is None or identity.issued_at_s < removed.removal.at_s + SKEW_S

    def _is_over(self, removed: _Removed) -> bool:
        return self._now() - removed.heard_at_s > self._removal_s

    def _relied_on_s(self, known: _Known, newer_than_s: float | None) -> float:
        lasts_s = self.lasts_s if newer_than_s is None else newer_than_s
        return lasts_s if known.allowed else min(lasts_s, REFUSAL_S)

    def _keep(self, key: tuple[str, Id], known: _Known) -> None:
        self._known.pop(key, None)
        self._known[key] = known
        if len(self._known) > KNOWN_LIMIT:
            del self._known[next(iter(self._known))]
