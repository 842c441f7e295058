"""The scripts that this project started from run unchanged, and do what a careful reader of their text expects.

They are read from $FLOWENGINE_SUITES/hsl; without it the same policies, restated here, cover the same ground.
"""

import json
import os
from collections.abc import Mapping
from functools import cache
from pathlib import Path

import dkim as dkimpy
import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, load_pem_private_key

from flowengine.mail import dkim
from flowengine.mail.message import Message
from flowengine.runtime.actions import Deliver, Reject
from flowengine.runtime.outcome import Outcome
from flowengine.services.fakes import FakeHTTP, FakeResolver
from tests.runtime.stage import Stage, key

SUITE = Path(os.environ.get("FLOWENGINE_SUITES", Path(__file__).parents[2] / "shared" / "suites")) / "hsl"

RESTATED = {
    "dmarc-reject": """
        foreach ((is_array($verdict = ScanDMARC()) ? $verdict : []) as $domain => $result)
            if ($result == "reject") Reject("The messages violates the DMARC policy of $domain ($messageid)");
    """,
    "sign-by-api": """
        $answer = api_call("?type=dkim&user=$1&domain=$2", [$saslusername, $senderdomain]);
        if (is_array($answer)) DKIMSign($answer["selector"], $answer["domain"], $answer["rsakey"]);
    """,
    "sign-by-from": """
        $author = explode("@", GetAddressList(GetHeader("From"))[0])[1];
        $answer = api_call("?type=dkim&user=$1&domain=$2", [$saslusername, $author]);
        if (is_array($answer)) DKIMSign($answer["selector"], $answer["domain"], $answer["rsakey"]);
    """,
    "sign-every-exit": """
        function Deliver(...$options) {
            global $saslusername, $senderdomain;
            $answer = api_call("?type=dkim&user=$1&domain=$2", [$saslusername, $senderdomain]);
            if (is_array($answer)) DKIMSign($answer["selector"], $answer["domain"], $answer["rsakey"]);
            builtin Deliver(...$options);
        }
    """,
}
BOTH = pytest.mark.parametrize("edition", ["restated", "as printed"])
SIGNERS = ("sign-by-api", "sign-by-from", "sign-every-exit")


def flow(name: str, edition: str) -> str:
    """A script: as printed, or restated."""
    if edition == "restated":
        return RESTATED[name]
    path = SUITE / f"{name}.hsl"
    if not path.exists():
        pytest.skip(f"{path} is not there; set FLOWENGINE_SUITES to the directory of the public suites")
    return path.read_text("utf-8")


# -- inbound ----------------------------------------------------------------------------------------------------------

REJECTS = {("_dmarc.bank.example", "txt"): ["v=DMARC1; p=reject"], ("_dmarc.example", "txt"): ["none"]}
FORGER = {("attacker.example", "txt"): ["v=spf1 ip4:192.0.2.0/24 -all"]}
OWN_HOST = {("bank.example", "txt"): ["v=spf1 ip4:192.0.2.0/24 -all"]}


def mail(*authors: str) -> bytes:
    """A message with these From fields."""
    fields = "".join(f"From: {author}\r\n" for author in authors)
    return f"{fields}To: bob@example.net\r\nSubject: Statement\r\n\r\nClick.\r\n".encode()


def signed(message: bytes, domain: str, signer: str = "bank") -> bytes:
    """The message with a signature of a domain."""
    seal = dkim.Seal(selector="s1", domain=domain, key=key(signer))
    return dkim.sealed(Message(message), seal, 1_767_225_600.0).render()


def record(domain: str) -> Mapping[tuple[str, str], list[str]]:
    """The key that the domain publishes."""
    return {(f"s1._domainkey.{domain}", "txt"): [key("bank").record()]}


def inbound(edition: str, dns: Mapping[tuple[str, str], list[str]], message: bytes, sender: str) -> Outcome:
    stage = Stage(dns=FakeResolver(dns))
    return stage.data(flow("dmarc-reject", edition), message=message, sender=sender, helo="mx.attacker.example")


REFUSED = [
    ("a forged From", mail("Bank <service@bank.example>"), {}),
    ("a sub-domain, by the policy of the domain above it", mail("pay@pay.bank.example"),
     {("_dmarc.pay.bank.example", "txt"): ["none"]}),
    ("sp=reject, where p says none", mail("pay@pay.bank.example"),
     {("_dmarc.pay.bank.example", "txt"): ["none"], ("_dmarc.bank.example", "txt"): ["v=DMARC1; p=none; sp=reject"]}),
    ("a signature that another wrote", signed(mail("service@bank.example"), "bank.example", "somebody else"),
     record("bank.example")),
    ("a signature of another domain", signed(mail("service@bank.example"), "attacker.example"),
     record("attacker.example")),
    ("a signed message that was changed", signed(mail("service@bank.example"), "bank.example").replace(b"Cl", b"C1"),
     record("bank.example")),
    ("capital letters", mail("SERVICE@BANK.Example"), {}),
]  # fmt: skip


@BOTH
@pytest.mark.parametrize(("message", "dns"), [row[1:] for row in REFUSED], ids=[row[0] for row in REFUSED])
def test_what_the_policy_rejects_is_rejected(edition, message, dns):
    outcome = inbound(edition, {**REJECTS, **FORGER, **dns}, message, "bounce@attacker.example")
    (run,) = outcome.runs
    assert isinstance(run.verdict, Reject), run
    assert (outcome.reply.code, outcome.reply.enhanced) == (550, "5.7.1")
    domain = "pay.bank.example" if b"pay@" in message else "bank.example"
    expected = f"The messages violates the DMARC policy of {domain} ({outcome.transaction.id})"
    assert outcome.reply.text == run.verdict.reason == expected
    assert outcome.kept == ()


LET_IN = [
    ("a genuine message by SPF", mail("service@bank.example"), "bounce@bank.example", OWN_HOST),
    ("a genuine message by DKIM", signed(mail("service@bank.example"), "bank.example"), "bounce@attacker.example",
     record("bank.example")),
    ("a genuine sub-domain, aligned with its organization", signed(mail("pay@pay.bank.example"), "bank.example"), "",
     {**record("bank.example"), ("_dmarc.pay.bank.example", "txt"): ["none"]}),
    ("a domain without a policy", mail("a@example.org"), "a@attacker.example",
     {("_dmarc.example.org", "txt"): ["none"], ("_dmarc.org", "txt"): ["none"]}),
    ("a policy of quarantine: the script names only reject", mail("service@bank.example"), "a@attacker.example",
     {("_dmarc.bank.example", "txt"): ["v=DMARC1; p=quarantine"]}),
    ("a policy that cannot be had now: temperror is no failure", mail("service@bank.example"), "a@attacker.example",
     {("_dmarc.bank.example", "txt"): ["timeout"]}),
    ("a key that cannot be had now: temperror is no failure", signed(mail("service@bank.example"), "bank.example"),
     "a@attacker.example", {("s1._domainkey.bank.example", "txt"): ["servfail"]}),
    ("several From fields: ScanDMARC gives a text and no array", mail("a@bank.example", "b@bank.example"),
     "a@attacker.example", {}),
    ("no From field", b"Subject: x\r\n\r\nx\r\n", "a@attacker.example", {}),
]  # fmt: skip


@BOTH
@pytest.mark.parametrize(("message", "sender", "dns"), [row[1:] for row in LET_IN], ids=[row[0] for row in LET_IN])
def test_what_the_policy_does_not_reject_goes_on(edition, message, sender, dns):
    names = {("mx.attacker.example", "txt"): ["none"]}
    outcome = inbound(edition, {**REJECTS, **FORGER, **names, **dns}, message, sender)
    (run,) = outcome.runs
    assert run.error is None
    assert isinstance(run.verdict, Deliver) and run.verdict.implicit
    assert outcome.reply.code == 250


# -- outbound ---------------------------------------------------------------------------------------------------------

USER, OWN = "alice@example.net", "example.net"
ASKED = f"https://api.example/?type=dkim&user=alice%40example.net&domain={OWN}"


@cache
def forms() -> Mapping[str, str]:
    """One RSA key in the forms in which APIs give keys, and an Ed25519 key."""
    known = load_pem_private_key(key("customer").pem(), None)
    assert isinstance(known, rsa.RSAPrivateKey)

    def pem(form: PrivateFormat) -> str:
        return known.private_bytes(Encoding.PEM, form, NoEncryption()).decode()

    pkcs8 = pem(PrivateFormat.PKCS8)
    return {
        "PKCS#1": pem(PrivateFormat.TraditionalOpenSSL),
        "PKCS#8": pkcs8,
        "PKCS#8 with CRLF": pkcs8.replace("\n", "\r\n"),
        "base64 of DER": "".join(pkcs8.split("\n")[1:-2]),
        "Ed25519": key("customer", "ed25519").pem().decode(),
    }


def answer(**fields: object) -> str:
    """What an API says that knows the key."""
    return json.dumps({"selector": "s1", "domain": OWN, "rsakey": forms()["PKCS#8"], **fields})


def outbound(name: str, edition: str, body: str, status: int = 200, **about: str) -> tuple[Stage, Outcome]:
    stage = Stage(http=FakeHTTP({("GET", ASKED): (status, body)}))
    about = {"sender": f"alice@{OWN}", "user": USER, **about}
    message = mail(f"Alice <alice@{OWN}>")
    return stage, stage.data(flow(name, edition), message=message, recipients=["bob@example.org"], **about)


def verified(message: bytes, domain: str = OWN) -> bool:
    """Whether dkimpy verifies the topmost signature with the customer's key."""
    kind = "ed25519" if b"a=ed25519-sha256" in message else "rsa"
    published = {f"s1._domainkey.{domain}.".encode(): key("customer", kind).record().encode()}
    return bool(dkimpy.verify(message, dnsfunc=lambda name, timeout=5: published.get(name)))


@BOTH
@pytest.mark.parametrize("name", SIGNERS)
@pytest.mark.parametrize("form", ["PKCS#1", "PKCS#8", "PKCS#8 with CRLF", "base64 of DER", "Ed25519"])
def test_a_key_from_the_api_signs_and_dkimpy_verifies(edition, name, form):
    stage, outcome = outbound(name, edition, answer(rsakey=forms()[form]))
    assert outcome.reply.code == 250, outcome.runs
    ((recipient, message),) = stage.outbox.left
    assert recipient == "bob@example.org"
    assert message.count(b"DKIM-Signature:") == 1 and b"d=example.net; s=s1;" in message
    assert verified(message)
    assert not verified(message.replace(b"Click", b"Clock"))
    assert stage.log.of("verdict")[-1]["signing"] == [
        {"recipient": "bob@example.org", "verdict": "signed", "domains": ["example.net/s1"]}
    ]


NO_KEY = {
    "null": (200, "null"),
    "an empty list, which is an array without the keys": (200, "[]"),
    "a string": (200, '"no such user"'),
    "a number": (200, "42"),
    "HTML": (200, "<html><body>Bad gateway</body></html>"),
    "404": (404, "not here"),
    "500": (500, answer()),
    "no answer in time": (0, ""),
    "an empty body": (200, ""),
    "half an answer": (200, answer()[:40]),
}


@BOTH
@pytest.mark.parametrize("name", SIGNERS)
@pytest.mark.parametrize(("status", "body"), NO_KEY.values(), ids=NO_KEY)
def test_without_a_key_the_script_goes_on_and_says_so(edition, name, status, body):
    """The scripts sign if there is an array, and deliver in any case; an array without the keys is a script error."""
    stage, outcome = outbound(name, edition, body, status)
    (run,) = outcome.runs
    if body == "[]":
        assert run.error is not None and outcome.reply.code == 451
        assert stage.outbox.left == []
        return
    assert run.error is None and outcome.reply.code == 250
    ((_, message),) = stage.outbox.left
    assert message == mail(f"Alice <alice@{OWN}>")
    (verdict,) = stage.log.of("verdict")[-1]["signing"]
    assert verdict["verdict"] == "unsigned"
    assert stage.counters.sums[("signing_verdicts", (("listener", "inbound"), ("verdict", "unsigned")))] == 1


UNUSABLE = {
    "a text that is no key": answer(rsakey="MIIEno"),
    "a public key": answer(rsakey="-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n"),
    "an empty key": answer(rsakey=""),
    "a selector that is no name": answer(selector="s1 x=y;"),
    "an empty domain": answer(domain=""),
    "a configuration key that is not there": answer(rsakey="pki:absent"),
}


@BOTH
@pytest.mark.parametrize("name", SIGNERS)
@pytest.mark.parametrize("body", UNUSABLE.values(), ids=UNUSABLE)
def test_a_key_that_cannot_be_used_is_told_in_log_and_counter(edition, name, body):
    stage, outcome = outbound(name, edition, body)
    (run,) = outcome.runs
    assert run.error is None and outcome.reply.code == 250  # the scripts do not look at what DKIMSign returns
    (verdict,) = stage.log.of("verdict")[-1]["signing"]
    assert verdict["verdict"] == "failed" and verdict["reason"]
    assert len(stage.log.of("unsigned")) == 1
    assert stage.counters.sums[("signing_verdicts", (("listener", "inbound"), ("verdict", "failed")))] == 1
    assert b"DKIM-Signature" not in stage.outbox.left[0][1]


@BOTH
@pytest.mark.parametrize("name", SIGNERS)
@pytest.mark.parametrize("missing", ["selector", "domain", "rsakey"])
def test_an_answer_without_one_of_its_fields_defers(edition, name, missing):
    fields = json.loads(answer())
    del fields[missing]
    stage, outcome = outbound(name, edition, json.dumps(fields))
    assert outcome.runs[0].error is not None
    assert (outcome.reply.code, stage.outbox.left) == (451, [])


@BOTH
@pytest.mark.parametrize("name", SIGNERS)
def test_a_key_for_another_domain_signs_for_that_domain(edition, name):
    stage, _ = outbound(name, edition, answer(domain="other.example"))
    ((_, message),) = stage.outbox.left
    assert b"d=other.example;" in message
    assert verified(message, "other.example") and not verified(message)


@BOTH
@pytest.mark.parametrize("name", SIGNERS)
def test_a_bounce_is_signed_only_by_the_script_that_looks_at_from(edition, name):
    """With a null sender $senderdomain is empty, so two of the scripts ask for a domain that is none."""
    table = {("GET", "&domain=example.net"): (200, answer()), ("GET", "&domain="): (404, "")}
    stage = Stage(http=FakeHTTP(table))
    outcome = stage.data(flow(name, edition), message=mail("Mailer <alice@example.net>"), sender="", user=USER)
    assert outcome.reply.code == 250
    ((_, message),) = stage.outbox.left
    assert message.startswith(b"DKIM-Signature") is (name == "sign-by-from")
    assert len(stage.http.requests) == 1


@BOTH
def test_several_addresses_in_from_use_the_first(edition):
    stage = Stage(http=FakeHTTP({("GET", ASKED): (200, answer())}))
    stage.data(flow("sign-by-from", edition), message=mail("a@example.net, b@bank.example"), user=USER)
    assert verified(stage.outbox.left[0][1])


@BOTH
@pytest.mark.parametrize("author", [(), ("nobody",), ("undisclosed:;",)])
def test_a_from_field_without_an_address_defers(edition, author):
    stage = Stage()
    outcome = stage.data(flow("sign-by-from", edition), message=mail(*author), user=USER)
    assert outcome.runs[0].error is not None and outcome.reply.code == 451


@BOTH
@pytest.mark.parametrize(
    ("exit_", "transport"), [("", "out"), ("Deliver();", "out"), ('Deliver(["transportid" => "local"]);', "local")]
)
def test_every_exit_of_the_overriding_script_signs(edition, exit_, transport):
    stage = Stage(http=FakeHTTP({("GET", ASKED): (200, answer())}))
    script = flow("sign-every-exit", edition) + exit_
    outcome = stage.data(script, message=mail("a@example.net"), sender="a@example.net", user=USER)
    ((_, message),) = stage.outbox.left
    assert verified(message)
    assert outcome.kept[0].transportid == transport


@BOTH
@pytest.mark.parametrize("name", SIGNERS)
def test_the_api_is_asked_once_for_all_recipients_and_messages(edition, name):
    stage = Stage(http=FakeHTTP({("GET", ASKED): (200, answer())}))
    recipients = ["a@example.org", "b@example.org", "c@example.org"]
    for _ in range(2):
        about = {"sender": "alice@example.net", "user": USER, "recipients": recipients}
        stage.data(flow(name, edition), message=mail("alice@example.net"), **about)
    assert len(stage.http.requests) == 1
    assert len(stage.outbox.left) == 6
    assert all(verified(message) for _, message in stage.outbox.left)
    assert len({message for _, message in stage.outbox.left}) == 1


@BOTH
@pytest.mark.parametrize("name", SIGNERS)
def test_the_key_is_nowhere_in_log_facts_and_trace(edition, name):
    stage, outcome = outbound(name, edition, answer())
    secret = forms()["PKCS#8"].split("\n")[1]
    told = [*map(repr, stage.log.lines), *map(str, outcome.transaction.world.facts), *map(repr, outcome.runs)]
    told += map(repr, outcome.transaction.world.facts)
    assert any("dkim" in one for one in told)
    assert not [one for one in told if secret[:24] in one]
