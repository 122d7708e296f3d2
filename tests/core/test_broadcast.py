"""A chunk to many devices at once: who is written to, who is left to be told one by one."""

from bridge.broadcast import LOOK_EVERY_BYTES, Broadcast, Way
from bridge.messages import MessageChunk

CHUNK = MessageChunk("r", "room", "m", 2, "text")
LAG_BYTES = 100


class Encoder:
    def __init__(self):
        self.made = 0

    def frame(self, chunk):
        self.made += 1
        return f"{chunk.seq}:{chunk.delta}".encode()


class Device:
    """A device that is its own transport."""

    def __init__(self, encoder=None, waiting_bytes=0):
        self.waiting_bytes = waiting_bytes
        self.written = []
        self.closed = False
        self.way = None
        if encoder is not None:
            self.way = Way(self, encoder.frame, Device.write, Device.waiting, LAG_BYTES)

    def write(self, data):
        if self.closed:
            raise RuntimeError("the handler is closed")
        self.written.append(data)

    def waiting(self):
        return self.waiting_bytes


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


def test_who_lags_is_returned_and_told_nothing():
    encoder = Encoder()
    slow, quick = Device(encoder, waiting_bytes=LAG_BYTES), Device(encoder, waiting_bytes=LAG_BYTES - 1)
    assert Broadcast([slow, quick]).tell(CHUNK) == [slow]
    assert (slow.written, quick.written) == ([], [b"2:text"])


def test_who_begins_to_lag_is_noticed_before_much_more_is_written():
    device = Device(Encoder())
    broadcast = Broadcast([device])
    assert broadcast.tell(CHUNK) == []
    device.waiting_bytes = LAG_BYTES
    while not broadcast.tell(CHUNK):
        assert sum(map(len, device.written)) <= LOOK_EVERY_BYTES
    assert sum(map(len, device.written)) <= LOOK_EVERY_BYTES


def test_who_is_gone_costs_the_others_nothing():
    encoder = Encoder()
    before, gone, behind = (Device(encoder) for _ in range(3))
    gone.closed = True
    assert Broadcast([before, gone, behind]).tell(CHUNK) == [gone]
    assert before.written == behind.written == [b"2:text"]


def test_each_kind_has_bytes_of_its_own():
    one, other = Device(Encoder()), Device(Encoder())
    broadcast = Broadcast([one, other])
    broadcast.tell(CHUNK)
    assert one.written == other.written == [b"2:text"]
