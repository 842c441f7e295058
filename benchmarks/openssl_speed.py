"""The limit as OpenSSL itself measures it, where its command line is there."""

import re
import shutil
import subprocess
from collections.abc import Iterator


def rows() -> Iterator[str]:
    """One line."""
    program = shutil.which("openssl")
    if program is None:
        yield "openssl speed: no openssl here"
        return
    command = [program, "speed", "-seconds", "1", "rsa2048"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)  # noqa: S603 — fixed words
    found = re.search(r"^rsa\s+2048 bits\s+([\d.]+)s", done.stdout, re.MULTILINE)
    yield (
        f"openssl speed rsa2048: {float(found.group(1)) * 1e6:.0f} µs a signature"
        if found
        else "openssl speed: no figure"
    )
