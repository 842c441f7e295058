"""Counts in the queue's PostgreSQL database, over a connection of their own."""

from collections.abc import Sequence

from flowengine.services.queue.figures import columns
from flowengine.services.queue.postgresql_link import Link, row

_KNOWN = (  # \u0000 is JSON that PostgreSQL has no text for; § stands for a question mark that is no value
    r"regexp_replace(convert_from(about, 'UTF8'), '(§<!\\)((\\\\)*)\\u0000', '\1', 'g')::json"
)
_ABOUT = f"coalesce({_KNOWN} ->> '{{}}', '')"
_DOMAIN = "lower(substring({} from '[^@]*$'))"
_FROM = "from entry join message on message.id = entry.message join place on place.id = entry.place"


class PostgreSQLFigures:
    """See figures.Counts. url: as libpq takes it. All of the queue, whatever machine took it."""

    fields = columns(_ABOUT.format, _DOMAIN.format, "attempts::text")
    metadata = f"coalesce({_KNOWN} -> 'metadata' ->> ?::text, '')"
    inside = f"(coalesce({_KNOWN} ->> 'quotas', '[]'))::jsonb @> to_jsonb(?::text)"

    def __init__(self, url: str) -> None:
        self._link = Link(url, durable=False)

    def path(self, name: str) -> str:
        """See Counts."""
        return name

    def count(self, condition: str, values: Sequence[str]) -> tuple[int, int]:
        """See Counts."""
        query = f"select count(*), (coalesce(sum(size), 0))::bigint {_FROM} where {condition}".replace("?", "%s")
        query = query.replace("§", "?")
        with self._link.told() as connection:
            found = row(connection, query, [value.replace("\0", "") for value in values])
        return (int(found[0]), int(found[1])) if found is not None else (0, 0)

    def close(self) -> None:
        """See Counts."""
        self._link.drop()
