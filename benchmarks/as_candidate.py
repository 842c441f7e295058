"""The engine as one of several servers that somebody else's bench compares; `benchmarks/candidate` ends up here.

Settings come from the environment; files go into a directory of their own in the working directory, which belongs to
the bench and goes with it.
"""

import os
import sys
import tempfile
from pathlib import Path

from benchmarks.engine_config import Scenario, Setting, write

_SCENARIOS: dict[str, Scenario] = {"sign": "sign", "verify": "verify", "queue": "queue"}


def main() -> None:
    """Become `flowengine serve`."""
    given = os.environ
    try:
        setting = Setting(
            scenario=_SCENARIOS[given["SCENARIO"]],
            listen=f"{given.get('LISTEN_HOST', '127.0.0.1')}:{given['LISTEN_PORT']}",
            next_hop=given["NEXT_HOP"],
            dns=given["DNS_SERVER"],
            key=Path(given["KEY_FILE"]),
            domain=given["DKIM_DOMAIN"],
            selector=given["DKIM_SELECTOR"],
            authserv_id=given.get("AUTHSERV_ID", "mx.example.net"),
        )
    except KeyError as error:
        raise SystemExit(f"benchmarks/candidate: the environment lacks or misspells {error}") from None
    folder = Path(tempfile.mkdtemp(prefix="flowengine-", dir=given.get("CANDIDATE_FOLDER")))
    config = write(setting, folder)
    os.execv(sys.executable, [sys.executable, "-m", "flowengine", "serve", "-c", str(config)])  # noqa: S606 — no shell


if __name__ == "__main__":
    main()
