"""Counts in the queue's SQLite file, read beside the workers."""

import sqlite3
from collections.abc import Sequence
from pathlib import Path

from flowengine.services.queue.figures import columns
from flowengine.services.queue.model import StoreTrouble

_ABOUT = "coalesce(json_extract(cast(about as text), '$.{}'), '')"
_FROM = "from entry join message on message.id = entry.message join place on place.id = entry.place"


class SQLiteFigures:
    """See figures.Counts. path: of the file."""

    fields = columns(_ABOUT.format, "domain({})".format, "cast(attempts as text)")
    metadata = "coalesce(json_extract(cast(about as text), ?), '')"
    inside = "exists (select 1 from json_each(cast(about as text), '$.quotas') where value = ?)"

    def __init__(self, path: Path) -> None:
        self._path = path
        self._database: sqlite3.Connection | None = None

    def path(self, name: str) -> str:
        """See Counts. Raises ValueError."""
        if '"' in name:
            raise ValueError("the name of a metadata filter has no quotation mark")
        return f'$.metadata."{name}"'

    def count(self, condition: str, values: Sequence[str]) -> tuple[int, int]:
        """See Counts."""
        try:
            if self._database is None:
                self._database = sqlite3.connect(f"file:{self._path}?mode=ro", uri=True, timeout=5.0)
                self._database.create_function("domain", 1, _domain, deterministic=True)
            query = f"select count(*), coalesce(sum(size), 0) {_FROM} where {condition}"  # values are bound
            count, octets = self._database.execute(query, values).fetchone()
        except sqlite3.Error as error:
            raise StoreTrouble(str(error)) from error
        return int(count), int(octets)

    def close(self) -> None:
        """See Counts."""
        if self._database is not None:
            self._database.close()
            self._database = None


def _domain(address: object) -> str:
    return str(address).rpartition("@")[2].lower()
