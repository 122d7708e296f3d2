"""The shortest turn: messages that are kept in one batch, and heard by every other node of the room."""

import itertools

from bridge.letters import Batch, Said
from bridge.ports import Claim, Prompt

_numbers = itertools.count(1)


async def say(journal, room, messages, rooms=None):
    """Say ``messages`` as a turn of their own, to the devices of ``rooms`` too; return the letter of it."""
    turn_id = f"said-{next(_numbers)}"
    prompt = Prompt(turn_id, room, turn_id, "")
    await journal.claim(Claim(turn_id, prompt, True, "", 100))
    batch = Batch(1, messages, ended=True)
    await journal.append(turn_id, 1, batch)
    if rooms is not None:
        rooms.hear_turn(turn_id, room, batch)
    return Said(turn_id, room, batch)


async def say_in(bridge, room, messages):
    """Say ``messages`` as the node ``bridge`` would."""
    return await say(bridge.shared.journal, room, messages, bridge.rooms)
