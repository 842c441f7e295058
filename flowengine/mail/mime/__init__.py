"""MIME (RFC 2045 to 2049, 2183, 2231): where the parts of a message are, and changes to them as byte ranges."""

from flowengine.mail.mime.changes import (
    AddPart,
    Change,
    EditPartField,
    PartEdit,
    RemovePart,
    ReplacePart,
    SetPartBody,
    SetSurroundings,
)
from flowengine.mail.mime.structure import Part, Structure, index

__all__ = [
    "AddPart",
    "Change",
    "EditPartField",
    "Part",
    "PartEdit",
    "RemovePart",
    "ReplacePart",
    "SetPartBody",
    "SetSurroundings",
    "Structure",
    "index",
]
