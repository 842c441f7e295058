"""The session: the order of a visit, who may send what to whom, and what needs no flow to be refused."""

import asyncio
from collections.abc import Mapping
from ipaddress import ip_network
from typing import Any

import pytest

from flowengine.mail.addresses import parse_path
from flowengine.mail.message import Message
from flowengine.runtime.actions import Reply
from flowengine.runtime.policy import Policy, Route
from flowengine.runtime.session import OutOfOrder, Session
from flowengine.runtime.visit import Client
from tests.runtime.stage import MAIL, Stage, now, program

Answers = list[tuple[int, str]]


def play(steps: str, flows: Mapping[str, str] | None = None, stage: Stage | None = None, **policy: Any) -> Answers:
    """The replies to steps such as `helo mx; mail a@b; rcpt c@d; data`."""
    on = stage or Stage()

    async def whole() -> Answers:
        session = on.session(flows or {}, **policy)
        replies = []
        for step in steps.split(";"):
            verb, _, argument = step.strip().partition(" ")
            if (reply := await take(session, verb, argument)) is not None:
                replies.append((reply.code, reply.text))
        return replies

    return asyncio.run(whole())


async def take(session: Session, verb: str, argument: str) -> Reply | None:
    match verb:
        case "connect":
            return await now(session.connect())
        case "helo":
            return await now(session.helo("EHLO", argument))
        case "auth":
            name, _, password = argument.partition(" ")
            return await now(session.authenticate("PLAIN", name, password))
        case "mail":
            return await now(session.mail_from(parse_path(f"<{argument}>"), {}))
        case "rcpt":
            return await now(session.rcpt_to(parse_path(f"<{argument}>"), {}))
        case "data":
            return await session.data(Message(MAIL))
        case "rset":
            session.reset()
    return None


def codes(*arguments: Any, **policy: Any) -> list[int]:
    return [code for code, _ in play(*arguments, **policy)]


def test_a_visit_without_flows_goes_through():
    assert codes("connect; helo mx; mail a@example.org; rcpt b@example.net; data") == [250] * 5


def test_a_listener_that_wants_authentication_takes_no_mail_before():
    users = Known({"alice": "right"})
    assert play("mail a@b.example", require_auth=True) == [(530, "Authentication required")]
    steps = "auth alice right; mail a@b.example; rcpt x@anywhere.example; data"
    assert codes(steps, require_auth=True, users=users) == [235, 250, 250, 250]


class Known:
    """Users with their passwords; `busy` cannot be told now."""

    def __init__(self, passwords: Mapping[str, str]) -> None:
        self.passwords = passwords
        self.asked: list[tuple[str, str]] = []

    async def verify(self, username: str, password: str, client: str) -> bool | None:
        self.asked.append((username, client))
        return None if username == "busy" else self.passwords.get(username) == password


@pytest.mark.parametrize(
    ("steps", "expected"),
    [
        ("auth alice right", [235]),
        ("auth alice wrong", [535]),
        ("auth nobody right", [535]),
        ("auth busy right", [454]),
    ],
)
def test_users_decide_who_gets_in(steps, expected):
    users = Known({"alice": "right"})
    stage = Stage()
    assert codes(steps, None, stage, users=users) == expected
    assert users.asked[0][1] == "192.0.2.7"
    (line,) = stage.log.of("auth")
    assert line["user"] == steps.split()[1] and "right" not in str(line) and "wrong" not in str(line)


@pytest.mark.parametrize(
    ("flow", "code", "user"),
    [
        ('if ($saslusername == "alice" and $saslpassword == "right") Accept();', 235, "alice"),
        ('Accept(["username" => "renamed"]);', 235, "renamed"),
        ("", 535, None),
        ("Reject();", 535, None),
        ('Reject("no", ["reply_codes" => ["code" => 235]]);', 454, None),
        ("Defer();", 454, None),
        ('Accept(["reply_codes" => ["code" => 454]]);', 454, None),
        ("$x = 1 - [1];", 454, None),
        ('dns_query("slow.example", ["type" => "TXT"]); Accept();', 235, "alice"),
    ],
)
def test_an_auth_flow_decides_and_only_its_accept_lets_in(flow, code, user):
    from flowengine.services.fakes import FakeResolver

    stage = Stage(dns=FakeResolver({("slow.example", "txt"): ["timeout"]}))

    async def whole() -> tuple[int, str | None]:
        session = stage.session({"auth": flow}, users=Known({"alice": "right"}))
        reply = await now(session.authenticate("PLAIN", "alice", "right"))
        return reply.code, session.connection.username

    assert asyncio.run(whole()) == (code, user)
    assert "right" not in str(stage.log.lines)


def test_where_nobody_can_authenticate_it_is_said():
    assert play("auth alice right") == [(503, "Authentication is not offered here")]


@pytest.mark.parametrize(
    ("recipient", "policy", "code"),
    [
        ("a@example.net", {}, 250),
        ("a@EXAMPLE.net", {}, 250),
        ("a@other.example", {}, 550),
        ("a@sub.example.net", {}, 550),
        ("a@sub.example.net", {"recipient_domains": (".example.net",)}, 250),
        ("a@example.net", {"recipient_domains": (".example.net",)}, 550),
        ("a@badexample.net", {"recipient_domains": (".example.net",)}, 550),
        ("a@lists.example", {"routes": (Route(("lists.example",)),)}, 250),
        ("a@other.example", {"relay_from": (ip_network("192.0.2.0/24"),)}, 250),
        ("a@other.example", {"relay_from": (ip_network("198.51.100.0/24"), ip_network("2001:db8::/32"))}, 550),
        ("a@other.example", {"recipient_domains": ()}, 550),
        ("a@other.example", {"recipient_domains": (), "takes_all": True}, 250),
        ("postmaster", {}, 250),
        ("POSTMASTER", {"recipient_domains": (".example.net",)}, 550),
        ("postmaster", {"recipient_domains": (), "require_auth": False}, 550),
        ("postmaster", {"recipient_domains": (), "routes": (Route(("lists.example",)),)}, 250),
    ],
)
def test_we_relay_only_for_whom_we_are_told_to(recipient, policy, code):
    assert codes(f"mail a@b.example; rcpt {recipient}", **policy)[1] == code


def test_a_postmaster_without_a_domain_is_that_of_the_first_domain():
    """RFC 5321 §4.5.1."""
    stage = Stage()
    rows = (Route((".lists.example", "lists.example"), {}, "lists"),)

    async def whole(domains: tuple[str, ...]) -> str:
        session = stage.session({}, recipient_domains=domains, routes=rows)
        await take(session, "mail", "a@b.example")
        await take(session, "rcpt", "PostMaster")
        (recipient,) = session.transaction.recipients
        return f"{recipient.address.address} {recipient.transportid}"

    assert asyncio.run(whole((".example.net", "example.net", "example.org"))).startswith("PostMaster@example.net ")
    assert asyncio.run(whole(())) == "PostMaster@lists.example lists"


def test_an_rcptto_flow_decides_alone_only_where_nothing_else_is_said():
    accept = {"rcptto": "Accept();"}
    assert codes("mail a@b.example; rcpt x@other.example", accept, recipient_domains=()) == [250, 250]
    assert codes("mail a@b.example; rcpt x@other.example", accept) == [250, 550]


def test_who_authenticated_may_send_anywhere():
    users = Known({"alice": "right"})
    assert codes("auth alice right; mail a@b.example; rcpt x@other.example", users=users) == [235, 250, 250]


def test_a_client_without_an_address_is_in_no_network():
    stage = Stage(client=Client(ip=""))
    networks = (ip_network("0.0.0.0/0"), ip_network("::/0"))
    assert codes("mail a@b.example; rcpt x@other.example", None, stage, relay_from=networks) == [250, 550]


def test_routes_choose_flow_and_transport_by_domain_the_first_row_wins():
    stage = Stage()
    rows = (
        Route(("lists.example",), {"data": program('Reject("lists");')}, "lists"),
        Route((".example",), {"rcptto": program('Defer("below");', "rcptto")}, "below"),
        Route(("lists.example",), {}, "never"),
    )
    flows = {"data": 'echo $transportid; Deliver();', "rcptto": "Accept();"}  # fmt: skip
    assert play("mail a@b.c; rcpt x@lists.example; data", flows, stage, routes=rows)[2][1].startswith("lists (")
    assert play("mail a@b.c; rcpt x@other.example", flows, stage, routes=rows)[1] == (450, "below")
    play("mail a@b.c; rcpt x@example.net; data", flows, stage, routes=rows)
    assert stage.outbox.outcomes[-1].runs[0].output == ("out",)


def test_too_many_recipients_are_put_off():
    steps = "mail a@b.c; " + "rcpt r@example.net; " * 4 + "data"
    assert codes(steps, max_recipients=2) == [250, 250, 250, 452, 452, 250]


def test_a_recipient_that_a_flow_refuses_is_none():
    stage = Stage()
    flows = {"rcptto": 'if ($recipientlocalpart == "no") Reject("who?"); echo json_encode($recipients);'}
    steps = "mail a@b.c; rcpt a@example.net; rcpt no@example.net; rcpt b@example.net; data"
    assert play(steps, flows, stage)[2] == (554, "who?")
    assert [kept.recipient for kept in stage.outbox.outcomes[0].kept] == ["a@example.net", "b@example.net"]


def test_a_sender_that_a_flow_refuses_begins_no_transaction():
    with pytest.raises(OutOfOrder):
        play("mail a@b.c; rcpt a@example.net", {"mailfrom": "Reject();"})


def test_flows_change_what_the_client_said():
    stage = Stage()
    flows = {
        "connect": 'Accept(["remoteip" => "2001:DB8::1", "remoteptr" => "ptr.example"]);',
        "helo": 'Accept(["host" => "real.example"]);',
        "mailfrom": 'Accept(["sender" => "new@example.org"]);',
        "rcptto": 'Accept(["recipient" => ["localpart" => "x", "domain" => "example.net"], "transportid" => "t"]);',
        "data": 'echo [$senderip, $connection["remoteptr"], $senderhelo, $sender, $recipient, $transportid];',
    }
    play("connect; helo mx; mail a@b.c; rcpt a@example.net; data", flows, stage)
    expected = '[0=>"2001:db8::1",1=>"ptr.example",2=>"real.example",3=>"new@example.org",4=>"x@example.net",5=>"t"]'
    assert stage.outbox.outcomes[0].runs[0].output == (expected,)


def test_steps_out_of_order_are_the_doors_mistake():
    for steps in (
        "rcpt a@example.net",
        "data",
        "mail a@b.c; rset; rcpt a@example.net",
        "mail a@b.c; helo again; rcpt a@example.net",
        "mail a@b.c; rcpt a@example.net; data; data",
    ):
        with pytest.raises(OutOfOrder):
            play(steps)


HOPS = b"Received: from a by b; now\r\n"


@pytest.mark.parametrize(
    ("message", "policy", "reply"),
    [
        (HOPS * 101 + MAIL, {}, (554, "5.4.6")),
        (HOPS * 100 + MAIL, {}, None),
        (b"X: y\r\n" * 50 + MAIL, {"max_header_fields": 50}, (550, "5.6.0")),
        (b"X: " + b"y" * 2000 + b"\r\n" + MAIL, {"max_header_size": 1000}, (552, "5.3.4")),
        (MAIL + b"y" * 5000, {"max_header_size": 1000}, None),
    ],
)
def test_loops_and_headers_beyond_measure_are_refused_before_any_flow(message, policy, reply):
    stage = Stage()
    outcome = stage.data('Defer("asked");', message=message, **policy)
    if reply is None:
        assert outcome.reply.text == "asked"
        return
    assert (outcome.reply.code, outcome.reply.enhanced) == reply
    assert outcome.runs == () and outcome.kept == ()
    assert stage.log.of("verdict")[0]["verdict"] == "Refused"


@pytest.mark.parametrize(
    ("phase", "step", "code"),
    [
        ("connect", "connect", 421),
        ("helo", "helo mx", 450),
        ("mailfrom", "mail a@b.c", 450),
        ("rcptto", "rcpt a@example.net", 450),
    ],
)
def test_a_flow_that_fails_defers_in_every_phase_and_says_nothing_of_why(phase, step, code):
    stage = Stage()
    steps = f"mail a@b.c; {step}" if phase == "rcptto" else step
    reply = play(steps, {phase: '$x = 1 - ["topsecret"];'}, stage)[-1]
    assert reply == (code, "Try again later")
    (line,) = stage.log.of(phase)
    assert "cannot subtract" in str(line["error"])


def test_a_flow_may_wait_in_every_phase():
    from flowengine.services.fakes import FakeResolver

    dns = FakeResolver({("a.example", "a"): ["192.0.2.1"]})
    wait = 'if (dns_query("a.example", ["type" => "A"])["result"][0] != "192.0.2.1") Reject(); '
    phases = ("connect", "helo", "auth", "mailfrom", "rcptto", "data", "disconnect")
    flows = {phase: wait + ("Accept();" if phase not in ("data", "disconnect") else "") for phase in phases}
    flows["disconnect"] = 'dns_query("a.example", ["type" => "A"]);'
    steps = "connect; helo mx; auth a b; mail a@b.c; rcpt a@example.net; data"
    assert codes(steps, flows, Stage(dns=dns)) == [250, 250, 235, 250, 250, 250]
    assert len(dns.asked) == 6


@pytest.mark.parametrize("flow", ["", "Pass();", "echo 1; Pass();"])
def test_the_disconnect_flow_ends_with_pass_or_by_itself(flow):
    stage = Stage()
    session = stage.session({"disconnect": flow})
    assert session.disconnect() is None
    assert [(one.verdict.name, one.error) for one in session.results] == [("Pass", None)]


def test_everything_is_decided_about_the_client_behind_xclient():
    async def whole() -> None:
        flows = {
            "connect": 'if ($arguments["remoteptr"] == "bad.example") Reject();',
            "mailfrom": 'Reject([$senderip, $senderhelo, $saslusername, $connection["remoteptr"]]);',
        }
        session = Stage().session(flows, relay_from=(ip_network("203.0.113.0/24"),))
        session.connection.username = "somebody"
        await now(session.connect())
        await take(session, "helo", "proxy.example")
        client = Client("203.0.113.9", 4000, "198.51.100.1", 25)
        about = {"helo": "mx.example", "protocol": "ESMTP"}
        assert (await now(session.impersonate(client, name="bad.example", login=None, **about))).code == 521
        assert (await now(session.impersonate(client, name="ok.example", login=None, **about))).positive
        reply = await take(session, "mail", "a@b.c")
        assert reply is not None and reply.text == "203.0.113.9\nmx.example\n\nok.example"
        await now(session.impersonate(client, name="ok.example", login="alice", **about))
        reply = await take(session, "mail", "a@b.c")
        assert reply is not None and reply.text.split("\n")[2] == "alice"
        assert session.policy.relays_for(session.connection.client.ip)

    asyncio.run(whole())


def test_what_xforward_says_is_for_one_transaction():
    async def whole() -> None:
        flow = 'Reject($connection["xforward"]["name"] ?? "nobody");'
        session = Stage().session({"data": flow})
        session.forwarded({"NAME": "spike.example", "ADDR": None})
        told = []
        for _ in range(2):
            await take(session, "mail", "a@b.c")
            await take(session, "rcpt", "a@example.net")
            reply = await take(session, "data", "")
            told.append(reply.text.split()[0] if reply else "")
        assert told == ["spike.example", "nobody"]

    asyncio.run(whole())


@pytest.mark.parametrize(
    ("steps", "policy", "limit"),
    [
        ("mail a@b.c; rcpt a@example.net; rcpt b@example.net", {"max_recipients": 1}, "recipients"),
        ("mail a@b.c; rcpt a@example.net; data", {"max_header_fields": 1}, "header_count"),
        ("mail a@b.c; rcpt a@example.net; data", {"max_header_size": 10}, "header_size"),
    ],
)
def test_a_limit_that_was_reached_is_counted(steps, policy, limit):
    stage = Stage()
    assert codes(steps, {}, stage, **policy)[-1] >= 400
    assert stage.counters.sums["limits", (("limit", limit),)] == 1


def test_the_eod_flow_speaks_for_the_message_as_a_whole():
    stage = Stage()
    two = "mail a@b.c; rcpt a@example.net; rcpt b@example.net; data"
    assert codes(two, {"eod": 'Reject("x");'}, stage)[-1] == 550
    assert codes(two, {"eod": ""}, stage)[-1] == 451
    assert [len(outcome.runs) for outcome in stage.outbox.outcomes] == [1, 1]
    assert stage.outbox.outcomes[0].runs[0].recipient is None


def test_an_id_is_unique_and_sorts_by_time():
    from flowengine.services.fakes import FakeClock

    stage = Stage(clock=FakeClock(1.0))
    ids = []
    for moment in (1.0, 2.0, 1e9):
        stage.clock.moment = moment
        ids += [stage.data("").transaction.id for _ in range(3)]
    assert len(set(ids)) == 9
    assert [one[:12] for one in ids] == sorted(one[:12] for one in ids)


def test_the_policy_knows_whether_anybody_can_authenticate():
    assert not Policy("x").offers_auth
    assert Policy("x", users=Known({})).offers_auth
    assert Policy("x", {"auth": program("", "auth")}).offers_auth


def test_who_is_turned_away_has_a_line_in_the_log():
    stage = Stage()
    play("helo mx; mail a@b.example; rcpt x@anywhere.example", stage=stage)
    (line,) = stage.log.of("rcptto")
    told = {"client": "192.0.2.7", "helo": "mx", "sender": "a@b.example", "recipient": "x@anywhere.example"}
    assert told.items() <= line.items()
    assert line["reply"] == "550 5.7.1 Relaying to <anywhere.example> is denied"
    play("helo mx; mail a@b.example", stage=stage, require_auth=True)
    assert stage.log.of("mailfrom")[0]["reply"] == "530 5.7.0 Authentication required"
    play("mail a@b.example; rcpt b@example.net; rcpt c@example.net", stage=stage, max_recipients=1)
    assert stage.log.of("rcptto")[1]["reply"] == "452 4.5.3 Too many recipients"


def test_a_flow_that_turns_away_is_in_the_log_with_sender_and_recipient():
    stage = Stage()
    flows = {"helo": 'if ($arguments["host"] == "bad") Reject();', "mailfrom": "Defer();", "rcptto": "Reject();"}
    play("helo bad; helo mx; mail a@b.example", flows, stage)
    play("mail a@b.example; rcpt b@example.net", {"rcptto": "Reject();"}, stage)
    assert stage.log.of("helo")[0]["sender"] is None
    assert stage.log.of("mailfrom")[0]["sender"] == "a@b.example"
    (line,) = stage.log.of("rcptto")
    assert (line["sender"], line["recipient"]) == ("a@b.example", "b@example.net")


def test_content_that_the_door_refuses_has_a_line_and_its_id():
    stage = Stage()

    async def whole() -> Reply:
        session = stage.session({})
        await now(session.mail_from(parse_path("<a@b.example>"), {}))
        await now(session.rcpt_to(parse_path("<b@example.net>"), {}))
        reply = session.refused(Reply(550, "5.5.2", "No"))
        session.reset()
        return reply

    reply = asyncio.run(whole())
    (line,) = stage.log.of("refused")
    assert reply.text == f"No ({line['id']})"
    assert (line["sender"], line["recipients"], line["reply"]) == ("a@b.example", ["b@example.net"], "550 5.5.2 No")
