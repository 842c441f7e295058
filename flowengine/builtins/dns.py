"""Asking DNS. The classic words give a list and hide why it is empty; `dns_query` says.

Every question goes through the world, so to the servers and within the time of [dns]; both can be named in a call,
as old scripts do, and are then reported once as not used.
"""

from collections.abc import Iterable, Mapping
from typing import Literal, get_args

from flowengine.builtins.network import inet_address, reverse
from flowengine.builtins.run import Run
from flowengine.language.functions import builtin
from flowengine.language.problems import FlowError
from flowengine.language.values import Array, Value, from_bytes, to_text
from flowengine.mail.dns import MX, Answer, DNSUnavailable, Record, RecordType
from flowengine.mail.names import to_ascii

QueryType = Literal["a", "aaaa", "mx", "txt", "cname", "ns", "ptr", "soa", "tlsa"]
_CLASSIC = ("extended_result", "timeout", "servers")


@builtin
async def dns_query(
    run: Run,
    host: str,
    *,
    type_: str = "a",
    timeout_: float | None = None,
    servers: list[str] | None = None,
    extended_result: bool = False,
) -> Array:
    """Ask DNS for the records of a name.

    type: a, aaaa, mx, txt, cname, ns, ptr, soa or tlsa; mx gives host names, the preferred one first.
    timeout, servers: taken for old scripts; [dns] decides.
    extended_result: with ttl, the seconds for which the answer holds.

    Returns an array with dnssec (whether the resolver validated the answer) and either result, a list that may be
    empty, or error: NXDOMAIN, TRY_AGAIN, SERVFAIL.

        dns_query("mail.example.net");  // ["result" => ["192.0.2.1", "192.0.2.2"], "dnssec" => false]
        dns_query("example.net", ["type" => "mx"])["result"];  // ["mail.example.net", "backup.example.net"]
        dns_query("absent.example.net")["error"];  // "NXDOMAIN"
        dns_query("slow.example.net")["error"];  // "TRY_AGAIN"
    """
    kind = type_.lower()
    if kind not in get_args(QueryType):
        raise FlowError(f'dns_query: type "{type_[:20]}" is none of {", ".join(get_args(QueryType))}')
    _configured(run, servers, timeout_)
    result = await _ask(run, host, (kind,))
    if not extended_result:
        result.remove("ttl")
    return result


async def _ask(run: Run, host: str, kinds: Iterable[str]) -> Array:
    """The answers to some questions about one name: result or error, dnssec, ttl. One answer is enough for a result."""
    name = to_ascii(to_text(host))
    records: list[Record] = []
    secure, ttl, exists, failure = True, float("inf"), False, ""
    for kind in kinds:
        answer, error = await _one(run, name, kind)
        failure = failure or error
        exists = exists or answer.exists
        secure, ttl = secure and answer.secure, min(ttl, answer.ttl)
        records.extend(sorted(answer.exchangers) if kind == "mx" else answer.records)
    if not records and (failure or not exists):
        return Array({"error": failure or "NXDOMAIN", "dnssec": secure, "ttl": 0})
    return Array({"result": Array.of(map(_shown, records)), "dnssec": secure, "ttl": int(ttl)})


async def _one(run: Run, name: str | None, kind: str) -> tuple[Answer, str]:
    """The answer to one question, or an empty one and the reason why there is none."""
    if name is None:
        return Answer(exists=False), ""
    known: RecordType = kind  # type: ignore[assignment]  # one of QueryType's words, which are RecordType's
    try:
        return await run.world.query(name, known), ""
    except DNSUnavailable as error:
        return Answer(), "SERVFAIL" if "SERVFAIL" in error.reason.upper() else "TRY_AGAIN"


def _shown(record: Record) -> str:
    if isinstance(record, MX):
        return record.host
    return from_bytes(record) if isinstance(record, bytes) else record


def _configured(run: Run, servers: object, timeout: object) -> None:
    if servers:
        run.warn("DNS servers named in a script are not used: [dns] servers decides")
    if timeout is not None:
        run.warn("a DNS timeout named in a script is not used: [dns] timeout decides")


async def _classic(run: Run, host: str, kinds: Iterable[str], options: Array | None, timeout_: float | None) -> Array:
    """A list of answers; with the option extended_result what `dns_query` gives."""
    settings: Mapping[Value, Value] = {}
    if options and options.is_list():  # dialect A: (host, [resolvers, [timeout]])
        _configured(run, options, timeout_)
    elif options:
        if unknown := [name for name in options if name not in _CLASSIC]:
            raise FlowError(f'dns has no option "{unknown[0]}"; it has {", ".join(_CLASSIC)}')
        settings = options
        _configured(run, settings.get("servers"), settings.get("timeout", timeout_))
    result = await _ask(run, host, kinds)
    if settings.get("extended_result"):
        return result
    return _list(result)


def _list(result: Array) -> Array:
    answers = result.get("result")
    return answers if isinstance(answers, Array) else Array()


@builtin
async def dns(run: Run, host: str, options: Array | None = None, timeout_: float | None = None) -> Array:
    """The addresses of a host, IPv4 and IPv6. `dns_query` is the modern word.

    options: extended_result gives result or error, dnssec and ttl. A list of servers, a timeout in seconds: not used.

    Returns a list, empty on any failure.

        dns("mail.example.net");  // ["192.0.2.1", "192.0.2.2", "2001:db8::1"]
        dns("absent.example.net");  // []
        dns("absent.example.net", ["extended_result" => true])["error"];  // "NXDOMAIN"
    """
    return await _classic(run, host, ("a", "aaaa"), options, timeout_)


@builtin
async def dns4(run: Run, host: str, options: Array | None = None, timeout_: float | None = None) -> Array:
    """The IPv4 addresses of a host. Options and result as for `dns`.

    dns4("mail.example.net");  // ["192.0.2.1", "192.0.2.2"]
    """
    return await _classic(run, host, ("a",), options, timeout_)


@builtin
async def dns6(run: Run, host: str, options: Array | None = None, timeout_: float | None = None) -> Array:
    """The IPv6 addresses of a host. Options and result as for `dns`.

    dns6("mail.example.net");  // ["2001:db8::1"]
    """
    return await _classic(run, host, ("aaaa",), options, timeout_)


@builtin
async def dnsmx(run: Run, host: str, options: Array | None = None, timeout_: float | None = None) -> Array:
    """The mail exchangers of a domain, the preferred one first. Options and result as for `dns`.

    dnsmx("example.net");  // ["mail.example.net", "backup.example.net"]
    """
    return await _classic(run, host, ("mx",), options, timeout_)


@builtin
async def dnstxt(run: Run, host: str, options: Array | None = None, timeout_: float | None = None) -> Array:
    """The TXT records of a name. Options and result as for `dns`.

    dnstxt("example.net")[0];  // "v=spf1 -all"
    """
    return await _classic(run, host, ("txt",), options, timeout_)


@builtin
async def dnscname(run: Run, host: str, options: Array | None = None, timeout_: float | None = None) -> Array:
    """The name that a name is an alias of. Options and result as for `dns`.

    dnscname("www.example.net");  // ["mail.example.net"]
    """
    return await _classic(run, host, ("cname",), options, timeout_)


@builtin
async def dnsns(run: Run, host: str, options: Array | None = None, timeout_: float | None = None) -> Array:
    """The name servers of a zone. Options and result as for `dns`.

    dnsns("example.net");  // ["ns.example.net"]
    """
    return await _classic(run, host, ("ns",), options, timeout_)


@builtin
async def dnsptr(run: Run, ip: str, options: Array | None = None, timeout_: float | None = None) -> Array:
    """The names of an address, as its owner claims them. Options and result as for `dns`.

    dnsptr("192.0.2.1");  // ["mail.example.net"]
    dnsptr("localhost");  // []
    """
    address = inet_address(ip)
    return await _classic(run, "" if address is None else reverse(address), ("ptr",), options, timeout_)


@builtin
async def dnsbl(
    run: Run, ip: str, hostname: str, resolvers: Array | None = None, timeout_: float | None = None
) -> Array:
    """What a list of addresses (DNSBL, RFC 5782) says of one.

    hostname: the zone of the list. resolvers, timeout: taken for old scripts; [dns] decides.

    Returns the addresses that stand for its entries, empty when it has none or cannot be asked.

        dnsbl("127.0.0.2", "zen.example.org");  // ["127.0.0.4"]
        dnsbl("192.0.2.9", "zen.example.org");  // []
    """
    _configured(run, resolvers, timeout_)
    address = inet_address(ip)
    if address is None:
        return Array()
    return _list(await _ask(run, reverse(address, hostname), ("a",)))
