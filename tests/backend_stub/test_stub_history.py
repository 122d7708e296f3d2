async def fill(caller, count, room=42):
    for number in range(count):
        await caller.stream(roomId=room, requestId=f"r{number}", tokens=1, content=f"{number}")
        await caller.stored(2 * number + 2, str(room))


async def test_pages_go_backwards_and_are_oldest_first_inside(caller):
    await fill(caller, 3)
    newest = await caller.room(limit=4)
    older = await caller.room(limit=4, before=newest["next"])
    assert [row["requestId"] for row in newest["messages"]] == ["r1", "r1", "r2", "r2"]
    assert [row["role"] for row in newest["messages"]] == ["user", "assistant"] * 2
    assert [row["requestId"] for row in older["messages"]] == ["r0", "r0"]
    assert older["next"] is None


async def test_a_page_that_fits_has_no_next(caller):
    await fill(caller, 1)
    assert (await caller.room(limit=2))["next"] is None


async def test_only_answers_have_a_finish_reason(caller):
    await fill(caller, 1)
    user, assistant = (await caller.room())["messages"]
    assert "finishReason" not in user
    assert assistant["finishReason"] == "stop"
    assert user["messageId"] != assistant["messageId"]
    assert user["createdAt"] <= assistant["createdAt"]


async def test_rooms_are_apart_and_their_names_may_hold_anything(caller):
    await fill(caller, 1, room=42)
    await caller.complete(roomId="방 a/b?", requestId="x")
    stored = await caller.stored(2, "%EB%B0%A9%20a%2Fb%3F")
    assert {row["roomId"] for row in stored} == {"방 a/b?"}
    assert (await caller.room("nowhere")) == {"messages": [], "next": None}


async def test_a_bad_page_is_refused(caller):
    for query in ("limit=0", "limit=201", "limit=x", "limit=", "before=x", "before=-1", "before=²"):
        status, body = await caller.get(f"/chat/rooms/42/messages?{query}")
        assert status == 400
        assert body["error"]["code"] == "bad_request"
