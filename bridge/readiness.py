"""Whether this process should be given new devices, and if not, why."""

import asyncio
from collections.abc import Awaitable, Callable

from bridge.node import Node
from bridge.ports import Clock
from bridge.relay import Relay

ANSWER_S = 2.0
"""How long the backend may take to say that it is there."""
ASKED_AGAIN_S = 2.0
"""What the backend said holds so long: probes of many kinds do not become its load."""


class Readiness:
    """Asks the node, the relay and, if there is a ``backend`` to be asked, that it is there."""

    def __init__(
        self, relay: Relay, node: Node, clock: Clock, backend: Callable[[], Awaitable[bool]] | None
    ) -> None:
        self._relay = relay
        self._node = node
        self._clock = clock
        self._backend = backend
        self._said = True
        self._said_at_s = float("-inf")
        self._asking = asyncio.Lock()

    async def reasons(self) -> list[str]:
        """Return why not, nothing when it is ready.

        ``draining``; ``store``: it does not answer; ``inbox``: what others say does not arrive; ``backend``.
        """
        known = {
            "draining": self._relay.draining,
            "store": not self._node.alive,
            "inbox": not self._node.hears,
            "backend": not await self._backend_is_there(),
        }
        return [reason for reason, holds in known.items() if holds]

    async def _backend_is_there(self) -> bool:
        if self._backend is None:
            return True
        async with self._asking:
            if self._clock.monotonic_s() - self._said_at_s > ASKED_AGAIN_S:
                try:
                    async with asyncio.timeout(ANSWER_S):
                        self._said = await self._backend()
                except TimeoutError:
                    self._said = False
                self._said_at_s = self._clock.monotonic_s()
        return self._said
