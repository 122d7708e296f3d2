"""A model of the reference backend that speaks when the test lets it, so that no answer is over too soon."""

import asyncio

WORDS = tuple(f"word{number} " for number in range(20))
WHOLE = "".join(WORDS)


class HeldModel:
    """Says half of its answer once it ``begins``, and the rest once it ``goes_on``."""

    def __init__(self):
        self.begins, self.goes_on = asyncio.Event(), asyncio.Event()

    async def check(self):
        """Be there."""

    async def pieces(self, _):
        await self.begins.wait()
        for count, word in enumerate(WORDS):
            if count == len(WORDS) // 2:
                await self.goes_on.wait()
            yield word


class GrowingModel:
    """Says a word, and another one every moment, until it ``ends``."""

    def __init__(self):
        self.ends = asyncio.Event()

    async def check(self):
        """Be there."""

    async def pieces(self, content):
        yield f"You wrote {content}:"
        while not self.ends.is_set():
            yield " more"
            await asyncio.sleep(0.02)
