"""Who owns a turn that several nodes name alike: the first whose claim arrives, however late."""

from test_journal_contract import claim
from test_shared_store import batches

from bridge.ports import Attached, Claimed, Kept


async def test_of_two_nodes_that_claim_one_turn_one_owns_it(nodes):
    one, two = await nodes("one"), await nodes("two")
    assert await one.claim(claim()) == Claimed()
    assert await two.claim(claim()) == Attached("t-1")
    assert await one.claim(claim()) == Attached("t-1")
    (batch,) = batches(1)
    assert (await two.append("t-1", 1, batch)).kept is Kept.FENCED
    assert (await one.append("t-1", 1, batch)).kept is Kept.OK


async def test_a_claim_whose_answer_was_lost_is_still_a_claim(nodes, monkeypatch):
    one = await nodes("one")
    await one._redis.sha("claim")
    line = await one._redis._calls.line()
    plain, answers = line.call, []

    async def loses_the_first_answer(*arguments):
        answers.append(await plain(*arguments))
        if len(answers) == 1:
            raise ConnectionError
        return answers[-1]

    monkeypatch.setattr(line, "call", loses_the_first_answer, raising=True)
    assert await one.claim(claim()) == Claimed()
    assert len(answers) == 2
