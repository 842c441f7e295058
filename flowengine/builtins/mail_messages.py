"""Whole messages as objects: `GetMailMessage()`, `$arguments["mail"]`, `MailMessage::String(...)`.

`queue` is a delivery that is carried out together with the verdict: a message that is not accepted in the end is not
sent on, so no client retries what was delivered.
"""

import asyncio
from collections.abc import Callable, Mapping
from typing import Any, ClassVar

from flowengine.builtins.actions import MESSAGE, envelope_address, known_transport, names, texts
from flowengine.builtins.authentication import resolver, signature_result, verified_field
from flowengine.builtins.crypto import Ed25519Key, RSAKey
from flowengine.builtins.files import File
from flowengine.builtins.mime import Entity, Letter, MIMEPart
from flowengine.builtins.signing import signature_header, unsigned, wanted_seal
from flowengine.builtins.smtp_words import send_at_once
from flowengine.language.functions import builtin, options_of
from flowengine.language.natives import method
from flowengine.language.problems import FlowError
from flowengine.language.values import Array, Secret, Value, to_text
from flowengine.mail import dkim
from flowengine.mail.edits import ReplaceContent
from flowengine.mail.errors import MailError
from flowengine.mail.message import Message
from flowengine.runtime.actions import AnySeal
from flowengine.runtime.run import Run

SNAPSHOTS = 1000


class Signable(Entity):
    """A message that can be signed."""

    def to_be_signed(self, run: Run) -> Message:
        """The message as it now stands."""
        raise NotImplementedError

    def sealed_with(self, run: Run, seal: dkim.Seal) -> None:
        """Remember a signature that is to be made. Raises MailError when it is known that it cannot be."""
        raise NotImplementedError

    @method(name="signDKIM", reveals=True)
    @options_of(wanted_seal)
    async def sign_dkim(
        self,
        run: Run,
        selector: str,
        domain: str,
        key: str | RSAKey | Ed25519Key,
        *,
        return_header: bool = False,
        **options: Any,
    ) -> Value:
        """Sign with DKIM when the message leaves. Arguments and options are those of `DKIMSign`;
        key also one from `rsa_privatekey` or `ed25519_privatekey`.

        Returns the object, or none when it cannot be signed; with return_header the value of the signature's field.
        """
        text = key if isinstance(key, str) else Secret(key.pem())
        try:
            seal = await wanted_seal(run, self.to_be_signed(run), selector, domain, text, **options)
            if not return_header:
                self.sealed_with(run, seal)
                return self
        except MailError as error:
            unsigned(run, to_text(domain), str(error))
            return None
        return await signature_header(run, self.to_be_signed(run), seal)


class MailMessage(Signable, MIMEPart):
    """A message: all that a MIMEPart can, and what only a whole message can."""

    class_name: ClassVar[str] = "MailMessage"

    def __init__(self, letter: Letter | None = None) -> None:
        super().__init__(letter or Letter())
        self._snapshots: list[tuple[Message, tuple[AnySeal, ...]]] = []

    @staticmethod
    @method(name="String")
    def of_string(run: Run, data: bytes) -> "MailMessage":
        """A message of its own from text. Text without any CRLF has its LF taken for line ends."""
        run.budget.grow(len(data))
        return MailMessage(Letter(Message(data if b"\r\n" in data else data.replace(b"\n", b"\r\n"))))

    @staticmethod
    @method(name="File")
    def of_file(run: Run, file: File) -> "MailMessage":
        """A message of its own from a File."""
        return MailMessage.of_string(run, file.data)

    def to_be_signed(self, run: Run) -> Message:
        """See Signable."""
        return self.letter.now(run)

    def sealed_with(self, run: Run, seal: dkim.Seal) -> None:
        """See Signable."""
        seals = self.letter.seals(run)
        if seal not in seals:
            self.letter.put(run, self.letter.now(run), (*seals, seal))

    @method
    def reset(self, run: Run) -> "MailMessage":
        """Undo every change, signatures that were asked for included. The message."""
        self.letter.put(run, self.letter.was(run), ())
        return self

    @method
    def snapshot(self, run: Run) -> int:
        """Remember the message as it now stands, and the signatures asked for. The number for `restore`."""
        if len(self._snapshots) >= SNAPSHOTS:
            raise FlowError(f"more than {SNAPSHOTS} snapshots of a message")
        self._snapshots.append((self.letter.now(run), self.letter.seals(run)))
        return len(self._snapshots) - 1

    @method
    def restore(self, run: Run, id_: int) -> "MailMessage":
        """Go back to a snapshot of this object. The message."""
        if not 0 <= id_ < len(self._snapshots):
            raise FlowError(f"there is no snapshot {id_}")
        self.letter.put(run, *self._snapshots[id_])
        return self

    @method(name="modifyContent")
    def modify_content(self, run: Run, start: int, count: int, data: bytes) -> "MailMessage":
        """Put data in place of so many bytes from a place on, of the message as `toString` gives it. The message.

        start: counts from 0; the end of the message is as far as it goes.
        """
        if start < 0 or count < 0:
            raise FlowError("modifyContent: start and count are not negative")
        text = self.letter.text(run)
        run.budget.grow(len(text) + len(data))
        self.letter.edit(run, ReplaceContent(text[:start] + data + text[start + count :]))
        return self

    @method(name="verifyDKIM")
    async def verify_dkim(
        self, run: Run, headerfield: str, *, timeout: float = 5.0, dns_function: Callable[..., Value] | None = None
    ) -> Array:
        """The result of one DKIM signature over the message as received; timeout and dns_function as for `DKIMVerify`.

        Returns ["result" => "pass", "permerror" or "temperror", "error" => why not, "tags" => the signature's tags].
        """
        try:
            async with asyncio.timeout(max(0.0, timeout)):
                asked = resolver(run, dns_function)
                return signature_result(await verified_field(run, self.letter.was(run), headerfield, asked))
        except TimeoutError:
            return Array({"result": "temperror", "error": f"no answer within {timeout:g} s"})

    @method
    def queue(
        self,
        run: Run,
        sender: str | Array,
        recipient: str | Array,
        transportid: str | None = None,
        *,
        metadata: Mapping[str, Value] | None = None,
        hold: bool = False,
        jobid: str = "",
        quotas: Value = None,
        delay: float = 0,
        dsn: Mapping[str, Value] | None = None,
    ) -> Array:
        """Send the message as it now stands on to a recipient, once the flow has accepted it.

        sender, recipient: text, or ["localpart" => …, "domain" => …]. transportid: none for the recipient's own.
        metadata: texts that travel with it. jobid, quotas: names for the queue's policies.
        delay: seconds before the first attempt. hold: wait for somebody to release it.
        dsn: ["envid" => …, "ret" => …, "notify" => …, "orcpt" => …] is not passed on yet.

        Returns ["transaction" => id, "queue" => number of the delivery in the transaction].
        """
        if dsn:
            run.warn("queue: delivery status options are not passed on to the next hop")
        message, seals = self.letter.now(run), self.letter.seals(run)
        return queued(run, message, seals, sender, recipient, transportid, metadata, hold, jobid, delay, quotas)

    @method
    async def send(self, run: Run, sender: str | Array, recipients: Value, server: Value = None) -> Array:
        """Send the message as it now stands at once, in the middle of the script, whatever the flow decides later.

        recipients: one or several. server: the name of a transport, or settings as for `smtp_lookup_rcpt`.

        Returns result (state, code, enhanced, reason) or error (temporary, reason); connection and tls.
        """
        message = self.letter.now(run)
        run.budget.grow(message.size)
        try:
            for seal in self.letter.seals(run):
                if not isinstance(seal, dkim.Seal):
                    raise FlowError("send: an ARC seal is only set on what is queued")
                message = dkim.sealed(message, seal, run.now())
        except MailError as error:
            raise FlowError(f"signDKIM: {error}") from None
        return await send_at_once(run, message.render(), sender, recipients, server)


class EODMailMessage(MailMessage):
    """The message of an eod flow, `$arguments["mail"]`."""

    class_name: ClassVar[str] = "EODMailMessage"


def queued(
    run: Run,
    message: Message,
    seals: tuple[AnySeal, ...],
    sender: str | Array,
    recipient: str | Array,
    transportid: str | None,
    metadata: Mapping[str, Value] | None,
    hold: bool,
    jobid: str,
    delay: float,
    quotas: Value = None,
) -> Array:
    """One delivery that goes out with the verdict. Raises FlowError."""
    if run.phase not in MESSAGE:
        raise FlowError(f"queue() works in data and eod; there is no delivery in {run.phase}")
    to = envelope_address(recipient).address
    if not to:
        raise FlowError("queue: the recipient is empty")
    action = run.delivery(
        message=message,
        seals=seals,
        sender=envelope_address(sender).address,
        own_sender=True,
        recipient=to,
        transportid=_transport(run, to) if transportid is None else known_transport(run, transportid),
        metadata={**run.metadata, **texts(metadata or {})},
        delay=max(0.0, delay),
        jobid=to_text(jobid),
        quotas=names(quotas),
        hold=hold,
        done=False,
    )
    number = run.transaction.actionid
    run.act(action)
    return Array({"transaction": run.message_id, "queue": number})


def _transport(run: Run, recipient: str) -> str | None:
    """The transport that the recipient of this address has; for another address that of the first recipient."""
    recipients = run.transaction.recipients
    own = next((one for one in recipients if one.address.address == recipient), recipients[0] if recipients else None)
    return None if own is None else own.transportid


@builtin(*MESSAGE, name="GetMailMessage")
def get_mail_message(run: Run) -> MailMessage:
    """The message as an object, to look at its parts and to change them.

    GetMailMessage()->getHeader("Subject");  // "Lunch?"
    """
    run.original  # noqa: B018  # says at once where there is no message
    return MailMessage()


@builtin(*MESSAGE, name="GetMailFile")
def get_mail_file(run: Run, *, changes: bool = False) -> File:
    """The message as a File, as received.

    changes: as it now stands instead.

        length(GetMailFile()->readline()) > 0;  // true
    """
    message = run.mail if changes else run.original
    run.budget.grow(message.size)
    return File(message.render())
