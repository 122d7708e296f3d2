"""What `validate` has measured, judged and put into words."""

import json
from collections.abc import Sequence
from dataclasses import dataclass

from bridge.commands.validation import picture, report
from bridge.commands.validation.load import Load
from bridge.commands.validation.verdict import Check, Figures, Limits, checks


@dataclass(frozen=True, slots=True)
class Measured:
    """What was measured where, and how it was judged."""

    url: str
    load: Load
    sides: Sequence[Figures]
    limits: Limits

    @property
    def checks(self) -> list[Check]:
        """Every figure against its limit."""
        return [check for side in self.sides for check in checks(side, self.limits)]

    @property
    def passed(self) -> bool:
        """True when all checks are."""
        return all(check.passed for check in self.checks)

    @property
    def title(self) -> str:
        """One line that says how much was asked where."""
        ways = " each way" if len(self.sides) > 1 else ""
        rooms, devices = len(self.load.rooms), self.load.devices
        return f"{rooms} rooms, {devices} devices, {self.load.messages} messages{ways}, {self.url}"

    def lines(self) -> list[str]:
        """Return all of it for people."""
        found = self.checks
        return [self.title, "", *report.table(self.sides, found, self.limits), "", report.verdict(found)]

    def json(self) -> str:
        """Return all of it as JSON."""
        said = {
            "url": self.url,
            "rooms": len(self.load.rooms),
            "devices": self.load.devices,
            "messages": self.load.messages,
            "sides": [side.wire() for side in self.sides],
            "checks": [check.wire() for check in self.checks],
            "passed": self.passed,
        }
        return json.dumps(said)

    def drawn(self, *, as_page: bool) -> str:
        """Return the waits as an SVG, or as a page with the table under it."""
        parts = (self.sides, self.limits, self.title)
        return picture.html(*parts, self.lines()) if as_page else picture.svg(*parts)
