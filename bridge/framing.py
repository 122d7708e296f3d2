"""Server-sent events from bytes: whole records that hold data, bounded, whatever the network cuts.

Ours, because nothing else reads a stream as cheaply and as strictly: httpx-sse 0.4 loses the first event
behind a byte order mark, makes phantom events of comments and of records without data once an id was seen,
takes ``retry`` values that are no digits, and bounds neither lines nor events. Where it is right, tests hold
the two against each other.
https://html.spec.whatwg.org/multipage/server-sent-events.html#event-stream-interpretation
"""

from bridge.dialects.base import Frame
from bridge.errors import BackendMalformed

_BOM = b"\xef\xbb\xbf"

LINE_LIMIT_BYTES = 256 * 1024
EVENT_LIMIT_BYTES = 1024 * 1024
IDS_REMEMBERED = 256


class Repeats:
    """Knows records that a backend sends twice, by their ids; one object for all connections of an answer.

    A record is a repeat when it came before under its id. Some backends give all records of an answer
    one id: where an id comes with other data, ids do not name records, and nothing is a repeat any more.
    """

    def __init__(self) -> None:
        self._seen: dict[bytes, int] = {}
        self._ids_name_records = True

    def has(self, record_id: bytes, event: bytes, data: list[bytes]) -> bool:
        """Return whether this record came before, and remember it."""
        if not self._ids_name_records:
            return False
        digest = hash((event, *data))
        known = self._seen.get(record_id)
        if known is None:
            self._remember(record_id, digest)
            return False
        self._ids_name_records = known == digest
        return self._ids_name_records

    def _remember(self, record_id: bytes, digest: int) -> None:
        if len(self._seen) >= IDS_REMEMBERED:
            del self._seen[next(iter(self._seen))]
        self._seen[record_id] = digest


class Framing:
    """Takes the bytes of a response as they come and gives frames that can be trusted.

    What stands behind the last empty line when the stream ends is not given: it was cut. Nor are repeats;
    ``repeats`` is what an earlier connection of the same answer has seen. A frame has the last id seen.
    """

    def __init__(
        self,
        repeats: Repeats | None = None,
        *,
        line_limit_bytes: int = LINE_LIMIT_BYTES,
        event_limit_bytes: int = EVENT_LIMIT_BYTES,
    ) -> None:
        self._repeats = repeats or Repeats()
        self._line_limit_bytes = line_limit_bytes
        self._event_limit_bytes = event_limit_bytes
        self._start = True
        self._after_cr = False
        self._tail = b""
        self._data: list[bytes] = []
        self._event = b""
        self._record_bytes = 0
        self._id = ""
        self._own_id = b""

    def feed(self, data: bytes) -> list[Frame]:
        """Return the frames that ``data`` completes, perhaps none.

        Raises `BackendMalformed` when a line or an event passes its limit.
        """
        frames: list[Frame] = []
        for line in self._lines(data):
            if line:
                self._take(line)
            else:
                self._dispatch(frames)
        return frames

    @property
    def unfinished(self) -> bytes:
        """What came behind the last line end."""
        return self._tail

    def _lines(self, data: bytes) -> list[bytes]:
        if self._after_cr and data:
            self._after_cr = False
            data = data.removeprefix(b"\n")  # the other half of a line end that was split
        data = self._tail + data
        if self._start:
            data = self._without_bom(data)
        if b"\r" in data:
            self._after_cr = data.endswith(b"\r")
            data = data.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
        *lines, self._tail = data.split(b"\n")
        if len(self._tail) > self._line_limit_bytes:
            raise BackendMalformed(
                f"unable to read the stream; a line is over {self._line_limit_bytes} bytes"
            )
        return lines

    def _without_bom(self, data: bytes) -> bytes:
        if _BOM.startswith(data):  # not enough bytes to tell, or only the mark itself
            return data
        self._start = False
        return data.removeprefix(_BOM)

    def _take(self, line: bytes) -> None:
        name, _, value = line.partition(b":")
        if name == b"data":
            self._data.append(value.removeprefix(b" "))
        elif name == b"event":
            self._event = value.removeprefix(b" ")
        elif name == b"id":
            if b"\0" not in value:
                self._own_id = value.removeprefix(b" ")
                self._id = _text(self._own_id)
        else:  # a comment has an empty name
            return
        self._record_bytes += len(line)
        if len(line) > self._line_limit_bytes or self._record_bytes > self._event_limit_bytes:
            raise BackendMalformed(
                f"unable to read the stream; an event is over {self._event_limit_bytes} bytes"
            )

    def _dispatch(self, frames: list[Frame]) -> None:
        """End a record: with data it goes on, under the last id seen; without, only that id stays."""
        data, event, own_id = self._data, self._event, self._own_id
        if data and not (own_id and self._repeats.has(own_id, event, data)):
            whole = data[0] if len(data) == 1 else b"\n".join(data)
            name = _text(event) if event and event != b"message" else ""
            frames.append(Frame(_text(whole), name, self._id))
        self._data, self._event, self._own_id, self._record_bytes = [], b"", b"", 0


def _text(data: bytes) -> str:
    return data.decode("utf-8", "replace")  # of whole lines, so no character is cut
