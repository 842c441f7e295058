"""Who the client is when somebody stands in front of it: XCLIENT, XFORWARD, PROXY; and who does not wait."""

import asyncio
import struct
from collections.abc import Callable
from dataclasses import replace
from ipaddress import ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st
from smtp_visit import OPTIONS, with_limits
from test_smtp_server import ENVELOPE, House, Peer, run, serving

from flowengine.mail.errors import MailError
from flowengine.runtime.places import place_of
from flowengine.servers.smtp import Capacity, Client
from flowengine.servers.smtp.proxy import Header, read_header

__all__ = ["run"]  # a fixture

LOOPBACK = (ip_network("127.0.0.1/32"),)
SIGNATURE = b"\r\n\r\n\x00\r\nQUIT\n"


def version_2(addresses: bytes, family: int = 0x11, command: int = 0x21) -> bytes:
    return SIGNATURE + bytes((command, family)) + struct.pack("!H", len(addresses)) + addresses


V4 = bytes((192, 0, 2, 7, 198, 51, 100, 1)) + struct.pack("!HH", 4000, 25)
V6 = bytes.fromhex("20010db8000000000000000000000007") * 2 + struct.pack("!HH", 4000, 25)
HEADERS = [
    (b"PROXY TCP4 192.0.2.7 198.51.100.1 4000 25\r\n", ("192.0.2.7", 4000), ("198.51.100.1", 25)),
    (b"PROXY TCP6 2001:DB8::7 2001:db8::1 4000 25\r\n", ("2001:db8::7", 4000), ("2001:db8::1", 25)),
    (b"PROXY TCP4 192.0.2.0 192.0.2.255 0 65535\r\n", ("192.0.2.0", 0), ("192.0.2.255", 65535)),
    (b"PROXY TCP4 255.255.255.255 255.255.255.255 65535 65535\r\n",) + (("255.255.255.255", 65535),) * 2,
    (b"PROXY TCP6 " + b"ffff:" * 7 + b"ffff " + b"ffff:" * 7 + b"ffff 65535 65535\r\n",)
    + (("ffff:" * 7 + "ffff", 65535),) * 2,
    (b"PROXY TCP6 2020:dead::0001 2021:cafe:: 8000 443\r\n", ("2020:dead::1", 8000), ("2021:cafe::", 443)),
    (b"PROXY UNKNOWN\r\n", None, None),
    (b"PROXY UNKNOWN ffff::1 ffff::2 1 2\r\n", None, None),
    (version_2(V4), ("192.0.2.7", 4000), ("198.51.100.1", 25)),
    (version_2(V4 + b"\x04\x00\x03abc"), ("192.0.2.7", 4000), ("198.51.100.1", 25)),
    (version_2(V6, 0x21), ("2001:db8::7", 4000), ("2001:db8::7", 25)),
    (version_2(b"", 0, 0x20), None, None),
    (version_2(V4, 0x11, 0x20), None, None),
    (version_2(b"x" * 216, 0x31), None, None),
    (version_2(V4, 0x12), None, None),
    (version_2(b"any", 0x99, 0x20), None, None),
    (version_2(V6, 0x22, 0x20), None, None),
    (version_2(b"asdfghjkl", 0, 0x20), None, None),
    (version_2(b"whatever", 0x20), None, None),
    (version_2(b"", 0), None, None),
]
WRONG = [
    b"EHLO c\r\n",
    b"PROXY TCP4 192.0.2.7 198.51.100.1 4000\r\n",
    b"PROXY TCP4 192.0.2.7 198.51.100.1 4000 25 x\r\n",
    b"PROXY TCP4  192.0.2.7 198.51.100.1 4000 25\r\n",
    b"PROXY TCP5 192.0.2.7 198.51.100.1 4000 25\r\n",
    b"PROXY TCP4 2001:db8::7 198.51.100.1 4000 25\r\n",
    b"PROXY TCP6 fe80::1%1 2001:db8::7 4000 25\r\n",
    b"PROXY TCP4 192.0.2.7 198.51.100.1 65536 25\r\n",
    b"PROXY TCP4 192.0.2.7 198.51.100.1 -1 25\r\n",
    b"PROXY TCP4 192.0.2 198.51.100.1 1 25\r\n",
    b"PROXY TCP4 192.0.2.7 198.51.100.1 04000 25\r\n",
    b"PROXY TCP4 192.0.2.7 198.51.100.1 4000 00\r\n",
    b"PROXY TCP4 192.0.2.7 198.51.100.1 4000  25\r\n",
    b"PROXY TCP4 192.0.2.7 198.51.100.1 4000 25 \r\n",
    b"PROXY TCP4 192.0.2.7 198.51.100.1 +4000 25\r\n",
    b"PROXY TCP4 192.0.2.7 198.51.100.1 4000 25\n",
    b"PROXY TCP4 192.0.2.07 198.51.100.1 4000 25\r\n",
    b"PROXY TCP4 192.0.2.a 198.51.100.1 4000 25\r\n",
    b"PROXY TCP6 2020:dead::000g 2021:cafe::1 4000 25\r\n",
    b"PROXY TCP6 2020:dead::1 198.51.100.1 4000 25\r\n",
    b"PROXY TCP 192.0.2.7 198.51.100.1 4000 25\r\n",
    b"PROXY UDP4 192.0.2.7 198.51.100.1 4000 25\r\n",
    b"PROXY UNKNOWN\n",
    b"PROXY UNKNOWN " + b"*" * 100 + b"\r\n",
    b"PROXY1 UNKNOWN x\r\n",
    b"PROXI TCP4 192.0.2.7 198.51.100.1 4000 25\r\n",
    b"PROXY \r\n",
    b"PROXY " + b"x" * 200,
    b"proxy TCP4 192.0.2.7 198.51.100.1 4000 25\r\n",
    version_2(V4[:-1]),
    version_2(V4, 0x21),
    version_2(V4, 0x11, 0x31),
    version_2(V4, 0x11, 0x22),
    version_2(V4, 0x41),
    version_2(V4, 0x13),
    version_2(b"x" * 5000),
    SIGNATURE[:-1] + b"x" * 20,
]


@pytest.mark.parametrize(("data", "source", "destination"), HEADERS)
def test_a_header_is_read_whole_or_not_at_all(
    data: bytes, source: tuple[str, int] | None, destination: tuple[str, int] | None
) -> None:
    assert read_header(data + b"EHLO c\r\n") == Header(len(data), source, destination)
    for cut in range(len(data)):
        assert read_header(data[:cut]) is None


@pytest.mark.parametrize("data", WRONG)
def test_what_is_no_header_is_an_error(data: bytes) -> None:
    with pytest.raises(MailError):
        read_header(data)


@given(st.sampled_from([b"", b"PROXY ", SIGNATURE, SIGNATURE + b"\x21\x11\x00"]), st.binary(max_size=300))
def test_any_bytes_are_a_header_or_an_error(start: bytes, rest: bytes) -> None:
    try:
        found = read_header(start + rest)
    except MailError:
        return
    assert found is None or found.size <= len(start + rest)


@pytest.mark.parametrize(
    ("ip", "place"),
    [
        ("192.0.2.77", "192.0.2.0"),
        ("2001:db8:1:2:3::4", "2001:db8:1::"),
        ("", ""),
    ],
)
def test_clients_of_one_network_are_one(ip: str, place: str) -> None:
    assert place_of(ip, 24, 48) == place
    assert place_of("192.0.2.77") == "192.0.2.77"


async def arrive(house: House, *pieces: bytes) -> Peer:
    peer = await house.client(greeted=False)
    for piece in pieces:
        peer.writer.write(piece)
        await peer.writer.drain()
        await asyncio.sleep(0.01)
    return peer


@pytest.mark.parametrize(("data", "source", "destination"), HEADERS)
def test_the_client_is_whom_the_balancer_names(
    run: Callable[..., None], data: bytes, source: tuple[str, int] | None, destination: tuple[str, int] | None
) -> None:
    async def main() -> None:
        async with serving(replace(OPTIONS, proxy=LOOPBACK)) as house:
            peer = await arrive(house, data[:7], data[7:] + b"HELO c\r\n")
            assert await peer.lines(2) == ["220 mx.example.net ESMTP", "250 mx.example.net"]
            (client,) = house.clients
            assert (client.ip, client.server_ip) == (source or ("127.0.0.1",))[0:1] + (destination or ("127.0.0.1",))[
                0:1
            ]
            peer.writer.close()

    run(main())


def test_without_a_proper_header_the_connection_closes_without_a_word(run: Callable[..., None]) -> None:
    async def main() -> None:
        async with serving(with_limits(replace(OPTIONS, proxy=LOOPBACK), proxy_time=0.2)) as house:
            for pieces in (
                [b"EHLO c\r\n"],
                [b"PROXY TCP4", b" 1\r\n"],
                [b"PROXY "],
                [HEADERS[0][0][:-1]],
                [version_2(V4)[:-1]],
                [],
            ):
                peer = await arrive(house, *pieces)
                assert await peer.rest() == ""
            leaving = await arrive(house, b"PROXY ")
            leaving.reset()
            assert house.clients == []

    run(main())


def test_a_client_that_is_no_balancer_speaks_smtp(run: Callable[..., None]) -> None:
    async def main() -> None:
        async with serving(replace(OPTIONS, proxy=(ip_network("192.0.2.0/24"),))) as house:
            peer = await arrive(house)
            assert await peer.lines(1) == ["220 mx.example.net ESMTP"]
            assert (await peer.say(HEADERS[0][0]))[0].startswith("500 5.5.2")
            peer.writer.close()

    run(main())


def test_limits_are_those_of_the_client_behind(run: Callable[..., None]) -> None:
    async def main() -> None:
        capacity = Capacity(connections_per_client=1, client_prefix_v4=24)
        async with serving(replace(OPTIONS, proxy=LOOPBACK), replace(capacity, connections_per_client=1)) as house:
            first = await arrive(house, b"PROXY TCP4 192.0.2.7 198.51.100.1 4000 25\r\n")
            await first.lines(1)
            again = await arrive(house, b"PROXY TCP4 192.0.2.8 198.51.100.1 4001 25\r\n")
            assert (await again.rest()).startswith("421 4.7.0 Too many connections from your address")
            other = await arrive(house, b"PROXY TCP4 203.0.113.8 198.51.100.1 4001 25\r\n")
            assert await other.lines(1) == ["220 mx.example.net ESMTP"]
            for peer in (first, other):
                await peer.say(b"QUIT\r\n")
            limits = [fields["limit"] for name, fields in house.reported if name == "smtp.limit"]
            assert limits == ["connections_per_client"]

    run(main())


def test_xclient_makes_it_another_clients_connection(run: Callable[..., None]) -> None:
    async def main() -> None:
        options = replace(OPTIONS, xclient=LOOPBACK, auth=("PLAIN",), allow_plaintext_auth=True)
        async with serving(options) as house:
            peer = await house.client(greeted=False)
            await peer.lines(1)
            offered = await peer.say(b"EHLO c\r\n", 11)
            assert offered[-1] == "250 XCLIENT NAME ADDR PORT PROTO HELO LOGIN DESTADDR DESTPORT" or (
                "250-XCLIENT NAME ADDR PORT PROTO HELO LOGIN DESTADDR DESTPORT" in offered
            )
            line = b"XCLIENT name=mx.spike.example ADDR=IPV6:2001:DB8::7 PORT=4000 HELO=sp+69ke PROTO=ESMTP\r\n"
            assert await peer.say(line) == ["220 mx.example.net ESMTP"]
            assert await peer.say(ENVELOPE, 2) == ["503 5.5.1 EHLO first", "503 5.5.1 MAIL first"]
            assert (await peer.say(b"EHLO d\r\n", 11))[0] == "250-mx.example.net"
            assert await peer.say(b"XCLIENT LOGIN=alice ADDR=[unavailable]\r\n") == ["220 mx.example.net ESMTP"]
            await peer.say(b"EHLO d\r\n", 11)
            assert await peer.say(b"AUTH PLAIN AGFsaWNlAHNlY3JldA==\r\n") == ["503 5.5.1 Already authenticated"]
            assert await peer.say(b"MAIL FROM:<a@example.org>\r\nXCLIENT ADDR=192.0.2.1\r\n", 2) == [
                "250 2.1.0 OK",
                "503 5.5.1 Not within a transaction",
            ]
            asked = [argument for step, argument in house.visits[0].events if step == "xclient"]
            assert asked == [
                "2001:db8::7 4000 127.0.0.1 name=mx.spike.example helo=spike protocol=ESMTP",
                "4000 127.0.0.1 login=alice",
            ]
            await peer.say(b"QUIT\r\n")

    run(main())


@pytest.mark.parametrize(
    "line",
    [
        b"XCLIENT",
        b"XCLIENT ADDR",
        b"XCLIENT ADDR=",
        b"XCLIENT ADDR=nobody",
        b"XCLIENT ADDR=fe80::1%1",
        b"XCLIENT PORT=70000",
        b"XCLIENT COLOUR=red",
        b"XCLIENT HELO=a+0Ab",
        b"XCLIENT HELO=a+20b",
        b"XCLIENT PROTO=LMTP",
        b"XFORWARD LOGIN=alice",
        b"XFORWARD SOURCE=NEAR",
    ],
)
def test_attributes_that_cannot_be_are_refused_and_change_nothing(run: Callable[..., None], line: bytes) -> None:
    async def main() -> None:
        async with serving(replace(OPTIONS, xclient=LOOPBACK, xforward=LOOPBACK)) as house:
            peer = await house.client()
            assert (await peer.say(line + b"\r\n"))[0].startswith("501 5.5.4 ")
            assert await peer.say(ENVELOPE, 2) == ["250 2.1.0 OK", "250 2.1.5 OK"]
            assert not [step for step, _ in house.visits[0].events if step.startswith("x")]
            peer.writer.close()

    run(main())


def test_xforward_tells_and_changes_nothing(run: Callable[..., None]) -> None:
    async def main() -> None:
        async with serving(replace(OPTIONS, xforward=LOOPBACK)) as house:
            peer = await house.client()
            assert await peer.say(b"XFORWARD NAME=spike.example ADDR=[TEMPUNAVAIL]\r\n") == ["250 2.0.0 OK"]
            assert await peer.say(b"XCLIENT ADDR=192.0.2.7\r\n") == ["550 5.7.0 You may not do this"]
            assert await peer.say(ENVELOPE, 2) == ["250 2.1.0 OK", "250 2.1.5 OK"]
            assert ("xforward", "NAME=spike.example ADDR=None") in house.visits[0].events
            peer.writer.close()

    run(main())


def test_strangers_may_not_say_who_they_are_for(run: Callable[..., None]) -> None:
    async def main() -> None:
        stranger = (ip_network("192.0.2.0/24"),)
        async with serving(replace(OPTIONS, xforward=stranger, xclient=stranger)) as house:
            peer = await house.client(greeted=False)
            await peer.lines(1)
            assert not any("250-X" in line or "250 X" in line for line in await peer.say(b"EHLO c\r\n", 9))
            for verb in (b"XCLIENT", b"XFORWARD"):
                assert await peer.say(verb + b" ADDR=192.0.2.7\r\n") == ["550 5.7.0 You may not do this"]
            assert house.clients == [Client("127.0.0.1", house.clients[0].port, "127.0.0.1", house.port)]
            peer.writer.close()

    run(main())


def test_who_talks_before_the_greeting_is_refused(run: Callable[..., None]) -> None:
    async def main() -> None:
        async with serving(with_limits(greeting_delay=0.3)) as house:
            started = asyncio.get_running_loop().time()
            patient, early, gone = await arrive(house), await arrive(house, b"EHLO c\r\n"), await arrive(house)
            gone.reset()
            assert await early.rest() == "554 5.5.1 You talked before the greeting\r\n"
            assert await patient.lines(1) == ["220 mx.example.net ESMTP"]
            assert asyncio.get_running_loop().time() - started >= 0.29
            assert len(house.visits) == 1
            refused = [fields["why"] for name, fields in house.reported if name == "smtp.refused"]
            assert refused == ["talked before the greeting"]
            waiting = await arrive(house)
            await house.server.drain(5)
            assert (await waiting.rest()).startswith("421 4.3.2 ")

    run(main())


def test_errors_are_answered_slowly_and_nothing_else_is(run: Callable[..., None]) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        async with serving(with_limits(tarpit=0.1, errors=99, command_time=0.15)) as house:
            peer = await house.client()
            started = loop.time()
            await peer.say(ENVELOPE + b"RSET\r\n", 3)
            assert loop.time() - started < 0.3  # three answers, none of them slowly
            started = loop.time()
            assert (await peer.say(b"X\r\nNOOP\r\nX\r\n", 3))[1] == "250 2.0.0 OK"
            assert 0.19 <= loop.time() - started < 5
            assert await peer.say(b"NOOP\r\n") == ["250 2.0.0 OK"]
            peer.writer.write(b"X\r\nQUIT\r\n")
            assert (await peer.rest()).endswith("221 2.0.0 Goodbye\r\n")
            leaving = await house.client()
            leaving.writer.write(b"X\r\n")
            await leaving.writer.drain()
            leaving.reset()

    run(main())


def test_commands_of_one_client_are_counted_over_its_connections(run: Callable[..., None]) -> None:
    async def main() -> None:
        async with serving(OPTIONS, Capacity(client_commands=120)) as house:
            for _ in range(2):
                peer = await house.client()
                await peer.say(b"NOOP\r\n" * 49, 49)
                await peer.say(b"QUIT\r\n")
            peer = await house.client()
            replies = await peer.say(b"NOOP\r\n" * 60, 61)
            assert replies[-1] == "421 4.7.0 Too many commands from your address, try again later"
            limits = [fields["limit"] for name, fields in house.reported if name == "smtp.limit"]
            assert limits[0] == "client_commands"

    run(main())
