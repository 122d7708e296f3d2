"""The flag of a running bridge, on loan: changed for a while, and put back as it was found."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable

from bridge.changes import Edit, FlagState, Reason
from bridge.errors import BridgeError
from bridge.ports import Switch
from bridge.rollout import Value

OBEYED_S = 0.3
"""Until every node behind an address obeys: three times what is promised."""


class Loan:
    """Sets the flag behind ``switch``; ``why`` marks the changes that are ours."""

    def __init__(self, switch: Switch, found: FlagState, why: str) -> None:
        self.found = found
        self._switch = switch
        self._reason = Reason("validate", why)
        self._changing: asyncio.Task[FlagState] | None = None

    async def set(self, value: Value) -> None:
        """Set the flag; return when every node obeys. Raises `FlagRefused` and `StoreUnavailable`."""
        self._changing = asyncio.create_task(self._switch.change(Edit(value), self._reason))
        await asyncio.shield(self._changing)  # a change that has left is not taken back by Ctrl-C
        await asyncio.sleep(OBEYED_S)

    async def give_back(self) -> str:
        """Put back what was found; return what became of it, for people.

        Who has changed the flag meanwhile, a guard or an operator, has had a reason: that stays.
        Raises `FlagRefused` and `StoreUnavailable`.
        """
        if self._changing is None:
            return "the flag was not touched"
        await asyncio.wait({self._changing})
        state, found = await self._switch.state(), self.found.rollout.value
        last = state.history[0].reason if state.history else self._reason
        if state.rollout.value == found:
            return f"the flag is {self.found.rollout} again"
        if last != self._reason:
            who = last.who or "somebody"
            return f"the flag stays {state.rollout}: {who} has set it meanwhile; it was {self.found.rollout}"
        await self._switch.change(Edit(found), self._reason)
        return f"the flag is {self.found.rollout} again"


@contextlib.asynccontextmanager
async def lent(switch: Switch, why: str, told: Callable[[str], None]) -> AsyncIterator[Loan]:
    """Yield the flag for as long as the block; then put it back, and tell what became of it.

    Raises `FlagRefused` and `StoreUnavailable`.
    """
    loan = Loan(switch, await switch.state(), why)
    try:
        yield loan
    finally:
        try:
            told(await loan.give_back())
        except BridgeError as error:
            told(f"THE FLAG WAS NOT PUT BACK, it was {loan.found.rollout}: {error}")
            raise
