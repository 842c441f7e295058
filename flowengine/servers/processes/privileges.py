"""Becoming the account that serves, once the ports are bound; and what that account must be able to write to."""

import os
import pwd
import resource
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path


class NoPrivileges(Exception):
    """The account is not there, or cannot be become. The text is for the operator."""


@dataclass(frozen=True, slots=True)
class Account:
    """A user of the system, with the group it belongs to."""

    name: str
    uid: int
    gid: int

    @classmethod
    def named(cls, name: str) -> "Account":
        """Raises NoPrivileges."""
        try:
            found = pwd.getpwnam(name)
        except KeyError:
            raise NoPrivileges(f"user: there is no account {name!r} on this system") from None
        if os.geteuid() not in (0, found.pw_uid):
            raise NoPrivileges(f"user: only root can become {name!r}; start as root, or as {name!r} itself")
        return cls(name, found.pw_uid, found.pw_gid)

    def become(self) -> None:
        """Be this account from now on, without a way back."""
        if os.geteuid() == self.uid:
            return
        os.initgroups(self.name, self.gid)
        os.setgid(self.gid)
        os.setuid(self.uid)


def prepare(directories: Iterable[Path], account: Account | None) -> None:
    """Make directories that are missing, for the account; those that are there are left as they are.

    Raises NoPrivileges when the account cannot write to one.
    """
    for directory in directories:
        missing = [place for place in (directory, *directory.parents) if not place.exists()]
        try:
            directory.mkdir(parents=True, exist_ok=True, mode=0o700)
            for place in missing:
                if account is not None and os.geteuid() == 0:
                    os.chown(place, account.uid, account.gid)
        except OSError as error:
            raise NoPrivileges(f"cannot make {directory}: {error.strerror}") from None


def unwritable(directories: Iterable[Path]) -> list[Path]:
    """Those that this process cannot write to."""
    return [place for place in directories if not os.access(place, os.W_OK | os.X_OK)]


def raise_file_limit() -> None:
    """As many open files as we may have."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
