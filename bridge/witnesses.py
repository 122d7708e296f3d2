"""Facts go to several: the log, the figures, who else wants them."""

from bridge.facts import Happening, Refused, TurnReport
from bridge.ports import Telemetry


class Witnesses:
    """Tells ``each`` of several."""

    def __init__(self, *each: Telemetry) -> None:
        self._each = each

    def turn_ended(self, report: TurnReport) -> None:
        """Tell; see `Telemetry.turn_ended`."""
        for one in self._each:
            one.turn_ended(report)

    def fault(self, error: BaseException) -> None:
        """Tell; see `Telemetry.fault`."""
        for one in self._each:
            one.fault(error)

    def happened(self, what: Happening, times: int = 1) -> None:
        """Tell; see `Telemetry.happened`."""
        for one in self._each:
            one.happened(what, times)

    def refused(self, what: Refused, code: str) -> None:
        """Tell; see `Telemetry.refused`."""
        for one in self._each:
            one.refused(what, code)

    def beaten(self, late_s: float) -> None:
        """Tell; see `Telemetry.beaten`."""
        for one in self._each:
            one.beaten(late_s)
