"""Who we are, names that are unique, and lines in the log."""

import uuid as uuids

from flowengine.builtins.run import Run
from flowengine.language.functions import Text, builtin
from flowengine.language.problems import FlowError
from flowengine.language.texts import shown
from flowengine.language.values import to_text
from flowengine.runtime.services import Level

_SEVERITIES = ("emerg", "alert", "crit", "err", "warning", "notice", "info", "debug")
_OTHER_NAMES = {"emergency": 0, "critical": 2, "error": 3, "warn": 4, "informational": 6}
_LEVELS: tuple[Level, ...] = ("critical", "critical", "critical", "error", "warning", "notice", "info", "debug")
_FACILITIES = 24
_NAMESPACES = {
    "dns": uuids.NAMESPACE_DNS,
    "url": uuids.NAMESPACE_URL,
    "oid": uuids.NAMESPACE_OID,
    "x500": uuids.NAMESPACE_X500,
}


@builtin
def gethostname(run: Run) -> Text:
    """The name of this server, `hostname` of the configuration.

    gethostname();  // "mx.example.net"
    """
    return Text(run.settings.hostname)


@builtin
def serial(run: Run) -> str:
    """A name for this installation that does not change as long as its host name stays.

    serial();  // "415d7327-50ff-5f88-b2bc-eb765e81afc9"
    """
    return str(uuids.uuid5(uuids.NAMESPACE_DNS, run.settings.hostname))


@builtin
def uuid(run: Run) -> str:
    """A new unique name (RFC 9562, version 4).

    length(uuid());  // 36
    """
    return str(uuids.UUID(bytes=run.world.random_octets(16), version=4))


@builtin
def uuidv5(uuidnamespace: str, value: Text) -> str | None:
    """The unique name of a value within a namespace, always the same (RFC 9562, version 5).

    uuidnamespace: a UUID, or dns, url, oid, x500.

    Returns none for another namespace.

        uuidv5("dns", "example.org");  // "aad03681-8b63-5304-89e0-8ca8f49461b5"
        uuidv5("nowhere", "example.org");  // none
    """
    try:
        namespace = _NAMESPACES.get(uuidnamespace) or uuids.UUID(uuidnamespace)
    except ValueError:
        return None
    return str(uuids.uuid5(namespace, value))


@builtin
def syslog(run: Run, priority: str | float, message: str) -> None:
    """Write a line to the log.

    priority: emerg, alert, crit, err, warning, notice, info or debug, or its number from 0 to 7, to which a facility
        can be added: 3 + (4 << 3).
    message: secrets in it are hidden.

        syslog("warning", "too many recipients");  // none
        syslog(3 + (4 << 3), "sent as auth.err");  // none
    """
    number = _priority(priority)
    fields: dict[str, object] = {"text": to_text(shown(message)), "id": run.message_id, "phase": run.phase}
    if number >> 3:
        fields["facility"] = number >> 3
    run.world.log(_LEVELS[number & 7], "syslog", **fields)


def _priority(priority: str | float) -> int:
    if isinstance(priority, str):
        word = priority.lower()
        if word in _SEVERITIES:
            return _SEVERITIES.index(word)
        if word in _OTHER_NAMES:
            return _OTHER_NAMES[word]
        if not (word.isascii() and word.isdigit() and len(word) <= 3):
            raise FlowError(f'syslog: priority "{priority[:20]}" is none of {", ".join(_SEVERITIES)}')
        priority = int(word)
    if not 0 <= priority < _FACILITIES << 3:
        raise FlowError(f"syslog: priority {priority:g} is not from 0 to {(_FACILITIES << 3) - 1}")
    return int(priority)
