"""OpenDKIM: the verifier and signer of half the world, by its own tools and without a milter."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from flowengine.mail.canonical import Canonicalization
from flowengine.mail.dkim import Seal, parse_record, sealed
from flowengine.mail.keys import PrivateKey
from flowengine.mail.message import Message
from tests.interop.checks import Disagreement, Peer, call, expect, succeeds
from tests.interop.dkim_keys import (
    DOMAIN,
    ED25519,
    PAIRS,
    RSA,
    ed25519_key,
    our_verdicts,
    passes_ours,
    records,
    rsa_key,
    signed_by_us,
)
from tests.interop.messages import MESSAGES, PLAIN
from tests.interop.random_mail import damaged, messages
from tests.interop.world import World

PEER = Peer(
    "OpenDKIM",
    programs=("opendkim", "opendkim-testmsg", "opendkim-genkey"),
    packages=("opendkim", "opendkim-tools"),
)

_KINDS = [(RSA, *pair) for pair in PAIRS] + [(ED25519, "relaxed", "relaxed")]


@PEER.check("{0} {1}/{2}: our signatures verify in it", _KINDS)
def ours(world: World, selector: str, head: Canonicalization, body: Canonicalization) -> None:
    for name, message in MESSAGES.items():
        signed = signed_by_us(_as_milters_see(message, head), selector, head, body)
        result, told = verdict(world, signed, records())
        expect(result == "pass", f"{name}: it refuses our signature: {told}")
        result, _ = verdict(world, signed + b"More.\r\n", records())
        expect(result == "fail", f"{name}: of a changed message it says {result}")


@PEER.check("{0} {1}/{2}: its signatures verify in ours", _KINDS)
def theirs(world: World, selector: str, head: Canonicalization, body: Canonicalization) -> None:
    for name, plain in MESSAGES.items():
        message = _as_milters_see(plain, head)
        passes_ours(_signed_by_it(world, message, selector, head, body) + message, records(), name)


@PEER.check("{0} {1}/{2}: 40 random messages signed by us verify in it, and 20 signed by it in ours", _KINDS)
def random_messages(world: World, selector: str, head: Canonicalization, body: Canonicalization) -> None:
    plain = [_as_milters_see(message, head) for message in messages(2, 40)]
    signed = [signed_by_us(message, selector, head, body) for message in plain]
    for message, result in zip(signed, verdicts(world, signed), strict=True):
        expect(result == "pass", f"it says {result} of our signature\n{message.decode('latin-1')}")
    for message in plain[:20]:
        passes_ours(_signed_by_it(world, message, selector, head, body) + message, records(), repr(message))


@PEER.check("{1}/{2}: 100 random damages have the same verdict, or a reason that we know", _KINDS[: len(PAIRS)])
def random_damage(world: World, selector: str, head: Canonicalization, body: Canonicalization) -> None:
    (message,) = messages(3, 1)
    signed = signed_by_us(_as_milters_see(message, head), selector, head, body)
    seen = [one for one in damaged(signed, 4, 100) if _as_milters_see(one.data, head) == one.data]
    for one, theirs in zip(seen, verdicts(world, [one.data for one in seen]), strict=True):
        found = our_verdicts(one.data, records())
        ours = found[0].result if found else ""
        # It passes over errors of syntax, such as what is no base64 in b=; RFC 6376 §6.1.1 wants them found.
        known = ours == "permerror"
        expect((ours == "pass") == (theirs == "pass") or known, f"{one.what}: we say {ours}, it says {theirs}")


@PEER.check("opendkim-testmsg, whose rsa-sha1 we verify and do not trust")
def sha1(world: World) -> None:
    key = world.file("opendkim.pem", rsa_key().pem())
    signed = succeeds("opendkim-testmsg", "-C", "-d", DOMAIN, "-s", RSA, "-k", key, entered=PLAIN).output
    verdicts = our_verdicts(signed, records())
    expect([one.result for one in verdicts] == ["policy"], f"we say {[(one.result, one.reason) for one in verdicts]}")


@PEER.check(
    "a key and a record of {0} bits made by opendkim-genkey serve us, and our signature verifies in it",
    [(1024,), (2048,)],
)
def its_keys(world: World, bits: int) -> None:
    folder = world.folder / f"genkey-{bits}"
    folder.mkdir()
    succeeds("opendkim-genkey", "-b", str(bits), "-d", DOMAIN, "-s", "made", "-D", folder)
    key = PrivateKey.parse((folder / "made.private").read_bytes())
    text = _text_in_zone((folder / "made.txt").read_text())
    published = parse_record(text.encode()).key
    expect(published == key.public, "the record holds another key than the file")
    signed = sealed(Message(PLAIN), Seal(selector="made", domain=DOMAIN, key=key), 0).render()
    result, told = verdict(world, signed, {f"made._domainkey.{DOMAIN}": text})
    expect(result == "pass", f"it refuses our signature: {told}")


def verdict(world: World, message: bytes, texts: Mapping[str, str]) -> tuple[str, str]:
    """OpenDKIM's result for the signature of a message (`pass`, `fail`, …; "" for none), with keys from these records
    in place of DNS, and everything it said."""
    said = call("opendkim", "-t", world.file("mail.eml", message), "-x", _verifier(world, texts), "-vvv")
    found = re.search(rb"dkim=(\w+)", said.output + said.errors)
    return found.group(1).decode() if found and said.code == 0 else "", said.text


def verdicts(world: World, signed: Sequence[bytes]) -> list[str]:
    """OpenDKIM's results for messages with one signature each, in one call; by the usual records. Where it cannot be
    told which is whose, each half is asked for by itself."""
    files = [world.file(f"mail-{number}.eml", message) for number, message in enumerate(signed)]
    said = call("opendkim", "-t", ",".join(map(str, files)), "-x", _verifier(world, records()), "-vvv")
    found = re.findall(rb"hvalue='[^;]*;\s*dkim=(\w+)", said.output + said.errors)
    if said.code == 0 and len(found) == len(signed):
        return [word.decode() for word in found]
    if len(signed) == 1:
        return [""]
    middle = len(signed) // 2
    return verdicts(world, signed[:middle]) + verdicts(world, signed[middle:])


def _verifier(world: World, texts: Mapping[str, str]) -> Path:
    """A configuration that verifies with these records in place of DNS."""
    zone = world.file("zone", "".join(f"{name} {text}\n" for name, text in texts.items()).encode())
    return world.file("opendkim.conf", f"Mode v\nSyslog no\nTestDNSData file:{zone}\n".encode())


def _signed_by_it(world: World, message: bytes, selector: str, head: Canonicalization, body: Canonicalization) -> bytes:
    """The signature field that OpenDKIM makes."""
    rsa = selector == RSA
    key = world.file("opendkim.pem", (rsa_key() if rsa else ed25519_key()).pem())
    settings = {
        "Mode": "s",
        "Syslog": "no",
        "RequireSafeKeys": "no",
        "Domain": DOMAIN,
        "Selector": selector,
        "KeyFile": key,
        "Canonicalization": f"{head}/{body}",
        "SignatureAlgorithm": "rsa-sha256" if rsa else "ed25519-sha256",
        "OversignHeaders": "From",
    }
    config = world.file("opendkim.conf", "".join(f"{name} {value}\n" for name, value in settings.items()).encode())
    said = succeeds("opendkim", "-t", world.file("mail.eml", message), "-x", config, "-v")
    found = re.search(rb"^DKIM-Signature: [^\n]*\n(?:[ \t][^\n]*\n)*", said.output, re.MULTILINE)
    if found is None:
        raise Disagreement(f"it did not sign: {said.text}")
    return found.group().rstrip(b"\r\n") + b"\r\n"


def _as_milters_see(message: bytes, head: Canonicalization) -> bytes:
    """opendkim -t feeds its milter, which does not learn how much white space follows a colon and takes one space for
    granted; only `simple` tells the difference. One space, then, after each name in the header."""
    if head == "relaxed":
        return message
    top, end, body = message.partition(b"\r\n\r\n")
    return re.sub(rb"(?m)^([!-9;-~]+):(?!\r)[ \t]*", rb"\1: ", top) + end + body


def _text_in_zone(line: str) -> str:
    """The text of the TXT record in a line of a zone file."""
    strings = line.split('"')[1::2]
    if not strings:
        raise Disagreement(f"opendkim-genkey wrote no record: {line}")
    return "".join(strings)
