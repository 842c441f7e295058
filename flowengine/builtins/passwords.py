"""crypt(3), through the system's own library: whatever hashes /etc/shadow may hold, a flow can check.

A hash says itself how much work it takes, so hashes that ask for more than a second or so are refused. The work is done
in a thread.
"""

import asyncio
import ctypes
import re
from functools import cache
from typing import Any

from flowengine.builtins.run import Run
from flowengine.language.functions import builtin

MAX_PASSWORD = 512  # bytes; libxcrypt's own limit
MAX_SHA_ROUNDS = 500_000
MAX_BLOWFISH_COST = 13
_STATE = 131_232  # bytes of struct crypt_data in glibc; libxcrypt takes less
_ROUNDS = re.compile(r"\$[56]\$rounds=(\d{1,20})\$")
_BLOWFISH = re.compile(r"\$2[abxy]\$(\d\d)\$")
_CHEAP = re.compile(r"\$[156]\$|[./0-9A-Za-z]{2}")  # MD5, SHA-256 and SHA-512 with their usual rounds, DES


@builtin
async def crypt(run: Run, key: bytes, salt: bytes) -> str | None:
    """The hash of a password as crypt(3) makes it.

    key: the password. salt: a salt, or a hash that was made before: then the result is equal to it if the password is.

    Returns none for methods that the system does not have, yescrypt and scrypt, and for hashes that take too much work.

        crypt("secret", ''$1$salt$'');  // ''$1$salt$ez2vlPGdaLYkJam5pWs/Y1''
        crypt("secret", ''$6$rounds=999999999$salt$'');  // none
    """
    if len(key) > MAX_PASSWORD or b"\0" in key or b"\0" in salt or not _bearable(salt.decode("latin-1")):
        return None
    run.budget.spend(5000)
    return await asyncio.to_thread(_crypt, key, salt)


def _bearable(salt: str) -> bool:
    if len(salt) > 256:
        return False
    if rounds := _ROUNDS.match(salt):
        return int(rounds[1]) <= MAX_SHA_ROUNDS
    if cost := _BLOWFISH.match(salt):
        return int(cost[1]) <= MAX_BLOWFISH_COST
    return _CHEAP.match(salt) is not None


def _crypt(key: bytes, salt: bytes) -> str | None:
    library = _library()
    if library is None:
        return None
    made: bytes | None = library.crypt_r(key, salt, ctypes.create_string_buffer(_STATE))
    return None if made is None or made.startswith(b"*") else made.decode("latin-1")


@cache
def _library() -> Any:
    """The system's libcrypt, or None."""
    for name in ("libcrypt.so.1", "libcrypt.so.2", "libcrypt.so"):
        try:
            library = ctypes.CDLL(name)
            library.crypt_r.argtypes = (ctypes.c_char_p, ctypes.c_char_p, ctypes.c_void_p)
        except (OSError, AttributeError):
            continue
        library.crypt_r.restype = ctypes.c_char_p
        return library
    return None
