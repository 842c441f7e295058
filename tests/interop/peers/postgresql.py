"""PostgreSQL: the queue of two machines in a real server, which stops like by a power cut while mail comes in."""

import tempfile
from pathlib import Path

from tests.interop.checks import Peer, expect
from tests.interop.world import World
from tests.torture import torture
from tests.world import postgresql


class PostgreSQL(Peer):
    """Its programs are where Debian puts those of each version, and on no search path."""

    __slots__ = ()

    def missing(self) -> list[str]:
        return [reason] if (reason := postgresql.missing()) else []


PEER = PostgreSQL("PostgreSQL", packages=("postgresql",))


@PEER.check("two machines with one queue in it, killed and cut off at random, lose nothing")
def two_machines(_: World) -> None:
    cluster = postgresql.Cluster(durable=True)
    try:
        folder = Path(tempfile.mkdtemp(prefix="machines-"))
        account = torture(folder, 6.0, clients=4, workers=2, seed=5, cluster=cluster, machines=2)
    finally:
        cluster.close()
    expect(account.good, str(account))
