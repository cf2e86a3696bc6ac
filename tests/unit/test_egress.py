"""Requests leave for public addresses, however an address is written."""

from __future__ import annotations

import asyncio
import ipaddress
import itertools
from typing import Any

import pytest

from strataflow.executors.egress import AddressRefused, Egress

PRIVATE = """
127.0.0.1 127.255.255.254 0.0.0.0 0.1.2.3 10.0.0.1 10.255.255.255 172.16.0.1 172.31.255.255 192.168.0.1 169.254.169.254
100.64.0.1 100.127.255.255 192.0.0.1 192.0.2.1 198.18.0.1 198.19.255.255 198.51.100.1 203.0.113.1 224.0.0.1
239.255.255.255 240.0.0.1 255.255.255.255
""".split()
PRIVATE6 = """
:: ::1 fe80::1 fe80::1%eth0 febf::1 fec0::1 fc00::1 fd12:3456::1 ff02::1 ff0e::1 100::1 2001:db8::1 2001::1 3fff::1
""".split()
PUBLIC = ["1.1.1.1", "93.184.216.34", "8.8.8.8", "2606:4700:4700::1111", "2a00:1450:4001:81b::200e"]


def spellings(address: str) -> list[str]:
    """Give an IPv4 address in IPv6."""
    four = int(ipaddress.IPv4Address(address))
    first, second = four >> 16, four & 0xFFFF
    return [
        f"::ffff:{address}",
        f"::ffff:0:{first:x}:{second:x}",
        f"64:ff9b::{first:x}:{second:x}",
        f"64:ff9b:1::{first:x}:{second:x}",
        f"2002:{first:x}:{second:x}::1",
        f"::{first:x}:{second:x}",
    ]


@pytest.mark.parametrize("address", [*PRIVATE, *PRIVATE6])
def test_what_is_not_public_is_refused(address: str) -> None:
    assert not Egress().allows(address)


@pytest.mark.parametrize("address", list(itertools.chain(*map(spellings, PRIVATE))))
def test_it_is_refused_in_every_spelling(address: str) -> None:
    assert not Egress().allows(address)


@pytest.mark.parametrize("address", ["", "x", "1.2.3", "0x7f.1", "2130706433", "localhost", "[::1]"])
def test_what_is_no_address_is_refused(address: str) -> None:
    assert not Egress(["0.0.0.0/0", "::/0"]).allows(address)


@pytest.mark.parametrize("address", PUBLIC)
def test_what_is_public_is_allowed(address: str) -> None:
    assert Egress().allows(address)


def test_somebody_may_allow_a_network() -> None:
    egress = Egress.from_environment({"STRATAFLOW_EGRESS_ALLOW": "10.1.0.0/16, 127.0.0.1 fd00::/8"})
    for address in ("10.1.2.3", "127.0.0.1", "::ffff:127.0.0.1", "fd00::1"):
        assert egress.allows(address)
    for address in ("10.2.0.1", "127.0.0.2", "::1", "169.254.169.254"):
        assert not egress.allows(address)
    with pytest.raises(ValueError, match="'10/x' is no network"):
        Egress.from_environment({"STRATAFLOW_EGRESS_ALLOW": "10/x"})


@pytest.mark.parametrize("host", ["localhost", "127.1", "0x7f000001", "2130706433", "0177.0.0.1", "0", "::1"])
def test_a_host_is_what_it_resolves_to(host: str) -> None:
    with pytest.raises((AddressRefused, OSError)):
        asyncio.run(Egress().resolve(host, 80))


def test_one_private_address_among_public_ones_refuses_the_host(monkeypatch: pytest.MonkeyPatch) -> None:
    async def run() -> Any:
        loop = asyncio.get_running_loop()

        async def answer(*_: Any, **__: Any) -> list[Any]:
            return [(2, 1, 6, "", (address, 80)) for address in ("1.1.1.1", "10.0.0.1")]

        monkeypatch.setattr(loop, "getaddrinfo", answer)
        return await Egress(allowed).resolve("example.org", 80)

    allowed: list[str] = []
    with pytest.raises(AddressRefused):
        asyncio.run(run())
    allowed = ["10.0.0.1"]
    assert asyncio.run(run()) == ["1.1.1.1", "10.0.0.1"]


@pytest.mark.parametrize("host", ["a" * 64 + ".example", "..", "a\0b"])
def test_a_name_that_is_none_fails_like_one_that_is_unknown(host: str) -> None:
    with pytest.raises(OSError, match=r".+"):
        asyncio.run(Egress().resolve(host, 80))
