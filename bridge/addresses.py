"""Where a connection comes from, as far as it can be believed."""

import ipaddress
from collections.abc import Iterable

_IPV6_HOME_BITS = 64
"""One household or machine is given that much of an IPv6 address, and may change the rest as it likes."""

Network = ipaddress.IPv4Network | ipaddress.IPv6Network


def networks(named: Iterable[str]) -> tuple[Network, ...]:
    """Return the networks named like ``10.0.0.0/8`` or ``::1``. Raises `ValueError`."""
    return tuple(ipaddress.ip_network(each) for each in named)


def client_address(peer: str, forwarded_for: str, trusted: tuple[Network, ...]) -> str:
    """Return whom to count a connection of ``peer`` to: for IPv6 the network of 64 bits.

    ``forwarded_for`` is the X-Forwarded-For header: each proxy adds, on the right, whom it was asked by. It
    is believed from the right as long as a ``trusted`` proxy says so; what stands further left may be forged.
    """
    address = _counted(peer)
    for said in (peer, *reversed(forwarded_for.split(","))):
        found = _address(said)
        if found is None:
            break
        address = _counted(said)
        if not any(found in network for network in trusted):
            break
    return address


def is_loopback(host: str) -> bool:
    """Return whether only this machine can reach what listens on ``host``."""
    found = _address(host)
    return host == "localhost" or (found is not None and found.is_loopback)


def _address(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        found = ipaddress.ip_address(text.strip())
    except ValueError:
        return None
    mapped = found.ipv4_mapped if isinstance(found, ipaddress.IPv6Address) else None
    return mapped or found


def _counted(text: str) -> str:
    found = _address(text)
    if isinstance(found, ipaddress.IPv6Address):
        return str(ipaddress.IPv6Network((found, _IPV6_HOME_BITS), strict=False))
    return text if found is None else str(found)
