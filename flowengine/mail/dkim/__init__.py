"""DKIM (RFC 6376, 8301, 8463): seals that sign what leaves, and verification of what came.

Signing is over the message with its edits; verification is over the message as received. Both share one header
index and one hash a body. Only verification asks DNS, and only through the resolver it is given.
"""

from flowengine.mail.dkim.record import KeyRecord, key_records, parse_record
from flowengine.mail.dkim.seal import HEADER_PROFILES, RECOMMENDED_HEADERS, Seal, seal_of, sealed, sign
from flowengine.mail.dkim.signature import Signature, parse_signature
from flowengine.mail.dkim.verify import MOST_CHECKED, SignatureResult, prepare, prepare_field, verify, verify_field

__all__ = [
    "HEADER_PROFILES",
    "MOST_CHECKED",
    "RECOMMENDED_HEADERS",
    "KeyRecord",
    "Seal",
    "Signature",
    "SignatureResult",
    "key_records",
    "parse_record",
    "parse_signature",
    "prepare",
    "prepare_field",
    "seal_of",
    "sealed",
    "sign",
    "verify",
    "verify_field",
]
