"""Turns and flags as the guard sees them."""

import itertools

from bridge.changes import Change, FlagState, Reason
from bridge.facts import TurnReport
from bridge.guard import GUARD
from bridge.rollout import Rollout

_numbers = itertools.count(1)


def report(**facts):
    """Return the report of a turn that went well but for ``facts``."""
    known = {
        "request_id": "r",
        "room_id": "room",
        "message_id": "m",
        "streaming": True,
        "finish_reason": "stop",
        "error_code": None,
        "deltas": 10,
        "chunks": 10,
        "content_chars": 50,
        "backend_calls": 1,
        "taken_over": False,
        "first_event_s": 0.1,
        "first_delta_s": 0.2,
        "first_kept_s": 0.2,
        "first_chunk_s": 0.2,
        "completion_s": 1.0,
        "differs": False,
    }
    return TurnReport(**{**known, **facts})


def changed(state, value, *, who=GUARD, when="2026-01-01T00:00:00Z"):
    """Return ``state`` after a change of its value."""
    version = f"{next(_numbers)}-0"
    return state.changed(Change(version, when, Rollout(value), state.rollout, Reason(who, "why")))


def state_of(value, **given):
    """Return a flag that a person set."""
    return changed(FlagState(Rollout("off")), value, who="ann", **given)
