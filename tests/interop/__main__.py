"""`python -m tests.interop [PEER...]`: play against every peer that is there or may be installed.

A line a check; the last line is the sum. Exits with 1 when a peer disagrees, never because one is missing.
"""

import sys
import time
from collections.abc import Sequence

from tests.interop.checks import Peer, Report
from tests.interop.packages import install
from tests.interop.peers import PEERS
from tests.interop.world import World

TIME = 150.0  # seconds for all checks together; they need a tenth of it


def main(names: Sequence[str]) -> int:
    """Play the peers of these names, all of them without any."""
    unknown = [name for name in names if name.lower() not in {peer.name.lower() for peer in PEERS}]
    if unknown:
        sys.stderr.write(f"no peer {', '.join(unknown)}; known: {', '.join(peer.name for peer in PEERS)}\n")
        return 2
    wanted = [peer for peer in PEERS if not names or peer.name.lower() in {name.lower() for name in names}]
    report = Report(say)
    absent = fetch(wanted)
    start = time.monotonic()
    try:
        with World() as world:
            for peer in wanted:
                if peer.name in absent:
                    report.leave_out(f"{peer.name} ({len(peer.checks)} checks)", absent[peer.name])
                    continue
                for check in peer.checks:
                    if time.monotonic() - start > TIME:
                        report.fail(f"{check.peer}: {check.statement}", "not played: the time for all checks is up")
                    else:
                        report.play(check, world)
    except RuntimeError as error:
        report.fail("our server ends in good order", str(error))
    say(f"{time.monotonic() - start:.0f} seconds")
    say(report.summary)
    return int(report.failed > 0)


def fetch(peers: Sequence[Peer]) -> dict[str, str]:
    """Install what is missing; peers that are still not there, with the reason."""
    absent: dict[str, str] = {}
    for peer in peers:
        if missing := peer.missing():
            say(f"installing {', '.join(peer.packages)} for {peer.name}")
            reason = install(peer.packages)
            if still := peer.missing():
                absent[peer.name] = f"{', '.join(still)}: {reason or 'not in ' + ', '.join(peer.packages)}"
            elif reason:
                say(f"{', '.join(missing)} works in spite of: {reason}")
    return absent


def say(line: str) -> None:
    """One line, at once."""
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
