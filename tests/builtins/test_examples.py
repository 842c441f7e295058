"""The pages of the standard library are true: every example is run as a flow, and every word has one."""

import re
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

import pytest
from standing import Standing

from flowengine.language.compiler import compile_flow
from flowengine.language.functions import Builtin, PhaseSpec, Vocabulary
from flowengine.language.loader import Loader, Source
from flowengine.language.natives import native_class
from flowengine.mail.keys import PrivateKey

STANDARD = """
addresses arrays certificates charsets cms collections_ crypto csv_ dns encodings files hashes http json_ network numbers
ldap ldap_words metrics_words old_lookups packing passwords queue_words regular_expressions smtp_words sockets state strings system
times types yaml_
"""
MODULES = [import_module(f"flowengine.builtins.{name}") for name in STANDARD.split()]
CLASSES = {
    thing.class_name: thing
    for module in MODULES
    for thing in vars(module).values()
    if isinstance(thing, type) and hasattr(thing, "class_name") and thing.__module__ == module.__name__
}
VOCABULARY = Vocabulary(MODULES, [PhaseSpec("data", {})], CLASSES.values())
WORDS = sorted({one.name: one for words in VOCABULARY.builtins.values() for one in words}.items())
_EXAMPLE = re.compile(r" *(\S.*);  // (.*)")
KEY = PrivateKey.generate()


def examples(word: Builtin) -> Iterator[tuple[str, str]]:
    for line in word.page.splitlines():
        if found := _EXAMPLE.fullmatch(line):
            yield found[1], found[2]


EXAMPLES = [pytest.param(*one, id=f"{name}-{n}") for name, word in WORDS for n, one in enumerate(examples(word))]


@pytest.fixture
def run(tmp_path: Path) -> Standing:
    (tmp_path / "list.txt").write_text("alice\nbob\n")
    (tmp_path / "table.csv").write_text("id,name\n1,a\n2,b\n")
    return Standing(keys={"example": KEY}, script_root=tmp_path)


def play(run: Standing, flow: str) -> list[str]:
    compile_flow(Source("example.hsl", flow), VOCABULARY, "data", Loader()).run(run)
    return run.output


@pytest.mark.parametrize(("expression", "value"), EXAMPLES)
def test_an_example_is_true(run, expression, value):
    outcome = play(run, f'$found = {expression}; $said = {value};\necho $found === $said ? "true" : $found;')
    assert outcome == ["true"]


@pytest.mark.parametrize("word", [word for _, word in WORDS], ids=[name for name, _ in WORDS])
def test_a_word_has_a_page(word):
    page = word.page
    assert page.splitlines()[0].endswith(".")
    assert [*examples(word)], "no example"
    assert all(len(line) <= 120 for line in page.splitlines())
    for option in word.options:
        assert re.search(rf"\b{option}\b", page) or option.startswith("ssl_"), f"nothing about the option {option}"


@pytest.mark.parametrize("one", CLASSES.values(), ids=CLASSES.keys())
def test_a_class_has_a_page_for_every_member(one):
    members = native_class(one)
    assert one.__doc__
    for member in [*members.methods.values(), *members.statics.values()]:
        assert member.page.endswith("."), member.name


DOCUMENTED = """
count length array_keys array_reverse in_array array_includes explode str_split implode array_join range array_range
array_filter array_map array_reduce array_sort array_every array_find array_combine array_random array_shuffle
array_unique number string boolean is_array is_number is_string is_function is_object is_boolean
strlen strpos str_find strrpos str_rfind strtolower strtoupper str_lower str_upper substr str_slice trim str_strip
str_lstrip str_rstrip str_repeat str_replace chr ord str_chunk pcre_match pcre_match_all pcre_replace pcre_quote
pcre_compile abs ceil floor sqrt log pow round rand random_number random_bytes time timelocal uptime executiontime sleep
strftime strptime strpduration uuid uuidv5 md5 sha1 sha2 hmac_md5 hmac_sha1 hmac_sha2 hash crypt aes_encrypt aes_decrypt
rsa_sign rsa_verify ed25519_sign ed25519_verify rsa_privatekey ed25519_privatekey is_rsa_privatekey
is_ed25519_privatekey
dns dns4 dns6 dnsmx dnsptr dnstxt dnscname dnsns dns_query dnsbl is_subdomain domain_includes domain_publicsuffix
idna_encode idna_decode in_network inet_includes inet_ntop inet_pton inet_reverse http url_parse url_encode url_decode
file file_get_contents in_file json_encode json_decode csv_encode csv_decode base64_encode base64_decode
base64url_encode base64url_decode base32_encode base32_decode zlib_compress zlib_uncompress pack unpack mimeword_encode
mimeword_decode xtext_encode xtext_decode envelope_address_parse envelope_localpart_escape header_addresslist_extract
header_addresslist_compile header_dkim_decode GetAddressList rate memory_add memory_store memory_fetch memory_exists
memory_delete memory_inc memory_dec memory_update syslog serial gethostname yaml_decode pkcs7_sign
"""


def test_every_documented_word_is_there():
    assert {name for name in DOCUMENTED.split() if name not in VOCABULARY.builtins} == set()


def test_words_are_functions_too(run):
    flow = 'echo array_map(strtolower, ["A"]); $f = builtin explode; echo $f("@", "a@b");'
    assert play(run, flow) == ['[0=>"a"]', '[0=>"a",1=>"b"]']


def test_a_callback_may_wait(run):
    flow = 'echo array_map(function ($n) { return dns4($n)[0]; }, ["mail.example.net", "absent.example.net"]);'
    assert play(run, flow) == ['[0=>"192.0.2.1",1=>none]']
