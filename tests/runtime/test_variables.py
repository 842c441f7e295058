"""The predefined variables: what each phase knows, in both styles, and how long it lives."""

import asyncio
import json

import pytest

from flowengine.builtins.vocabulary import vocabulary
from flowengine.mail.addresses import parse_path
from flowengine.mail.message import Message
from flowengine.runtime.phases import PHASES, QUEUE, Phase
from tests.runtime.stage import MAIL, Stage, now, program

ALL = [
    "senderip",
    "senderport",
    "serverip",
    "serverport",
    "serverid",
    "messageid",
    "context",
    "connection",
    "transaction",
    "arguments",
]
HELO = [*ALL, "senderhelo", "senderhelotype", "tlsstarted", "saslauthed", "saslusername"]
MAILFROM = [*HELO, "sender", "senderdomain", "senderlocalpart", "senderparams"]
RCPTTO = [
    *MAILFROM, "recipient", "recipientdomain", "recipientlocalpart", "recipientparams", "recipients",
    "recipientdomains", "transportid",
]  # fmt: skip


@pytest.mark.parametrize(
    ("phase", "names"),
    [
        ("connect", ALL),
        ("helo", HELO),
        ("auth", [*HELO, "saslpassword", "saslmechanism", "saslstate", "saslresponse"]),
        ("mailfrom", MAILFROM),
        ("rcptto", RCPTTO),
        ("data", [*RCPTTO, "actionid"]),
        ("eod", [*MAILFROM, "recipients", "recipientdomains"]),
        ("proxy", HELO),
        ("disconnect", HELO),
    ],
)
def test_each_phase_knows_its_variables_and_no_others(phase, names):
    known = vocabulary().phases[phase].variables
    assert sorted(known) == sorted(names)
    assert [name for name, one in known.items() if one.writable] == ["context"]
    assert all(one.page for one in known.values())


def visit(flows: dict[str, str], stage: Stage | None = None) -> dict[str, list[list[object]]]:
    """A whole visit; what each phase echoed as JSON, in order."""
    on = stage or Stage()
    said: dict[str, list[list[object]]] = {}

    async def whole() -> None:
        session = on.session(flows)
        for verb, host in (("HELO", "early.example"), ("EHLO", "mx.example.org")):
            await now(session.connect()) if verb == "HELO" else None
            await now(session.helo(verb, host, ["PIPELINING"] if verb == "EHLO" else ()))
        session.connection.tls = {"protocol": "TLSv1.3"}
        await now(session.authenticate("PLAIN", "alice", "hunter2"))
        await now(session.mail_from(parse_path("<Alice@Example.ORG>"), {"SIZE": "2048"}))
        for recipient in ("Bob@Example.NET", "carol@example.net"):
            await now(session.rcpt_to(parse_path(f"<{recipient}>"), {"NOTIFY": "NEVER"}))
        await session.data(Message(MAIL))
        step = session.disconnect()
        if step is not None:
            await step
        for run in (*session.results, *(run for one in on.outbox.outcomes for run in one.runs)):
            assert run.error is None, run.error
            said.setdefault(run.phase, []).append([json.loads(line) for line in run.output])

    asyncio.run(whole())
    return said


def one(phase: str, expression: str) -> object:
    """What an expression gives in the last run of a phase."""
    return visit({phase: f"echo json_encode({expression}); Accept();" if phase not in ("data", "disconnect")
                  else f"echo json_encode({expression});"})[phase][-1][0]  # fmt: skip


CONNECTION = {
    "remoteip": "192.0.2.7", "remoteport": 4711, "localip": "198.51.100.1", "localport": 25, "serverid": "inbound",
    "remoteptr": "mx.example.org",
}  # fmt: skip
NOW_KNOWN = {**CONNECTION, "helo": {"verb": "EHLO", "host": "mx.example.org"}, "tls": {"protocol": "TLSv1.3"}}
BOB = {
    "recipient": "Bob@Example.NET", "address": {"localpart": "Bob", "domain": "Example.NET"},
    "recipientparams": {"NOTIFY": "NEVER"}, "params": {"NOTIFY": "NEVER"}, "transportid": "out",
}  # fmt: skip
CAROL = {**BOB, "recipient": "carol@example.net", "address": {"localpart": "carol", "domain": "example.net"}}


@pytest.mark.parametrize(
    ("phase", "expression", "value"),
    [
        ("connect", "[$senderip, $senderport, $serverip, $serverport, $serverid]",
         ["192.0.2.7", 4711, "198.51.100.1", 25, "inbound"]),
        ("connect", "$connection", CONNECTION),
        ("connect", "$arguments", CONNECTION),
        ("connect", "length($messageid)", 24),
        ("helo", "[$senderhelo, $senderhelotype, $tlsstarted, $saslauthed, $saslusername]",
         ["mx.example.org", "EHLO", False, False, ""]),
        ("helo", "$arguments", {"verb": "EHLO", "host": "mx.example.org", "extensions": ["PIPELINING"]}),
        ("auth", '[$saslusername, $saslmechanism, $saslstate, $saslresponse == "", $tlsstarted]',
         ["alice", "PLAIN", 0, True, True]),
        ("helo", 'length($transaction["id"])', 24),
        ("auth", '[$saslpassword == "hunter2", $arguments["password"] == "hunter2", $arguments["username"]]',
         [True, True, "alice"]),
        ("mailfrom", "[$sender, $senderdomain, $senderlocalpart, $senderparams]",
         ["alice@example.org", "example.org", "alice", {"SIZE": "2048"}]),
        ("mailfrom", "$arguments",
         {"sender": "alice@example.org", "address": {"localpart": "Alice", "domain": "Example.ORG"},
          "params": {"SIZE": "2048"}}),
        ("mailfrom", '[$transaction["sender"], $transaction["senderaddress"], $transaction["recipients"]]',
         ["alice@example.org", {"localpart": "Alice", "domain": "Example.ORG"}, []]),
        ("rcptto", "[$recipient, $recipientdomain, $recipientlocalpart, $recipientparams, $transportid]",
         ["carol@example.net", "example.net", "carol", {"NOTIFY": "NEVER"}, "out"]),
        ("rcptto", "[$recipients, $recipientdomains]",
         [["Bob@Example.NET", "carol@example.net"], ["example.net", "example.net"]]),
        ("rcptto", "$arguments",
         {"recipient": "carol@example.net", "address": {"localpart": "carol", "domain": "example.net"},
          "params": {"NOTIFY": "NEVER"}, "transportid": "out"}),
        ("data", "[$recipient, $recipients, $actionid, $senderhelo, $tlsstarted]",
         ["carol@example.net", ["Bob@Example.NET", "carol@example.net"], 2, "mx.example.org", True]),
        ("data", "$connection", NOW_KNOWN),
        ("data", '$transaction["recipients"]', [BOB, CAROL]),
        ("data", '[$transaction["id"] == $messageid, $transaction["ts"], $transaction["senderparams"]]',
         [True, 1767225600, {"SIZE": "2048"}]),
        ("eod", "[$sender, $recipients, $recipientdomains]",
         ["alice@example.org", ["Bob@Example.NET", "carol@example.net"], ["example.net", "example.net"]]),
        ("eod", '$transaction["recipients"]', [BOB, CAROL]),
        ("disconnect", "[$senderip, $senderhelo, $tlsstarted]", ["192.0.2.7", "mx.example.org", True]),
    ],
)  # fmt: skip
def test_a_variable_has_the_value_of_its_phase(phase, expression, value):
    assert one(phase, expression) == value


def test_who_authenticated_is_known_from_then_on():
    said = visit(
        {
            "helo": "echo json_encode([$saslauthed, $saslusername]);",
            "auth": 'Accept(["username" => "renamed"]);',
            "data": 'echo json_encode([$saslauthed, $saslusername, $connection["auth"]]);',
        }
    )
    assert said["helo"] == [[[False, ""]], [[False, ""]]]
    assert said["data"][0] == [[True, "renamed", {"mechanism": "PLAIN", "username": "renamed"}]]


def test_the_helo_flow_sees_the_name_of_this_helo_also_after_a_connect_flow():
    said = visit({"connect": "echo json_encode(1);", "helo": "echo json_encode([$senderhelo, $senderhelotype]);"})
    assert said["helo"] == [[["early.example", "HELO"]], [["mx.example.org", "EHLO"]]]


def test_the_context_lives_as_long_as_the_connection():
    count = "$context = ($context ?? 0) + 1; echo json_encode($context);"
    phases = ("connect", "helo", "mailfrom", "rcptto", "data", "disconnect")
    said = visit(dict.fromkeys(phases, count))
    seen = [value for phase in phases for run in said[phase] for value in run]
    assert seen == list(range(1, 10))  # connect, two HELOs, mail, two recipients twice, disconnect


def test_the_context_is_a_value():
    said = visit({"connect": '$context = ["n" => 1];', "data": '$mine = $context; $mine["n"] = 2; echo $context["n"];'})
    assert said["data"] == [[1], [1]]


def test_a_transaction_ends_with_rset_and_its_state_with_it():
    async def whole() -> list[str]:
        stage = Stage()
        session = stage.session({"data": 'echo $senderip; echo json_encode(GetMetaData()); SetMetaData(["a" => "b"]); '
                                         'SetSenderIP("192.0.2.99");'})  # fmt: skip
        for _ in range(2):
            await now(session.mail_from(parse_path("<a@example.org>"), {}))
            await now(session.rcpt_to(parse_path("<b@example.net>"), {}))
            await session.data(Message(MAIL))
        return [line for outcome in stage.outbox.outcomes for run in outcome.runs for line in run.output]

    assert asyncio.run(whole()) == ["192.0.2.7", "[]"] * 2


def test_every_variable_can_be_read_in_every_phase():
    for name, row in PHASES.items():
        if name in (Phase.PROXY, *QUEUE):
            continue  # test_session.py, test_attempts.py
        variables = vocabulary().phases[name].variables
        lines = "".join(f"$x = ${variable}; " for variable in variables)
        assert program(lines, name) is not None
        run = visit({name: lines + ("" if name in ("data", "disconnect") else "Accept();")})
        assert run[name], row
