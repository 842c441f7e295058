"""One question to DNS servers: UDP with EDNS, TCP when the answer does not fit, the next server when one fails.

Whatever a server sends becomes an `Answer` or `DNSUnavailable`. There is no cache here; dns.py is in front.
"""

import asyncio
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from flowengine.mail.dns import MX, Answer, DNSUnavailable, Record, RecordType
from flowengine.services.config.values import NameServer

if TYPE_CHECKING:
    import dns.message
    import dns.name

MAX_CHAIN = 8
"""CNAMEs that are followed over several questions, when the server did not follow them itself."""
_PAYLOAD = 1232  # DNS flag day 2020: larger answers come over TCP rather than in fragments


class DNSClient:
    """Asks DNS servers, those given or the system's.

    timeout: seconds for one question, all attempts together. The system's servers are read at the first question.
    """

    def __init__(self, servers: Sequence[NameServer] = (), timeout: float = 5.0) -> None:
        self._servers = [(server.host, server.port) for server in servers]
        self._timeout = timeout

    async def ask(self, name: str, kind: RecordType) -> Answer:
        """The answer to one question; the name is one that `askable` lets through. Raises DNSUnavailable."""
        try:
            async with asyncio.timeout(self._timeout):
                return await self._follow(name, kind)
        except TimeoutError:
            raise DNSUnavailable(name, kind, f"no answer within {self._timeout:g} s") from None
        except DNSUnavailable:
            raise
        except Exception as error:  # whatever a hostile answer does to the library, promise 4 holds
            raise DNSUnavailable(name, kind, f"broken answer ({type(error).__name__})") from error

    async def _follow(self, name: str, kind: RecordType) -> Answer:
        import dns.name

        # Not from_text: a backslash in a name is a backslash, not an escape.
        qname = dns.name.Name([*name.encode("ascii").split(b"."), b""])
        ttl = float("inf")
        secure = True
        for _ in range(MAX_CHAIN):
            found, target = _read(await self._exchange(qname, name, kind), name, kind)
            ttl, secure = min(ttl, found.ttl), secure and found.secure
            if target is None:
                return Answer(found.records, found.exists, secure, ttl)
            qname = target
        raise DNSUnavailable(name, kind, "too many CNAMEs in a row")

    async def _exchange(self, qname: "dns.name.Name", name: str, kind: RecordType) -> "dns.message.Message":
        """A reply that says yes or no, from the first server that gives one."""
        import dns.asyncquery
        import dns.exception
        import dns.flags
        import dns.message
        import dns.rcode

        reason = "no DNS server is known"
        edns, gave_up = True, set()
        attempt = max(0.1, self._timeout * 0.4)
        for host, port in self._rounds():
            if (host, port) in gave_up:
                continue
            query = dns.message.make_query(
                qname, kind, use_edns=0 if edns else False, payload=_PAYLOAD if edns else None, flags=dns.flags.RD
            )
            query.flags |= dns.flags.AD  # RFC 6840 §5.7: we understand the AD bit of the answer
            where = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
            try:
                # What does not belong to the question is ignored, so that nobody can spoil an answer by guessing.
                try:
                    async with asyncio.timeout(attempt):
                        reply = await dns.asyncquery.udp(
                            query, host, port=port, ignore_unexpected=True, ignore_errors=True, raise_on_truncation=True
                        )
                except dns.message.Truncated:
                    reply = await dns.asyncquery.tcp(query, host, port=port)
            except TimeoutError:
                reason = f"no answer from {where}"
                continue
            except (dns.exception.DNSException, OSError, EOFError) as error:
                reason = f"{where}: {str(error) or type(error).__name__}"
                await asyncio.sleep(0.05)  # a refused connection answers at once: do not spin
                continue
            rcode = reply.rcode()
            if rcode in (dns.rcode.NOERROR, dns.rcode.NXDOMAIN):
                return reply
            reason = f"{dns.rcode.to_text(rcode)} from {where}"
            if edns and rcode in (dns.rcode.FORMERR, dns.rcode.NOTIMP, dns.rcode.BADVERS):
                edns = False  # RFC 6891 §7: an old server; ask once more in the old form
            else:
                gave_up.add((host, port))
        raise DNSUnavailable(name, kind, reason)

    def _rounds(self) -> list[tuple[str, int]]:
        """Whom to ask, in order: every server, twice and at least three attempts."""
        if not self._servers:
            self._servers = _system_servers()
        return (self._servers * max(2, -(-3 // max(1, len(self._servers)))))[:12]


def askable(name: str) -> bool:
    """Whether DNS can be asked for this name: labels of 1 to 63 octets, 253 in all, ASCII."""
    return 0 < len(name) <= 253 and name.isascii() and all(0 < len(label) <= 63 for label in name.split("."))


def _system_servers() -> list[tuple[str, int]]:
    import dns.exception
    import dns.resolver

    try:
        found = dns.resolver.Resolver()
    except (dns.exception.DNSException, OSError):
        return []
    return [(server, 53) for server in found.nameservers if isinstance(server, str)]


def _read(reply: "dns.message.Message", name: str, kind: RecordType) -> tuple[Answer, "dns.name.Name | None"]:
    """What a reply says, and the name to ask for next when it ends in a CNAME without saying what is there."""
    import dns.exception
    import dns.flags
    import dns.message
    import dns.rcode
    import dns.rdatatype
    import dns.ttl

    if not isinstance(reply, dns.message.QueryMessage):
        raise DNSUnavailable(name, kind, "broken answer (not a reply to a question)")
    try:
        chain = reply.resolve_chaining()
    except (dns.exception.DNSException, ValueError, KeyError) as error:
        raise DNSUnavailable(name, kind, f"broken answer ({type(error).__name__})") from None
    secure = bool(reply.flags & dns.flags.AD)
    exists = reply.rcode() == dns.rcode.NOERROR
    if chain.answer is not None:
        records = tuple(_record(kind, rdata) for rdata in chain.answer)
        return Answer(records, True, secure, float(chain.minimum_ttl)), None
    told = any(rrset.rdtype == dns.rdatatype.SOA for rrset in reply.authority)
    # RFC 2308 §5: a "no" without SOA should not be kept.
    ttl = float(chain.minimum_ttl) if told and chain.minimum_ttl < dns.ttl.MAX_TTL else 0.0
    if chain.cnames and exists and not told:
        shortest = min(float(rrset.ttl) for rrset in chain.cnames)
        return Answer((), True, secure, shortest), chain.canonical_name
    return Answer((), exists, secure, ttl), None


def _record(kind: RecordType, rdata: Any) -> Record:
    # Any: the classes that dnspython makes for the types of records have no common base with these attributes.
    if kind in ("a", "aaaa"):
        return str(rdata.address)
    if kind == "txt":
        return b"".join(rdata.strings)
    if kind == "mx":
        return MX(int(rdata.preference), _host(rdata.exchange))
    if kind in ("ptr", "cname", "ns"):
        return _host(rdata.target)
    return str(rdata.to_text())


def _host(name: "dns.name.Name") -> str:
    return name.to_text(omit_final_dot=True).lower().removesuffix(".")
