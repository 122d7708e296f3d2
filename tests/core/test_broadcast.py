"""A chunk to many devices at once: who is written to, who is left to be told one by one."""

from bridge.broadcast import Broadcast, Way
from bridge.messages import MessageChunk

CHUNK = MessageChunk("r", "room", "m", 2, "text")


class Encoder:
    def __init__(self):
        self.made = 0

    def frame(self, chunk):
        self.made += 1
        return f"{chunk.seq}:{chunk.delta}".encode()


class Burst:
    """Writes to devices that are their own lines."""

    def __init__(self):
        self.lines = []

    def add(self, line):
        self.lines.append(line)

    def write(self, data):
        for line in self.lines:
            if not line.lags:
                line.written.append(data)
        return [place for place, line in enumerate(self.lines) if line.lags]


class Device:
    def __init__(self, encoder=None, burst=Burst, *, lags=False):
        self.lags = lags
        self.written = []
        self.way = Way(self, encoder.frame, burst) if encoder is not None else None


def test_all_that_have_a_way_are_written_the_same_bytes_made_once():
    encoder = Encoder()
    devices = [Device(encoder) for _ in range(3)]
    assert Broadcast(devices).tell(CHUNK) == []
    assert [each.written for each in devices] == [[b"2:text"]] * 3
    assert encoder.made == 1


def test_who_has_no_way_is_named_and_told_nothing():
    polling, written = Device(), Device(Encoder())
    broadcast = Broadcast([polling, written])
    assert broadcast.others == [polling]
    assert broadcast.tell(CHUNK) == []
    assert polling.written == []


def test_who_lags_is_returned_whatever_its_kind_and_place():
    one, other = Encoder(), Encoder()
    devices = [Device(one), Device(other, lags=True), Device(one, lags=True), Device(other)]
    assert set(Broadcast(devices).tell(CHUNK)) == {devices[1], devices[2]}
    assert [each.written for each in devices] == [[b"2:text"], [], [], [b"2:text"]]


def test_each_kind_has_bytes_and_a_burst_of_its_own():
    encoder, made = Encoder(), []

    def other_burst():
        made.append(Burst())
        return made[-1]

    devices = [Device(Encoder()), Device(encoder, other_burst), Device(encoder), Device(encoder, other_burst)]
    Broadcast(devices).tell(CHUNK)
    assert [each.written for each in devices] == [[b"2:text"]] * 4
    assert encoder.made == 2
    assert [burst.lines for burst in made] == [[devices[1], devices[3]]]
