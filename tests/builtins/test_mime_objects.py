"""Message objects in flows, and eod from the message to what leaves."""

import pytest

from flowengine.builtins.mail_messages import EODMailMessage
from flowengine.builtins.mime_builder import MIME
from flowengine.language.natives import native_class
from flowengine.mail import dkim
from flowengine.mail.message import Message
from flowengine.runtime.actions import Accept, Defer, Deliver, Reject
from tests.runtime.stage import MAIL, Stage, key

MIXED = (
    b"From: Alice <alice@example.org>\r\nTo: bob@example.net\r\nSubject: =?utf-8?Q?Gr=C3=BC=C3=9Fe?=\r\n"
    b"X-A: 1\r\nX-A: 2\r\n"
    b"MIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=b; x=y\r\n\r\npreamble\r\n"
    b"--b\r\nContent-Type: text/plain; charset=utf-8\r\n\r\nhello\r\n"
    b"--b\r\nContent-Type: application/x-msdownload; name=a.EXE\r\nContent-Transfer-Encoding: base64\r\n\r\nTVo=\r\n"
    b"--b--\r\n"
)
DEFAULT = """
$from = $transaction["senderaddress"];
foreach ($transaction["recipients"] as $r)
    $arguments["mail"]->queue($from, $r["address"], $r["transportid"]);
Accept();
"""


def said(expression: str, phase: str = "eod") -> str:
    mail = '$arguments["mail"]' if phase == "eod" else "GetMailMessage()"
    (line,) = Stage().echoed(f"$mail = {mail};\necho json_encode({expression});", message=MIXED, phase=phase)
    return line


@pytest.mark.parametrize("phase", ["data", "eod"])
@pytest.mark.parametrize(
    ("expression", "json"),
    [
        ('$mail->getHeader("subject")', '"Gr\\u00fc\\u00dfe"'),
        ('$mail->getHeader("subject", ["decode" => false])', '"=?utf-8?Q?Gr=C3=BC=C3=9Fe?="'),
        ('$mail->getHeader("x-a", ["field" => true, "index" => 1])', '"X-A: 2"'),
        ('$mail->getHeader("x-a", ["index" => 2])', "null"),
        ('$mail->getHeader("x-absent")', "null"),
        ('$mail->getHeaders("X-A")', '["1","2"]'),
        ('$mail->getHeaders("x-a", ["field" => true, "index" => -1])', '["X-A: 2"]'),
        ("length($mail->getHeaders(true))", "7"),
        ("$mail->getHeaderNames()[0]", '"from"'),
        ("$mail->getSize()", str(len(MIXED))),
        ("$mail->getID()", '"0"'),
        ("$mail->getType()", '"multipart/mixed"'),
        ('$mail->getTypeParameter("X")', '"y"'),
        ('$mail->getTypeParameter("z")', "null"),
        ("$mail->getFileName()", "null"),
        ('array_map(function ($p) { return $p->getID(); }, $mail->findByType("^(text|app)"))', '["0.1","0.2"]'),
        ('$mail->findByFileName("/\\\\.exe$/i")[0]->getBody()', '"MZ"'),
        ('$mail->getByID("0.2")->getBody(["decode" => false])', '"TVo="'),
        ('$mail->getByID("0.2")->getFileName()', '"a.EXE"'),
        ('$mail->getByID("0.2")->getSize()', str(MIXED.index(b"TVo=") + 4 - MIXED.index(b"Content-Type: appl"))),
        ('$mail->getByID("7")', "null"),
        ('MIME("0.1")->getBody()', '"hello"'),
        ("length($mail->getParts())", "2"),
        ("$mail->getPreamble()", '"preamble"'),
        ("$mail->getEpilogue()", '""'),
        ("$mail->getErrors()", "[]"),
    ],
)  # fmt: skip
def test_what_a_message_tells(phase, expression, json):
    assert said(expression, phase) == json


def left(flow: str, message: bytes = MIXED, **about) -> bytes:
    stage = Stage(**about)
    outcome = stage.data(f'$mail = $arguments["mail"];\n{flow}\n{DEFAULT}', message=message, phase="eod")
    assert outcome.runs[0].error is None, outcome.runs[0].error
    return stage.outbox.left[0][1]


def test_an_unchanged_message_leaves_as_it_came():
    assert left("$mail->getParts(); echo $mail->getSize();") == MIXED


@pytest.mark.parametrize(
    ("flow", "old", "new"),
    [
        ('$mail->addHeader("X-B", "1");', b"From:", b"X-B: 1\r\nFrom:"),
        ('$mail->addHeader("X-B", "1", ["index" => -1]);', b"x=y\r\n", b"x=y\r\nX-B: 1\r\n"),
        ('$mail->setHeader("X-A", "3", ["index" => 1]);', b"X-A: 2", b"X-A: 3"),
        ('if ($mail->setHeader("X-A", "3") != 2) Reject();', b"X-A: 1\r\nX-A: 2", b"X-A: 3\r\nX-A: 3"),
        ('if ($mail->delHeader("X-A") != 2) Reject();', b"X-A: 1\r\nX-A: 2\r\n", b""),
        ('if ($mail->renameHeader("x-a", "X-C") != 2) Reject();', b"X-A: 1\r\nX-A: 2\r\n", b"X-C: 1\r\nX-C: 2\r\n"),
        ('$mail->setHeader("Subject", "\xfc", ["encode" => false]);', b"=?utf-8?Q?Gr=C3=BC=C3=9Fe?=", "ü".encode()),
        ('$mail->getByID("0.1")->setBody("bye\\n");', b"hello", b"bye\r\n"),
        ('$mail->getByID("0.1")->addHeader("X-P", "1");', b"--b\r\nContent", b"--b\r\nX-P: 1\r\nContent"),
        ('$mail->setPreamble("no");', b"preamble", b"no"),
        ('$mail->setEpilogue("end");', b"--b--\r\n", b"--b--\r\nend"),
        ('$mail->findByFileName("exe|EXE")[0]->remove();', b"", b""),
        ('$mail->modifyContent(0, 4, "Sender");', b"From:", b"Sender:"),
        ('$mail->addHeader("X", "1"); $mail->reset();', b"", b""),
        ('$s = $mail->snapshot(); $mail->getByID("0.1")->setBody("x"); $mail->restore($s);', b"", b""),
    ],
)  # fmt: skip
def test_a_change_changes_that_and_nothing_else(flow, old, new):
    got = left(flow)
    if "remove" in flow:
        start = MIXED.index(b"\r\n--b\r\nContent-Type: application")
        assert got == MIXED[:start] + b"\r\n--b--\r\n"
    else:
        assert got == (MIXED.replace(old, new, 1) if old else MIXED)


def test_changes_show_in_text_and_not_in_what_is_asked():
    flow = """$mail = $arguments["mail"]; $mail->setHeader("Subject", "new");
    echo $mail->getHeader("Subject", ["decode" => false]);
    echo str_find($mail->toString(), "Subject: new") > 0 ? "shown" : "not";
    echo length($mail->toFile()->read()) == length($mail->toString()) ? "same" : "other";"""
    assert Stage().echoed(flow, message=MIXED, phase="eod") == ["=?utf-8?Q?Gr=C3=BC=C3=9Fe?=", "shown", "same"]


def test_a_built_part_is_appended_and_replaces():
    got = left(
        """$part = MIME()->setType("text/html")->setBody("<p>gr\xfc\xdfe</p>")->setFileName("d\xfc.html")
            ->setDisposition("inline")->addHeader("X-P", "1");
        $mail->appendPart($part); $mail->getByID("0.2")->replacePart(MIME()->setBody("gone"));
        $mail->prependPart(MIME("0.1"));"""
    )
    found = Message(got).received.structure
    assert [part.type.word for part in found.root.parts] == ["text/plain", "text/plain", "text/plain", "text/html"]
    last = found.part("0.4")
    assert found.content(last) == "<p>grüße</p>".encode()
    assert last.file_name == "dü.html"
    assert last.headers.first("content-disposition").undecoded.startswith("inline;")
    assert found.content(found.part("0.3")) == b"gone"
    assert found.content(found.part("0.1")) == b"hello"


def test_a_message_without_parts_gets_a_disclaimer():
    got = Message(left('$mail->appendPart(MIME()->setBody("disclaimer"));', MAIL))
    assert [part.effective_type for part in got.received.structure.root.walk()] == [
        "multipart/mixed",
        *["text/plain"] * 2,
    ]
    assert got.headers.names() == ["from", "to", "subject", "mime-version", "content-type"]


def test_a_whole_message_is_built_and_signed_and_queued():
    stage = Stage(keys={"k": key("k", "ed25519")})
    flow = """
    $note = MIME()->addHeader("From", "Mailer <mailer@example.net>")->addHeader("Subject", "Gr\xfc\xdfe")->setDate(0)
        ->setType("multipart/mixed")->setBoundary("zz")->appendPart(MIME()->setBody("hi"))->appendPart(MIME("0.1"));
    if ($note->signDKIM("s", "example.net", "pki:absent") !== none) Reject("signed");
    if ($note->signDKIM("no selector", "example.net", "pki:k") !== none) Reject("signed by nobody");
    $id = $note->signDKIM("s", "example.net", "pki:k")->queue("", "carol@example.net");
    echo json_encode($id["queue"]);
    Accept();
    """
    outcome = stage.data(flow, message=MIXED, phase="eod")
    assert outcome.runs[0].error is None
    assert outcome.runs[0].output == ("1",)
    ((recipient, data),) = stage.outbox.left
    message = Message(data)
    assert recipient == "carol@example.net"
    assert message.headers.names() == ["dkim-signature", "from", "subject", "date", "mime-version", "content-type"]
    assert message.headers.first("date").undecoded == "Thu, 01 Jan 1970 00:00:00 -0000"
    assert [message.received.structure.content(part) for part in message.received.structure.root.parts] == [
        b"hi",
        b"hello",
    ]


def test_a_message_of_its_own():
    flow = """$m = MailMessage::String("Subject: x\\n\\nbody\\n"); $m->addHeader("X", "1");
    echo $m->toString(); echo $m->getHeader("X") ?? "none"; echo GetMailMessage()->getHeader("Subject");
    echo MailMessage::File($m->toFile())->getBody();"""
    assert Stage().echoed(flow) == ["X: 1\r\nSubject: x\r\n\r\nbody\r\n", "none", "Lunch?", "body\r\n"]


def test_signatures_are_made_for_what_leaves_and_verified_as_received():
    stage = Stage(keys={"k": key("k")})
    flow = f"""$mail = $arguments["mail"]; $mail->addHeader("X-Late", "1");
    if ($mail->signDKIM("s", "example.org", "pki:none") !== none) Reject("signed");
    echo is_object($mail->signDKIM("s", "example.org", "pki:k")) ? "yes" : "no";
    echo length($mail->signDKIM("s", "example.org", "pki:k", ["return_header" => true])) > 100 ? "header" : "";
    {DEFAULT}"""
    outcome = stage.data(flow, phase="eod")
    assert outcome.runs[0].output == ("yes", "header")
    data = stage.outbox.left[0][1]
    assert Message(data).headers.names()[:2] == ["dkim-signature", "x-late"]
    check = """foreach ($arguments["mail"]->getHeaders("DKIM-Signature", ["field" => true]) as $field) {
        $arguments["mail"]->setHeader("Subject", "edited");
        $dns = function ($name) { return ["RECORD"]; };
        echo $arguments["mail"]->verifyDKIM($field, ["dns_function" => $dns])["result"]; }"""
    record = key("k").record()
    assert Stage().echoed(check.replace("RECORD", record), message=data, phase="eod") == ["pass"]
    broken = data.replace(b"noon", b"one.")
    assert Stage().echoed(check.replace("RECORD", record), message=broken, phase="eod") == ["permerror"]


def test_the_default_eod_flow_delivers_to_everybody():
    stage = Stage()
    outcome = stage.data(DEFAULT, recipients=("bob@example.net", "carol@example.net"), phase="eod")
    assert [type(action) for action in outcome.runs[0].actions] == [Deliver, Deliver, Accept]
    assert stage.outbox.left == [("bob@example.net", MAIL), ("carol@example.net", MAIL)]
    assert {(kept.sender, kept.transportid) for kept in outcome.kept} == {("alice@example.org", "out")}
    assert outcome.reply.code == 250


@pytest.mark.parametrize(
    ("end", "verdict", "code"),
    [('Reject("no");', Reject, 550), ("Defer();", Defer, 451), ("", Defer, 451), ("$x = 1 / 0;", Defer, 451)],
)
def test_only_accept_carries_out_what_was_queued(end, verdict, code):
    stage = Stage()
    outcome = stage.data(DEFAULT.replace("Accept();", end), phase="eod")
    assert type(outcome.runs[0].verdict) is verdict
    assert (outcome.reply.code, stage.outbox.left, outcome.kept) == (code, [], ())


def test_each_copy_is_what_it_was_when_it_was_queued():
    stage = Stage(keys={"k": key("k", "ed25519")})
    flow = """$mail = $arguments["mail"]; $clean = $mail->snapshot();
    foreach ($transaction["recipients"] as $n => $r) {
        $mail->addHeader("X-For", $r["recipient"]);
        if ($n == 0) $mail->signDKIM("s", "example.org", "pki:k");
        $mail->queue("b@example.org", $r["recipient"], $r["transportid"], ["metadata" => ["n" => "1"]]);
        $mail->restore($clean);
    }
    Accept(["reason" => "thanks"]);"""
    outcome = stage.data(flow, recipients=("bob@example.net", "carol@example.net"), phase="eod")
    assert outcome.runs[0].error is None
    first, second = (Message(data) for _, data in stage.outbox.left)
    assert first.headers.names()[:3] == ["dkim-signature", "x-for", "from"]
    assert second.headers.first("x-for").undecoded == "carol@example.net"
    assert second.headers.names().count("dkim-signature") == 0
    assert [(kept.sender, dict(kept.metadata)) for kept in outcome.kept] == [("b@example.org", {"n": "1"})] * 2
    assert "thanks" in outcome.reply.text


@pytest.mark.parametrize(
    ("flow", "says"),
    [
        ('$mail->queue("a@example.org", "no address", none);', "no envelope address"),
        ('$mail->queue("a@example.org", "", none);', "recipient is empty"),
        ("$mail->remove();", "cannot be removed"),
        ('$mail->setBody("x");', "made of parts"),
        ('$mail->getByID("0.1")->setPreamble("x");', "no multipart"),
        ('$mail->addHeader("no name", "x");', "header name"),
        ("$mail->restore(3);", "no snapshot"),
        ("$mail->modifyContent(-1, 0, \"\");", "not negative"),
        ('$mail->appendPart(MIME(), ["type" => "text/plain"]);', "no type of a multipart"),
        ('MIME("0.9");', "no part 0.9"),
        ("MIME()->setBoundary(\"\")->toString();", "boundary"),
        ("MIME()->setDate(1e300);", "no time"),
    ],
)  # fmt: skip
def test_what_cannot_be_is_told(flow, says):
    run = Stage().one(f'$mail = $arguments["mail"];\n{flow}', message=MIXED, phase="eod")
    assert run.error is not None
    assert says in str(run.error)
    assert "internal" not in str(run.error)


def test_a_header_value_cannot_begin_another_field():
    got = left(
        '$mail->addHeader("X-B", "a\\r\\nBcc: x\\n\\nbody"); $mail->getByID("0.1")->addHeader("X-P", "a\\r\\nB: c");'
    )
    assert Message(got).headers.names()[:2] == ["x-b", "from"]
    assert Message(got).received.structure.part("0.1").headers.names() == ["x-p", "content-type"]


def test_a_flow_without_a_message_has_no_parts():
    stage = Stage()
    result = stage.one('MIME("0")->getSize();', phase="data")
    assert result.error is None


MESSAGE = """
getID getSize getFileName getType getTypeParameter getHeader getHeaders getHeaderNames setHeader addHeader delHeader
renameHeader getBody setBody prependPart appendPart replacePart remove findByType findByFileName getParts getByID
getPreamble setPreamble getEpilogue setEpilogue setDateLater getErrors reset snapshot restore toFile toString
modifyContent signDKIM verifyDKIM queue send
"""
BUILDER = """
addHeader setBody setType setBoundary appendPart setDate setFileName setDisposition signDKIM toString toFile queue send
"""


@pytest.mark.parametrize("one", [EODMailMessage, MIME])
def test_every_member_has_a_page(one):
    members = native_class(one)
    for member in members.methods.values():
        assert member.page.splitlines()[0].strip(), member.name
        for option in member.options:
            assert option in member.page or "DKIMSign" in member.page or "options" in member.page.lower(), member.name
    documented = (MESSAGE if one is EODMailMessage else BUILDER).split()
    assert set(documented) <= members.methods.keys()


def test_dkim_of_a_built_message_verifies():
    stage = Stage(keys={"k": key("k")})
    flow = """echo MIME()->addHeader("From", "a@example.net")->setBody("hi")->signDKIM("s", "example.net", "pki:k")
        ->toString();"""
    (text,) = stage.echoed(flow)
    message = Message(text.encode("latin-1"))
    (field,) = message.headers.all("dkim-signature")
    assert dkim.parse_signature(field).domain == "example.net"
    assert message.headers.names()[1:3] == ["from", "mime-version"]
