"""What EHLO offers when the next hop can do less: a client that knows can convert its mail, we cannot."""

from collections.abc import Mapping, Sequence

KEPT = frozenset({"8BITMIME", "SMTPUTF8", "DSN", "REQUIRETLS"})
"""Extensions whose promise the next hop has to keep."""


def mirrored(ours: Sequence[str], next_hop: Mapping[str, str]) -> tuple[str, ...]:
    """Our extensions without those that the next hop lacks, and with its SIZE if that is smaller (RFC 1870 §4).

    next_hop: its extensions with their parameters, keywords in upper case.
    """
    found = []
    for one in ours:
        keyword, _, parameter = one.partition(" ")
        if keyword in KEPT and keyword not in next_hop:
            continue
        if keyword == "SIZE" and (theirs := next_hop.get("SIZE", "")).isdecimal() and 0 < int(theirs) < int(parameter):
            one = f"SIZE {int(theirs)}"
        found.append(one)
    return tuple(found)
