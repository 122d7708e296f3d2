"""Watches the figures of all nodes and makes the guard's moves; what they are is decided in `guard`."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

from bridge import guard
from bridge.changes import FlagState, Reason
from bridge.errors import StoreUnavailable
from bridge.facts import Happening
from bridge.figures import Figures, Gathered
from bridge.guard import GUARD, Kind, Limits, Move, Standing
from bridge.ports import Clock, Switch, Tally, Telemetry

LOOK_S = 1.0
"""How often each node looks, unless the window is so short that a twelfth of it is less."""
_COUNTED = {Kind.TRIP: Happening.GUARD_TRIPPED, Kind.REOPEN: Happening.GUARD_REARMED}


@dataclass(frozen=True, slots=True)
class Told:
    """A move as it is told to people; ``made`` is False where the guard only says what it would do."""

    move: Move
    state: FlagState
    made: bool


class Watch:
    """The guard of one node. ``name`` tells its moves from those of the other nodes.

    Without ``pulls`` it is a dry run: it says what it would do. ``tell`` hears of each move, of the one node
    that made it; it does not wait. A turn is counted once, by the node that ended it.
    """

    def __init__(
        self,
        *,
        flag: Switch,
        tally: Tally,
        gathered: Gathered,
        limits: Limits,
        window_s: float,
        pulls: bool,
        tell: Callable[[Told], None],
        telemetry: Telemetry,
        clock: Clock,
        name: str,
    ) -> None:
        self.standing = Standing.IDLE
        self._flag = flag
        self._tally = tally
        self._gathered = gathered
        self._limits = limits
        self._window_s = window_s
        self._pulls = pulls
        self._tell = tell
        self._telemetry = telemetry
        self._clock = clock
        self._name = name
        self._era: str | None = None
        self._version = ""
        self._since_s = self._summed_at_s = clock.monotonic_s()
        self._number = 0
        self._unsent: Figures | None = None
        """What may have been added, but nobody said so: it is sent again under its number."""
        self._refrained = False

    def __repr__(self) -> str:
        return f"<Watch {self.standing.name}{'' if self._pulls else ', dry run'}>"

    async def run(self) -> None:
        """Look again and again, until cancelled."""
        pause_s = min(LOOK_S, self._window_s / 12)
        while True:
            try:
                await self.look()
            except StoreUnavailable:
                self._wait_for_store()
            except Exception as fault:  # noqa: BLE001  (a guard that is gone guards nothing)
                self._telemetry.fault(fault)
            await asyncio.sleep(pause_s)

    async def look(self) -> None:
        """Add what this node has, and make the move that follows. Raises `StoreUnavailable`."""
        state = await self._flag.state()
        self._note(state)
        move = guard.rested(state, self._clock.monotonic_s() - self._since_s, self._limits)
        if move is None and (sums := await self._sum()) is not None:
            move = guard.judged(state, sums, self._limits)
            self._refrained = self._refrained and not guard.sound(sums, self._limits)
        if move is not None:
            await self._make(move)

    async def pull(self, why: str) -> bool:
        """Turn streaming off because somebody else saw a reason; return whether this did.

        Raises `StoreUnavailable` and `FlagRefused`.
        """
        move = guard.trip(await self._flag.state(), why)
        return move is not None and await self._make(move)

    def _note(self, state: FlagState) -> None:
        """Know where the guard is; in a new era nothing counts that began before it."""
        self.standing = guard.standing(state)
        if state.version != self._version:
            self._version, self._since_s = state.version, self._clock.monotonic_s()
        era = guard.era(state)
        if self._era not in (None, era):
            self._forget()
        self._era = era

    async def _sum(self) -> Figures | None:
        """Return the figures of all nodes, None where this one has nothing new: another one looks."""
        if self._unsent is None:
            gathered = self._gathered.take()
            if not gathered:
                return None
            self._unsent = gathered
            self._number += 1
        sums = await self._tally.add(self._era or "0", self._number, self._unsent)
        self._unsent, self._summed_at_s = None, self._clock.monotonic_s()
        return sums

    def _wait_for_store(self) -> None:
        """Forget what the store did not take in a whole window: it is no news any more."""
        if self._clock.monotonic_s() - self._summed_at_s > self._window_s:
            self._forget()

    def _forget(self) -> None:
        self._gathered.start_anew()
        self._unsent = None
        self._summed_at_s = self._clock.monotonic_s()

    async def _make(self, move: Move) -> bool:
        """Change the flag, unless another node did; return whether this one did."""
        if not self._pulls:
            await self._refrain(move)
            return False
        reason = Reason(GUARD, f"{move.why} (seen by {self._name})")
        state = await self._flag.change(move.edit, reason)
        made = state.version != move.edit.at and state.history[0].reason == reason
        if made:
            if move.kind in _COUNTED:
                self._telemetry.happened(_COUNTED[move.kind])
            self._tell(Told(move, state, made=True))
        self._note(state)
        return made

    async def _refrain(self, move: Move) -> None:
        """Say what would be done, once until the figures are sound again."""
        if move.kind is Kind.TRIP and not self._refrained:
            self._refrained = True
            self._telemetry.happened(Happening.GUARD_REFRAINED)
            self._tell(Told(move, await self._flag.state(), made=False))
