"""Addresses as flows handle them: envelope addresses, address lists of header fields, tag lists."""

import re
from collections.abc import Mapping, Sequence

from flowengine.builtins.run import Run, worked
from flowengine.language.functions import Text, builtin
from flowengine.language.problems import FlowError
from flowengine.language.values import from_bytes, from_text
from flowengine.mail import addresses, encoded_words
from flowengine.mail.addresses.values import quote_local_part
from flowengine.mail.dkim.tags import parse_tags
from flowengine.mail.errors import MailError

_QUOTING = re.compile(r'["\\]')
_PLAIN_PHRASE = re.compile(r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~ -]*+")  # RFC 5322 §3.2.3 atext and blanks


@builtin
def envelope_address_parse(address: bytes) -> Mapping[str, Text] | None:
    """The parts of an envelope address (RFC 5321 §4.1.2), with or without angle brackets.

    Returns localpart, without quotes, and domain; none for what is no address.

        envelope_address_parse("alice@example.net");  // ["localpart" => "alice", "domain" => "example.net"]
        envelope_address_parse("<\\"a b\\"@example.net>")["localpart"];  // "a b"
        envelope_address_parse("alice");  // none
    """
    bare = not address.startswith(b"<")
    try:
        found = addresses.parse_mailbox(address) if bare and address else addresses.parse_path(address or b"<>")
    except MailError:
        return None
    return {"localpart": Text(found.local_part), "domain": Text(found.domain)}


@builtin
def envelope_localpart_escape(localpart: Text) -> Text:
    """A local part as it is written before the @: in quotes where it needs them (RFC 5321 §4.1.2).

    envelope_localpart_escape("a b");  // "\\"a b\\""
    envelope_localpart_escape("alice");  // "alice"
    """
    return Text(quote_local_part(localpart))


@builtin
def header_addresslist_extract(
    run: Run, value: bytes, *, field: bool = False, name: bool = False
) -> list[str] | list[dict[str, str]] | None:
    """The addresses in a From, To, Cc, … field, groups included (RFC 5322 §3.4).

    field: the value begins with the field's name and a colon. name: give each as name and address.

    Returns a list, or none when it cannot be read. `GetAddressList` gives [] then.

        header_addresslist_extract("Charlie <c@example.org>, d@example.org");  // ["c@example.org", "d@example.org"]
        header_addresslist_extract("To: a@example.org", ["field" => true]);  // ["a@example.org"]
        header_addresslist_extract("C D <c@example.org>", ["name" => true])[0]["name"];  // "C D"
        header_addresslist_extract("nobody");  // none
    """
    value = value.partition(b":")[2] if field else value
    found = _extracted(run, value)
    if found is None or not name:
        return found
    try:
        listed = [*addresses.mailboxes(addresses.parse_list(value))]
    except MailError:  # names that only a tolerant reader takes are not worth guessing
        return [{"name": "", "address": address} for address in found]
    return [{"name": from_text(one.display_name), "address": from_text(one.address)} for one in listed]


@builtin(name="GetAddressList")
def get_address_list(run: Run, value: bytes) -> list[str]:
    """The addresses in a From, To, Cc, … value; [] when it cannot be read.

    GetAddressList("Alice <alice@example.net>")[0];  // "alice@example.net"
    GetAddressList("nobody");  // []
    """
    return _extracted(run, value) or []


def _extracted(run: Run, value: bytes) -> list[str] | None:
    """The addresses of a field value; None when it cannot be read, [] for an empty group."""
    worked(run, len(value) * 64)
    if found := addresses.extract(value):
        return [from_text(address) for address in found]
    try:
        addresses.parse_list(value)
    except MailError:
        return None
    return []


@builtin
def header_addresslist_compile(addresses_: Sequence[Mapping[str, Text]]) -> str:
    """A From, To, Cc, … value from names and addresses, quoted and encoded where they need it (RFC 5322, 2047).

    addresses: a list of arrays with address and, perhaps, name.

        header_addresslist_compile([["name" => "A. B", "address" => "a@b.example"]]);  // "\\"A. B\\" <a@b.example>"
        header_addresslist_compile([["address" => "a@b.example"], ["address" => "c@d.e"]]);  // "a@b.example, c@d.e"
        header_addresslist_compile([["name" => "Ö", "address" => "a@b.example"]]);  // "=?utf-8?B?w5Y=?= <a@b.example>"
    """
    return ", ".join(map(_compiled, addresses_))


def _compiled(entry: Mapping[str, Text]) -> str:
    try:
        found = addresses.parse_mailbox(entry.get("address", ""))
    except MailError as error:
        raise FlowError(f"header_addresslist_compile: {error}") from None
    name = encoded_words.clean(entry.get("name", "")).strip()
    address = from_text(found.address)
    return f"{_phrase(name)} <{address}>" if name else address


def _phrase(name: str) -> str:
    """A display name as words, quoted or encoded where it needs that (RFC 5322 §3.2.5, RFC 2047 §5)."""
    if not name.isascii() or "=?" in name:
        return encoded_words.encode(f'"{_QUOTING.sub("", name)}"')  # as one word, commas included
    return name if _PLAIN_PHRASE.fullmatch(name) else '"' + _QUOTING.sub(r"\\\g<0>", name) + '"'


@builtin
def header_dkim_decode(run: Run, value: bytes, *, field: bool = False) -> Mapping[str, str] | None:
    """The tags of a DKIM-Signature or ARC field, or of a record such as DMARC's (RFC 6376 §3.2).

    field: the value begins with the field's name and a colon.

    Returns the tags by name, or none for what is no tag list.

        header_dkim_decode("v=1; d=example.net; s=s1");  // ["v" => "1", "d" => "example.net", "s" => "s1"]
        header_dkim_decode("no tags");  // none
    """
    worked(run, len(value) * 16)
    try:
        tags = parse_tags(value.partition(b":")[2] if field else value)
    except MailError:
        return None
    return {name: from_bytes(content) for name, content in tags.items()}
