"""How long devices heard nothing in the middle of a turn, and which fault that was."""

import itertools
from dataclasses import dataclass, field

from tests.cluster.judge import ANSWER, END

WORTH_S = 0.1
AFTER_S = 5.0
"""A pause that began so long after a fault was mended is not the fault's."""
CALM = "calm"
GROUPS = ("hit", "own", "other")
"""Devices of the node that was hit alone; else of the node that owns the turn; else of any other node."""


@dataclass(slots=True)
class Felt:
    """The longest pause of each time that a fault was felt, by group; ``late``: so many over their bound."""

    count: int = 0
    longest_s: dict[str, list[float]] = field(default_factory=lambda: {group: [] for group in GROUPS})
    late: int = 0


def pauses(stories, asked, injected, faults, lease_s):
    """Return kind -> `Felt`; the kind ``calm`` is what no fault explains."""
    felt = {CALM: Felt()}
    for each in injected:
        felt.setdefault(each.kind, Felt()).count += 1
    for (number, group), lasted_s in _longest(stories, asked, injected).items():
        fault = injected[number] if number is not None else None
        found = felt[fault.kind if fault else CALM]
        found.longest_s[group].append(lasted_s)
        bound = getattr(faults[fault.kind], group) if fault else None
        found.late += bound is not None and lasted_s > bound(lease_s, fault.lasted_s)
    return felt


def _longest(stories, asked, injected):
    """Return (place in ``injected``, group) -> seconds."""
    longest = {}
    for story in stories:
        for one, next_one in _silences(story):
            number = _fault_of(one.at_s, next_one.at_s, injected)
            hit = number is not None and injected[number].node == one.node
            own = one.request in asked and asked[one.request].owner == one.node
            place = (number, "hit" if hit else "own" if own else "other")
            longest[place] = max(longest.get(place, 0.0), next_one.at_s - one.at_s)
    return longest


def _silences(story):
    """Yield what was heard before and after every silence worth it in the middle of a turn."""
    by_request = {}
    for heard in story.heard:
        if heard.event != ANSWER:
            by_request.setdefault(heard.request, []).append(heard)
    for heard in by_request.values():
        ended = next((n for n, each in enumerate(heard) if each.event == END), len(heard))
        for one, next_one in itertools.pairwise(heard[: ended + 1]):
            if next_one.at_s - one.at_s > WORTH_S:
                yield one, next_one


def _fault_of(began_s, ended_s, injected):
    """Return the place of the last fault that began before the silence ended, unless it was over long ago."""
    found = None
    for number, each in enumerate(injected):
        if each.began_at_s < ended_s and began_s < each.healed_at_s + AFTER_S:
            found = number
    return found
