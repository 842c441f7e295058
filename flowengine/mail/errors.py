"""What can be wrong with a message, an address, a record: the sender's problem, said as one type."""


class MailError(ValueError):
    """Input from the outside breaks the rules of its RFC. The text names what and where."""
