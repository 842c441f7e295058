"""Once a message is delivered nothing may make the client send it again, and nothing leaves in silence."""

import asyncio

from flowengine.mail.addresses import parse_path
from flowengine.mail.message import Message
from flowengine.services.fakes import FakeLog
from tests.runtime.stage import MAIL, Stage, key, now


class FullDisk(FakeLog):
    """A log that cannot be written, once."""

    def event(self, level, event, /, **fields):
        if event == "verdict":
            raise OSError("no space left on device")
        super().event(level, event, **fields)


def reply_to(stage, flow):
    async def visit():
        session = stage.session({"data": flow})
        await now(session.mail_from(parse_path("<alice@example.org>"), {}))
        await now(session.rcpt_to(parse_path("<bob@example.net>"), {}))
        return await session.data(Message(MAIL))

    return asyncio.run(visit())


def test_a_log_that_fails_does_not_make_the_client_send_again():
    stage = Stage(log=FullDisk())
    assert reply_to(stage, "Deliver();").code == 250
    assert stage.log.of("no verdict line")
    assert len(stage.outbox.left) == 1


def test_a_long_last_line_has_the_id_below_it():
    reply = reply_to(Stage(), f'Reject("{"x" * 490}");')
    long, id_ = reply.text.split("\n")
    assert long == "x" * 490
    assert len(id_) == 26
    assert "\n" not in reply_to(Stage(), 'Reject("short");').text


def test_what_leaves_beside_a_refusal_has_a_signing_verdict():
    stage = Stage(settings={"mixed_verdicts": "halon"})
    stage.data(
        'if ($recipient == "eve@example.net") Reject("no"); Deliver();',
        recipients=("bob@example.net", "eve@example.net"),
    )
    (line,) = stage.log.of("verdict")
    assert [one["verdict"] for one in line["signing"]] == ["unsigned"]


def test_an_arc_message_signature_alone_leaves_the_message_unsigned():
    stage = Stage(keys={"x": key("x")})
    stage.one('DKIMSign("s1", "example.org", "pki:x", ["arc" => true]);')
    stage.one('DKIMSign("s1", "example.org", "pki:x");')
    verdicts = [line["signing"][0]["verdict"] for line in stage.log.of("verdict")]
    assert verdicts == ["unsigned", "signed"]
