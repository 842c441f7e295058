"""The PROXY protocol, versions 1 and 2 (haproxy, proxy-protocol.txt): what a load balancer says about its client.

Bytes in, values out. The header is the very first thing on the connection; it is bounded, and what it holds beside the
addresses (TLVs) is skipped.
"""

import socket
import struct
from ipaddress import ip_address
from typing import NamedTuple

from flowengine.mail.errors import MailError

LONGEST_1 = 107
"""Octets of a version 1 header, CRLF included (§2.1)."""
LONGEST_2 = 4096
"""Octets of a version 2 header that we read: 16, the addresses, and room for TLVs."""

_SIGNATURE = b"\r\n\r\n\x00\r\nQUIT\n"
_FAMILIES = {0x11: (socket.AF_INET, 4), 0x21: (socket.AF_INET6, 16)}


class Header(NamedTuple):
    """size: octets of the header. source, destination: address and port; None when it speaks of nobody (LOCAL,
    UNKNOWN, a Unix socket): the connection is then the balancer's own."""

    size: int
    source: tuple[str, int] | None = None
    destination: tuple[str, int] | None = None


def read_header(data: bytes) -> Header | None:
    """The header at the start of `data`; None while it is not complete. Raises MailError for anything else."""
    if data.startswith(_SIGNATURE[: len(data)]):
        return _version_2(data) if len(data) >= 16 else None
    if not data.startswith(b"PROXY "[: len(data)]):
        raise MailError("no PROXY header")
    end = data.find(b"\n", 0, LONGEST_1) - 1
    if end < 0:
        if len(data) >= LONGEST_1:
            raise MailError("PROXY header too long")
        return None
    if data[end] != 13:
        raise MailError("PROXY header without CRLF")
    return _version_1(data[:end].decode("ascii", "replace").split(" "), end + 2)


def _version_1(words: list[str], size: int) -> Header:
    if words[1] == "UNKNOWN":
        return Header(size)
    if len(words) != 6 or words[1] not in ("TCP4", "TCP6"):
        raise MailError("not a PROXY header of version 1")
    version = 4 if words[1] == "TCP4" else 6
    source, destination = _address(words[2], version), _address(words[3], version)
    return Header(size, (source, _port(words[4])), (destination, _port(words[5])))


def _address(text: str, version: int) -> str:
    try:
        found = ip_address(text)
    except ValueError:
        raise MailError("no address in the PROXY header") from None
    if found.version != version or "%" in text:
        raise MailError("an address of the other family in the PROXY header")
    return str(found)


def _port(text: str) -> int:
    if not text.isascii() or not text.isdigit() or str(int(text[:6])) != text or int(text) > 65535:  # no 025 (§2.1)
        raise MailError("no port in the PROXY header")
    return int(text)


def _version_2(data: bytes) -> Header | None:
    command, family, length = data[12], data[13], int.from_bytes(data[14:16], "big")
    if command >> 4 != 2 or command & 15 > 1:
        raise MailError("not a PROXY header of version 2")
    size = 16 + length
    if size > LONGEST_2:
        raise MailError("PROXY header too long")
    if len(data) < size:
        return None
    if command & 15 == 0:  # §2.2: LOCAL, whatever else it says: the real ends count
        return Header(size)
    if family >> 4 > 3 or family & 15 > 2:
        raise MailError("a reserved family or protocol in the PROXY header")
    if family not in _FAMILIES:
        return Header(size)
    kind, octets = _FAMILIES[family]
    if length < 2 * octets + 4:
        raise MailError("PROXY header too short")
    source, destination = data[16 : 16 + octets], data[16 + octets : 16 + 2 * octets]
    ports = struct.unpack_from("!HH", data, 16 + 2 * octets)
    return Header(size, (socket.inet_ntop(kind, source), ports[0]), (socket.inet_ntop(kind, destination), ports[1]))
