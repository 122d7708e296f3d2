"""What is remembered of what ended."""

from bridge.recent import KEPT, Recent


def test_only_the_latest_names_are_kept_in_their_order():
    recent = Recent()
    for number in range(KEPT + 2):
        recent.append(number)
    assert list(recent) == list(range(2, KEPT + 2))
    recent.extend(["a", "b", "c"])
    assert len(recent) == KEPT
    assert recent[-3:] == ["a", "b", "c"]
