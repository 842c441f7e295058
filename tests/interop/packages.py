"""Debian's packages with the peers, installed when we may: as root, with apt-get.

Nothing is started by that: a `policy-rc.d` says so while it lasts, unless the machine has one of its own.
"""

import os
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from tests.interop.checks import find_program

INSTALL_TIME = 120.0  # seconds
_POLICY = Path("/usr/sbin/policy-rc.d")
_ANSWERS = "postfix postfix/main_mailer_type select No configuration\n"


def install(packages: Sequence[str]) -> str | None:
    """Install packages. None when all went well, else why they are not there."""
    if os.geteuid() != 0:
        return "not installed, and only root may install it"
    if find_program("apt-get") is None:
        return "not installed, and there is no apt-get"
    try:
        _run("debconf-set-selections", entered=_ANSWERS)
        with _nothing_starts():
            if _apt("install", *packages) is None:
                return None
            return _apt("update") or _apt("install", *packages)  # the list of packages was missing or old
    except (OSError, subprocess.TimeoutExpired) as error:
        return f"could not be installed: {error}"


def _apt(verb: str, *packages: str) -> str | None:
    options = ["-y", "--no-install-recommends"] if verb == "install" else []
    done = _run("apt-get", "-q", verb, *options, *packages)
    if done.returncode == 0:
        return None
    told = [line for line in (done.stdout + done.stderr).splitlines() if line.startswith("E: ")]
    return f"apt-get {verb}: {told[0] if told else f'exit code {done.returncode}'}"


def _run(program: str, *words: str, entered: str = "") -> "subprocess.CompletedProcess[str]":
    return subprocess.run(  # noqa: S603 — the words are ours, and no shell reads them
        [find_program(program) or program, *words],
        env={**os.environ, "DEBIAN_FRONTEND": "noninteractive"},
        input=entered,
        text=True,
        capture_output=True,
        timeout=INSTALL_TIME,
        check=False,
    )


@contextmanager
def _nothing_starts() -> Iterator[None]:
    """No package starts its daemon (Debian's invoke-rc.d asks this file)."""
    if _POLICY.exists():
        yield
        return
    _POLICY.write_text("#!/bin/sh\nexit 101\n")
    _POLICY.chmod(0o755)
    try:
        yield
    finally:
        _POLICY.unlink()
