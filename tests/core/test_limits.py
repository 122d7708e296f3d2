"""Token buckets, places, addresses, origins: pure values, any time and any text."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.addresses import client_address, is_loopback, networks
from bridge.limits import Places, TokenBucket, TokenBuckets
from bridge.origins import Origins, is_origin

PROXIES = networks(["10.0.0.0/8", "::1"])


@given(st.lists(st.floats(0, 1), max_size=200))
def test_a_bucket_never_lets_more_through_than_its_rate_and_burst(pauses_s):
    bucket, now_s, taken = TokenBucket(10, 20, 0.0), 0.0, 0
    for pause_s in pauses_s:
        now_s += pause_s
        taken += bucket.take(now_s)
        assert taken <= 20 + 10 * now_s + 1e-6


def test_a_bucket_is_full_again_after_a_while():
    bucket = TokenBucket(10, 20, 0.0)
    assert [bucket.take(0.0) for _ in range(21)] == [True] * 20 + [False]
    assert bucket.take(0.1)
    assert not bucket.take(0.1)
    assert not bucket.full(2.0)
    assert bucket.full(2.2)


def test_buckets_of_many_keys_are_apart_and_forgotten_when_full():
    buckets = TokenBuckets(1, 2, limit=10)
    assert buckets.take("a", 0.0)
    assert buckets.take("a", 0.0)
    assert not buckets.take("a", 0.0)
    assert buckets.take("b", 0.0)
    for number in range(50):
        buckets.take(number, 0.0)
    assert len(buckets) <= 10
    for number in range(50):
        buckets.take(1000, 100.0 + number)
    assert len(buckets) == 1


def test_places_are_given_back():
    places = Places(2)
    assert places.take("a")
    assert places.take("a")
    assert not places.take("a")
    assert places.take("b")
    places.leave("a")
    assert places.take("a")
    for key in ("a", "a", "b"):
        places.leave(key)
    assert len(places) == 0


@pytest.mark.parametrize(
    ("peer", "forwarded_for", "counted"),
    [
        ("1.2.3.4", "", "1.2.3.4"),
        ("1.2.3.4", "6.6.6.6", "1.2.3.4"),  # a stranger says what it likes
        ("10.1.1.1", "6.6.6.6", "6.6.6.6"),
        ("10.1.1.1", "9.9.9.9, 6.6.6.6", "6.6.6.6"),  # what stands left of it may be forged
        ("10.1.1.1", "6.6.6.6, 10.2.2.2", "6.6.6.6"),
        ("10.1.1.1", "10.2.2.2", "10.2.2.2"),
        ("10.1.1.1", "nonsense", "10.1.1.1"),
        ("::1", "2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("::ffff:10.1.1.1", "6.6.6.6", "6.6.6.6"),
        ("", "", ""),
    ],
)
def test_whom_a_connection_counts_to(peer, forwarded_for, counted):
    assert client_address(peer, forwarded_for, PROXIES) == counted


@given(st.text(), st.text())
def test_no_header_is_too_odd_to_count(peer, forwarded_for):
    assert isinstance(client_address(peer, forwarded_for, PROXIES), str)


@pytest.mark.parametrize(
    ("host", "only_here"),
    [
        ("127.0.0.1", True),
        ("127.8.8.8", True),
        ("::1", True),
        ("localhost", True),
        ("0.0.0.0", False),  # noqa: S104
        ("::", False),
        ("192.168.0.1", False),
        ("chat.example.org", False),
        ("", False),
    ],
)
def test_what_only_this_machine_can_reach(host, only_here):
    assert is_loopback(host) is only_here


@pytest.mark.parametrize(
    ("named", "origin", "allowed"),
    [
        ([], None, True),
        ([], "http://here:1", True),
        ([], "https://here:1", True),
        ([], "http://here", False),
        ([], "http://evil", False),
        ([], "null", False),
        (["https://a.example"], "https://a.example", True),
        (["https://a.example"], None, True),
        (["https://a.example"], "http://a.example", False),
        (["https://a.example"], "https://a.example.evil", False),
        (["https://a.example"], "http://here:1", False),
        (["*"], "https://evil", True),
    ],
)
def test_which_pages_may_connect(named, origin, allowed):
    assert Origins(named).allow(origin, "here:1") is allowed


@pytest.mark.parametrize("text", ["https://a.example", "http://a:8080", "https://[::1]:1"])
def test_an_origin_has_a_scheme_a_host_and_no_more(text):
    assert is_origin(text)


@pytest.mark.parametrize(
    "text", ["a.example", "https://a.example/", "https://A.example", "ftp://a", "https://u@a", "*"]
)
def test_what_is_no_origin(text):
    assert not is_origin(text)
