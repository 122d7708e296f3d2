"""Turns as they are followed from server to server; where nobody does, nothing of it is done.

The names travel as W3C Trace Context has them: https://www.w3.org/TR/trace-context/.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from bridge.facts import TurnReport
from bridge.ports import Claim


class Trace(Protocol):
    """One turn that is followed."""

    @property
    def name(self) -> str:
        """Its ``traceparent``, for a node that takes the turn over; empty where nobody follows it."""
        ...

    @property
    def headers(self) -> Mapping[str, str]:
        """What goes along with the backend's calls, so that its work is a part of the turn."""
        ...

    def ended(self, report: TurnReport, *, fenced: bool) -> None:
        """Take the facts of the turn; ``fenced``: it is another node's by now, which ends it."""
        ...


class Tracing(Protocol):
    """Follows turns; never raises, never waits."""

    def begin(self, claim: Claim, headers: Mapping[str, str]) -> Trace:
        """Follow a turn as a part of what its asker's ``headers`` name; not claimed, it is forgotten."""
        ...

    def go_on(self, claim: Claim) -> Trace:
        """Follow a turn that was taken over, beside what its first owner made of it."""
        ...

    async def close(self) -> None:
        """Let go what is still here, within a short time."""
        ...


@dataclass(frozen=True, slots=True)
class _Untraced:
    headers: Mapping[str, str]
    name: str = ""

    def ended(self, report: TurnReport, *, fenced: bool) -> None:
        """Tell nobody."""


class Untraced:
    """Follows nothing; what the asker's headers name goes on to the backend as it came."""

    def begin(self, _: Claim, headers: Mapping[str, str]) -> Trace:
        """Pass ``headers`` on; see `Tracing.begin`."""
        return _Untraced(headers)

    def go_on(self, _: Claim) -> Trace:
        """Do nothing; see `Tracing.go_on`."""
        return _Untraced({})

    async def close(self) -> None:
        """Do nothing: nothing is here."""


UNTRACED = Untraced()
