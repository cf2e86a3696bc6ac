"""Where requests may go: public addresses, and private ones that somebody has allowed (RELIABILITY R6).

A name is resolved once, every address it has is looked at, and the connection goes to the address that was looked at:
a name that means something else a moment later leads nowhere else. Whatever an address is written like (`0x7f.1`,
`::ffff:10.0.0.1`, NAT64, 6to4), it is what it leads to that counts.
"""

from __future__ import annotations

import asyncio
import ipaddress
import os
import socket
from collections.abc import Iterable, Iterator, Mapping
from typing import Final

__all__ = ["VARIABLE", "AddressRefused", "Egress"]

#: Networks that are private and may be reached all the same: `10.1.0.0/16, 127.0.0.1`.
VARIABLE: Final = "STRATAFLOW_EGRESS_ALLOW"
_Address = ipaddress.IPv4Address | ipaddress.IPv6Address
_Network = ipaddress.IPv4Network | ipaddress.IPv6Network
#: IPv6 networks whose addresses end in an IPv4 address that they lead to.
_NAT64: Final = tuple(
    map(ipaddress.IPv6Network, ("64:ff9b::/96", "64:ff9b:1::/48", "::/96", "::ffff:0:0:0/96"))
)
#: All that IPv6 routes between networks, and of that what stands in documents only.
_UNICAST6: Final = ipaddress.IPv6Network("2000::/3")
_EXAMPLES6: Final = ipaddress.IPv6Network("3fff::/20")
#: Addresses of one name that are tried.
_TRIED: Final = 4


class AddressRefused(Exception):
    """Raised for a host with an address that is not public and that nobody has allowed."""


class Egress:
    """Decides about addresses. `allowed` are networks that are reached although they are not public."""

    def __init__(self, allowed: Iterable[str] = ()) -> None:
        self._allowed: tuple[_Network, ...] = tuple(_network(text) for text in allowed)

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] | None = None) -> Egress:
        """The networks in STRATAFLOW_EGRESS_ALLOW. Raises ValueError, naming the one that is none."""
        text = (os.environ if environment is None else environment).get(VARIABLE, "")
        return cls(text.replace(",", " ").split())

    def allows(self, address: str) -> bool:
        """May this address be connected to?"""
        try:
            found = ipaddress.ip_address(address.partition("%")[0])
        except ValueError:
            return False
        return all(_is_public(each) or self._is_allowed(each) for each in _meant(found))

    def _is_allowed(self, address: _Address) -> bool:
        return any(address in network for network in self._allowed if network.version == address.version)

    async def resolve(self, host: str, port: int) -> list[str]:
        """The addresses of a host, at most four. Raises AddressRefused when one of them all is not allowed, OSError."""
        loop = asyncio.get_running_loop()
        try:
            found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        except ValueError as exc:
            raise OSError(f"{host!r} is no name of a host") from exc
        addresses = list(dict.fromkeys(str(entry[4][0]) for entry in found))
        if not addresses:
            raise OSError(f"{host} has no address")
        if not all(map(self.allows, addresses)):
            raise AddressRefused(f"{host} has an address that is not public; {VARIABLE} allows networks")
        return addresses[:_TRIED]


def _network(text: str) -> _Network:
    try:
        return ipaddress.ip_network(text, strict=False)
    except ValueError:
        raise ValueError(f"{VARIABLE}: {text!r} is no network such as 10.1.0.0/16") from None


def _is_public(address: _Address) -> bool:
    if isinstance(address, ipaddress.IPv6Address) and (address not in _UNICAST6 or address in _EXAMPLES6):
        return False
    return address.is_global and not address.is_multicast and not address.is_reserved


def _meant(address: _Address) -> Iterator[_Address]:
    """The address, and the IPv4 address that an IPv6 one leads to; that one alone where it is only a spelling."""
    if isinstance(address, ipaddress.IPv4Address):
        yield address
        return
    inner = address.ipv4_mapped or address.sixtofour
    if address.teredo is not None:
        yield from address.teredo
        return
    if inner is None and any(address in network for network in _NAT64) and int(address) > 1:
        inner = ipaddress.IPv4Address(int(address) & 0xFFFF_FFFF)
    yield inner if inner is not None else address
