"""What came and what went: the figures that a test can ask for."""

from dataclasses import dataclass, field
from typing import Any

from backend_stub.messages import Id

_REQUESTS_LIMIT = 100_000  # the oldest are forgotten


@dataclass(slots=True)
class Calls:
    """How many POSTs came for one request, and how many answers were generated for it."""

    posts: int = 0
    answers: int = 0


@dataclass(slots=True)
class Tally:
    """Counters since the backend was made.

    ``calls`` is by request, ``open_streams`` is now, ``dropped_by_caller`` counts the streams whose caller
    went away before their end, ``store_failures`` the messages that the database did not take.
    """

    calls: dict[str, Calls] = field(default_factory=dict)
    open_streams: int = 0
    dropped_by_caller: int = 0
    store_failures: int = 0

    def of(self, request_id: Id) -> Calls:
        """Return the counters of a request, which begin at zero."""
        name = str(request_id)
        if name not in self.calls and len(self.calls) >= _REQUESTS_LIMIT:
            del self.calls[next(iter(self.calls))]
        return self.calls.setdefault(name, Calls())

    def told(self) -> dict[str, Any]:
        """Return the JSON object of the counters."""
        return {
            "calls": {
                name: {"posts": calls.posts, "answers": calls.answers} for name, calls in self.calls.items()
            },
            "openStreams": self.open_streams,
            "droppedByCaller": self.dropped_by_caller,
            "storeFailures": self.store_failures,
        }
