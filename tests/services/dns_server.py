"""A small DNS server for tests: real sockets on loopback, answers from a table, and misbehaviour on request.

    with DNSServer({("example.net", "TXT"): ["v=spf1 -all"], ("slow.example", "A"): [Trouble.SILENT]}) as server:
        client = DNSClient([server.address])
        ...
        assert server.asked[("example.net", "TXT")] == 1

Names that the table has under no type do not exist; a type that it lacks for a name is empty. Both are answered with an
SOA, so that they can be kept. The table may be changed while the server runs.
"""

import contextlib
import socket
import struct
import threading
from collections import Counter
from collections.abc import Mapping, Sequence
from enum import Enum
from types import TracebackType

import dns.flags
import dns.message
import dns.name
import dns.rcode
import dns.rdata
import dns.rdataclass
import dns.rdatatype
import dns.rrset

from flowengine.services.config.values import NameServer


class Trouble(Enum):
    """What a server may do in place of answering."""

    SILENT = "no answer"
    SERVFAIL = "SERVFAIL"
    REFUSED = "REFUSED"
    NO_EDNS = "FORMERR to questions with EDNS"
    WRONG_ID = "an answer to another question first"
    WRONG_ID_ONLY = "an answer to another question, and no more"
    GARBAGE = "octets that are no message"
    TRUNCATED = "TC over UDP whatever the size"
    TRUNCATED_TCP_CLOSED = "TC over UDP, and TCP hangs up"
    NO_SOA = "an empty answer without SOA"


_COMMON = ("MX", "A", "AAAA", "TXT")
Value = str | Trouble
Table = Mapping[tuple[str, str], Sequence[Value]]


class DNSServer:
    """The server, running in threads of its own while the `with` lasts.

    ttl: of every answer, and of the SOA. secure: set the AD bit. raw: answers as octets after the ID, for hostile ones.
    """

    def __init__(self, table: Table, *, ttl: int = 60, secure: bool = False) -> None:
        self.table = {(name.lower(), kind.upper()): list(values) for (name, kind), values in table.items()}
        self.ttl = ttl
        self.secure = secure
        self.raw: dict[str, bytes] = {}
        self.asked: Counter[tuple[str, str]] = Counter()
        self.over_tcp = 0

    def __enter__(self) -> "DNSServer":
        while True:  # one port for both
            self._udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            self._udp.bind(("127.0.0.1", 0))
            self._tcp = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
            try:
                self._tcp.bind(self._udp.getsockname())
                break
            except OSError:
                self._udp.close()
                self._tcp.close()
        self._tcp.listen(64)
        self.port = int(self._udp.getsockname()[1])
        self._threads = [threading.Thread(target=work, daemon=True) for work in (self._serve_udp, self._serve_tcp)]
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        for one in (self._udp, self._tcp):
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
            one.close()
        for thread in self._threads:
            thread.join(5)

    @property
    def address(self) -> NameServer:
        """Where it listens."""
        return NameServer("127.0.0.1", self.port)

    def _serve_udp(self) -> None:
        while True:
            try:
                wire, client = self._udp.recvfrom(4096)
                if not wire:
                    return
                for answer in self._answers(wire, tcp=False):
                    self._udp.sendto(answer, client)
            except OSError:
                return

    def _serve_tcp(self) -> None:
        while True:
            try:
                connection, _ = self._tcp.accept()
            except OSError:
                return
            with connection:
                connection.settimeout(5)
                size = connection.recv(2)
                if len(size) < 2:
                    continue
                wire = connection.recv(struct.unpack("!H", size)[0])
                self.over_tcp += 1
                for answer in self._answers(wire, tcp=True):
                    connection.sendall(struct.pack("!H", len(answer)) + answer)

    def _answers(self, wire: bytes, tcp: bool) -> list[bytes]:
        query = dns.message.from_wire(wire)
        question = query.question[0]
        name = question.name.to_text(omit_final_dot=True).lower()
        kind = dns.rdatatype.to_text(question.rdtype)
        self.asked[name, kind] += 1
        if name in self.raw:
            return [wire[:2] + self.raw[name]]
        reply = dns.message.make_response(query)
        reply.flags |= dns.flags.RA | (dns.flags.AD if self.secure else 0)
        values = self._chain(reply, question.name, name, kind)
        trouble = next((value for value in values if isinstance(value, Trouble)), None)
        if trouble in (Trouble.SERVFAIL, Trouble.REFUSED):
            reply.set_rcode(dns.rcode.from_text(trouble.value))
        if trouble is Trouble.NO_EDNS and query.edns >= 0:
            reply = dns.message.make_response(query)
            reply.use_edns(-1)
            reply.set_rcode(dns.rcode.FORMERR)
        if trouble is Trouble.SILENT or (trouble is Trouble.TRUNCATED_TCP_CLOSED and tcp):
            return []
        if trouble is Trouble.GARBAGE:
            return [b"\x00", wire[:2] + b"\xff" * 40, b""]
        if trouble in (Trouble.TRUNCATED, Trouble.TRUNCATED_TCP_CLOSED) and not tcp:
            reply.answer.clear()
            reply.flags |= dns.flags.TC
        octets = reply.to_wire(max_size=65535)
        if not tcp and len(octets) > max(512, query.payload if query.edns >= 0 else 0):
            reply.answer.clear()
            reply.flags |= dns.flags.TC
            octets = reply.to_wire()
        other = bytes([octets[0] ^ 1, *octets[1:]])
        if trouble is Trouble.WRONG_ID_ONLY:
            return [other]
        return [other, octets] if trouble is Trouble.WRONG_ID else [octets]

    def _chain(self, reply: dns.message.Message, owner: dns.name.Name, name: str, kind: str) -> list[Value]:
        """Fill in the answer, following CNAMEs within the table; the values of the end of the chain."""
        for _ in range(20):
            values = self.table.get((name, kind))
            alias = self.table.get((name, "CNAME"))
            if values is None and alias is not None and isinstance(alias[0], str):
                self._add(reply, owner, "CNAME", alias)
                owner = dns.name.from_text(alias[0])
                name = owner.to_text(omit_final_dot=True).lower()
                if "no-follow" in name:
                    return []
                continue
            break
        texts = [value for value in values or [] if isinstance(value, str)]
        if texts:
            self._add(reply, owner, kind, texts)
        elif Trouble.NO_SOA not in (values or []):
            soa = f"ns.test. hostmaster.test. 1 3600 600 86400 {self.ttl}"
            reply.authority.append(dns.rrset.from_text(dns.name.root, self.ttl, "IN", "SOA", soa))
        if not any((name, kind) in self.table for kind in _COMMON) and all(known != name for known, _ in self.table):
            reply.set_rcode(dns.rcode.NXDOMAIN)
        return list(values or [])

    def _add(self, reply: dns.message.Message, owner: dns.name.Name, kind: str, values: Sequence[Value]) -> None:
        rrset = dns.rrset.RRset(owner, dns.rdataclass.IN, dns.rdatatype.from_text(kind))
        for value in values:
            text = str(value)
            if kind == "TXT":
                octets = text.encode("latin-1")
                parts = [octets[at : at + 255] for at in range(0, len(octets), 255)] or [b""]
                data = b"".join(bytes([len(part)]) + part for part in parts)
                rrset.add(dns.rdata.from_wire(dns.rdataclass.IN, dns.rdatatype.TXT, data, 0, len(data)), self.ttl)
            else:
                text = text if text.endswith(".") or kind in ("A", "AAAA", "TLSA", "SOA") else f"{text}."
                rrset.add(dns.rdata.from_text("IN", kind, text), self.ttl)
        reply.answer.append(rrset)
