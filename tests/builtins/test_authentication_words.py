"""What flows hear of SPF, DKIM and DMARC: the words and shapes of HSL, and a temporary error that stays one."""

import pytest

from flowengine.mail import dkim
from flowengine.mail.message import Message
from flowengine.services.fakes import FakeResolver
from tests.runtime.stage import MAIL, Stage, key

DNS = {
    ("example.org", "txt"): ["v=spf1 ip4:192.0.2.7 exp=why.example.org -all"],
    ("why.example.org", "txt"): ["ask the postmaster"],
    ("soft.example", "txt"): ["v=spf1 ~all"],
    ("neutral.example", "txt"): ["v=spf1 ?all"],
    ("broken.example", "txt"): ["v=spf1 nonsense"],
    ("slow.example", "txt"): ["timeout"],
    ("none.example", "txt"): ["none"],
    ("_dmarc.example.org", "txt"): ["v=DMARC1; p=reject"],
    ("s1._domainkey.example.org", "txt"): [key("mail").record()],
    ("s2._domainkey.other.example", "txt"): ["timeout"],
    ("s3._domainkey.third.example", "txt"): ["none"],
}


def signed(*who: tuple[str, str], key_name: str = "mail") -> bytes:
    """The message with a signature of each (selector, domain), the last on top."""
    message = Message(MAIL)
    for selector, domain in who:
        message = dkim.sealed(message, dkim.Seal(selector=selector, domain=domain, key=key(key_name)), 0.0)
    return message.render()


GOOD = ("s1", "example.org")
LATER = ("s2", "other.example")
GONE = ("s3", "third.example")


def echoed(flow: str, message: bytes = MAIL, **dns: list[str]) -> list[str]:
    return Stage(dns=FakeResolver({**DNS, **{(name, "txt"): value for name, value in dns.items()}})).echoed(
        flow, message=message
    )


@pytest.mark.parametrize(
    ("ip", "domain", "score", "word"),
    [
        ("192.0.2.7", "example.org", 0, "pass"),
        ("192.0.2.7", "someone@example.org", 0, "pass"),
        ("192.0.2.8", "example.org", 100, "fail"),
        ("192.0.2.8", "soft.example", 20, "softfail"),
        ("192.0.2.8", "neutral.example", 50, "neutral"),
        ("192.0.2.8", "broken.example", 50, "permerror"),
        ("192.0.2.8", "slow.example", 50, "temperror"),
        ("192.0.2.8", "none.example", 50, "none"),
        ("192.0.2.7", "", 0, "pass"),
        ("", "example.org", 50, "none"),
        ("nonsense", "example.org", 50, "invalid"),
    ],
)
def test_spf_as_score_and_as_word(ip, domain, score, word):
    call = f'"{ip}", "example.org", "{domain}"'
    assert echoed(f'echo spf({call}); echo spf({call}, ["extended_result" => true])["result"];') == [str(score), word]
    assert echoed(f'echo spf_query({call})["result"];') == [word]


def test_the_domains_own_explanation_is_there_when_it_has_one():
    assert echoed('echo spf_query("192.0.2.8", "x", "example.org")["explanation"];') == ["ask the postmaster"]
    assert echoed('echo isset(spf_query("192.0.2.7", "x", "example.org")["explanation"]);') == ["false"]


@pytest.mark.parametrize(
    ("message", "call", "shown"),
    [
        (MAIL, "DKIMSDID()", "[]"),
        (signed(GOOD), "DKIMSDID()", '{"example.org":"pass"}'),
        (signed(GOOD).replace(b"noon", b"four"), "DKIMSDID()", '{"example.org":"fail"}'),
        (signed(GOOD, LATER, GONE), "DKIMSDID()",
         '{"third.example":"permerror","other.example":"temperror","example.org":"pass"}'),
        (signed(GOOD, LATER), 'DKIMSDID(["Example.ORG"])', '{"other.example":"skip","example.org":"pass"}'),
        (signed(GOOD, LATER), 'DKIMSDID([], ["signature_limit" => 1])',
         '{"other.example":"temperror","example.org":"skip"}'),
        (signed(GOOD, GOOD, GOOD), "DKIMSDID()", '{"example.org":"pass"}'),
    ],
)  # fmt: skip
def test_dkim_results_by_domain(message, call, shown):
    assert echoed(f"echo json_encode({call});", message) == [shown]


def test_dkimverify_of_one_field():
    flow = 'echo json_encode(DKIMVerify(%s . GetHeader("DKIM-Signature", false)));'
    name = '"DKIM-Signature: "'
    (good,) = echoed(flow % name, signed(GOOD))
    assert good.startswith('{"result":"pass","tags":{"v":"1","a":"rsa-sha256"')
    (bad,) = echoed(flow % name, signed(GOOD).replace(b"noon", b"four"))
    assert '"result":"permerror"' in bad and '"error":"' in bad
    (later,) = echoed(flow % name, signed(LATER))
    assert later.startswith('{"result":"temperror"')
    assert echoed('echo DKIMVerify("nonsense")["result"];') == ["permerror"]


def test_a_dns_function_is_asked_instead_of_dns():
    ask = 'echo DKIMSDID([], ["dns_function" => function ($name) { return %s; }])["example.org"];'
    record = f'["{key("mail").record()}"]'
    on = Stage()  # knows no DNS at all
    for answer, word in [
        (record, "pass"), (f'["result" => {record}]', "pass"), ('["error" => "NXDOMAIN"]', "permerror"),
        ('["error" => "SERVFAIL"]', "temperror"), ("none", "temperror"),
    ]:  # fmt: skip
        assert on.echoed(ask % answer, message=signed(GOOD)) == [word], answer
    assert on.dns.asked == []


def test_all_that_is_known_of_a_signature():
    (shown,) = echoed("$r = DKIMResults()[0]; echo json_encode([$r[\"domain\"], $r[\"selector\"], $r[\"algorithm\"], "
                      "$r[\"bits\"], $r[\"result\"], $r[\"unsigned_octets\"]]);", signed(GOOD))  # fmt: skip
    assert shown == '["example.org","s1","rsa-sha256",2048,"pass",0]'
    seal = dkim.Seal(selector="s1", domain="example.org", key=key("mail"), timestamp=1767225500, expiration=1767225700)
    timed = dkim.sealed(Message(MAIL), seal, 0.0).render()
    times = '$r = DKIMResults()[0]; echo json_encode([$r["timestamp"], $r["expiration"], $r["age"]]);'
    assert echoed(times, timed) == ["[1767225500,1767225700,100]"]
    assert echoed(times, signed(GOOD)) == ["[null,null,null]"]


@pytest.mark.parametrize(
    ("options", "word"),
    [
        ("", "pass"),
        ('["ip" => "192.0.2.8"]', "reject"),
        ('["ip" => "192.0.2.8", "domain" => "none.example"]', "reject"),
        ('["domain" => "none.example"]', "reject"),
        ('["domain" => "", "helo" => "example.org"]', "pass"),
    ],
)
def test_scandmarc_may_be_asked_about_another_client(options, word):
    assert echoed(f"echo json_encode(ScanDMARC({options}));") == [f'{{"example.org":"{word}"}}']


@pytest.mark.parametrize(
    ("message", "shown"),
    [
        (b"From: a@example.org\r\nFrom: b@example.org\r\n\r\n", ['"permerror"', "null"]),
        (b"Subject: x\r\n\r\n", ['"permerror"', "null"]),
        (b"From: a@EXAMPLE.org\r\n\r\n", ['{"example.org":"pass"}', '"example.org"']),
        (b"From: =?utf-8?q?b=C3=BCcher?= <a@example.org>\r\n\r\n", ['{"example.org":"pass"}', '"example.org"']),
        (
            b"From: a@b\xc3\xbccher.example\r\n\r\n",
            ['{"xn--bcher-kva.example":"policy_absent"}', '"xn--bcher-kva.example"'],
        ),
    ],
)
def test_the_from_domain_decides(message, shown):
    none = {"_dmarc.xn--bcher-kva.example": ["none"], "_dmarc.example": ["none"], "xn--bcher-kva.example": ["none"]}
    assert echoed("echo json_encode(ScanDMARC()); echo json_encode(FromDomain());", message, **none) == shown


def test_authentication_results_replace_what_claims_to_be_ours():
    forged = (
        b"Authentication-Results: mx.example.net; dmarc=pass\r\nAuthentication-Results: other.example; spf=pass\r\n"
    )
    on = Stage(dns=FakeResolver(DNS))
    on.data("echo AddAuthenticationResults();", message=forged + MAIL)
    message = on.outbox.left[0][1]
    assert message.startswith(b"Authentication-Results: mx.example.net;\r\n\tspf=pass")
    assert message.count(b"mx.example.net;") == 1 and b"other.example; spf=pass" in message
    assert b"dmarc=pass" in message.partition(b"other.example")[0]


def test_authentication_results_have_the_name_that_the_flow_gives():
    (shown,) = echoed('echo AddAuthenticationResults(["hostname" => "edge.example"]);')
    assert shown.startswith("edge.example;")
    (shown,) = echoed('echo AddAuthenticationResults(["hostname" => "a b; c"]);')
    assert shown.startswith('"a b; c";')
    on = Stage(dns=FakeResolver(DNS))
    on.data('AddAuthenticationResults(["hostname" => "a\\r\\nX: y"]);')
    assert b"\nX:" not in on.outbox.left[0][1]


RECEIVER = "receiver=mx.example.net"


@pytest.mark.parametrize(
    ("sender", "word", "comment", "pairs"),
    [
        (
            "alice@example.org",
            "pass",
            "example.org: ip4:192.0.2.7 matches 192.0.2.7",
            (
                'identity=mailfrom; client-ip=192.0.2.7; envelope-from="alice@example.org"; helo=mx.example.org; '
                'mechanism="ip4:192.0.2.7"'
            ),
        ),
        (
            "",
            "none",
            "mx.example.org has no SPF record",
            "identity=helo; client-ip=192.0.2.7; helo=mx.example.org",
        ),
        (
            "a@slow.example",
            "temperror",
            "TXT slow.example: time-out",
            (
                'identity=mailfrom; client-ip=192.0.2.7; envelope-from="a@slow.example"; helo=mx.example.org; '
                'problem="TXT slow.example: time-out"'
            ),
        ),
    ],
)
def test_received_spf_is_put_on_top_of_those_that_came(sender, word, comment, pairs):
    on = Stage(dns=FakeResolver({**DNS, ("mx.example.org", "txt"): ["none"]}))
    on.data("AddReceivedSPF();", message=b"Received-SPF: pass\r\n" + MAIL, sender=sender)
    ((_, left),) = on.outbox.left
    head = Message(left).headers
    assert [field.name for field in head[:2]] == ["Received-SPF", "Received-SPF"]
    shown = head[0].unfolded.decode().replace("\t", " ")
    assert shown == f"{word} (mx.example.net: {comment}) {RECEIVER}; {pairs}"
    assert head[1].unfolded == b"pass"
