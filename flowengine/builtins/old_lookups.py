"""Password look-ups of the earliest scripts, by protocols that this engine does not speak: they could not be asked."""

from flowengine.builtins.run import Run
from flowengine.language.functions import builtin
from flowengine.language.values import Array


def _unspoken(run: Run, name: str) -> int:
    run.warn(f"{name}: this engine does not speak the protocol; use LDAP, smtp_lookup_auth, http() or a users file")
    return -1


@builtin(deprecated="LDAP, smtp_lookup_auth or http()")
def dovecot_lookup_auth(run: Run, options: Array, username: str, password: str) -> int:
    """Ask a Dovecot server whether a password is right. Not spoken here: always -1.

    dovecot_lookup_auth(["host" => "192.0.2.1"], "alice", "secret");  // -1
    """
    return _unspoken(run, "dovecot_lookup_auth")


@builtin(deprecated="LDAP, smtp_lookup_auth or http()")
def radius_authen(run: Run, options: Array, username: str, password: str, attributes: Array | None = None) -> int:
    """Ask a RADIUS server whether a password is right. Not spoken here: always -1.

    radius_authen(["host" => "192.0.2.1"], "alice", "secret");  // -1
    """
    return _unspoken(run, "radius_authen")


@builtin(deprecated="LDAP, smtp_lookup_auth or http()")
def tacplus_authen(run: Run, options: Array, username: str, password: str) -> int:
    """Ask a TACACS+ server whether a password is right. Not spoken here: always -1.

    tacplus_authen(["host" => "192.0.2.1"], "alice", "secret");  // -1
    """
    return _unspoken(run, "tacplus_authen")


@builtin(deprecated="LDAP, smtp_lookup_auth or http()")
def tacplus_author(run: Run, options: Array, username: str, attributes: Array | None = None) -> int:
    """Ask a TACACS+ server what a user may do. Not spoken here: always -1.

    tacplus_author(["host" => "192.0.2.1"], "alice");  // -1
    """
    return _unspoken(run, "tacplus_author")
