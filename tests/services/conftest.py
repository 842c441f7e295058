"""Tests that are coroutines run on asyncio, through the pytest plugin of anyio (which httpx brings)."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.world import postgresql

if TYPE_CHECKING:
    from queue_backends import Backend, PostgreSQL


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(scope="session")
def cluster() -> Iterator[postgresql.Cluster]:
    """A PostgreSQL server; tests that need one are skipped where it is not installed."""
    if reason := postgresql.missing():
        pytest.skip(reason)
    found = postgresql.Cluster()
    yield found
    found.close()


@pytest.fixture
def machines(cluster: postgresql.Cluster, tmp_path: Path) -> "Iterator[PostgreSQL]":
    """A queue in PostgreSQL, each holder on a machine of its own."""
    from queue_backends import PostgreSQL

    found = PostgreSQL(cluster.empty(), tmp_path, machines=True)
    yield found
    found.close()


@pytest.fixture(params=["sqlite", "postgresql"])
def backend(request: pytest.FixtureRequest, tmp_path: Path) -> "Iterator[Backend]":
    """One storage after the other."""
    from queue_backends import PostgreSQL, SQLite

    if request.param == "sqlite":
        found: Backend = SQLite(tmp_path)
    else:
        found = PostgreSQL(request.getfixturevalue("cluster").empty(), tmp_path)
    yield found
    found.close()
