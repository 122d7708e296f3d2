"""What the store publishes for servers that are no bridges: what was kept, once, and nothing else."""

import pytest
from one_batch_turn import say
from test_journal_contract import claim

from bridge.letters import Batch
from bridge.messages import MessageChunk, MessageEnd, MessageStart, NewMessage
from bridge.ports import Kept, Taken
from bridge.transcript import Transcript

IDS = ("r-1", "room", "m-1")
CHUNK = MessageChunk(*IDS, 1, "Hi")


class Announcer:
    """Copies each message as its kind, and one command that Redis refuses."""

    def of(self, messages):
        kinds = [type(message).__name__ for message in messages]
        return [("SUBSCRIBE", "refused"), *(("PUBLISH", "copies", kind) for kind in kinds)]


@pytest.fixture
async def announced(nodes):
    """Give a store whose copies can be read, and what reads them."""
    store = await nodes("one", outbound=Announcer())
    subscription = store._redis.reader.pubsub(ignore_subscribe_messages=True)
    await subscription.subscribe("copies")
    await subscription.get_message(timeout=60)

    async def heard():
        await store._redis.commands.publish("copies", "no more")
        words = []
        while not words or words[-1] != "no more":
            message = await subscription.get_message(timeout=60)
            words.append(message["data"].decode())
        return words[:-1]

    yield store, heard
    await subscription.aclose()


async def test_a_batch_is_published_when_it_is_kept_and_not_again_when_it_is_repeated(announced):
    store, heard = announced
    await store.claim(claim())
    batch = Batch(1, [MessageStart(*IDS), CHUNK])
    assert (await store.append("t-1", 1, batch)).kept is Kept.OK
    assert (await store.append("t-1", 1, batch)).kept is Kept.DUPLICATE
    assert await heard() == ["MessageStart", "MessageChunk"]


async def test_what_is_not_kept_is_not_published(announced):
    store, heard = announced
    await store.claim(claim())
    assert (await store.append("t-1", 2, Batch(1, [CHUNK]))).kept is Kept.FENCED
    assert (await store.append("t-1", 1, Batch(3, [CHUNK]))).kept is Kept.GAP
    assert (await store.append("t-2", 1, Batch(1, [CHUNK]))).kept is Kept.GONE
    assert await heard() == []


async def test_what_a_user_says_is_published(announced):
    store, heard = announced
    await say(store, "room", [NewMessage(*IDS, "user", "Hi", "now")])
    assert await heard() == ["NewMessage"]


async def test_of_a_turn_that_is_kept_anew_only_its_end_is_published(announced):
    store, heard = announced
    said = [MessageStart(*IDS), CHUNK, MessageEnd(*IDS, "Hi", "stop")]
    taken = Taken(1, claim(), Transcript("t-1", "r-1"), "", stop=False)
    assert await store.restore(taken, Batch(3, said[:2])) is Kept.OK
    assert await store.restore(taken, Batch(4, said, ended=True)) is Kept.OK
    assert await heard() == ["MessageEnd"]
