"""The contract of the inbox of a node that is alone, over every implementation."""

import asyncio
import contextlib

from bridge.ports import Entered


async def test_what_a_node_alone_says_comes_back_from_nobody(inbox):
    assert await inbox.beat()
    assert await inbox.enter("room") == Entered([])
    inbox.order("to all")
    inbox.order("to one", "nobody")
    inbox.order("to itself", "one")
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(0.3):
            async for letter in inbox.letters():
                raise AssertionError(letter)
    await inbox.leave("room")
    assert await inbox.beat()
