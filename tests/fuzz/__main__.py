"""`python -m tests.fuzz --minutes 60`: look for texts that crash, hang or show Python. Exit code 1 when one was found.

`--seed N` begins there; `--show N` prints the text of a seed.
"""

import argparse
import sys

from flowengine.builtins.vocabulary import vocabulary
from tests.fuzz.campaign import campaign
from tests.fuzz.generator import Generator


def main() -> int:
    """The command."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("--minutes", type=float, default=1.0)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--show", type=int, help="print the phase and text of a seed and end")
    given = parser.parse_args()
    if given.show is not None:
        phase, text = Generator(vocabulary()).text(given.show)
        sys.stdout.write(f"// {phase}\n{text}\n")
        return 0
    report = campaign(min(given.minutes, 24 * 60), given.seed)
    sys.stdout.write(f"{report}\n")
    return 1 if report.failures else 0


if __name__ == "__main__":
    sys.exit(main())
