"""An ARC set that is asked for now and added when the message leaves, as a value beside `dkim.Seal`."""

from dataclasses import dataclass, field

from flowengine.mail.arc import ChainResult, next_instance, seal
from flowengine.mail.dkim.seal import Seal
from flowengine.mail.message import Message


@dataclass(frozen=True, slots=True)
class ArcSeal:
    """A set to be added when the message leaves. seal: key, names and headers, without an instance.

    chain: what `arc.validate` said when the message came. results: value of an Authentication-Results field of ours.
    Raises MailError when made for a chain that no set can be added to.
    """

    seal: Seal
    chain: ChainResult = field(hash=False)  # its tags are a dict
    results: str

    def __post_init__(self) -> None:
        next_instance(self.chain)

    @property
    def domain(self) -> str:
        """The domain that seals."""
        return self.seal.domain

    @property
    def selector(self) -> str:
        """The selector of its key."""
        return self.seal.selector

    @property
    def algorithm(self) -> str:
        """The algorithm of both signatures."""
        return self.seal.algorithm or ""

    @property
    def instance(self) -> int:
        """The instance of the new set."""
        return self.chain.instance + 1


def sealed(message: Message, one: ArcSeal, now: float) -> Message:
    """The message with the set on top; see `arc.seal`."""
    return seal(message, one.seal, one.chain, one.results, now=now)
