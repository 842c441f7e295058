"""What is written on top of a message about its verification: Authentication-Results and Received-SPF."""

from collections.abc import Sequence
from typing import Literal, get_args

from flowengine.builtins.authentication import evaluation
from flowengine.language.functions import builtin
from flowengine.language.problems import FlowError
from flowengine.language.texts import shown
from flowengine.language.values import from_text, to_text
from flowengine.mail.authentication_results import received_spf, write
from flowengine.mail.edits import DeleteField, InsertField
from flowengine.mail.errors import MailError
from flowengine.mail.evaluation import Method
from flowengine.mail.results_reader import places_of_forged
from flowengine.runtime.phases import Phase
from flowengine.runtime.run import Run


@builtin(Phase.DATA, name="AddAuthenticationResults")
async def add_authentication_results(
    run: Run, *, hostname: str | None = None, methods: Sequence[Literal["spf", "dkim", "dmarc", "arc"]] | None = None
) -> str:
    """Put an Authentication-Results field (RFC 8601) with SPF, DKIM, DMARC and ARC on top of the message, and take out
    every field that claims to be ours.

    hostname: the authserv-id; default: `hostname` of the configuration.
    methods: only these; [] asks nothing, and says that nothing was checked.

    Returns the value of the field.

        AddAuthenticationResults();  // "mx.example.net; …"
    """
    name = run.settings.hostname if hostname is None else to_text(shown(hostname))
    transaction = run.transaction
    envelope = (transaction.ip, transaction.helo, transaction.sender.address)
    results = await evaluation(run).results(*envelope, get_args(Method) if methods is None else methods)
    forged = places_of_forged(run.mail.fields, name)
    try:
        value = write(name, results)
        run.edit(*map(DeleteField, forged), InsertField(0, "Authentication-Results", value))
    except MailError as error:
        raise FlowError(f"Authentication-Results: {error}") from None
    return from_text(value)


@builtin(Phase.DATA, name="AddReceivedSPF")
async def add_received_spf(run: Run, *, hostname: str | None = None) -> str:
    """Put a Received-SPF field (RFC 7208 §9.1) on top of the message, for programs that read it rather than
    Authentication-Results. Fields that came with the message stay: each is of the host above which it stands.

    hostname: who has checked; default: `hostname` of the configuration.

    Returns the value of the field.

        AddReceivedSPF();  // "… receiver=mx.example.net; …"
    """
    name = run.settings.hostname if hostname is None else to_text(shown(hostname))
    transaction = run.transaction
    sender = transaction.sender.address
    found = await evaluation(run).spf(transaction.ip, transaction.helo, sender)
    value = received_spf(
        found.result,
        receiver=name,
        client_ip=transaction.ip,
        envelope_from=sender,
        helo=transaction.helo,
        identity=found.identity,
        mechanism=found.mechanism,
        problem=found.reason if found.result in ("temperror", "permerror") else "",
        comment=f"{name}: {found.reason}",
    )
    run.edit(InsertField(0, "Received-SPF", value))
    return from_text(value)
