"""Mail exchangers: who is tried for a domain, in which order, and what is said when there is nobody."""

import asyncio
from collections.abc import Mapping
from typing import Any

import pytest
from next_hop import NextHop, closed_port, listening
from test_outbox import OK, QUICK, House, run

from flowengine.runtime.actions import Reply
from flowengine.services.config import Config, NetworkRules, Transport
from flowengine.services.config.values import parse_network
from flowengine.services.fakes import FakeRandomness, FakeResolver, fake_services
from flowengine.services.network import NetworkGuard
from flowengine.services.outbox.exchangers import MOST_EXCHANGERS, Exchangers, NoWay, Ours

OURS = Ours(frozenset({"mx.ours.example"}), frozenset({"192.0.2.250"}))
DNS = Mapping[tuple[str, str], Any]


class Dice:
    """Chance that a test knows beforehand."""

    def __init__(self, *numbers: float) -> None:
        self._numbers = iter(numbers)

    def number(self) -> float:
        return next(self._numbers, 0.5)

    def octets(self, count: int) -> bytes:
        return bytes(count)


def find(domain: str, dns: DNS, dice: Any = None, families: frozenset[int] = frozenset({4, 6}), allow: Any = ()) -> Any:
    guard = NetworkGuard(allow)
    exchangers = Exchangers(FakeResolver(dict(dns)), dice or FakeRandomness(), guard, OURS, families)

    async def main() -> list[str]:
        try:
            return [f"{name} {address}" for name, address in await exchangers.find(domain)]
        except NoWay as error:
            assert not error.answer().positive
            return [str(error.reply)[:9]]

    return asyncio.run(main())


def host(name: str, v4: Any = "empty", v6: Any = "empty") -> DNS:
    return {(name, "a"): v4, (name, "aaaa"): v6}


A, B = "a.example 192.0.2.1", "b.example 192.0.2.2"
HOSTS = {**host("a.example", "192.0.2.1"), **host("b.example", "192.0.2.2")}


@pytest.mark.parametrize(
    ("mx", "dice", "expected"),
    [
        (["10 a.example", "20 b.example"], (), [A, B]),
        (["20 a.example", "10 b.example"], (), [B, A]),
        (["10 a.example", "10 b.example"], (0.1, 0.9), [A, B]),
        (["10 a.example", "10 b.example"], (0.9, 0.1), [B, A]),
        (["10 a.example", "20 a.example"], (), [A]),
        (["5 .", "10 b.example"], (), [B]),  # no null MX: it is not alone
        (["0 ."], (), ["556 5.1.10"[:9]]),
        # ourselves, and whoever stands behind us
        (["10 a.example", "20 mx.ours.example", "30 b.example"], (), [A]),
        (["10 a.example", "20 mx.ours.example", "20 b.example"], (), [A]),
        (["10 mx.ours.example", "20 b.example"], (), ["550 5.4.6"]),
    ],
    ids=repr,
)
def test_exchangers_by_preference(mx: list[str], dice: tuple[float, ...], expected: list[str]) -> None:
    assert find("x.example", {("x.example", "mx"): mx, **HOSTS}, Dice(*dice)) == expected


@pytest.mark.parametrize(
    ("dns", "expected"),
    [
        ({("x.example", "mx"): "empty", **host("x.example", "192.0.2.9")}, ["x.example 192.0.2.9"]),
        ({("x.example", "mx"): "none"}, ["550 5.1.2"]),
        ({("x.example", "mx"): "empty", **host("x.example")}, ["550 5.1.2"]),
        ({("x.example", "mx"): "timeout"}, ["451 4.4.3"]),
        ({("x.example", "mx"): "empty", **host("x.example", "servfail")}, ["451 4.4.3"]),
        ({("x.example", "mx"): "empty", **host("x.example", "empty", "timeout")}, ["451 4.4.3"]),
        ({("x.example", "mx"): "1 a.example", **host("a.example")}, ["550 5.4.4"]),
        ({("x.example", "mx"): "1 a.example", **host("a.example", "none", "none")}, ["550 5.4.4"]),
        ({("x.example", "mx"): ["1 c.example", "2 a.example"], **host("c.example", "timeout"), **HOSTS}, [A]),
        ({("x.example", "mx"): ["1 c.example", "2 d.example"], **host("c.example", "timeout"), **host("d.example")},
         ["451 4.4.3"]),
        # never to this machine, its link or the metadata service of a cloud, whatever DNS says
        ({("x.example", "mx"): "1 c.example", **host("c.example", "127.0.0.1", "::1")}, ["550 5.4.4"]),
        ({("x.example", "mx"): "1 c.example", **host("c.example", "0.0.0.0", "::ffff:127.0.0.1")}, ["550 5.4.4"]),  # noqa: S104
        ({("x.example", "mx"): ["1 c.example", "2 a.example"], **host("c.example", "169.254.169.254"), **HOSTS}, [A]),
        # one of our own addresses under a name that we do not know
        ({("x.example", "mx"): ["1 c.example", "2 a.example"], **host("c.example", "192.0.2.250"), **HOSTS},
         ["550 5.4.6"]),
        ({("x.example", "mx"): ["1 a.example", "2 c.example", "3 b.example"], **host("c.example", "192.0.2.250"),
          **HOSTS}, [A]),
    ],
    ids=repr,
)  # fmt: skip
def test_what_dns_says_of_a_domain(dns: DNS, expected: list[str]) -> None:
    assert find("X.example", dns) == expected


def test_addresses_of_both_families_by_turns_and_only_those_we_can_use() -> None:
    dns = {
        ("x.example", "mx"): "1 a.example",
        **host("a.example", ["192.0.2.1", "192.0.2.2"], ["2001:db8::1", "2001:db8::2", "2001:db8::3"]),
    }
    wanted = ["192.0.2.1", "2001:db8::1", "192.0.2.2", "2001:db8::2", "2001:db8::3"]
    assert find("x.example", dns) == [f"a.example {one}" for one in wanted]
    assert find("x.example", dns, families=frozenset({6})) == [f"a.example 2001:db8::{n}" for n in (1, 2, 3)]


@pytest.mark.parametrize(
    ("domain", "expected"),
    [
        ("[192.0.2.7]", ["192.0.2.7 192.0.2.7"]),
        ("[IPv6:2001:db8::7]", ["2001:db8::7 2001:db8::7"]),
        ("[127.0.0.1]", ["550 5.4.4"]),
        ("[192.0.2.250]", ["550 5.4.6"]),
        ("[300.1.1.1]", ["550 5.1.2"]),
        ("[tag:what]", ["550 5.1.2"]),
        ("", ["550 5.1.2"]),
        ("a" * 300, ["550 5.1.2"]),
        ("exämple.net", ["xn--exmple-cua.net 192.0.2.1"]),
    ],
)
def test_literals_and_names_of_all_kinds(domain: str, expected: list[str]) -> None:
    name = "xn--exmple-cua.net"
    assert find(domain, {(name, "mx"): "empty", **host(name, "192.0.2.1")}) == expected


def test_a_thousand_exchangers_are_not_looked_up() -> None:
    dns: dict[tuple[str, str], Any] = {("x.example", "mx"): [f"{n} h{n}.example" for n in range(1000)]}
    for n in range(MOST_EXCHANGERS):
        dns |= host(f"h{n}.example", [f"192.0.2.{k}" for k in range(1, 200)])
    assert len(find("x.example", dns)) == MOST_EXCHANGERS * 16  # FakeResolver fails a lookup that is not in the table


# -- delivery ---------------------------------------------------------------------------------------------------------


def mx_house(dns: DNS, port: int, time: float = 20, **more: Any) -> House:
    """A house with one transport "mx" to exchangers on this port, which may be on loopback."""
    found = House({"mx": Transport(mx=True, port=port, timeouts=QUICK, **more)}, {}, time)
    services = fake_services(dns=FakeResolver(dict(dns)), random=Dice())
    config = Config(
        hostname="mx.example.net",  # type: ignore[arg-type]  # a HostName
        transports=found.config.transports,
        network=NetworkRules((parse_network("127.0.0.0/8"),)),
    )
    found.use(config, services)
    return found


def test_each_domain_gets_its_message_at_its_own_exchanger() -> None:
    async def main() -> None:
        dns = {
            ("one.example", "mx"): "1 a.example",
            ("two.example", "mx"): "1 b.example",
            **host("a.example", "127.0.0.2"),
            **host("b.example", "127.0.0.3"),
        }
        async with (
            listening(NextHop(host="127.0.0.2")) as one,
            listening(NextHop(host="127.0.0.3", port=one.port)) as two,
        ):
            h = mx_house(dns, one.port)
            where = [("b@one.example", "mx"), ("c@ONE.example", "mx"), ("d@two.example", "mx")]
            assert await h.deliver(*where) == OK
            assert [m[1] for m in one.messages] == [("b@one.example", "c@ONE.example")]
            assert [m[1] for m in two.messages] == [("d@two.example",)]
            two.answers["RCPT"] = "550 5.1.1 unknown"
            assert (await h.deliver(*where)).code == 550
            assert len(one.messages) == 1, "everybody is asked before anybody gets it"
            await h.outbox.close()

    run(main())


def test_the_next_exchanger_is_tried_when_one_is_away_and_the_dead_one_comes_last() -> None:
    async def main() -> None:
        dns = {
            ("x.example", "mx"): ["1 a.example", "2 b.example"],
            **host("a.example", "127.0.0.2"),
            **host("b.example", "127.0.0.3"),
        }
        async with listening(NextHop(host="127.0.0.3")) as two:
            h = mx_house(dns, two.port)
            assert await h.deliver(("b@x.example", "mx")) == OK
            async with listening(NextHop(host="127.0.0.2", port=two.port)) as one:
                assert await h.deliver(("b@x.example", "mx")) == OK
                assert (one.connections, len(two.messages)) == (0, 2), "it rests"
            await h.outbox.close()

    run(main())


@pytest.mark.parametrize(
    ("dns", "reply"),
    [
        ({("x.example", "mx"): "0 ."}, Reply(556, "5.1.10", "The domain x.example takes no mail")),
        ({("x.example", "mx"): "none"}, Reply(550, "5.1.2", "The domain x.example does not exist")),
        ({("x.example", "mx"): "timeout"}, (451, "4.4.3")),
        ({("x.example", "mx"): "1 mx.example.net"}, Reply(550, "5.4.6", "Mail for x.example loops back to this host")),
    ],
    ids=repr,
)
def test_the_client_hears_why_a_domain_gets_no_mail(dns: DNS, reply: Any) -> None:
    async def main() -> None:
        h = mx_house(dns, closed_port())
        heard = await h.deliver(("b@x.example", "mx"))
        assert (heard if isinstance(reply, Reply) else (heard.code, heard.enhanced)) == reply
        await h.outbox.close()

    run(main())


def test_no_more_addresses_are_tried_than_allowed() -> None:
    async def main() -> None:
        async with listening(NextHop(host="127.0.0.9")) as last:
            addresses = [f"127.0.0.{n}" for n in range(5, 10)]
            dns = {("x.example", "mx"): "1 a.example", **host("a.example", addresses)}
            few, all_ = mx_house(dns, last.port, attempts=4), mx_house(dns, last.port, attempts=5)
            assert (await few.deliver(("b@x.example", "mx"))).code == 451
            assert await all_.deliver(("b@x.example", "mx")) == OK
            await few.outbox.close()
            await all_.outbox.close()

    run(main())
