"""nodemailer: what most web applications in JavaScript send with. Fetched by npm into a directory of the play."""

import base64
import json
import subprocess

from tests.interop.checks import Disagreement, LeftOut, Peer, call, expect, find_program
from tests.interop.dkim_keys import records
from tests.interop.messages import MESSAGES, PLAIN, RECIPIENT, SENDER, SIGNED, TRACE, WIDE, WIDE_RECIPIENT, added
from tests.interop.peers.dkimpy import verified
from tests.interop.world import PASSWORD, USER, World

PEER = Peer("nodemailer", programs=("node", "npm"), packages=("nodejs", "npm"))
_FETCH_TIME = 60.0
_SEND = """
const { createTransport } = require(process.argv[1]);
const asked = JSON.parse(require("fs").readFileSync(0));
const transport = createTransport({ host: "127.0.0.1", port: asked.port, name: "client.example.org", ignoreTLS: true,
  pool: true, maxConnections: 2, auth: asked.auth, authMethod: asked.method });
const mail = { envelope: asked.envelope, raw: Buffer.from(asked.raw, "base64"), dsn: asked.dsn };
Promise.all(Array.from({ length: asked.copies }, () => transport.sendMail(mail)))
  .then((found) => console.log(found[0].response), (error) => { console.log(error.message); process.exitCode = 1; })
  .finally(() => transport.close());
"""


def send(world: World, listener: str, message: bytes = PLAIN, recipient: str = RECIPIENT, **more: object) -> str:
    """What the server said to a message. Raises Disagreement when it was not taken, LeftOut without nodemailer."""
    folder = world.folder / "nodemailer"
    module = folder / "node_modules" / "nodemailer"
    if not module.exists():
        folder.mkdir(exist_ok=True)
        words = [find_program("npm") or "npm", "install", "--silent", "--no-audit", "--no-fund", "nodemailer@7"]
        try:
            subprocess.run(words, cwd=folder, check=True, capture_output=True, timeout=_FETCH_TIME)  # noqa: S603
        except (subprocess.SubprocessError, OSError) as error:
            raise LeftOut(f"npm could not fetch it: {error}") from None
    asked = {
        "port": world.port(listener),
        "envelope": {"from": SENDER, "to": [recipient]},
        "raw": base64.b64encode(message).decode(),
        "copies": 1,
        **more,
    }
    said = call("node", "-e", _SEND, module, entered=json.dumps(asked).encode())
    if said.code:
        raise Disagreement(said.text)
    return said.output.decode()


@PEER.check("“{0}” goes through byte for byte", [(name,) for name in ("plain", "dots", "eight bit")])
def plain(world: World, name: str) -> None:
    arrived = world.delivered(lambda: send(world, "relay", MESSAGES[name]))
    expect(added(arrived.content, MESSAGES[name], TRACE) == ["received"], "no trace field")


@PEER.check("an address in UTF-8 goes through with SMTPUTF8")
def wide(world: World) -> None:
    arrived = world.delivered(lambda: send(world, "relay", WIDE, WIDE_RECIPIENT))
    expect(arrived.recipients == (WIDE_RECIPIENT,), f"recipients: {arrived.recipients}")


@PEER.check("what it wants to be told of a delivery (DSN) is taken")
def notifications(world: World) -> None:
    dsn = {"id": "some id+1", "return": "headers", "notify": ["failure", "delay"], "recipient": SENDER}
    world.delivered(lambda: send(world, "relay", dsn=dsn))


@PEER.check("twenty messages over a pool of two connections arrive")
def pooled(world: World) -> None:
    world.hop.forget()
    send(world, "relay", copies=20)
    for _ in range(20):
        added(world.hop.take().content, PLAIN, TRACE)


@PEER.check("AUTH {0} lets a user in, and the mail leaves signed", [("PLAIN",), ("LOGIN",)])
def authenticated(world: World, mechanism: str) -> None:
    auth = {"user": USER, "pass": PASSWORD}
    arrived = world.delivered(lambda: send(world, "submission", auth=auth, method=mechanism))
    added(arrived.content, PLAIN, SIGNED)
    expect(verified(arrived.content, records()), "dkimpy refuses the signature")


@PEER.check("a wrong password is refused with 535")
def refused(world: World) -> None:
    try:
        send(world, "submission", auth={"user": USER, "pass": "wrong"}, method="PLAIN")
    except Disagreement as error:
        expect("535" in str(error), str(error))
    else:
        expect(False, "a wrong password was taken")
