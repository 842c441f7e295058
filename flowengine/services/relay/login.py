"""AUTH at the next hop: PLAIN (RFC 4616), LOGIN, XOAUTH2; never in clear over a network unless that was allowed.

The password stands in no answer and in no log line.
"""

from base64 import b64encode

from flowengine.runtime.actions import Reply
from flowengine.services.relay.answers import Answer, Stage
from flowengine.services.relay.connection import Connection
from flowengine.services.relay.settings import Login, RelaySettings


async def log_in(connection: Connection, settings: RelaySettings, login: Login) -> Answer | None:
    """Authenticate (RFC 4954). What went wrong, or None."""
    if not connection.private and not login.in_clear:
        return _ours(f"no password without TLS: {settings} was reached in clear")
    offered = connection.extensions.get("AUTH", "").upper().split()
    mechanism = next((one for one in login.mechanisms if one in offered), None)
    if mechanism is None:
        return _ours(f"{settings} offers none of {' '.join(login.mechanisms)}")
    first, *further = _lines(mechanism, login)
    answer = await _say(connection, settings, b"AUTH " + mechanism.encode() + (b" " + first if first else b""))
    for line in further:
        if answer.reply.code != 334:
            break
        answer = await _say(connection, settings, line)
    if answer.reply.code == 334:  # it goes on asking: RFC 4954 §4, end the exchange
        answer = await _say(connection, settings, b"*")
    if answer.reply.code == 235:
        return None
    return answer if answer.reply.code >= 400 else _ours(f"{settings} answered AUTH out of order")


def _lines(mechanism: str, login: Login) -> tuple[bytes, ...]:
    """What we say: with AUTH itself ("" for nothing), and after each 334."""
    username, password = login.username.encode(), login.password.encode()
    if mechanism == "LOGIN":
        return b"", b64encode(username), b64encode(password)
    if mechanism == "XOAUTH2":
        # a 334 brings the reason of a refusal, and an empty line asks for the refusal itself
        return b64encode(b"user=%s\x01auth=Bearer %s\x01\x01" % (username, password)), b""
    told = b64encode(b"\0%s\0%s" % (username, password))
    return told, told


async def _say(connection: Connection, settings: RelaySettings, line: bytes) -> Answer:
    (answer,) = await connection.exchange(line + b"\r\n", (Stage.AUTH,), settings.patience.command)
    return answer


def _ours(text: str) -> Answer:
    return Answer(Reply(451, "4.7.0", text), Stage.AUTH, heard=False)
