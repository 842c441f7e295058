"""What flows find out about a message: one line of DMARC a message, seals of ARC on what leaves, exceptions logged."""

import asyncio
import re

import dkim as dkimpy
import pytest

from flowengine.mail import arc, dkim
from flowengine.mail.dns import Answer, RecordType
from flowengine.mail.errors import MailError
from flowengine.mail.message import Message
from flowengine.services.fakes import FakeLog, FakeResolver

from .stage import MAIL, Stage, key

NOW = 1_767_225_600.0
RECORDS = {
    "_dmarc.example.org": "v=DMARC1; p=reject; rua=mailto:dmarc@example.org",
    "_dmarc.org": "none",
    "example.org": "v=spf1 ip4:192.0.2.0/24 -all",
    **dict.fromkeys(("_dmarc.mx.example.org", "mx.example.org", "lists.example", "_dmarc.lists.example"), "none"),
    "_dmarc.example": "none",
    "s1._domainkey.example.org": key("example").record(),
    "l1._domainkey.lists.example": key("lists").record(),
}
VERIFY = 'import { verify_sender } from "stdlib/verify-sender";'
SEAL = 'ARCSeal("s1", "example.org", "pki:example");'


def stage(**records: str) -> Stage:
    table = {**RECORDS, **{name.replace("_at_", "."): value for name, value in records.items()}}
    return Stage(dns=FakeResolver(table), keys={"example": key("example"), "lists": key("lists")})


def read_by_halonlog(line: str) -> dict[str, str]:
    """What opendmarc-halonlog makes of a line: the list behind the first parenthesis, which must end the line."""
    found = re.search(r"\[DMARC\][^\(]*\((.*)\)$", line)
    assert found, line
    return dict(pair.split("=", 1) for pair in re.split(r"[; ]+", found[1]))


def dmarc_of(log: FakeLog) -> dict[str, object]:
    (fields,) = log.of("dmarc")
    return fields


# -- the line of DMARC -------------------------------------------------------------------------------------------------


def test_one_line_of_dmarc_is_written_a_message_whatever_the_number_of_recipients() -> None:
    world = stage()
    outcome = world.data("ScanDMARC(); ScanDMARC(); AddAuthenticationResults();", recipients=["b@example.net"] * 3)
    event = dmarc_of(world.log)
    assert (event["id"], event["result"], event["domain"]) == (outcome.transaction.id, "pass", "example.org")
    values = read_by_halonlog(str(event["line"]))
    assert values == {
        "id": outcome.transaction.id, "ts": str(int(NOW)), "ipaddr": "192.0.2.7", "from": "example.org",
        "mfrom": "example.org", "helo": "mx.example.org", "pdomain": "example.org", "spf": "pass",
        "align_spf": "pass", "align_dkim": "unaligned", "policy": "pass", "action": "pass", "aspf": "relaxed",
        "adkim": "relaxed", "pct": "100", "p": "reject", "rua": "mailto:dmarc@example.org",
    }  # fmt: skip


def test_signatures_that_were_verified_stand_in_the_line() -> None:
    signed = dkim.sealed(Message(MAIL), dkim.Seal(selector="s1", domain="example.org", key=key("example")), NOW)
    world = stage()
    world.data("ScanDMARC();", message=signed.render(), sender="")
    values = read_by_halonlog(str(dmarc_of(world.log)["line"]))
    assert values["dkim:s1._domainkey.example.org"] == "pass"
    assert values["align_dkim"] == "pass"


def test_nothing_more_is_asked_for_the_line() -> None:
    world = stage()
    world.data("ScanDMARC();", sender="x@elsewhere.example", helo="x.example")  # not aligned: SPF is not asked
    assert read_by_halonlog(str(dmarc_of(world.log)["line"]))["spf"] == "unknown"
    assert "elsewhere.example" not in {name for name, _ in world.dns.asked}


def test_a_flow_that_asks_nothing_writes_no_line() -> None:
    world = stage()
    world.data("Deliver();")
    assert world.log.of("dmarc") == []
    assert world.dns.asked == []


@pytest.mark.parametrize(
    ("message", "records", "result"),
    [
        (b"From: a@example.org\r\nFrom: b@example.org\r\n\r\n", {}, "permerror"),
        (MAIL, {"_dmarc.example.org": "timeout"}, "temperror"),
    ],
)
def test_what_no_report_counts_has_an_event_and_no_line(message: bytes, records: dict[str, str], result: str) -> None:
    world = stage(**records)
    world.data("ScanDMARC();", message=message)
    assert dmarc_of(world.log)["result"] == result
    assert "line" not in dmarc_of(world.log)
    assert dmarc_of(world.log)["reason"]


def test_a_hostile_message_cannot_make_the_line_longer_than_syslog_takes() -> None:
    label = "a" * 60
    fields = b"".join(
        b"DKIM-Signature: v=1; a=rsa-sha256; d=%b.example; s=%d.%b; h=from; bh=AA==; b=AA==\r\n"
        % (b".".join([label.encode()] * 3), n, label.encode())
        for n in range(50)
    )
    world = stage()
    world.data("DKIMResults(); ScanDMARC();", message=fields + MAIL, helo="h" * 4000, sender="x@example.org")
    line = str(dmarc_of(world.log)["line"])
    assert len(line) <= 2000
    assert read_by_halonlog(line)["from"] == "example.org"


# -- trusted sealers ---------------------------------------------------------------------------------------------------


def from_a_list(results: str = "mx.lists.example; dmarc=pass header.from=example.org") -> bytes:
    seal = dkim.Seal(selector="l1", domain="lists.example", key=key("lists"))
    return arc.seal(Message(MAIL), seal, arc.ChainResult("none"), results, now=NOW).render()


TRUSTING = 'echo ScanDMARC(["trusted_sealers" => ["LISTS.example"]]);'
FROM_A_LIST = {"sender": "list@lists.example", "helo": "mx.lists.example"}


def test_a_failure_that_a_trusted_sealer_vouches_for_passes_and_the_log_says_why() -> None:
    world = stage()
    assert world.echoed(TRUSTING, message=from_a_list(), **FROM_A_LIST) == ['["example.org"=>"pass"]']
    event = dmarc_of(world.log)
    assert event["result"] == "fail"
    assert event["trusted_sealer"] == "lists.example is a trusted sealer and reports dmarc=pass (ARC instance 1)"
    values = read_by_halonlog(str(event["line"]))
    assert (values["policy"], values["action"]) == ("reject", "none")


def test_the_chain_of_a_stranger_is_not_even_looked_up() -> None:
    world = stage()
    flow = 'echo ScanDMARC(["trusted_sealers" => ["other.example"]]);'
    assert world.echoed(flow, message=from_a_list(), **FROM_A_LIST) == ['["example.org"=>"reject"]']
    assert "l1._domainkey.lists.example" not in {name for name, _ in world.dns.asked}


def test_a_pass_needs_no_sealer() -> None:
    world = stage()
    assert world.echoed(TRUSTING, message=from_a_list()) == ['["example.org"=>"pass"]']
    assert "l1._domainkey.lists.example" not in {name for name, _ in world.dns.asked}


@pytest.mark.parametrize(
    "results",
    [
        "mx.lists.example; dmarc=fail header.from=example.org",
        "mx.lists.example; dmarc=pass header.from=evil.example",
        "mx.lists.example; dmarc=pass header.from=example.org; dmarc=fail header.from=example.org",
        "mx.lists.example; spf=pass smtp.mailfrom=a@example.org",
        'mx.lists.example; x=y reason="; dmarc=pass header.from=example.org"',
        "mx.lists.example; none (dmarc=pass header.from=example.org)",
    ],
)
def test_a_trusted_sealer_must_have_seen_exactly_that_domain_pass(results: str) -> None:
    assert stage().echoed(TRUSTING, message=from_a_list(results), **FROM_A_LIST) == ['["example.org"=>"reject"]']


def test_a_chain_that_cannot_be_judged_now_refuses_nothing() -> None:
    world = stage(**{"l1._domainkey.lists.example": "timeout"})
    assert world.echoed(TRUSTING, message=from_a_list(), **FROM_A_LIST) == ['["example.org"=>"temperror"]']


# -- ARCSeal -----------------------------------------------------------------------------------------------------------


def validated(data: bytes) -> arc.ChainResult:
    return asyncio.run(arc.validate(Message(data), FakeResolver(RECORDS), now=NOW))


def test_what_leaves_is_sealed_above_its_dkim_signature_and_edits() -> None:
    world = stage()
    flow = f'{SEAL} DKIMSign("s1", "example.org", "pki:example"); AddHeader("X-Seen", "yes"); Deliver();'
    world.data(flow)
    ((_, left),) = world.outbox.left
    names = [field.name for field in Message(left).headers]
    assert names[:4] == ["ARC-Seal", "ARC-Message-Signature", "ARC-Authentication-Results", "DKIM-Signature"]
    assert validated(left).status == "pass"
    assert b"dkim-signature" in Message(left).headers[1].value
    found = validated(left).sets[0].authentication_results
    assert found.startswith("mx.example.net;")
    assert "dmarc=pass header.from=example.org" in found
    status, _, _ = dkimpy.ARC(left).verify(dnsfunc=lambda name, timeout=5: RECORDS.get(name.decode().rstrip(".")))
    assert status == dkimpy.CV_Pass


def test_the_next_set_stands_on_the_chain_that_came() -> None:
    world = stage()
    world.data(f"{SEAL} Deliver();", message=from_a_list(), **FROM_A_LIST)
    ((_, left),) = world.outbox.left
    chain = validated(left)
    assert (chain.status, chain.domains) == ("pass", ("lists.example", "example.org"))
    assert "arc=pass (i=1)" in chain.sets[1].authentication_results


def test_a_broken_chain_is_sealed_as_broken() -> None:
    world = stage()
    assert world.data(
        f"{SEAL} Deliver();", message=from_a_list().replace(b"noon", b"one"), **FROM_A_LIST
    ).reply.positive
    ((_, left),) = world.outbox.left
    assert b"cv=fail" in Message(left).headers[0].value


def test_one_content_is_sealed_once() -> None:
    world = stage()
    world.data(f"{SEAL} {SEAL} Deliver();", recipients=["a@example.net", "b@example.net"])
    (_, first), (_, second) = world.outbox.left
    assert first == second
    assert first.count(b"ARC-Seal:") == 1


def test_a_delivery_with_a_seal_alone_is_not_called_signed() -> None:
    world = stage()
    world.data(f"{SEAL} Deliver();")
    ((verdict,),) = [line["signing"] for line in world.log.of("verdict")]  # type: ignore[misc]  # a list of one
    assert verdict["verdict"] == "unsigned"  # type: ignore[index]  # see above


@pytest.mark.parametrize(
    ("call", "reason"),
    [
        ('ARCSeal("s1", "example.org", "pki:absent")', "there is no key pki:absent"),
        ('ARCSeal("s 1", "example.org", "pki:example")', "selector"),
        ('ARCSeal("s1", "example.org", "pki:example", ["results" => "x\\r\\nBcc: y@example.net"])', "fold"),
    ],
)
def test_what_cannot_be_sealed_is_told_at_once(call: str, reason: str) -> None:
    world = stage()
    assert world.echoed(f"echo {call};") == ["false"]
    ((event,),) = [world.log.of("unsealed")]
    assert reason in str(event["reason"])


def test_a_chain_that_cannot_be_judged_now_gets_no_set() -> None:
    world = stage(**{"l1._domainkey.lists.example": "timeout"})
    assert world.echoed(f"echo {SEAL}", message=from_a_list(), **FROM_A_LIST) == ["false"]


def test_two_different_sets_are_one_too_many() -> None:
    flow = 'echo ARCSeal("s1", "example.org", "pki:example"); echo ARCSeal("l1", "lists.example", "pki:lists");'
    assert stage().echoed(flow) == ["true", "false"]


def test_taking_out_the_chain_after_sealing_defers() -> None:
    with pytest.raises(MailError, match="set 1 has no arc-seal"):
        stage().data(f'{SEAL} DelHeader("ARC-Seal"); Deliver();', message=from_a_list(), **FROM_A_LIST)


# -- verify_sender -----------------------------------------------------------------------------------------------------


def test_monitor_says_what_would_have_happened() -> None:
    world = stage()
    world.data(f'{VERIFY} verify_sender(["monitor" => true]); Deliver();', sender="x@lists.example")
    assert "verify_sender: would have done reject: example.org does not allow this host" in str(world.log.lines)


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ('["On-BadSignatur" => "reject"]', "verify_sender has no option On-BadSignatur"),
        ('["On-BadSignature" => "refuse"]', "On-BadSignature is accept, discard, reject, tempfail or quarantine"),
        ('["temperror" => true]', "temperror is accept"),
    ],
)
def test_a_typing_mistake_opens_no_door(options: str, reason: str) -> None:
    outcome = stage().data(f"{VERIFY} verify_sender({options}); Deliver();")
    assert outcome.reply.code == 451
    assert reason in str(outcome.runs[0].error)


class Broken:
    """A resolver with a mistake in it."""

    async def query(self, name: str, kind: RecordType) -> Answer:
        raise RuntimeError("a mistake")


@pytest.mark.parametrize(("options", "code"), [("", 451), ('["On-InternalError" => "accept"]', 250)])
def test_an_internal_error_has_its_own_action(options: str, code: int) -> None:
    world = stage()
    world.dns = Broken()  # type: ignore[assignment]  # a resolver all the same
    assert world.data(f"{VERIFY} verify_sender({options}); Deliver();").reply.code == code
    assert "a mistake" in str(world.log.lines)


def test_results_can_be_stamped_without_asking_anything() -> None:
    world = stage()
    assert world.echoed('echo AddAuthenticationResults(["methods" => []]);') == ["mx.example.net;\r\n\tnone"]
    flow = 'echo AddAuthenticationResults(["methods" => ["dkim"]]);'
    assert world.echoed(flow) == ["mx.example.net;\r\n\tdkim=none"]
    assert world.dns.asked == []


# -- what came before --------------------------------------------------------------------------------------------------


def test_historic_words_answer_in_their_shapes() -> None:
    records = {("_adsp._domainkey.example.org", "txt"): "dkim=all", ("example.org", "mx"): "10 mx.example.org"}
    world = Stage(dns=FakeResolver(records))
    assert world.echoed('echo DKIMADSP(); echo DomainKeysVerify()["result"];') == ['["example.org"=>"fail"]', "none"]
    assert world.echoed("echo DKIMADSP();", message=b"Subject: x\r\n\r\n") == ['[""=>"permerror"]']
