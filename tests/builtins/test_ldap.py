"""LDAP against a directory on the loopback that knows two people."""

import socket
from collections.abc import Iterator

import pytest
from scripted import Server, standing
from test_examples import play

from flowengine.builtins import ldap_codec as codec
from flowengine.language.problems import FlowError

rfc4511 = pytest.importorskip("ldap3.protocol.rfc4511")
from ldap3.protocol.convert import build_controls_list  # noqa: E402
from ldap3.protocol.rfc2696 import paged_search_control  # noqa: E402
from ldap3.utils.asn1 import encode  # noqa: E402
from pyasn1.codec.ber import decoder  # noqa: E402
from pyasn1.error import PyAsn1Error  # noqa: E402

PEOPLE = {
    "uid=jane,dc=example": {"uid": ["jane"], "cn": ["Jane Doe"], "mail": ["jane@example.net", "j@example.net"]},
    "uid=joe,dc=example": {"uid": ["joe"], "cn": ["Joe (2)"]},
}


def result(kind: str, code: int = 0, text: str = "") -> object:
    made = {"searchResDone": rfc4511.SearchResultDone, "bindResponse": rfc4511.BindResponse}[kind]()
    made["resultCode"], made["matchedDN"], made["diagnosticMessage"] = rfc4511.ResultCode(code), "", text
    return made


def message(number: int, kind: str, operation: object, controls: object = None) -> bytes:
    made = rfc4511.LDAPMessage()
    made["messageID"] = number
    made["protocolOp"] = rfc4511.ProtocolOp().setComponentByName(kind, operation)
    if controls:
        made["controls"] = build_controls_list(controls)
    return encode(made)


def entry(name: str, attributes: dict[str, list[str]]) -> object:
    made = rfc4511.SearchResultEntry()
    made["object"] = name
    listed = rfc4511.PartialAttributeList()
    for place, (attribute, values) in enumerate(attributes.items()):
        one = rfc4511.PartialAttribute()
        one["type"] = attribute
        one["vals"] = rfc4511.Vals().setComponents(*values)
        listed.setComponentByPosition(place, one)
    made["attributes"] = listed
    return made


class Directory:
    """Answers binds by password, searches with everybody; remembers filters."""

    def __init__(self) -> None:
        self.server = Server(self._serve)
        self.port = self.server.port
        self.filters: list[str] = []
        self.requests: list[bytes] = []
        self.code = 0

    def _serve(self, client: socket.socket) -> None:
        data = b""
        while piece := client.recv(65536):
            data += piece
            while (size := codec.whole(data)) is not None and len(data) >= size:
                self.requests.append(data[:size])
                try:
                    request, _ = decoder.decode(data[:size], asn1Spec=rfc4511.LDAPMessage())
                except PyAsn1Error:
                    return  # pyasn1 does not read filters inside filters
                data = data[size:]
                if not self._answer(client, request):
                    return

    def _answer(self, client: socket.socket, request: object) -> bool:
        number, operation = int(request["messageID"]), request["protocolOp"]
        kind = operation.getName()
        if kind == "unbindRequest":
            return False
        if kind == "bindRequest":
            right = bytes(operation["bindRequest"]["authentication"].getComponent()) in (b"secret", b"")
            client.sendall(message(number, "bindResponse", result(kind="bindResponse", code=0 if right else 49)))
            return True
        if kind == "searchRequest":
            self.filters.append(operation["searchRequest"]["filter"].prettyPrint())
            paged = request["controls"].hasValue() and len(request["controls"]) > 0
            people = list(PEOPLE.items())
            cookie = b""
            if paged:
                value, _ = decoder.decode(bytes(request["controls"][0]["controlValue"]))
                start = int(bytes(value[1]) or b"0")
                people = people[start : start + int(value[0])]
                cookie = str(start + len(people)).encode() if start + len(people) < len(PEOPLE) else b""
            for name, attributes in people:
                client.sendall(message(number, "searchResEntry", entry(name, attributes)))
            controls = [paged_search_control(False, 0, cookie)] if paged else None
            client.sendall(message(number, "searchResDone", result("searchResDone", self.code), controls))
        return True


@pytest.fixture
def directory() -> Iterator[Directory]:
    one = Directory()
    yield one
    one.server.close()


def ask(directory: Directory, flow: str) -> list[str]:
    return play(standing(), f'$ldap = LDAP("ldap://127.0.0.1:{directory.port}"); {flow}')


ALL = 'while ($entry = $found->next()) echo $entry["dn"]; echo $entry;'


@pytest.mark.parametrize(
    ("flow", "said"),
    [
        ('echo $ldap->bind("cn=a", "secret") ? "in" : "out"; echo $ldap->errno();', ["in", "0"]),
        ('echo $ldap->bind("cn=a", "wrong") ? "in" : "out"; echo LDAP::err2string($ldap->errno());',
         ["out", "Invalid credentials"]),
        ('echo $ldap->bind("cn=a") ? "in" : "out"; echo $ldap->errno();', ["out", "53"]),
        ('echo $ldap->bind() ? "in" : "out";', ["in"]),
        (f'$found = $ldap->search("dc=example"); {ALL}', [*PEOPLE, "false"]),
        (f'$found = $ldap->search("dc=example", ["pagesize" => 1]); {ALL}', [*PEOPLE, "false"]),
        ('echo $ldap->search("dc=example", ["filter" => "(uid=jane)"])->next()["mail"];',
         ['[0=>"jane@example.net",1=>"j@example.net"]']),
        ('echo $ldap->search("dc=example", ["filter" => "(uid="]) === none; echo $ldap->errno();', ["true", "-7"]),
        ('echo $ldap->setoption("timeout", 5) ? 1 : 0; echo $ldap->getoption("timeout");', ["1", "5"]),
        ('echo $ldap->setoption("nonsense", 5) === none; echo $ldap->errno();', ["true", "-9"]),
        ('echo $ldap->unbind() === none; $ldap->bind(); echo $ldap->unbind() === none;', ["true", "false"]),
        ('$ldap->bind(); echo $ldap->getpeerx509() === none;', ["true"]),
        ('echo LDAP::filter_escape("a*(b)\\\\");', ["a\\2a\\28b\\29\\5c"]),
        ('echo LDAP::str2dn("cn=admin,dc=example,dc=org");',
         ['[0=>[0=>"cn",1=>"admin"],1=>[0=>"dc",1=>"example"],2=>[0=>"dc",1=>"org"]]']),
        ('echo LDAP::str2dn("nonsense") === none; echo LDAP::dn2str([["cn", "a,b"], ["dc", "c"]]);',
         ["true", "cn=a\\,b,dc=c"]),
        ('echo LDAP::dn2str([1]) === none; echo LDAP::err2string(4711);', ["true", "Unknown error"]),
    ],
)  # fmt: skip
def test_a_directory_is_asked(directory, flow, said):
    assert ask(directory, flow) == said


def test_a_result_that_ends_in_an_error_says_so(directory):
    directory.code = 11
    flow = f'$found = $ldap->search("dc=example"); {ALL} echo LDAP::err2string($ldap->errno());'
    assert ask(directory, flow) == [*PEOPLE, "", "Administrative limit exceeded"]


def test_a_server_that_is_not_there_is_an_error():
    gone = Directory()
    gone.server.close()
    flow = '$ldap->setoption("timeout", 0.2); echo $ldap->bind() === none; echo LDAP::err2string($ldap->errno());'
    assert ask(gone, flow) == ["true", "Can't contact LDAP server"]


@pytest.mark.parametrize(
    "octets",
    [b"HTTP/1.1 400\r\n\r\n", b"\x30\x84\xff\xff\xff\xff", b"\x30\x00", b"\x30\x05\x02\x01\x01\x04\x00", b"\x30\x80" + b"\x30\x80" * 99,
     b"\x30\x0c\x02\x01\x01\x61\x07\x0a\x01", b"\x30\x03\x02\x01\x01"],
)  # fmt: skip
def test_what_is_no_ldap_is_an_error(octets):
    def say(client: socket.socket) -> None:
        client.recv(1000)
        client.sendall(octets)

    server = Server(say)
    flow = f'$l = LDAP("ldap://127.0.0.1:{server.port}"); $l->setoption("timeout", 1); echo $l->bind() === none; echo $l->errno() < 0;'
    assert play(standing(), flow) == ["true", "true"]
    server.close()


def test_an_address_of_another_kind_is_a_script_error():
    with pytest.raises(FlowError, match="is no ldap:// or ldaps:// address"):
        play(standing(), 'LDAP("http://127.0.0.1/");')


def test_the_old_functions(directory):
    host = f'"host" => "ldap://127.0.0.1:{directory.port}"'
    flow = (
        f'$found = ldap_search("ldap:1", "j*e", [{host}, "base" => "dc=example", "query" => "(uid=%s)"]); '
        f'echo length($found); echo $found[1]["cn"][0]; echo ldap_bind("ldap:1", "cn=a", "secret", [{host}]); '
        f'echo ldap_bind("ldap:1", "cn=a", "wrong", [{host}]); echo ldap_search("ldap:1", "x");'
    )
    assert play(standing(), flow) == ["2", "Joe (2)", "1", "0", "-1"]
    assert "j*e" in directory.filters[0]


def test_a_value_that_is_looked_up_cannot_change_the_query(directory):
    host = f'"host" => "ldap://127.0.0.1:{directory.port}", "base" => "dc=example"'
    play(standing(), f'ldap_search("l", ["a)(uid=*", "b"], [{host}, "query" => "(&(uid=$1)(cn=$2))"]);')
    assert b"a)(uid=*" in directory.requests[0]  # one value of one comparison
    assert b"\x87\x03uid" not in directory.requests[0]  # and no test for presence


def test_facts_hold_no_password(directory):
    run = standing()
    play(run, f'LDAP("ldap://127.0.0.1:{directory.port}")->bind("cn=a", "s3cret");')
    assert "s3cret" not in " ".join(map(str, run.facts))
