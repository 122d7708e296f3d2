"""What the devices heard, and what was wrong with it: the first law and its sisters, as pure functions.

Per device and turn: at most one start, chunks contiguous without repeat, exactly one end, nothing after it.
All devices of a room get the same text, the text is the one that the backend has, and it was made once.
A device that comes back may be told an ended turn again, because it cannot say that it knows its end: this
is counted and is no violation, for such a device takes nothing of it.
"""

import zlib
from collections import Counter, defaultdict
from dataclasses import dataclass, field

START, CHUNK, END, ANSWER = "start", "chunk", "end", "answer"
JOINED = frozenset({"stop", "length", "tool-calls", "cancelled", "interrupted"})
"""Finish reasons behind which the joined deltas are the content."""
KINDS = (
    "lost",
    "duplicated",
    "reordered",
    "unequal",
    "unended",
    "cut short",
    "late",
    "asked twice",
    "leaked",
    "refused",
)
SETTLED_S, SURE_S = 10.0, 2.0
"""A device that was there until so long after an end had to hear it; and had to be there so long before."""
LATE_S, NEAR_S = 5.0, 2.0
"""So long after the first device, the mended fault or its own coming a device hears an end at the latest."""


@dataclass(frozen=True, slots=True)
class Heard:
    """One message of a turn as a device had it; ``connection`` counts its connections, from 1."""

    at_s: float
    connection: int
    node: str
    event: str
    request: str
    message: str
    room: str
    seq: int = 0
    from_seq: int = 0
    text: str = ""
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Story:
    """All that a device of ``room`` heard, and when it was there: (joined, left) in seconds."""

    device: str
    room: str
    heard: list[Heard]
    presence: list[tuple[float, float]]
    left_at_s: float | None = None
    """When it went for good, by its own will; None: it stayed to the end of the run."""


@dataclass(slots=True)
class Asked:
    """A request as the devices made it; ``owner`` is the node that took it first.

    ``claims`` is how many nodes took it each for itself, ``cut_off`` if an owner may have been alone.
    """

    request: str
    room: str
    at_s: float
    owner: str = ""
    taken: bool = False
    stopped: bool = False
    cut_off: bool = False
    claims: int = 0

    @property
    def limited(self):
        """True where two nodes spoke apart from Redis: devices may be shown the same text in other chunks."""
        return self.cut_off or self.claims > 1


@dataclass(frozen=True, slots=True)
class Violation:
    """One breach of a law."""

    kind: str
    device: str
    request: str
    why: str
    at_s: float = 0.0


@dataclass(slots=True)
class Verdict:
    """What was judged, what was wrong, and what is wrong only where a known limit allows it."""

    turns: int = 0
    hearings: int = 0
    chunks: int = 0
    retold: int = 0
    violations: list[Violation] = field(default_factory=list)
    allowed: list[Violation] = field(default_factory=list)

    @property
    def counts(self):
        found = Counter(each.kind for each in self.violations)
        return {kind: found[kind] for kind in KINDS}

    @property
    def line(self):
        return ", ".join(f"{count} {kind}" for kind, count in self.counts.items())


class Hearing:
    """What one device heard of one request."""

    def __init__(self, device, request):
        self.device, self.request = device, request
        self.start = self.end = None
        self.began_at_s = float("inf")
        self.seq = self.chunks = self.retold = self.crc = 0
        self.marks = {}
        """seq -> checksum of the text up to there"""
        self.violations = []
        self._parts = []
        self._answered_on = set()
        self._missing = set()

    def wrong(self, kind, why, at_s=0.0):
        self.violations.append(Violation(kind, self.device, self.request, why, at_s))

    def take(self, heard):
        self.began_at_s = min(self.began_at_s, heard.at_s)
        first = self.start or self.end
        if first is not None and heard.message != first.message:
            self.wrong("unequal", f"called {heard.message} and {first.message}", heard.at_s)
        if heard.event == ANSWER:
            self._answer(heard)
        elif self.end is None:
            {START: self._start, CHUNK: self._chunk, END: self._end}[heard.event](heard)
        elif heard.connection == self.end.connection:
            self.wrong("duplicated", f"{heard.event} {heard.seq} after the end", heard.at_s)
        else:
            self.retold += 1

    def _answer(self, heard):
        if heard.connection in self._answered_on:
            self.wrong("duplicated", "the complete message came twice", heard.at_s)
        self._answered_on.add(heard.connection)

    def _start(self, heard):
        if self.start is not None:
            self.wrong("duplicated", "a second start", heard.at_s)
        self.start = self.start or heard

    def _chunk(self, heard):
        if self.start is None:
            self.wrong("reordered", f"chunk {heard.seq} before the start", heard.at_s)
        covers = set(range(heard.from_seq or heard.seq, heard.seq + 1))
        first = min(covers)
        if first <= self.seq:
            late = covers <= self._missing
            self._missing -= covers
            kind = "reordered" if late else "duplicated"
            self.wrong(kind, f"chunk {first}..{heard.seq} behind {self.seq}", heard.at_s)
            return
        self._missing |= set(range(self.seq + 1, first))
        if first > self.seq + 1:
            self._gap_at_s = heard.at_s
        self.seq = heard.seq
        self.chunks += 1
        self._parts.append(heard.text)
        self.crc = zlib.crc32(heard.text.encode(), self.crc)
        self.marks[heard.seq] = self.crc

    def _end(self, heard):
        self.end = heard
        if self._missing or self.violations:
            return
        if heard.reason in JOINED and self.start is not None and "".join(self._parts) != heard.text:
            had, has = len("".join(self._parts)), len(heard.text)
            self.wrong("unequal", f"{had} characters heard, {has} in the end's content", heard.at_s)

    def close(self, *, stayed):
        """Know that nothing more comes; a device that left by its own will need not have heard the end."""
        if self._missing:
            self.wrong("lost", f"chunks {sorted(self._missing)[:5]} never came", self._gap_at_s)
        if self.start is not None and self.end is None and stayed:
            self.wrong("unended", f"no end after chunk {self.seq}", self.start.at_s)


def judge(stories, asked, *, stored=None, calls=None, troubles=()):
    """Return the `Verdict` over all ``stories``.

    ``asked`` is request -> `Asked`, ``stored`` request -> the text that the backend has, ``calls`` request ->
    (calls that came, answers that were made), ``troubles`` are the faults as (began, mended).
    """
    verdict = Verdict()
    hearings = defaultdict(list)
    for story in stories:
        for hearing in _hearings(story, verdict):
            hearings[hearing.request].append(hearing)
    verdict.turns = len(hearings)
    for request, heard_by in hearings.items():
        for violation in _agreed(request, heard_by):
            _file(verdict, asked.get(request), violation)
        _whole(verdict, asked.get(request), heard_by, (stored or {}).get(request))
        _late(verdict, heard_by, {story.device: story for story in stories}, troubles)
    _unheard(verdict, stories, asked, hearings)
    for request, (posts, answers) in (calls or {}).items():
        calm = request in hearings and _is_calm(hearings[request], troubles)
        if answers > 1 or (calm and posts > 1):
            why = f"{posts} calls, {answers} answers" + (" in calm" if calm else "")
            verdict.violations.append(Violation("asked twice", "", request, why))
    for each in asked.values():
        if not each.taken and each.request not in hearings:
            verdict.violations.append(Violation("refused", "", each.request, "never taken", each.at_s))
    return verdict


def _hearings(story, verdict):
    found = {}
    for heard in story.heard:
        if heard.room != story.room:
            why = f"heard of room {heard.room} in {story.room}"
            verdict.violations.append(Violation("leaked", story.device, heard.request, why, heard.at_s))
            continue
        if heard.request not in found:
            found[heard.request] = Hearing(story.device, heard.request)
        found[heard.request].take(heard)
    for hearing in found.values():
        hearing.close(stayed=story.left_at_s is None)
        verdict.hearings += 1
        verdict.chunks += hearing.chunks
        verdict.retold += hearing.retold
    return found.values()


def _agreed(request, heard_by):
    """Yield what is wrong with each, and where two do not agree."""
    marks, ends = {}, {}
    for hearing in heard_by:
        yield from hearing.violations
        for seq, crc in hearing.marks.items():
            if marks.setdefault(seq, crc) != crc and not hearing.violations:
                why = f"other text up to chunk {seq} than another device"
                yield Violation("unequal", hearing.device, request, why)
                break
        if hearing.end is not None:
            said = (hearing.end.reason, hearing.end.text)
            if ends.setdefault("end", said) != said:
                why = f"ended as {said[0]} with {len(said[1])} characters, another with {ends['end'][0]}"
                yield Violation("cut short", hearing.device, request, why, hearing.end.at_s)


def _file(verdict, asked, violation):
    """A turn that two nodes spoke apart may be shown in other chunks, but without a gap or a repeat."""
    limit = asked is not None and asked.limited and violation.kind == "unequal"
    (verdict.allowed if limit else verdict.violations).append(violation)


def _whole(verdict, asked, heard_by, stored):
    """Compare the end with what the backend has: the whole of it, unless somebody stopped it."""
    end = next((hearing.end for hearing in heard_by if hearing.end is not None), None)
    if end is None:
        return
    stopped = asked is not None and asked.stopped
    if end.reason != "stop" and not stopped:
        why = f"ended as {end.reason}"
        verdict.violations.append(Violation("cut short", "", end.request, why, end.at_s))
    if stored is not None and not (stored == end.text or (stopped and stored.startswith(end.text))):
        why = f"{len(end.text)} characters, the backend has {len(stored)}"
        verdict.violations.append(Violation("unequal", "", end.request, why, end.at_s))


def _late(verdict, heard_by, stories, troubles):
    ends = [hearing.end for hearing in heard_by if hearing.end is not None]
    if not ends:
        return
    due_s = min(end.at_s for end in ends)
    for began_s, mended_s in sorted(troubles):
        if began_s < due_s + NEAR_S:
            due_s = max(due_s, mended_s)
    for hearing in heard_by:
        if hearing.end is not None:
            came = (since for since, _ in stories[hearing.device].presence if since <= hearing.end.at_s)
            late_s = hearing.end.at_s - max(due_s, max(came, default=0.0))
            if late_s > LATE_S:
                why = f"its end came {late_s:.1f} s late"
                found = Violation("late", hearing.device, hearing.request, why, hearing.end.at_s)
                verdict.violations.append(found)


def _is_calm(heard_by, troubles):
    """Return whether no fault was near the turn."""
    began_s = min(h.began_at_s for h in heard_by)
    ended_s = max((h.end.at_s for h in heard_by if h.end is not None), default=float("inf"))
    return not any(
        began < ended_s + NEAR_S and began_s < mended + LATE_S + NEAR_S for began, mended in troubles
    )


def _unheard(verdict, stories, asked, hearings):
    """Find the devices that were there all the time and heard nothing."""
    here = defaultdict(list)
    for story in stories:
        here[story.room].append(story)
    for request, heard_by in hearings.items():
        ended_at_s = min((h.end.at_s for h in heard_by if h.end is not None), default=None)
        if ended_at_s is None or request not in asked:
            continue
        heard = {hearing.device for hearing in heard_by}
        for story in here[asked[request].room]:
            if story.device not in heard and _there(story, ended_at_s):
                why = "was there and heard nothing of it"
                verdict.violations.append(Violation("lost", story.device, request, why, ended_at_s))


def _there(story, ended_at_s):
    return any(
        joined_s <= ended_at_s - SURE_S and left_s >= ended_at_s + SETTLED_S
        for joined_s, left_s in story.presence
    )
