"""The faults that can be asked for, and the words they are asked for with.

A fault is ``NAME`` with parameters behind it, as in ``cut;after=3;times=1;on=both``.
"""

from dataclasses import dataclass

from backend_stub.errors import SettingError

STATUSES = {"status-500": 500, "status-503": 503, "status-429": 429}
"""The faults that are an HTTP status."""

BEFORE_ANSWER = frozenset({"refuse", "hang", "silent", "json-error", "redirect", *STATUSES})
"""The faults that come instead of an answer: such a call makes none, and attaches to none."""

ON_COMPLETE = frozenset({"refuse", "hang", "silent", "error", *STATUSES})
"""The faults that the complete call knows, too."""

_IN_DELIVERY = {
    "stall",
    "cut",
    "malformed",
    "malformed-many",
    "no-end",
    "after-end",
    "duplicate",
    "huge",
    "bad-utf8",
    "bom",
    "surrogates",
    "hostile",
}
NAMES = frozenset({"none", "error", *_IN_DELIVERY, *BEFORE_ANSWER})
"""Every fault there is."""

_LIMITS = {"after": 20_000, "times": 1_000_000, "bytes": 4 * 1024**3}
_CALLS = ("stream", "complete", "both")


@dataclass(frozen=True, slots=True)
class Fault:
    """One fault: ``after`` so many deltas of a call, on its request's first ``times`` calls (None: all).

    ``size_bytes`` is how long the line of ``huge`` is; ``on`` is ``stream``, ``complete`` or ``both``.
    """

    name: str = "none"
    after: int = 5
    times: int | None = None
    size_bytes: int = 200_000_000
    on: str = "stream"

    def concerns(self, call: str, ordinal: int) -> bool:
        """Tell whether this fault meets the ``ordinal``-th call of a request, counted from 1."""
        if self.name == "none" or self.on not in (call, "both"):
            return False
        if call == "complete" and self.name not in ON_COMPLETE:
            return False
        return self.times is None or ordinal <= self.times


NONE = Fault()
"""No fault."""


def parse(text: str) -> Fault:
    """Return the fault that ``text`` asks for; raise `SettingError` when there is no such."""
    name, *parameters = (part.strip() for part in text.split(";"))
    if name not in NAMES:
        raise SettingError(f"unable to use the fault {text!r}; names are {', '.join(sorted(NAMES))}")
    given = dict(_parameter(text, parameter) for parameter in parameters)
    figures = {key: _figure(text, key, value) for key, value in given.items() if key != "on"}
    return Fault(
        name=name,
        after=figures.get("after", NONE.after),
        times=figures.get("times"),
        size_bytes=figures.get("bytes", NONE.size_bytes),
        on=given.get("on", NONE.on),
    )


def _parameter(text: str, parameter: str) -> tuple[str, str]:
    key, _, value = parameter.partition("=")
    if key not in _LIMITS and (key != "on" or value not in _CALLS):
        raise SettingError(
            f"unable to use the fault {text!r}; "
            "parameters are after=K, times=M, bytes=N, on=stream|complete|both"
        )
    return key, value


def _figure(text: str, key: str, value: str) -> int:
    if not (value.isascii() and value.isdecimal() and len(value) <= len(str(_LIMITS[key]))):
        raise SettingError(f"unable to use the fault {text!r}; {key} must be a whole number")
    if int(value) > _LIMITS[key]:
        raise SettingError(f"unable to use the fault {text!r}; {key} must be at most {_LIMITS[key]}")
    return int(value)
