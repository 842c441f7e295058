"""Encodings: round trips, refusals, bounds."""

import time
import zlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from standing import Standing, Words

from flowengine.builtins import encodings
from flowengine.language.problems import BudgetExceeded

words = Words(encodings)
octets = st.binary(max_size=80)


@pytest.mark.parametrize(
    ("call", "result"),
    [
        (("base64_decode", "Zm xv\r\ndw"), "flow"),
        (("base64_decode", "Zg=Zg"), None),
        (("base64_decode", "Z"), None),
        (("base64_decode", ""), ""),
        (("base64url_decode", "Pz8-Pw=="), "??>?"),
        (("base32_decode", "mzwg65y"), "flow"),
        (("base32_decode", "M"), None),
        (("url_encode", "~-._"), "~-._"),
        (("url_decode", "%zz%4"), "%zz%4"),
        (("url_decode", "a+b"), "a+b"),
        (("xtext_encode", "a \x00\xff"), "a+20+00+FF"),
        (("xtext_decode", "a+2b"), None),
        (("xtext_decode", "a b"), None),
        (("mimeword_decode", "=?iso-8859-1?Q?=E9?= =?utf-8?B?w6k=?="), "\xc3\xa9\xc3\xa9"),
        (("mimeword_encode", "a\r\nBcc: b"), "a Bcc: b"),
        (("zlib_uncompress", zlib.compress(b"flow")[:-3]), None),
        (("zlib_uncompress", b""), None),
        (("zlib_uncompress", zlib.compress(b"flow"), 99), None),
        (("zlib_compress", "x", 1, 0), None),
    ],
)
def test_an_encoding_word_gives(call, result):
    name, *arguments = call
    assert getattr(words, name)(*arguments) == result


@pytest.mark.parametrize("kind", ["base64", "base64url", "base32", "url", "xtext"])
@given(data=octets)
@settings(max_examples=40, deadline=None)
def test_decoding_undoes_encoding(kind, data):
    encoded = getattr(words, f"{kind}_encode")(data)
    assert encoded.isascii()
    assert getattr(words, f"{kind}_decode")(encoded) == data.decode("latin-1")


@pytest.mark.parametrize("kind", ["base64", "base64url", "base32", "url", "xtext", "mimeword"])
@given(data=octets)
@settings(max_examples=40, deadline=None)
def test_anything_decodes_or_is_none(kind, data):
    assert isinstance(getattr(words, f"{kind}_decode")(data), (str, type(None)))


@pytest.mark.parametrize("windowbits", [15, -15, 31])
@given(data=octets)
@settings(max_examples=20, deadline=None)
def test_uncompressing_undoes_compressing(windowbits, data):
    assert words.zlib_uncompress(words.zlib_compress(data, 9, windowbits), windowbits) == data.decode("latin-1")


@given(st.text(max_size=40))
@settings(max_examples=40, deadline=None)
def test_mime_words_read_back(text):
    text = " ".join(text.split()).encode("utf-8", "ignore").decode("latin-1")
    if (
        all(character.isprintable() or character > "\x7f" for character in text)
        and "=?" not in text
        and '"' not in text
    ):
        assert words.mimeword_decode(words.mimeword_encode(text)).split() == text.split()


def test_a_compressed_bomb_ends_at_the_limit():
    bomb = zlib.compress(bytes(64 << 20))
    started = time.perf_counter()
    with pytest.raises(BudgetExceeded):
        Words(encodings, run=Standing()).zlib_uncompress(bomb)
    assert time.perf_counter() - started < 20  # on a busy machine too: what grows too fast takes minutes
