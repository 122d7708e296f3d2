"""The first law, for what a device of any door heard."""


def text_of(heard):
    """Return the text of each message in ``heard``, (event, data) pairs; refuses what the law forbids."""
    texts, seqs, ended = {}, {}, set()
    for name, data in heard:
        message_id = data.get("messageId")
        if name == "ai_message_start":
            assert message_id not in seqs, "a second start"
            seqs[message_id], texts[message_id] = 0, ""
        elif name == "ai_message_chunk":
            assert message_id not in ended, "a chunk after the end"
            assert data.get("fromSeq", data["seq"]) == seqs[message_id] + 1, "a gap or a repeat"
            seqs[message_id] = data["seq"]
            texts[message_id] += data["delta"]
        elif name == "ai_message_end":
            assert message_id not in ended, "a second end"
            ended.add(message_id)
            assert data["content"] == texts.setdefault(message_id, ""), "another text"
    return texts
