"""Everything that can go wrong, as one tree; whose fault it is stands in the type.

::

    BridgeError
    ├── SettingsError          the operator's: a setting cannot be used
    ├── IllegalMove            ours: an event came in a state that does not allow it
    ├── FlagRefused            the operator's: the flag cannot be set so
    ├── AlertsMalformed        the sender's: what should be alerts cannot be read
    ├── WebhookLost            the receiver's: nobody took what the operator was to be told
    ├── SpansLost              the collector's: nobody took the spans of turns
    ├── StoreUnavailable       the store's: no answer in time; the same may succeed later
    ├── OrderUnusable          the caller's: what it emits cannot be told to other nodes
    ├── AnswersMissing         the others': not all who were asked have answered in time
    ├── ClusterMalformed       what another kind of server says cannot be understood, or ours not be said
    ├── RequestError           the device's: what it asked cannot be done; goes into the ack
    └── TurnError              why a turn did not come to its own end; goes into its end message
        ├── TurnInterrupted        ours: the process goes down
        ├── TurnBroken             ours: a fault in the bridge
        ├── TurnOverdue            the whole turn missed its deadline
        ├── AnswerTooLarge         more text than a turn may hold
        └── BackendError           the backend's: its call failed
            ├── BackendUnreachable     nothing was sent: refused, or no connection in time
            ├── BackendRefused         it answered with a status other than 200
            ├── PromptUnusable         nothing was sent: what the device sent does not fit the call
            ├── BackendSilent          no delta before its deadline
            ├── BackendStalled         the next delta missed its deadline
            ├── BackendCut             the stream ended before its end marker
            ├── BackendMalformed       what it sent cannot be understood
            └── BackendFailed          it said itself that it failed

Messages have the form "unable to <do>; <why>". The text of a backend is never part of one: it may hold
what devices must not see.
"""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Literal

FinishReason = Literal[
    "stop",
    "length",
    "content-filter",
    "tool-calls",
    "cancelled",
    "timeout",
    "interrupted",
    "error",
    "other",
]
"""How a turn ended; a cut is never ``stop``."""

RequestCode = Literal[
    "not_an_object",
    "missing_field",
    "bad_field",
    "bad_id",
    "bad_text",
    "empty_content",
    "content_too_large",
    "binary_refused",
    "unknown_event",
    "unknown_message",
    "not_joined",
    "request_id_conflict",
    "bad_auth",
    "bad_origin",
    "bad_type",
    "streaming_off",
    "busy",
    "draining",
    "internal",
    "unauthorized",
    "token_expired",
    "auth_unavailable",
    "not_a_member",
    "membership_unknown",
    "rate_limited",
    "too_many_connections",
    "too_many_rooms",
]
"""The codes a device can meet in ``{ok: false, error: {code, message}}``, or when it connects."""

_PASSING: frozenset[RequestCode] = frozenset(
    {
        "busy",
        "draining",
        "internal",
        "auth_unavailable",
        "membership_unknown",
        "rate_limited",
        "too_many_connections",
    }
)

_NO_WORK_DONE = frozenset({404, 405, 501})
_MAY_PASS = frozenset({408, 425, 429, 500, 502, 503, 504})


class BridgeError(Exception):
    """The root: every error that the bridge raises on purpose."""


class SettingsError(BridgeError):
    """A setting cannot be used; the message names it and says what would do."""


class IllegalMove(BridgeError):
    """An event came in a state that does not allow it; nothing has changed."""


class FlagRefused(BridgeError):
    """The flag cannot be set so; nothing has changed, and the message says what would do."""


class AlertsMalformed(BridgeError):
    """What was posted is no webhook payload of Alertmanager."""


class WebhookLost(BridgeError):
    """The operator's webhook did not take what it was told, however often."""


class SpansLost(BridgeError):
    """Spans of turns that a collector did not take; the turns are none the worse."""


class StoreUnavailable(BridgeError):
    """The store gave no answer in time; whether it acted is unknown, and it may be asked again."""


class OrderUnusable(BridgeError):
    """What is to be emitted cannot be told to other nodes; nobody has heard it."""


class AnswersMissing(BridgeError):
    """Not all servers, or clients, that were asked have answered in time; ``answers`` are those that came."""

    def __init__(self, asked: str, within_s: float, answers: Sequence[Any]) -> None:
        super().__init__(f"unable to have every answer to {asked}; some were missing after {within_s:g} s")
        self.answers = answers


class ClusterMalformed(BridgeError):
    """What a server of another kind says cannot be understood, or what is to be said to it not be said."""


class RequestError(BridgeError):
    """What a device asked cannot be done; the connection lives and nothing else is disturbed."""

    def __init__(self, code: RequestCode, message: str) -> None:
        super().__init__(message)
        self.code: RequestCode = code

    @property
    def retryable(self) -> bool:
        """True when the same may succeed a moment later."""
        return self.code in _PASSING


class TurnError(BridgeError):
    """A turn did not come to its own end; each kind knows how the turn ends and what may be tried."""

    code: ClassVar[str]
    finish_reason: ClassVar[FinishReason]
    """The finish reason when no text was shown."""
    cut_reason: ClassVar[FinishReason]
    """The finish reason when text was shown."""
    arrived: bool = True
    """False when the backend surely did no work for the call."""
    can_retry: bool = False
    """True when the same call may succeed a moment later."""
    final: bool = False
    """True when the backend is not to be asked again in any way: it said so, or the time is used up."""

    def finish(self, *, shown: bool) -> FinishReason:
        """Return how a turn ends by this error, whose text was ``shown`` in part or not at all."""
        return self.cut_reason if shown else self.finish_reason


class TurnInterrupted(TurnError):
    """The process that ran the turn goes down."""

    code = "interrupted"
    finish_reason = "interrupted"
    cut_reason = "interrupted"


class TurnBroken(TurnError):
    """A fault in the bridge itself; it is reported to the operator with its trace."""

    code = "internal"
    finish_reason = "error"
    cut_reason = "error"


class TurnOverdue(TurnError):
    """The whole turn missed its deadline."""

    code = "turn_timeout"
    finish_reason = "timeout"
    cut_reason = "timeout"


class AnswerTooLarge(TurnError):
    """More text came than a turn may hold; what was shown stays."""

    code = "answer_too_large"
    finish_reason = "length"
    cut_reason = "length"


class BackendError(TurnError):
    """A call of the backend failed."""

    code = "backend_error"
    finish_reason: ClassVar[FinishReason] = "error"
    cut_reason: ClassVar[FinishReason] = "error"
    can_retry = True


class BackendUnreachable(BackendError):
    """Nothing was sent: the connection was refused, or not made before its deadline."""

    code = "backend_unavailable"
    arrived = False


class BackendRefused(BackendError):
    """It answered with a status other than 200; ``retry_after_s`` is how long it wants to be left alone.

    ``said`` is the beginning of what it answered, ``headers`` are those of the answer that tell its caller
    what to do: for the operator, and for who asked in the backend's own words; never for a device.
    """

    code = "backend_unavailable"

    def __init__(
        self,
        status: int,
        retry_after_s: float = 0.0,
        said: str = "",
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(f"unable to get an answer; the backend said status {status}")
        self.status = status
        self.arrived = status not in _NO_WORK_DONE
        self.can_retry = status in _MAY_PASS
        self.retry_after_s = retry_after_s
        self.said = said
        self.headers = dict(headers or {})


class PromptUnusable(BackendError):
    """A field that the device sent cannot stand where the backend's profile puts it; nothing was sent."""

    code = "bad_field"
    arrived = False
    can_retry = False
    final = True


class BackendSilent(BackendError):
    """No delta came before the deadline of the first one."""

    code = "backend_timeout"
    final = True
    finish_reason = "timeout"
    cut_reason = "timeout"


class BackendStalled(BackendError):
    """The next delta missed its deadline."""

    code = "backend_stalled"
    final = True
    finish_reason = "timeout"
    cut_reason = "interrupted"


class BackendCut(BackendError):
    """The stream ended before its end marker."""

    code = "backend_cut"
    cut_reason = "interrupted"


class BackendMalformed(BackendError):
    """What it sent cannot be understood; it would say the same again."""

    code = "backend_malformed"
    can_retry = False


class BackendFailed(BackendError):
    """It said itself that it failed."""

    code = "backend_failed"
