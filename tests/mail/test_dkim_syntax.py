"""The syntax of signatures and key records, tag by tag (RFC 6376 §3.2, §3.5, §3.6.1): each signature is valid but for
the way it is written, which alone decides (§6.1.1: nothing that breaks the syntax is let pass)."""

import asyncio
import re

import pytest
from dkim_world import NOW, FakeResolver, ed25519_key, rsa_key
from handmade import signed

from flowengine.mail.dkim import SignatureResult, verify, verify_field
from flowengine.mail.message import Message

MAIL = b"From: Joe <joe@example.org>\r\nTo: a@example.net\r\nTo: b@example.net\r\nSubject: x\r\n\r\nHello\r\nyou.\r\n"
NAME = "s1._domainkey.example.org"
KEY = re.sub(".*p=", "", rsa_key().record())
USUAL = "DKIM-Signature: v=1; a=rsa-sha256; c=relaxed/relaxed; d=example.org; s=s1; h=from:to; bh={bh}; b={b}"


def only(mail: bytes, record: str = "v=DKIM1; p=" + KEY, name: str = NAME) -> SignatureResult:
    [result] = asyncio.run(verify(Message(mail), FakeResolver({name: record}), now=NOW))
    return result


@pytest.mark.parametrize(
    ("tags", "word"),
    [
        # white space and folds around tags, values and within base64 (§3.2)
        ("v = 1 ; a = rsa-sha256 ; c = relaxed/relaxed ; d = example.org ; s = s1 ; h = from:to ; bh = {bh} ; b = {b}", "pass"),
        ("v=1;\r\n\ta=rsa-sha256;\r\n c=relaxed/relaxed;\r\n\td=\r\n\texample.org; s=s1; h=from:to;\r\n bh={bh};\r\n b={b}", "pass"),
        ("b={b}; bh={bh}; h=from:to; s=s1; d=example.org; c=relaxed/relaxed; a=rsa-sha256; v=1", "pass"),
        ("v=1; a=rsa-sha256; b={b}; c=relaxed/relaxed; d=example.org; s=s1; h=from:to; bh={bh};", "pass"),
        ("V=1; {usual}", "pass"),  # another tag, as names depend on case
        ("A=rsa-md5; D=example.com; {usual}", "pass"),
        ("x_1=a b c; z=From:=20a|To:b; r=y; {usual}", "pass"),
        ("n=; {usual}", "pass"),
        ("1x=y; {usual}", "permerror"),
        ("x-y=z; {usual}", "permerror"),
        ("x; {usual}", "permerror"),
        ("; {usual}", "permerror"),
        ("{usual};", "pass"),
        ("{usual};;", "permerror"),
        ("n=1; n=1; {usual}", "permerror"),
        ("n=a\x01b; {usual}", "permerror"),
        ("n=\x7f; {usual}", "permerror"),
        ("n=é; {usual}", "pass"),  # RFC 8616
        # v, a, c, q
        ("{usual}§v=1§v=01", "permerror"),
        ("{usual}§v=1§v=1.0", "permerror"),
        ("{usual}§v=1§v=", "permerror"),
        ("{usual}§rsa-sha256§RSA-SHA256", "permerror"),
        ("{usual}§rsa-sha256§rsa -sha256", "permerror"),
        ("{usual}§rsa-sha256§rsa-sha512", "permerror"),
        ("{usual}§c=relaxed/relaxed§c=relaxed", "pass"),  # simple for the body, which is the same for this one
        ("{usual}§c=relaxed/relaxed§c=relaxed/simple", "pass"),
        ("{usual}§c=relaxed/relaxed§c=relaxed/", "permerror"),
        ("{usual}§c=relaxed/relaxed§c=/relaxed", "permerror"),
        ("{usual}§c=relaxed/relaxed§c=", "permerror"),
        ("{usual}§c=relaxed/relaxed§c=Relaxed/relaxed", "permerror"),
        ("{usual}§c=relaxed/relaxed§c=relaxed / relaxed", "permerror"),
        ("{usual}§c=relaxed/relaxed§c=relaxed/relaxed/simple", "permerror"),
        ("q=dns/txt; {usual}", "pass"),
        ("q=x-other/y : dns/txt; {usual}", "pass"),
        ("q=dns; {usual}", "permerror"),
        ("q=; {usual}", "permerror"),
        # d, s, i
        ("{usual}§d=example.org§d=EXAMPLE.Org", "pass"),
        ("{usual}§s=s1§s=S1", "pass"),
        ("{usual}§d=example.org§d=org", "permerror"),
        ("{usual}§d=example.org§d=", "permerror"),
        ("{usual}§d=example.org§d=exa mple.org", "permerror"),
        ("{usual}§d=example.org§d=example..org", "permerror"),
        ("{usual}§d=example.org§d=.example.org", "permerror"),
        ("{usual}§d=example.org§d=*.example.org", "permerror"),
        ("{usual}§d=example.org§d=joe@example.org", "permerror"),
        ("{usual}§s=s1§s=", "permerror"),
        ("{usual}§s=s1§s=a/b", "permerror"),
        ("i=@example.org; {usual}", "pass"),
        ("i=joe@EXAMPLE.ORG; {usual}", "pass"),
        ("i=joe=40x=3B@mail.example.org; {usual}", "pass"),
        ("i=jo\r\n\te@example.org; {usual}", "pass"),
        ("i=joe; {usual}", "permerror"),
        ("i=; {usual}", "permerror"),
        ("i=example.org; {usual}", "permerror"),
        ("i=joe@; {usual}", "permerror"),
        ("i=joe@org; {usual}", "permerror"),
        ("i=joe@example.com; {usual}", "permerror"),
        ("i=joe@badexample.org; {usual}", "permerror"),
        ("i=joe@exam ple.org; {usual}", "permerror"),
        # h
        ("{usual}§h=from:to§h= From : \r\n\tTO ", "pass"),
        ("{usual}§h=from:to§h=from:to:", "permerror"),
        ("{usual}§h=from:to§h=:from:to", "permerror"),
        ("{usual}§h=from:to§h=from::to", "permerror"),
        ("{usual}§h=from:to§h=from:t o", "permerror"),
        ("{usual}§h=from:to§h=fro m:to", "permerror"),
        ("{usual}§h=from:to§h=", "permerror"),
        ("{usual}§h=from:to§h=to", "permerror"),
        ("{usual}§h=from:to§h=from,to", "permerror"),
        # t, x, l
        ("t=0; {usual}", "pass"),
        ("t=0; x=1; {usual}", "fail"),
        ("t= 1600000000 ; x=999999999999; {usual}", "pass"),
        ("t=2; x=2; {usual}", "permerror"),
        ("t=3; x=2; {usual}", "permerror"),
        ("t=; {usual}", "permerror"),
        ("t=-1; {usual}", "permerror"),
        ("t=1.5; {usual}", "permerror"),
        ("t=1 6; {usual}", "permerror"),
        ("t=1234567890123; {usual}", "permerror"),  # 1*12DIGIT
        ("x=soon; {usual}", "permerror"),
        ("l=13; {usual}", "pass"),
        ("l=00013; {usual}", "pass"),
        ("l=14; {usual}", "fail"),
        (f"l={'9' * 76}; {{usual}}", "fail"),
        (f"l={'9' * 77}; {{usual}}", "permerror"),
        ("l=; {usual}", "permerror"),
        ("l=-1; {usual}", "permerror"),
        ("l=0x0d; {usual}", "permerror"),
        # b, bh
        ("{usual}§bh={bh}§bh={bh}=", "permerror"),
        ("{usual}§bh={bh}§bh=", "permerror"),
        ("{usual}§bh={bh}§bh=AAAA", "fail"),
        ("{usual}§b={b}§b=", "permerror"),
        ("{usual}§b={b}§b={b}-_", "permerror"),
    ],
)  # fmt: skip
def test_the_syntax_of_a_signature(tags: str, word: str) -> None:
    tags, _, change = tags.partition("§")
    usual = USUAL.partition(": ")[2]
    old, _, new = change.partition("§")
    assert old in usual
    text = "DKIM-Signature: " + tags.replace("{usual}", usual.replace(old, new) if old else usual)
    result = only(signed(text, MAIL, rsa_key(), "from:to"))
    assert result.result == word, result.reason
    assert result.domain.lower() in ("example.org", "") or word == "permerror"


@pytest.mark.parametrize(
    "missing", ["v=1; ", "a=rsa-sha256; ", "d=example.org; ", "s=s1; ", "h=from:to; ", "bh={bh}; "]
)
def test_what_is_required(missing: str) -> None:
    assert missing in USUAL
    assert only(signed(USUAL.replace(missing, ""), MAIL, rsa_key(), "from:to")).result == "permerror"


@pytest.mark.parametrize(
    ("names", "added", "word"),
    [
        ("from:to:to", b"", "pass"),
        ("from:to:to:to:subject:cc", b"", "pass"),  # named more often than there: nothing stands for it (§5.4.2)
        ("from:to:to:to", b"To: c@example.net\r\n", "fail"),
        ("from:to:to", b"To: c@example.net\r\n", "pass"),  # a third on top is not signed
        ("from", b"From: evil@example.com\r\n", "pass"),  # the one below it is; DMARC refuses two
        ("from:from", b"From: evil@example.com\r\n", "fail"),
        ("from:x-new", b"X-New: 1\r\n", "fail"),
        ("from:dkim-signature", b"", "pass"),  # never the field itself (§3.7)
    ],
)
def test_names_stand_for_fields_from_the_bottom_up(names: str, added: bytes, word: str) -> None:
    mail = signed(USUAL.replace("from:to", names), MAIL, rsa_key(), names)
    assert only(added + mail).result == word


def test_a_field_verified_by_itself_is_not_its_own_object() -> None:
    mail = signed(USUAL.replace("from:to", "from:dkim-signature"), MAIL, rsa_key(), "from")
    field = Message(mail).headers[0].raw
    found = asyncio.run(verify_field(Message(mail), field, FakeResolver({NAME: "p=" + KEY}), now=NOW))
    assert found.result == "pass"


@pytest.mark.parametrize(
    ("record", "word"),
    [
        ("p={key}", "pass"),
        ("v=DKIM1;p={key};", "pass"),
        ("v=DKIM1; g=; p={key}", "pass"),  # g= is gone since RFC 6376 appendix C
        ("v=DKIM1; g=joe; p={key}", "pass"),
        ("v=DKIM1; n=a=20note; p={key}; x=y", "pass"),
        ("v=DKIM1; P=; p={key}", "pass"),
        ("v=DKIM1; h=sha256; p={key}", "pass"),
        ("v=DKIM1; h=sha1:sha256; p={key}", "pass"),
        ("v=DKIM1; h= sha256 : x ; p={key}", "pass"),
        ("v=DKIM1; h=sha1; p={key}", "permerror"),
        ("v=DKIM1; h=x; p={key}", "permerror"),
        ("v=DKIM1; h=SHA256; p={key}", "permerror"),
        ("v=DKIM1; h=; p={key}", "permerror"),
        ("v=DKIM1; h=sha 256; p={key}", "permerror"),
        ("v=DKIM1; k=rsa; s=*; t=; p={key}", "pass"),
        ("v=DKIM1; s=email; p={key}", "pass"),
        ("v=DKIM1; s=x:email; p={key}", "pass"),
        ("v=DKIM1; s=x; p={key}", "permerror"),
        ("v=DKIM1; s=; p={key}", "permerror"),
        ("v=DKIM1; s=e mail; p={key}", "permerror"),
        ("v=DKIM1; t=y : s:x; p={key}", "pass"),
        ("v=DKIM1; k=RSA; p={key}", "permerror"),
        ("v=DKIM1; k=; p={key}", "permerror"),
        ("v=DKIM1; k=ed25519; p={key}", "permerror"),
        ("v=DKIM1; k=rsa; k=rsa; p={key}", "permerror"),
        ("V=DKIM1; p={key}", "pass"),
        ("v=dkim1; p={key}", "permerror"),
        ("v=DKIM1 p={key}", "permerror"),
        ("p={key}; v=DKIM1", "permerror"),
        ("k=rsa; v=DKIM1; p={key}", "permerror"),
        ("v=DKIM1; p={key};;", "permerror"),
        ("v=DKIM1; p=", "permerror"),
        ("v=DKIM1; p= \t ", "permerror"),
        ("v=DKIM1", "permerror"),
        ('"v=DKIM1; p={key}"', "permerror"),
    ],
)
def test_the_syntax_of_a_key_record(record: str, word: str) -> None:
    found = only(signed(USUAL, MAIL, rsa_key(), "from:to"), record.replace("{key}", KEY))
    assert found.result == word, found.reason


@pytest.mark.parametrize(
    ("identity", "flags", "word"),
    [
        ("@example.org", "s", "pass"),
        ("joe@Example.org", "s", "pass"),
        ("joe@mail.example.org", "s", "permerror"),
        ("joe@mail.example.org", "y:s", "permerror"),
        ("joe@mail.example.org", "y", "pass"),
        ("joe@mail.example.org", "S", "pass"),
    ],
)
def test_a_strict_key_wants_the_domain_itself(identity: str, flags: str, word: str) -> None:
    mail = signed(USUAL.replace("s=s1;", f"s=s1; i={identity};"), MAIL, rsa_key(), "from:to")
    assert only(mail, f"v=DKIM1; t={flags}; p={KEY}").result == word


def test_names_of_other_scripts_are_asked_for_as_a_labels() -> None:
    """RFC 8616 §5: d=, s= and i= may hold U-labels."""
    text = USUAL.replace("d=example.org; s=s1;", "d=Münchën.example; s=sél; i=jö@a.münchën.example;")
    found = only(signed(text, MAIL, rsa_key(), "from:to"), "p=" + KEY, "xn--sl-bja._domainkey.xn--mnchn-qsa9i.example")
    assert (found.result, found.domain, found.identity) == (
        "pass", "xn--mnchn-qsa9i.example", "jö@a.xn--mnchn-qsa9i.example",
    )  # fmt: skip


def test_ed25519_signs_the_hash() -> None:
    """RFC 8463 §3."""
    mail = signed(USUAL.replace("rsa-sha256", "ed25519-sha256"), MAIL, ed25519_key(), "from:to")
    assert only(mail, ed25519_key().record()).result == "pass"
    assert only(mail).result == "permerror"
