"""The LDAP functions before 5.0, on top of the class. What a profile stood for is said in the last argument."""

from flowengine.builtins.ldap import LDAP
from flowengine.builtins.ldap_codec import escaped
from flowengine.builtins.run import Run
from flowengine.language.functions import Text, builtin
from flowengine.language.problems import FlowError
from flowengine.language.values import Array, Value

MOST = 1000  # entries


def _connection(host: str) -> LDAP:
    return LDAP(Text(host if "://" in host else f"ldap://{host}"))


def _filled(query: str, lookup: str | Array) -> str:
    """A query with what is looked up: %s, or $1, $2, … for an array; %x as it is, which lets it be anything."""
    if isinstance(lookup, str):
        return query.replace("%s", escaped(lookup)).replace("%x", lookup)
    for number, value in reversed([*enumerate(lookup.values(), 1)]):
        if not isinstance(value, str):
            raise FlowError("ldap_search: what is looked up is text, or an array of texts")
        query = query.replace(f"${number}", escaped(value))
    return query


@builtin(deprecated="LDAP")
async def ldap_search(
    run: Run,
    profile: str,
    lookup: str | Array,
    *,
    host: str = "",
    username: str = "",
    password: str = "",
    base: str = "",
    query: str = "(mail=%s)",
    tls_default_ca: bool = True,
    tls_verify_peer: bool = True,
) -> list[Value] | int:
    """Look something up in a directory (until 5.0; the class LDAP can do more). Obeys [network].

    profile: a name of old configurations; what it stood for is said in the options.
    lookup: what to look for. It takes the place of %s in the query, escaped; of an array, $1 and so on.
    host: ldap:// or ldaps:// address. username, password: who we are. base: where to look. query: the filter.
    tls_default_ca, tls_verify_peer: as the options of LDAP.

    Returns the entries, at most 1000, or -1 when it could not be asked.

        ldap_search("ldap:1", "alice@example.net");  // -1
    """
    if not host:
        run.warn(f"ldap_search: nothing says where {profile} is; give the options host, base and query")
        return -1
    connection = _connection(host)
    connection.setoption("tls_verify_peer", tls_verify_peer)
    if username and await connection.bind(run, username, password) is None:
        return -1
    found = await connection.search(run, base, filter_=_filled(query, lookup))
    entries: list[Value] = []
    while found is not None and len(entries) < MOST:
        entry = await found.next(run)
        if entry is None:
            found = None
        elif entry is False:
            break
        else:
            entries.append(entry)
    await connection.unbind(run)
    return -1 if found is None else entries


@builtin(deprecated="LDAP")
async def ldap_bind(
    run: Run,
    profile: str,
    username: str,
    password: str,
    *,
    host: str = "",
    tls_default_ca: bool = True,
    tls_verify_peer: bool = True,
    base: str = "",
    query: str = "",
) -> int:
    """Ask a directory whether a password is right (until 5.0; the class LDAP can do more). Obeys [network].

    profile: a name of old configurations; what it stood for is said in the options.
    username: a distinguished name, or what the server takes for one. host: ldap:// or ldaps:// address.
    tls_default_ca, tls_verify_peer: as the options of LDAP. base, query: taken for old scripts.

    Returns 1 when it is right, 0 when it is not, -1 when it could not be asked.

        ldap_bind("ldap:1", "cn=alice,dc=example,dc=net", "secret");  // -1
    """
    if not host:
        run.warn(f"ldap_bind: nothing says where {profile} is; give the option host")
        return -1
    connection = _connection(host)
    connection.setoption("tls_verify_peer", tls_verify_peer)
    bound = await connection.bind(run, username, password)
    code = connection.errno()
    if bound is not None:
        await connection.unbind(run)
    return 1 if bound is not None else 0 if code in (49, 53) else -1
